//! What a client keeps between calls: who it is, and how much it has seen.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api;
use crate::ids::{ReadToken, SessionToken};

/// The state behind one logged-in user. Shared by the clones of a client that act for the same user.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    token: Option<SessionToken>,
    seen: Option<ReadToken>,
    /// Grows with each change of `seen`.
    version: u64,
}

/// How much had been seen when a call began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenVersion(u64);

impl SessionState {
    pub(crate) fn new(token: Option<SessionToken>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                token,
                ..Inner::default()
            }),
        }
    }

    pub(crate) fn token(&self) -> Option<SessionToken> {
        self.inner().token.clone()
    }

    pub(crate) fn set_token(&self, token: Option<SessionToken>) {
        self.inner().token = token;
    }

    pub(crate) fn read_token(&self) -> Option<ReadToken> {
        self.inner().seen.clone()
    }

    pub(crate) fn set_read_token(&self, token: Option<ReadToken>) {
        let mut inner = self.inner();
        inner.seen = token;
        inner.version += 1;
    }

    /// Drops a read token, unless something else was seen meanwhile.
    pub(crate) fn forget(&self, token: Option<&ReadToken>) {
        let mut inner = self.inner();
        if inner.seen.as_ref() == token {
            inner.seen = None;
            inner.version += 1;
        }
    }

    pub(crate) fn version(&self) -> SeenVersion {
        SeenVersion(self.inner().version)
    }

    /// A write was answered: whatever is read from now on must show it.
    pub(crate) fn wrote(&self, token: Option<api::ReadToken>) {
        if let Some(token) = token {
            self.set_read_token(Some(ReadToken(token.value)));
        }
    }

    /// A read was answered. Tokens cannot be compared here, so the answer to a read that began before something newer
    /// was seen is not let in: it would make the client forget its own write.
    pub(crate) fn read(&self, token: Option<api::ReadToken>, began: SeenVersion) {
        let mut inner = self.inner();
        if let Some(token) = token
            && inner.version == began.0
        {
            inner.seen = Some(ReadToken(token.value));
            inner.version += 1;
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(value: &[u8]) -> Option<api::ReadToken> {
        Some(api::ReadToken {
            value: value.to_vec(),
        })
    }

    #[test]
    fn a_slow_read_does_not_undo_what_a_write_showed() {
        let session = SessionState::default();
        let slow = session.version();
        session.wrote(wire(b"9"));
        session.read(wire(b"3"), slow);
        assert_eq!(session.read_token(), Some(ReadToken(b"9".to_vec())));
        session.read(wire(b"12"), session.version());
        assert_eq!(session.read_token(), Some(ReadToken(b"12".to_vec())));
        session.read(None, session.version());
        assert_eq!(session.read_token(), Some(ReadToken(b"12".to_vec())));
    }
}
