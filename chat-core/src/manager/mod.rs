//! Applying commands.
//!
//! Every handler refuses before it writes, so that a refused command has changed nothing.

mod accounts;
mod credentials;
mod delete;
mod deliver;
mod expire;
mod marks;
mod open;
mod pending;
mod recall;
mod send;
mod sessions;
mod sweep;

use self::recall::Recall;
use crate::{
    command::{Command, CommandBody},
    event::{Event, EventKind},
    lineage::{Lineage, Placed, Stood},
    message::{AccountStatus, Sequence},
    outcome::{Applied, Outcome},
    rejection::Rejection,
    rows::{
        Rows,
        account::{AccountKey, AccountNumber, CredentialKey},
        identity::{Identity, IdentityKey},
        message::{MessageEntry, MessageKey},
        meta::{Meta, MetaKey},
        request::{Answered, RequestKey},
    },
    store::{KeyValue, MemoryStore},
    values::{
        id::{AccountId, MessageId, RequestId},
        name::Username,
        time::Timestamp,
    },
};

/// Accounts, sessions and messages: the state of a chat service, changed by [`apply`](AccountManager::apply) and looked
/// at by queries.
///
/// Two managers that apply the same commands in the same order are in the same state, whatever store is beneath them
/// and whenever they do it.
#[derive(Clone, Debug)]
pub struct AccountManager<S = MemoryStore> {
    pub(crate) rows: Rows<S>,
    pub(crate) meta: Meta,
    /// Where the next command stands at least.
    next_place: Sequence,
    recall: Recall,
}

/// Why a store could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError<E> {
    /// The store failed.
    #[error("the state cannot be read: {0}")]
    Store(E),
    /// The rows were written by a version that this one does not know.
    #[error(
        "the state has format {found}, and this program reads format {}: use the version that wrote it, or restore this \
         replica's state from another replica",
        Meta::FORMAT
    )]
    UnknownFormat {
        /// The format of the rows.
        found: u32,
    },
}

/// How a command came to be applied.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// From a client, who can be refused, and who knows this branch of history.
    Client,
    /// From a branch of history that lost. Its client may have been told that it succeeded, and knew that branch.
    Reproposed(Lineage),
}

/// What all handlers know of the command that they apply.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: RequestId,
    pub(crate) at: Timestamp,
    pub(crate) origin: Origin,
    /// Where the command stands on this branch.
    pub(crate) place: Sequence,
    events: Vec<Event>,
}

impl Call {
    pub(crate) fn is_reproposed(&self) -> bool {
        matches!(self.origin, Origin::Reproposed(_))
    }

    /// Where the command stands.
    pub(crate) fn placed(&self) -> Placed {
        Placed {
            place: self.place,
            stood: self.stood().into_iter().collect(),
        }
    }

    /// Where the command stood on a branch that lost.
    pub(crate) fn stood(&self) -> Option<Stood> {
        match &self.origin {
            Origin::Client => None,
            Origin::Reproposed(lineage) => lineage.stood(),
        }
    }

    /// Whether the command's author can have known what another command did.
    ///
    /// Commands that say "up to here" or "all" ask this of each thing that they would touch; what they name was known. And
    /// a command that would have been refused on its own branch asks whether it was.
    pub(crate) fn knew(&self, what: &Placed) -> bool {
        match &self.origin {
            Origin::Client => true,
            Origin::Reproposed(lineage) => lineage.place_of(what).is_some(),
        }
    }

    pub(crate) fn emit(&mut self, account: AccountId, kind: EventKind) {
        self.events.push(Event { account, kind });
    }
}

/// Why a handler stopped.
#[derive(Debug)]
pub(crate) enum Fault<E> {
    /// The command is refused, and nothing was written.
    Rejected(Rejection),
    /// The store failed.
    Store(E),
}

impl<E> From<E> for Fault<E> {
    fn from(error: E) -> Self {
        Self::Store(error)
    }
}

/// An account that can act and be acted upon.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    pub(crate) id: AccountId,
    pub(crate) number: AccountNumber,
    pub(crate) name: Username,
    pub(crate) status: AccountStatus,
}

impl AccountManager {
    /// A manager of nobody, in memory.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Default for AccountManager {
    fn default() -> Self {
        Self {
            rows: Rows::new(MemoryStore::new(), 0),
            meta: Meta::default(),
            next_place: Sequence::default(),
            recall: Recall::default(),
        }
    }
}

