//! Looking accounts up, and listing them.

use std::ops::ControlFlow;

use super::{MAX_VISITED, Page, page_size};
use crate::{
    manager::AccountManager,
    message::{AccountStatus, Profile},
    password::PasswordHash,
    pattern::Pattern,
    rows::{
        Span,
        account::CredentialKey,
        identity::{Identity, IdentityKey},
        name::NameKey,
    },
    store::{KeyValue, Order},
    values::{id::AccountId, name::Username, secret::CredentialVersion},
};

/// What a login is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The hash to verify the password with.
    pub hash: PasswordHash,
    /// What to put into the command that follows, so that it is refused if the password changes in between.
    pub version: CredentialVersion,
}

impl<S: KeyValue> AccountManager<S> {
    /// An account, or a deleted one: see [`Profile::status`].
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn account(&self, id: AccountId) -> Result<Option<Profile>, S::Error> {
        if id == AccountId::SYSTEM {
            return self
                .number(id)?
                .map(|number| self.profile(number))
                .transpose();
        }
        Ok(match self.rows.read(&IdentityKey(id))? {
            Some(Identity::Known { name, status, .. }) => Some(Profile { id, name, status }),
            Some(Identity::Gone) | None => None,
        })
    }

    /// The active account that has a name.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn account_by_name(&self, name: &Username) -> Result<Option<Profile>, S::Error> {
        match self.rows.read(&NameKey(name.clone()))? {
            Some(number) => self.profile(number).map(Some),
            None => Ok(None),
        }
    }

    /// What a login to an active account is checked against.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn credentials(&self, account: AccountId) -> Result<Option<Credentials>, S::Error> {
        let Some(number) = self.reader(account)? else {
            return Ok(None);
        };
        let row = self.rows.require(&CredentialKey(number))?;
        Ok(Some(Credentials {
            hash: row.hash,
            version: row.version,
        }))
    }

    /// Active accounts whose names match, by name, from behind `after`. `limit` is held between 1 and
    /// [`MAX_PAGE`](crate::MAX_PAGE).
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn accounts(
        &self,
        pattern: &Pattern,
        after: Option<&Username>,
        limit: usize,
    ) -> Result<Page<Profile, Username>, S::Error> {
        let limit = page_size(limit);
        let mut span = Span::prefix::<NameKey>(|key| key.text(pattern.prefix()));
        match after {
            Some(after) if after.as_str() < pattern.prefix() => {}
            Some(after) => span = span.after(&NameKey(after.clone())),
            None => {}
        }
        let mut found = Vec::new();
        let (mut last, mut visited, mut is_cut) = (None, 0, false);
        self.rows
            .visit::<NameKey>(&span, Order::Ascending, |NameKey(name), number| {
                if found.len() >= limit || visited >= MAX_VISITED {
                    is_cut = true;
                    return ControlFlow::Break(());
                }
                visited += 1;
                if pattern.matches(name.as_str()) {
                    found.push((name.clone(), number));
                }
                last = Some(name);
                ControlFlow::Continue(())
            })?;
        let mut items = Vec::with_capacity(found.len());
        for (name, number) in found {
            let id = self.profile(number)?.id;
            items.push(Profile {
                id,
                name,
                status: AccountStatus::Active,
            });
        }
        Ok(Page {
            items,
            next: last.filter(|_| is_cut),
        })
    }
}
