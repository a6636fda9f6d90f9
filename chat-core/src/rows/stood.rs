//! Where messages stood that came by way of a merge.

use super::{KeyReader, KeyWriter, RowKey};
use crate::{lineage::Placed, values::id::MessageId};

/// By message, whose place on this branch is not in here: the places that it had on branches of history that lost, so that a mark from there is told from one whose
/// author cannot have seen it. Kept for as long as such marks may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoodKey(pub(crate) MessageId);

impl RowKey for StoodKey {
    const TABLE: u8 = 0x12;
    type Value = Placed;

    fn write(&self, key: &mut KeyWriter) {
        key.uuid(self.0.as_uuid());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        key.uuid().map(MessageId::from_uuid).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{lineage::Stood, message::Sequence, rows::testing};

    proptest! {
        #[test]
        fn round_trip_in_order(one: u128, other: u128, epoch: u128, at: u64) {
            let [one, other] = [one, other].map(|id| StoodKey(MessageId::from_uuid(Uuid::from_u128(id))));
            testing::check_key(&one);
            testing::check_order(&one, &other);
            testing::check_value::<StoodKey>(&Placed {
                place: Sequence::new(at / 2),
                stood: vec![Stood { epoch, at: Sequence::new(at) }],
            });
        }
    }
}
