//! Who has a name, and who has one that looks like it.

use super::{KeyReader, KeyWriter, RowKey, account::AccountNumber};
use crate::values::name::{Skeleton, Username};

/// By name. Active accounts only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameKey(pub(crate) Username);

impl RowKey for NameKey {
    const TABLE: u8 = 0x04;
    type Value = AccountNumber;

    fn write(&self, key: &mut KeyWriter) {
        key.text(self.0.as_str());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        key.text().and_then(Username::from_row).map(Self)
    }
}

/// By skeleton. Active accounts only, and only those that kept the name they registered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SkeletonKey(pub(crate) Skeleton);

impl RowKey for SkeletonKey {
    const TABLE: u8 = 0x05;
    type Value = AccountNumber;

    fn write(&self, key: &mut KeyWriter) {
        key.text(self.0.as_str());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        key.text().and_then(Skeleton::from_row).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::testing;

    proptest! {
        #[test]
        fn round_trip_in_order(one in "\\PC{1,32}", other in "\\PC{1,32}", number: u32) {
            let names = [&one, &other].map(|name| Username::from_row(name).map(NameKey));
            if let [Some(one), Some(other)] = &names {
                testing::check_key(one);
                testing::check_order(one, other);
            }
            let skeletons = [&one, &other].map(|name| Skeleton::from_row(name).map(SkeletonKey));
            if let [Some(one), Some(other)] = &skeletons {
                testing::check_key(one);
                testing::check_order(one, other);
            }
            testing::check_value::<NameKey>(&AccountNumber::new(number));
        }
    }
}
