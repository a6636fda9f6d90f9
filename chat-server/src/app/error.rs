//! What goes wrong with a call.

use std::time::Duration;

use chat_client::Reason;
use chat_core::Rejection;
use chat_replication::handle::LeaderHint;
use tonic::Status;

use crate::store::state::StateError;

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
