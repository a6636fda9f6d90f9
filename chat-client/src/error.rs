//! What can go wrong, sorted by what the reader can do about it.

use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::endpoint::{Endpoint, EndpointError};
use crate::ids::RequestId;
use crate::reason::{ERROR_DOMAIN, Reason};
use crate::tls::TlsError;

/// Why a call failed for good.
///
/// Whatever another replica or a moment's patience could mend was tried before this is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of a replica is malformed or unresolvable. Correct it.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Something in the request is wrong. Correct it; sending it again is of no use.
    #[error("{0}")]
    Invalid(Refusal),
    /// What the request names is not there.
    #[error("{0}")]
    NotFound(Refusal),
    /// No valid session, or wrong credentials. Log in.
    #[error("{0}")]
    Unauthenticated(Refusal),
    /// The session's account may not do this.
    #[error("{0}")]
    Denied(Refusal),
    /// The request contradicts what is there, such as a name that is taken.
    #[error("{0}")]
    Conflict(Refusal),
    /// As much is there as may be, or was asked for. It may be possible again after a while.
    #[error("{0}")]
    Exhausted(Refusal),
    /// The settings for encrypted connections cannot be used. Correct them.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Whoever answers is no replica that is trusted. Nothing was sent.
    #[error("{0}")]
    Untrusted(GaveUp),
    /// Nobody listens on any of the addresses. Nothing was sent.
    #[error("{0}")]
    NothingListens(GaveUp),
    /// No replica could serve within the call's deadline. A write may or may not have taken effect; sending it again
    /// under the same request id settles it.
    #[error("{0}")]
    Unavailable(GaveUp),
    /// No replica answered within the call's deadline. A write may or may not have taken effect; sending it again under
    /// the same request id settles it.
    #[error("{0}")]
    Timeout(GaveUp),
    /// The service failed in a way that repeating would not mend.
    #[error("the service failed ({code:?}): {message}")]
    Server {
        /// The gRPC status code.
        code: Code,
        /// What the service says.
        message: String,
    },
    /// The service's answer makes no sense to this version of the client.
    #[error("the service's answer is not understood: {0}")]
    Protocol(String),
}

/// The service's refusal of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for programs. None where the service gave a reason that this version does not know, or none.
    pub reason: Option<Reason>,
    /// Why, for people.
    pub message: String,
    /// The fields at fault, each with what is wrong with it.
    pub fields: Vec<(String, String)>,
}

/// What was tried before a call was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaveUp {
    /// What became of the last attempt at each address.
    pub attempts: Vec<(Endpoint, String)>,
    /// How long the call was tried.
    pub after: Duration,
    /// The id under which a write was sent: under it, it can be repeated without a second effect.
    pub request_id: Option<RequestId>,
}

impl Error {
    /// The same once more, for another message that it concerns as well.
    pub(crate) fn again(&self) -> Error {
        match self {
            Error::Endpoint(error) => Error::Protocol(error.to_string()),
            Error::Tls(error) => Error::Tls(error.clone()),
            Error::Untrusted(gave_up) => Error::Untrusted(gave_up.clone()),
            Error::Invalid(refusal) => Error::Invalid(refusal.clone()),
            Error::NotFound(refusal) => Error::NotFound(refusal.clone()),
            Error::Unauthenticated(refusal) => Error::Unauthenticated(refusal.clone()),
            Error::Denied(refusal) => Error::Denied(refusal.clone()),
            Error::Conflict(refusal) => Error::Conflict(refusal.clone()),
            Error::Exhausted(refusal) => Error::Exhausted(refusal.clone()),
            Error::NothingListens(gave_up) => Error::NothingListens(gave_up.clone()),
            Error::Unavailable(gave_up) => Error::Unavailable(gave_up.clone()),
            Error::Timeout(gave_up) => Error::Timeout(gave_up.clone()),
            Error::Server { code, message } => Error::Server {
                code: *code,
                message: message.clone(),
            },
            Error::Protocol(what) => Error::Protocol(what.clone()),
        }
    }

    /// The service's own reason, where it gave one.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Error::Invalid(refusal)
            | Error::NotFound(refusal)
            | Error::Unauthenticated(refusal)
            | Error::Denied(refusal)
            | Error::Conflict(refusal)
            | Error::Exhausted(refusal) => refusal.reason,
            _ => None,
        }
    }

    /// The id under which the failed write was sent, where its outcome is unknown.
    pub fn request_id(&self) -> Option<RequestId> {
        match self {
            Error::NothingListens(gave_up)
            | Error::Unavailable(gave_up)
            | Error::Timeout(gave_up) => gave_up.request_id,
            _ => None,
        }
    }

    /// Whether the same request, under the same id, may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Error::NothingListens(_) | Error::Unavailable(_) | Error::Timeout(_)
        )
    }

    /// The refusal that a final status stands for.
    pub(crate) fn from_status(status: &Status) -> Self {
        let reason = chat_reason(status);
        let refusal = || Refusal {
            reason,
            message: status.message().to_owned(),
            fields: violations(status),
        };
        if let Some(reason) = reason
            && let Some(kind) = Kind::of(reason)
        {
            return kind.with(refusal());
        }
        match status.code() {
            Code::InvalidArgument => Error::Invalid(refusal()),
            Code::NotFound => Error::NotFound(refusal()),
            Code::Unauthenticated => Error::Unauthenticated(refusal()),
            Code::ResourceExhausted => Error::Exhausted(refusal()),
            Code::PermissionDenied => Error::Denied(refusal()),
            Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => {
                Error::Conflict(refusal())
            }
            code => Error::Server {
                code,
                message: status.message().to_owned(),
            },
        }
    }
}

