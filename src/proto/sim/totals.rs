//! What a simulation counts.

use std::collections::BTreeMap;

use rumormill_api::Millis;
use serde::Serialize;

use crate::proto::wire::Kind;

/// How something is spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Spread {
    /// The median.
    pub p50: Millis,
    /// 99 of 100 are at most this.
    pub p99: Millis,
    /// The largest.
    pub max: Millis,
}

impl Spread {
    /// Of values with how often each occurs; all zero without any.
    #[must_use]
    pub fn of_counts(counts: &BTreeMap<Millis, u64>) -> Self {
        let all: u64 = counts.values().sum();
        let at = |per_cent: u64| {
            let rank = (all * per_cent).div_ceil(100).max(1);
            let mut passed = 0;
            let found = counts.iter().find(|(_, count)| {
                passed += **count;
                passed >= rank
            });
            found.map_or(0, |(value, _)| *value)
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }

    pub(super) fn of(values: impl IntoIterator<Item = Millis>) -> Self {
        let mut counts = BTreeMap::new();
        values.into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
        Self::of_counts(&counts)
    }
}

/// What was sent of one kind of link message, lost ones included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Sent {
    /// Link messages; several may have been in one frame.
    pub messages: u64,
    /// Their bytes, headers included; without what the transport adds to a frame.
    pub bytes: u64,
}

impl std::iter::Sum for Sent {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self { messages: a.messages + b.messages, bytes: a.bytes + b.bytes })
    }
}

/// What has happened in a simulation: equal on equal seeds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Nodes.
    pub nodes: u64,
    /// Messages published.
    pub published: u64,
    /// Envelopes accepted as new at a node that hadn't them.
    pub delivered: u64,
    /// Of these, ones that came because they were asked for.
    pub synced: u64,
    /// Envelopes accepted at a node that had them; its store takes no notice.
    pub again: u64,
    /// Pairs of a published message and a running node that lacks it.
    pub missed: u64,
    /// Envelopes removed from windows because they had expired by their node's clock, which its peers confirmed.
    pub pruned: u64,
    /// Of these, ones that hadn't really.
    pub pruned_early: u64,
    /// Nodes that crashed, as often as they did.
    pub crashes: u64,
    /// Frames sent.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames lost, by chance or by a partition.
    pub lost_frames: u64,
    /// What was sent, by the code of the kind ([`Kind`] as a number).
    pub by_kind: BTreeMap<u8, Sent>,
    /// From publishing a message to each node's getting it, over all pairs of a message and a node that has got it, its
    /// author not counted, in milliseconds.
    pub delivery: Spread,
    /// From publishing a message to its last delivery, over all messages, in milliseconds.
    pub time_to_all: Spread,
    /// The engines' counters, added up.
    pub counters: BTreeMap<&'static str, u64>,
}

impl Totals {
    /// What was sent of some kinds.
    #[must_use]
    pub fn sent(&self, kinds: &[Kind]) -> Sent {
        kinds.iter().filter_map(|kind| self.by_kind.get(&(*kind as u8))).copied().sum()
    }

    /// Full copies: RUMOR.
    #[must_use]
    pub fn full_copies(&self) -> Sent {
        self.sent(&[Kind::Rumor])
    }

    /// Repair: reconciliations, and the envelopes that they brought.
    #[must_use]
    pub fn repair(&self) -> Sent {
        self.sent(&[Kind::Recon, Kind::Get, Kind::Item])
    }

    /// What keeps links up and makes them known: HELLO, PEERS, PING, PONG, CHAFF, BYE.
    #[must_use]
    pub fn upkeep(&self) -> Sent {
        self.sent(&[Kind::Hello, Kind::Peers, Kind::Ping, Kind::Pong, Kind::Chaff, Kind::Bye])
    }

    /// Everything that isn't one of the other three: announcements, and what decides who gets which.
    #[must_use]
    pub fn announcements(&self) -> Sent {
        let all: Sent = self.by_kind.values().copied().sum();
        let others: Sent = [self.full_copies(), self.repair(), self.upkeep()].into_iter().sum();
        Sent { messages: all.messages - others.messages, bytes: all.bytes - others.bytes }
    }

    /// One of the engines' counters, added up.
    ///
    /// # Panics
    ///
    /// When there is no counter of that name.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        *self.counters.get(name).expect("the name of a counter")
    }
}
