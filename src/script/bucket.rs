//! A token bucket: how many now, how many in the long run.

use std::time::{Duration, Instant};

/// Lets `burst` through at once, and `per_second` in the long run.
#[derive(Debug)]
pub(super) struct Bucket {
    burst: f64,
    per_second: f64,
    tokens: f64,
    last: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(burst: f64, per_second: f64, now: Instant) -> Self {
        Self { burst, per_second, tokens: burst, last: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.last = now;
    }

    /// Takes one token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// Takes what was used already, even if that leaves a debt.
    pub(super) fn owe(&mut self, tokens: f64, now: Instant) {
        self.refill(now);
        self.tokens -= tokens;
    }

    /// How long it takes until there are so many tokens; zero if there are.
    pub(super) fn wait(&mut self, tokens: f64, now: Instant) -> Duration {
        self.refill(now);
        Duration::try_from_secs_f64((tokens - self.tokens) / self.per_second).unwrap_or_default()
    }

    /// How long it takes until it is full.
    pub(super) fn wait_full(&mut self, now: Instant) -> Duration {
        self.wait(self.burst, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refills_with_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(2.0, 1.0, start);
        assert!(bucket.take(start) && bucket.take(start));
        assert!(!bucket.take(start));
        assert!(bucket.take(start + Duration::from_secs(1)));
        assert!(!bucket.take(start + Duration::from_secs(1)));
    }

    #[test]
    fn a_debt_is_paid_before_there_are_tokens_again() {
        let start = Instant::now();
        let mut bucket = Bucket::new(2.0, 0.5, start);
        assert_eq!((bucket.wait(1.0, start), bucket.wait_full(start)), (Duration::ZERO, Duration::ZERO));
        bucket.owe(3.0, start);
        assert_eq!(bucket.wait(1.0, start), Duration::from_secs(4));
        assert_eq!(bucket.wait_full(start), Duration::from_secs(6));
        let later = start + Duration::from_secs(4);
        assert_eq!(bucket.wait(1.0, later), Duration::ZERO);
        assert!(bucket.take(later) && !bucket.take(later));
    }
}
