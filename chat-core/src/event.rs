//! What subscribers hear.

use std::sync::Arc;

use crate::{
    command::DeleteScope,
    message::Message,
    values::{
        id::{AccountId, MessageId, SessionId},
        name::Username,
        time::Timestamp,
    },
};

/// Something that happened to an account, for whoever subscribes to that account. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Whose subscribers get it.
    pub account: AccountId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A message or a notice waits in the account's inbox.
    MessageReceived {
        /// The message.
        message: Arc<Message>,
    },
    /// The account sent a message, from some session.
    MessageSent {
        /// The message.
        message: Arc<Message>,
    },
    /// Messages that the account sent have reached their recipient's client.
    Delivered {
        /// The recipient.
        by: AccountId,
        /// The messages.
        messages: Arc<[MessageId]>,
        /// When the edge was told.
        at: Timestamp,
    },
    /// Messages that the account sent were read, or, when `by` is the account, it read them in some session.
    Read {
        /// The reader.
        by: AccountId,
        /// The messages.
        messages: Arc<[MessageId]>,
        /// When the edge was told.
        at: Timestamp,
    },
    /// Everything in a conversation was read up to and with a message.
    ReadThrough {
        /// The reader.
        by: AccountId,
        /// The account that wrote what was read.
        peer: AccountId,
        /// The last message that was read.
        message: MessageId,
        /// When the edge was told.
        at: Timestamp,
    },
    /// Messages have disappeared for the account.
    MessagesDeleted {
        /// Who deleted them.
        by: AccountId,
        /// The other side of their conversation, as the account sees it; one event is about one conversation.
        peer: AccountId,
        /// The messages.
        messages: Arc<[MessageId]>,
        /// For whom.
        scope: DeleteScope,
    },
    /// An account was deleted: the subscriber's own, or one that it talks with. Only the
    /// [`RECENT_PEERS`](EventKind::RECENT_PEERS) it talked with last are told; others see it when they look.
    AccountDeleted {
        /// Which account.
        account: AccountId,
    },
    /// The account lost its name in a merge. A notice in its inbox says so as well.
    AccountRenamed {
        /// The name it had.
        from: Username,
        /// The name it has.
        to: Username,
    },
    /// A session of the account has ended.
    SessionClosed {
        /// Which.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It was closed by name, or with all others.
    LoggedOut,
    /// Another login took its place.
    Replaced,
    /// The password was changed.
    PasswordChanged,
    /// The account was deleted.
    AccountDeleted,
    /// Its time was over.
    Expired,
}

impl EventKind {
    /// How many of the last conversation partners hear of an account's deletion, so that deleting takes bounded work.
    pub const RECENT_PEERS: usize = 256;
}
