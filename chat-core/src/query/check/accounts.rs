//! Accounts, their names, passwords and sessions.

use super::Census;
use crate::{
    manager::AccountManager,
    message::AccountStatus,
    rows::{
        account::{AccountKey, AccountNumber, CredentialKey},
        identity::{Identity, IdentityKey},
        name::{NameKey, SkeletonKey},
        request::{Forget, ForgetKey},
        session::{AccountSessionKey, SessionEndKey, SessionKey, SessionRow},
    },
    store::KeyValue,
};

impl<S: KeyValue> AccountManager<S> {
    /// An id leads to a number, the number back to the id, and whoever is active has a name and a password.
    pub(super) fn check_accounts(&self, census: &mut Census) -> Result<(), S::Error> {
        let next = AccountNumber::new(self.meta.next_account);
        self.each::<AccountKey>(|key, row| {
            let id = row.id;
            census.expect(key.0 > AccountNumber::SYSTEM && key.0 < next, || {
                format!("account {id} has a number that was never given out")
            });
            let known = Identity::Known {
                number: key.0,
                name: row.name.clone(),
                status: row.status,
            };
            census.expect(self.rows.read(&IdentityKey(id))? == Some(known), || {
                format!("the id of account {id} does not lead to it")
            });
            let is_active = row.status == AccountStatus::Active;
            match is_active {
                true => census.accounts += 1,
                false => census.deleted_accounts += 1,
            }
            let has_password = self.rows.read(&CredentialKey(key.0))?.is_some();
            census.expect(has_password == is_active, || {
                format!("account {id} has no password and is active, or has one and is not")
            });
            let named = self.rows.read(&NameKey(row.name.clone()))? == Some(key.0);
            census.expect(named == is_active, || {
                format!(
                    "the name of account {id} does not lead to it, or does though it is deleted"
                )
            });
            if let Some(skeleton) = row.skeleton {
                let reserved = self.rows.read(&SkeletonKey(skeleton))? == Some(key.0);
                census.expect(reserved && is_active, || {
                    format!("what looks like the name of account {id} is not kept from others")
                });
            }
            Ok(())
        })?;
        self.each::<CredentialKey>(|key, _| {
            let status = self.status_of(key.0)?;
            census.expect(status == Some(AccountStatus::Active), || {
                format!(
                    "there is a password of {:?}, which is no active account",
                    key.0
                )
            });
            Ok(())
        })
    }

    /// Nothing leads to an account that is not there, or to another one.
    pub(super) fn check_names(&self, census: &mut Census) -> Result<(), S::Error> {
        self.each::<IdentityKey>(|key, identity| {
            let fits = match identity {
                Identity::Known { number, .. } => {
                    let row = self.rows.read(&AccountKey(number))?;
                    row.is_some_and(|row| row.id == key.0)
                }
                Identity::Gone => {
                    let forget = self.rows.read(&ForgetKey(*key.0.as_uuid()))?;
                    forget == Some(Forget::Account)
                }
            };
            census.expect(fits, || {
                format!(
                    "the id {} stands for no account, and is never forgotten",
                    key.0
                )
            });
            Ok(())
        })?;
        self.each::<NameKey>(|key, number| {
            let row = self.rows.read(&AccountKey(number))?;
            census.expect(row.is_some_and(|row| row.name == key.0), || {
                format!("the name {} leads to an account of another name", key.0)
            });
            Ok(())
        })?;
        self.each::<SkeletonKey>(|key, number| {
            let row = self.rows.read(&AccountKey(number))?;
            census.expect(
                row.is_some_and(|row| row.skeleton.as_ref() == Some(&key.0)),
                || format!("what looks like {:?} is kept from others for nobody", key.0),
            );
            Ok(())
        })
    }

    /// A session is found by its account and by its end, and these find nothing else.
    pub(super) fn check_sessions(&self, census: &mut Census) -> Result<(), S::Error> {
        self.each::<SessionKey>(|key, row| {
            let session = key.0;
            let open = match row {
                SessionRow::Open(open) => open,
                SessionRow::Closed { .. } => {
                    let forget = self.rows.read(&ForgetKey(*session.as_uuid()))?;
                    census.expect(forget.is_some(), || {
                        format!("that session {session} is closed is never forgotten")
                    });
                    return Ok(());
                }
            };
            census.sessions += 1;
            let of_account = AccountSessionKey {
                account: open.number,
                session,
            };
            let by_end = SessionEndKey {
                expires_at: open.expires_at,
                session,
            };
            let is_listed = self.rows.read(&of_account)?.is_some();
            census.expect(is_listed, || {
                format!("session {session} is not in its account's list")
            });
            census.expect(self.rows.read(&by_end)?.is_some(), || {
                format!("session {session} never ends")
            });
            let row = self.rows.read(&AccountKey(open.number))?;
            let is_of_active = row
                .is_some_and(|row| row.id == open.account && row.status == AccountStatus::Active);
            census.expect(is_of_active, || {
                format!("session {session} is of no active account")
            });
            Ok(())
        })?;
        let open = |session| -> Result<_, S::Error> {
            Ok(match self.rows.read(&SessionKey(session))? {
                Some(SessionRow::Open(open)) => Some(open),
                Some(SessionRow::Closed { .. }) | None => None,
            })
        };
        self.each::<AccountSessionKey>(|key, ()| {
            let fits = open(key.session)?.is_some_and(|open| open.number == key.account);
            census.expect(fits, || {
                format!(
                    "an account lists session {}, which is not its own or not open",
                    key.session
                )
            });
            Ok(())
        })?;
        self.each::<SessionEndKey>(|key, ()| {
            let fits = open(key.session)?.is_some_and(|open| open.expires_at == key.expires_at);
            census.expect(fits, || {
                format!(
                    "session {} is to end, and is not open or ends at another time",
                    key.session
                )
            });
            Ok(())
        })
    }
}
