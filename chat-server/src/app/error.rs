//! What goes wrong with a call, and the one place where that becomes a gRPC status.

use std::collections::HashMap;
use std::time::Duration;

use chat_client::{ERROR_DOMAIN, Reason};
use chat_core::Rejection;
use chat_replication::handle::LeaderHint;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::error;

use crate::store::state::StateError;

/// Leaders are replaced within this time when all goes well.
const RETRY_LEADER: Duration = Duration::from_millis(20);
/// Work that is refused for its amount goes away more slowly.
const RETRY_OVERLOAD: Duration = Duration::from_millis(200);

/// Why a call has no answer. Grouped by what the caller can do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A field of the request is wrong.
    Invalid {
        reason: Reason,
        field: &'static str,
        problem: String,
    },
    /// The state does not allow it.
    Rejected(Rejection),
    /// The request names something that is not there.
    NotFound { reason: Reason, problem: String },
    /// Unknown account or wrong password.
    BadCredentials,
    /// No session, or none that is known.
    Unauthenticated,
    /// The session has ended.
    SessionExpired,
    /// Another replica leads, and the caller wants to go there itself.
    NotLeader(LeaderHint),
    /// Nobody leads, as far as is known here; why, in words.
    NoLeader(String),
    /// The leadership changed under the command, or the view does not confirm it: it may or may not take effect. The same
    /// request again tells.
    OutcomeUnknown,
    /// This replica is behind what the caller has seen.
    StaleRead,
    /// The state here cannot be read, or is not as far again as it was.
    StateDamaged,
    /// What the caller has seen is of a history that another one took the place of.
    HistoryChanged,
    /// Too much to do.
    Overloaded(&'static str),
    /// As much as anybody may ask for, for the time being.
    Limited {
        reason: Reason,
        problem: String,
        /// How long to wait before it is worth trying again.
        wait: Duration,
    },
    /// The operator makes the accounts.
    RegistrationClosed,
    /// The bytes of a request are not what its method takes, or there is no such method.
    Malformed { reason: Reason, problem: String },
    /// The call took longer than any may.
    TooLong,
    /// The replica goes away.
    ShuttingDown,
    /// Our own fault.
    Internal(String),
    /// What the leader said of a call that was passed on to it.
    Relayed(Status),
}

impl Failure {
    pub(crate) fn invalid(reason: Reason, field: &'static str, problem: impl ToString) -> Failure {
        Failure::Invalid {
            reason,
            field,
            problem: problem.to_string(),
        }
    }

    pub(crate) fn not_found(reason: Reason, problem: impl Into<String>) -> Failure {
        Failure::NotFound {
            reason,
            problem: problem.into(),
        }
    }
}

