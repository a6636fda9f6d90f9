//! Opening and closing sessions.

use super::{AccountManager, Call, Fault, Party};
use crate::{
    command::{Command, SessionPolicy},
    event::{CloseReason, EventKind},
    outcome::Outcome,
    rejection::Rejection,
    rows::{
        Span,
        account::{AccountKey, AccountNumber, AccountRow, CredentialKey},
        request::Forget,
        session::{AccountSessionKey, OpenSession, SessionEndKey, SessionKey, SessionRow},
    },
    store::{KeyValue, Order},
    values::{
        id::{AccountId, SessionId},
        secret::{CredentialVersion, TokenHash},
        time::Timestamp,
    },
};

impl<S: KeyValue> AccountManager<S> {
    pub(super) fn open_session(
        &mut self,
        call: &mut Call,
        account: AccountId,
        token: TokenHash,
        verified: CredentialVersion,
        expires_at: Timestamp,
        policy: SessionPolicy,
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.active(account)?;
        self.check_credential(&party, verified)?;
        if expires_at <= call.at {
            return Err(Fault::Rejected(Rejection::ExpiryInPast));
        }
        let session = SessionId::derive(account, call.request);
        let before = self.rows.read(&SessionKey(session))?;
        let closed_at = self
            .rows
            .require(&AccountKey(party.number))?
            .sessions_closed_at;
        // Closing wins over opening, whichever comes first in a merge; but nobody closes the sessions of others.
        let is_closed = match &before {
            Some(SessionRow::Closed { account: by }) => *by == account,
            Some(SessionRow::Open(_)) => true,
            None => false,
        };
        if is_closed || (call.is_reproposed() && call.at <= closed_at) {
            return Err(Fault::Rejected(Rejection::SessionClosed { session }));
        }

        self.make_room(call, party.number, policy)?;
        let open = OpenSession {
            account,
            number: party.number,
            opened_at: call.at,
            expires_at,
            tokens: vec![token],
            opened: call.placed(),
        };
        let open = SessionRow::Open(open);
        self.rows
            .set(&SessionKey(session), before.as_ref(), &open)?;
        self.rows.insert(
            &AccountSessionKey {
                account: party.number,
                session,
            },
            &(),
        )?;
        self.rows.insert(
            &SessionEndKey {
                expires_at,
                session,
            },
            &(),
        )?;
        self.meta.sessions += 1;
        Ok(Outcome::SessionOpened {
            session,
            expires_at,
        })
    }

    /// A login was retried, perhaps at another replica, which made a secret of its own: both are good, because nobody
    /// knows which answer the client got.
    pub(super) fn join_session(
        &mut self,
        call: &Call,
        account: AccountId,
        session: SessionId,
        token: TokenHash,
        verified: CredentialVersion,
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.active(account)?;
        self.check_credential(&party, verified)?;
        let row = self.rows.read(&SessionKey(session))?;
        let Some(SessionRow::Open(open)) = row else {
            return Err(Fault::Rejected(Rejection::SessionClosed { session }));
        };
        let outcome = Outcome::SessionOpened {
            session,
            expires_at: open.expires_at,
        };
        let is_known = open.tokens.iter().any(|known| known.matches(&token));
        if !is_known && open.tokens.len() >= Command::MAX_TOKENS {
            return Err(Fault::Rejected(Rejection::TooManyTokens));
        }
        let mut joined = open.clone();
        joined.tokens.extend((!is_known).then_some(token));
        if !joined.opened.note(call.stood()) && is_known {
            return Ok(outcome);
        }
        self.rows.replace(
            &SessionKey(session),
            &SessionRow::Open(open),
            &SessionRow::Open(joined),
        )?;
        Ok(outcome)
    }

    pub(super) fn close_session(
        &mut self,
        call: &mut Call,
        account: AccountId,
        session: SessionId,
    ) -> Result<Outcome, Fault<S::Error>> {
        self.active(account)?;
        let count = match self.rows.read(&SessionKey(session))? {
            Some(SessionRow::Open(open)) if open.account == account => {
                self.end_session(call, session, open, CloseReason::LoggedOut)?;
                1
            }
            Some(SessionRow::Open(_)) => {
                return Err(Fault::Rejected(Rejection::SessionNotFound { session }));
            }
            Some(SessionRow::Closed { .. }) => 0,
            None => {
                if self.may_still_come(call, session.time()) {
                    self.rows
                        .insert(&SessionKey(session), &SessionRow::Closed { account })?;
                    self.forget_later(*session.as_uuid(), Forget::Session)?;
                }
                0
            }
        };
        Ok(Outcome::SessionsClosed { count })
    }

    pub(super) fn close_all_sessions(
        &mut self,
        call: &mut Call,
        account: AccountId,
        except: Option<SessionId>,
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.active(account)?;
        let row = self.rows.require(&AccountKey(party.number))?;
        let closed = AccountRow {
            sessions_closed_at: row.sessions_closed_at.max(call.at),
            ..row.clone()
        };
        self.rows
            .replace(&AccountKey(party.number), &row, &closed)?;
        let count =
            self.close_known_sessions(call, party.number, except, CloseReason::LoggedOut)?;
        Ok(Outcome::SessionsClosed { count })
    }

