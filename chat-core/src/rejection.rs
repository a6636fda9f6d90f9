//! Why a command was refused.

use crate::{
    command::Command,
    values::{
        id::{AccountId, MessageId, SessionId},
        name::Username,
    },
};

/// A refusal. It depends on the command and the state alone, so that every replica refuses alike; it changed nothing.
///
/// Refusals are not remembered: the same request may be accepted later, when the state allows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Somebody has the name.
    #[error("the user name `{name}` is taken: choose another")]
    NameTaken {
        /// The name.
        name: Username,
    },
    /// The name looks like one that somebody has.
    #[error("the user name `{name}` looks too much like `{with}`, which is taken: choose another")]
    NameConfusable {
        /// The name asked for.
        name: Username,
        /// The one it would be taken for.
        with: Username,
    },
    /// The name has the form of those that the service itself gives.
    #[error("the user name `{name}` has a form that only the server gives: choose one without `~`")]
    NameReserved {
        /// The name.
        name: Username,
    },
    /// The account that asks does not exist.
    #[error("there is no account {account}: register, or log in again")]
    AccountNotFound {
        /// The id.
        account: AccountId,
    },
    /// The account that asks was deleted.
    #[error("the account {account} was deleted: register a new one")]
    AccountDeleted {
        /// The id.
        account: AccountId,
    },
    /// The account to write to does not exist or was deleted.
    #[error("there is no account {recipient} to write to: look the name up again")]
    RecipientNotFound {
        /// The id.
        recipient: AccountId,
    },
    /// The password was changed after it was verified.
    #[error("the password was changed in the meantime: enter the new one")]
    StaleCredential,
    /// The session would have ended before it began.
    #[error("the session would already have ended: ask for one that lasts longer")]
    ExpiryInPast,
    /// A login was retried after its session had been closed.
    #[error("the session {session} is closed: log in again under a new request id")]
    SessionClosed {
        /// The session.
        session: SessionId,
    },
    /// A login was retried too often to tell its secrets apart.
    #[error(
        "this login was retried more than {} times: log in again under a new request id",
        Command::MAX_TOKENS
    )]
    TooManyTokens,
    /// The session belongs to another account.
    #[error("the account has no session {session}: list its sessions")]
    SessionNotFound {
        /// The session.
        session: SessionId,
    },
    /// The account is no party to the message.
    #[error("there is no message {message} in this conversation: list it again")]
    MessageNotFound {
        /// The message.
        message: MessageId,
    },
    /// Only its sender may delete a message for both sides.
    #[error("message {message} was written by somebody else: it can be deleted for yourself only")]
    NotSender {
        /// The message.
        message: MessageId,
    },
    /// Too many messages are named at once.
    #[error(
        "{count} messages are named and at most {} may be: split the request",
        Command::MAX_BATCH
    )]
    BatchTooLarge {
        /// How many are named.
        count: usize,
    },
    /// The id of another request was used again.
    #[error("this request id was used for another request: mint a new one for every request")]
    RequestIdReused,
    /// The request is older than retries may be.
    #[error(
        "the request was minted more than 30 days ago: mint a new request id, and check the device's clock"
    )]
    RequestTooOld,
    /// The request comes from the future.
    #[error(
        "the request was minted more than a day ahead of the server's time: check the device's clock"
    )]
    RequestFromFuture,
    /// Four thousand million accounts have been registered.
    #[error("no further account can be registered on this server")]
    AccountsExhausted,
}
