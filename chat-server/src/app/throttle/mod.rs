//! How much anybody may ask for, and how often.
//!
//! Everything is counted at the replica that a client is connected to, and once: a call that a replica passes on was
//! counted there. What a stranger does at another address uses up nothing of a user's.

mod attempts;
mod peer;
mod places;
mod rates;
mod room;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chat_client::Reason;
use chat_core::{AccountId, Username};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use self::attempts::Attempts;
pub(crate) use self::peer::{Connection, Peer, network};
pub(crate) use self::places::{Place, Places};
use self::rates::Rates;
pub(crate) use self::room::{Coming, Room};
use crate::app::error::Failure;
use crate::config::Limits;

/// Between two words of who guesses at passwords.
const BETWEEN_WORDS: Duration = Duration::from_secs(10);

/// What one replica counts.
pub(crate) struct Throttle {
    limits: watch::Receiver<Limits>,
    calls_of_address: Rates<IpAddr>,
    calls_of_account: Rates<AccountId>,
    failures_of_address: Attempts<IpAddr>,
    failures_at_account: Attempts<(IpAddr, Whose)>,
    registrations: Attempts<IpAddr>,
    /// Where other replicas call from that cannot prove who they are.
    replicas: Mutex<BTreeSet<IpAddr>>,
    /// When the operator was told last that somebody guesses.
    told: Mutex<Option<Instant>>,
}

/// Whose password is tried.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Whose {
    Name(Username),
    Account(AccountId),
}

/// A password that is being looked at. It counts as wrong unless it turns out not to be.
#[must_use]
pub(crate) struct Attempt<'a> {
    throttle: &'a Throttle,
    address: Option<IpAddr>,
    at_account: Option<(IpAddr, Whose)>,
}

impl Throttle {
    /// Nobody has done anything yet.
    pub(crate) fn new(limits: watch::Receiver<Limits>) -> Throttle {
        let now = *limits.borrow();
        Throttle {
            calls_of_address: Rates::new(now.requests_per_address),
            calls_of_account: Rates::new(now.requests_per_account),
            failures_of_address: Attempts::new(),
            failures_at_account: Attempts::new(),
            registrations: Attempts::new(),
            replicas: Mutex::default(),
            told: Mutex::default(),
            limits,
        }
    }

    /// Says where other replicas call from that cannot prove who they are.
    pub(crate) fn know_replicas(&self, addresses: BTreeSet<IpAddr>) {
        *self.replicas.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Counts a call from an address.
    pub(crate) fn call(&self, from: Option<Peer>) -> Result<(), Failure> {
        let Some(address) = self.stranger(from) else {
            return Ok(());
        };
        let rate = self.limits().requests_per_address;
        let taken = self.calls_of_address.take(rate, &address);
        taken.map_err(|wait| Failure::Limited {
            reason: Reason::RateLimited,
            problem: format!(
                "more than {rate} requests in a second come from this address: go on more slowly"
            ),
            wait,
        })
    }

    /// Counts a call of an account whose session was checked.
    pub(crate) fn account(&self, from: Option<Peer>, account: AccountId) -> Result<(), Failure> {
        if !self.is_counted(from) {
            return Ok(());
        }
        let rate = self.limits().requests_per_account;
        let taken = self.calls_of_account.take(rate, &account);
        taken.map_err(|wait| Failure::Limited {
            reason: Reason::RateLimited,
            problem: format!(
                "this account makes more than {rate} requests in a second: go on more slowly"
            ),
            wait,
        })
    }

    /// Lets a password be looked at.
    pub(crate) fn attempt(&self, from: Option<Peer>, whose: Whose) -> Result<Attempt<'_>, Failure> {
        let mut attempt = Attempt {
            throttle: self,
            address: None,
            at_account: None,
        };
        let Some(from) = from.filter(|_| self.is_counted(from)) else {
            return Ok(attempt);
        };
        let (limits, now) = (self.limits(), Instant::now());
        let too_many = |wait| {
            self.tell_of(from.address, now);
            Failure::Limited {
                reason: Reason::TooManyLogins,
                problem: "too many wrong passwords came from this address: wait, then try again"
                    .to_owned(),
                wait,
            }
        };
        // The address first, so that nobody fills the memory with names.
        if let Some(address) = self.stranger(Some(from)) {
            let most = limits.failed_logins_per_address;
            self.failures_of_address
                .take(most, address, now)
                .map_err(too_many)?;
            attempt.address = Some(address);
        }
        let key = (from.address, whose);
        let taken = self
            .failures_at_account
            .take(limits.failed_logins, key.clone(), now);
        match taken {
            Ok(()) => {
                attempt.at_account = Some(key);
                Ok(attempt)
            }
            Err(wait) => {
                attempt.was_not_wrong();
                Err(too_many(wait))
            }
        }
    }

    /// Counts a registration.
    pub(crate) fn registration(&self, from: Option<Peer>) -> Result<(), Failure> {
        let Some(address) = self.stranger(from) else {
            return Ok(());
        };
        let most = self.limits().registrations_per_address;
        let taken = self.registrations.take(most, address, Instant::now());
        taken.map_err(|wait| Failure::Limited {
            reason: Reason::RateLimited,
            problem: "too many accounts are asked for from this address: wait, then try again"
                .to_owned(),
            wait,
        })
    }

    /// Forgets whoever has been quiet.
    pub(crate) fn tidy(&self) {
        self.calls_of_address.tidy();
        self.calls_of_account.tidy();
        let now = Instant::now();
        self.failures_of_address.tidy(now);
        self.failures_at_account.tidy(now);
        self.registrations.tidy(now);
    }

