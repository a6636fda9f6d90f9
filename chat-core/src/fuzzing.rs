//! Decoders that nobody else may call, for the fuzzer.

use std::ops::{Bound, ControlFlow};

use crate::{
    AccountManager, MemoryStore,
    rows::{
        RowKey,
        account::{AccountKey, CredentialKey},
        conversation::{ConversationKey, EntriesKey, RecentKey},
        identity::IdentityKey,
        inbox::{InboxKey, WaitingKey},
        message::MessageKey,
        meta::MetaKey,
        name::{NameKey, SkeletonKey},
        request::{ForgetKey, RequestKey},
        session::{AccountSessionKey, SessionEndKey, SessionKey},
        stood::StoodKey,
        sweep::SweepKey,
    },
    store::{CorruptRow, KeyValue, Order},
};

/// A row of every kind: the first byte is the length of its key.
pub fn row(bytes: &[u8]) {
    let Some((len, rest)) = bytes.split_first() else {
        return;
    };
    let (key, value) = rest.split_at(rest.len().min(usize::from(*len)));
    macro_rules! kinds {
        ($($key:ty)*) => { $(one::<$key>(key, value);)* };
    }
    kinds!(
        MetaKey IdentityKey AccountKey CredentialKey NameKey SkeletonKey SessionKey AccountSessionKey SessionEndKey
        MessageKey EntriesKey ConversationKey RecentKey InboxKey WaitingKey RequestKey ForgetKey SweepKey StoodKey
    );
}

fn one<K: RowKey>(key: &[u8], value: &[u8]) {
    if let Some(decoded) = K::decode(key) {
        assert_eq!(decoded.encode().as_slice(), key, "a key has one form");
    }
    let _ = postcard::take_from_bytes::<K::Value>(value);
}

/// A state made of rows, each a length of the key, a length of the value, both; as `verify` looks at it.
pub fn state(mut bytes: &[u8]) {
    let mut store = Damaged(MemoryStore::new());
    while let [key, value, rest @ ..] = bytes {
        let (key, rest) = rest.split_at(rest.len().min(usize::from(*key)));
        let (value, rest) = rest.split_at(rest.len().min(usize::from(*value)));
        let Ok(()) = store.0.put(key, value);
        bytes = rest;
    }
    if let Ok(manager) = AccountManager::open(store) {
        let _ = manager.recompute_state_hash();
        let _ = manager.check();
    }
}

/// A store of rows that nobody wrote.
struct Damaged(MemoryStore);

impl KeyValue for Damaged {
    type Error = CorruptRow;

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CorruptRow> {
        let Ok(value) = self.0.read(key);
        Ok(value)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), CorruptRow> {
        let Ok(()) = self.0.put(key, value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), CorruptRow> {
        let Ok(()) = self.0.delete(key);
        Ok(())
    }

    fn scan(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), CorruptRow> {
        let Ok(()) = self.0.scan(range, order, visit);
        Ok(())
    }

    fn corrupt(&self, row: CorruptRow) -> CorruptRow {
        row
    }
}
