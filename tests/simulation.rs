//! The gossip engine, in networks of many nodes in virtual time.
//!
//! What the repair that exists can mend: whatever was lost on the way, as long as some node that has it can be reached and
//! the envelope hasn't expired; frames lost one by one, partitions, crashes, full queues. What it can't mend: an envelope whose
//! only holders crashed before their store was durable (its author acknowledges nothing before that, so only relayed
//! copies go this way); an envelope that expired while the network was split (the archive of its room still has it, for
//! members who ask); and an envelope made with a life shorter than seven days is not in the recent part that is compared every
//! minute, so that it waits for the next connection or the daily comparison.
//!
//! A failing simulation prints its seed; `SEED=n` runs that one.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeSet, VecDeque};

use rumormill::api::{Dedup, MsgId, PeerAddr, Seen};
use rumormill::proto::sim::{
    AlwaysMaybe, Behaviour, Churn, ExactDedup, START_UNIX_MS, Sim, SimConfig, Totals, envelope,
};
use rumormill::proto::wire::{ENVELOPE_LIFE_HOURS, ENVELOPE_WORK_OFFSET, HOUR_MS, Kind};
use rumormill::proto::{CLOCK_TOLERANCE_MS, EngineConfig, EngineEvent, Opinion, REDIAL_AFTER_MS, Scope};

const MINUTE_MS: u64 = 60_000;

/// The seed of a test: `SEED` of the environment, so that a failure can be run again, else `default`. What is printed
/// here is shown when the test fails.
#[allow(clippy::print_stderr, reason = "how a failure is run again")]
fn seed_from_env(default: u64) -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default);
    eprintln!("run it again with SEED={seed}");
    seed
}

fn exact(_node: usize) -> ExactDedup {
    ExactDedup::default()
}

fn settled<D: Dedup + 'static>(config: SimConfig, nodes: usize, dedup: impl Fn(usize) -> D + 'static) -> Sim<D> {
    let mut sim = Sim::network(config, nodes, 8, dedup);
    sim.run_for(3_000);
    sim
}

fn flood(seed: u64) -> Totals {
    let mut sim = settled(SimConfig { seed, ..SimConfig::default() }, 1_000, exact);
    for n in 0..100 {
        sim.publish(n * 7 % 1_000, 1);
        sim.run_for(20);
    }
    sim.run_for(3_000);
    sim.totals()
}

#[test]
fn every_message_reaches_every_node_live_and_equal_seeds_give_equal_totals() {
    let seed = seed_from_env(1);
    let totals = flood(seed);
    assert_eq!((totals.missed, totals.delivered, totals.synced, totals.again), (0, 99_900, 0, 0));
    assert!(totals.time_to_all.max < 1_000, "{:?}", totals.time_to_all);
    assert_eq!(flood(seed), totals);
}

#[test]
fn lost_frames_and_a_partition_are_mended() {
    let config = SimConfig { seed: seed_from_env(2), loss_per_mille: 50, ..SimConfig::default() };
    let mut sim = settled(config, 1_000, exact);
    sim.partition(|node| u8::from(node < 500));
    for n in 0..100 {
        sim.publish(n * 37 % 1_000, 1);
        sim.run_for(200);
    }
    assert!(sim.totals().missed >= 100 * 500, "the partition holds");
    sim.heal();
    assert!(sim.run_until(1_000, 15 * MINUTE_MS, |sim| sim.totals().missed == 0), "{:#?}", sim.totals());
    let totals = sim.totals();
    assert!(totals.synced > 0 && totals.again == 0, "{totals:#?}");
}

#[test]
fn a_partition_that_outlives_its_links_is_mended_on_reconnection() {
    let mut sim = settled(SimConfig { seed: seed_from_env(3), ..SimConfig::default() }, 60, exact);
    sim.partition(|node| u8::from(node < 30));
    for n in 0..50 {
        sim.publish(n, 1);
        sim.run_for(60 * MINUTE_MS / 50);
    }
    sim.heal();
    assert!(sim.run_until(1_000, 4 * MINUTE_MS, |sim| sim.totals().missed == 0), "{:#?}", sim.totals());
}