/// The service's reason in a status, if it carries one that is known.
pub(crate) fn chat_reason(status: &Status) -> Option<Reason> {
    let info = status.get_details_error_info()?;
    if info.domain != ERROR_DOMAIN {
        return None;
    }
    info.reason.parse().ok()
}

fn violations(status: &Status) -> Vec<(String, String)> {
    let Some(bad) = status.get_details_bad_request() else {
        return Vec::new();
    };
    bad.field_violations
        .into_iter()
        .map(|v| (v.field, v.description))
        .collect()
}

/// The variants that a refusal may become.
enum Kind {
    Invalid,
    NotFound,
    Unauthenticated,
    Denied,
    Conflict,
    Exhausted,
}

impl Kind {
    /// The kind of a reason; none for those that speak of the service's state instead of the request.
    fn of(reason: Reason) -> Option<Self> {
        Some(match reason {
            Reason::InvalidRequestId
            | Reason::RequestTooOld
            | Reason::InvalidUsername
            | Reason::InvalidPassword
            | Reason::BodyTooLong
            | Reason::BodyEmpty
            | Reason::InvalidPattern
            | Reason::InvalidPageToken
            | Reason::InvalidArgument
            | Reason::TooManyIds
            | Reason::RequestTooLarge
            | Reason::MalformedRequest => Kind::Invalid,
            Reason::RecipientNotFound
            | Reason::PeerNotFound
            | Reason::MessageNotFound
            | Reason::SessionNotFound => Kind::NotFound,
            Reason::BadCredentials | Reason::Unauthenticated | Reason::SessionExpired => {
                Kind::Unauthenticated
            }
            Reason::NotSender | Reason::RegistrationClosed => Kind::Denied,
            Reason::TooManyLogins | Reason::TooManySubscriptions | Reason::RecipientFull => {
                Kind::Exhausted
            }
            Reason::RequestIdReused
            | Reason::NameTaken
            | Reason::NameConfusable
            | Reason::HistoryChanged => Kind::Conflict,
            Reason::NotLeader
            | Reason::NoLeader
            | Reason::StaleRead
            | Reason::StateDamaged
            | Reason::Overloaded
            | Reason::RateLimited
            | Reason::DiskFull
            | Reason::ShuttingDown
            | Reason::CallTooLong
            | Reason::UnknownMethod
            | Reason::Internal => return None,
        })
    }

    fn with(self, refusal: Refusal) -> Error {
        match self {
            Kind::Invalid => Error::Invalid(refusal),
            Kind::NotFound => Error::NotFound(refusal),
            Kind::Unauthenticated => Error::Unauthenticated(refusal),
            Kind::Denied => Error::Denied(refusal),
            Kind::Conflict => Error::Conflict(refusal),
            Kind::Exhausted => Error::Exhausted(refusal),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message.as_str(), self.reason) {
            ("", Some(reason)) => write!(f, "{reason}")?,
            ("", None) => f.write_str("refused without a reason")?,
            (message, _) => f.write_str(message)?,
        }
        for (field, problem) in &self.fields {
            // Most refusals have one field at fault, and their message says the same.
            if !self.message.contains(problem.as_str()) {
                write!(f, "; {field}: {problem}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no replica could be used within {:.1} s",
            self.after.as_secs_f32()
        )?;
        for (i, (endpoint, outcome)) in self.attempts.iter().enumerate() {
            write!(
                f,
                "{} {endpoint}: {outcome}",
                if i == 0 { ":" } else { ";" }
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn status(code: Code, domain: &str, reason: &str) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, domain, std::collections::HashMap::new());
        details.add_bad_request_violation("username", "has a space");
        Status::with_error_details(code, "no", details)
    }

    #[test]
    fn the_reason_decides_and_not_the_code() {
        let error = Error::from_status(&status(Code::FailedPrecondition, "chat", "NAME_TAKEN"));
        assert!(matches!(error, Error::Conflict(_)));
        assert_eq!(error.reason(), Some(Reason::NameTaken));
        assert_eq!(error.to_string(), "no; username: has a space");
    }

    #[test]
    fn without_a_reason_of_ours_the_code_decides() {
        for reason in [
            ("elsewhere", "NAME_TAKEN"),
            ("chat", "FROM_A_LATER_VERSION"),
        ] {
            let error = Error::from_status(&status(Code::NotFound, reason.0, reason.1));
            assert!(matches!(error, Error::NotFound(_)), "{error:?}");
            assert_eq!(error.reason(), None);
        }
        assert!(matches!(
            Error::from_status(&Status::data_loss("x")),
            Error::Server { .. }
        ));
    }

    #[test]
    fn what_was_tried_is_told() {
        let gave_up = GaveUp {
            attempts: vec![
                ("a:1".parse().expect("address"), "connection refused".into()),
                (
                    "b:2".parse().expect("address"),
                    "no answer within 1 s".into(),
                ),
            ],
            after: Duration::from_secs(30),
            request_id: None,
        };
        assert_eq!(
            Error::Unavailable(gave_up).to_string(),
            "no replica could be used within 30.0 s: a:1: connection refused; b:2: no answer within 1 s"
        );
    }
}
