//! Small records in order of sequence, several to a row.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{message::Sequence, values::id::MessageId};

/// What a [`Chunk`] holds, in always the same number of bytes.
pub(crate) trait Record: Copy {
    const SIZE: usize;

    fn write(self, bytes: &mut Vec<u8>);

    /// Reads what [`Record::write`] wrote: [`Record::SIZE`] bytes, all of which mean something.
    fn read(bytes: &[u8]) -> Self;
}

/// At most [`Chunk::MOST`] records, each under a sequence, the least first.
///
/// They are kept as the bytes that they are stored as: a row of them is written with each message, and nothing of it is
/// taken apart but what is asked for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Chunk<T> {
    bytes: Vec<u8>,
    records: PhantomData<T>,
}

/// Bytes of a sequence.
const SEQUENCE: usize = size_of::<u64>();

impl<T> Default for Chunk<T> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            records: PhantomData,
        }
    }
}

impl<T: Record> Chunk<T> {
    /// More makes the row that is written with each message longer, less makes more rows. Between 8 and 32 the cost of a
    /// message hardly changes.
    pub(crate) const MOST: usize = 8;

    const STEP: usize = SEQUENCE + T::SIZE;

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / Self::STEP
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= Self::MOST
    }

    /// The least sequence.
    pub(crate) fn first(&self) -> Option<Sequence> {
        self.bytes.first_chunk().map(sequence_of)
    }

    /// Whether the sequence is not before the first record.
    pub(crate) fn reaches(&self, sequence: Sequence) -> bool {
        self.first().is_some_and(|first| first <= sequence)
    }

    /// Whether the sequence is not before the first record and not behind the last.
    pub(crate) fn spans(&self, sequence: Sequence) -> bool {
        let last = self.iter().next_back().map(|(last, _)| last);
        self.first() <= Some(sequence) && Some(sequence) <= last
    }

    pub(crate) fn get(&self, sequence: Sequence) -> Option<T> {
        let at = self.position(sequence)?;
        Some(T::read(&self.bytes[at + SEQUENCE..][..T::SIZE]))
    }

    /// Appends a record, whose sequence is greater than all before.
    pub(crate) fn push(&mut self, sequence: Sequence, record: T) {
        debug_assert!(!self.is_full());
        debug_assert!(
            self.iter()
                .next_back()
                .is_none_or(|(last, _)| last < sequence)
        );
        self.bytes
            .extend_from_slice(&sequence.number().to_be_bytes());
        record.write(&mut self.bytes);
    }

    /// Writes over a record or removes it. Says whether there was one.
    pub(crate) fn set(&mut self, sequence: Sequence, record: Option<T>) -> bool {
        let Some(at) = self.position(sequence) else {
            return false;
        };
        match record {
            Some(record) => {
                let behind = self.bytes.split_off(at + Self::STEP);
                self.bytes.truncate(at + SEQUENCE);
                record.write(&mut self.bytes);
                self.bytes.extend_from_slice(&behind);
            }
            None => drop(self.bytes.drain(at..at + Self::STEP)),
        }
        true
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Sequence, T)> {
        self.steps().map(|step| {
            let (sequence, record) = step.split_first_chunk().expect("a step is longer");
            (sequence_of(sequence), T::read(record))
        })
    }

    /// Where a record begins.
    fn position(&self, sequence: Sequence) -> Option<usize> {
        let wanted = sequence.number().to_be_bytes();
        // What is asked for is mostly new.
        let found = self.steps().rposition(|step| step.starts_with(&wanted))?;
        Some(found * Self::STEP)
    }

    fn steps(&self) -> std::slice::ChunksExact<'_, u8> {
        self.bytes.chunks_exact(Self::STEP)
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, &'static str> {
        let chunk = Self {
            bytes: bytes.to_vec(),
            records: PhantomData,
        };
        if !bytes.len().is_multiple_of(Self::STEP) {
            return Err("it ends within a record");
        }
        if chunk.len() > Self::MOST {
            return Err("it holds more records than are ever written");
        }
        // Numbers of this form are ordered as their bytes are.
        if !chunk
            .steps()
            .is_sorted_by(|one, other| one[..SEQUENCE] < other[..SEQUENCE])
        {
            return Err("its records are out of order");
        }
        Ok(chunk)
    }
}