    /// Closes the account's sessions of which the author of a command can have known, and says how many. "All" is what
    /// the account had when it said so: a session that was opened on another branch is in no list that it has seen.
    pub(super) fn close_known_sessions(
        &mut self,
        call: &mut Call,
        account: AccountNumber,
        except: Option<SessionId>,
        reason: CloseReason,
    ) -> Result<u32, S::Error> {
        let mut count = 0;
        for session in self.sessions_of(account)? {
            if Some(session) != except && self.knew_session(call, session)? {
                self.end_known_session(call, session, reason)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Whether the author of a command can have known that this session is open.
    fn knew_session(&self, call: &Call, session: SessionId) -> Result<bool, S::Error> {
        if !call.is_reproposed() {
            return Ok(true);
        }
        match self.rows.require(&SessionKey(session))? {
            SessionRow::Open(open) => Ok(call.knew(&open.opened)),
            SessionRow::Closed { .. } => Err(self.rows.missing(&SessionKey(session))),
        }
    }

    /// Closes the account's sessions, and says how many.
    pub(super) fn close_sessions(
        &mut self,
        call: &mut Call,
        account: AccountNumber,
        except: Option<SessionId>,
        reason: CloseReason,
    ) -> Result<u32, S::Error> {
        let mut count = 0;
        for session in self.sessions_of(account)? {
            if Some(session) != except {
                self.end_known_session(call, session, reason)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Removes an open session.
    pub(super) fn end_session(
        &mut self,
        call: &mut Call,
        session: SessionId,
        open: OpenSession,
        reason: CloseReason,
    ) -> Result<(), S::Error> {
        let (account, number, expires_at) = (open.account, open.number, open.expires_at);
        self.rows
            .remove(&SessionKey(session), &SessionRow::Open(open))?;
        self.rows.remove(
            &AccountSessionKey {
                account: number,
                session,
            },
            &(),
        )?;
        self.rows.remove(
            &SessionEndKey {
                expires_at,
                session,
            },
            &(),
        )?;
        self.meta.sessions = self
            .meta
            .sessions
            .checked_sub(1)
            .expect("a session that ends was counted");
        call.emit(account, EventKind::SessionClosed { session, reason });
        Ok(())
    }

    /// Removes a session that an index row leads to.
    pub(super) fn end_known_session(
        &mut self,
        call: &mut Call,
        session: SessionId,
        reason: CloseReason,
    ) -> Result<(), S::Error> {
        match self.rows.require(&SessionKey(session))? {
            SessionRow::Open(open) => self.end_session(call, session, open, reason),
            SessionRow::Closed { .. } => Err(self.rows.missing(&SessionKey(session))),
        }
    }

    fn check_credential(
        &self,
        party: &Party,
        verified: CredentialVersion,
    ) -> Result<(), Fault<S::Error>> {
        if self.rows.require(&CredentialKey(party.number))?.version == verified {
            Ok(())
        } else {
            Err(Fault::Rejected(Rejection::StaleCredential))
        }
    }

    /// Closes the oldest sessions until one more is allowed. A login that is proposed again takes nobody's place but of
    /// those that were there when it was made: until the next login there may be more than the policy wants, but never
    /// more than there may be at all.
    fn make_room(
        &mut self,
        call: &mut Call,
        account: AccountNumber,
        policy: SessionPolicy,
    ) -> Result<(), S::Error> {
        let most = match policy {
            SessionPolicy::Single => 1,
            SessionPolicy::Several { most } => most.get().min(Command::MAX_SESSIONS),
        };
        let mut open = self.sessions_of(account)?;
        let mut known = Vec::with_capacity(open.len());
        for session in &open {
            if self.knew_session(call, *session)? {
                known.push(*session);
            }
        }
        let excess = (known.len() + 1).saturating_sub(usize::from(most));
        known.truncate(excess);
        open.retain(|session| !known.contains(session));
        let inevitable = (open.len() + 1).saturating_sub(usize::from(Command::MAX_SESSIONS));
        for session in known.into_iter().chain(open.into_iter().take(inevitable)) {
            self.end_known_session(call, session, CloseReason::Replaced)?;
        }
        Ok(())
    }

    /// The account's sessions, oldest first.
    pub(crate) fn sessions_of(&self, account: AccountNumber) -> Result<Vec<SessionId>, S::Error> {
        let span = Span::prefix::<AccountSessionKey>(|key| account.write(key));
        let rows = self.rows.list::<AccountSessionKey>(
            &span,
            Order::Ascending,
            usize::from(Command::MAX_SESSIONS),
        )?;
        Ok(rows.into_iter().map(|(key, ())| key.session).collect())
    }
}
