//! Envelopes that were announced and aren't here yet: when to ask for them, and whom.

use std::collections::{BTreeMap, BTreeSet};

use rumormill_api::{LinkId, Millis};

use super::super::wire::ShortId;

/// How many announcers of one envelope are remembered, and so how often it is asked for at most.
pub const ANNOUNCERS_MAX: usize = 8;
/// The shortest that an announced envelope is waited for before it is asked for, in milliseconds.
pub const GRAFT_AFTER_MIN_MS: Millis = 20;
/// The longest, in milliseconds.
pub const GRAFT_AFTER_MAX_MS: Millis = 3_000;
/// The longest as long as nothing is measured, in milliseconds.
pub(super) const GRAFT_AFTER_START_MAX_MS: Millis = 250;
/// As long as nothing is measured, both waits, for a copy and for an answer, are so many times the slowest link's round trip.
const START_ROUND_TRIPS: Millis = 3;

/// A span that adapts to what is measured: the mean and four mean deviations, as TCP's retransmission timer (RFC 6298).
#[derive(Debug)]
pub(super) struct Delay {
    /// Eight times the mean.
    mean_8: Millis,
    /// Four times the mean deviation.
    deviation_4: Millis,
    measured: bool,
}

impl Delay {
    const fn new() -> Self {
        Self { mean_8: 0, deviation_4: 0, measured: false }
    }

    fn measure(&mut self, span: Millis) {
        let span = span.min(GRAFT_AFTER_MAX_MS);
        if self.measured {
            let off = span.abs_diff(self.mean_8 / 8);
            self.deviation_4 = self.deviation_4 - self.deviation_4 / 4 + off;
            self.mean_8 = self.mean_8 - self.mean_8 / 8 + span;
        } else {
            self.measured = true;
            (self.mean_8, self.deviation_4) = (span * 8, span * 2);
        }
    }

    /// `start`: while nothing is measured.
    fn get(&self, start: Millis) -> Millis {
        let span = if self.measured { self.mean_8 / 8 + self.deviation_4 } else { start };
        span.clamp(GRAFT_AFTER_MIN_MS, GRAFT_AFTER_MAX_MS)
    }
}

/// An announced envelope.
#[derive(Debug)]
pub(super) struct Wait {
    /// Who announced it, and as which number; those that were asked come first.
    pub(super) by: Vec<(LinkId, u32)>,
    pub(super) asked: usize,
    pub(super) since: Millis,
    asked_at: Millis,
    due: Millis,
}

/// How an envelope came that was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Came {
    /// By itself.
    Alone,
    /// From who was asked last.
    Asked,
}

/// All that is waited for.
#[derive(Debug)]
pub(super) struct Waits {
    waits: BTreeMap<ShortId, Wait>,
    queue: BTreeSet<(Millis, ShortId)>,
    /// From the first announcement to a copy that comes by itself.
    late: Delay,
    /// From asking to the copy.
    answer: Delay,
    /// What is waited while nothing is measured.
    start: Millis,
}

impl Waits {
    pub(super) const fn new() -> Self {
        Self {
            waits: BTreeMap::new(),
            queue: BTreeSet::new(),
            late: Delay::new(),
            answer: Delay::new(),
            start: GRAFT_AFTER_START_MAX_MS,
        }
    }

    /// What the slowest link's round trip is: all that is known of a network in which nothing was waited for yet.
    pub(super) fn round_trip(&mut self, slowest: Millis) {
        self.start = slowest.saturating_mul(START_ROUND_TRIPS).min(GRAFT_AFTER_START_MAX_MS);
    }

    /// A link announces what isn't here. Whether it counts as an announcer now.
    pub(super) fn announced(&mut self, short: ShortId, link: LinkId, number: u32, now: Millis) -> bool {
        if let Some(wait) = self.waits.get_mut(&short) {
            let known = wait.by.len() >= ANNOUNCERS_MAX || wait.by.iter().any(|(by, _)| *by == link);
            if !known {
                let last = wait.asked == wait.by.len();
                wait.by.push((link, number));
                if last {
                    // There is somebody else to ask, once the one before has had its time.
                    let due = now.max(wait.asked_at + self.answer.get(self.start));
                    self.set_due(short, due);
                }
            }
            return !known;
        }
        let due = now + self.late.get(self.start);
        self.queue.insert((due, short));
        self.waits.insert(short, Wait { by: vec![(link, number)], asked: 0, since: now, asked_at: 0, due });
        true
    }

    /// When the next one is to be asked for.
    pub(super) fn next(&self) -> Option<Millis> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// The next one that is to be asked for now.
    pub(super) fn due(&mut self, now: Millis) -> Option<ShortId> {
        let &(due, short) = self.queue.first()?;
        (due <= now).then_some(short)
    }

    pub(super) fn get_mut(&mut self, short: ShortId) -> Option<&mut Wait> {
        self.waits.get_mut(&short)
    }

