//! Failures as statuses, and statuses of the layers beneath as failures: the one place where the two meet.

use std::collections::HashMap;
use std::time::Duration;

use chat_client::{ERROR_DOMAIN, Reason};
use chat_core::Rejection;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::error;

use crate::app::error::Failure;

/// Leaders are replaced within this time when all goes well.
const RETRY_LEADER: Duration = Duration::from_millis(20);
/// Work that is refused for its amount goes away more slowly.
const RETRY_OVERLOAD: Duration = Duration::from_millis(200);

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

/// What a status of the layers beneath means. All of the services' own have a reason already; those of the standard services
/// have none, and need none.
pub(crate) fn understood(status: &Status) -> Option<Failure> {
    let reason = match status.code() {
        Code::OutOfRange => Reason::RequestTooLarge,
        Code::Unimplemented => Reason::UnknownMethod,
        Code::Internal => Reason::MalformedRequest,
        _ => return None,
    };
    let problem = match (reason, status.message()) {
        (Reason::UnknownMethod, "") => {
            "the service has no such method: see that client and server have the same version"
        }
        (Reason::RequestTooLarge, _) => "the request is longer than any may be: send less at once",
        (Reason::MalformedRequest, _) => {
            "the request is not what the method takes: see that client and server have the same version"
        }
        (_, message) => message,
    };
    Some(Failure::Malformed {
        reason,
        problem: problem.to_owned(),
    })
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
