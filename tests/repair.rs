//! How much of what was lost anti-entropy brings back, how soon, and at what cost: in virtual time.
//!
//! A failing simulation prints its seed; `SEED=n` runs that one. Of those with droppers `SEEDS=n` runs so many, of `MESSAGES=n`
//! messages each, with `LOSS=n` frames lost of a thousand. `--nocapture` shows the figures.
#![allow(clippy::unwrap_used, missing_docs)]

use rumormill::api::MsgId;
use rumormill::proto::sim::{Behaviour, ExactDedup, Sim, SimConfig};
use rumormill::proto::{Dissemination, EAGER, EngineConfig, RECENT_EVERY_MS};

const MINUTE_MS: u64 = 60_000;
/// Nodes of the network with droppers.
const NODES: usize = 1_000;
const ENVELOPE_BYTES: u64 = 512;

/// The seed of a test: `SEED` of the environment, so that a failure can be run again, else `default`. What is printed
/// here is shown when the test fails.
#[allow(clippy::print_stderr, reason = "how a failure is run again")]
fn seed_from_env(default: u64) -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default);
    eprintln!("run it again with SEED={seed}");
    seed
}

#[allow(clippy::print_stderr, reason = "the figures for benches/RESULTS.md")]
fn figure(text: &str) {
    eprintln!("{text}");
}

/// A number out of the environment, else `default`.
fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

fn exact(_node: usize) -> ExactDedup {
    ExactDedup::default()
}

#[test]
fn two_halves_that_were_apart_get_what_either_missed_within_two_minutes() {
    let (nodes, messages) = (100, 10_000);
    // A node's own messages come fast here, and neither half is to put any off.
    let engine = EngineConfig { novel_bytes_per_s: 64 << 20, novel_burst_bytes: 64 << 20, ..EngineConfig::default() };
    let mut sim = Sim::network(SimConfig { seed: seed_from_env(21), engine, ..SimConfig::default() }, nodes, 8, exact);
    sim.run_for(3_000);
    sim.partition(|node| u8::from(node < nodes / 2));
    // An hour, in the course of which the links between the halves die.
    for n in 0..2 * messages {
        let side = n % 2 * (nodes / 2);
        sim.publish(side + n / 2 % (nodes / 2), 1);
        if n % 50 == 49 {
            sim.run_for(60 * MINUTE_MS / (2 * messages / 50) as u64);
        }
    }
    sim.run_for(5_000);
    let apart = sim.totals();
    assert_eq!(apart.missed, (2 * messages * nodes / 2) as u64, "either half has its own, and nothing of the other");
    sim.heal();
    let healed = sim.now();
    let converged = sim.run_until(1_000, 120_000, |sim| sim.totals().missed == 0);
    let (took, totals) = (sim.now() - healed, sim.totals());
    let missing = apart.missed * ENVELOPE_BYTES;
    let bytes = totals.bytes - apart.bytes;
    figure(&format!(
        "2 x {} nodes, {messages} messages a side: {} lost, converged in {} s virtual, {bytes} bytes for {missing} missing \
         ({:.3} times)",
        nodes / 2,
        totals.missed,
        took / 1_000,
        bytes as f64 / missing as f64
    ));
    assert!(converged, "{totals:#?}");
    assert_eq!(totals.again, 0);
    assert!(bytes <= missing / 5 * 6 + (1 << 20), "{bytes} bytes for {missing}");
}

/// Whether a node of the test below passes nothing on.
const fn drops(node: usize) -> bool {
    node % 5 < 2
}

/// Who lacks what, and what their neighbours have.
fn lacking(sim: &Sim<ExactDedup>, said: &[MsgId]) -> Vec<String> {
    let mut all = Vec::new();
    for (id, node) in said.iter().flat_map(|id| (0..NODES).map(move |node| (id, node))) {
        if sim.has(node, id) {
            continue;
        }
        let links = sim.links(node);
        let those = |dropping: bool| {
            let of = links.iter().filter(|(_, peer)| drops(*peer) == dropping);
            (of.clone().count(), of.filter(|(_, peer)| sim.has(*peer, id)).count())
        };
        let ((droppers, drop_have), (honest, honest_have)) = (those(true), those(false));
        all.push(format!(
            "{node} lacks {}: of its neighbours {droppers} drop, {drop_have} of these have it; {honest} don't, {honest_have} of these have it",
            id.short()
        ));
    }
    all
}

/// Two of five nodes take everything and pass nothing on, and frames are lost. What the flood didn't bring two rounds of
/// comparing do: in each, every node compares once with a peer, and with others where that led to nothing.
#[test]
fn among_forty_per_cent_of_silent_droppers_two_rounds_bring_everything() {
    let (nodes, messages) = (NODES, usize::try_from(from_env("MESSAGES", 10)).unwrap());
    let (first, loss_per_mille) = (seed_from_env(22), from_env("LOSS", 20));
    // Of many seeds all are run, so that what they say together isn't cut off at the first that fails.
    let (mut failed, mut live_of) = (Vec::new(), (0, 0));
    for seed in first..first + from_env("SEEDS", 1) {
        for dissemination in [Dissemination::Flood, Dissemination::Adaptive { eager: EAGER }] {
            let engine = EngineConfig { share_input: true, dissemination, ..EngineConfig::default() };
            let config = SimConfig { seed, loss_per_mille, engine, ..SimConfig::default() };
            let mut sim = Sim::network(config, nodes, 8, exact);
            sim.run_for(3_000);
            (0..nodes).filter(|node| drops(*node)).for_each(|node| sim.behave(node, Behaviour::SilentDropper));
            let mut said = Vec::new();
            for n in 0..messages {
                said.push(sim.publish(n * 15 % nodes + 4, 1));
                sim.run_for(50);
            }
            sim.run_for(2_000);
            let pairs = (nodes * messages) as u64;
            let live = sim.missed();
            // From one comparison of a node to its next it takes a minute, a quarter more or less.
            let mut rounds = Vec::new();
            for _ in 0..2 {
                sim.run_for(RECENT_EVERY_MS * 5 / 4);
                rounds.push(sim.missed());
            }
            let mode = if dissemination == Dissemination::Flood { "flood" } else { "adaptive" };
            figure(&format!(
                "{nodes} nodes, 40 % silent droppers, {loss_per_mille} ‰ loss, {messages} messages, {mode}, seed {seed}: \
                 {live} of {pairs} missed live, {rounds:?} after one and two rounds"
            ));
            // Of a whole network's messages: where the only honest neighbour of who speaks misses one, everyone does.
            (live_of.0, live_of.1) = (live_of.0 + live, live_of.1 + pairs);
            if rounds[1] > 0 {
                failed.push(format!("seed {seed}, {mode}: {:#?}", lacking(&sim, &said)));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let (missed, pairs) = live_of;
    assert!(missed * 1_000 <= 5 * pairs, "live at least 99.5 %: {missed} of {pairs} missed");
}