    /// Somebody was asked for it: what answers take is waited again, or, for the last who can be asked, all that they
    /// may take.
    pub(super) fn asked(&mut self, short: ShortId, now: Millis) {
        let Some(wait) = self.waits.get_mut(&short) else { return };
        wait.asked_at = now;
        let patience = if wait.asked == wait.by.len() { GRAFT_AFTER_MAX_MS } else { self.answer.get(self.start) };
        self.set_due(short, now + patience);
    }

    fn set_due(&mut self, short: ShortId, due: Millis) {
        let Some(wait) = self.waits.get_mut(&short) else { return };
        self.queue.remove(&(wait.due, short));
        wait.due = due;
        self.queue.insert((due, short));
    }

    pub(super) fn remove(&mut self, short: ShortId) -> Option<Wait> {
        let wait = self.waits.remove(&short)?;
        self.queue.remove(&(wait.due, short));
        Some(wait)
    }

    /// It is here: ends the wait, and measures it.
    pub(super) fn arrived(&mut self, short: ShortId, from: LinkId, now: Millis) -> Option<(Wait, Came)> {
        let wait = self.remove(short)?;
        let last = wait.asked.checked_sub(1).and_then(|last| wait.by.get(last));
        let came = if last.is_some_and(|(link, _)| *link == from) { Came::Asked } else { Came::Alone };
        match came {
            Came::Asked => self.answer.measure(now - wait.asked_at),
            Came::Alone => self.late.measure(now - wait.since),
        }
        Some((wait, came))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    #[test]
    fn the_delay_follows_what_is_measured_within_its_bounds() {
        let mut delay = Delay::new();
        assert_eq!(delay.get(250), 250);
        for _ in 0..100 {
            delay.measure(0);
        }
        assert_eq!(delay.get(250), GRAFT_AFTER_MIN_MS);
        for _ in 0..100 {
            delay.measure(100);
        }
        assert!((100..150).contains(&delay.get(250)), "{}", delay.get(250));
        delay.measure(400);
        assert!(delay.get(250) > 300, "one late copy is enough to wait longer: {}", delay.get(250));
        for _ in 0..100 {
            delay.measure(Millis::MAX);
        }
        assert_eq!(delay.get(250), GRAFT_AFTER_MAX_MS);
    }

    #[test]
    fn an_announcer_counts_once_and_there_are_so_many() {
        let mut waits = Waits::new();
        assert!(waits.announced(7, A, 0, 0) && !waits.announced(7, A, 1, 0));
        for n in 1..ANNOUNCERS_MAX as u64 {
            assert!(waits.announced(7, LinkId(n + 1), 0, 0));
        }
        assert!(!waits.announced(7, LinkId(999), 0, 0));
    }

    #[test]
    fn it_is_due_after_the_delay_and_again_after_an_answers_time() {
        let mut waits = Waits::new();
        assert!(waits.announced(7, A, 0, 1_000) && waits.announced(7, B, 0, 1_001));
        assert_eq!(waits.due(1_000 + GRAFT_AFTER_START_MAX_MS - 1), None);
        let due = 1_000 + GRAFT_AFTER_START_MAX_MS;
        assert_eq!((waits.due(due), waits.next()), (Some(7), Some(due)));
        ask(&mut waits, due);
        assert_eq!((waits.due(due), waits.next()), (None, Some(due + GRAFT_AFTER_START_MAX_MS)));
        // The last one has all the time that an answer may take, until there is another to ask.
        ask(&mut waits, due + GRAFT_AFTER_START_MAX_MS);
        assert_eq!(waits.next(), Some(due + GRAFT_AFTER_START_MAX_MS + GRAFT_AFTER_MAX_MS));
        assert!(waits.announced(7, LinkId(3), 0, due + GRAFT_AFTER_START_MAX_MS + 1));
        assert_eq!(waits.next(), Some(due + 2 * GRAFT_AFTER_START_MAX_MS));
    }

    fn ask(waits: &mut Waits, now: Millis) {
        if let Some(wait) = waits.get_mut(7) {
            wait.asked += 1;
        }
        waits.asked(7, now);
    }

    #[test]
    fn what_comes_from_who_was_asked_last_was_late() {
        for (asked, from, came) in [(0, A, Came::Alone), (1, A, Came::Asked), (1, B, Came::Alone), (2, B, Came::Asked)]
        {
            let mut waits = Waits::new();
            waits.announced(7, A, 0, 0);
            waits.announced(7, B, 0, 0);
            if let Some(wait) = waits.get_mut(7) {
                wait.asked = asked;
            }
            assert_eq!(waits.arrived(7, from, 50).map(|(_, came)| came), Some(came), "{asked} asked, from {from}");
            assert!(waits.is_empty() && waits.next().is_none() && waits.arrived(7, from, 50).is_none());
        }
    }
}
