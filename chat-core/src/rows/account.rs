//! Accounts by number, and their passwords.

use serde::{Deserialize, Serialize};

use super::{KeyReader, KeyWriter, RowKey};
use crate::{
    lineage::Placed,
    message::AccountStatus,
    password::PasswordHash,
    values::{
        id::{AccountId, RequestId},
        name::{Skeleton, Username},
        secret::CredentialVersion,
        time::Timestamp,
    },
};

/// An account inside keys. Given out at registration in order, never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct AccountNumber(u32);

impl AccountNumber {
    /// The service itself. It has no rows of its own.
    pub(crate) const SYSTEM: AccountNumber = AccountNumber(0);

    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    pub(crate) fn write(self, key: &mut KeyWriter) {
        key.number(self.0);
    }

    pub(crate) fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        key.number().map(Self)
    }
}

/// By number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AccountKey(pub(crate) AccountNumber);

impl RowKey for AccountKey {
    const TABLE: u8 = 0x02;
    type Value = AccountRow;

    fn write(&self, key: &mut KeyWriter) {
        self.0.write(key);
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        AccountNumber::read(key).map(Self)
    }
}

/// What there is to know of an account besides its password. Kept after its deletion, for those it wrote to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    pub(crate) id: AccountId,
    pub(crate) name: Username,
    pub(crate) status: AccountStatus,
    /// The skeleton that is reserved for the account. An account that lost its name in a merge has none.
    pub(crate) skeleton: Option<Skeleton>,
    /// When all its sessions were closed last: a login from before that does not come back in a merge.
    pub(crate) sessions_closed_at: Timestamp,
    /// The command that registered it.
    pub(crate) created: Placed,
    /// The command that deleted it.
    pub(crate) deleted: Option<Placed>,
}

/// By number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CredentialKey(pub(crate) AccountNumber);

impl RowKey for CredentialKey {
    const TABLE: u8 = 0x03;
    type Value = CredentialRow;

    fn write(&self, key: &mut KeyWriter) {
        self.0.write(key);
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        AccountNumber::read(key).map(Self)
    }
}

/// The password in force. An account that was deleted has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CredentialRow {
    pub(crate) hash: PasswordHash,
    pub(crate) version: CredentialVersion,
    /// With the request that set it, what decides between two changes in a merge.
    pub(crate) at: Timestamp,
    /// The command that set it.
    pub(crate) set: Placed,
}

impl CredentialRow {
    /// What the greater of two changes is decided by.
    pub(crate) fn rank(&self) -> (Timestamp, RequestId) {
        (self.at, self.version.request())
    }
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
        let name = Username::parse("maria").unwrap();
        testing::check_value::<AccountKey>(&AccountRow {
            id: AccountId::from_uuid(Uuid::from_u128(9)),
            skeleton: Some(name.skeleton()),
            name,
            status: AccountStatus::Active,
            sessions_closed_at: Timestamp::from_millis(4),
            created: Placed::default(),
            deleted: Some(Placed::default()),
        });
        testing::check_value::<CredentialKey>(&CredentialRow {
            hash: PasswordHash::parse(
                "$argon2id$v=19$m=16,t=1,p=1$AQEBAQEBAQEBAQEBAQEBAQ$AQEBAQEBAQEBAQEBAQEBAQ",
            )
            .unwrap(),
            version: CredentialVersion::set_by(RequestId::from_parts(
                Timestamp::from_millis(1),
                [2; 10],
            )),
            at: Timestamp::from_millis(3),
            set: Placed::default(),
        });
    }

    proptest! {
        #[test]
        fn keys_round_trip_in_order(one: u32, other: u32) {
            let [one, other] = [one, other].map(AccountNumber::new);
            testing::check_key(&AccountKey(one));
            testing::check_order(&AccountKey(one), &AccountKey(other));
            testing::check_key(&CredentialKey(one));
            testing::check_order(&CredentialKey(one), &CredentialKey(other));
        }
    }
}
