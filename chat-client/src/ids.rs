//! Identities and secrets that travel as text.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A text that should be an id and is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{input}` is not an id; an id looks like 0198c5a2-7c1e-7b3a-9d2f-0123456789ab")]
pub struct InvalidId {
    input: String,
}

macro_rules! id {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id as a UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(input: &str) -> Result<Self, Self::Err> {
                match Uuid::try_parse(input.trim()) {
                    Ok(id) => Ok(Self(id)),
                    Err(_) => Err(InvalidId { input: input.to_owned() }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// The identity of an account; its name may pass to somebody else, its id never does.
    AccountId
}
id! {
    /// The identity of a message, stable for ever.
    MessageId
}
id! {
    /// The identity of a session. Not secret, unlike its token.
    SessionId
}
id! {
    /// The identity of a write. A write that is sent again under the same id takes effect once.
    RequestId
}

impl RequestId {
    /// A new id (UUIDv7), as each write gets one.
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }
}

/// What proves that a caller is logged in. Secret: whoever holds it is the account until the session ends.
///
/// `Debug` does not show it, so that it does not end up in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    /// Takes a token as the service issued it.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// A place in an account's events; opaque. A subscription that is given the token of the last event handled goes on right
/// behind it, on any replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResumeToken(pub(crate) Vec<u8>);

impl ResumeToken {
    /// Takes a token that was stored.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The token's bytes, for storing it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the token stands for the beginning: the inbox.
    pub fn is_start(&self) -> bool {
        self.0.is_empty()
    }
}

/// A place in the replicated history; opaque. A read that carries it is answered from a state at least as new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadToken(pub(crate) Vec<u8>);

impl ReadToken {
    /// Takes a token that was stored.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The token's bytes, for storing it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Where a list goes on; opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken(pub(crate) String);

impl PageToken {
    /// Takes a token that was stored.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token's text, for storing it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_request_ids_carry_their_time() {
        let id = RequestId::mint();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.as_uuid().get_version_num(), 7);
        assert!("message 7".parse::<MessageId>().is_err());
    }

    #[test]
    fn a_session_token_does_not_show_in_debug_output() {
        let token = SessionToken::new("s3cret");
        assert!(!format!("{token:?}").contains("s3cret"));
        assert_eq!(token.expose(), "s3cret");
    }
}
