//! What a message says.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

/// The text of a message: UTF-8, not empty, shared rather than copied.
///
/// `Debug` shows the length only: what people write to each other does not belong into a log.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Body(Arc<str>);

/// Why a text cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// There is nothing to send.
    #[error("the message is empty: write something, or send nothing")]
    Empty,
    /// The text is longer than this server takes.
    #[error(
        "the message has {length} bytes and the limit is {limit}: shorten it, or send it in parts"
    )]
    TooLong {
        /// Length of the text, in bytes.
        length: usize,
        /// The most that is taken, in bytes.
        limit: usize,
    },
}

impl Body {
    /// The limit where nothing else is configured: 64 KiB.
    pub const DEFAULT_LIMIT: usize = 64 * 1024;

    /// No configured limit may be above this: 1 MiB. Decoding a command refuses more.
    pub const MAX_LIMIT: usize = 1024 * 1024;

    /// Takes `text` as the body of a message of at most `limit` bytes, and never more than [`Body::MAX_LIMIT`].
    ///
    /// # Errors
    ///
    /// An empty text, and one that is too long.
    pub fn parse(text: &str, limit: usize) -> Result<Self, BodyError> {
        let limit = limit.min(Self::MAX_LIMIT);
        if text.is_empty() {
            return Err(BodyError::Empty);
        }
        if text.len() > limit {
            return Err(BodyError::TooLong {
                length: text.len(),
                limit,
            });
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, to be shared without a copy.
    pub fn to_shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        Self::parse(text, Self::MAX_LIMIT).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_limit_counts_bytes_and_nothing_is_not_a_message() {
        assert_eq!(Body::parse("", 10), Err(BodyError::Empty));
        assert_eq!(Body::parse("éé", 4).unwrap().as_str(), "éé");
        assert_eq!(
            Body::parse("ééa", 4),
            Err(BodyError::TooLong {
                length: 5,
                limit: 4
            })
        );
        let huge = "a".repeat(Body::MAX_LIMIT + 1);
        assert!(Body::parse(&huge, usize::MAX).is_err());
    }

    #[test]
    fn debug_keeps_the_text_to_itself() {
        let body = Body::parse("meet me at nine", Body::DEFAULT_LIMIT).unwrap();
        assert_eq!(format!("{body:?}"), "Body(15 bytes)");
    }
}
