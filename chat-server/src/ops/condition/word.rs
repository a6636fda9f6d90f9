//! What a replica says of itself, on its way to the others.

use bytes::Bytes;
use chat_replication::types::{Position, StoreUuid};
use serde::{Deserialize, Serialize};

use crate::engine::words::Subject;

/// How a replica is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Condition {
    /// The time of its clock as it says this, in milliseconds since 1970.
    pub(crate) now: u64,
    /// Its disk.
    pub(crate) store: StoreUuid,
    /// The last entry whose effects its state shows.
    pub(crate) applied: Position,
    /// The state's hash there.
    pub(crate) state_hash: u128,
    /// What it waits for, in words; empty when it serves.
    pub(crate) waiting_for: String,
    /// Of the file system that holds its data folder, in bytes; both 0 where it does not say.
    pub(crate) disk_free: u64,
    pub(crate) disk_total: u64,
    /// When its certificate ends, in seconds since 1970.
    pub(crate) certificate_ends: Option<i64>,
    /// Where its cluster file and the cluster differ, in words.
    pub(crate) differences: Vec<String>,
    /// The version of its program.
    pub(crate) program: String,
    /// Whether its disk has less room than is kept.
    pub(crate) disk_is_low: bool,
}

impl Condition {
    pub(super) fn seal(&self) -> Bytes {
        let word = postcard::to_stdvec(self).expect("it holds nothing that cannot be encoded");
        Subject::Condition.seal(&word)
    }

    /// `None` for the word of another version. A later one may say more behind.
    pub(super) fn decode(bytes: &[u8]) -> Option<Condition> {
        let (condition, _) = postcard::take_from_bytes(bytes).ok()?;
        Some(condition)
    }
}

/// Any bytes, for the fuzzer.
#[cfg(fuzzing)]
pub(crate) fn fuzz_word(bytes: &[u8]) {
    if let Some(word) = Condition::decode(bytes) {
        let (_, again) =
            crate::engine::words::Subject::open(word.seal()).expect("it has a subject");
        assert_eq!(Condition::decode(&again), Some(word));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_later_version_may_say_more() {
        let condition = Condition {
            now: 1,
            store: StoreUuid::default(),
            applied: Position::default(),
            state_hash: u128::MAX,
            waiting_for: "waiting".into(),
            disk_free: 2,
            disk_total: 3,
            certificate_ends: Some(-4),
            differences: vec!["this".into()],
            program: "0".into(),
            disk_is_low: true,
        };
        let (subject, word) = Subject::open(condition.seal()).expect("a subject");
        assert_eq!(subject, Subject::Condition);
        assert_eq!(Condition::decode(&word), Some(condition.clone()));
        let longer = [&word[..], &[7, 7]].concat();
        assert_eq!(Condition::decode(&longer), Some(condition));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_condition_or_none(bytes: Vec<u8>) {
            let _ = Condition::decode(&bytes);
        }
    }
}
