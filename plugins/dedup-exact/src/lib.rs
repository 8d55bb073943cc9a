//! Deduplication by an exact set of ids, in two generations: [`Seen::Certain`] or [`Seen::Fresh`], never in doubt, at
//! 32 bytes an id and the tables' slack. For tests, simulations and small components.

mod hasher;

use std::collections::HashSet;

use rumormill_api::{Dedup, DedupConfig, Millis, MsgId, Registry, Result, Rotation, Seen, Turn};

use hasher::Keyed;

/// The name of this backend in a config.
pub const NAME: &str = "exact";

/// Registers this backend.
pub fn register(registry: &mut Registry) {
    registry.add_dedup(NAME, open);
}

/// Two empty generations. The false-positive rate is checked, then of no concern.
///
/// # Errors
///
/// [`rumormill_api::ErrorKind::Invalid`] for sizes outside their limits.
pub fn open(config: DedupConfig) -> Result<Box<dyn Dedup>> {
    Ok(Box::new(ExactDedup::new(&config)?))
}

/// The two generations, at most `capacity` ids each.
#[derive(Clone, Debug)]
pub struct ExactDedup {
    young: HashSet<MsgId, Keyed>,
    old: HashSet<MsgId, Keyed>,
    rotation: Rotation,
}

impl ExactDedup {
    /// Two empty generations.
    ///
    /// # Errors
    ///
    /// [`rumormill_api::ErrorKind::Invalid`] for sizes outside their limits.
    pub fn new(config: &DedupConfig) -> Result<Self> {
        config.check(NAME)?;
        let keyed = Keyed::new(&config.seed);
        let young = HashSet::with_hasher(keyed);
        Ok(Self { old: young.clone(), young, rotation: Rotation::new(config) })
    }

    /// How many ids are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn turn(&mut self, turn: Turn) {
        turn.carry_out(&mut self.young, &mut self.old, |generation| generation.clear());
    }
}

impl Dedup for ExactDedup {
    fn check_and_insert(&mut self, id: &MsgId, now: Millis) -> Seen {
        let turn = self.rotation.tick(now);
        self.turn(turn);
        if self.young.contains(id) {
            return Seen::Certain;
        }
        // One place is enough, so that two generations hold twice as many ids.
        let seen = if self.old.remove(id) { Seen::Certain } else { Seen::Fresh };
        let turn = self.rotation.insert();
        self.turn(turn);
        self.young.insert(*id);
        seen
    }

    fn check(&self, id: &MsgId) -> Seen {
        if self.young.contains(id) || self.old.contains(id) { Seen::Certain } else { Seen::Fresh }
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
    fn what_was_inserted_is_certain_and_nothing_else_is_seen() {
        let config = DedupConfig { capacity: 1_000, false_positive_rate: 0.5, ..DedupConfig::default() };
        let mut dedup = ExactDedup::new(&config).unwrap();
        for n in 0..2_000 {
            assert_eq!(dedup.check_and_insert(&id(n), 0), Seen::Fresh);
        }
        assert!((0..2_000).all(|n| dedup.check(&id(n)) == Seen::Certain));
        assert!((2_000..20_000).all(|n| dedup.check(&id(n)) == Seen::Fresh));
    }

    #[test]
    fn it_never_holds_more_than_two_generations() {
        let mut dedup = ExactDedup::new(&DedupConfig { capacity: 100, ..DedupConfig::default() }).unwrap();
        for n in 0..2_000 {
            dedup.check_and_insert(&id(n * n % 1_500), n);
            assert!(dedup.len() <= 200);
        }
        let room = dedup.young.capacity() + dedup.old.capacity();
        assert!(room < 1_000, "room for {room} ids");
    }

    #[test]
    fn it_is_registered_under_its_name() {
        let mut registry = Registry::default();
        register(&mut registry);
        assert_eq!(registry.dedup_names(), [NAME]);
        assert!(registry.dedup(NAME, DedupConfig::default()).is_ok());
    }
}