#[test]
fn what_comes_by_repair_goes_on_from_node_to_node_within_seconds() {
    const NODES: usize = 8;
    let mut sim = Sim::new(SimConfig { seed: seed_from_env(22), ..SimConfig::default() }, exact);
    let mut before = Vec::new();
    for _ in 0..NODES {
        before = vec![Sim::<ExactDedup>::addr_of(sim.add(before))];
    }
    (0..NODES).for_each(|node| sim.start(node));
    sim.run_for(10_000);
    sim.partition(|node| u8::from(node == 0));
    let id = sim.publish(0, 1);
    sim.run_for(5 * MINUTE_MS);
    sim.heal();
    assert!(sim.run_until(100, 4 * MINUTE_MS, |sim| sim.has(1, &id)), "the link comes back");
    // Only the next of the chain is linked to each.
    assert!(sim.run_until(100, 10_000, |sim| (0..NODES).all(|node| sim.has(node, &id))), "{:#?}", sim.totals());
    assert_eq!(sim.totals().synced, NODES as u64 - 1, "none of it was flooded");
}

#[test]
fn frames_twice_and_out_of_order_lose_nothing() {
    let config =
        SimConfig { seed: seed_from_env(4), duplicate_per_mille: 200, reorder_per_mille: 200, ..SimConfig::default() };
    let mut sim = settled(config, 100, exact);
    for n in 0..50 {
        sim.publish(n, 1);
        sim.run_for(50);
    }
    assert!(sim.run_until(1_000, 10 * MINUTE_MS, |sim| sim.totals().missed == 0), "{:#?}", sim.totals());
    assert_eq!(sim.totals().again, 0);
}

#[test]
fn crashed_nodes_come_back_and_lack_nothing() {
    let mut sim = settled(SimConfig { seed: seed_from_env(5), ..SimConfig::default() }, 100, exact);
    for n in 0..60 {
        sim.publish(n, 1);
        // In the middle of the flood: some have it and aren't durable yet, some haven't.
        sim.run_for(60);
        sim.crash(40 + n);
        sim.run_for(60);
        if n >= 10 {
            sim.start(40 + n - 10);
        }
    }
    (90..100).for_each(|node| sim.start(node));
    assert!(sim.run_until(1_000, 10 * MINUTE_MS, |sim| sim.totals().missed == 0), "{:#?}", sim.totals());
    assert_eq!(sim.totals().again, 0, "nothing is taken as new that was durable");
}

#[test]
fn silent_droppers_are_flooded_around() {
    let config = SimConfig { seed: seed_from_env(6), loss_per_mille: 20, ..SimConfig::default() };
    let mut sim = settled(config, 300, exact);
    (0..300).filter(|node| node % 5 < 2).for_each(|node| sim.behave(node, Behaviour::SilentDropper));
    for n in 0..50 {
        sim.publish(n * 5 + 4, 1);
        sim.run_for(50);
    }
    sim.run_for(2_000);
    let live = sim.totals();
    assert!(live.missed * 1_000 <= 5 * 50 * 300, "live at least 99.5 %: {live:#?}");
    assert!(sim.run_until(1_000, 10 * MINUTE_MS, |sim| sim.totals().missed == 0), "{:#?}", sim.totals());
}

#[test]
fn announcers_that_serve_nothing_are_flooded_around() {
    let mut sim = settled(SimConfig { seed: seed_from_env(16), ..SimConfig::default() }, 100, exact);
    (0..100).filter(|node| node % 5 == 0).for_each(|node| sim.behave(node, Behaviour::Announcer));
    for n in 0..20 {
        // Also those that keep others' messages to themselves say their own.
        sim.publish(n, 1);
        sim.run_for(50);
    }
    sim.run_for(2_000);
    let totals = sim.totals();
    assert_eq!(totals.missed, 0, "{totals:#?}");
    // An honest node relays to all but the link it has it from; of the others come only their own.
    let relayed = totals.full_copies().messages;
    let links: u64 = (0..100).filter(|node| node % 5 != 0).map(|node| sim.links(node).len() as u64).sum();
    assert!(relayed < 20 * links, "{relayed} of {links} links");
}

#[test]
fn what_is_sent_is_counted_by_kind() {
    let mut sim = settled(SimConfig { seed: seed_from_env(17), ..SimConfig::default() }, 20, exact);
    for n in 0..10 {
        sim.publish(n, 1);
        sim.run_for(50);
    }
    sim.run_for(MINUTE_MS * 3);
    let totals = sim.totals();
    assert_eq!(
        totals.full_copies().messages,
        totals.counter("relayed") + (0..10).map(|node| sim.links(node).len() as u64).sum::<u64>()
    );
    assert_eq!(totals.full_copies().bytes, totals.full_copies().messages * 515);
    assert_eq!(totals.announcements().messages, 0, "a flood announces nothing");
    let parts = [totals.full_copies(), totals.announcements(), totals.repair(), totals.upkeep()];
    assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), totals.bytes);
    assert!(parts[2].messages > 0 && totals.sent(&[Kind::Ping]).messages > 0, "{totals:#?}");
}

