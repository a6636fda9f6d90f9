//! What the metadata of a call say.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use chat_core::{Session, Timestamp};
use chat_replication::types::Position;
use tokio::time::Instant;
use tonic::Request;

use crate::app::session::SessionToken;
use crate::app::throttle::Whose;
use crate::edge::{Connection, Peer};

/// Asks a replica not to pass the call on, but to say who leads. Calls that were passed on carry it, so that none is
/// passed on twice.
pub(crate) const NO_PROXY: &str = "x-chat-no-proxy";
/// What the caller has seen already.
const READ_TOKEN: &str = "x-chat-read-token-bin";
/// Asks for a read that shows everything that anybody was told before the call.
pub(crate) const LINEARIZABLE: &str = "x-chat-linearizable";
const TIMEOUT: &str = "grpc-timeout";

/// How long a call waits for something that should be there in a moment: a leader, or news from it.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a call of a caller that names no deadline may wait for the replicas to agree.
const LONGEST: Duration = Duration::from_secs(10);
/// Kept back from the caller's deadline, so that the answer arrives before it.
const MARGIN: Duration = Duration::from_millis(20);

/// Who passes a write on to the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proxying {
    /// The replica that is asked.
    Wanted,
    /// Nobody: the caller goes to the leader itself.
    Declined,
}

/// What a read shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    /// What this replica has, but nothing older than what the caller has seen.
    Local,
    /// Everything that anybody was told before the call.
    Linearizable,
}

/// A call's metadata, parsed.
#[derive(Debug)]
pub(crate) struct Context {
    /// Absent where there is none, or one that was never issued.
    pub(crate) session: Option<SessionToken>,
    pub(crate) read_token: Option<Vec<u8>>,
    pub(crate) proxying: Proxying,
    pub(crate) reading: Reading,
    /// When the caller gives up.
    pub(crate) deadline: Option<Instant>,
    /// Who is at the other end of the connection.
    pub(crate) from: Option<Peer>,
    /// What the session's last check has found.
    pub(crate) checked: Checked,
}

/// A session that is good in the state as of a position. In that state it stays so until its time is over, and is not looked
/// up again: each call asks at least twice.
#[derive(Default, Debug)]
pub(crate) struct Checked(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    at: Position,
    session: Session,
    /// Looked up by this very call, a moment ago.
    just_now: bool,
}

impl Checked {
    pub(crate) fn good(&self, at: Position, now: Timestamp) -> Option<Session> {
        let known = self.known();
        let known = known.as_ref().filter(|known| known.at == at)?;
        (now < known.session.expires_at).then(|| known.session.clone())
    }

    pub(crate) fn note(&self, at: Position, session: &Session) {
        *self.known() = Some(Known {
            at,
            session: session.clone(),
            just_now: false,
        });
    }

    /// What was noted before the call is carried out holds for its first attempt, whatever the state's position is by then.
    pub(crate) fn note_just_now(&self) {
        if let Some(known) = &mut *self.known() {
            known.just_now = true;
        }
    }

    /// The session, for that first attempt.
    pub(crate) fn just_now(&self, now: Timestamp) -> Option<Session> {
        let mut known = self.known();
        let known = known.as_mut()?;
        let is_good = std::mem::take(&mut known.just_now) && now < known.session.expires_at;
        is_good.then(|| known.session.clone())
    }

    /// It is looked up again in every case.
    pub(crate) fn was_long_ago(&self) {
        *self.known() = None;
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    pub(crate) fn of<T>(request: &Request<T>) -> Context {
        let metadata = request.metadata();
        let connection = request.extensions().get::<Connection>();
        let session = metadata
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(SessionToken::from_header);
        let read_token = metadata
            .get_bin(READ_TOKEN)
            .and_then(|value| value.to_bytes().ok())
            .map(|bytes| bytes.to_vec());
        let proxying = match metadata.contains_key(NO_PROXY) {
            true => Proxying::Declined,
            false => Proxying::Wanted,
        };
        let reading = match metadata.get(LINEARIZABLE) {
            Some(wanted) if wanted != "0" => Reading::Linearizable,
            _ => Reading::Local,
        };
        let timeout = timeout_of(metadata.as_ref());
        Context {
            session,
            read_token,
            proxying,
            reading,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            from: connection.map(|connection| connection.peer),
            checked: Checked::default(),
        }
    }

    /// For a read of the replica's own operator.
    pub(crate) fn linearizable() -> Context {
        Context {
            reading: Reading::Linearizable,
            ..Context::of(&Request::new(()))
        }
    }

    /// Whose account it is that the call says to be of.
    pub(crate) fn claimed(&self) -> Option<Whose> {
        let session = self.session.as_ref()?;
        Some(Whose::Account(session.account))
    }

    /// When an answer must be on its way, so that it arrives before the caller gives up.
    pub(crate) fn last_moment(&self) -> Instant {
        let longest = Instant::now() + LONGEST;
        match self
            .deadline
            .and_then(|deadline| deadline.checked_sub(MARGIN))
        {
            Some(deadline) => deadline.min(longest),
            None => longest,
        }
    }

    /// When to stop waiting for something that should be there in a moment.
    pub(crate) fn patience(&self) -> Instant {
        let patience = Instant::now() + PATIENCE;
        match self
            .deadline
            .and_then(|deadline| deadline.checked_sub(MARGIN))
        {
            Some(deadline) => deadline.min(patience),
            None => patience,
        }
    }
}

/// How long the caller waits, where it says so.
pub(crate) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(TIMEOUT)?.to_str().ok()?;
    parse_timeout(value)
}

/// At most eight digits and a unit, as the gRPC protocol has it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("", None),
            ("m", None),
            ("1", None),
            ("1x", None),
            ("-1S", None),
            ("123456789n", None),
            ("1é", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }

    #[test]
    fn a_call_without_metadata_is_anonymous_and_patient() {
        let context = Context::of(&Request::new(()));
        assert!(context.session.is_none() && context.read_token.is_none());
        assert_eq!(context.proxying, Proxying::Wanted);
        assert_eq!(context.deadline, None);
    }
}
