//! What is left to clear up after deleted accounts.

use serde::{Deserialize, Serialize};

use super::{KeyReader, KeyWriter, RowKey, account::AccountNumber};
use crate::message::Sequence;

/// By the number of a deleted account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SweepKey(pub(crate) AccountNumber);

impl RowKey for SweepKey {
    const TABLE: u8 = 0x11;
    type Value = Sweep;

    fn write(&self, key: &mut KeyWriter) {
        self.0.write(key);
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        AccountNumber::read(key).map(Self)
    }
}

/// How far the sweep has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sweep {
    /// In the conversation at the back of the account's list, messages up to here were looked at.
    pub(crate) visited: Sequence,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::testing;

    proptest! {
        #[test]
        fn round_trip_in_order(one: u32, other: u32, visited: u64) {
            let [one, other] = [one, other].map(|number| SweepKey(AccountNumber::new(number)));
            testing::check_key(&one);
            testing::check_order(&one, &other);
            testing::check_value::<SweepKey>(&Sweep { visited: Sequence::new(visited) });
        }
    }
}
