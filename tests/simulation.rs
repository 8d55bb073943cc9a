//! The gossip engine, in networks of many nodes in virtual time.
#![allow(clippy::unwrap_used, missing_docs)]

use rumormill::proto::sim::{ExactDedup, Sim, SimConfig, Totals, seed_from_env};

fn flood(seed: u64) -> Totals {
    let config = SimConfig { seed, ..SimConfig::default() };
    let mut sim = Sim::network(config, 1_000, 8, |_| ExactDedup::default());
    sim.run_for(5_000);
    for n in 0..100 {
        sim.publish(n * 7 % 1_000, 1);
        sim.run_for(20);
    }
    sim.run_for(3_000);
    sim.totals()
}

#[test]
fn every_message_reaches_every_node() {
    let seed = seed_from_env(1);
    let totals = flood(seed);
    println!("{totals:#?}");
    assert_eq!(totals.missed, 0);
    assert_eq!(flood(seed), totals, "equal seeds, equal totals");
}