impl<S> AccountManager<S> {
    /// Another look at this state, over a store that holds the same rows.
    pub fn over<T>(&self, store: T) -> AccountManager<T> {
        AccountManager {
            rows: Rows::new(store, self.rows.sum()),
            meta: self.meta.clone(),
            next_place: self.next_place,
            recall: Recall::default(),
        }
    }

    /// The store.
    pub fn store(&self) -> &S {
        self.rows.store()
    }

    /// The store, for what only its owner knows, such as making it durable. The rows themselves are not for others to
    /// change: the manager holds counters and a sum over them.
    pub fn store_mut(&mut self) -> &mut S {
        self.rows.store_mut()
    }

    /// The store, from which [`AccountManager::open`] makes the same manager again.
    pub fn into_store(self) -> S {
        self.rows.into_store()
    }
}

impl<S: KeyValue> AccountManager<S> {
    /// The manager of what is in `store`; reads one row and writes none.
    ///
    /// # Errors
    ///
    /// The store failed, or its rows are of another version.
    pub fn open(store: S) -> Result<Self, OpenError<S::Error>> {
        let rows = Rows::new(store, 0);
        let meta = rows
            .read(&MetaKey)
            .map_err(OpenError::Store)?
            .unwrap_or_default();
        if meta.format != Meta::FORMAT {
            return Err(OpenError::UnknownFormat { found: meta.format });
        }
        Ok(Self {
            rows: Rows::new(rows.into_store(), meta.sum),
            meta,
            next_place: Sequence::default(),
            recall: Recall::default(),
        })
    }

    /// Says that the next command stands at this place of the log, in which not every entry is a command. A place that was
    /// passed is ignored. Only [lineages](Lineage) ask for places: whoever never merges need not say any.
    pub fn advance(&mut self, place: Sequence) {
        self.next_place = place;
    }

    /// The place of the last command that was accepted. A branch of history that grows from this state has its fork here.
    pub fn place(&self) -> Sequence {
        Sequence::new(self.meta.next_sequence - 1)
    }

    /// Applies a command that a client asked for.
    ///
    /// A command that was applied before changes nothing and gives the original outcome. The work is bounded whatever
    /// is stored.
    ///
    /// # Errors
    ///
    /// The store failed: parts of the command may be written. Nothing further may be applied; whoever goes on opens the
    /// store anew, at a point before the command. A command that is merely refused is no error, see [`Applied::result`].
    pub fn apply(&mut self, command: Command) -> Result<Applied, S::Error> {
        self.apply_from(Origin::Client, command)
    }

    /// Applies a command from a branch of history that lost against this one. Its client may have been told that it
    /// succeeded, so it takes effect where a client's own command would be refused: a name that is taken becomes
    /// `name~xxxx`, and of two changes of a password the later wins. And it touches only what its author can have known, by
    /// its lineage: what it says of everything, or of everything up to a message, it says of its own branch.
    ///
    /// None of that is written in the command, whose bytes stay what they were, but known to whoever proposes it again.
    ///
    /// # Errors
    ///
    /// As [`AccountManager::apply`].
    pub fn apply_reproposed(
        &mut self,
        command: Command,
        lineage: Lineage,
    ) -> Result<Applied, S::Error> {
        self.apply_from(Origin::Reproposed(lineage), command)
    }

    fn apply_from(&mut self, origin: Origin, command: Command) -> Result<Applied, S::Error> {
        let mut call = Call {
            request: command.request,
            at: command.at,
            origin,
            place: self.next_place.max(Sequence::new(self.meta.next_sequence)),
            events: Vec::new(),
        };
        let before = self.meta.clone();
        match self.execute(command, &mut call) {
            Ok(outcome) => {
                self.meta.sum = self.rows.sum();
                if self.meta != before {
                    self.rows.put_unsummed(&MetaKey, &self.meta)?;
                }
                Ok(Applied {
                    result: Ok(outcome),
                    events: call.events,
                })
            }
            Err(Fault::Rejected(rejection)) => {
                assert!(
                    self.meta == before && self.rows.sum() == before.sum,
                    "a refused command changed the state: {rejection}"
                );
                Ok(Applied {
                    result: Err(rejection),
                    events: Vec::new(),
                })
            }
            Err(Fault::Store(error)) => Err(error),
        }
    }

