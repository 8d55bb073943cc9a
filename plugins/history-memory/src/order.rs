//! Ids in the order of (expiry, id): cheap to add to, sorted when it is read.
//!
//! A relay adds thousands of ids a second and reads them in order once a minute, so an ordered tree would spend most of
//! its time on an order that nobody looks at. Here an id is put at the end of its hour's list, and who reads sorts what
//! came since the last reader.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use rumormill_api::{ExpiryHour, ExpiryRange, MsgId};

/// A set of (expiry, id).
#[derive(Debug, Default)]
pub(crate) struct Order {
    hours: BTreeMap<ExpiryHour, RefCell<Hour>>,
    len: usize,
}

/// The ids of one hour. A reader sorts, hence the cell in the order.
#[derive(Debug, Default)]
struct Hour {
    /// In order, from `start` on.
    sorted: Vec<MsgId>,
    start: usize,
    /// What came since the last reader, in no order.
    added: Vec<MsgId>,
    /// What stands in one of the two lists and isn't there any more.
    gone: HashSet<MsgId>,
}

impl Hour {
    fn len(&self) -> usize {
        self.sorted.len() - self.start + self.added.len() - self.gone.len()
    }

    fn insert(&mut self, id: MsgId) {
        // Still in its place?
        if self.gone.is_empty() || !self.gone.remove(&id) {
            self.added.push(id);
        }
    }

    fn settle(&mut self) {
        if self.added.is_empty() {
            return;
        }
        let gone = std::mem::take(&mut self.gone);
        self.sorted.drain(..std::mem::take(&mut self.start));
        self.sorted.append(&mut self.added);
        if !gone.is_empty() {
            self.sorted.retain(|id| !gone.contains(id));
        }
        // Stable: it finds the run that is sorted already and merges.
        self.sorted.sort();
    }

    /// The ids in order.
    fn ids(&mut self) -> impl Iterator<Item = MsgId> + '_ {
        self.settle();
        let gone = &self.gone;
        self.sorted[self.start..].iter().filter(|id| gone.is_empty() || !gone.contains(id)).copied()
    }

    fn first(&mut self) -> Option<MsgId> {
        self.settle();
        while let Some(id) = self.sorted.get(self.start) {
            if !self.gone.remove(id) {
                return Some(*id);
            }
            self.start += 1;
        }
        None
    }

    /// The ids behind `after`, in order.
    fn ids_after(&mut self, after: &MsgId) -> impl Iterator<Item = MsgId> + '_ {
        self.settle();
        let from = self.start + self.sorted[self.start..].partition_point(|id| id <= after);
        let gone = &self.gone;
        self.sorted[from..].iter().filter(|id| !gone.contains(id)).copied()
    }
}

impl Order {
    /// Adds an id that isn't in it under this expiry.
    pub(crate) fn insert(&mut self, expiry: ExpiryHour, id: MsgId) {
        self.hours.entry(expiry).or_default().get_mut().insert(id);
        self.len += 1;
    }

    /// Takes an id out that is in it under this expiry.
    pub(crate) fn remove(&mut self, expiry: ExpiryHour, id: MsgId) {
        let Some(hour) = self.hours.get_mut(&expiry).map(RefCell::get_mut) else { return };
        self.len -= 1;
        if hour.len() == 1 {
            self.hours.remove(&expiry);
        } else {
            hour.gone.insert(id);
        }
    }

    /// The first one.
    pub(crate) fn first(&self) -> Option<(ExpiryHour, MsgId)> {
        self.hours.iter().find_map(|(expiry, hour)| Some((*expiry, hour.borrow_mut().first()?)))
    }

    /// All in the range, in order. `range.from` must not lie behind `range.to`.
    pub(crate) fn ids(&self, range: ExpiryRange) -> Vec<(ExpiryHour, MsgId)> {
        let mut all = Vec::new();
        for (expiry, hour) in self.hours.range(range.from..=range.to) {
            all.extend(hour.borrow_mut().ids().map(|id| (*expiry, id)));
        }
        all
    }

    /// At most `limit` of the range behind `after`, in order. `range.from` must not lie behind `range.to`, nor `after`
    /// behind its end.
    pub(crate) fn ids_after(
        &self,
        range: ExpiryRange,
        after: (ExpiryHour, MsgId),
        limit: usize,
    ) -> Vec<(ExpiryHour, MsgId)> {
        let mut some = Vec::new();
        for (expiry, hour) in self.hours.range(range.from.max(after.0)..=range.to) {
            let (mut hour, room) = (hour.borrow_mut(), limit - some.len());
            if room == 0 {
                break;
            }
            if *expiry == after.0 {
                some.extend(hour.ids_after(&after.1).take(room).map(|id| (*expiry, id)));
            } else {
                some.extend(hour.ids().take(room).map(|id| (*expiry, id)));
            }
        }
        some
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Against a plain ordered set, through thousands of insertions, removals and reads.
    #[test]
    fn it_is_an_ordered_set() {
        let mut random = 7_u64;
        let mut next = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let (mut order, mut plain) = (Order::default(), BTreeSet::new());
        for step in 0..20_000 {
            let at = (next(4) as ExpiryHour, MsgId([next(200) as u8; 32]));
            match next(100) {
                0..50 if plain.insert(at) => order.insert(at.0, at.1),
                50..95 if plain.remove(&at) => order.remove(at.0, at.1),
                95 => {
                    let range = ExpiryRange { from: at.0, to: at.0 + 2 };
                    let expected: Vec<_> =
                        plain.iter().filter(|(e, _)| (at.0..=at.0 + 2).contains(e)).copied().collect();
                    assert_eq!(order.ids(range), expected, "step {step}");
                }
                96 => {
                    let (range, limit) = (ExpiryRange { from: 0, to: 3 }, next(60) as usize);
                    let expected: Vec<_> = plain.iter().filter(|one| **one > at).take(limit).copied().collect();
                    assert_eq!(order.ids_after(range, at, limit), expected, "step {step}");
                }
                97 => assert_eq!(order.first(), plain.first().copied(), "step {step}"),
                98 => {
                    // As an eviction does: the first ones, one after the other.
                    for _ in 0..5 {
                        let first = order.first();
                        assert_eq!(first, plain.pop_first(), "step {step}");
                        first.into_iter().for_each(|(expiry, id)| order.remove(expiry, id));
                    }
                }
                _ => {}
            }
            assert_eq!((order.len(), order.is_empty()), (plain.len(), plain.is_empty()), "step {step}");
        }
    }
}
