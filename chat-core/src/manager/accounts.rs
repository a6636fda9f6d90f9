//! Registering and deleting accounts.

use super::{AccountManager, Call, Fault, Origin, Party};
use crate::{
    event::{CloseReason, EventKind},
    lineage::Placed,
    message::{AccountStatus, Content, Notice},
    outcome::Outcome,
    password::PasswordHash,
    rejection::Rejection,
    rows::{
        Span,
        account::{AccountKey, AccountNumber, AccountRow, CredentialKey, CredentialRow},
        conversation::RecentKey,
        identity::{Identity, IdentityKey},
        name::{NameKey, SkeletonKey},
        request::Forget,
        sweep::{Sweep, SweepKey},
    },
    store::{KeyValue, Order},
    values::{
        id::{AccountId, MessageId},
        name::{Skeleton, Username},
        secret::CredentialVersion,
        time::Timestamp,
    },
};

impl<S: KeyValue> AccountManager<S> {
    pub(super) fn create_account(
        &mut self,
        call: &mut Call,
        name: Username,
        skeleton: Skeleton,
        password: PasswordHash,
    ) -> Result<Outcome, Fault<S::Error>> {
        let account = AccountId::derive(call.request);
        match self.rows.read(&IdentityKey(account))? {
            None => {}
            Some(Identity::Gone) => {
                return Err(Fault::Rejected(Rejection::AccountDeleted { account }));
            }
            Some(Identity::Known { .. }) => {
                return Err(Fault::Rejected(Rejection::RequestIdReused));
            }
        }
        if name.as_str().contains('~') {
            return Err(Fault::Rejected(Rejection::NameReserved { name }));
        }
        if self.meta.next_account == u32::MAX {
            return Err(Fault::Rejected(Rejection::AccountsExhausted));
        }
        let (name, lost) = match (self.name_conflict(&name, &skeleton)?, &call.origin) {
            (None, _) => (name, None),
            (Some((conflict, _)), Origin::Client) => return Err(Fault::Rejected(conflict)),
            // It was refused there as well.
            (Some((conflict, holder)), Origin::Reproposed(_)) if call.knew(&holder) => {
                return Err(Fault::Rejected(conflict));
            }
            (Some(_), Origin::Reproposed(_)) => (self.free_name(&name, account)?, Some(name)),
        };

        let number = AccountNumber::new(self.meta.next_account);
        let credential = CredentialVersion::set_by(call.request);
        // An account that lost its name does not keep others from names that look like it.
        let skeleton = lost.is_none().then_some(skeleton);
        self.meta.next_account += 1;
        self.meta.accounts += 1;
        self.rows.insert(
            &IdentityKey(account),
            &Identity::Known {
                number,
                name: name.clone(),
                status: AccountStatus::Active,
            },
        )?;
        self.rows.insert(
            &AccountKey(number),
            &AccountRow {
                id: account,
                name: name.clone(),
                status: AccountStatus::Active,
                skeleton: skeleton.clone(),
                sessions_closed_at: Timestamp::default(),
                created: call.placed(),
                deleted: None,
            },
        )?;
        let row = CredentialRow {
            hash: password,
            version: credential,
            at: call.at,
            set: call.placed(),
        };
        self.rows.insert(&CredentialKey(number), &row)?;
        self.rows.insert(&NameKey(name.clone()), &number)?;
        if let Some(skeleton) = skeleton {
            self.rows.insert(&SkeletonKey(skeleton), &number)?;
        }
        if let Some(lost) = lost {
            self.tell_renamed(
                call,
                Party {
                    id: account,
                    number,
                    name: name.clone(),
                    status: AccountStatus::Active,
                },
                lost,
            )?;
        }
        Ok(Outcome::AccountCreated {
            account,
            name,
            credential,
        })
    }

