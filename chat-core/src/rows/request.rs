//! Requests that were answered, and what is to be forgotten with them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{KeyReader, KeyWriter, RowKey};
use crate::{
    command::Digest,
    outcome::Outcome,
    values::{
        id::{AccountId, RequestId},
        time::Timestamp,
    },
};

/// By request and account. The request comes first: it starts with the time, so that what is too old stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestKey {
    pub(crate) request: RequestId,
    pub(crate) account: AccountId,
}

impl RowKey for RequestKey {
    const TABLE: u8 = 0x0f;
    type Value = Answered;

    fn write(&self, key: &mut KeyWriter) {
        key.uuid(self.request.as_uuid());
        key.uuid(self.account.as_uuid());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        Some(Self {
            request: key.uuid().and_then(|uuid| RequestId::try_from(uuid).ok())?,
            account: key.uuid().map(AccountId::from_uuid)?,
        })
    }
}

/// What a retry is compared with, and answered. Sends have none: the message's own row serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) digest: Digest,
    pub(crate) outcome: Outcome,
}

/// By id, in the order of time: a row that may go once no request of its time is accepted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ForgetKey(pub(crate) Uuid);

impl RowKey for ForgetKey {
    const TABLE: u8 = 0x10;
    type Value = Forget;

    fn write(&self, key: &mut KeyWriter) {
        key.uuid(&self.0);
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        key.uuid().map(Self)
    }
}

/// Which kind of row the id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Forget {
    /// An account whose deletion came before its registration.
    Account,
    /// A session that was closed before it was opened.
    Session,
    /// A message that was deleted, or was marked and never came.
    Message,
}

/// The first id that could have been minted at this moment: what stands before it is older.
pub(crate) fn first_id_at(moment: Timestamp) -> Uuid {
    // Only 48 bits of time are in an id.
    let millis = moment.as_millis().min((1 << 48) - 1);
    Uuid::from_u128(u128::from(millis) << 80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{command::digest_of_sent, rows::testing};

    proptest! {
        #[test]
        fn keys_round_trip_in_order(one: (u32, [u8; 10], u128), other: (u32, [u8; 10], u128)) {
            let keys = [one, other].map(|(time, random, account)| RequestKey {
                request: RequestId::from_parts(Timestamp::from_millis(time.into()), random),
                account: AccountId::from_uuid(Uuid::from_u128(account)),
            });
            testing::check_key(&keys[0]);
            testing::check_order(&keys[0], &keys[1]);
            let forget = [one, other].map(|(_, _, id)| ForgetKey(Uuid::from_u128(id)));
            testing::check_key(&forget[0]);
            testing::check_order(&forget[0], &forget[1]);
        }

        #[test]
        fn a_moment_parts_the_ids_before_it_from_those_after(time in 0_u64..1 << 48, random: [u8; 10], moment in 0_u64..1 << 48) {
            let request = RequestId::from_parts(Timestamp::from_millis(time), random);
            let first = first_id_at(Timestamp::from_millis(moment));
            prop_assert_eq!(request.as_uuid() < &first, time < moment);
        }
    }

    #[test]
    fn values_round_trip() {
        testing::check_value::<RequestKey>(&Answered {
            digest: digest_of_sent(AccountId::SYSTEM, "hello"),
            outcome: Outcome::SessionsClosed { count: 3 },
        });
        testing::check_value::<ForgetKey>(&Forget::Session);
    }
}
