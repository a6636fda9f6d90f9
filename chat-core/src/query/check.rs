//! Whether the rows fit together: what applying commands keeps true, looked for in every row.
//!
//! A checksum tells whether a row is what was written; this tells whether what was written makes sense. It reads
//! everything and holds next to nothing, so it is for files that nobody uses at the moment.

mod accounts;
mod messages;
mod rest;

use std::{collections::BTreeMap, ops::Bound, ops::ControlFlow};

use crate::{
    manager::AccountManager,
    message::AccountStatus,
    rows::{
        RowKey, Span,
        account::{AccountKey, AccountNumber},
    },
    store::{KeyValue, Order},
};

/// What is stored, counted row by row, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// All rows.
    pub rows: u64,
    /// Active accounts.
    pub accounts: u64,
    /// Accounts that were deleted, whose names others still see.
    pub deleted_accounts: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Conversations.
    pub conversations: u64,
    /// Messages that somebody sees.
    pub messages: u64,
    /// Of these, those that wait to be delivered.
    pub undelivered: u64,
    /// Requests whose retries are recognised, other than sends.
    pub requests: u64,
    /// What does not fit, in words: the first of them, at most [`Census::MOST_FLAWS`].
    pub flaws: Vec<String>,
    /// How many there are in all.
    pub flaws_found: u64,
}

impl Census {
    /// How many flaws are put into words.
    pub const MOST_FLAWS: usize = 20;

    fn flaw(&mut self, words: String) {
        self.flaws_found += 1;
        if self.flaws.len() < Self::MOST_FLAWS {
            self.flaws.push(words);
        }
    }

    fn expect(&mut self, holds: bool, words: impl FnOnce() -> String) {
        if !holds {
            self.flaw(words());
        }
    }
}

/// How a visit to rows goes that ends with the first failure to look at one.
struct Looking<E> {
    failed: Option<E>,
}

impl<E> Default for Looking<E> {
    fn default() -> Self {
        Self { failed: None }
    }
}

impl<E> Looking<E> {
    fn goes_on(&mut self, looked: Result<(), E>) -> ControlFlow<()> {
        match looked {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn ended(self) -> Result<(), E> {
        self.failed.map_or(Ok(()), Err)
    }
}

impl<S: KeyValue> AccountManager<S> {
    /// Reads every row, counts, and looks for rows that contradict each other.
    ///
    /// # Errors
    ///
    /// The store failed, or holds a row that cannot be read at all.
    pub fn check(&self) -> Result<Census, S::Error> {
        let mut census = Census::default();
        self.check_tables(&mut census)?;
        self.check_accounts(&mut census)?;
        self.check_names(&mut census)?;
        self.check_sessions(&mut census)?;
        self.check_messages(&mut census)?;
        self.check_conversations(&mut census)?;
        self.check_lists(&mut census)?;
        self.check_rest(&mut census)?;
        let counted = [
            ("accounts", self.meta.accounts, census.accounts),
            ("sessions", self.meta.sessions, census.sessions),
            ("messages", self.meta.messages, census.messages),
        ];
        for (what, kept, found) in counted {
            census.expect(kept == found, || {
                format!("there are {found} {what}, and the count says {kept}")
            });
        }
        Ok(census)
    }

    /// Counts all rows, and finds those of no table.
    fn check_tables(&self, census: &mut Census) -> Result<(), S::Error> {
        let mut tables = BTreeMap::<Option<u8>, u64>::new();
        self.rows.store().scan(
            (Bound::Unbounded, Bound::Unbounded),
            Order::Ascending,
            &mut |key, _| {
                *tables.entry(key.first().copied()).or_default() += 1;
                ControlFlow::Continue(())
            },
        )?;
        for (table, rows) in tables {
            census.rows += rows;
            census.expect(table.is_some_and(|table| table <= LAST_TABLE), || {
                format!("{rows} rows are of the unknown table {table:02x?}")
            });
        }
        Ok(())
    }

    /// Shows every row of a table, until one makes `look` fail.
    fn each<K: RowKey>(
        &self,
        mut look: impl FnMut(K, K::Value) -> Result<(), S::Error>,
    ) -> Result<(), S::Error> {
        let mut looking = Looking::default();
        self.rows
            .visit::<K>(&Span::table::<K>(), Order::Ascending, |key, value| {
                looking.goes_on(look(key, value))
            })?;
        looking.ended()
    }

    /// The status of an account; the service has one, and no row.
    fn status_of(&self, number: AccountNumber) -> Result<Option<AccountStatus>, S::Error> {
        if number == AccountNumber::SYSTEM {
            return Ok(Some(AccountStatus::System));
        }
        Ok(self.rows.read(&AccountKey(number))?.map(|row| row.status))
    }
}

/// The greatest byte that a key begins with.
const LAST_TABLE: u8 = crate::rows::stood::StoodKey::TABLE;

#[cfg(test)]
mod tests;
