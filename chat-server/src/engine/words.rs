//! Words between the applications of two replicas, and whom they are for.

use bytes::Bytes;
use chat_replication::types::PeerId;

/// What a peer said, and which. It is a replica of the present configuration, but may run with a disk that has no vote in it:
/// then it is to be believed what it says of itself, and no more.
pub(crate) type Told = (PeerId, Bytes);

/// Whom a word is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    /// Who is online.
    Presence = 1,
    /// Operators' orders on their way to the leader.
    Orders = 2,
    /// How a replica is.
    Condition = 4,
}

impl Subject {
    /// The word with its address.
    pub(crate) fn seal(self, word: &[u8]) -> Bytes {
        let mut sealed = Vec::with_capacity(1 + word.len());
        sealed.push(self as u8);
        sealed.extend_from_slice(word);
        sealed.into()
    }

    /// The address and the word; `None` for a subject of a later version.
    pub(crate) fn open(mut sealed: Bytes) -> Option<(Subject, Bytes)> {
        let subject = match sealed.first()? {
            1 => Subject::Presence,
            2 => Subject::Orders,
            4 => Subject::Condition,
            _ => return None,
        };
        let word = sealed.split_off(1);
        Some((subject, word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_whom_they_are_for() {
        for subject in [Subject::Presence, Subject::Orders, Subject::Condition] {
            let sealed = subject.seal(b"word");
            assert_eq!(
                Subject::open(sealed),
                Some((subject, Bytes::from_static(b"word")))
            );
        }
        assert_eq!(Subject::open(Bytes::new()), None);
        assert_eq!(Subject::open(Bytes::from_static(&[0, 1])), None);
    }
}
