//! A script's share of the processor. A budget bounds one call; the share bounds all of them together: a script that uses
//! nearly all of its budget, all of the time, is never killed, and would keep a processor busy.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::meter::{Meter, lock};
use super::shared::Shared;
use crate::node::NoticeLevel;

/// How much time inside calls is counted at once, in milliseconds: to ask the system after each call would cost more than
/// most of them.
pub(super) const CPU_COUNT_MS: u64 = 10;
/// How much a script that has used up its share must be able to use before it runs again, in milliseconds: without it, it
/// would be woken for hardly more than being woken costs.
pub(super) const CPU_RESUME_MS: u64 = 10;

/// How a script stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// It stays within its share.
    Within,
    /// It was beyond it a while ago, and runs. So long until it counts as within.
    Catching(Duration),
    /// It is beyond it, and waits so long.
    Beyond(Duration),
}

impl Standing {
    /// How long it lasts, if that is known.
    pub(super) fn lasts(self) -> Option<Duration> {
        match self {
            Self::Within => None,
            Self::Catching(lasts) | Self::Beyond(lasts) => Some(lasts),
        }
    }
}

/// What the calls of a script may still use, through all of its generations: a reload gives it nothing.
#[derive(Debug)]
pub(super) struct Share {
    percent: u32,
    /// In seconds of processor time.
    bucket: Bucket,
    /// Whether it was used up, and the bucket hasn't been full since.
    exceeded: bool,
    waits: bool,
    /// What the user was told last of `exceeded`.
    told: bool,
}

impl Share {
    /// So many percent of a processor in the long run, and so many milliseconds at once.
    pub(super) fn new(percent: u32, burst_ms: u64, now: Instant) -> Self {
        let bucket = Bucket::new(seconds(burst_ms), f64::from(percent) / 100.0, now);
        Self { percent, bucket, exceeded: false, waits: false, told: false }
    }

    /// The calls have used so much.
    pub(super) fn spend(&mut self, cpu: Duration, now: Instant) {
        self.bucket.owe(cpu.as_secs_f64(), now);
        let used_up = self.bucket.wait(0.0, now) > Duration::ZERO;
        self.exceeded |= used_up;
        self.waits |= used_up;
    }

    /// How the script stands now. Whoever is beyond the share is within it again once the bucket is full: what just about
    /// suffices for the next call isn't worth telling anybody.
    pub(super) fn standing(&mut self, now: Instant) -> Standing {
        let (runs, full) = (self.bucket.wait(seconds(CPU_RESUME_MS), now), self.bucket.wait_full(now));
        self.exceeded &= full > Duration::ZERO;
        self.waits &= runs > Duration::ZERO;
        match (self.exceeded, self.waits) {
            (false, _) => Standing::Within,
            (true, false) => Standing::Catching(full),
            (true, true) => Standing::Beyond(runs),
        }
    }

    /// Whether it was used up or is within again, when the user wasn't told yet.
    pub(super) fn news(&mut self) -> Option<bool> {
        let news = self.exceeded != self.told;
        self.told = self.exceeded;
        news.then_some(self.exceeded)
    }
}

/// What one generation counts towards the share, and how it stands. Of its thread alone.
pub(super) struct Account {
    /// Time inside calls that wasn't counted yet.
    uncounted: Duration,
    /// The thread's processor time when it was counted last, where the system tells it.
    counted_at: Option<Duration>,
    standing: Standing,
}

impl Account {
    /// For the thread of that meter.
    pub(super) fn new(meter: &Meter) -> Self {
        Self { uncounted: Duration::ZERO, counted_at: meter.cpu(), standing: Standing::Within }
    }

