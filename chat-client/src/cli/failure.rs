//! How a command fails: the message, what to do next, and the exit code.

use std::io;
use std::path::PathBuf;

use crate::endpoint::EndpointError;
use crate::error::Error;
use crate::reason::Reason;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("{0}")]
    Usage(String),
    #[error("you are not logged in")]
    NotLoggedIn,
    #[error("the session file {path} cannot be used: {problem}")]
    SessionFile { path: PathBuf, problem: String },
    #[error("{0}")]
    Other(String),
    #[error("no replica can be reached")]
    NobodyReachable,
    /// Whoever read the output has seen enough.
    #[error("the output was closed")]
    OutputClosed,
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Failure::OutputClosed => 0,
            Failure::Usage(_) => 2,
            Failure::NotLoggedIn => 4,
            Failure::NobodyReachable => 6,
            Failure::Interrupted => 130,
            Failure::SessionFile { .. } | Failure::Other(_) | Failure::Output(_) => 1,
            Failure::Client(error) => match error {
                Error::Invalid(_) => 2,
                Error::Endpoint(EndpointError::Unresolvable { .. }) => 6,
                Error::Endpoint(_) | Error::Tls(_) => 2,
                Error::NotFound(_) => 3,
                Error::Unauthenticated(_) | Error::Denied(_) => 4,
                Error::Conflict(_) | Error::Exhausted(_) => 5,
                Error::NothingListens(_) | Error::Unavailable(_) | Error::Untrusted(_) => 6,
                Error::Timeout(_) => 7,
                Error::Server { .. } | Error::Protocol(_) => 1,
            },
        }
    }

    /// What to do next.
    pub(super) fn advice(&self) -> Option<&'static str> {
        match self {
            Failure::OutputClosed | Failure::Interrupted | Failure::Output(_) => None,
            Failure::Usage(_) => Some("`chat-client help` explains the commands"),
            Failure::NotLoggedIn => Some("log in with `chat-client login NAME`"),
            Failure::SessionFile { .. } => {
                Some("delete it and log in again, or name another one with --session")
            }
            Failure::Other(_) => None,
            Failure::NobodyReachable => Some(START_A_SERVER),
            Failure::Client(error) => match error.reason() {
                Some(reason) => by_reason(reason),
                None => by_kind(error),
            },
        }
    }
}

const START_A_SERVER: &str =
    "start the replicas with `chat-server cluster`, or name where they are with --server HOST:PORT";

fn by_reason(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::BadCredentials => "check the name and the password, or register the name first",
        Reason::Unauthenticated | Reason::SessionExpired => {
            "log in again with `chat-client login NAME`"
        }
        Reason::NameTaken | Reason::NameConfusable => "choose another name",
        Reason::InvalidUsername => {
            "choose a name of letters and digits, without spaces and without * ? [ ] ~ / : , @ #"
        }
        Reason::InvalidPassword => "choose another password",
        Reason::RecipientNotFound | Reason::PeerNotFound => {
            "`chat-client users` lists the accounts; a deleted account has only its id"
        }
        Reason::MessageNotFound => "`chat-client history USER` shows the ids of messages",
        Reason::NotSender => "delete it without --for-both, which deletes it for you alone",
        Reason::BodyTooLong => "send it in parts",
        Reason::BodyEmpty => "write something",
        Reason::InvalidPattern => "write a glob such as 'a*', or 'regex:' and a regular expression",
        Reason::TooManyIds => "name fewer messages at once",
        Reason::SessionNotFound => "`chat-client sessions` lists those that there are",
        Reason::RegistrationClosed => "ask the operator for an account",
        Reason::TooManyLogins => "wait a minute, and see that nobody else here tries",
        Reason::TooManySubscriptions => "close some of the programs that listen",
        Reason::RecipientFull => "wait until the recipient has read something",
        Reason::RequestTooLarge => "send less at once",
        Reason::MalformedRequest | Reason::UnknownMethod => {
            "check that client and server have the same version"
        }
        Reason::DiskFull => "ask the operator to make room on the replicas' disks",
        Reason::RequestTooOld | Reason::InvalidRequestId => "check the clock of this machine",
        Reason::RequestIdReused => "run the command again",
        Reason::InvalidPageToken | Reason::InvalidArgument => return None,
        Reason::NotLeader
        | Reason::NoLeader
        | Reason::StaleRead
        | Reason::StateDamaged
        | Reason::HistoryChanged
        | Reason::Overloaded
        | Reason::RateLimited
        | Reason::CallTooLong
        | Reason::ShuttingDown => {
            "try again in a moment; `chat-client status` shows how the replicas are"
        }
        Reason::Internal => "see the log of the replica",
    })
}

fn by_kind(error: &Error) -> Option<&'static str> {
    match error {
        Error::Endpoint(EndpointError::Unresolvable { .. }) => {
            Some("check the name of the host and the network")
        }
        Error::NothingListens(_) => Some(START_A_SERVER),
        Error::Unavailable(_) | Error::Timeout(_) => Some(
            "`chat-client status` shows how the replicas are; what was sent may or may not have arrived",
        ),
        Error::Unauthenticated(_) => Some("log in again with `chat-client login NAME`"),
        Error::Server { .. } | Error::Protocol(_) => Some(
            "check that client and server have the same version, and see the log of the replica",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::error::{GaveUp, Refusal};

    #[test]
    fn every_kind_of_failure_has_its_exit_code() {
        let refusal = || Refusal {
            reason: None,
            message: "no".into(),
            fields: Vec::new(),
        };
        let gave_up = || GaveUp {
            attempts: Vec::new(),
            after: Default::default(),
            request_id: None,
        };
        for (failure, code) in [
            (Failure::OutputClosed, 0),
            (Failure::Other("x".into()), 1),
            (
                Failure::Client(Error::Server {
                    code: Code::Internal,
                    message: "x".into(),
                }),
                1,
            ),
            (Failure::Usage("x".into()), 2),
            (Failure::Client(Error::Invalid(refusal())), 2),
            (Failure::Client(Error::Endpoint(EndpointError::Missing)), 2),
            (Failure::Client(Error::NotFound(refusal())), 3),
            (Failure::NotLoggedIn, 4),
            (Failure::Client(Error::Unauthenticated(refusal())), 4),
            (Failure::Client(Error::Denied(refusal())), 4),
            (Failure::Client(Error::Conflict(refusal())), 5),
            (Failure::Client(Error::Exhausted(refusal())), 5),
            (Failure::Client(Error::NothingListens(gave_up())), 6),
            (Failure::Client(Error::Unavailable(gave_up())), 6),
            (Failure::NobodyReachable, 6),
            (Failure::Client(Error::Timeout(gave_up())), 7),
            (Failure::Interrupted, 130),
        ] {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
        }
    }
}
