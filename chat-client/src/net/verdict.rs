//! What a failed attempt means: try the next replica, or give the answer to the caller.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

use super::secure::Untrusted;
use crate::cluster::Leader;
use crate::error::{Error, chat_reason};
use crate::reason::{ERROR_DOMAIN, Reason};

/// A replica that asks for more patience than this is asked sooner.
const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(5);

const WANTS_ENCRYPTION: &str = "it speaks over encrypted connections only; give the cluster's ca.pem (--ca FILE, or CHAT_CA), \
    or write https:// in front if this system trusts its authority";

#[derive(Debug)]
pub(crate) enum Verdict {
    /// No other replica would answer differently.
    Final(Error),
    /// Another replica, or this one later, may serve.
    Next(Setback),
}

#[derive(Debug)]
pub(crate) struct Setback {
    pub(crate) kind: SetbackKind,
    pub(crate) text: String,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) leader: Option<Leader>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetbackKind {
    /// Nobody listens.
    Refused,
    /// The connection broke, or the replica is going away.
    Lost,
    /// Whoever answers there is not trusted.
    Untrusted,
    /// No answer within the deadline.
    Silent,
    /// The replica answered that it cannot serve now.
    Busy,
}

impl SetbackKind {
    /// Whether the replica itself is gone, as opposed to unable for the moment.
    pub(crate) fn is_loss(self) -> bool {
        match self {
            SetbackKind::Refused
            | SetbackKind::Lost
            | SetbackKind::Untrusted
            | SetbackKind::Silent => true,
            SetbackKind::Busy => false,
        }
    }
}

/// Only what cannot be an answer to the request's content is tried elsewhere.
pub(crate) fn judge(status: &Status) -> Verdict {
    match chat_reason(status) {
        Some(reason) => judge_reason(status, reason),
        None => judge_transport(status),
    }
}

pub(super) fn silent(deadline: Duration) -> Setback {
    let text = format!("no answer within {:.1} s", deadline.as_secs_f32());
    Setback {
        kind: SetbackKind::Silent,
        text,
        retry_after: None,
        leader: None,
    }
}

/// The service itself speaks.
fn judge_reason(status: &Status, reason: Reason) -> Verdict {
    let kind = match reason {
        Reason::ShuttingDown => SetbackKind::Lost,
        Reason::NotLeader | Reason::NoLeader | Reason::StaleRead => SetbackKind::Busy,
        _ => match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => SetbackKind::Busy,
            Code::ResourceExhausted
                if matches!(
                    reason,
                    Reason::Overloaded | Reason::RateLimited | Reason::DiskFull
                ) =>
            {
                SetbackKind::Busy
            }
            _ => return Verdict::Final(Error::from_status(status)),
        },
    };
    Verdict::Next(Setback {
        kind,
        text: describe(status, reason),
        retry_after: retry_after(status),
        leader: leader_hint(status),
    })
}

/// The words do not come from the service, but from the connection, or from something on the way.
fn judge_transport(status: &Status) -> Verdict {
    if chain(status).any(wants_encryption) {
        return Verdict::Next(Setback {
            kind: SetbackKind::Untrusted,
            text: WANTS_ENCRYPTION.to_owned(),
            retry_after: None,
            leader: None,
        });
    }
    let kind = match status.code() {
        // A connection that could not be made; or a proxy's word.
        Code::Unavailable => connect_failure(status),
        // Both sides watch the deadline that travels with a call, and tonic calls its passing a cancellation.
        Code::Cancelled if status.message() == TimeoutExpired(()).to_string() => {
            SetbackKind::Silent
        }
        Code::Cancelled => SetbackKind::Lost,
        Code::DeadlineExceeded => SetbackKind::Silent,
        // A broken connection; or a stream that ended without a word, which looks the same as a reset. The service itself
        // always gives a reason.
        Code::Unknown => SetbackKind::Lost,
        // A reset by the HTTP/2 layer. Without a source it is the other side's word, and final.
        Code::Internal if status.source().is_some() => SetbackKind::Lost,
        _ => return Verdict::Final(Error::from_status(status)),
    };
    Verdict::Next(Setback {
        kind,
        text: innermost(status),
        retry_after: retry_after(status),
        leader: None,
    })
}

/// Whether a replica has said that it speaks over encrypted connections only.
fn wants_encryption(error: &(dyn StdError + 'static)) -> bool {
    let error = error.downcast_ref::<h2::Error>();
    error.and_then(h2::Error::reason) == Some(h2::Reason::INADEQUATE_SECURITY)
}

fn connect_failure(status: &Status) -> SetbackKind {
    if chain(status).any(|e| e.is::<Untrusted>()) {
        return SetbackKind::Untrusted;
    }
    let io_error = chain(status).find_map(|e| e.downcast_ref::<io::Error>());
    match io_error.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => SetbackKind::Refused,
        Some(io::ErrorKind::TimedOut) => SetbackKind::Silent,
        _ => SetbackKind::Lost,
    }
}

