//! Passwords and their hashes: argon2id, pure.
//!
//! Hashing takes tens of milliseconds and many mebibytes on purpose, so it happens at the edge, where a caller can bound
//! how many run at once. Its result, a PHC string, is what a command carries: never the password.
//!
//! ```
//! use chat_core::password::{self, Params, Password};
//!
//! let password = Password::parse("correct horse battery staple")?;
//! let salt = [7; 16]; // from the operating system's randomness
//! let hash = password::hash(&password, &salt, &Params::default())?;
//! assert!(password::verify(&password, &hash));
//! assert!(!password::verify(&Password::parse("incorrect horse")?, &hash));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{fmt, sync::Arc};

use argon2::{
    Algorithm, Argon2, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc},
};
use precis_profiles::{OpaqueString, precis_core::profile::Profile};
use serde::{Deserialize, Deserializer, Serialize};

/// A password as its owner typed it, prepared by PRECIS OpaqueString (RFC 8265, section 4.2). Cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// Why a text cannot be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Shorter than is worth guarding.
    #[error("the password is too short: use at least 8 bytes, better a few words")]
    TooShort,
    /// Longer than is worth hashing.
    #[error("the password is too long: use at most 1024 bytes")]
    TooLong,
    /// A control character or another one that keyboards disagree about.
    #[error(
        "the password holds a character that cannot be typed reliably: leave out control characters"
    )]
    NotAllowed,
}

/// An argon2id hash as a PHC string. Cannot be printed, so that no log ever holds one.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct PasswordHash(Arc<str>);

/// Why a hash could not be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// argon2 does not take these costs.
    #[error(
        "argon2id cannot work with these costs ({0}): use the defaults, or more memory and at least one pass"
    )]
    Params(String),
    /// Hashing failed, most likely for lack of memory.
    #[error("argon2id failed ({0}): free memory and try again")]
    Failed(String),
    /// The text is no argon2id hash.
    #[error("this is not an argon2id hash in PHC form, such as $argon2id$v=19$m=19456,t=2,p=1$…$…")]
    NotPhc,
}

/// What one hash costs. The default is OWASP's: 19 MiB, two passes, one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Memory, in KiB.
    pub memory: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            memory: 19_456,
            passes: 2,
            lanes: 1,
        }
    }
}

impl Password {
    /// The fewest bytes of a password.
    pub const MIN_BYTES: usize = 8;

    /// The most bytes of a password.
    pub const MAX_BYTES: usize = 1024;

    /// Takes `text` as a password.
    ///
    /// # Errors
    ///
    /// A text that is too short, too long, or holds characters that no password may.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        if text.len() > 4 * Self::MAX_BYTES {
            return Err(PasswordError::TooLong);
        }
        if text.is_empty() {
            return Err(PasswordError::TooShort);
        }
        let prepared = OpaqueString::new()
            .enforce(text)
            .map_err(|_| PasswordError::NotAllowed)?;
        match prepared.len() {
            length if length < Self::MIN_BYTES => Err(PasswordError::TooShort),
            length if length > Self::MAX_BYTES => Err(PasswordError::TooLong),
            _ => Ok(Self(prepared.into_owned())),
        }
    }
}

impl PasswordHash {
    /// Reads a PHC string.
    ///
    /// # Errors
    ///
    /// Anything that is not an argon2id hash.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let hash = phc::PasswordHash::new(text).map_err(|_| HashError::NotPhc)?;
        if hash.algorithm != Algorithm::Argon2id.ident()
            || hash.hash.is_none()
            || text.len() > MAX_PHC_BYTES
        {
            return Err(HashError::NotPhc);
        }
        Ok(Self(text.into()))
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hashes a password with a salt of 16 random bytes, used once.
///
/// # Errors
///
/// Costs that argon2 does not take, and a lack of memory.
pub fn hash(
    password: &Password,
    salt: &[u8; 16],
    params: &Params,
) -> Result<PasswordHash, HashError> {
    let params = argon2::Params::new(params.memory, params.passes, params.lanes, None)
        .map_err(|error| HashError::Params(error.to_string()))?;
    let hash: phc::PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.0.as_bytes(), salt)
        .map_err(|error| HashError::Failed(error.to_string()))?;
    Ok(PasswordHash(hash.to_string().into()))
}

