//! Who has got which message, and when: counted for each pair of a message and a node, so that nothing is estimated.

use std::collections::BTreeMap;

use rumormill_api::Millis;

use super::shelf::Bits;
use super::totals::Spread;

/// A message that was published in the simulation.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// The node that said it.
    pub(super) by: usize,
    pub(super) at: Millis,
    /// Nodes that ran when it was published, its author not counted.
    running: u64,
    /// Of these, those that got it live without having crashed before.
    live: u64,
    /// Nodes that have got it at some time.
    reached: Bits,
    /// How many got it for the first time after how many milliseconds; the author not counted.
    after: BTreeMap<Millis, u64>,
}

impl Published {
    pub(super) fn new(by: usize, at: Millis, running: u64) -> Self {
        Self { by, at, running, live: 0, reached: Bits::default(), after: BTreeMap::new() }
    }

    /// A node that has run since `up_since` has got it.
    pub(super) fn delivered(&mut self, node: usize, up_since: Millis, live: bool, now: Millis) {
        let number = u32::try_from(node).expect("fewer than 4 billion nodes");
        if node == self.by || !self.reached.insert(number) {
            return;
        }
        self.live += u64::from(live && up_since <= self.at);
        *self.after.entry(now - self.at).or_default() += 1;
    }

    pub(super) fn coverage(&self) -> Coverage {
        Coverage { by: self.by, at: self.at, running: self.running, live: self.live, after: self.after.clone() }
    }

    pub(super) fn after(&self) -> impl Iterator<Item = (Millis, u64)> + '_ {
        self.after.iter().map(|(after, count)| (*after, *count))
    }

    /// Until the last node that has got it got it, in milliseconds.
    pub(super) fn last(&self) -> Millis {
        self.after.last_key_value().map_or(0, |(after, _)| *after)
    }
}

/// How a message spread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coverage {
    /// The node that published it.
    pub by: usize,
    /// When, in milliseconds of virtual time.
    pub at: Millis,
    /// Nodes that ran when it was published, its author not counted.
    pub running: u64,
    /// Of these, those that got it live, without being asked for it in a reconciliation and without having crashed before.
    pub live: u64,
    /// How many nodes got it, for the first time, how many milliseconds after it was published; the author not counted.
    pub after: BTreeMap<Millis, u64>,
}

impl Coverage {
    /// Nodes that have got it at some time, its author not counted.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.after.values().sum()
    }

    /// The time from its publication to each node that has got it, in milliseconds.
    #[must_use]
    pub fn spread(&self) -> Spread {
        Spread::of_counts(&self.after)
    }
}
