//! Messages, conversations and accounts as queries and events show them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::values::{
    id::{AccountId, MessageId, SessionId},
    name::Username,
    time::Timestamp,
};

/// An account as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its id.
    pub id: AccountId,
    /// Its name; that of a deleted account may belong to somebody else by now.
    pub name: Username,
    /// Whether it still exists.
    pub status: AccountStatus,
}

/// Whether an account exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountStatus {
    /// It can log in and be written to.
    Active,
    /// It was deleted; what it sent stays.
    Deleted,
    /// The service itself, which sends notices.
    System,
}

/// A session of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub account: AccountId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// The place of a command, and of the message that it sent, on this branch of history. Grows with every command that is
/// accepted, not by one each time; a merge may give another one to the same message.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Sequence(u64);

impl Sequence {
    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of the position.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its position, by which pages are cut.
    pub sequence: Sequence,
    /// Who wrote it.
    pub sender: Profile,
    /// To whom.
    pub recipient: Profile,
    /// What it says.
    pub content: Content,
    /// When it was sent.
    pub at: Timestamp,
    /// How far it has come.
    pub state: MessageState,
}

/// What a message says. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// What somebody wrote.
    Text(Arc<str>),
    /// What the service has to say.
    Notice(Notice),
}

/// Where a conversation stands in an account's list: the greater, the more recent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConversationCursor(u64);

impl ConversationCursor {
    /// The cursor with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of the cursor.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// What the service tells an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// Two histories were merged, and in the other one somebody had the name first.
    Renamed {
        /// The name that was lost.
        from: Username,
        /// The name by which the account lives on, and logs in.
        to: Username,
    },
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MessageState {
    /// It waits in the recipient's inbox.
    Queued,
    /// The recipient's client has it.
    Delivered,
    /// The recipient has read it.
    Read,
}

/// What one account sees of its exchange with another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The other side; oneself, for notes to oneself.
    pub peer: Profile,
    /// How many messages from the peer were not read.
    pub unread: u32,
    /// The last message that this side can see. Absent when the messages at the end, very many, were all deleted.
    pub last: Option<Message>,
}

impl Notice {
    /// The notice in words.
    pub fn text(&self) -> String {
        match self {
            Self::Renamed { from, to } => format!(
                "When two servers that had been cut off from each other met again, both had an account `{from}`. The \
                 other one keeps the name; yours lives on as `{to}`, with everything in it. Log in as `{to}` from now on."
            ),
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Notice(notice) => notice.fmt(f),
        }
    }
}
