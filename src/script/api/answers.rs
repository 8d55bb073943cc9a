//! How often a script may answer bots. Two bots that answer each other fall silent.

use std::time::{Duration, Instant};

/// Messages that a script may send to a chat in answer to bots, until a person speaks there.
pub(super) const ANSWERS_MAX: u32 = 5;
/// How long after the last of them it may send one more. Each time the wait is twice as long, so that what goes on
/// slowly dies out too.
const ANSWER_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// One chat's allowance.
#[derive(Debug)]
pub(super) struct Answers {
    left: u32,
    wait: Duration,
    last: Instant,
}

impl Answers {
    /// A person has just spoken, or nobody yet.
    pub(super) const fn new(now: Instant) -> Self {
        Self { left: ANSWERS_MAX, wait: ANSWER_AGAIN_AFTER, last: now }
    }

    /// Takes one, if it may be.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.left > 0 {
            self.left -= 1;
        } else if now.saturating_duration_since(self.last) >= self.wait {
            self.wait = self.wait.saturating_mul(2);
        } else {
            return false;
        }
        self.last = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_past_the_allowance_takes_twice_as_long_as_the_one_before() {
        let start = Instant::now();
        let mut answers = Answers::new(start);
        assert!((0..ANSWERS_MAX).all(|_| answers.take(start)));
        let mut now = start;
        for wait in [600, 1_200, 2_400] {
            now += Duration::from_secs(wait - 1);
            assert!(!answers.take(now), "{wait}");
            now += Duration::from_secs(1);
            assert!(answers.take(now), "{wait}");
        }
    }
}
