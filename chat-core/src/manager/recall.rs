//! What the next commands are likely to ask again.

use std::hash::Hash;

use super::Party;
use crate::{rows::account::AccountNumber, values::id::AccountId};

/// Answers of the rows that the most frequent commands would look up each time. Nothing depends on what is in
/// here but the time that it takes: an answer is the rows' own, and is forgotten when they change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recall {
    /// Accounts that can act and be acted upon.
    pub(crate) parties: Lately<AccountId, Party>,
    /// The ids of accounts that are there to hear of something.
    pub(crate) ids: Lately<AccountNumber, AccountId>,
    /// The rank of the conversation at the front of an account's list.
    pub(crate) fronts: Lately<AccountNumber, u64>,
}

/// A map of bounded size.
#[derive(Clone, Debug)]
pub(crate) struct Lately<K, V>(Map<K, V>);

#[expect(
    clippy::disallowed_types,
    reason = "nothing is ever listed from it, so that its order shows nowhere"
)]
type Map<K, V> = std::collections::HashMap<K, V>;

/// Beyond this a map starts anew, which costs less than knowing what was used last.
const MOST: usize = 1 << 18;

impl<K, V> Default for Lately<K, V> {
    fn default() -> Self {
        Self(Map::new())
    }
}

impl<K: Eq + Hash, V> Lately<K, V> {
    pub(crate) fn recall(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    pub(crate) fn learn(&mut self, key: K, value: V) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(key, value);
    }

    pub(crate) fn forget(&mut self, key: &K) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_grow_without_bound() {
        let mut lately = Lately::default();
        for number in 0..3 * MOST {
            lately.learn(number, number);
            assert_eq!(lately.recall(&number), Some(&number));
            assert!(lately.0.len() <= MOST);
        }
        lately.forget(&(3 * MOST - 1));
        assert_eq!(lately.recall(&(3 * MOST - 1)), None);
    }
}