    fn execute(&mut self, command: Command, call: &mut Call) -> Result<Outcome, Fault<S::Error>> {
        self.check_age(call)?;
        let is_housekeeping = matches!(command.body, CommandBody::Expire { .. });
        // The message's own row makes a send's retry harmless, which saves the most frequent command a row.
        let outcome = match command.body {
            CommandBody::Send {
                sender,
                recipient,
                body,
            } => self.send(call, sender, recipient, &body)?,
            _ => self.execute_once(command, call)?,
        };
        if !is_housekeeping {
            self.meta.newest_request = self.meta.newest_request.max(call.request.time());
        }
        Ok(outcome)
    }

    fn execute_once(
        &mut self,
        command: Command,
        call: &mut Call,
    ) -> Result<Outcome, Fault<S::Error>> {
        let key = RequestKey {
            request: command.request,
            account: command.account(),
        };
        let digest = command.digest();
        if let Some(answered) = self.rows.read(&key)? {
            if answered.digest != digest {
                return Err(Fault::Rejected(Rejection::RequestIdReused));
            }
            return match (command.body, answered.outcome) {
                // Whoever retried a login holds a secret of its own.
                (
                    CommandBody::OpenSession {
                        account,
                        token,
                        verified,
                        ..
                    },
                    Outcome::SessionOpened { session, .. },
                ) => self.join_session(call, account, session, token, verified),
                (body, outcome) => {
                    self.note_again(call, &body)?;
                    Ok(outcome)
                }
            };
        }
        let message = self
            .rows
            .read(&MessageKey(MessageId::derive(key.account, key.request)))?;
        if matches!(
            message,
            Some(MessageEntry::Stored(_) | MessageEntry::Deleted { .. })
        ) {
            return Err(Fault::Rejected(Rejection::RequestIdReused));
        }
        let outcome = self.execute_first(command.body, call)?;
        self.take_place(call);
        self.rows.insert(
            &key,
            &Answered {
                digest,
                outcome: outcome.clone(),
            },
        )?;
        Ok(outcome)
    }

    /// A command that both branches have stood on the one that lost as well.
    fn note_again(&mut self, call: &Call, body: &CommandBody) -> Result<(), S::Error> {
        let account = match body {
            _ if !call.is_reproposed() => return Ok(()),
            CommandBody::CreateAccount { .. } => AccountId::derive(call.request),
            CommandBody::ChangePassword { account, .. }
            | CommandBody::DeleteAccount { account } => *account,
            _ => return Ok(()),
        };
        let Some(Identity::Known { number, .. }) = self.rows.read(&IdentityKey(account))? else {
            return Ok(());
        };
        if let CommandBody::ChangePassword { .. } = body {
            let Some(before) = self.rows.read(&CredentialKey(number))? else {
                return Ok(());
            };
            let mut row = before.clone();
            let is_in_force = row.version.request() == call.request;
            if is_in_force && row.set.note(call.stood()) {
                self.rows.replace(&CredentialKey(number), &before, &row)?;
            }
            return Ok(());
        }
        let before = self.rows.require(&AccountKey(number))?;
        let mut row = before.clone();
        let placed = match body {
            CommandBody::CreateAccount { .. } => Some(&mut row.created),
            _ => row.deleted.as_mut(),
        };
        if placed.is_some_and(|placed| placed.note(call.stood())) {
            self.rows.replace(&AccountKey(number), &before, &row)?;
        }
        Ok(())
    }

    /// No other command stands where this one does.
    fn take_place(&mut self, call: &Call) {
        self.meta.next_sequence = call.place.number() + 1;
    }

