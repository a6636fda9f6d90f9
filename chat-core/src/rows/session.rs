//! Sessions: by id, by account, and by when they end.

use serde::{Deserialize, Serialize};

use super::{KeyReader, KeyWriter, RowKey, account::AccountNumber};
use crate::{
    lineage::Placed,
    values::{
        id::{AccountId, SessionId},
        secret::TokenHash,
        time::Timestamp,
    },
};

/// By session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionKey(pub(crate) SessionId);

impl RowKey for SessionKey {
    const TABLE: u8 = 0x06;
    type Value = SessionRow;

    fn write(&self, key: &mut KeyWriter) {
        key.uuid(self.0.as_uuid());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        key.uuid().map(SessionId::from_uuid).map(Self)
    }
}

/// What a session id stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum SessionRow {
    /// An open session.
    Open(OpenSession),
    /// A session that this account closed before it was opened here; it stays closed.
    Closed { account: AccountId },
}

/// An open session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OpenSession {
    pub(crate) account: AccountId,
    pub(crate) number: AccountNumber,
    pub(crate) opened_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// Each opens the session: one per retry of the login.
    pub(crate) tokens: Vec<TokenHash>,
    /// The command that opened it.
    pub(crate) opened: Placed,
}

/// By account, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AccountSessionKey {
    pub(crate) account: AccountNumber,
    pub(crate) session: SessionId,
}

impl RowKey for AccountSessionKey {
    const TABLE: u8 = 0x07;
    type Value = ();

    fn write(&self, key: &mut KeyWriter) {
        self.account.write(key);
        key.uuid(self.session.as_uuid());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        Some(Self {
            account: AccountNumber::read(key)?,
            session: key.uuid().map(SessionId::from_uuid)?,
        })
    }
}

/// By end, next to end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionEndKey {
    pub(crate) expires_at: Timestamp,
    pub(crate) session: SessionId,
}

impl RowKey for SessionEndKey {
    const TABLE: u8 = 0x08;
    type Value = ();

    fn write(&self, key: &mut KeyWriter) {
        key.long(self.expires_at.as_millis());
        key.uuid(self.session.as_uuid());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        Some(Self {
            expires_at: key.long().map(Timestamp::from_millis)?,
            session: key.uuid().map(SessionId::from_uuid)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{lineage::Stood, message::Sequence, rows::testing, values::id::RequestId};

    #[test]
    fn an_open_session_round_trips() {
        let request = RequestId::from_parts(Timestamp::from_millis(1), [2; 10]);
        let open = OpenSession {
            account: AccountId::derive(request),
            number: AccountNumber::new(7),
            opened_at: Timestamp::from_millis(3),
            expires_at: Timestamp::from_millis(4),
            tokens: vec![
                TokenHash::from_bytes([5; 32]),
                TokenHash::from_bytes([6; 32]),
            ],
            opened: Placed {
                place: Sequence::new(8),
                stood: vec![Stood {
                    epoch: 9,
                    at: Sequence::new(10),
                }],
            },
        };
        let bytes = postcard::to_stdvec(&SessionRow::Open(open)).unwrap();
        let SessionRow::Open(read) = postcard::from_bytes(&bytes).unwrap() else {
            panic!("it was open")
        };
        assert_eq!(read.expires_at, Timestamp::from_millis(4));
        assert!(read.tokens[1].matches(&TokenHash::from_bytes([6; 32])));
        assert_eq!(postcard::to_stdvec(&SessionRow::Open(read)).unwrap(), bytes);
    }

    proptest! {
        #[test]
        fn keys_round_trip_in_order(one: (u32, u64, u128), other: (u32, u64, u128)) {
            let session = |id| SessionId::from_uuid(Uuid::from_u128(id));
            let sessions = [one, other].map(|(_, _, id)| SessionKey(session(id)));
            testing::check_key(&sessions[0]);
            testing::check_order(&sessions[0], &sessions[1]);
            let of_accounts = [one, other].map(|(account, _, id)| AccountSessionKey {
                account: AccountNumber::new(account),
                session: session(id),
            });
            testing::check_key(&of_accounts[0]);
            testing::check_order(&of_accounts[0], &of_accounts[1]);
            let ends = [one, other].map(|(_, end, id)| SessionEndKey {
                expires_at: Timestamp::from_millis(end),
                session: session(id),
            });
            testing::check_key(&ends[0]);
            testing::check_order(&ends[0], &ends[1]);
        }
    }
}
