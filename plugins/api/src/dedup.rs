//! Has this envelope been here?

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
        Self { capacity: 1 << 18, rotate_after: 4 * 24 * 3_600_000, false_positive_rate: 1e-6, seed: [0; 32] }
    }
}

/// Remembers which envelopes passed.
///
/// No false negatives among the last `capacity` ids, nor among ids younger than `rotate_after` as long as no more than
/// `capacity` came in that time. `Maybe` is wrong at most at the stated rate. Never panics, never allocates without
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
