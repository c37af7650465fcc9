//! Rate limits: one bucket of tokens per collection and direction on this node (PROTOCOL section 21).
//!
//! A bucket holds the limit's tokens, is full at first, and gains a sixtieth of the limit per second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::violation::{RateExceeded, RetryLater};

const SECONDS_PER_MINUTE: f64 = 60.0;

/// Time since some fixed moment.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The buckets of all collections.
pub(in crate::service) struct RateLimits {
    clock: Clock,
    /// By the collection's `created_index`, and whether it is for writes. Held for one sum.
    buckets: Mutex<HashMap<(u64, bool), Bucket>>,
}

struct Bucket {
    /// Tokens when full, and per minute.
    limit: u64,
    /// 0 to `limit`.
    tokens: f64,
    /// When `tokens` was right.
    at: Duration,
}

/// What a call wants of a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// `created_index` of the collection.
    pub(super) collection: u64,
    pub(super) is_write: bool,
    /// Per minute. `None`: there is no limit.
    pub(super) limit: Option<u64>,
    pub(super) cost: u64,
}

impl Default for RateLimits {
    fn default() -> RateLimits {
        let started = Instant::now();
        RateLimits::new(Box::new(move || started.elapsed()))
    }
}

impl RateLimits {
    fn new(clock: Clock) -> RateLimits {
        RateLimits { clock, buckets: Mutex::default() }
    }

    /// Takes the tokens, or says when to come again.
    pub(super) fn take(&self, wanted: Wanted) -> Result<(), RateExceeded> {
        let Wanted { collection, is_write, limit, cost } = wanted;
        let mut buckets = self.buckets.lock();
        let Some(limit) = limit else {
            buckets.remove(&(collection, is_write));
            return Ok(());
        };
        if cost > limit {
            return Err(RateExceeded { is_write, cost, retry: None });
        }
        let now = (self.clock)();
        let full = Bucket { limit, tokens: limit as f64, at: now };
        let bucket = buckets.entry((collection, is_write)).or_insert_with(|| Bucket { ..full });
        if bucket.limit != limit {
            *bucket = full;
        }
        let per_second = limit as f64 / SECONDS_PER_MINUTE;
        let gained = now.saturating_sub(bucket.at).as_secs_f64() * per_second;
        (bucket.tokens, bucket.at) = ((bucket.tokens + gained).min(limit as f64), now);
        if bucket.tokens >= cost as f64 {
            bucket.tokens -= cost as f64;
            return Ok(());
        }
        // At most a minute, because the cost is within the limit.
        let after_s = ((cost as f64 - bucket.tokens) / per_second).ceil() as u32;
        let retry = Some(RetryLater { available_tokens: bucket.tokens, after_s });
        Err(RateExceeded { is_write, cost, retry })
    }

    /// Drops the buckets of a collection: its limits were changed, or it is gone.
    pub(in crate::service) fn forget(&self, collection: u64) {
        self.buckets.lock().retain(|(of, _), _| *of != collection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Limits whose clock is turned by hand, in milliseconds.
    fn limits() -> (RateLimits, Arc<AtomicU64>) {
        let now_ms = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now_ms);
        let clock: Clock = Box::new(move || Duration::from_millis(clock.load(Ordering::Relaxed)));
        (RateLimits::new(clock), now_ms)
    }

    fn read(limit: u64, cost: u64) -> Wanted {
        Wanted { collection: 1, is_write: false, limit: Some(limit), cost }
    }

    fn refused(cost: u64, available_tokens: f64, after_s: u32) -> Result<(), RateExceeded> {
        Err(RateExceeded { is_write: false, cost, retry: Some(RetryLater { available_tokens, after_s }) })
    }

    #[test]
    fn s21_a_bucket_is_full_at_first_and_fills_by_a_sixtieth_per_second() {
        let (limits, now_ms) = limits();
        assert_eq!(limits.take(read(60, 60)), Ok(()));
        assert_eq!(limits.take(read(60, 1)), refused(1, 0.0, 1));
        assert_eq!(limits.take(read(60, 60)), refused(60, 0.0, 60));
        now_ms.store(2_500, Ordering::Relaxed);
        assert_eq!(limits.take(read(60, 3)), refused(3, 2.5, 1));
        assert_eq!(limits.take(read(60, 2)), Ok(()));
        now_ms.store(1_000_000, Ordering::Relaxed);
        assert_eq!(limits.take(read(60, 60)), Ok(()), "no more than full");
        assert_eq!(limits.take(read(60, 1)), refused(1, 0.0, 1));
    }

    #[test]
    fn s21_a_small_limit_fills_slowly_and_what_is_larger_than_the_bucket_never_fits() {
        let (limits, now_ms) = limits();
        assert_eq!(limits.take(read(10, 11)), Err(RateExceeded { is_write: false, cost: 11, retry: None }));
        assert_eq!(limits.take(read(10, 10)), Ok(()));
        assert_eq!(limits.take(read(10, 10)), refused(10, 0.0, 60));
        now_ms.store(30_000, Ordering::Relaxed);
        assert_eq!(limits.take(read(10, 10)), refused(10, 5.0, 30));
    }

    #[test]
    fn s21_collections_and_directions_have_buckets_of_their_own() {
        let (limits, _) = limits();
        assert_eq!(limits.take(read(1, 1)), Ok(()));
        assert!(limits.take(read(1, 1)).is_err());
        assert_eq!(limits.take(Wanted { is_write: true, ..read(1, 1) }), Ok(()));
        assert_eq!(limits.take(Wanted { collection: 2, ..read(1, 1) }), Ok(()));
        limits.forget(1);
        assert_eq!(limits.take(read(1, 1)), Ok(()));
        assert!(limits.take(Wanted { collection: 2, ..read(1, 1) }).is_err(), "another collection's stay");
    }

    #[test]
    fn s21_another_limit_begins_with_a_full_bucket_and_none_limits_nothing() {
        let (limits, _) = limits();
        assert_eq!(limits.take(read(1, 1)), Ok(()));
        assert_eq!(limits.take(read(2, 2)), Ok(()));
        assert!(limits.take(read(2, 1)).is_err());
        let free = Wanted { limit: None, ..read(0, u64::MAX) };
        assert_eq!(limits.take(free), Ok(()));
        assert_eq!(limits.take(read(2, 2)), Ok(()), "a limit taken away and given back");
    }
}
