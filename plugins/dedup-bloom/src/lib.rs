//! Deduplication by a two-generation Bloom filter: constant memory, and an answer that is sometimes wrong in the
//! direction that costs a look-up, never a message.
//!
//! Two generations of equal size; ids go into the younger, look-ups ask both, and when the younger is full or old the
//! older one is cleared and takes its place (the double buffering of Chang, Feng and Li, "Approximate caches for packet
//! classification", 2004). Each is sized for half the stated rate, so their sum keeps it.
//!
//! A generation grows in layers, each twice as large as the one before (the scalable filter of Almeida, Baquero, Preguiça
//! and Hutchison, 2007): an id sets bits all over a filter, so a filter of the final size would take all of its memory
//! with the first thousand ids, on a node that may never see more. The layers share the generation's rate.

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

/// How many ids a generation's first layer holds.
const FIRST_LAYER_IDS: usize = 1 << 16;

/// The two generations. [`Seen::Certain`] is never its answer.
#[derive(Clone)]
pub struct BloomDedup {
    /// What each layer of a generation is sized for.
    plan: Vec<Sizing>,
    key: u128,
    young: Generation,
    old: Generation,
    rotation: Rotation,
}

/// What a layer is sized for.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Sizing {
    ids: usize,
    rate: f64,
}

impl Sizing {
    fn layer(self, key: u128) -> BloomFilter {
        BloomFilter::with_false_pos(self.rate).seed(&key).expected_items(self.ids)
    }
}

/// The layers that are in use, as planned; all have the same hash key, so one hash serves all. Never empty.
#[derive(Clone)]
struct Generation {
    layers: Vec<BloomFilter>,
    /// How many ids the last one may still take.
    room: usize,
}

impl Generation {
    fn new(plan: &[Sizing], key: u128) -> Self {
        Self { layers: vec![plan[0].layer(key)], room: plan[0].ids }
    }

    fn contains(&self, hash: u64) -> bool {
        // The last one is the largest.
        self.layers.iter().rev().any(|layer| layer.contains_hash(hash))
    }

    fn insert(&mut self, hash: u64, plan: &[Sizing], key: u128) {
        if self.room == 0
            && let Some(sizing) = plan.get(self.layers.len())
        {
            self.layers.push(sizing.layer(key));
            self.room = sizing.ids;
        }
        self.room = self.room.saturating_sub(1);
        if let Some(layer) = self.layers.last_mut() {
            layer.insert_hash(hash);
        }
    }

    fn memory_bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.num_bits() / 8).sum()
    }
}

/// How a generation of so many ids grows: its layers double, and the last one takes the rest. The last one has half of the
/// rate, the one before it a quarter, and so on: small layers can afford to be exact.
fn plan(ids: usize, rate: f64) -> Vec<Sizing> {
    let (mut sizes, mut rest, mut next) = (Vec::new(), ids, FIRST_LAYER_IDS);
    while rest > 0 {
        let size = if rest / 2 < next { rest } else { next };
        sizes.push(size);
        rest -= size;
        next *= 2;
    }
    let mut share = rate;
    let mut plan: Vec<_> = sizes
        .iter()
        .enumerate()
        .rev()
        .map(|(at, ids)| {
            if at > 0 {
                share /= 2.0;
            }
            Sizing { ids: *ids, rate: share }
        })
        .collect();
    plan.reverse();
    plan
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
        let key = u128::from_be_bytes(key);
        let plan = plan(config.capacity, config.false_positive_rate / 2.0);
        let (young, old) = (Generation::new(&plan, key), Generation::new(&plan, key));
        Ok(Self { plan, key, young, old, rotation: Rotation::new(config) })
    }

    /// What both generations take now, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.young.memory_bytes() + self.old.memory_bytes()
    }

    fn turn(&mut self, turn: Turn) {
        let (plan, key) = (&self.plan, self.key);
        turn.carry_out(&mut self.young, &mut self.old, |generation| *generation = Generation::new(plan, key));
    }
}

impl Dedup for BloomDedup {
    fn check_and_insert(&mut self, id: &MsgId, now: Millis) -> Seen {
        let turn = self.rotation.tick(now);
        self.turn(turn);
        let hash = self.young.layers[0].source_hash(id);
        if self.young.contains(hash) {
            return Seen::Maybe;
        }
        let seen = if self.old.contains(hash) { Seen::Maybe } else { Seen::Fresh };
        let turn = self.rotation.insert();
        self.turn(turn);
        self.young.insert(hash, &self.plan, self.key);
        seen
    }

    fn check(&self, id: &MsgId) -> Seen {
        let hash = self.young.layers[0].source_hash(id);
        if self.young.contains(hash) || self.old.contains(hash) { Seen::Maybe } else { Seen::Fresh }
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
    fn a_generation_is_planned_to_the_last_id_and_keeps_its_rate() {
        for ids in [1, 1_000, FIRST_LAYER_IDS, 2 * FIRST_LAYER_IDS, 3 * FIRST_LAYER_IDS + 5, 1 << 21, (1 << 26) - 1] {
            let plan = plan(ids, 1e-6);
            assert_eq!(plan.iter().map(|sizing| sizing.ids).sum::<usize>(), ids);
            let rate: f64 = plan.iter().map(|sizing| sizing.rate).sum();
            assert!((rate / 1e-6 - 1.0).abs() < 1e-9, "{ids}: {rate}");
            assert!(plan.windows(2).all(|pair| pair[0].ids <= pair[1].ids && pair[0].rate <= pair[1].rate));
        }
        assert_eq!(plan(FIRST_LAYER_IDS, 0.5), [Sizing { ids: FIRST_LAYER_IDS, rate: 0.5 }]);
        assert_eq!(plan(1 << 21, 0.5).len(), 5);
    }

    #[test]
    fn memory_follows_what_it_holds_and_is_bounded() {
        let capacity = 7 * FIRST_LAYER_IDS;
        let mut dedup = BloomDedup::new(&DedupConfig { capacity, ..DedupConfig::default() }).unwrap();
        let empty = dedup.memory_bytes();
        assert!(empty < 1 << 20, "{empty} bytes for two empty generations");
        let mut most = 0;
        for n in 0..3 * capacity as u64 {
            dedup.check_and_insert(&id(n), 0);
            most = most.max(dedup.memory_bytes());
        }
        // 1.44 · log2(1 / rate) bits an id, and what the layers' tighter rates cost.
        let bound = 2 * capacity * 36 / 8;
        assert!(most < bound, "{most} bytes for two full generations of {capacity} ids, expected at most {bound}");
    }

    #[test]
    fn nothing_is_forgotten_when_a_layer_is_added() {
        let capacity = 3 * FIRST_LAYER_IDS;
        let config = DedupConfig { capacity, false_positive_rate: 1e-3, ..DedupConfig::default() };
        let mut dedup = BloomDedup::new(&config).unwrap();
        for n in 0..capacity as u64 {
            dedup.check_and_insert(&id(n), 0);
        }
        assert!(dedup.young.layers.len() > 1);
        assert!((0..capacity as u64).all(|n| dedup.check(&id(n)) == Seen::Maybe));
        let wrong = (0..100_000).filter(|n| dedup.check(&id(1 << 32 | n)) != Seen::Fresh).count();
        assert!(wrong <= 100, "{wrong} of 100,000 were wrong, at a rate of 10^-3 for both generations");
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