    /// Counts what a call took, once that is worth it.
    pub(super) fn count(&mut self, script: &Shared, spent: Duration) {
        self.uncounted += spent;
        if self.uncounted < Duration::from_millis(CPU_COUNT_MS) {
            return;
        }
        let (took, cpu) = (std::mem::take(&mut self.uncounted), script.meter.cpu());
        let before = std::mem::replace(&mut self.counted_at, cpu);
        // The wall clock counts what others had of the processor, the thread's own time its waking up.
        let used = cpu.zip(before).map_or(took, |(cpu, before)| cpu.saturating_sub(before).min(took));
        lock(&script.share).spend(used, Instant::now());
        self.look(script);
    }

    /// Looks how the script stands, and tells the user when that is something new.
    pub(super) fn look(&mut self, script: &Shared) {
        let (news, percent) = {
            let mut share = lock(&script.share);
            self.standing = share.standing(Instant::now());
            (share.news(), share.percent)
        };
        script.waits.store(self.is_beyond(), Ordering::Relaxed);
        let name = &script.name;
        match news {
            Some(true) => {
                let text = format!(
                    "{name} uses more than its share of the processor ({percent} %): its handlers and commands wait, its \
                     filters are passed by"
                );
                script.link.say(NoticeLevel::Warning, name, &text);
            }
            Some(false) => {
                let text = format!("{name} keeps within its share of the processor again");
                script.link.say(NoticeLevel::Info, name, &text);
            }
            None => {}
        }
    }

    /// How it stands now. Who is within its share and does nothing stays so.
    pub(super) fn standing(&mut self, script: &Shared) -> Standing {
        if self.standing != Standing::Within {
            self.look(script);
        }
        self.standing
    }

    /// Whether it waits.
    pub(super) fn is_beyond(&self) -> bool {
        matches!(self.standing, Standing::Beyond(_))
    }
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST_MS: u64 = 2_000;
    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn who_stays_below_never_waits() {
        let mut now = Instant::now();
        let mut share = Share::new(25, BURST_MS, now);
        // Its whole burst at once, then a quarter of the time for an hour.
        share.spend(MS(BURST_MS), now);
        assert_eq!(share.standing(now), Standing::Within);
        for _ in 0..3_600 {
            now += MS(1_000);
            share.spend(MS(250), now);
            assert_eq!(share.standing(now), Standing::Within);
        }
    }

    #[test]
    fn who_uses_all_of_each_budget_gets_the_share_and_is_told_once() {
        let start = Instant::now();
        let (mut now, mut used, mut news) = (start, MS(0), Vec::new());
        let mut share = Share::new(25, BURST_MS, now);
        let hour = MS(3_600_000);
        while now < start + hour {
            let standing = share.standing(now);
            news.extend(share.news());
            if let Standing::Beyond(wait) = standing {
                now += wait;
            } else {
                now += MS(249);
                used += MS(249);
                share.spend(MS(249), now);
            }
        }
        let most = hour / 4 + MS(BURST_MS) + MS(249);
        assert!(used <= most && used >= most - MS(1_000), "{used:?} of {most:?}");
        assert_eq!(news, [true]);
    }

    #[test]
    fn it_waits_for_its_debt_and_is_within_again_when_the_bucket_is_full() {
        let start = Instant::now();
        let mut share = Share::new(50, BURST_MS, start);
        share.spend(MS(BURST_MS), start);
        assert_eq!(share.standing(start), Standing::Within);
        share.spend(MS(100), start);
        let waits = MS(2 * (100 + CPU_RESUME_MS));
        assert_eq!(share.standing(start), Standing::Beyond(waits));
        assert_eq!(share.standing(start + waits - MS(2)), Standing::Beyond(MS(2)));
        let full = MS(2 * (BURST_MS + 100));
        assert_eq!(share.standing(start + waits), Standing::Catching(full - waits));
        // A call of no weight in between changes nothing.
        share.spend(MS(1), start + waits);
        assert_eq!(share.standing(start + full), Standing::Catching(MS(2)));
        assert_eq!(share.news(), Some(true));
        assert_eq!(share.standing(start + full + MS(2)), Standing::Within);
        assert_eq!((share.news(), share.news()), (Some(false), None));
    }
}
