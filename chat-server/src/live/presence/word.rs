//! What replicas tell each other.

use bytes::Bytes;
use chat_core::AccountId;
use serde::{Deserialize, Serialize};

use crate::engine::words::Subject;

/// Accounts in one message, so that none is large.
pub(super) const ACCOUNTS_PER_WORD: usize = 16_384;

/// A run of a replica's process, drawn at its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Run(pub(super) u64);

/// One message. Any of them may be lost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// What has changed. The sender numbers these from 1 within its run.
    Change {
        run: Run,
        number: u64,
        came: Vec<AccountId>,
        went: Vec<AccountId>,
    },
    /// A sign of life, and the number of the last change.
    Alive { run: Run, number: u64 },
    /// Asks for everything.
    Ask,
    /// A part of everything, as of change `number`. Parts are numbered from 0.
    All {
        run: Run,
        number: u64,
        part: u32,
        parts: u32,
        online: Vec<AccountId>,
    },
}

impl Word {
    pub(super) fn seal(&self) -> Bytes {
        let word = postcard::to_stdvec(self).expect("a word holds nothing that cannot be encoded");
        Subject::Presence.seal(&word)
    }

    /// `None` for the word of a later version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Word> {
        postcard::from_bytes(bytes).ok()
    }
}

/// Any bytes, for the fuzzer.
#[cfg(fuzzing)]
pub(crate) fn fuzz_word(bytes: &[u8]) {
    if let Some(word) = Word::decode(bytes) {
        let (_, again) =
            crate::engine::words::Subject::open(word.seal()).expect("it has a subject");
        assert_eq!(Word::decode(&again), Some(word));
    }
}