    /// Deletes an account in bounded work: what is found through other rows goes now, so that nothing leads to it any
    /// more, and the rest is left to [`Expire`](crate::CommandBody::Expire).
    ///
    /// It names one thing, the account, and deletion wins: so it closes sessions and drops what waits whether its author
    /// knew of them or not, even where it is proposed again. Nobody is left who could use a session or read a message;
    /// what others see stays, whichever branch it comes from.
    pub(super) fn delete_account(
        &mut self,
        call: &mut Call,
        account: AccountId,
    ) -> Result<Outcome, Fault<S::Error>> {
        let identity = self.rows.read(&IdentityKey(account))?;
        let Some(Identity::Known {
            number,
            name,
            status: AccountStatus::Active,
        }) = identity
        else {
            if account == AccountId::SYSTEM {
                return Err(Fault::Rejected(Rejection::AccountNotFound { account }));
            }
            // A deletion wins over a registration that comes after it.
            if identity.is_none() && self.may_still_come(call, account.time()) {
                self.rows.insert(&IdentityKey(account), &Identity::Gone)?;
                self.forget_later(*account.as_uuid(), Forget::Account)?;
            }
            if let Some(Identity::Known { number, .. }) = identity {
                let before = self.rows.require(&AccountKey(number))?;
                let mut row = before.clone();
                if row
                    .deleted
                    .as_mut()
                    .is_some_and(|deleted| deleted.note(call.stood()))
                {
                    self.rows.replace(&AccountKey(number), &before, &row)?;
                }
            }
            return Ok(Outcome::AccountDeleted);
        };

        self.close_sessions(call, number, None, CloseReason::AccountDeleted)?;
        let active = Identity::Known {
            number,
            name: name.clone(),
            status: AccountStatus::Active,
        };
        let deleted = Identity::Known {
            number,
            name: name.clone(),
            status: AccountStatus::Deleted,
        };
        self.recall.parties.forget(&account);
        self.recall.ids.forget(&number);
        self.rows
            .replace(&IdentityKey(account), &active, &deleted)?;
        let row = self.rows.require(&AccountKey(number))?;
        let kept = AccountRow {
            status: AccountStatus::Deleted,
            skeleton: None,
            deleted: Some(call.placed()),
            ..row.clone()
        };
        self.rows.replace(&AccountKey(number), &row, &kept)?;
        self.rows.take(&CredentialKey(number))?;
        self.rows.remove(&NameKey(name), &number)?;
        if let Some(skeleton) = row.skeleton {
            self.rows.remove(&SkeletonKey(skeleton), &number)?;
        }
        self.rows.insert(&SweepKey(number), &Sweep::default())?;
        self.meta.accounts = self
            .meta
            .accounts
            .checked_sub(1)
            .expect("an account that is deleted was counted");
        self.tell_deleted(call, account, number)?;
        Ok(Outcome::AccountDeleted)
    }

    /// Why a name cannot be had, and when the account was registered that has it.
    fn name_conflict(
        &self,
        name: &Username,
        skeleton: &Skeleton,
    ) -> Result<Option<(Rejection, Placed)>, S::Error> {
        if let Some(number) = self.rows.read(&NameKey(name.clone()))? {
            let holder = self.rows.require(&AccountKey(number))?;
            let taken = Rejection::NameTaken { name: name.clone() };
            return Ok(Some((taken, holder.created)));
        }
        match self.rows.read(&SkeletonKey(skeleton.clone()))? {
            Some(number) => {
                let holder = self.rows.require(&AccountKey(number))?;
                let confusable = Rejection::NameConfusable {
                    name: name.clone(),
                    with: holder.name,
                };
                Ok(Some((confusable, holder.created)))
            }
            None => Ok(None),
        }
    }

    /// `name~xxxx`, with as many digits from the end of the account's id as it takes.
    fn free_name(&self, name: &Username, account: AccountId) -> Result<Username, S::Error> {
        let digits = account.as_uuid().simple().to_string();
        for length in (4..digits.len()).step_by(4) {
            let given = name.given(&digits[digits.len() - length..]);
            if self.rows.read(&NameKey(given.clone()))?.is_none() {
                return Ok(given);
            }
        }
        // Only this account can have all digits of its id.
        Ok(name.given(&digits))
    }

    fn tell_renamed(
        &mut self,
        call: &mut Call,
        party: Party,
        lost: Username,
    ) -> Result<(), S::Error> {
        let id = MessageId::derive_notice(party.id, call.request);
        let notice = Notice::Renamed {
            from: lost.clone(),
            to: party.name.clone(),
        };
        let kind = EventKind::AccountRenamed {
            from: lost,
            to: party.name.clone(),
        };
        call.emit(party.id, kind);
        self.store_message(
            call,
            id,
            None,
            &Party::system(),
            &party,
            Content::Notice(notice),
        )
    }

    fn tell_deleted(
        &mut self,
        call: &mut Call,
        account: AccountId,
        number: AccountNumber,
    ) -> Result<(), S::Error> {
        call.emit(account, EventKind::AccountDeleted { account });
        let span = Span::prefix::<RecentKey>(|key| number.write(key));
        for (_, peer) in
            self.rows
                .list::<RecentKey>(&span, Order::Descending, EventKind::RECENT_PEERS)?
        {
            if let Some(peer) = self.active_id(peer)?.filter(|peer| *peer != account) {
                call.emit(peer, EventKind::AccountDeleted { account });
            }
        }
        Ok(())
    }
}

impl Party {
    /// The service itself.
    pub(super) fn system() -> Self {
        Self {
            id: AccountId::SYSTEM,
            number: AccountNumber::SYSTEM,
            name: Username::system(),
            status: AccountStatus::System,
        }
    }
}
