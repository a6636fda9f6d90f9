//! What replicas tell each other about orders.

use std::fmt;

use bytes::Bytes;
use chat_replication::types::ReplicaId;
use serde::{Deserialize, Serialize};

use crate::engine::words::Subject;

/// What an operator wants of whoever leads. Doing it twice does no more than doing it once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Add {
        replica: ReplicaId,
        peer_address: String,
        client_address: String,
    },
    Remove {
        replica: ReplicaId,
        destroyed: bool,
    },
    Transfer(ReplicaId),
    /// A command for the log, from whichever replica it comes.
    Propose(Sealed),
}

/// The bytes of a command. Cannot be printed, since a password's hash may be among them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed(pub(crate) Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a command of {} bytes", self.0.len())
    }
}

/// Why an order was not carried out, in words for the operator. Grouped by what can be done about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// It makes no sense as the cluster is.
    Impossible(String),
    /// It names a replica that is not there.
    NotFound(String),
    /// It names a replica that is there already, as another one.
    Taken(String),
    /// It may work at another time.
    Later(String),
}

/// What became of an order at the replica that was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Fate {
    Done,
    /// Another replica leads, or will: ask that one.
    NotLeader,
    Refused(Refusal),
}

/// One message. Any of them may be lost: the order is told again until there is an answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    Ask { id: u64, order: Order },
    Answer { id: u64, fate: Fate },
}

impl Word {
    pub(crate) fn seal(&self) -> Bytes {
        let word = postcard::to_stdvec(self).expect("a word holds nothing that cannot be encoded");
        Subject::Orders.seal(&word)
    }

    /// `None` for the word of a later version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Word> {
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
