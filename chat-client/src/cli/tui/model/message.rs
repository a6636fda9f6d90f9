//! What goes into the model, and what it asks for.

use ratatui::crossterm::event::KeyEvent;

use super::overlay::Doomed;
use crate::cluster::ClusterStatus;
use crate::error::Error;
use crate::events::ClientEvent;
use crate::ids::{AccountId, MessageId};
use crate::outbox::{OutboxEvent, OutboxMessage};
use crate::subscription::Event;
use crate::types::{Account, Conversation, DeleteScope, Message, Page, PageRequest};

/// Something that happened.
#[derive(Debug)]
pub(in crate::cli::tui) enum Input {
    Key(KeyEvent),
    Paste(String),
    /// Columns and rows.
    Resize(u16, u16),
    Focus(Focus),
    /// A second has passed.
    Tick,
    /// From the stream.
    Event(Event),
    StreamEnded(Option<Error>),
    Client(ClientEvent),
    Outbox(OutboxEvent),
    /// Whoever is logged in, and what waits in the outbox.
    Opened {
        me: Me,
        waiting: Vec<OutboxMessage>,
    },
    LoginFailed(Error),
    LoggedOut,
    Status(Result<ClusterStatus, Error>),
    Conversations {
        as_of: u64,
        result: Result<Vec<Conversation>, Error>,
    },
    History {
        peer: String,
        result: Result<Page<Message>, Error>,
    },
    Accounts {
        filter: String,
        result: Result<Vec<Account>, Error>,
    },
    MarkedRead {
        peer: String,
        result: Result<(), Error>,
    },
    Put {
        recipient: String,
        body: String,
        result: Result<OutboxMessage, String>,
    },
    Deleted {
        what: MessageId,
        result: Result<(), Error>,
    },
}

/// Something that somebody else has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::tui) enum Effect {
    Subscribe,
    AskStatus,
    LoadConversations {
        as_of: u64,
    },
    LoadHistory {
        peer: String,
        page: PageRequest,
    },
    ListAccounts {
        filter: String,
    },
    MarkRead {
        peer: String,
        through: MessageId,
    },
    Put {
        recipient: String,
        body: String,
    },
    Delete {
        what: MessageId,
        scope: DeleteScope,
    },
    Login {
        name: String,
        password: String,
    },
    Register {
        name: String,
        password: String,
    },
    Logout,
    /// The terminal may show something else than it should.
    Redraw,
    Quit,
}

/// Whether the user looks at the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::tui) enum Focus {
    #[default]
    Here,
    Elsewhere,
}

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::tui) struct Me {
    pub(in crate::cli::tui) id: AccountId,
    pub(in crate::cli::tui) name: String,
}

impl Doomed {
    pub(super) fn message(self) -> Option<MessageId> {
        match self {
            Doomed::Message(id) => Some(id),
            Doomed::Refused(_) => None,
        }
    }
}
