//! Whole nodes whose clocks are wrong, jump, or are lied about: nothing is lost, nothing is removed by a clock that nobody
//! confirms, and the user is told by how much the peers find it wrong.

#![cfg(all(feature = "transport-memory", feature = "history-memory"))]
#![allow(clippy::unwrap_used)]

mod node_support;

use std::time::Duration;

use node_support::{TestNode, World, pass};
use rumormill::api::MsgId;
use rumormill::node::{Event, NodeApi, NoticeLevel};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const HOUR_MS: i64 = 3_600_000;
/// Only the peers that the config names.
const CLOSED: &str = "[network]\noutgoing = 0";

/// A node in the middle, and three around it that are linked to it alone. All are members.
async fn star(world: &World) -> (TestNode, Vec<TestNode>) {
    let mut middle = world.node("middle").chat("study", 1).extra(CLOSED).start().await;
    let mut around = Vec::new();
    for name in ["alice", "bob", "charlie"] {
        let mut node = world.node(name).peers(&["middle"]).chat("study", 1).extra(CLOSED).start().await;
        node.expect_peers(1).await;
        around.push(node);
    }
    middle.expect_peers(3).await;
    (middle, around)
}

/// Waits until what is new is everywhere, however many reconciliations that takes.
async fn settle(nodes: &[&TestNode], ids: &[MsgId]) {
    for _ in 0..40 {
        pass(HOUR).await;
        let mut behind = 0;
        for node in nodes {
            behind += usize::from(node.ids("study").await.len() < ids.len());
        }
        if behind == 0 {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_off_from_some_time_on_loses_and_removes_nothing_and_the_offset_is_told() {
    for (hours, said) in [(1, "1 h ahead of"), (-1, "1 h behind"), (26, "1 d 2 h ahead of"), (-50, "2 d 2 h behind")] {
        let world = World::new();
        let (mut middle, around) = star(&world).await;
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(around[n % 3].say("study", &format!("before {n}")).await);
        }
        // Records are renewed meanwhile: so it is known how old they are.
        pass(12 * MINUTE).await;
        let held = middle.store.window_ids();
        assert_eq!(held.len(), 5);

        middle.set_clock_ahead_ms(hours * HOUR_MS);
        for n in 0..5 {
            ids.push(around[n % 3].say("study", &format!("meanwhile {n}")).await);
            ids.push(middle.say("study", &format!("by the wrong clock {n}")).await);
            pass(10 * MINUTE).await;
        }
        // Told once, by how much, and by how many.
        let told = middle.notices("peers say");
        assert!(
            told.len() == 1 && told[0].contains(&format!("is about {said} what 3 of 3 peers say")),
            "{hours} h: {told:?}"
        );
        let jumped = middle.notices("jumped");
        assert!(jumped.len() == 1 && jumped[0].contains("nothing is removed"), "{hours} h: {jumped:?}");

        // Nothing goes from it for as long as nobody confirms the time.
        pass(30 * HOUR).await;
        let there = middle.store.window_ids();
        assert!(held.iter().all(|id| there.contains(id)), "{hours} h: removed by a wrong clock");
        assert_eq!(middle.notices("peers say").len(), 1, "{hours} h: told once");

        middle.set_clock_ahead_ms(0);
        let all: Vec<&TestNode> = around.iter().chain([&middle]).collect();
        settle(&all, &ids).await;
        let order = middle.ids("study").await;
        for node in all {
            let mut here = node.ids("study").await;
            assert_eq!(here, order, "{hours} h");
            here.sort_unstable();
            ids.sort_unstable();
            assert_eq!(here, ids, "{hours} h: everything is everywhere");
            assert_eq!(node.node.chats()[0].missing, 0);
        }
        assert_eq!(middle.notices("agrees with the peers").len(), 1, "{hours} h");

        // By the right clock, what has expired goes. Once is enough: a week takes its time.
        if hours == 26 {
            pass(9 * 24 * HOUR).await;
            assert!(middle.store.window_ids().is_empty(), "{hours} h");
            assert_eq!(middle.ids("study").await, order, "the archive keeps it");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_about_loses_and_removes_nothing() {
    let world = World::new();
    let (mut middle, around) = star(&world).await;
    let mut ids = Vec::new();
    for (n, hours) in [5_i64, -3, 200, 0, -100, 26, -1, 0].into_iter().enumerate() {
        ids.push(around[n % 3].say("study", &format!("before jump {n}")).await);
        pass(MINUTE).await;
        let held = middle.store.window_ids();
        middle.set_clock_ahead_ms(hours * HOUR_MS);
        ids.push(around[(n + 1) % 3].say("study", &format!("after jump {n}")).await);
        pass(25 * MINUTE).await;
        let there = middle.store.window_ids();
        assert!(held.iter().all(|id| there.contains(id)), "jump {n}, to {hours} h: something was removed");
    }
    assert_eq!(middle.notices("jumped").len(), 8);
    let all: Vec<&TestNode> = around.iter().chain([&middle]).collect();
    settle(&all, &ids).await;
    let order = middle.ids("study").await;
    assert_eq!(order.len(), ids.len());
    for node in all {
        assert_eq!(node.ids("study").await, order);
        assert_eq!(node.node.chats()[0].missing, 0);
        assert_eq!(node.counted("equivocation"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn peers_that_are_wrong_or_lie_below_half_change_nothing() {
    let world = World::new();
    let (mut middle, around) = star(&world).await;
    // A node whose clock is wrong signs wrong records, as one that lies would.
    let mut liars = Vec::new();
    for (name, hours) in [("mallory", 40), ("malvina", 40)] {
        let plan = world.node(name).peers(&["middle"]).extra(CLOSED).clock_ahead_ms(hours * HOUR_MS);
        let mut liar = plan.start().await;
        liar.expect_peers(1).await;
        liars.push(liar);
    }
    middle.expect_peers(5).await;
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(around[n % 3].say("study", &n.to_string()).await);
        pass(HOUR).await;
    }
    assert_eq!(middle.notices("clock"), [""; 0], "its own clock is right");
    assert_eq!(middle.store.window_ids().len(), 6);
    for liar in &mut liars {
        let told = liar.notices("peers say");
        assert!(told.is_empty() || told[0].contains("ahead of"), "{told:?}");
        liar.drain();
    }
    // Right to the hour: in its own last hour a message is there, and soon after it isn't.
    pass(7 * 24 * HOUR - 8 * HOUR).await;
    assert_eq!(middle.store.window_ids().len(), 6, "not before its time");
    pass(10 * HOUR).await;
    assert!(middle.store.window_ids().is_empty(), "the liars don't keep it from being removed");
    assert_eq!(middle.ids("study").await.len(), ids.len());
    let warnings = |event: &Event| matches!(event, Event::Notice { level: NoticeLevel::Warning, .. });
    assert_eq!(middle.count(warnings), 0);
}