#[test]
fn nodes_that_come_and_go_lack_nothing_in_the_end() {
    let mut sim = settled(SimConfig { seed: seed_from_env(18), ..SimConfig::default() }, 100, exact);
    sim.churn(Some(Churn { per_mille_per_minute: 500, down: (1_000, 20_000) }));
    let mut said = 0;
    for n in 0..240 {
        if sim.engine(n % 100).is_some() {
            sim.publish(n % 100, 1);
            said += 1;
        }
        sim.run_for(250);
    }
    sim.churn(None);
    let crashes = sim.totals().crashes;
    assert!((35..=65).contains(&crashes), "{crashes} in a minute, of 50 to be expected");
    sim.run_for(20_000);
    assert!((0..100).all(|node| sim.engine(node).is_some()), "everyone is back");
    assert!(sim.run_until(1_000, 10 * MINUTE_MS, |sim| sim.totals().missed == 0), "{:#?}", sim.totals());
    assert_eq!((sim.totals().published, sim.totals().again), (said, 0));
}

#[test]
fn a_dedup_of_nothing_but_false_positives_loses_nothing() {
    let mut sim = settled(SimConfig { seed: seed_from_env(7), ..SimConfig::default() }, 100, |_| AlwaysMaybe);
    for n in 0..50 {
        sim.publish(n, 1);
        sim.run_for(20);
    }
    sim.run_for(3_000);
    let totals = sim.totals();
    assert_eq!((totals.missed, totals.again, totals.synced), (0, 0, 0), "{totals:#?}");
    assert!(totals.counter("asked") > 0);
}

/// A Bloom filter of one generation that is far too small: two bits an id at first, then full.
#[derive(Clone, Debug, Default)]
struct TinyBloom([u64; 4]);

impl TinyBloom {
    fn bits(id: &MsgId) -> [usize; 2] {
        [usize::from(id.0[0]), usize::from(id.0[1])]
    }
}

impl Dedup for TinyBloom {
    fn check_and_insert(&mut self, id: &MsgId, _now: u64) -> Seen {
        let seen = self.check(id);
        Self::bits(id).into_iter().for_each(|bit| self.0[bit / 64] |= 1 << (bit % 64));
        seen
    }

    fn check(&self, id: &MsgId) -> Seen {
        let all = Self::bits(id).into_iter().all(|bit| self.0[bit / 64] >> (bit % 64) & 1 == 1);
        if all { Seen::Maybe } else { Seen::Fresh }
    }
}

#[test]
fn a_bloom_filter_filled_to_ten_times_its_size_loses_nothing() {
    // 256 bits hold some 25 ids at a false-positive rate of 3 %.
    let mut sim = settled(SimConfig { seed: seed_from_env(8), ..SimConfig::default() }, 50, |_| TinyBloom::default());
    for n in 0..300 {
        sim.publish(n % 50, 1);
        sim.run_for(20);
    }
    sim.run_for(3_000);
    let totals = sim.totals();
    assert_eq!((totals.missed, totals.again, totals.synced), (0, 0, 0), "{totals:#?}");
    assert!(totals.counter("asked") > totals.counter("asked_known"), "there were false positives");
}

#[test]
fn replayed_traffic_is_neither_flooded_nor_shown_again() {
    let mut sim = settled(SimConfig { seed: seed_from_env(9), ..SimConfig::default() }, 50, exact);
    let hour = u32::try_from(START_UNIX_MS / HOUR_MS).unwrap();
    // Seven days' worth: one for each hour that an envelope may still live, and one for each of a week ago.
    let live: Vec<_> = (1..=ENVELOPE_LIFE_HOURS).map(|n| envelope(hour + n, 1, n.into(), 512).into_bytes()).collect();
    let dead: Vec<_> = (1..=ENVELOPE_LIFE_HOURS).map(|n| envelope(hour - n, 1, n.into(), 512).into_bytes()).collect();
    for bytes in &live {
        sim.publish_bytes(0, bytes.clone());
    }
    sim.run_for(3_000);
    let before = sim.totals();
    assert_eq!(before.missed, 0);
    for _ in 0..10 {
        for bytes in live.iter().chain(&dead) {
            sim.replay(0, bytes);
        }
        sim.run_for(1_000);
    }
    let after = sim.totals();
    assert_eq!((after.delivered, after.again), (before.delivered, before.again));
    assert_eq!(after.counter("relayed"), before.counter("relayed"));
    assert_eq!(after.counter("accepted"), before.counter("accepted"));
    assert!(after.counter("expired") >= 10 * u64::from(ENVELOPE_LIFE_HOURS));
}

