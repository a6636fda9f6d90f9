//! The state as a whole.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    manager::AccountManager,
    rows::meta::{Meta, MetaKey},
    store::KeyValue,
};

/// How much is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Active accounts.
    pub accounts: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Messages that somebody sees.
    pub messages: u64,
}

/// A hash of the whole state: equal states have equal hashes, and different ones different hashes unless somebody went
/// to great length. It finds replicas that have drifted apart; it proves nothing against an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash(u128);

impl StateHash {
    /// The hash as a number.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl<S: KeyValue> AccountManager<S> {
    /// How much is stored.
    pub fn stats(&self) -> Stats {
        Stats {
            accounts: self.meta.accounts,
            sessions: self.meta.sessions,
            messages: self.meta.messages,
        }
    }

    /// The hash of the state, which was kept up to date while commands were applied.
    pub fn state_hash(&self) -> StateHash {
        state_hash(&self.meta, self.rows.sum())
    }

    /// The hash of the state, computed from every row: what [`AccountManager::state_hash`] must be.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn recompute_state_hash(&self) -> Result<StateHash, S::Error> {
        Ok(state_hash(
            &self.meta,
            self.rows.recompute_sum_without::<MetaKey>()?,
        ))
    }
}

fn state_hash(meta: &Meta, sum: u128) -> StateHash {
    let counters = Meta {
        sum,
        ..meta.clone()
    };
    let bytes = postcard::to_stdvec(&counters).expect("a row can always be encoded");
    StateHash(xxh3_128(&bytes))
}
