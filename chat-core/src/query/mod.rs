//! Looking at the state. Every list comes in pages, and a page costs what it shows, not what is stored.

mod accounts;
mod check;
mod conversations;
mod history;
mod requests;
mod sessions;
mod state;
mod undelivered;

pub use self::{
    accounts::Credentials,
    check::Census,
    history::HistoryFrom,
    sessions::SessionCheck,
    state::{StateHash, Stats},
};

use std::collections::BTreeMap;

use crate::{
    manager::AccountManager,
    message::{AccountStatus, Profile},
    rows::{
        account::{AccountKey, AccountNumber},
        identity::{Identity, IdentityKey},
    },
    store::KeyValue,
    values::{id::AccountId, name::Username},
};

/// The most items of a page, whatever is asked for.
pub const MAX_PAGE: usize = 1_000;

/// The most text on a page, in bytes; a single message may be longer.
const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// The most rows that a page looks at, those included that it does not show.
const MAX_VISITED: usize = 10_000;

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The items, in the list's order. Fewer than asked for, even none, when they are long or far apart; only `next`
    /// says whether the list has ended.
    pub items: Vec<T>,
    /// Where the list goes on, or nothing at its end.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    fn empty() -> Self {
        Self {
            items: Vec::new(),
            next: None,
        }
    }
}

/// The accounts that appear on one page, each read once.
#[derive(Default)]
struct Profiles(BTreeMap<AccountNumber, Profile>);

impl Profiles {
    fn of<S: KeyValue>(
        &mut self,
        manager: &AccountManager<S>,
        number: AccountNumber,
    ) -> Result<Profile, S::Error> {
        if let Some(known) = self.0.get(&number) {
            return Ok(known.clone());
        }
        let profile = manager.profile(number)?;
        self.0.insert(number, profile.clone());
        Ok(profile)
    }
}

impl<S: KeyValue> AccountManager<S> {
    fn profile(&self, number: AccountNumber) -> Result<Profile, S::Error> {
        if number == AccountNumber::SYSTEM {
            return Ok(Profile {
                id: AccountId::SYSTEM,
                name: Username::system(),
                status: AccountStatus::System,
            });
        }
        let row = self.rows.require(&AccountKey(number))?;
        Ok(Profile {
            id: row.id,
            name: row.name,
            status: row.status,
        })
    }

    /// The number of an account that was registered once, or of the service.
    fn number(&self, account: AccountId) -> Result<Option<AccountNumber>, S::Error> {
        if account == AccountId::SYSTEM {
            return Ok(Some(AccountNumber::SYSTEM));
        }
        Ok(match self.rows.read(&IdentityKey(account))? {
            Some(Identity::Known { number, .. }) => Some(number),
            Some(Identity::Gone) | None => None,
        })
    }

    /// The number of an account that can look at something.
    fn reader(&self, account: AccountId) -> Result<Option<AccountNumber>, S::Error> {
        Ok(match self.rows.read(&IdentityKey(account))? {
            Some(Identity::Known {
                number,
                status: AccountStatus::Active,
                ..
            }) => Some(number),
            _ => None,
        })
    }
}

/// How many items a page may have.
fn page_size(limit: usize) -> usize {
    limit.clamp(1, MAX_PAGE)
}
