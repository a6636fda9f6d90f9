//! What clients may ask for: the table `[limits]`.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use chat_core::password::Params;
use chat_core::{Body, Command, SessionPolicy};
use toml::Spanned;

use super::error::Lines;
use super::print::{self, Settings};
use super::values::{number, span};
use super::{ConfigError, raw};

/// Limits of what clients may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest message, in bytes; 64 KiB by default.
    pub body_bytes: usize,
    /// What becomes of an account's other sessions when one is opened; up to 100 at once by default.
    pub sessions: SessionPolicy,
    /// How long a session lasts; 30 days by default.
    pub session_lifetime: Duration,
    /// How many passwords are hashed at once; by default one less than the machine has cores.
    pub hash_workers: usize,
    /// What a password's hash costs.
    pub hash_cost: Params,
    /// How many connections clients may have with one replica; 10,000 by default.
    pub max_connections: usize,
    /// How many of them from one address, an IPv6 network of 64 bits counting as one; 2,000 by default.
    pub connections_per_address: usize,
    /// How many calls may be under way on one connection; 256 by default.
    pub calls_per_connection: u32,
    /// How long the headers of a call may be, in bytes; 16 KiB by default.
    pub header_bytes: u32,
    /// How long one request may be, in bytes; 4 MiB by default.
    pub request_bytes: usize,
    /// How many bytes of requests that are not whole yet one replica holds, of all clients together; a connection may have
    /// a sixteenth of it. 256 MiB by default.
    pub request_memory: usize,
    /// How long a call may take until it is answered, or its stream begins; 30 s by default.
    pub longest_call: Duration,
    /// How many requests an account may make in a second at one replica, a message on a stream counting as one; 1,000 by
    /// default. Four times as many may come at once.
    pub requests_per_account: u32,
    /// How many requests may come from one address in a second; 4,000 by default, and four times as many at once. The
    /// machine's own address 127.0.0.1, or ::1, is not counted.
    pub requests_per_address: u32,
    /// How many wrong passwords may be tried in a minute for one account from one address; 10 by default.
    pub failed_logins: u32,
    /// How many from one address for any account; 60 by default. The machine's own address is not counted.
    pub failed_logins_per_address: u32,
    /// How many accounts may be asked for in a minute from one address; 60 by default. The machine's own address is not
    /// counted.
    pub registrations_per_address: u32,
    /// How many subscriptions an account may have at one replica; 64 by default.
    pub subscriptions_per_account: usize,
    /// How many pages of lists an account may have under way at one replica, until they are read; 16 by default.
    pub lists_per_account: usize,
    /// How many events wait for a subscriber that reads slowly, before the stream is ended; 1,024 by default.
    pub events_per_subscriber: usize,
    /// How many messages may wait for one recipient; 100,000 by default.
    pub undelivered_per_recipient: usize,
    /// How many bytes of a replica's disk stay free: with less, nothing is written. 256 MiB by default.
    pub disk_reserve: u64,
}

const MIB: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: Body::DEFAULT_LIMIT,
            sessions: SessionPolicy::Several {
                most: NonZeroU16::new(100).unwrap_or(NonZeroU16::MIN),
            },
            session_lifetime: Command::REQUEST_WINDOW,
            hash_workers: default_hash_workers(),
            hash_cost: Params::default(),
            max_connections: 10_000,
            connections_per_address: 2_000,
            calls_per_connection: 256,
            header_bytes: 16 << 10,
            request_bytes: 4 * MIB,
            request_memory: 256 * MIB,
            longest_call: Duration::from_secs(30),
            requests_per_account: 1_000,
            requests_per_address: 4_000,
            failed_logins: 10,
            failed_logins_per_address: 60,
            registrations_per_address: 60,
            subscriptions_per_account: 64,
            lists_per_account: 16,
            events_per_subscriber: 1_024,
            undelivered_per_recipient: 100_000,
            disk_reserve: 256 * MIB as u64,
        }
    }
}

/// Hashing takes a whole core, and one is left to the log.
fn default_hash_workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    cores.saturating_sub(1).max(1)
}