impl Failure {
    /// Whether the state was looked at and does not have what the call needs, so that its caller need not try again.
    pub(crate) fn says_no(&self) -> bool {
        matches!(
            self,
            Failure::NotFound { .. }
                | Failure::BadCredentials
                | Failure::Unauthenticated
                | Failure::SessionExpired
        )
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Failure {
        match error {
            StateError::GoneBack { .. } => Failure::StaleRead,
            // The replica takes another state, or ends: either way others answer meanwhile.
            StateError::Damaged { .. } | StateError::Io { .. } | StateError::Stopped { .. } => {
                Failure::StateDamaged
            }
            StateError::Foreign { .. } | StateError::InUse { .. } | StateError::NotInMemory => {
                Failure::Internal(error.to_string())
            }
        }
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Failure {
        Failure::Rejected(rejection)
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        let mut details = ErrorDetails::new();
        let mut facts = HashMap::new();
        let (code, reason, message) = match failure {
            Failure::Relayed(status) => return status,
            Failure::Invalid {
                reason,
                field,
                problem,
            } => {
                details.add_bad_request_violation(field, problem.clone());
                (code_of(reason), reason, problem)
            }
            Failure::Rejected(rejection) => {
                let (code, reason, field) = rejected(&rejection);
                if let Some(field) = field {
                    details.add_bad_request_violation(field, rejection.to_string());
                }
                (code, reason, rejection.to_string())
            }
            Failure::NotFound { reason, problem } => (Code::NotFound, reason, problem),
            Failure::BadCredentials => (
                Code::Unauthenticated,
                Reason::BadCredentials,
                "the user name or the password is wrong".to_owned(),
            ),
            Failure::Unauthenticated => (
                Code::Unauthenticated,
                Reason::Unauthenticated,
                "the call carries no valid session: log in".to_owned(),
            ),
            Failure::SessionExpired => (
                Code::Unauthenticated,
                Reason::SessionExpired,
                "the session has ended: log in again".to_owned(),
            ),
            Failure::NotLeader(leader) => {
                facts.insert("leader_id".to_owned(), leader.id.to_string());
                facts.insert("epoch".to_owned(), leader.epoch.number.to_string());
                let message = format!("replica {} leads: ask {}", leader.id, leader.client_address);
                facts.insert("leader_address".to_owned(), leader.client_address);
                (Code::FailedPrecondition, Reason::NotLeader, message)
            }
            Failure::NoLeader(waiting_for) => {
                details.set_retry_info(Some(RETRY_LEADER));
                let why = match waiting_for.as_str() {
                    "" => String::new(),
                    waiting_for => format!(" ({waiting_for})"),
                };
                (
                    Code::Unavailable,
                    Reason::NoLeader,
                    format!("no replica leads at this moment{why}: try again"),
                )
            }
            Failure::OutcomeUnknown => {
                details.set_retry_info(Some(RETRY_LEADER));
                (
                    Code::Unavailable,
                    Reason::NoLeader,
                    "the outcome was not known in time, as when the leader changes or members of the view are missing: send \
                 the same request again"
                        .to_owned(),
                )
            }
            Failure::StaleRead => {
                details.set_retry_info(Some(RETRY_LEADER));
                (
                    Code::Unavailable,
                    Reason::StaleRead,
                    "this replica has not yet caught up with what the caller has seen: ask another one".to_owned(),
                )
            }
            Failure::StateDamaged => {
                details.set_retry_info(Some(RETRY_LEADER));
                (
                    Code::Unavailable,
                    Reason::StateDamaged,
                    "this replica cannot read its state, and takes another one: ask another replica".to_owned(),
                )
            }
            Failure::HistoryChanged => (
                Code::Aborted,
                Reason::HistoryChanged,
                "what the caller has seen is of a history that another one took the place of: drop the read token and \
                 read again"
                    .to_owned(),
            ),
            Failure::Overloaded(what) => {
                details.set_retry_info(Some(RETRY_OVERLOAD));
                (Code::ResourceExhausted, Reason::Overloaded, what.to_owned())
            }
            Failure::Limited {
                reason,
                problem,
                wait,
            } => {
                // Whole milliseconds, and none too early.
                let wait = Duration::from_millis(wait.as_millis() as u64 + 1);
                details.set_retry_info(Some(wait));
                (Code::ResourceExhausted, reason, problem)
            }
            Failure::RegistrationClosed => (
                Code::PermissionDenied,
                Reason::RegistrationClosed,
                "nobody can register here: ask the operator for an account".to_owned(),
            ),
            Failure::Malformed { reason, problem } => (code_of(reason), reason, problem),
            Failure::TooLong => {
                details.set_retry_info(Some(RETRY_OVERLOAD));
                (
                    Code::DeadlineExceeded,
                    Reason::CallTooLong,
                    "the call was not sent whole, or not answered, in time: send the same request again".to_owned(),
                )
            }
            Failure::ShuttingDown => {
                details.set_retry_info(Some(RETRY_LEADER));
                (
                    Code::Unavailable,
                    Reason::ShuttingDown,
                    "this replica is shutting down: ask another one".to_owned(),
                )
            }
            Failure::Internal(cause) => {
                // The cause names files and such, which are the operator's business alone.
                error!(cause, "a call failed by a fault of this replica");
                (
                    Code::Internal,
                    Reason::Internal,
                    "the replica has failed inside: ask its operator to look at its log".to_owned(),
                )
            }
        };
        details.set_error_info(reason.as_str(), ERROR_DOMAIN, facts);
        Status::with_error_details(code, message, details)
    }
}

/// How a request travels back that is wrong in itself.
fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::BodyTooLong | Reason::RequestTooLarge => Code::ResourceExhausted,
        Reason::UnknownMethod => Code::Unimplemented,
        _ => Code::InvalidArgument,
    }
}

