//! Looking sessions up.

use subtle::{Choice, ConstantTimeEq};

use crate::{
    manager::AccountManager,
    message::Session,
    rows::session::{OpenSession, SessionKey, SessionRow},
    store::KeyValue,
    values::{
        id::{AccountId, SessionId},
        secret::TokenHash,
        time::Timestamp,
    },
};

/// What a session's secret opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionCheck {
    /// The session, which is open.
    Valid(Session),
    /// The secret was right, but the session's time is over.
    Expired,
    /// There is no such session (any more), or the secret is not its own.
    Unknown,
}

impl<S: KeyValue> AccountManager<S> {
    /// Checks a session's secret, in a time that does not tell how close it was.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn verify_session(
        &self,
        session: SessionId,
        token: &TokenHash,
        now: Timestamp,
    ) -> Result<SessionCheck, S::Error> {
        let Some(SessionRow::Open(open)) = self.rows.read(&SessionKey(session))? else {
            return Ok(SessionCheck::Unknown);
        };
        // All are compared, so that the time does not tell which one was right either.
        let is_known = open.tokens.iter().fold(Choice::from(0), |known, good| {
            known | good.as_bytes().ct_eq(token.as_bytes())
        });
        Ok(match (bool::from(is_known), now < open.expires_at) {
            (false, _) => SessionCheck::Unknown,
            (true, false) => SessionCheck::Expired,
            (true, true) => SessionCheck::Valid(view(session, &open)),
        })
    }

    /// The sessions of an account, oldest first, at most
    /// [`Command::MAX_SESSIONS`](crate::Command::MAX_SESSIONS). Those whose time is over are among them until the next
    /// [`Expire`](crate::CommandBody::Expire).
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn sessions(&self, account: AccountId) -> Result<Vec<Session>, S::Error> {
        let Some(number) = self.reader(account)? else {
            return Ok(Vec::new());
        };
        let mut sessions = Vec::new();
        for session in self.sessions_of(number)? {
            if let SessionRow::Open(open) = self.rows.require(&SessionKey(session))? {
                sessions.push(view(session, &open));
            }
        }
        Ok(sessions)
    }
}

fn view(id: SessionId, open: &OpenSession) -> Session {
    Session {
        id,
        account: open.account,
        opened_at: open.opened_at,
        expires_at: open.expires_at,
    }
}