#[test]
fn a_mutated_copy_does_not_suppress_the_original() {
    let mut sim = settled(SimConfig { seed: seed_from_env(10), ..SimConfig::default() }, 100, exact);
    let hour = u32::try_from(START_UNIX_MS / HOUR_MS).unwrap();
    let good = envelope(hour + 100, 1, 1, 512).into_bytes();
    for at in [2, 6, 30, ENVELOPE_WORK_OFFSET, 70, 511] {
        let mut mutated = good.to_vec();
        mutated[at] ^= 1;
        sim.replay(3, &mutated.into());
    }
    sim.run_for(2_000);
    let id = sim.publish_bytes(70, good);
    sim.run_for(2_000);
    assert!((0..100).all(|node| sim.has(node, &id)));
}

#[test]
fn wrong_clocks_lose_nothing_once_corrected() {
    for off_hours in [1_i64, -1, 24, -24] {
        let mut sim = settled(SimConfig { seed: seed_from_env(11), ..SimConfig::default() }, 40, exact);
        let off = off_hours * i64::try_from(HOUR_MS).unwrap();
        for node in 0..5 {
            sim.clock(node, off);
        }
        for n in 0..40 {
            sim.publish(n, 1);
            sim.run_for(500);
            // It jumps about.
            sim.clock(7, if n % 2 == 0 { off } else { -off });
        }
        sim.clock(7, 0);
        (0..5).for_each(|node| sim.clock(node, 0));
        // What a clock ahead by a day stamped is from the future to the others for a day; nothing of it is lost.
        let limit = if off_hours == 24 { 26 * 60 * MINUTE_MS } else { 30 * MINUTE_MS };
        let done = sim.run_until(10_000, limit, |sim| sim.totals().missed == 0);
        assert!(done, "off by {off_hours} h: {:#?}", sim.totals());
    }
}

/// What the clock of a node is off by, in hours: of each ten nodes one is ahead and one behind, each by another amount.
fn hours_off(node: usize) -> i64 {
    let node = i64::try_from(node).unwrap();
    match node % 10 {
        0 => 3 + node * 11 % 23,
        5 => -3 - node * 11 % 67,
        _ => 0,
    }
}

