//! A whole run, as someone who plans a network wants it: a network is built, says its messages, and mends what was lost.

use std::collections::BTreeMap;

use rumormill_api::{Dedup, ExpiryHour, Millis};
use serde::Serialize;

use super::report::Report;
use super::{Behaviour, Churn, ExactDedup, Sim, SimConfig, envelope};
use crate::proto::wire::{ENVELOPE_LIFE_HOURS, HOUR_MS};
use crate::proto::{Dissemination, EngineConfig};

/// How long links get to come up before anything is said, in milliseconds, on top of ten times the longest latency.
const SETTLE_MS: Millis = 5_000;
/// How long after the last message, or the last of what was missing, frames that are still on their way are counted, in
/// milliseconds, on top of four times the longest latency.
const TAIL_MS: Millis = 2_000;
/// How often to look whether anything is still missing, in milliseconds.
const LOOK_EVERY_MS: Millis = 50;
/// The room that all messages are said in; nobody is a member.
const ROOM: u8 = 1;

/// What is to be simulated. Equal plans give equal [`Report`]s.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Plan {
    /// Nodes: at least 3.
    pub nodes: usize,
    /// Links of a node, on average: at least 2, fewer than there are nodes. A ring, and chords at random.
    pub degree: usize,
    /// Messages that count.
    pub messages: u64,
    /// The size of their envelopes, in bytes: one of [`ENVELOPE_SIZES`](crate::proto::wire::ENVELOPE_SIZES).
    pub size: usize,
    /// Messages a second, in the whole network; each is said by a random honest node that runs.
    pub rate: u64,
    /// Messages before those that count, for what learns from traffic.
    pub warmup: u64,
    /// Frames lost, of a thousand. A link goes on after the loss, which is harsher than TCP.
    pub loss_per_mille: u64,
    /// Nodes that relay, announce and serve nothing of others', of a thousand.
    pub droppers_per_mille: u64,
    /// Nodes that crash in a minute, of a thousand, while messages are said; each comes back after [`Plan::DOWN`].
    pub churn_per_mille_per_minute: u64,
    /// Each link's latency lies evenly between these, in milliseconds.
    pub latency_ms: (Millis, Millis),
    /// How long the two halves of the network are apart, from the first message that counts on, in milliseconds; 0 for never.
    pub partition_ms: Millis,
    /// How long to wait at most, after the last message, for what is still missing somewhere, in milliseconds.
    pub wait_ms: Millis,
    /// How many full copies a node wants under adaptive dissemination, 1 to [`EAGER_MAX`](crate::proto::EAGER_MAX); none for
    /// plain flooding.
    pub eager: Option<u8>,
    /// Decides everything random.
    pub seed: u64,
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nodes are made.
    Building,
    /// Links come up.
    Settling,
    /// Messages that don't count are said.
    WarmUp,
    /// Messages that count are said.
    Messages,
    /// What is missing somewhere is waited for.
    Repair,
    /// The run is over.
    Done,
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// In what.
    pub phase: Phase,
    /// How far in it: nodes, messages, milliseconds of virtual time.
    pub done: u64,
    /// Of how much.
    pub of: u64,
}

impl Plan {
    /// How long a crashed node stays away, in milliseconds: evenly between these.
    pub const DOWN: (Millis, Millis) = (1_000, 30_000);

    /// Runs it. `progress` is told at the beginning of each phase and now and then within.
    pub fn run(&self, progress: &mut dyn FnMut(Progress)) -> Report {
        let config = SimConfig {
            seed: self.seed,
            latency: self.latency_ms,
            loss_per_mille: self.loss_per_mille,
            logs: false,
            engine: EngineConfig {
                dissemination: self.eager.map_or(Dissemination::Flood, |eager| Dissemination::Adaptive { eager }),
                ..EngineConfig::default()
            },
            ..SimConfig::default()
        };
        let mut run = Run { plan: self, progress, said: 0 };
        let mut sim = run.build(config);
        run.settle(&mut sim);
        run.say(&mut sim, Phase::WarmUp, self.warmup);
        if self.warmup > 0 {
            sim.run_for(self.tail());
        }
        sim.start_counting();
        let (begun, happened) = (sim.now(), sim.happened());
        if self.churn_per_mille_per_minute > 0 {
            sim.churn(Some(Churn { per_mille_per_minute: self.churn_per_mille_per_minute, down: Self::DOWN }));
        }
        if self.partition_ms > 0 {
            let half = self.nodes / 2;
            sim.partition(|node| u8::from(node < half));
            sim.heal_at(begun + self.partition_ms);
        }
        run.say(&mut sim, Phase::Messages, self.messages);
        sim.churn(None);
        run.repair(&mut sim, begun + self.partition_ms);
        let report = Report::of(&sim, self, begun, happened);
        run.tell(Phase::Done, 0, 0);
        report
    }

