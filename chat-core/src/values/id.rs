//! The ids of accounts, sessions, messages and requests.
//!
//! A client mints a [`RequestId`], a UUIDv7. Every id that its command creates derives from it: the same 48 bits of time
//! in front, so that ids stay ordered by time, and a digest behind, so that nobody can aim at another account's id. A
//! retry therefore names the same account, session or message on any replica and after any fork.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use super::time::Timestamp;

/// Why a text or a UUID is not the id it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is no UUID.
    #[error(
        "`{0}` is not a UUID: expected 32 hexadecimal digits such as 0190a5c2-7b1e-7c3a-9f00-2b6a1d4e8f10"
    )]
    NotUuid(String),
    /// A request id must say when it was minted, and only version 7 does.
    #[error("request id {0} is not a UUID of version 7: mint request ids as UUIDv7")]
    NotVersion7(Uuid),
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "uuid::serde::compact")] Uuid);

        impl $name {
            /// The id that this UUID stands for.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        id!(@common $name);

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text).map(Self)
            }
        }
    };
    (@common $name:ident) => {
        impl $name {
            /// The id as a UUID.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// The sixteen bytes of the id; their order is the order of ids.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The moment in the id's first 48 bits: when the request that it comes from was minted, by the client's
            /// clock.
            pub fn time(&self) -> Timestamp {
                let mut millis = [0; 8];
                millis[2..].copy_from_slice(&self.as_bytes()[..6]);
                Timestamp::from_millis(u64::from_be_bytes(millis))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// Names an account, for ever: an id is never used again, not even when its user name is.
    AccountId
}
id! {
    /// Names a session: one login of one account.
    SessionId
}
id! {
    /// Names a message.
    MessageId
}

/// Names a request: a UUIDv7 that the client mints once and repeats with every retry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "CompactUuid", into = "CompactUuid")]
pub struct RequestId(Uuid);

id!(@common RequestId);

impl AccountId {
    /// The service itself, as the sender of notices. Nobody can register, be or write to it.
    pub const SYSTEM: AccountId = AccountId(Uuid::nil());

    /// The account that the registration `request` creates.
    pub fn derive(request: RequestId) -> Self {
        Self(derive(b"chat account", AccountId::SYSTEM, request))
    }
}

impl SessionId {
    /// The session that `request` opens for `account`.
    pub fn derive(account: AccountId, request: RequestId) -> Self {
        Self(derive(b"chat session", account, request))
    }
}

impl MessageId {
    /// The message that `request` sends from `account`.
    pub fn derive(account: AccountId, request: RequestId) -> Self {
        Self(derive(b"chat message", account, request))
    }

    /// The notice that the service leaves for `account` because of `request`.
    pub fn derive_notice(account: AccountId, request: RequestId) -> Self {
        Self(derive(b"chat notice", account, request))
    }
}

impl RequestId {
    /// A request id minted at `at` with ten bytes of randomness, 74 bits of which are used.
    pub fn from_parts(at: Timestamp, random: [u8; 10]) -> Self {
        Self(Builder::from_unix_timestamp_millis(at.as_millis(), &random).into_uuid())
    }
}

impl TryFrom<Uuid> for RequestId {
    type Error = IdError;

    fn try_from(uuid: Uuid) -> Result<Self, IdError> {
        match uuid.get_version_num() {
            7 => Ok(Self(uuid)),
            _ => Err(IdError::NotVersion7(uuid)),
        }
    }
}

impl FromStr for RequestId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::try_from(parse(text)?)
    }
}

#[derive(Serialize, Deserialize)]
struct CompactUuid(#[serde(with = "uuid::serde::compact")] Uuid);

impl TryFrom<CompactUuid> for RequestId {
    type Error = IdError;

    fn try_from(uuid: CompactUuid) -> Result<Self, IdError> {
        Self::try_from(uuid.0)
    }
}

impl From<RequestId> for CompactUuid {
    fn from(id: RequestId) -> Self {
        Self(id.0)
    }
}

fn parse(text: &str) -> Result<Uuid, IdError> {
    Uuid::try_parse(text).map_err(|_| IdError::NotUuid(text.chars().take(64).collect()))
}

fn derive(domain: &[u8], account: AccountId, request: RequestId) -> Uuid {
    let digest = Sha256::new()
        .chain_update(domain)
        .chain_update(account.as_bytes())
        .chain_update(request.as_bytes())
        .finalize();
    let mut tail = [0; 10];
    tail.copy_from_slice(&digest[..10]);
    Builder::from_unix_timestamp_millis(request.time().as_millis(), &tail).into_uuid()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn request(millis: u64, random: u8) -> RequestId {
        RequestId::from_parts(Timestamp::from_millis(millis), [random; 10])
    }

    #[test]
    fn derived_ids_keep_the_time_and_differ_by_kind_account_and_request() {
        let (one, two) = (request(1_000, 1), request(1_000, 2));
        let account = AccountId::derive(one);
        let other = AccountId::derive(two);
        assert_eq!(account.time(), Timestamp::from_millis(1_000));
        assert_ne!(account, other);
        let mut all = vec![
            *SessionId::derive(account, one).as_uuid(),
            *SessionId::derive(other, one).as_uuid(),
            *MessageId::derive(account, one).as_uuid(),
            *MessageId::derive(account, two).as_uuid(),
            *MessageId::derive_notice(account, one).as_uuid(),
            *account.as_uuid(),
        ];
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
        assert!(all.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn derivation_never_changes() {
        // Two versions that derived differently would apply one retry as two messages.
        let request = request(1_700_000_000_000, 7);
        let account = AccountId::derive(request);
        assert_eq!(account.to_string(), "018bcfe5-6800-715f-af37-50323af903c4");
        assert_eq!(
            MessageId::derive(account, request).to_string(),
            "018bcfe5-6800-7aff-9eba-67ed6bc55ddc"
        );
    }

    #[test]
    fn ids_are_ordered_by_time() {
        assert!(request(999, 255) < request(1_000, 0));
        assert!(AccountId::derive(request(999, 9)) < AccountId::derive(request(1_000, 1)));
    }

    #[test]
    fn request_ids_of_other_versions_and_other_texts_are_refused() {
        let version_4 = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert_eq!(
            version_4.parse::<RequestId>(),
            Err(IdError::NotVersion7(version_4.parse().unwrap()))
        );
        assert_eq!("x".parse::<MessageId>(), Err(IdError::NotUuid("x".into())));
        let id = request(5, 5);
        assert_eq!(id.to_string().parse::<RequestId>(), Ok(id));
        let bytes = postcard::to_stdvec(&id).unwrap();
        assert_eq!(bytes.len(), 16);
        assert_eq!(postcard::from_bytes::<RequestId>(&bytes), Ok(id));
        assert!(postcard::from_bytes::<RequestId>(&[0; 16]).is_err());
    }
}
