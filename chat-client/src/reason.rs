//! The machine-readable reasons of the service's errors.

use std::fmt;
use std::str::FromStr;

/// The domain under which the service's reasons stand in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "chat";

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// Why a call failed: the `reason` of the `google.rpc.ErrorInfo` in domain [`ERROR_DOMAIN`] that every error of
        /// the service carries.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// The reason as it travels.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$variant => $text,)+
                }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Reason::$variant),)+
                    _ => Err(UnknownReason),
                }
            }
        }
    };
}

reasons! {
    /// The request id is missing or no UUIDv7.
    InvalidRequestId = "INVALID_REQUEST_ID",
    /// The request id was used before, for a request with other content.
    RequestIdReused = "REQUEST_ID_REUSED",
    /// The request id is older than the window in which repetitions are recognised.
    RequestTooOld = "REQUEST_TOO_OLD",
    /// The user name breaks a rule.
    InvalidUsername = "INVALID_USERNAME",
    /// The password breaks a rule.
    InvalidPassword = "INVALID_PASSWORD",
    /// The user name belongs to somebody.
    NameTaken = "NAME_TAKEN",
    /// The user name looks like somebody else's.
    NameConfusable = "NAME_CONFUSABLE",
    /// Unknown account or wrong password; which of them is not told.
    BadCredentials = "BAD_CREDENTIALS",
    /// The call carries no session token, or one that no session has.
    Unauthenticated = "UNAUTHENTICATED",
    /// The session has ended.
    SessionExpired = "SESSION_EXPIRED",
    /// The account has no such session.
    SessionNotFound = "SESSION_NOT_FOUND",
    /// The operator makes the accounts: nobody can register.
    RegistrationClosed = "REGISTRATION_CLOSED",
    /// Too many wrong passwords were tried for this account from the caller's address, or from that address for any.
    TooManyLogins = "TOO_MANY_LOGINS",
    /// No account has the recipient's name.
    RecipientNotFound = "RECIPIENT_NOT_FOUND",
    /// No account has the peer's name.
    PeerNotFound = "PEER_NOT_FOUND",
    /// The caller has no such message.
    MessageNotFound = "MESSAGE_NOT_FOUND",
    /// Only the sender may do this to a message.
    NotSender = "NOT_SENDER",
    /// The message is longer than the limit.
    BodyTooLong = "BODY_TOO_LONG",
    /// The message is empty.
    BodyEmpty = "BODY_EMPTY",
    /// The pattern is neither a glob nor, behind `regex:`, a regular expression.
    InvalidPattern = "INVALID_PATTERN",
    /// The page token was not made by this list, or for another query.
    InvalidPageToken = "INVALID_PAGE_TOKEN",
    /// Another field is wrong.
    InvalidArgument = "INVALID_ARGUMENT",
    /// More ids than one request may name.
    TooManyIds = "TOO_MANY_IDS",
    /// The request is longer than any may be.
    RequestTooLarge = "REQUEST_TOO_LARGE",
    /// The bytes of the request are not what the method takes.
    MalformedRequest = "MALFORMED_REQUEST",
    /// The service has no such method.
    UnknownMethod = "UNKNOWN_METHOD",
    /// The account, or the address that the call comes from, makes too many calls.
    RateLimited = "RATE_LIMITED",
    /// The account has as many subscriptions as it may have.
    TooManySubscriptions = "TOO_MANY_SUBSCRIPTIONS",
    /// As many messages wait for the recipient as may wait.
    RecipientFull = "RECIPIENT_FULL",
    /// A replica's disk is nearly full: nothing is written until there is room. Reads are answered.
    DiskFull = "DISK_FULL",
    /// The replica does not lead, and was asked not to pass the call on.
    NotLeader = "NOT_LEADER",
    /// No leader is known at this moment.
    NoLeader = "NO_LEADER",
    /// The replica has not caught up with the read token of the call.
    StaleRead = "STALE_READ",
    /// The replica's state was damaged, and it takes another one: ask another replica meanwhile.
    StateDamaged = "STATE_DAMAGED",
    /// The read token of the call names a place in a history that lost: another one took its place when two were merged.
    /// What was acknowledged in it is there again, or will be in a moment, at other places.
    HistoryChanged = "HISTORY_CHANGED",
    /// The replica has too much to do.
    Overloaded = "OVERLOADED",
    /// The replica is going away.
    ShuttingDown = "SHUTTING_DOWN",
    /// The call was not sent whole, or not answered, in the time that any call may take.
    CallTooLong = "CALL_TOO_LONG",
    /// A defect of the service.
    Internal = "INTERNAL",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reason is not one that this version knows")]
pub struct UnknownReason;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        for &reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
            assert!(
                reason
                    .as_str()
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b == b'_')
            );
        }
        assert_eq!("no_leader".parse::<Reason>(), Err(UnknownReason));
    }
}
