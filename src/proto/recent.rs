//! The last ids, exactly: a Bloom filter says "maybe" to every copy after the first, and this spares the exact store
//! from being asked about each of them.

use std::collections::HashSet;
use std::hash::{BuildHasher, DefaultHasher, Hasher};

use rumormill_api::MsgId;

/// How many ids one of the two generations holds.
pub const RECENT_MAX_IDS: usize = 16_384;

/// Two generations of ids. Looked up, never iterated, so their order decides nothing.
#[derive(Debug)]
pub(super) struct Recent {
    young: HashSet<MsgId, Keyed>,
    old: HashSet<MsgId, Keyed>,
}

/// `SipHash` under a secret of the engine's: ids that collide can't be made on purpose, and the same seed repeats itself.
#[derive(Clone, Copy, Debug)]
struct Keyed(u64);

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

impl Recent {
    pub(super) fn new(secret: u64) -> Self {
        Self { young: HashSet::with_hasher(Keyed(secret)), old: HashSet::with_hasher(Keyed(secret)) }
    }

    pub(super) fn contains(&self, id: &MsgId) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }

    /// Remembers an id that was accepted, or that the exact store knows.
    pub(super) fn insert(&mut self, id: MsgId) {
        if self.young.len() >= RECENT_MAX_IDS {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> MsgId {
        MsgId::of(&n.to_be_bytes())
    }

    #[test]
    fn a_full_generation_is_still_known_and_two_are_the_most() {
        let mut recent = Recent::new(7);
        for n in 0..=2 * RECENT_MAX_IDS {
            recent.insert(id(n));
        }
        let known = (0..=2 * RECENT_MAX_IDS).filter(|n| recent.contains(&id(*n))).count();
        assert_eq!(known, RECENT_MAX_IDS + 1, "the oldest generation is forgotten, the next is whole");
        assert!(!recent.contains(&id(0)));
        assert!(recent.contains(&id(RECENT_MAX_IDS)));
    }
}
