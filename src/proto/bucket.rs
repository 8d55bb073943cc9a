//! Token buckets.

use rumormill_api::Millis;

/// A rate with a burst. Counts in thousandths, so that rates below one a second work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    per_s_milli: u64,
    burst_milli: i64,
    level_milli: i64,
    filled_at: Millis,
}

impl Bucket {
    /// A full bucket. `per_1000_s` tokens come in a thousand seconds.
    pub(super) const fn new(per_1000_s: u64, burst: u64, now: Millis) -> Self {
        let burst_milli = milli(burst);
        Self { per_s_milli: per_1000_s, burst_milli, level_milli: burst_milli, filled_at: now }
    }

    fn fill(&mut self, now: Millis) {
        let elapsed = now.saturating_sub(self.filled_at);
        let fresh = u128::from(elapsed) * u128::from(self.per_s_milli) / 1_000;
        if fresh > 0 {
            let fresh = i64::try_from(fresh).unwrap_or(i64::MAX);
            self.level_milli = self.level_milli.saturating_add(fresh).min(self.burst_milli);
            // Only the time that those whole thousandths took: what remains counts towards the next.
            let spent = (u128::from(fresh.unsigned_abs()) * 1_000).div_ceil(u128::from(self.per_s_milli));
            self.filled_at = self.filled_at.saturating_add(u64::try_from(spent).unwrap_or(u64::MAX)).min(now);
        }
    }

    /// Whether `amount` is there (or, for more than the burst, the whole burst).
    pub(super) fn has(&mut self, amount: u64, now: Millis) -> bool {
        self.fill(now);
        self.level_milli >= milli(amount).min(self.burst_milli)
    }

    /// Takes, even into debt.
    pub(super) const fn spend(&mut self, amount: u64) {
        self.level_milli = self.level_milli.saturating_sub(milli(amount));
    }

    /// Takes, if it is there.
    pub(super) fn take(&mut self, amount: u64, now: Millis) -> bool {
        let has = self.has(amount, now);
        if has {
            self.spend(amount);
        }
        has
    }

    /// How long until `amount` is there, in milliseconds.
    pub(super) fn wait(&self, amount: u64) -> Millis {
        let lacking = milli(amount).min(self.burst_milli).saturating_sub(self.level_milli);
        u64::try_from(lacking).unwrap_or(0).saturating_mul(1_000).div_ceil(self.per_s_milli.max(1)).max(1)
    }
}

const fn milli(amount: u64) -> i64 {
    let capped = if amount > (i64::MAX / 1_000) as u64 { i64::MAX / 1_000 } else { amount as i64 };
    capped * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::new(100, 2, 0);
        assert!(bucket.take(1, 0) && bucket.take(1, 0) && !bucket.take(1, 0));
        assert_eq!(bucket.wait(1), 10_000);
        assert!(!bucket.take(1, 9_999));
        assert!(bucket.take(1, 10_000));
        assert!(bucket.take(2, 1_000_000) && !bucket.take(1, 1_000_000), "never more than the burst");
    }

    #[test]
    fn polling_often_loses_nothing() {
        let mut bucket = Bucket::new(100, 1, 0);
        assert!(bucket.take(1, 0));
        let first = (1..).find(|now| bucket.take(1, *now));
        assert!(first.is_some_and(|now| (10_000..=10_010).contains(&now)), "{first:?}");
    }
}
