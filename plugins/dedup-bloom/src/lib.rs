//! Deduplication by a two-generation Bloom filter: constant memory, and an answer that is sometimes wrong in the
//! direction that costs a look-up, never a message.
//!
//! Two filters of equal size; ids go into the younger, look-ups ask both, and when the younger is full or old the older
//! one is cleared and takes its place (the double buffering of Chang, Feng and Li, "Approximate caches for packet
//! classification", 2004). Each is sized for half the stated rate, so their sum keeps it.

use fastbloom::BloomFilter;
use rumormill_api::{Dedup, DedupConfig, Millis, MsgId, Registry, Result, Rotation, Seen, Turn};

/// The name of this backend in a config.
pub const NAME: &str = "bloom";

/// Registers this backend.
pub fn register(registry: &mut Registry) {
    registry.add_dedup(NAME, open);
}

/// Two empty generations.
///
/// # Errors
///
/// [`rumormill_api::ErrorKind::Invalid`] for sizes outside their limits.
pub fn open(config: DedupConfig) -> Result<Box<dyn Dedup>> {
    Ok(Box::new(BloomDedup::new(&config)?))
}

/// The two generations. [`Seen::Certain`] is never its answer.
#[derive(Clone)]
pub struct BloomDedup {
    young: BloomFilter,
    old: BloomFilter,
    rotation: Rotation,
}

/// Shows the sizes only: the hash key is a secret.
impl std::fmt::Debug for BloomDedup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BloomDedup").field("memory_bytes", &self.memory_bytes()).finish_non_exhaustive()
    }
}

impl BloomDedup {
    /// Two empty generations.
    ///
    /// # Errors
    ///
    /// [`rumormill_api::ErrorKind::Invalid`] for sizes outside their limits.
    pub fn new(config: &DedupConfig) -> Result<Self> {
        config.check(NAME)?;
        let mut key = [0; 16];
        key.copy_from_slice(&MsgId::of(&config.seed).as_bytes()[..16]);
        let young = BloomFilter::with_false_pos(config.false_positive_rate / 2.0)
            .seed(&u128::from_be_bytes(key))
            .expected_items(config.capacity);
        Ok(Self { old: young.clone(), young, rotation: Rotation::new(config) })
    }

    /// What both generations take, in bytes. It never changes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        (self.young.num_bits() + self.old.num_bits()) / 8
    }

    fn turn(&mut self, turn: Turn) {
        turn.carry_out(&mut self.young, &mut self.old, |generation| generation.clear());
    }
}

impl Dedup for BloomDedup {
    fn check_and_insert(&mut self, id: &MsgId, now: Millis) -> Seen {
        let turn = self.rotation.tick(now);
        self.turn(turn);
        // Both generations have the same key, so one hash serves both.
        let hash = self.young.source_hash(id);
        if self.young.contains_hash(hash) {
            return Seen::Maybe;
        }
        let seen = if self.old.contains_hash(hash) { Seen::Maybe } else { Seen::Fresh };
        let turn = self.rotation.insert();
        self.turn(turn);
        self.young.insert_hash(hash);
        seen
    }

    fn check(&self, id: &MsgId) -> Seen {
        let hash = self.young.source_hash(id);
        if self.young.contains_hash(hash) || self.old.contains_hash(hash) { Seen::Maybe } else { Seen::Fresh }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    rumormill_api::dedup_suite!(open);

    fn id(n: u64) -> MsgId {
        MsgId::of(&n.to_le_bytes())
    }

    #[test]
    fn memory_stays_as_it_was_past_ten_times_the_capacity() {
        let mut dedup = BloomDedup::new(&DedupConfig { capacity: 1_000, ..DedupConfig::default() }).unwrap();
        let before = dedup.memory_bytes();
        for n in 0..20_000 {
            dedup.check_and_insert(&id(n), n);
        }
        assert_eq!(dedup.memory_bytes(), before);
        assert!(before < 10_000, "{before} bytes for two generations of 1,000 ids at 10^-6");
    }

    #[test]
    fn other_seeds_are_wrong_about_other_ids() {
        let wrong = |seed: [u8; 32]| -> Vec<u64> {
            let config = DedupConfig { capacity: 1_000, false_positive_rate: 0.1, seed, ..DedupConfig::default() };
            let mut dedup = BloomDedup::new(&config).unwrap();
            for n in 0..1_000 {
                dedup.check_and_insert(&id(n), 0);
            }
            (1_000..5_000).filter(|n| dedup.check(&id(*n)) != Seen::Fresh).collect()
        };
        let mut last_byte = [0; 32];
        last_byte[31] = 1;
        assert!(!wrong([0; 32]).is_empty());
        assert_ne!(wrong([0; 32]), wrong([1; 32]));
        assert_ne!(wrong([0; 32]), wrong(last_byte), "the whole seed counts");
        assert_eq!(wrong([1; 32]), wrong([1; 32]));
    }

    #[test]
    fn it_is_never_certain() {
        let mut dedup = BloomDedup::new(&DedupConfig::default()).unwrap();
        dedup.check_and_insert(&id(1), 0);
        assert_eq!(dedup.check_and_insert(&id(1), 0), Seen::Maybe);
        assert_eq!(dedup.check(&id(1)), Seen::Maybe);
    }

    #[test]
    fn debug_shows_no_key() {
        let dedup = BloomDedup::new(&DedupConfig { capacity: 1, ..DedupConfig::default() }).unwrap();
        assert_eq!(format!("{dedup:?}"), format!("BloomDedup {{ memory_bytes: {}, .. }}", dedup.memory_bytes()));
    }

    #[test]
    fn it_is_registered_under_its_name() {
        let mut registry = Registry::default();
        register(&mut registry);
        assert_eq!(registry.dedup_names(), [NAME]);
        assert!(registry.dedup(NAME, DedupConfig::default()).is_ok());
    }
}
