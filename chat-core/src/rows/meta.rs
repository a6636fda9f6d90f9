//! The one row without a key: counters and the sum over all other rows.

use serde::{Deserialize, Serialize};

use super::{KeyReader, KeyWriter, RowKey};
use crate::values::time::Timestamp;

/// There is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MetaKey;

impl RowKey for MetaKey {
    const TABLE: u8 = 0x00;
    type Value = Meta;

    fn write(&self, _: &mut KeyWriter) {}

    fn read(_: &mut KeyReader<'_>) -> Option<Self> {
        Some(Self)
    }
}

/// What is kept of the state as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// How rows are written; see [`Meta::FORMAT`].
    pub(crate) format: u32,
    /// The number of the next account.
    pub(crate) next_account: u32,
    /// Where the next command stands at least.
    pub(crate) next_sequence: u64,
    /// How many accounts are active.
    pub(crate) accounts: u64,
    /// How many sessions are open.
    pub(crate) sessions: u64,
    /// How many messages are stored.
    pub(crate) messages: u64,
    /// Requests minted before this moment are refused.
    pub(crate) horizon: Timestamp,
    /// The latest moment at which an accepted request was minted.
    pub(crate) newest_request: Timestamp,
    /// The wrapping sum of the hashes of all rows but this one.
    pub(crate) sum: u128,
}

impl Meta {
    /// The format that this program reads and writes.
    pub(crate) const FORMAT: u32 = 4;
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            format: Self::FORMAT,
            // Number 0 is the service itself.
            next_account: 1,
            next_sequence: 1,
            accounts: 0,
            sessions: 0,
            messages: 0,
            horizon: Timestamp::default(),
            newest_request: Timestamp::default(),
            sum: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing;

    #[test]
    fn round_trip() {
        testing::check_key(&MetaKey);
        testing::check_value::<MetaKey>(&Meta {
            sum: u128::MAX,
            next_sequence: 7,
            ..Meta::default()
        });
    }
}