    fn tail(&self) -> Millis {
        TAIL_MS + 4 * self.latency_ms.1
    }
}

struct Run<'a> {
    plan: &'a Plan,
    progress: &'a mut dyn FnMut(Progress),
    /// Messages said so far: what makes each envelope unique.
    said: u64,
}

impl Run<'_> {
    fn tell(&mut self, phase: Phase, done: u64, of: u64) {
        (self.progress)(Progress { phase, done, of });
    }

    fn build(&mut self, config: SimConfig) -> Sim<ExactDedup> {
        let Plan { nodes, degree, droppers_per_mille, .. } = *self.plan;
        self.tell(Phase::Building, 0, nodes as u64);
        let mut sim = Sim::network(config, nodes, degree, |_| ExactDedup::default());
        let droppers = nodes as u64 * droppers_per_mille / 1_000;
        let mut honest: Vec<usize> = (0..nodes).collect();
        for _ in 0..droppers {
            let at = sim.below(honest.len());
            sim.behave(honest.swap_remove(at), Behaviour::SilentDropper);
        }
        sim
    }

    fn settle(&mut self, sim: &mut Sim<ExactDedup>) {
        let span = SETTLE_MS + 10 * self.plan.latency_ms.1;
        let step = (span / 20).max(1);
        self.tell(Phase::Settling, 0, span);
        while sim.now() < span {
            sim.run_for(step.min(span - sim.now()));
            self.tell(Phase::Settling, sim.now(), span);
        }
    }

    /// Says messages, evenly spaced, and lets the time of the last one pass.
    fn say(&mut self, sim: &mut Sim<ExactDedup>, phase: Phase, messages: u64) {
        self.tell(phase, 0, messages);
        let begun = sim.now();
        for n in 0..messages {
            if let Some(node) = Self::speaker(sim) {
                self.said += 1;
                let hour = ExpiryHour::try_from(sim.now_of(node).unix / HOUR_MS).unwrap_or(0);
                let message = envelope(hour + ENVELOPE_LIFE_HOURS, ROOM, self.said, self.plan.size);
                sim.publish_bytes(node, message.into_bytes());
            }
            let next = begun + (n + 1) * 1_000 / self.plan.rate;
            sim.run_for(next.saturating_sub(sim.now()));
            self.tell(phase, n + 1, messages);
        }
    }

    /// An honest node that runs; none if there isn't any.
    fn speaker<D: Dedup>(sim: &mut Sim<D>) -> Option<usize> {
        let (count, start) = (sim.nodes.len(), sim.below(sim.nodes.len()));
        let may = |node: &usize| sim.nodes[*node].engine.is_some() && sim.nodes[*node].behaviour == Behaviour::Honest;
        (start..count).chain(0..start).find(may)
    }

    /// Waits until nothing is missing anywhere, at most as long as the plan says after the last message or the healing.
    fn repair(&mut self, sim: &mut Sim<ExactDedup>, healed: Millis) {
        let begun = sim.now().max(healed);
        let end = begun + self.plan.wait_ms;
        self.tell(Phase::Repair, 0, self.plan.wait_ms);
        loop {
            let everyone = sim.nodes.iter().all(|node| node.engine.is_some());
            if sim.now() >= end || (everyone && sim.missed() == 0) {
                break;
            }
            sim.run_for(LOOK_EVERY_MS.min(end - sim.now()));
            self.tell(Phase::Repair, sim.now().saturating_sub(begun), self.plan.wait_ms);
        }
        sim.run_for(self.plan.tail());
    }
}

/// What a run's curves are made of: how many have got a message by when.
pub(super) fn curve(after: &BTreeMap<Millis, u64>, of: u64) -> Vec<(Millis, f64)> {
    let mut reached = 0;
    let all = after.iter().map(|(at, count)| {
        reached += count;
        (*at, ratio(reached, of))
    });
    std::iter::once((0, 0.0)).chain(all).collect()
}

/// One number over another; 0 over 0 is 0.
pub(super) fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}