    /// Tells the operator who guesses, now and then.
    fn tell_of(&self, address: IpAddr, now: Instant) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| now.duration_since(at) >= BETWEEN_WORDS) {
            *told = Some(now);
            warn!(
                "too many wrong passwords come from {address}; its attempts are not looked at for a while"
            );
        }
    }

    fn limits(&self) -> Limits {
        *self.limits.borrow()
    }

    /// Whether the call comes from a client, rather than from a replica that counted it already.
    fn is_counted(&self, from: Option<Peer>) -> bool {
        let Some(from) = from else {
            return false;
        };
        let replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        from.replica.is_none() && !replicas.contains(&from.address)
    }

    /// The address of a client on another machine. Behind one of this machine's own there may be anybody.
    fn stranger(&self, from: Option<Peer>) -> Option<IpAddr> {
        let address = from.filter(|_| self.is_counted(from))?.address;
        // Of an IPv6 address the network is left.
        let own = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ];
        (!own.contains(&address)).then_some(address)
    }
}

impl Attempt<'_> {
    /// The password was right, or nobody looked at it.
    pub(crate) fn was_not_wrong(self) {
        let limits = self.throttle.limits();
        if let Some(address) = self.address {
            let most = limits.failed_logins_per_address;
            self.throttle.failures_of_address.give_back(most, &address);
        }
        if let Some(key) = &self.at_account {
            let most = limits.failed_logins;
            self.throttle.failures_at_account.give_back(most, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_replication::types::ReplicaId;
    use uuid::Uuid;

    use super::*;

    fn throttle() -> Throttle {
        let limits = Limits {
            requests_per_address: 1,
            requests_per_account: 1,
            failed_logins_per_address: 5,
            failed_logins: 2,
            registrations_per_address: 3,
            ..Limits::default()
        };
        Throttle::new(watch::channel(limits).1)
    }

    fn at(address: &str) -> Option<Peer> {
        Some(Peer {
            address: address.parse().expect(address),
            replica: None,
        })
    }

    fn name(text: &str) -> Whose {
        Whose::Name(Username::parse_existing(text).expect(text))
    }

    fn reason<T>(result: Result<T, Failure>) -> Option<Reason> {
        match result {
            Ok(_) => None,
            Err(Failure::Limited { reason, wait, .. }) => {
                assert!(!wait.is_zero());
                Some(reason)
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// How many of so many wrong passwords were looked at.
    fn wrong(throttle: &Throttle, from: Option<Peer>, whom: &str, count: usize) -> usize {
        let attempts = (0..count).map(|_| throttle.attempt(from, name(whom)));
        attempts.filter(Result::is_ok).count()
    }

    #[test]
    fn a_stranger_elsewhere_locks_nobody_out() {
        let throttle = throttle();
        let (stranger, ada) = (at("192.0.2.66"), at("192.0.2.1"));
        assert_eq!(wrong(&throttle, stranger, "ada", 100), 2);
        let again = throttle.attempt(stranger, name("ADA"));
        assert_eq!(reason(again), Some(Reason::TooManyLogins));
        assert_eq!(wrong(&throttle, ada, "ada", 1), 1);
        // Nor with many names, which costs only the stranger's own address.
        let names = (0..100).filter(|n| wrong(&throttle, stranger, &format!("u{n}"), 1) == 1);
        assert_eq!(names.count(), 3);
        assert_eq!(wrong(&throttle, ada, "ada", 1), 1);
    }

    #[test]
    fn a_right_password_uses_nothing_up() {
        let throttle = throttle();
        let ada = at("192.0.2.1");
        for _ in 0..100 {
            let attempt = throttle.attempt(ada, name("ada"));
            attempt.expect("never refused").was_not_wrong();
        }
        // Nor does one that was not looked at.
        assert_eq!(wrong(&throttle, ada, "ada", 100), 2);
        assert_eq!(wrong(&throttle, ada, "bob", 100), 2);
        assert_eq!(wrong(&throttle, ada, "eve", 100), 1);
    }

    #[test]
    fn calls_are_counted_by_address_and_by_account() {
        let throttle = throttle();
        let (one, two) = (at("192.0.2.1"), at("192.0.2.2"));
        assert!((0..100).any(|_| throttle.call(one).is_err()));
        assert_eq!(reason(throttle.call(one)), Some(Reason::RateLimited));
        assert_eq!(reason(throttle.call(two)), None);
        let account = |number| AccountId::from_uuid(Uuid::from_u128(number));
        assert!((0..100).any(|_| throttle.account(one, account(1)).is_err()));
        assert_eq!(reason(throttle.account(one, account(2))), None);
        assert_eq!(
            (0..100)
                .filter(|_| throttle.registration(one).is_ok())
                .count(),
            3
        );
    }

    #[test]
    fn a_replica_speaks_for_many_and_the_machine_itself_is_no_stranger() {
        let throttle = throttle();
        throttle.know_replicas(BTreeSet::from(["192.0.2.7".parse().expect("an address")]));
        let proven = at("192.0.2.1").map(|peer| Peer {
            replica: Some(ReplicaId(1)),
            ..peer
        });
        for peer in [proven, at("192.0.2.7"), None] {
            assert!((0..100).all(|_| throttle.call(peer).is_ok()));
            assert!((0..100).all(|_| throttle.registration(peer).is_ok()));
            assert_eq!(wrong(&throttle, peer, "ada", 100), 100);
        }
        for own in [at("127.0.0.1"), at("::")] {
            assert!((0..100).all(|_| throttle.call(own).is_ok()));
            assert_eq!(wrong(&throttle, own, "ada", 100), 2);
            assert_eq!(wrong(&throttle, own, "bob", 100), 2);
            assert_eq!(wrong(&throttle, own, "eve", 100), 2);
            assert_eq!(wrong(&throttle, own, "kay", 100), 2);
        }
    }
}
