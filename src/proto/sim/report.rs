//! What came of a [`Plan`].

use std::collections::BTreeMap;

use rumormill_api::{Dedup, Millis};
use serde::Serialize;

use super::plan::{Plan, curve, ratio};
use super::{Sent, Sim, Spread};
use crate::proto::wire::Kind;

/// How many pairs of a message and a node there are, and in how many the node has the message.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Share {
    /// Pairs in which the node has it.
    pub reached: u64,
    /// All pairs.
    pub of: u64,
    /// The one over the other: 1 is everyone.
    pub share: f64,
}

impl Share {
    fn new(reached: u64, of: u64) -> Self {
        Self { reached, of, share: ratio(reached, of) }
    }
}

/// Bytes of link messages that a node sends for each message of the network, by what they are for. What a transport adds to
/// a frame (18 bytes on TCP) isn't in it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct BytesPerNode {
    /// Full copies.
    pub full_copies: f64,
    /// Announcements, requests for what was announced, and what decides who gets which.
    pub announcements: f64,
    /// Reconciliations, and the envelopes that they brought.
    pub repair: f64,
    /// What keeps links up and makes them known.
    pub upkeep: f64,
    /// All of them.
    pub all: f64,
}

/// How one message spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct MessageReport {
    /// When it was said, in milliseconds since the first.
    pub at_ms: Millis,
    /// Other nodes that ran at that time.
    pub running: u64,
    /// Of these, those that got it live.
    pub live: u64,
    /// Other nodes that have got it at some time.
    pub reached: u64,
    /// Nodes that run in the end and lack it.
    pub lacking: u64,
    /// From saying it to each node that has got it, in milliseconds.
    pub delivery_ms: Spread,
}

/// What came of a [`Plan`]: the same for the same plan. Times are virtual.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Messages said.
    pub messages: u64,
    /// Links of a node in the end, on average.
    pub links_per_node: f64,
    /// Nodes that crashed, as often as they did.
    pub crashes: u64,
    /// From the first message that counts to the end, in milliseconds.
    pub virtual_ms: Millis,
    /// Got live, without a reconciliation; of pairs in which the node ran when the message was said. A node that crashed before
    /// it got a message hasn't got it live.
    pub live: Share,
    /// Had in the end; of pairs in which the node runs in the end.
    pub end: Share,
    /// Messages that every node has which runs in the end.
    pub complete_messages: u64,
    /// From saying a message to each node that has got it, over all pairs, in milliseconds.
    pub delivery_ms: Spread,
    /// From saying a message to the last node, over the messages that every node has which runs in the end, in milliseconds.
    pub time_to_every_node_ms: Spread,
    /// Full copies sent for each message and node.
    pub copies_per_node: f64,
    /// Bytes sent for each message and node.
    pub bytes_per_node_per_message: BytesPerNode,
    /// What was sent, by the kind of link message; kinds without a name in this build by their number.
    pub sent: BTreeMap<String, Sent>,
    /// Frames that were lost, by chance or by the partition.
    pub lost_frames: u64,
    /// The engines' counters, added up over all nodes.
    pub counters: BTreeMap<&'static str, u64>,
    /// Events that happened: frames, timers, answers of stores, links that came up or went down.
    pub events: u64,
    /// How many milliseconds after a message was said which share of the other nodes had it, over all messages: a point for each
    /// millisecond in which one got one.
    pub coverage: Vec<(Millis, f64)>,
    /// The same of the message that took longest.
    pub coverage_of_slowest: Vec<(Millis, f64)>,
    /// Each message, in the order in which they were said.
    pub each_message: Vec<MessageReport>,
}

impl Report {
    pub(super) fn of<D: Dedup>(sim: &Sim<D>, plan: &Plan, begun: Millis, happened: u64) -> Self {
        let totals = sim.totals();
        let lacking = sim.lacking();
        let running = sim.nodes.iter().filter(|node| node.engine.is_some()).count() as u64;
        let links: u64 =
            (0..plan.nodes).filter_map(|node| sim.engine(node)).map(|engine| engine.links().count() as u64).sum();
        let each_message: Vec<_> = sim
            .coverage()
            .zip(&lacking)
            .map(|(coverage, lacking)| MessageReport {
                at_ms: coverage.at - begun,
                running: coverage.running,
                live: coverage.live,
                reached: coverage.reached(),
                lacking: *lacking,
                delivery_ms: coverage.spread(),
            })
            .collect();
        let others = plan.nodes as u64 - 1;
        let mut deliveries = BTreeMap::new();
        let mut slowest = BTreeMap::new();
        for coverage in sim.coverage() {
            for (after, count) in &coverage.after {
                *deliveries.entry(*after).or_default() += count;
            }
            if coverage.after.last_key_value().map(|(at, _)| *at) > slowest.last_key_value().map(|(at, _)| *at) {
                slowest = coverage.after;
            }
        }
        let complete = each_message.iter().filter(|message| message.lacking == 0);
        let time_to_every_node_ms = Spread::of(complete.clone().map(|message| message.delivery_ms.max));
        let pairs = totals.published * plan.nodes as u64;
        let bytes = |sent: Sent| ratio(sent.bytes, pairs);
        let sum = |of: fn(&MessageReport) -> u64| each_message.iter().map(of).sum::<u64>();
        let pairs_at_end = totals.published * running;
        Self {
            messages: totals.published,
            links_per_node: ratio(links, running),
            crashes: totals.crashes,
            virtual_ms: sim.now() - begun,
            live: Share::new(sum(|message| message.live), sum(|message| message.running)),
            end: Share::new(pairs_at_end - totals.missed, pairs_at_end),
            complete_messages: complete.count() as u64,
            delivery_ms: Spread::of_counts(&deliveries),
            time_to_every_node_ms,
            copies_per_node: ratio(totals.full_copies().messages, pairs),
            bytes_per_node_per_message: BytesPerNode {
                full_copies: bytes(totals.full_copies()),
                announcements: bytes(totals.announcements()),
                repair: bytes(totals.repair()),
                upkeep: bytes(totals.upkeep()),
                all: ratio(totals.bytes, pairs),
            },
            sent: totals.by_kind.iter().map(|(code, sent)| (kind_name(*code), *sent)).collect(),
            lost_frames: totals.lost_frames,
            counters: totals.counters,
            events: sim.happened() - happened,
            coverage: curve(&deliveries, others * totals.published),
            coverage_of_slowest: curve(&slowest, others),
            each_message,
        }
    }
}

fn kind_name(code: u8) -> String {
    let named = Kind::ALL.iter().find(|kind| **kind as u8 == code);
    named.map_or_else(|| code.to_string(), |kind| format!("{kind:?}").to_lowercase())
}
