//! Who gets the full copy of what came by which link.
//!
//! A node can't know who wrote an envelope, but it knows by which link the first copy came. So what neighbours say about
//! their need of full copies is remembered for each pair of the link it came by and the link it would go to: the shortest
//! ways from everywhere are found, not one tree for all. A pair starts eager. For each envelope of a pair it is counted
//! whether the neighbour did, or would have done, without the full copy: of an eager pair, PRUNE says so; of a lazy one, it
//! is so unless GRAFT says otherwise. The pair turns lazy when most were surplus and eager when fewer are; the distance
//! between the two keeps it from swinging. IWANT says that one was lacking altogether, and turns it eager at once.

use super::super::linkset::Slot;

/// How many envelopes of a pair must have been counted before it turns.
const COUNTED_MIN: u8 = 3;
/// After so many, what was counted is halved: the older, the less it weighs.
const COUNTED_MAX: u8 = 32;
/// A pair turns lazy at this share of surplus, in per cent, …
const LAZY_FROM_PERCENT: u16 = 60;
/// … and eager again at this one.
const EAGER_TO_PERCENT: u16 = 50;

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Pair {
    lazy: bool,
    counted: u8,
    /// Of these, what the neighbour had no need of.
    surplus: u8,
}

impl Pair {
    fn count(&mut self, surplus: bool) {
        if self.counted >= COUNTED_MAX {
            self.counted /= 2;
            self.surplus /= 2;
        }
        self.counted += 1;
        self.surplus += u8::from(surplus);
    }

    fn percent(self) -> u16 {
        u16::from(self.surplus) * 100 / u16::from(self.counted.max(1))
    }
}

/// All pairs, by the slots of the link that brings and the link that gets.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<Vec<Pair>>);

impl Pairs {
    fn pair(&mut self, from: Slot, to: Slot) -> &mut Pair {
        if self.0.len() <= from.index() {
            self.0.resize_with(from.index() + 1, Vec::new);
        }
        let row = &mut self.0[from.index()];
        if row.len() <= to.index() {
            row.resize(to.index() + 1, Pair::default());
        }
        &mut row[to.index()]
    }

    /// An envelope of a pair is about to be sent in full, or (`true`) to be announced.
    pub(super) fn is_lazy(&mut self, from: Slot, to: Slot) -> bool {
        let pair = self.pair(from, to);
        pair.count(pair.lazy);
        pair.lazy
    }

    /// The neighbour had enough copies without this one. Whether the pair becomes lazy by it.
    pub(super) fn surplus(&mut self, from: Slot, to: Slot) -> bool {
        let pair = self.pair(from, to);
        if pair.lazy || pair.surplus >= pair.counted {
            return false;
        }
        pair.surplus += 1;
        pair.lazy = pair.counted >= COUNTED_MIN && pair.percent() >= LAZY_FROM_PERCENT;
        pair.lazy
    }

    /// The neighbour had fewer copies than it wants. Whether the pair becomes eager by it.
    pub(super) fn lacking(&mut self, from: Slot, to: Slot) -> bool {
        let pair = self.pair(from, to);
        if !pair.lazy {
            return false;
        }
        pair.surplus = pair.surplus.saturating_sub(1);
        pair.lazy = pair.percent() > EAGER_TO_PERCENT;
        !pair.lazy
    }

    /// The neighbour had no copy at all. Whether the pair becomes eager by it.
    pub(super) fn missed(&mut self, from: Slot, to: Slot) -> bool {
        let pair = self.pair(from, to);
        let turns = pair.lazy;
        if turns {
            *pair = Pair { lazy: false, counted: COUNTED_MAX / 4, surplus: COUNTED_MAX / 8 };
        }
        turns
    }

    /// The neighbour wants everything.
    pub(super) fn all(&mut self, to: Slot) {
        for pair in self.0.iter_mut().filter_map(|row| row.get_mut(to.index())) {
            *pair = Pair::default();
        }
    }

    /// Another link has this place from now on.
    pub(super) fn clear_slot(&mut self, slot: Slot) {
        if let Some(row) = self.0.get_mut(slot.index()) {
            row.clear();
        }
        self.all(slot);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rumormill_api::LinkId;

    use super::super::super::linkset::Slots;
    use super::*;

    fn slots() -> [Slot; 3] {
        let mut slots = Slots::default();
        [1, 2, 3].map(|n| slots.take(LinkId(n)).unwrap())
    }

    /// Has a pair bring `count` envelopes, every `of`th of which the neighbour needs.
    fn bring(pairs: &mut Pairs, from: Slot, to: Slot, count: usize, of: usize) {
        for n in 1..=count {
            match (pairs.is_lazy(from, to), n % of == 0) {
                (false, false) => drop(pairs.surplus(from, to)),
                (true, true) => drop(pairs.lacking(from, to)),
                (false, true) | (true, false) => {}
            }
        }
    }

    #[test]
    fn a_pair_of_no_use_turns_lazy_once_a_few_were_counted() {
        let [a, b, c] = slots();
        let mut pairs = Pairs::default();
        for n in 1..=COUNTED_MIN {
            assert!(!pairs.is_lazy(a, b));
            assert_eq!(pairs.surplus(a, b), n == COUNTED_MIN);
        }
        assert!(pairs.is_lazy(a, b) && !pairs.is_lazy(b, a) && !pairs.is_lazy(a, c) && !pairs.is_lazy(c, b));
        assert!(!pairs.surplus(a, b), "it is lazy already");
        assert!(pairs.missed(a, b) && !pairs.missed(a, b) && !pairs.is_lazy(a, b));
    }

    #[test]
    fn of_use_to_every_second_one_it_stays_eager_to_every_fifth_lazy() {
        let [a, b, c] = slots();
        let mut pairs = Pairs::default();
        bring(&mut pairs, a, b, 10, 1);
        bring(&mut pairs, a, b, 200, 2);
        assert!(!pairs.is_lazy(a, b));
        bring(&mut pairs, a, b, 200, 5);
        assert!(pairs.is_lazy(a, b));
        bring(&mut pairs, a, b, 200, 1);
        assert!(!pairs.is_lazy(a, b));
        // Between the two it stays what it is.
        bring(&mut pairs, a, c, 200, 5);
        for to in [b, c] {
            for n in 0..400 {
                let lazy = pairs.is_lazy(a, to);
                assert_eq!(lazy, to == c, "after {n}");
                match (lazy, n % 2 == 0) {
                    (false, true) => drop(pairs.surplus(a, to)),
                    (true, false) if n % 4 == 1 => drop(pairs.lacking(a, to)),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_new_link_in_an_old_place_starts_eager() {
        let [a, b, c] = slots();
        let mut pairs = Pairs::default();
        for (from, to) in [(a, b), (b, a), (a, c), (c, b)] {
            bring(&mut pairs, from, to, 20, 100);
            assert!(pairs.is_lazy(from, to));
        }
        pairs.clear_slot(b);
        assert!(!pairs.is_lazy(a, b) && !pairs.is_lazy(b, a) && !pairs.is_lazy(c, b) && pairs.is_lazy(a, c));
        pairs.all(c);
        assert!(!pairs.is_lazy(a, c));
    }
}
