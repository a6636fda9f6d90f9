//! From an account's id to what every command needs of it.

use serde::{Deserialize, Serialize};

use super::{KeyReader, KeyWriter, RowKey, account::AccountNumber};
use crate::{
    message::AccountStatus,
    values::{id::AccountId, name::Username},
};

/// By account id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IdentityKey(pub(crate) AccountId);

impl RowKey for IdentityKey {
    const TABLE: u8 = 0x01;
    type Value = Identity;

    fn write(&self, key: &mut KeyWriter) {
        key.uuid(self.0.as_uuid());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        key.uuid().map(AccountId::from_uuid).map(Self)
    }
}

/// What an account id stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Identity {
    /// An account that was registered, whether or not it has been deleted since.
    Known {
        /// Its number inside keys.
        number: AccountNumber,
        /// Its name; the row holds it so that a message's parties need no further row.
        name: Username,
        /// Whether it was deleted.
        status: AccountStatus,
    },
    /// An account whose deletion came before its registration, which will therefore be refused.
    Gone,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::rows::testing;

    #[test]
    fn values_round_trip() {
        testing::check_value::<IdentityKey>(&Identity::Gone);
        testing::check_value::<IdentityKey>(&Identity::Known {
            number: AccountNumber::new(u32::MAX),
            name: Username::parse("Zoë").unwrap(),
            status: AccountStatus::Deleted,
        });
    }

    proptest! {
        #[test]
        fn keys_round_trip_in_order(one: u128, other: u128) {
            let [one, other] = [one, other].map(|id| IdentityKey(AccountId::from_uuid(Uuid::from_u128(id))));
            testing::check_key(&one);
            testing::check_order(&one, &other);
        }
    }
}
