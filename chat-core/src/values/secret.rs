//! What proves who somebody is, short of the password.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::id::RequestId;

/// The SHA-256 of a session's secret. The secret itself is random, stays with the client, and is never stored.
///
/// There is no `==`: [`TokenHash::matches`] compares in constant time.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct TokenHash([u8; 32]);

/// Which password was verified: the request that set it.
///
/// An id rather than a counter, because two sides of a fork count alike: after a merge, a login that verified the
/// password of one side must not pass for one that verified the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CredentialVersion(RequestId);

impl TokenHash {
    /// The hash of a session's secret, as SHA-256 gave it.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the hash of one secret, compared in constant time.
    pub fn matches(&self, other: &TokenHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

impl CredentialVersion {
    /// The password that this registration or change of password set.
    pub const fn set_by(request: RequestId) -> Self {
        Self(request)
    }

    /// The request that set the password.
    pub const fn request(&self) -> RequestId {
        self.0
    }
}
