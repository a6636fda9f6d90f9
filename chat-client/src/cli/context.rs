//! What every command works with: the client, and the session that is kept between commands.

use std::path::PathBuf;
use std::time::Duration;

use super::failure::Failure;
use super::session_file::{SessionFile, StoredSession};
use super::settings::Settings;
use crate::client::Client;
use crate::ids::{AccountId, ReadToken, SessionToken};
use crate::types::LoggedIn;

/// Somebody who types a command wants to hear soon that no server runs.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Context {
    pub(super) client: Client,
    file: SessionFile,
    session: Option<StoredSession>,
}

impl Context {
    pub(super) async fn connect(settings: &Settings) -> Result<Self, Failure> {
        let file = SessionFile::of(settings)?;
        let session = file.load()?;
        let client = settings
            .builder()
            .refusal_patience(REFUSAL_PATIENCE)
            .connect()
            .await?;
        if let Some(session) = &session {
            client.set_session_token(Some(SessionToken::new(session.token.as_str())));
            client.set_read_token(session.read_token.as_deref().and_then(from_hex));
        }
        Ok(Self {
            client,
            file,
            session,
        })
    }

    /// The name of whoever is logged in.
    pub(super) fn username(&self) -> Option<&str> {
        self.session.as_ref().map(|s| s.username.as_str())
    }

    /// Whoever is logged in.
    pub(super) fn me(&self) -> Option<(AccountId, String)> {
        let session = self.session.as_ref()?;
        let id = session.account_id.parse().ok()?;
        Some((id, session.username.clone()))
    }

    /// Where messages wait to be sent, beside the session.
    pub(super) fn outbox_root(&self) -> PathBuf {
        self.file.folder().join("outbox")
    }

    pub(super) fn require_session(&self) -> Result<&StoredSession, Failure> {
        self.session.as_ref().ok_or(Failure::NotLoggedIn)
    }

    /// Keeps a session that was just opened.
    pub(super) fn logged_in(&mut self, logged_in: &LoggedIn) -> Result<(), Failure> {
        let session = StoredSession {
            username: logged_in.account.name.clone(),
            account_id: logged_in.account.id.to_string(),
            token: logged_in.token.expose().to_owned(),
            expire_time_ms: logged_in.expires.as_unix_ms(),
            read_token: self.client.read_token().map(|t| to_hex(t.as_bytes())),
        };
        self.file.store(&session)?;
        self.session = Some(session);
        Ok(())
    }

    /// Forgets the session.
    pub(super) fn logged_out(&mut self) -> Result<(), Failure> {
        self.client.set_session_token(None);
        self.session = None;
        self.file.remove()
    }

    /// Keeps how much was seen, so that the next command does not see less.
    pub(super) fn remember(&self) -> Result<(), Failure> {
        let Some(session) = &self.session else {
            return Ok(());
        };
        let read_token = self.client.read_token().map(|t| to_hex(t.as_bytes()));
        if read_token == session.read_token {
            return Ok(());
        }
        // Another command may have logged in or out in the meantime; its word is the last one.
        match self.file.load()? {
            Some(kept) if kept.token == session.token => {
                self.file.store(&StoredSession { read_token, ..kept })
            }
            _ => Ok(()),
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<ReadToken> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes
        .filter(|_| digits.len().is_multiple_of(2))
        .map(ReadToken::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_tokens_survive_the_file_and_rubbish_is_ignored() {
        let token = ReadToken::from_bytes([0, 7, 255]);
        assert_eq!(to_hex(token.as_bytes()), "0007ff");
        assert_eq!(from_hex("0007ff"), Some(token));
        assert_eq!(from_hex("0007f"), None);
        assert_eq!(from_hex("zz"), None);
        assert_eq!(from_hex("é"), None);
    }
}
