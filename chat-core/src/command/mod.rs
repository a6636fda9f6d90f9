//! What can be asked of an [`AccountManager`](crate::AccountManager).

mod codec;
mod digest;

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::{
    password::PasswordHash,
    values::{
        body::Body,
        id::{AccountId, MessageId, RequestId, SessionId},
        name::{Skeleton, Username},
        secret::{CredentialVersion, TokenHash},
        time::Timestamp,
    },
};

pub use self::codec::DecodeError;
pub(crate) use self::digest::{Digest, sent as digest_of_sent};

/// One change to the state, with everything that decides its effect inside.
///
/// It names accounts, sessions and messages by id only, never by user name or position, so that it still means the same
/// when it is applied to a state that it was not made for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Command {
    /// Minted by the client and repeated with every retry. Ids that the command creates derive from it.
    pub request: RequestId,
    /// When the edge took the request, by its clock. A retry may carry another moment.
    pub at: Timestamp,
    /// What to do.
    pub body: CommandBody,
}

/// What a command does. Who may ask for it is decided at the edge: here, the account that is named is the one that asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum CommandBody {
    /// Registers [`AccountId::derive`]`(request)` under a name.
    CreateAccount {
        /// The name in its normal form.
        name: Username,
        /// `name.skeleton()`, taken at the edge.
        skeleton: Skeleton,
        /// Hash of the first password.
        password: PasswordHash,
    },
    /// Replaces the password and closes every session but one.
    ChangePassword {
        /// Whose password.
        account: AccountId,
        /// The password that the edge verified before it asked for this.
        verified: CredentialVersion,
        /// Hash of the new password.
        password: PasswordHash,
        /// The session that stays open: the one in which the password was changed.
        keep: Option<SessionId>,
    },
    /// Deletes an account. Its name is free at once; messages that wait for it are dropped; messages that it sent stay.
    DeleteAccount {
        /// Which account.
        account: AccountId,
    },
    /// Opens [`SessionId::derive`]`(account, request)`, or, when that is a retry, adds a second secret to it.
    OpenSession {
        /// Whose session.
        account: AccountId,
        /// Hash of the session's secret. A retry brings another one; both are good, up to [`Command::MAX_TOKENS`].
        token: TokenHash,
        /// The password that the edge verified.
        verified: CredentialVersion,
        /// When the session ends by itself.
        expires_at: Timestamp,
        /// What becomes of the account's other sessions.
        policy: SessionPolicy,
    },
    /// Closes one session.
    CloseSession {
        /// Whose session.
        account: AccountId,
        /// Which session.
        session: SessionId,
    },
    /// Closes all sessions of an account.
    CloseAllSessions {
        /// Whose sessions.
        account: AccountId,
        /// The one that stays, if any.
        except: Option<SessionId>,
    },
    /// Sends [`MessageId::derive`]`(sender, request)`.
    Send {
        /// Who writes.
        sender: AccountId,
        /// To whom; oneself is allowed.
        recipient: AccountId,
        /// The text.
        body: Body,
    },
    /// Confirms that messages have reached their recipient's client.
    MarkDelivered {
        /// The recipient.
        account: AccountId,
        /// At most [`Command::MAX_BATCH`].
        messages: Vec<MessageId>,
    },
    /// Says that messages were read; they then count as delivered as well.
    MarkRead {
        /// The recipient.
        account: AccountId,
        /// At most [`Command::MAX_BATCH`].
        messages: Vec<MessageId>,
    },
    /// Says that everything that `peer` wrote was read, up to and with one message of the conversation.
    ReadThrough {
        /// The reader.
        account: AccountId,
        /// The other side of the conversation.
        peer: AccountId,
        /// The last message that was read, no matter who wrote it.
        message: MessageId,
    },
    /// Deletes messages.
    DeleteMessages {
        /// Who deletes.
        account: AccountId,
        /// At most [`Command::MAX_BATCH`].
        messages: Vec<MessageId>,
        /// For whom they disappear.
        scope: DeleteScope,
    },
    /// Housekeeping: forgets what retries no longer need, drops sessions that have ended, clears up after deleted
    /// accounts.
    ///
    /// Requests minted before the horizon are refused from then on, which is what makes forgetting safe. The horizon
    /// trails the newest request that was accepted by [`Command::REQUEST_WINDOW`] or more, so that a wrong clock at one
    /// edge cannot lock clients out.
    Expire {
        /// The horizon: nothing minted at or after this moment is forgotten.
        before: Timestamp,
        /// The most rows to visit, so that no single command takes long.
        limit: u32,
    },
}

/// What becomes of an account's other sessions when one is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionPolicy {
    /// One session per account: the others are closed.
    Single,
    /// Several at once. Beyond the most allowed, the oldest are closed; [`Command::MAX_SESSIONS`] at most.
    Several {
        /// How many may be open.
        most: NonZeroU16,
    },
}

/// For whom a message disappears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeleteScope {
    /// For the account that deletes.
    ForMe,
    /// For both sides; only the sender may ask for this.
    ForBoth,
}

impl Command {
    /// The most messages that one command marks or deletes.
    pub const MAX_BATCH: usize = 1_000;

    /// The most secrets of one session, each from one retry of its login.
    pub const MAX_TOKENS: usize = 8;

    /// The most sessions of one account, whatever the policy says.
    pub const MAX_SESSIONS: u16 = 1_000;

    /// How long a request may be retried: 30 days from when it was minted.
    pub const REQUEST_WINDOW: std::time::Duration =
        std::time::Duration::from_secs(30 * 24 * 60 * 60);

    /// How far a client's clock may run ahead of the edge's: one day.
    pub const MAX_CLOCK_LEAD: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

    /// The account that asks: the one to which the request id belongs.
    pub fn account(&self) -> AccountId {
        match &self.body {
            CommandBody::CreateAccount { .. } => AccountId::derive(self.request),
            CommandBody::Send { sender, .. } => *sender,
            CommandBody::ChangePassword { account, .. }
            | CommandBody::DeleteAccount { account }
            | CommandBody::OpenSession { account, .. }
            | CommandBody::CloseSession { account, .. }
            | CommandBody::CloseAllSessions { account, .. }
            | CommandBody::MarkDelivered { account, .. }
            | CommandBody::MarkRead { account, .. }
            | CommandBody::ReadThrough { account, .. }
            | CommandBody::DeleteMessages { account, .. } => *account,
            CommandBody::Expire { .. } => AccountId::SYSTEM,
        }
    }
}