#[test]
fn clocks_hours_and_days_off_jumping_and_lied_about_lose_nothing_and_remove_nothing_early() {
    let nodes = 40;
    let config = SimConfig {
        seed: seed_from_env(19),
        records: true,
        housekeeping: Some(10 * MINUTE_MS),
        ..SimConfig::default()
    };
    let mut sim = settled(config, nodes, exact);
    (0..nodes).for_each(|node| sim.join(node, 1, true));
    let hour = u32::try_from(START_UNIX_MS / HOUR_MS).unwrap();
    // What nobody can read, and what expires soon: if a wrong clock removed it, nothing would bring it back.
    let soon: Vec<MsgId> = (0..10)
        .map(|n| sim.publish_bytes(n * 3, envelope(hour + 4 + n as u32 % 3, 9, n as u64, 512).into_bytes()))
        .collect();
    sim.run_for(30 * MINUTE_MS);
    assert_eq!(sim.totals().missed, 0);
    sim.start_counting();

    // Of each ten nodes two have clocks that go wrong by hours or days; the clock of another one jumps about; and one, whose
    // clock is right, signs lies.
    let ms = |hours: i64| hours * i64::try_from(HOUR_MS).unwrap();
    for n in 0..60 {
        for node in 0..nodes {
            match node % 10 {
                2 => sim.clock(node, ms([29, -31, 0, 5, -3][n / 2 % 5])),
                3 => sim.lie(node, ms(if n % 2 == 0 { 40 } else { -40 })),
                _ if n == 0 => sim.clock(node, ms(hours_off(node))),
                _ => {}
            }
        }
        sim.publish(n * 7 % nodes, 1);
        sim.run_for(2 * MINUTE_MS);
    }
    let mut told = 0;
    for node in 0..nodes {
        let peers = sim.links(node);
        let right = peers.iter().filter(|(_, peer)| !matches!(peer % 10, 0 | 2 | 3 | 5)).count();
        // Most of its peers say the right time: so it is told by how much it is wrong, or that it is right.
        if right * 2 > peers.len() && node % 10 != 2 {
            let said = match sim.opinion(node) {
                Opinion::Right => 0,
                Opinion::Wrong { ahead_ms, .. } => ahead_ms,
                Opinion::Unknown => panic!("node {node} hears nothing"),
            };
            let off = hours_off(node);
            assert!(said.abs_diff(ms(off)) <= CLOCK_TOLERANCE_MS, "node {node}: {off} h off, told {said} ms");
            told += usize::from(off != 0);
        }
        assert!(soon.iter().all(|id| sim.on_window(node, id)), "node {node} has removed what is still to be had");
    }
    assert!(told >= 4, "{told} of eight");
    let totals = sim.totals();
    assert_eq!((totals.pruned, totals.pruned_early), (0, 0));

    // Set right, everything comes to everyone: what was stamped ahead once its time has come. Then what has expired goes.
    for node in 0..nodes {
        sim.clock(node, 0);
        sim.lie(node, 0);
    }
    assert!(sim.run_until(10 * MINUTE_MS, 40 * HOUR_MS, |sim| sim.missed() == 0), "{:#?}", sim.totals());
    sim.run_for(HOUR_MS);
    let totals = sim.totals();
    assert_eq!((totals.pruned, totals.pruned_early), ((nodes * soon.len()) as u64, 0));
    assert!((0..nodes).all(|node| sim.opinion(node) == Opinion::Right));
}

#[test]
fn a_wrong_clock_is_confirmed_by_no_fewer_than_half_of_the_peers() {
    // Node 0 is ahead by a day and has `liars` peers who say that it is right, and three honest ones.
    for liars in 0..=3 {
        let config = SimConfig {
            seed: seed_from_env(20),
            records: true,
            housekeeping: Some(10 * MINUTE_MS),
            ..SimConfig::default()
        };
        let mut sim: Sim<ExactDedup> = Sim::new(config, exact);
        for node in 0..4 + liars {
            sim.add(if node == 0 { vec![] } else { vec![Sim::<ExactDedup>::addr_of(0)] });
        }
        (0..4 + liars).for_each(|node| sim.start(node));
        sim.run_for(3_000);
        let hour = u32::try_from(START_UNIX_MS / HOUR_MS).unwrap();
        let id = sim.publish_bytes(1, envelope(hour + 5, 9, 1, 512).into_bytes());
        sim.run_for(3_000);
        let day = i64::try_from(24 * HOUR_MS).unwrap();
        sim.clock(0, day);
        (4..4 + liars).for_each(|node| sim.lie(node, day));
        sim.run_for(HOUR_MS);
        let kept = sim.on_window(0, &id);
        assert_eq!(kept, liars < 3, "{liars} liars, three honest peers: {:?}", sim.opinion(0));
        assert!((1..4 + liars).all(|node| sim.on_window(node, &id)), "nobody else removes it");
        assert_eq!(sim.totals().pruned_early, u64::from(!kept));
    }
}

#[test]
fn a_node_that_knows_one_peer_is_soon_known_to_all() {
    for lan in [false, true] {
        let config = SimConfig {
            seed: seed_from_env(12),
            records: true,
            engine: EngineConfig { lan, ..EngineConfig::default() },
            ..SimConfig::default()
        };
        let mut sim: Sim<ExactDedup> = Sim::new(config, exact);
        for node in 0..8 {
            let peers = if node == 0 { vec![] } else { vec![Sim::<ExactDedup>::addr_of(node - 1)] };
            sim.add(peers);
        }
        for node in 0..8 {
            sim.start(node);
            sim.run_for(1_000);
        }
        let all = sim.run_until(100, 10_000, |sim| (0..8).all(|node| sim.links(node).len() == 7));
        let links: Vec<_> = (0..8).map(|node| sim.links(node).len()).collect();
        assert!(all, "lan {lan}: {links:?}");
        sim.run_for(10 * MINUTE_MS);
        for node in 0..8 {
            let peers: BTreeSet<_> = sim.links(node).into_iter().map(|(_, peer)| peer).collect();
            assert_eq!(peers.len(), sim.links(node).len(), "one link to each peer");
        }
        let good = sim.engine(7).unwrap().addresses();
        assert!(good.len() >= 5, "{good:?}");
    }
}

