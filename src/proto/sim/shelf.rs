//! The simulation's envelopes, each held once; what a node has of them is a bit each.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;

use bytes::Bytes;
use rumormill_api::{ExpiryHour, Millis, MsgId};

use crate::proto::Source;
use crate::proto::wire::{ENVELOPE_COMMITMENT_OFFSET, Envelope, TreeKey};

/// Which of [`Envelopes`].
pub(super) type Number = u32;

/// An envelope that some node has or had.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: MsgId,
    pub(super) expiry: ExpiryHour,
    /// The first byte of its commitment: the simulation's stand-in for who can open it.
    pub(super) room: u8,
    pub(super) bytes: Bytes,
}

/// Every envelope of the simulation, numbered in the order in which a node first had it.
#[derive(Debug, Default)]
pub(super) struct Envelopes {
    all: Vec<Known>,
    /// Looked up, never iterated.
    numbers: HashMap<MsgId, Number>,
    /// In the order that reconciliation compares.
    order: BTreeMap<TreeKey, Number>,
}

impl Envelopes {
    pub(super) fn number(&self, id: &MsgId) -> Option<Number> {
        self.numbers.get(id).copied()
    }

    pub(super) fn get(&self, number: Number) -> &Known {
        &self.all[number as usize]
    }

    /// The number of an envelope, perhaps a new one; `None` if it isn't well-formed.
    pub(super) fn add(&mut self, id: &MsgId, bytes: &Bytes) -> Option<Number> {
        if let Some(number) = self.number(id) {
            return Some(number);
        }
        let expiry = Envelope::parse(bytes).ok()?.expiry();
        let number = Number::try_from(self.all.len()).ok()?;
        self.all.push(Known { id: *id, expiry, room: bytes[ENVELOPE_COMMITMENT_OFFSET], bytes: bytes.clone() });
        self.numbers.insert(*id, number);
        self.order.insert((expiry, *id), number);
        Some(number)
    }
}

/// What a node has of one kind, as reconciliation reads it.
pub(super) struct Reading<'a> {
    pub(super) envelopes: &'a Envelopes,
    pub(super) has: &'a Bits,
    /// Only what these can open.
    pub(super) room: Option<u8>,
}

impl Source for Reading<'_> {
    type Error = Infallible;

    fn ids(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Infallible> {
        let here =
            |number| self.has.contains(number) && self.room.is_none_or(|room| self.envelopes.get(number).room == room);
        let all = self.envelopes.order.range(from..=to).filter(|(_, number)| here(**number));
        Ok(all.map(|(key, _)| *key).take(limit).collect())
    }

    fn gone(&mut self, _: TreeKey, _: TreeKey, _: usize) -> Result<Vec<TreeKey>, Infallible> {
        Ok(Vec::new())
    }

    fn envelope(&mut self, id: &MsgId) -> Option<Bytes> {
        let number = self.envelopes.number(id).filter(|number| self.has.contains(*number))?;
        Some(self.envelopes.get(number).bytes.clone())
    }
}

/// A set of small numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn contains(&self, number: Number) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Whether it is new.
    pub(super) fn insert(&mut self, number: Number) -> bool {
        let at = number as usize / 64;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        let new = !self.contains(number);
        self.0[at] |= 1 << (number % 64);
        new
    }

    pub(super) fn remove(&mut self, number: Number) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Number> + '_ {
        ones(self.0.iter().copied())
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many of these are in neither of two others.
    pub(super) fn lacking(&self, a: &Self, b: &Self) -> u64 {
        self.words_lacking(a, b).map(|word| u64::from(word.count_ones())).sum()
    }

    /// Those of these that are in neither of two others, in ascending order.
    pub(super) fn lacking_ones(&self, a: &Self, b: &Self) -> impl Iterator<Item = Number> {
        ones(self.words_lacking(a, b))
    }

    fn words_lacking(&self, a: &Self, b: &Self) -> impl Iterator<Item = u64> {
        let word = |bits: &Self, at: usize| bits.0.get(at).copied().unwrap_or(0);
        (0..).zip(&self.0).map(move |(at, all)| all & !word(a, at) & !word(b, at))
    }
}

fn ones(words: impl Iterator<Item = u64>) -> impl Iterator<Item = Number> {
    (0..)
        .zip(words)
        .filter(|(_, word)| *word != 0)
        .flat_map(|(at, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
}

/// What a node has of one kind: on its window, or in its archives.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) has: Bits,
    /// What isn't durable yet, with the time at which it will be; ascending.
    fresh: VecDeque<(Millis, Number)>,
}

impl Shelf {
    /// Whether it is new.
    pub(super) fn insert(&mut self, number: Number, now: Millis, durable_at: Millis) -> bool {
        let new = self.has.insert(number);
        if new && durable_at > now {
            while self.fresh.front().is_some_and(|(at, _)| *at <= now) {
                self.fresh.pop_front();
            }
            self.fresh.push_back((durable_at, number));
        }
        new
    }

    /// A crash: what wasn't durable is lost.
    pub(super) fn crash(&mut self, now: Millis) {
        for (durable_at, number) in self.fresh.drain(..) {
            if durable_at > now {
                self.has.remove(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(of: &[Number]) -> Bits {
        let mut bits = Bits::default();
        of.iter().for_each(|number| assert!(bits.insert(*number)));
        bits
    }

    #[test]
    fn bits_are_a_set() {
        let mut all = bits(&[700, 0, 63, 64]);
        assert!(!all.insert(63) && all.contains(64) && !all.contains(65) && !all.contains(100_000));
        assert_eq!((all.iter().collect::<Vec<_>>(), all.len()), (vec![0, 63, 64, 700], 4));
        let (some, others) = (bits(&[0, 5]), bits(&[64, 2_000]));
        assert_eq!((all.lacking(&some, &others), all.lacking_ones(&some, &others).collect()), (2, vec![63, 700]));
    }

    #[test]
    fn a_crash_loses_what_was_not_durable() {
        let mut shelf = Shelf::default();
        shelf.insert(1, 0, 0);
        shelf.insert(2, 0, 5);
        shelf.insert(3, 4, 9);
        shelf.insert(2, 6, 11);
        shelf.crash(5);
        assert_eq!(shelf.has.iter().collect::<Vec<_>>(), [1, 2]);
        shelf.crash(5);
        assert_eq!(shelf.has.len(), 2, "once");
    }
}