pub(super) fn check(lines: &Lines<'_>, raw: &raw::Limits) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let session_lifetime = span(lines, "session_lifetime", &raw.session_lifetime)?;
    if session_lifetime.is_some_and(|lifetime| lifetime < Duration::from_secs(1)) {
        return Err(lines.mistake(
            raw.session_lifetime.as_ref().map(Spanned::span),
            "session_lifetime is less than 1s, so that nobody could do anything; 30d is usual",
        ));
    }
    let longest_call = span(lines, "longest_call", &raw.longest_call)?;
    if longest_call.is_some_and(|longest| longest < Duration::from_secs(1)) {
        return Err(lines.mistake(
            raw.longest_call.as_ref().map(Spanned::span),
            "longest_call is less than 1s, in which no leader can be replaced; 30s is usual",
        ));
    }
    let given = Given { lines };
    Ok(Limits {
        body_bytes: given.or(
            default.body_bytes,
            "body_bytes",
            &raw.body_bytes,
            1..=Body::MAX_LIMIT as i64,
        )?,
        sessions: match number(
            lines,
            "sessions_per_account",
            &raw.sessions_per_account,
            1..=i64::from(Command::MAX_SESSIONS),
        )? {
            None => default.sessions,
            Some(1) => SessionPolicy::Single,
            Some(most) => SessionPolicy::Several {
                most: u16::try_from(most)
                    .ok()
                    .and_then(NonZeroU16::new)
                    .unwrap_or(NonZeroU16::MIN),
            },
        },
        session_lifetime: session_lifetime.unwrap_or(default.session_lifetime),
        hash_workers: given.or(
            default.hash_workers,
            "hash_workers",
            &raw.hash_workers,
            1..=1024,
        )?,
        hash_cost: Params {
            memory: given.or(
                default.hash_cost.memory,
                "hash_memory_kib",
                &raw.hash_memory_kib,
                8..=4 << 20,
            )?,
            passes: given.or(
                default.hash_cost.passes,
                "hash_passes",
                &raw.hash_passes,
                1..=100,
            )?,
            ..default.hash_cost
        },
        max_connections: given.or(
            default.max_connections,
            "max_connections",
            &raw.max_connections,
            1..=MANY,
        )?,
        connections_per_address: given.or(
            default.connections_per_address,
            "connections_per_address",
            &raw.connections_per_address,
            1..=MANY,
        )?,
        calls_per_connection: given.or(
            default.calls_per_connection,
            "calls_per_connection",
            &raw.calls_per_connection,
            1..=100_000,
        )?,
        header_bytes: given.or(
            default.header_bytes,
            "header_bytes",
            &raw.header_bytes,
            1024..=1 << 20,
        )?,
        request_bytes: given.or(
            default.request_bytes,
            "request_bytes",
            &raw.request_bytes,
            1024..=64 << 20,
        )?,
        request_memory: given
            .or(
                default.request_memory / MIB,
                "request_memory_mib",
                &raw.request_memory_mib,
                1..=1 << 20,
            )?
            .saturating_mul(MIB),
        longest_call: longest_call.unwrap_or(default.longest_call),
        requests_per_account: given.or(
            default.requests_per_account,
            "requests_per_account",
            &raw.requests_per_account,
            1..=MANY,
        )?,
        requests_per_address: given.or(
            default.requests_per_address,
            "requests_per_address",
            &raw.requests_per_address,
            1..=MANY,
        )?,
        failed_logins: given.or(
            default.failed_logins,
            "failed_logins",
            &raw.failed_logins,
            1..=MANY,
        )?,
        failed_logins_per_address: given.or(
            default.failed_logins_per_address,
            "failed_logins_per_address",
            &raw.failed_logins_per_address,
            1..=MANY,
        )?,
        registrations_per_address: given.or(
            default.registrations_per_address,
            "registrations_per_address",
            &raw.registrations_per_address,
            1..=MANY,
        )?,
        subscriptions_per_account: given.or(
            default.subscriptions_per_account,
            "subscriptions_per_account",
            &raw.subscriptions_per_account,
            1..=MANY,
        )?,
        lists_per_account: given.or(
            default.lists_per_account,
            "lists_per_account",
            &raw.lists_per_account,
            1..=MANY,
        )?,
        events_per_subscriber: given.or(
            default.events_per_subscriber,
            "events_per_subscriber",
            &raw.events_per_subscriber,
            1..=MANY,
        )?,
        undelivered_per_recipient: given.or(
            default.undelivered_per_recipient,
            "undelivered_per_recipient",
            &raw.undelivered_per_recipient,
            1..=10 * MANY,
        )?,
        disk_reserve: given
            .or(
                default.disk_reserve / MIB as u64,
                "disk_reserve_mib",
                &raw.disk_reserve_mib,
                0..=1 << 30,
            )?
            .saturating_mul(MIB as u64),
    })
}

const MANY: i64 = 1_000_000;

struct Given<'a> {
    lines: &'a Lines<'a>,
}

impl Given<'_> {
    /// The number that the file names, else the usual one.
    fn or<N: TryFrom<i64>>(
        &self,
        usual: N,
        key: &str,
        value: &Option<Spanned<i64>>,
        range: RangeInclusive<i64>,
    ) -> Result<N, ConfigError> {
        let given = number(self.lines, key, value, range)?;
        Ok(given
            .and_then(|given| N::try_from(given).ok())
            .unwrap_or(usual))
    }
}

impl Limits {
    /// The keys of the table, and their values as the file has them.
    pub(super) fn settings(&self) -> Settings {
        let sessions = match self.sessions {
            SessionPolicy::Several { most } => u32::from(most.get()),
            SessionPolicy::Single => 1,
        };
        let number = |number: usize| number.to_string();
        vec![
            ("body_bytes", number(self.body_bytes)),
            ("sessions_per_account", sessions.to_string()),
            ("session_lifetime", print::span(self.session_lifetime)),
            ("hash_workers", number(self.hash_workers)),
            ("hash_memory_kib", self.hash_cost.memory.to_string()),
            ("hash_passes", self.hash_cost.passes.to_string()),
            ("max_connections", number(self.max_connections)),
            (
                "connections_per_address",
                number(self.connections_per_address),
            ),
            (
                "calls_per_connection",
                self.calls_per_connection.to_string(),
            ),
            ("header_bytes", self.header_bytes.to_string()),
            ("request_bytes", number(self.request_bytes)),
            ("request_memory_mib", number(self.request_memory / MIB)),
            ("longest_call", print::span(self.longest_call)),
            (
                "requests_per_account",
                self.requests_per_account.to_string(),
            ),
            (
                "requests_per_address",
                self.requests_per_address.to_string(),
            ),
            ("failed_logins", self.failed_logins.to_string()),
            (
                "failed_logins_per_address",
                self.failed_logins_per_address.to_string(),
            ),
            (
                "registrations_per_address",
                self.registrations_per_address.to_string(),
            ),
            (
                "subscriptions_per_account",
                number(self.subscriptions_per_account),
            ),
            ("lists_per_account", number(self.lists_per_account)),
            ("events_per_subscriber", number(self.events_per_subscriber)),
            (
                "undelivered_per_recipient",
                number(self.undelivered_per_recipient),
            ),
            (
                "disk_reserve_mib",
                (self.disk_reserve / MIB as u64).to_string(),
            ),
        ]
    }
}
