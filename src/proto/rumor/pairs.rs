//! Who gets the full copy of what came by which link.
//!
//! A node can't know who wrote an envelope, but it knows by which link the first copy came. So what neighbours say about
//! their need of full copies is remembered for each pair of the link it came by and the link it would go to: the shortest
//! ways from everywhere are found, not one tree for all. A pair starts eager. For each envelope of a pair it is counted
//! whether the neighbour did, or would have done, without the full copy: of an eager pair, PRUNE says so; of a lazy one, it
//! is so unless GRAFT says otherwise. The pair turns lazy when most were surplus and eager when fewer are; the distance
//! between the two keeps it from swinging. IWANT says that one was lacking altogether, and turns it eager at once, unless a
//! node wants no more than one copy.

use super::super::linkset::Slot;

/// How many envelopes of a pair must have been counted before it turns.
const COUNTED_MIN: u8 = 3;
/// After so many, what was counted is halved: the older, the less it weighs.
const COUNTED_MAX: u8 = 32;

/// When a pair turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shares {
    /// Lazy at this share of surplus, in per cent, …
    lazy_from: u16,
    /// … and eager again at this one.
    eager_to: u16,
    /// For how many of those counted an IWANT stands. `None`: it turns the pair at once.
    miss: Option<u8>,
}

/// Where several copies are wanted: a copy that is of use to two in five is sent, and none has to be asked for twice.
const SEVERAL: Shares = Shares { lazy_from: 60, eager_to: 50, miss: None };
/// Where one copy is enough. Of two ways that are as short as each other each brings half of its copies too late, for good
/// unless the one or the other turns lazy at that; and one delay mustn't undo it.
const ONE: Shares = Shares { lazy_from: 50, eager_to: 40, miss: Some(4) };

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
#[derive(Debug)]
pub(super) struct Pairs {
    rows: Vec<Vec<Pair>>,
    shares: Shares,
}

impl Pairs {
    /// `eager`: how many copies of an envelope this node wants, and takes its neighbours to want.
    pub(super) const fn new(eager: u8) -> Self {
        Self { rows: Vec::new(), shares: if eager > 1 { SEVERAL } else { ONE } }
    }

    fn pair(&mut self, from: Slot, to: Slot) -> &mut Pair {
        if self.rows.len() <= from.index() {
            self.rows.resize_with(from.index() + 1, Vec::new);
        }
        let row = &mut self.rows[from.index()];
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
        let lazy_from = self.shares.lazy_from;
        let pair = self.pair(from, to);
        if pair.lazy || pair.surplus >= pair.counted {
            return false;
        }
        pair.surplus += 1;
        pair.lazy = pair.counted >= COUNTED_MIN && pair.percent() >= lazy_from;
        pair.lazy
    }

    /// The neighbour had fewer copies than it wants. Whether the pair becomes eager by it.
    pub(super) fn lacking(&mut self, from: Slot, to: Slot) -> bool {
        self.needed(from, to, 1)
    }

    fn needed(&mut self, from: Slot, to: Slot, weight: u8) -> bool {
        let eager_to = self.shares.eager_to;
        let pair = self.pair(from, to);
        if !pair.lazy {
            return false;
        }
        pair.surplus = pair.surplus.saturating_sub(weight);
        pair.lazy = pair.percent() > eager_to;
        !pair.lazy
    }

    /// The neighbour had no copy at all. Whether the pair becomes eager by it.
    pub(super) fn missed(&mut self, from: Slot, to: Slot) -> bool {
        if let Some(weight) = self.shares.miss {
            return self.needed(from, to, weight);
        }
        let pair = self.pair(from, to);
        let turns = pair.lazy;
        if turns {
            *pair = Pair { lazy: false, counted: COUNTED_MAX / 4, surplus: COUNTED_MAX / 8 };
        }
        turns
    }

    /// The neighbour wants everything.
    pub(super) fn all(&mut self, to: Slot) {
        for pair in self.rows.iter_mut().filter_map(|row| row.get_mut(to.index())) {
            *pair = Pair::default();
        }
    }

    /// Another link has this place from now on.
    pub(super) fn clear_slot(&mut self, slot: Slot) {
        if let Some(row) = self.rows.get_mut(slot.index()) {
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
        let mut pairs = Pairs::new(2);
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
        let mut pairs = Pairs::new(2);
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
    fn where_one_copy_is_enough_one_of_two_equal_ways_turns_lazy_and_one_miss_doesnt_undo_it() {
        let [a, b, _] = slots();
        let mut pairs = Pairs::new(1);
        bring(&mut pairs, a, b, 200, 2);
        assert!(pairs.is_lazy(a, b));
        bring(&mut pairs, a, b, 200, 10);
        assert!(pairs.is_lazy(a, b) && !pairs.missed(a, b) && pairs.is_lazy(a, b));
        let misses = (1..).find(|_| pairs.missed(a, b)).unwrap();
        assert!((2..8).contains(&misses), "{misses} more");
    }

    #[test]
    fn a_new_link_in_an_old_place_starts_eager() {
        let [a, b, c] = slots();
        let mut pairs = Pairs::new(2);
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
