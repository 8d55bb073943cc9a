//! Small sets of links: a bit each, for what is remembered of every recent envelope.

use rumormill_api::LinkId;

/// How many links have a place in a [`LinkSet`]. One past it gets a full copy of everything, as under plain flooding.
pub const SLOTS_MAX: usize = 128;

/// A link's place in the sets, as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slot(u8);

impl Slot {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of links.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct LinkSet(u128);

impl LinkSet {
    pub(super) const EMPTY: Self = Self(0);

    pub(super) const fn insert(&mut self, slot: Slot) {
        self.0 |= 1 << slot.0;
    }

    pub(super) const fn remove(&mut self, slot: Slot) {
        self.0 &= !(1 << slot.0);
    }

    pub(super) const fn contains(self, slot: Slot) -> bool {
        self.0 >> slot.0 & 1 == 1
    }
}

/// Which link has which place.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Option<LinkId>>);

impl Slots {
    /// The first free place, if there is one.
    pub(super) fn take(&mut self, link: LinkId) -> Option<Slot> {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free == SLOTS_MAX {
            return None;
        }
        if free == self.0.len() {
            self.0.push(None);
        }
        self.0[free] = Some(link);
        u8::try_from(free).ok().map(Slot)
    }

    pub(super) fn free(&mut self, slot: Slot) {
        self.0[slot.index()] = None;
    }

    pub(super) fn link(&self, slot: Slot) -> Option<LinkId> {
        self.0.get(slot.index()).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn there_are_so_many_places_and_a_freed_one_is_taken_again() {
        let mut slots = Slots::default();
        let taken: Vec<_> = (0..SLOTS_MAX).map(|n| slots.take(LinkId(n as u64)).unwrap()).collect();
        assert_eq!(slots.take(LinkId(999)), None);
        slots.free(taken[7]);
        assert_eq!(slots.take(LinkId(1_000)), Some(taken[7]));
        assert_eq!((slots.link(taken[7]), slots.link(taken[127])), (Some(LinkId(1_000)), Some(LinkId(127))));
        let mut set = LinkSet::EMPTY;
        taken.iter().for_each(|slot| set.insert(*slot));
        set.remove(taken[0]);
        assert!(taken[1..].iter().all(|slot| set.contains(*slot)));
        assert!(set.contains(taken[127]) && !set.contains(taken[0]));
    }
}
