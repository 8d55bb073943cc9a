//! Adaptive dissemination is safe: over many random networks, every message reaches every node live, without repair.
//!
//! `SEEDS=10000 cargo test --release --test adaptive` is the long run; a failing seed is printed, and `SEED=n` runs that one.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rumormill::proto::sim::{Behaviour, ExactDedup, Sim, SimConfig, Totals};
use rumormill::proto::{Dissemination, EngineConfig, FULL_EVERY_MS};

const MINUTE_MS: u64 = 60_000;
/// Longer than any of these simulations: reconciliation isn't to help.
const NEVER_MS: u64 = 100 * FULL_EVERY_MS;

/// The seeds of a test: as many as `SEEDS` says, or the one of `SEED`.
fn seeds(default: u64) -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(default),
    }
}

struct Dice(ChaCha8Rng);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed ^ 0x0ada_97e5))
    }

    /// From `low` to `high`, both included.
    fn roll(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.next_u64() % (high - low + 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll(0, bound as u64 - 1)).unwrap()
    }
}

/// A network of any shape; `repair`: with the reconciliation that a node has, or without any.
fn network(seed: u64, dice: &mut Dice, repair: bool) -> (Sim<ExactDedup>, usize) {
    let defaults = EngineConfig::default();
    let engine = EngineConfig {
        dissemination: Dissemination::Adaptive { eager: u8::try_from(dice.roll(1, 3)).unwrap() },
        share_input: true,
        reconcile_on_connect: repair,
        recent_every: if repair { defaults.recent_every } else { NEVER_MS },
        full_every: NEVER_MS,
        ..defaults
    };
    let low = dice.roll(0, 50);
    let config = SimConfig { seed, latency: (low, low + dice.roll(0, 200)), engine, ..SimConfig::default() };
    let nodes = usize::try_from(dice.roll(3, 24)).unwrap();
    let degree = usize::try_from(dice.roll(2, 10)).unwrap();
    let mut sim = Sim::network(config, nodes, degree, |_| ExactDedup::default());
    sim.run_for(2_000);
    (sim, nodes)
}

/// Nodes speak at random times, from one message a second to bursts.
fn talk(sim: &mut Sim<ExactDedup>, dice: &mut Dice, messages: u64, author: impl Fn(usize) -> bool, nodes: usize) {
    let pace = [0, 2, 20, 200, 1_000][dice.below(5)];
    let mut said = 0;
    while said < messages {
        let node = dice.below(nodes);
        if author(node) {
            sim.publish(node, 1);
            said += 1;
            let pause = dice.roll(0, pace);
            sim.run_for(pause);
        }
    }
}

fn failed(what: &str, seed: u64, totals: &Totals) -> ! {
    panic!("{what}; run it again with SEED={seed}\n{totals:#?}");
}

#[test]
fn every_message_reaches_every_node_live_whatever_is_pruned() {
    let mut pruned = 0;
    for seed in seeds(150) {
        let mut dice = Dice::new(seed);
        let (mut sim, nodes) = network(seed, &mut dice, false);
        let messages = dice.roll(10, 80);
        talk(&mut sim, &mut dice, messages, |_| true, nodes);
        // Far less than it would take a repair to begin.
        sim.run_for(30_000);
        let totals = sim.totals();
        if totals.missed > 0 || totals.synced > 0 || totals.again > 0 || totals.counter("pull_failed") > 0 {
            failed("something didn't come live", seed, &totals);
        }
        pruned += totals.counter("pruned");
    }
    assert!(pruned > 0, "nothing was pruned: this shows nothing");
}

#[test]
fn silent_droppers_cost_time_and_no_message() {
    let mut pulled = 0;
    for seed in seeds(80) {
        let mut dice = Dice::new(seed);
        let (mut sim, nodes) = network(seed, &mut dice, false);
        // Every third node drops in silence; a ring of the honest ones is left, or the network would be cut.
        let dropper = |node: usize| node % 3 == 2 && nodes >= 6;
        let cut = (0..nodes)
            .filter(|node| !dropper(*node))
            .any(|node| sim.links(node).iter().all(|(_, peer)| dropper(*peer)));
        let connected = !cut && connected(&sim, nodes, dropper);
        if !connected {
            continue;
        }
        (0..nodes).filter(|node| dropper(*node)).for_each(|node| sim.behave(node, Behaviour::SilentDropper));
        let messages = dice.roll(10, 60);
        talk(&mut sim, &mut dice, messages, |node| !dropper(node), nodes);
        sim.run_for(60_000);
        let totals = sim.totals();
        if totals.missed > 0 || totals.synced > 0 {
            failed("something didn't come live", seed, &totals);
        }
        pulled += totals.counter("pulled");
    }
    assert!(pulled > 0, "nothing had to be asked for: this shows nothing");
}

/// Whether the honest nodes hang together without the others.
fn connected(sim: &Sim<ExactDedup>, nodes: usize, dropper: impl Fn(usize) -> bool) -> bool {
    let mut reached = vec![false; nodes];
    let mut queue = vec![0];
    reached[0] = true;
    while let Some(node) = queue.pop() {
        for (_, peer) in sim.links(node) {
            if !dropper(peer) && !std::mem::replace(&mut reached[peer], true) {
                queue.push(peer);
            }
        }
    }
    (0..nodes).all(|node| reached[node] || dropper(node))
}

#[test]
fn churn_loses_nothing() {
    for seed in seeds(80) {
        let mut dice = Dice::new(seed);
        let (mut sim, nodes) = network(seed, &mut dice, true);
        let mut down: Option<usize> = None;
        for _ in 0..dice.roll(3, 12) {
            match down.take() {
                Some(node) => sim.start(node),
                None => {
                    let node = dice.below(nodes);
                    sim.crash(node);
                    down = Some(node);
                }
            }
            let messages = dice.roll(1, 15);
            talk(&mut sim, &mut dice, messages, |node| Some(node) != down, nodes);
        }
        down.into_iter().for_each(|node| sim.start(node));
        if !sim.run_until(5_000, 30 * MINUTE_MS, |sim| sim.totals().missed == 0) {
            failed("a message is lost", seed, &sim.totals());
        }
        assert_eq!(sim.totals().again, 0, "seed {seed}");
    }
}

#[test]
fn lost_and_doubled_and_overtaking_frames_lose_nothing() {
    for seed in seeds(60) {
        let mut dice = Dice::new(seed);
        let (sim, nodes) = network(seed, &mut dice, true);
        let mut config = sim.config().clone();
        drop(sim);
        config.loss_per_mille = dice.roll(0, 100);
        config.duplicate_per_mille = dice.roll(0, 200);
        config.reorder_per_mille = dice.roll(0, 200);
        let mut sim = Sim::network(config, nodes, 8, |_| ExactDedup::default());
        sim.run_for(2_000);
        let messages = dice.roll(10, 60);
        talk(&mut sim, &mut dice, messages, |_| true, nodes);
        if !sim.run_until(5_000, 60 * MINUTE_MS, |sim| sim.totals().missed == 0) {
            failed("a message is lost", seed, &sim.totals());
        }
        assert_eq!(sim.totals().again, 0, "seed {seed}");
    }
}
