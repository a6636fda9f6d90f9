//! A bounded number of something for each account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chat_core::AccountId;

/// Counts what each account has at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Only looked up, so that its order never shows.
    taken: Arc<Mutex<HashMap<AccountId, usize>>>,
}

/// One of an account's places. Dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Place {
    account: AccountId,
    taken: Arc<Mutex<HashMap<AccountId, usize>>>,
}

impl Places {
    /// A place, if the account has fewer than `most`.
    pub(crate) fn take(&self, account: AccountId, most: usize) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&account).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        taken.insert(account, count + 1);
        Some(Place {
            account,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_left() {
        let places = Places::default();
        let account = AccountId::from_uuid(Uuid::from_u128(1));
        let other = AccountId::from_uuid(Uuid::from_u128(2));
        let place = places.take(account, 1).expect("free");
        assert!(places.take(account, 1).is_none());
        assert!(places.take(other, 1).is_some());
        drop(place);
        assert!(places.take(account, 1).is_some());
        assert!(places.taken.lock().expect("whole").is_empty());
    }
}
