//! Session tokens: what a client shows to be who it is.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chat_core::{AccountId, SessionId, TokenHash};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock;

const SECRET: usize = 32;
const LENGTH: usize = 16 + 16 + SECRET;

/// Names account and session, and proves with a secret that it may. Only the secret's hash is ever stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SessionToken {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    secret: [u8; SECRET],
    hash: [u8; 32],
}

/// A secret that was drawn before its session had an id.
pub(crate) struct Secret([u8; SECRET]);

impl Secret {
    pub(crate) fn draw() -> Secret {
        Secret(clock::random())
    }

    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash::from_bytes(hash(&self.0))
    }

    pub(crate) fn of(self, account: AccountId, session: SessionId) -> SessionToken {
        SessionToken {
            account,
            session,
            hash: hash(&self.0),
            secret: self.0,
        }
    }
}

impl SessionToken {
    /// Reads the value of an `authorization` header.
    pub(crate) fn from_header(value: &str) -> Option<SessionToken> {
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut bytes = [0; LENGTH];
        let length = URL_SAFE_NO_PAD
            .decode_slice(token.trim(), &mut bytes)
            .ok()?;
        let (account, rest) = bytes.split_first_chunk::<16>()?;
        let (session, secret) = rest.split_first_chunk::<16>()?;
        let secret = secret.try_into().ok()?;
        (length == LENGTH).then_some(SessionToken {
            account: AccountId::from_uuid(Uuid::from_bytes(*account)),
            session: SessionId::from_uuid(Uuid::from_bytes(*session)),
            hash: hash(&secret),
            secret,
        })
    }

    /// The token as the client gets it.
    pub(crate) fn expose(&self) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(self.account.as_bytes());
        bytes.extend_from_slice(self.session.as_bytes());
        bytes.extend_from_slice(&self.secret);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What is known of the secret.
    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash::from_bytes(self.hash)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionToken")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

fn hash(secret: &[u8; SECRET]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_nothing_else_is_one() {
        let request = clock::mint_request();
        let account = AccountId::derive(request);
        let token = Secret::draw().of(account, SessionId::derive(account, request));
        let text = token.expose();
        assert_eq!(
            SessionToken::from_header(&format!("Bearer {text}")),
            Some(token.clone())
        );
        assert_eq!(
            SessionToken::from_header(&format!("bearer  {text} ")),
            Some(token)
        );
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Basic dXNlcjpwYXNz",
            &text,
            &format!("Bearer {}", &text[1..]),
            &format!("Bearer {text}AAAA"),
            &format!("Bearer {}=", &text[1..]),
        ] {
            assert_eq!(SessionToken::from_header(header), None, "{header}");
        }
    }

    #[test]
    fn a_token_does_not_show_its_secret() {
        let request = clock::mint_request();
        let account = AccountId::derive(request);
        let token = Secret::draw().of(account, SessionId::derive(account, request));
        assert!(!format!("{token:?}").contains("secret"));
    }
}