/// The cause that tells most, without the layers around it.
fn innermost(status: &Status) -> String {
    match chain(status).last() {
        Some(cause) => cause.to_string(),
        None => status.message().to_owned(),
    }
}

fn chain(status: &Status) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(status.source(), |&e| e.source())
}

fn describe(status: &Status, reason: Reason) -> String {
    match status.message() {
        "" => reason.to_string(),
        message => message.to_owned(),
    }
}

fn retry_after(status: &Status) -> Option<Duration> {
    let delay = status.get_details_retry_info()?.retry_delay?;
    Some(delay.min(LONGEST_RETRY_DELAY))
}

/// Who leads, where the error says so.
fn leader_hint(status: &Status) -> Option<Leader> {
    let info = status
        .get_details_error_info()
        .filter(|i| i.domain == ERROR_DOMAIN)?;
    Some(Leader {
        replica_id: info.metadata.get("leader_id")?.parse().ok()?,
        client_address: info
            .metadata
            .get("leader_address")
            .cloned()
            .unwrap_or_default(),
        epoch: info
            .metadata
            .get("epoch")
            .and_then(|e| e.parse().ok())
            .unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn from_service(code: Code, reason: Reason) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            reason.as_str(),
            ERROR_DOMAIN,
            std::collections::HashMap::new(),
        );
        Status::with_error_details(code, "message", details)
    }

    fn kind(status: &Status) -> Option<SetbackKind> {
        match judge(status) {
            Verdict::Final(_) => None,
            Verdict::Next(setback) => Some(setback.kind),
        }
    }

    #[test]
    fn only_what_another_replica_could_mend_is_tried_again() {
        use SetbackKind::*;
        for (code, reason, expected) in [
            (Code::Unavailable, Reason::NoLeader, Some(Busy)),
            (Code::FailedPrecondition, Reason::NotLeader, Some(Busy)),
            (Code::FailedPrecondition, Reason::StaleRead, Some(Busy)),
            (Code::Unavailable, Reason::StateDamaged, Some(Busy)),
            (Code::Unavailable, Reason::Overloaded, Some(Busy)),
            (Code::ResourceExhausted, Reason::Overloaded, Some(Busy)),
            (Code::Unavailable, Reason::ShuttingDown, Some(Lost)),
            (Code::DeadlineExceeded, Reason::Internal, Some(Busy)),
            (Code::Internal, Reason::Internal, None),
            (Code::AlreadyExists, Reason::NameTaken, None),
            (Code::Unauthenticated, Reason::BadCredentials, None),
            (Code::Unauthenticated, Reason::SessionExpired, None),
            (Code::InvalidArgument, Reason::BodyTooLong, None),
            (Code::NotFound, Reason::RecipientNotFound, None),
            (Code::FailedPrecondition, Reason::RequestIdReused, None),
        ] {
            assert_eq!(kind(&from_service(code, reason)), expected, "{reason}");
        }
    }

    #[test]
    fn without_a_reason_of_the_service_it_is_the_connection_that_speaks() {
        use SetbackKind::*;
        for (status, expected) in [
            (Status::unavailable("proxy"), Some(Lost)),
            (Status::cancelled("x"), Some(Lost)),
            (
                Status::from_error(Box::new(TimeoutExpired(()))),
                Some(Silent),
            ),
            (Status::deadline_exceeded("x"), Some(Silent)),
            (Status::unknown("stream ended"), Some(Lost)),
            (Status::from_error("broken pipe".into()), Some(Lost)),
            (Status::internal("x"), None),
            (Status::unimplemented("x"), None),
            (Status::resource_exhausted("x"), None),
            (Status::out_of_range("message too large"), None),
        ] {
            assert_eq!(kind(&status), expected, "{status}");
        }
    }

    #[test]
    fn hints_are_read_from_the_details() {
        let mut details = ErrorDetails::new();
        let metadata = [
            ("leader_id", "2"),
            ("leader_address", "h:7402"),
            ("epoch", "9"),
        ];
        let metadata = metadata.map(|(k, v)| (k.to_owned(), v.to_owned()));
        details.set_error_info("NOT_LEADER", ERROR_DOMAIN, metadata);
        details.set_retry_info(Some(Duration::from_secs(3600)));
        let status = Status::with_error_details(Code::FailedPrecondition, "", details);
        let Verdict::Next(setback) = judge(&status) else {
            panic!("another replica leads");
        };
        let leader = Leader {
            replica_id: 2,
            client_address: "h:7402".into(),
            epoch: 9,
        };
        assert_eq!(setback.leader, Some(leader));
        assert_eq!(setback.retry_after, Some(LONGEST_RETRY_DELAY));
        assert_eq!(setback.text, "NOT_LEADER");
    }
}