#[test]
fn many_nodes_find_eight_outgoing_links_each_from_one_address() {
    let config = SimConfig { seed: seed_from_env(13), records: true, ..SimConfig::default() };
    let mut sim: Sim<ExactDedup> = Sim::new(config, exact);
    for node in 0..100 {
        let peers = if node == 0 { vec![] } else { vec![Sim::<ExactDedup>::addr_of(node / 10 * 5)] };
        sim.add(peers);
        sim.start(node);
        sim.run_for(200);
    }
    sim.run_for(20 * MINUTE_MS);
    let mut reached = BTreeSet::from([0]);
    let mut queue = VecDeque::from([0]);
    while let Some(node) = queue.pop_front() {
        for (_, peer) in sim.links(node) {
            if reached.insert(peer) {
                queue.push_back(peer);
            }
        }
    }
    assert_eq!(reached.len(), 100, "one network");
    let fewest = (0..100).map(|node| sim.links(node).len()).min();
    assert!(fewest >= Some(6), "{fewest:?}");
}

#[test]
fn records_that_name_a_victim_cost_it_one_dial_in_ten_minutes() {
    let config = SimConfig { seed: seed_from_env(14), records: true, ..SimConfig::default() };
    let mut sim: Sim<ExactDedup> = Sim::network(config, 10, 4, exact);
    sim.run_for(5_000);
    let victim: PeerAddr = "tcp:9.9.9.9:4000".parse().unwrap();
    let private: PeerAddr = "tcp:192.168.1.1:4000".parse().unwrap();
    let told = sim.flood_records(0, 100_000, &[victim.clone(), private.clone()]);
    assert_eq!(told, 100_000);
    sim.run_for(60 * MINUTE_MS);
    let mut dials = 0;
    for node in 0..10 {
        let times: Vec<_> = sim.dials(node).iter().filter(|(_, addr)| *addr == victim).map(|(at, _)| *at).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= REDIAL_AFTER_MS), "{times:?}");
        assert!(sim.dials(node).iter().all(|(_, addr)| *addr != private), "never a private address");
        assert!(node == 0 || times.is_empty(), "passed on to node {node}");
        dials += times.len();
    }
    assert!((1..=7).contains(&dials), "{dials}");
}

#[test]
fn a_newcomer_gets_a_rooms_history_from_one_member() {
    let mut sim: Sim<ExactDedup> = Sim::new(SimConfig { seed: seed_from_env(15), ..SimConfig::default() }, exact);
    let addr = Sim::<ExactDedup>::addr_of;
    sim.add(vec![]);
    sim.add(vec![addr(0)]);
    sim.add(vec![addr(0), addr(1)]);
    (0..3).for_each(|node| sim.start(node));
    sim.run_for(2_000);
    let hour = u32::try_from(START_UNIX_MS / HOUR_MS).unwrap();
    for (room, serve) in [(5, true), (6, false)] {
        sim.join(0, room, serve);
        for n in 0..3_000 {
            // Long expired.
            sim.plant(0, &envelope(hour - 1_000 - n, room, n.into(), 512).into_bytes(), false);
        }
    }
    sim.join(2, 5, true);
    sim.join(2, 6, true);
    sim.sync(2, 77, Scope::Archive(Sim::<ExactDedup>::tag(5)), None);
    sim.run_for(60_000);
    assert_eq!(sim.archived(2), 3_000);
    assert_eq!(sim.totals().again, 0);
    let ended = |sim: &Sim<ExactDedup>, of: u64| {
        let ended = sim.events(2).iter().filter_map(|event| match event {
            EngineEvent::SyncEnded { token, answered, failed, received, missing } if *token == of => {
                Some((*answered, *failed, *received, *missing))
            }
            _ => None,
        });
        ended.collect::<Vec<_>>()
    };
    // Node 1 isn't a member.
    assert_eq!(ended(&sim, 77), [(1, 1, 3_000, 0)]);
    sim.sync(2, 78, Scope::Archive(Sim::<ExactDedup>::tag(6)), None);
    sim.run_for(60_000);
    assert_eq!(ended(&sim, 78), [(0, 2, 0, 0)], "node 0 doesn't serve it");
    assert_eq!(sim.totals().counter("relayed"), 0, "what was asked for is never flooded");
}