/// How a refusal by the state travels, and which field is at fault.
fn rejected(rejection: &Rejection) -> (Code, Reason, Option<&'static str>) {
    match rejection {
        Rejection::NameTaken { .. } => (Code::AlreadyExists, Reason::NameTaken, Some("username")),
        Rejection::NameConfusable { .. } => (
            Code::AlreadyExists,
            Reason::NameConfusable,
            Some("username"),
        ),
        Rejection::NameReserved { .. } => (
            Code::InvalidArgument,
            Reason::InvalidUsername,
            Some("username"),
        ),
        Rejection::AccountNotFound { .. } | Rejection::AccountDeleted { .. } => {
            (Code::Unauthenticated, Reason::Unauthenticated, None)
        }
        Rejection::RecipientNotFound { .. } => {
            (Code::NotFound, Reason::RecipientNotFound, Some("recipient"))
        }
        Rejection::StaleCredential => (Code::Unauthenticated, Reason::BadCredentials, None),
        Rejection::ExpiryInPast | Rejection::AccountsExhausted => {
            (Code::Internal, Reason::Internal, None)
        }
        Rejection::SessionClosed { .. } => (Code::Unauthenticated, Reason::SessionExpired, None),
        Rejection::SessionNotFound { .. } => {
            (Code::NotFound, Reason::SessionNotFound, Some("session_id"))
        }
        Rejection::TooManyTokens | Rejection::RequestIdReused => (
            Code::FailedPrecondition,
            Reason::RequestIdReused,
            Some("request_id"),
        ),
        Rejection::MessageNotFound { .. } => {
            (Code::NotFound, Reason::MessageNotFound, Some("message_ids"))
        }
        Rejection::NotSender { .. } => (
            Code::PermissionDenied,
            Reason::NotSender,
            Some("message_ids"),
        ),
        Rejection::BatchTooLarge { .. } => (
            Code::InvalidArgument,
            Reason::TooManyIds,
            Some("message_ids"),
        ),
        Rejection::RequestTooOld => (
            Code::InvalidArgument,
            Reason::RequestTooOld,
            Some("request_id"),
        ),
        Rejection::RequestFromFuture => (
            Code::InvalidArgument,
            Reason::InvalidRequestId,
            Some("request_id"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_carries_a_reason_of_the_service() {
        for failure in [
            Failure::invalid(Reason::BodyEmpty, "body", "empty"),
            Failure::Rejected(Rejection::RequestTooOld),
            Failure::not_found(Reason::PeerNotFound, "nobody"),
            Failure::BadCredentials,
            Failure::Unauthenticated,
            Failure::SessionExpired,
            Failure::NoLeader("replica 1".into()),
            Failure::OutcomeUnknown,
            Failure::StaleRead,
            Failure::StateDamaged,
            Failure::HistoryChanged,
            Failure::Overloaded("much"),
            Failure::Limited {
                reason: Reason::RateLimited,
                problem: "fast".into(),
                wait: Duration::from_millis(1),
            },
            Failure::RegistrationClosed,
            Failure::Malformed {
                reason: Reason::UnknownMethod,
                problem: "none".into(),
            },
            Failure::TooLong,
            Failure::ShuttingDown,
        ] {
            let status = Status::from(failure);
            let info = status.get_details_error_info().expect("there are details");
            assert_eq!(info.domain, ERROR_DOMAIN);
            assert!(info.reason.parse::<Reason>().is_ok(), "{}", info.reason);
            assert!(!status.message().is_empty());
        }
    }

    #[test]
    fn a_fault_inside_does_not_tell_its_cause_to_strangers() {
        let status = Status::from(Failure::Internal("/var/lib/chat/state.redb: bad".into()));
        assert!(!status.message().contains("/var"));
    }
}
