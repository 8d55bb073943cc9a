//! Has this envelope been here?

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Millis, MsgId};

/// The answer of a [`Dedup`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Certainly not inserted within the window.
    Fresh,
    /// Inserted, or a false positive. The exact store decides before anything is dropped.
    Maybe,
    /// Certainly inserted.
    Certain,
}

/// How a [`Dedup`] is sized and seeded.
#[derive(Clone, Debug)]
pub struct DedupConfig {
    /// How many ids one generation holds before it is rotated.
    pub capacity: usize,
    /// The age at which a generation is rotated even when it isn't full, in milliseconds.
    pub rotate_after: Millis,
    /// The false-positive rate aimed at, for probabilistic backends.
    pub false_positive_rate: f64,
    /// Seeds the hash functions. Secret and random in a node (else ids that collide can be made on purpose), fixed in
    /// a simulation.
    pub seed: [u8; 32],
}

impl Default for DedupConfig {
    fn default() -> Self {
        // An envelope lives seven days and may come an hour too late by either clock: what is younger than that must not
        // be forgotten, or a replay of it is flooded again. The filter's pages are taken as they fill.
        Self { capacity: 1 << 21, rotate_after: 8 * 24 * 3_600_000, false_positive_rate: 1e-6, seed: [0; 32] }
    }
}

/// Most ids that one generation may be sized for.
pub const DEDUP_CAPACITY_MAX_IDS: usize = 1 << 26;

/// The smallest false-positive rate that may be aimed at.
pub const DEDUP_RATE_MIN: f64 = 1e-12;

/// The largest false-positive rate that may be aimed at.
pub const DEDUP_RATE_MAX: f64 = 0.5;

impl DedupConfig {
    /// Checks the sizes, as every backend does before it allocates. `backend` is who says so in the error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a capacity outside `1..=`[`DEDUP_CAPACITY_MAX_IDS`], a `rotate_after` of 0, or a rate
    /// outside [`DEDUP_RATE_MIN`]`..=`[`DEDUP_RATE_MAX`].
    pub fn check(&self, backend: &'static str) -> Result<()> {
        let wrong = if !(1..=DEDUP_CAPACITY_MAX_IDS).contains(&self.capacity) {
            format!("capacity is {}, it must be from 1 to {DEDUP_CAPACITY_MAX_IDS} ids", self.capacity)
        } else if self.rotate_after == 0 {
            "rotate_after is 0 ms, it must be at least 1".to_owned()
        } else if !(DEDUP_RATE_MIN..=DEDUP_RATE_MAX).contains(&self.false_positive_rate) {
            let rate = self.false_positive_rate;
            format!("false_positive_rate is {rate}, it must be from {DEDUP_RATE_MIN} to {DEDUP_RATE_MAX}")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Invalid, backend, wrong))
    }
}

/// How many of two generations to drop, says [`Rotation`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// None.
    Stay,
    /// The older one; the younger takes its place.
    One,
    /// Both: even the younger is too old.
    Both,
}

impl Turn {
    /// Carries it out on two generations. `clear` empties one and keeps its room.
    pub fn carry_out<G>(self, young: &mut G, old: &mut G, clear: impl Fn(&mut G)) {
        match self {
            Self::Stay => {}
            Self::One => {
                std::mem::swap(young, old);
                clear(young);
            }
            Self::Both => {
                clear(young);
                clear(old);
            }
        }
    }
}

/// When two generations of ids rotate, by count and by time, so that the contract of [`Dedup`] holds.
#[derive(Clone, Debug)]
pub struct Rotation {
    capacity: usize,
    rotate_after: Millis,
    count: usize,
    started: Option<Millis>,
    now: Millis,
}

impl Rotation {
    /// For two empty generations.
    #[must_use]
    pub const fn new(config: &DedupConfig) -> Self {
        Self { capacity: config.capacity, rotate_after: config.rotate_after, count: 0, started: None, now: 0 }
    }

    /// To be asked before ids are looked up at `now`.
    pub fn tick(&mut self, now: Millis) -> Turn {
        self.now = self.now.max(now);
        let started = *self.started.get_or_insert(self.now);
        let age = self.now - started;
        if age < self.rotate_after {
            return Turn::Stay;
        }
        self.restart();
        if age / 2 < self.rotate_after { Turn::One } else { Turn::Both }
    }

    /// To be asked before an id is inserted into the younger generation, which it then counts.
    pub fn insert(&mut self) -> Turn {
        let full = self.count >= self.capacity;
        if full {
            self.restart();
        }
        self.count += 1;
        if full { Turn::One } else { Turn::Stay }
    }

    fn restart(&mut self) {
        self.count = 0;
        self.started = Some(self.now);
    }
}

/// Remembers which envelopes passed.
///
/// No false negatives among the last `capacity` ids as long as they are younger than `rotate_after`; an id that comes
/// again counts from then. `Maybe` is wrong at most at the stated rate. Never panics, never allocates without
/// bound: past its capacity it forgets the oldest generation.
pub trait Dedup: Send {
    /// Inserts `id` and says whether it had been there. `now` is monotonic, in milliseconds, and may stand still; a
    /// value smaller than an earlier one counts as the earlier one.
    fn check_and_insert(&mut self, id: &MsgId, now: Millis) -> Seen;

    /// Says whether `id` had been inserted, without inserting it.
    fn check(&self, id: &MsgId) -> Seen;
}

impl Dedup for Box<dyn Dedup> {
    fn check_and_insert(&mut self, id: &MsgId, now: Millis) -> Seen {
        (**self).check_and_insert(id, now)
    }

    fn check(&self, id: &MsgId) -> Seen {
        (**self).check(id)
    }
}