fn sequence_of(bytes: &[u8; SEQUENCE]) -> Sequence {
    Sequence::new(u64::from_be_bytes(*bytes))
}

impl<T: Record> Serialize for Chunk<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de, T: Record> Deserialize<'de> for Chunk<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes<T>(PhantomData<T>);

        impl<T: Record> de::Visitor<'_> for Bytes<T> {
            type Value = Chunk<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("records as bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Chunk<T>, E> {
                Chunk::of_bytes(bytes).map_err(E::custom)
            }
        }

        deserializer.deserialize_bytes(Bytes(PhantomData))
    }
}

impl<T: Record + fmt::Debug> fmt::Debug for Chunk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Record for MessageId {
    const SIZE: usize = 16;

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_uuid().as_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        Self::from_uuid(uuid::Uuid::from_slice(bytes).expect("a record is as long as an id"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn id(number: u64) -> MessageId {
        MessageId::from_uuid(Uuid::from_u128(number.into()))
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_few(writes in proptest::collection::vec((0_u64..20, 0..3), 0..60)) {
            let mut chunk = Chunk::default();
            let mut map = BTreeMap::new();
            for (at, (number, what)) in (1_u64..).zip(writes) {
                let sequence = Sequence::new(number);
                match what {
                    0 if !chunk.is_full() => {
                        let next = Sequence::new(map.keys().next_back().map_or(number, |last: &Sequence| last.number() + 1));
                        chunk.push(next, id(at));
                        map.insert(next, id(at));
                    }
                    1 => {
                        let was_there = map.contains_key(&sequence);
                        prop_assert_eq!(chunk.set(sequence, Some(id(at))), was_there);
                        map.entry(sequence).and_modify(|held| *held = id(at));
                    }
                    _ => prop_assert_eq!(chunk.set(sequence, None), map.remove(&sequence).is_some()),
                }
                prop_assert_eq!(chunk.get(sequence), map.get(&sequence).copied());
                prop_assert_eq!(chunk.first(), map.keys().next().copied());
                prop_assert_eq!((chunk.len(), chunk.is_empty()), (map.len(), map.is_empty()));
                prop_assert!(chunk.iter().eq(map.iter().map(|(sequence, id)| (*sequence, *id))));
                let bytes = postcard::to_stdvec(&chunk).expect("chunks can be encoded");
                prop_assert_eq!(postcard::from_bytes(&bytes), Ok(chunk.clone()));
            }
        }
    }

    #[test]
    fn bytes_that_nobody_wrote_are_no_chunk() {
        let mut chunk = Chunk::default();
        for number in 1..=Chunk::<MessageId>::MOST as u64 {
            chunk.push(Sequence::new(number), id(number));
        }
        let step = Chunk::<MessageId>::STEP;
        let whole = chunk.bytes.clone();
        let more = [&whole[..], &[0xff; 24]].concat();
        let turned = [&whole[step..2 * step], &whole[..step]].concat();
        let twice = [&whole[..step], &whole[..step]].concat();
        assert!(Chunk::<MessageId>::of_bytes(&whole).is_ok());
        for (bytes, problem) in [
            (&whole[..whole.len() - 1], "within a record"),
            (&more, "more records"),
            (&turned, "out of order"),
            (&twice, "out of order"),
        ] {
            let refused = Chunk::<MessageId>::of_bytes(bytes).expect_err("nobody wrote it");
            assert!(refused.contains(problem), "{refused}");
        }
    }
}
