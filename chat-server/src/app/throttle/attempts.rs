//! So many in a minute, for each of many, of what may turn out not to count.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// A bucket for each key that holds a minute's tokens, and into which a token can be put back.
pub(super) struct Attempts<K> {
    /// When each bucket that is not full will be. Only looked up, so that its order never shows.
    full_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Hash + Eq> Attempts<K> {
    pub(super) fn new() -> Attempts<K> {
        Attempts {
            full_at: Mutex::default(),
        }
    }

    /// Takes a token; says how long to wait for one where there is none.
    pub(super) fn take(&self, per_minute: u32, key: K, now: Instant) -> Result<(), Duration> {
        let each = MINUTE / per_minute.max(1);
        let mut buckets = self.buckets();
        let full_at = buckets.get(&key).map_or(now, |at| now.max(*at)) + each;
        let over = full_at.saturating_duration_since(now + each * per_minute.max(1));
        if !over.is_zero() {
            return Err(over);
        }
        buckets.insert(key, full_at);
        Ok(())
    }

    /// Puts a token back.
    pub(super) fn give_back(&self, per_minute: u32, key: &K) {
        let mut buckets = self.buckets();
        let earlier = |at: &Instant| at.checked_sub(MINUTE / per_minute.max(1));
        if let Some(full_at) = buckets.get(key).and_then(earlier)
            && let Some(at) = buckets.get_mut(key)
        {
            *at = full_at;
        }
    }

    /// Forgets those that are full.
    pub(super) fn tidy(&self, now: Instant) {
        let mut buckets = self.buckets();
        buckets.retain(|_, full_at| *full_at > now);
        buckets.shrink_to_fit();
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<K, Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_holds_so_many_and_what_is_put_back_can_be_taken_again() {
        let attempts = Attempts::new();
        let now = Instant::now();
        let take = |at| attempts.take(3, "key", at);
        assert!((0..3).all(|_| take(now).is_ok()));
        assert_eq!(take(now), Err(Duration::from_secs(20)));
        attempts.give_back(3, &"key");
        assert!(take(now).is_ok());
        assert!(take(now + Duration::from_secs(19)).is_err());
        assert!(take(now + Duration::from_secs(20)).is_ok());
        assert!(attempts.take(3, "other", now).is_ok());

        attempts.tidy(now + Duration::from_secs(79));
        assert_eq!(attempts.buckets().len(), 1);
        attempts.tidy(now + Duration::from_secs(80));
        assert!(attempts.buckets().is_empty());
    }
}
