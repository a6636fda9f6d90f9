//! So many in a second, for each of many.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::Clock;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// A bucket holds what comes in so many seconds: a short burst is no flood.
const BURST_SECONDS: u32 = 4;

/// A bucket of tokens for each key, which fills again with time.
pub(super) struct Rates<K: Hash + Eq + Clone>(ArcSwap<Buckets<K>>);

struct Buckets<K: Hash + Eq + Clone> {
    per_second: u32,
    limiter: DefaultKeyedRateLimiter<K>,
}

impl<K: Hash + Eq + Clone> Rates<K> {
    pub(super) fn new(per_second: u32) -> Rates<K> {
        Rates(ArcSwap::from_pointee(Buckets::new(per_second)))
    }

    /// Takes a token; says how long to wait for one where there is none. With a new rate all buckets are full again.
    pub(super) fn take(&self, per_second: u32, key: &K) -> Result<(), Duration> {
        let mut buckets = self.0.load_full();
        if buckets.per_second != per_second {
            buckets = Arc::new(Buckets::new(per_second));
            self.0.store(Arc::clone(&buckets));
        }
        let limiter = &buckets.limiter;
        limiter
            .check_key(key)
            .map_err(|not_until| not_until.wait_time_from(limiter.clock().now()))
    }

    /// Forgets those that are full.
    pub(super) fn tidy(&self) {
        let buckets = self.0.load();
        buckets.limiter.retain_recent();
        buckets.limiter.shrink_to_fit();
    }
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn new(per_second: u32) -> Buckets<K> {
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
        Buckets {
            per_second,
            limiter: RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)),
        }
    }
}