    fn execute_first(
        &mut self,
        body: CommandBody,
        call: &mut Call,
    ) -> Result<Outcome, Fault<S::Error>> {
        match body {
            CommandBody::CreateAccount {
                name,
                skeleton,
                password,
            } => self.create_account(call, name, skeleton, password),
            CommandBody::ChangePassword {
                account,
                verified,
                password,
                keep,
            } => self.change_password(call, account, verified, password, keep),
            CommandBody::DeleteAccount { account } => self.delete_account(call, account),
            CommandBody::OpenSession {
                account,
                token,
                verified,
                expires_at,
                policy,
            } => self.open_session(call, account, token, verified, expires_at, policy),
            CommandBody::CloseSession { account, session } => {
                self.close_session(call, account, session)
            }
            CommandBody::CloseAllSessions { account, except } => {
                self.close_all_sessions(call, account, except)
            }
            CommandBody::MarkDelivered { account, messages } => {
                self.mark_delivered(call, account, &messages)
            }
            CommandBody::MarkRead { account, messages } => self.mark_read(call, account, &messages),
            CommandBody::ReadThrough {
                account,
                peer,
                message,
            } => self.read_through(call, account, peer, message),
            CommandBody::DeleteMessages {
                account,
                messages,
                scope,
            } => self.delete_messages(call, account, &messages, scope),
            CommandBody::Expire { before, limit } => self.expire(call, before, limit),
            CommandBody::Send {
                sender,
                recipient,
                body,
            } => self.send(call, sender, recipient, &body),
        }
    }

    /// Refuses what is so old that its retries may have been forgotten, by the command's own time: applying has no
    /// clock.
    fn check_age(&self, call: &Call) -> Result<(), Fault<S::Error>> {
        let minted = call.request.time();
        if minted < call.at.saturating_sub(Command::REQUEST_WINDOW) || minted < self.meta.horizon {
            return Err(Fault::Rejected(Rejection::RequestTooOld));
        }
        if minted > call.at.saturating_add(Command::MAX_CLOCK_LEAD) {
            return Err(Fault::Rejected(Rejection::RequestFromFuture));
        }
        Ok(())
    }

    /// The account that asks.
    pub(crate) fn active(&self, account: AccountId) -> Result<Party, Fault<S::Error>> {
        match self.rows.read(&IdentityKey(account))? {
            Some(Identity::Known {
                number,
                name,
                status: AccountStatus::Active,
            }) => Ok(Party {
                id: account,
                number,
                name,
                status: AccountStatus::Active,
            }),
            Some(Identity::Known { .. } | Identity::Gone) => {
                Err(Fault::Rejected(Rejection::AccountDeleted { account }))
            }
            None => Err(Fault::Rejected(Rejection::AccountNotFound { account })),
        }
    }

    /// The account that asks, or that is meant. If it was deleted on another branch than the one that the command comes
    /// from, what was done there before the branches met stands nevertheless.
    pub(crate) fn author(
        &mut self,
        call: &Call,
        account: AccountId,
    ) -> Result<Party, Fault<S::Error>> {
        match self.correspondent(account) {
            Err(Fault::Rejected(Rejection::AccountDeleted { .. })) if call.is_reproposed() => {
                self.deleted_elsewhere(call, account)
            }
            found => found,
        }
    }

    fn deleted_elsewhere(&self, call: &Call, account: AccountId) -> Result<Party, Fault<S::Error>> {
        if let Some(Identity::Known {
            number,
            name,
            status,
        }) = self.rows.read(&IdentityKey(account))?
        {
            let row = self.rows.require(&AccountKey(number))?;
            if row.deleted.is_none_or(|deleted| !call.knew(&deleted)) {
                return Ok(Party {
                    id: account,
                    number,
                    name,
                    status,
                });
            }
        }
        Err(Fault::Rejected(Rejection::AccountDeleted { account }))
    }

    /// The same for whoever sends, is sent to, and confirms.
    fn correspondent(&mut self, account: AccountId) -> Result<Party, Fault<S::Error>> {
        if let Some(party) = self.recall.parties.recall(&account) {
            return Ok(party.clone());
        }
        let party = self.active(account)?;
        self.recall.parties.learn(account, party.clone());
        Ok(party)
    }

    /// The id of an account that is there to hear of something.
    pub(crate) fn active_id(
        &mut self,
        number: AccountNumber,
    ) -> Result<Option<AccountId>, S::Error> {
        if number == AccountNumber::SYSTEM {
            return Ok(None);
        }
        if let Some(id) = self.recall.ids.recall(&number) {
            return Ok(Some(*id));
        }
        let account = self.rows.require(&AccountKey(number))?;
        if account.status != AccountStatus::Active {
            return Ok(None);
        }
        self.recall.ids.learn(number, account.id);
        Ok(Some(account.id))
    }
}
