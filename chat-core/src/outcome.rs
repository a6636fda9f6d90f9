//! What a command came to.

use serde::{Deserialize, Serialize};

use crate::{
    event::Event,
    rejection::Rejection,
    values::{
        id::{AccountId, MessageId, SessionId},
        name::Username,
        secret::CredentialVersion,
        time::Timestamp,
    },
};

/// The result of applying a command.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The outcome, or why the command was refused. A refused command has changed nothing and may be retried.
    pub result: Result<Outcome, Rejection>,
    /// What subscribers want to hear of, in order. Empty for a retry: its events went out with the original.
    pub events: Vec<Event>,
}

/// What an accepted command did. A retry is answered with the outcome of the original.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The account exists.
    AccountCreated {
        /// Its id.
        account: AccountId,
        /// Its name: the one asked for, unless the account lost it in a merge.
        name: Username,
        /// Names the password, for an `OpenSession` that follows at once.
        credential: CredentialVersion,
    },
    /// The password in force after the command: the new one, unless a merge found a later change.
    PasswordChanged {
        /// Names the password.
        credential: CredentialVersion,
    },
    /// The account is gone.
    AccountDeleted,
    /// The session is open.
    SessionOpened {
        /// Its id.
        session: SessionId,
        /// When it ends by itself.
        expires_at: Timestamp,
    },
    /// Sessions were closed.
    SessionsClosed {
        /// How many this command closed.
        count: u32,
    },
    /// The message is stored, or was once and has been deleted since.
    MessageSent {
        /// Its id.
        message: MessageId,
        /// When it was sent: the moment in the first command that was applied for it.
        at: Timestamp,
    },
    /// Messages count as delivered.
    MarkedDelivered {
        /// How many did not before.
        count: u32,
    },
    /// Messages count as read.
    MarkedRead {
        /// How many did not before.
        count: u32,
        /// Whether the conversation goes on beyond what one command reads.
        progress: Progress,
    },
    /// Messages are deleted.
    MessagesDeleted {
        /// How many were visible before.
        count: u32,
    },
    /// Rows that nothing needs any more are gone.
    Expired {
        /// How many rows this command visited.
        visited: u32,
        /// Whether another command would find more.
        progress: Progress,
    },
}

/// Whether a command of bounded work has come to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Nothing is left to do.
    Done,
    /// The same again, under a new request id, carries on.
    More,
}