/// Whether `password` is the one that `hash` was made from. Takes as long as the hash took.
pub fn verify(password: &Password, hash: &PasswordHash) -> bool {
    phc::PasswordHash::new(&hash.0).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.0.as_bytes(), &hash)
            .is_ok()
    })
}

/// Does the work of [`verify`] for an account that does not exist, so that the time of an answer does not tell who has
/// an account. `params` are those that new hashes are made with. Always `false`.
pub fn verify_absent(password: &Password, params: &Params) -> bool {
    // A hash that fails for lack of memory fails for an account that exists as well.
    let _ = hash(password, b"nobody's account", params);
    false
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The form only: the rest was parsed when the hash was made, and replicas with different versions of argon2
        // must agree about which commands they can read.
        let text = <&str>::deserialize(deserializer)?;
        match text.len() <= MAX_PHC_BYTES && text.starts_with("$argon2id$") {
            true => Ok(Self(text.into())),
            false => Err(serde::de::Error::custom(HashError::NotPhc)),
        }
    }
}

/// A PHC string of argon2id with the longest salt and output that the format allows fits well.
const MAX_PHC_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const CHEAP: Params = Params {
        memory: 16,
        passes: 1,
        lanes: 1,
    };

    #[test]
    fn a_hash_is_a_phc_string_and_verifies_only_its_password() {
        let password = Password::parse("tr0ub4dor&3").unwrap();
        let made = hash(&password, &[1; 16], &CHEAP).unwrap();
        assert!(
            made.as_str().starts_with("$argon2id$v=19$m=16,t=1,p=1$"),
            "{}",
            made.as_str()
        );
        assert_eq!(PasswordHash::parse(made.as_str()), Ok(made.clone()));
        assert!(verify(&password, &made));
        assert!(!verify(&Password::parse("tr0ub4dor&4").unwrap(), &made));
        assert!(!verify_absent(&password, &CHEAP));
        assert_ne!(hash(&password, &[2; 16], &CHEAP).unwrap(), made);
    }

    #[test]
    fn the_defaults_are_in_the_hash() {
        let password = Password::parse("tr0ub4dor&3").unwrap();
        let made = hash(&password, &[1; 16], &Params::default()).unwrap();
        assert!(made.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[test]
    fn passwords_are_prepared_and_refused_with_a_reason() {
        assert_eq!(Password::parse(""), Err(PasswordError::TooShort));
        assert_eq!(Password::parse("short"), Err(PasswordError::TooShort));
        assert_eq!(
            Password::parse(&"a".repeat(1_025)),
            Err(PasswordError::TooLong)
        );
        assert_eq!(
            Password::parse(&"a".repeat(9_000)),
            Err(PasswordError::TooLong)
        );
        assert_eq!(
            Password::parse("tab\tinside it"),
            Err(PasswordError::NotAllowed)
        );
        // A no-break space typed by accident is a space; case and spaces are kept.
        assert_eq!(
            Password::parse("Two\u{a0}Words"),
            Password::parse("Two Words")
        );
        assert_ne!(Password::parse("two words"), Password::parse("Two Words"));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let password = Password::parse("tr0ub4dor&3").unwrap();
        let made = hash(&password, &[1; 16], &CHEAP).unwrap();
        assert_eq!(
            format!("{password:?} {made:?}"),
            "Password(…) PasswordHash(…)"
        );
    }

    #[test]
    fn other_hashes_and_impossible_costs_are_refused() {
        assert_eq!(PasswordHash::parse("hunter2"), Err(HashError::NotPhc));
        assert_eq!(
            PasswordHash::parse("$argon2id$v=19$m=16,t=1,p=1"),
            Err(HashError::NotPhc)
        );
        let password = Password::parse("tr0ub4dor&3").unwrap();
        let none = Params {
            memory: 0,
            passes: 0,
            lanes: 0,
        };
        assert!(matches!(
            hash(&password, &[1; 16], &none),
            Err(HashError::Params(_))
        ));
    }
}
