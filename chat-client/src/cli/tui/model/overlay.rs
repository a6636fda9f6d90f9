//! What stands in front of the conversation for a while.

use super::composer::Composer;
use super::line::Place;
use crate::ids::{MessageId, RequestId};
use crate::types::{Account, DeleteScope};

#[derive(Clone, Debug, Default)]
pub(in crate::cli::tui) enum Overlay {
    #[default]
    None,
    Help,
    Picker(Picker),
    Search(Search),
    /// One of the messages is pointed at.
    Selection(Place),
    /// A message is to be deleted, if the user means it.
    Confirm(Deletion),
    Login(Login),
}

/// Chooses whom to talk with.
#[derive(Clone, Debug, Default)]
pub(in crate::cli::tui) struct Picker {
    pub(in crate::cli::tui) filter: Composer,
    pub(in crate::cli::tui) accounts: Accounts,
    pub(in crate::cli::tui) chosen: usize,
}

#[derive(Clone, Debug, Default)]
pub(in crate::cli::tui) enum Accounts {
    #[default]
    Loading,
    /// In the order in which they are offered.
    Found(Vec<Account>),
    Failed(String),
}

/// Looks for a text in the conversation.
#[derive(Clone, Debug, Default)]
pub(in crate::cli::tui) struct Search {
    pub(in crate::cli::tui) query: Composer,
    pub(in crate::cli::tui) found: Option<Place>,
    pub(in crate::cli::tui) state: Searching,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::tui) enum Searching {
    #[default]
    Idle,
    /// Older messages are being fetched; what is sought may be among them.
    Older,
    /// There is no match further on.
    NoMore,
}

#[derive(Clone, Debug)]
pub(in crate::cli::tui) struct Deletion {
    pub(in crate::cli::tui) what: Doomed,
    pub(in crate::cli::tui) scope: DeleteScope,
    pub(in crate::cli::tui) body: String,
    /// Where the selection goes on if the user changes their mind.
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::tui) enum Doomed {
    Message(MessageId),
    /// Never left this machine.
    Refused(RequestId),
}

/// Name and password.
#[derive(Clone, Debug, Default)]
pub(in crate::cli::tui) struct Login {
    pub(in crate::cli::tui) name: Composer,
    pub(in crate::cli::tui) password: Composer,
    pub(in crate::cli::tui) field: Field,
    pub(in crate::cli::tui) state: LoginState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::tui) enum Field {
    #[default]
    Name,
    Password,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::tui) enum LoginState {
    #[default]
    Asking,
    UnderWay,
    Failed(String),
}

impl Picker {
    /// The accounts that match what was typed.
    pub(in crate::cli::tui) fn offered(&self) -> Vec<&Account> {
        let Accounts::Found(accounts) = &self.accounts else {
            return Vec::new();
        };
        let filter = self.filter.text().trim().to_lowercase();
        accounts
            .iter()
            .filter(|account| account.name.to_lowercase().contains(&filter))
            .collect()
    }
}

impl Login {
    pub(in crate::cli::tui) fn editor(&mut self) -> &mut Composer {
        match self.field {
            Field::Name => &mut self.name,
            Field::Password => &mut self.password,
        }
    }
}
