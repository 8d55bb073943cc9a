//! A store that fails beneath a running node: nothing is acknowledged that isn't kept, nothing is lost, and nothing is
//! shown twice; relaying goes on meanwhile.

#![cfg(all(feature = "transport-memory", feature = "history-memory"))]
#![allow(clippy::unwrap_used)]

mod node_support;

use std::time::Duration;

use node_support::{TestNode, World, pass};
use rumormill::api::ErrorKind;
use rumormill::node::{Event, NodeApi, NodeError, NoticeLevel};
use rumormill::room::MAX_TEXT_BYTES;

/// Only the peers that the config names.
const CLOSED: &str = "[network]\noutgoing = 0";

/// Alice and Charlie, and Bob as the only way between them. All three are members.
async fn line(world: &World) -> [TestNode; 3] {
    let plan = |name| world.node(name).chat("study", 1).extra(CLOSED);
    let mut bob = plan("bob").start().await;
    let mut alice = plan("alice").peers(&["bob"]).start().await;
    let mut charlie = plan("charlie").peers(&["bob"]).start().await;
    bob.expect_peers(2).await;
    alice.expect_peers(1).await;
    charlie.expect_peers(1).await;
    [alice, bob, charlie]
}

fn notices(node: &mut TestNode, wanted: NoticeLevel) -> usize {
    node.count(|event| matches!(event, Event::Notice { level, .. } if *level == wanted))
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_acknowledges_nothing_relays_on_and_catches_up() {
    for kind in [ErrorKind::Full, ErrorKind::Io] {
        let world = World::new();
        let [mut alice, mut bob, mut charlie] = line(&world).await;
        bob.say("study", "before").await;
        bob.store.fail(kind);

        for n in 0..20 {
            alice.say("study", &format!("alice {n}")).await;
            charlie.say("study", &format!("charlie {n}")).await;
        }
        for n in 0..20 {
            assert!(!charlie.expect_text("study", &format!("alice {n}")).await.synced, "relayed live");
            assert!(!alice.expect_text("study", &format!("charlie {n}")).await.synced, "relayed live");
        }
        let refused = bob.try_say("study", "not kept").await.unwrap_err();
        assert!(matches!(&refused, NodeError::Store(why) if why.contains("out of order")), "{refused}");
        pass(Duration::from_secs(60)).await;
        assert_eq!(bob.count(|event| matches!(event, Event::Sent { .. })), 1, "only the one before");
        assert_eq!(bob.shown("not kept") + alice.shown("not kept") + charlie.shown("not kept"), 0);
        assert_eq!(bob.shown("alice 0"), 0, "what isn't kept isn't shown");
        assert!(bob.store.failed() > 2);
        assert_eq!((notices(&mut bob, NoticeLevel::Error), notices(&mut bob, NoticeLevel::Info)), (1, 0));

        bob.store.mend();
        for n in 0..20 {
            bob.expect_text("study", &format!("alice {n}")).await;
            bob.expect_text("study", &format!("charlie {n}")).await;
        }
        pass(Duration::from_secs(600)).await;
        for n in 0..20 {
            assert_eq!((bob.shown(&format!("alice {n}")), bob.shown(&format!("charlie {n}"))), (1, 1));
        }
        assert_eq!((notices(&mut bob, NoticeLevel::Error), notices(&mut bob, NoticeLevel::Info)), (1, 1));

        // What was refused left no trace in the sequence.
        bob.say("study", "after").await;
        assert_eq!(alice.expect_text("study", "after").await.missing, 0);
        charlie.expect_text("study", "after").await;
        pass(Duration::from_secs(10)).await;
        let order = alice.ids("study").await;
        assert_eq!(order.len(), 42);
        for node in [&mut bob, &mut charlie] {
            assert_eq!(node.ids("study").await, order);
            assert_eq!(node.counted("equivocation"), 0);
            assert_eq!(node.node.chats()[0].missing, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whichever_write_fails_nothing_acknowledged_is_lost_and_nothing_is_shown_twice() {
    for nth in 0..12 {
        let world = World::new();
        let [mut alice, mut bob, mut charlie] = line(&world).await;
        bob.store.fail_nth(nth);
        let mut kept = Vec::new();
        for n in 0..6 {
            for node in [&alice, &bob, &charlie] {
                let text = format!("{} {n}", node.node.me().nick);
                match node.try_say("study", &text).await {
                    Ok(_) => kept.push(text),
                    Err(error) => assert!(matches!(error, NodeError::Store(_)), "{error}"),
                }
            }
            pass(Duration::from_secs(7)).await;
        }
        assert_eq!(bob.store.failed(), 1, "write {nth} failed");
        assert!(kept.len() >= 17, "write {nth}: {kept:?}");
        pass(Duration::from_secs(120)).await;
        let order = alice.ids("study").await;
        assert_eq!(order.len(), kept.len(), "write {nth}");
        for node in [&mut alice, &mut bob, &mut charlie] {
            assert_eq!(node.ids("study").await, order, "write {nth}");
            for text in &kept {
                assert_eq!(node.shown(text), 1, "write {nth}: {text:?} at {}", node.node.me().nick);
            }
            assert_eq!(node.node.chats()[0].missing, 0, "write {nth}");
            assert_eq!(node.counted("equivocation"), 0, "write {nth}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_text_in_pieces_over_failing_writes_is_shown_once() {
    for nth in 0..4 {
        let world = World::new();
        let [alice, mut bob, mut charlie] = line(&world).await;
        world.hub.set_delay(Duration::from_millis(5));
        bob.store.fail_nth(nth);
        let text = "long ".repeat(40_000);
        alice.say("study", &text).await;
        alice.say("study", "after it").await;
        charlie.expect_text("study", &text).await;
        bob.expect_text("study", &text).await;
        bob.expect_text("study", "after it").await;
        pass(Duration::from_secs(120)).await;
        assert_eq!((bob.shown(&text), bob.shown("after it")), (1, 1), "write {nth}");
        assert_eq!(bob.texts("study").await, [text, "after it".to_owned()], "write {nth}");
        assert_eq!(bob.node.chats()[0].missing, 0, "write {nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_to_wait_for_the_store_comes_back_by_reconciliation() {
    let world = World::new();
    let [alice, mut bob, mut charlie] = line(&world).await;
    bob.store.fail(ErrorKind::Full);
    let texts: Vec<String> = (0..70).map(|n| format!("{n:03}").repeat(MAX_TEXT_BYTES / 3)).collect();
    for text in &texts {
        alice.say("study", text).await;
        // So that no link's rate is what decides here.
        pass(Duration::from_secs(1)).await;
    }
    charlie.expect_text("study", &texts[69]).await;
    assert!(bob.counted("store_overflow") > 0, "{:?}", bob.node.counters());
    bob.store.mend();
    for text in &texts {
        bob.expect_text("study", text).await;
    }
    pass(Duration::from_secs(120)).await;
    for text in &texts {
        assert_eq!(bob.shown(text), 1);
    }
    assert_eq!(bob.node.chats()[0].missing, 0);
    assert_eq!(bob.ids("study").await, alice.ids("study").await);
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_failing_store_stops_all_the_same() {
    let world = World::new();
    let [alice, bob, mut charlie] = line(&world).await;
    let store = bob.store.clone();
    bob.store.fail(ErrorKind::Io);
    alice.say("study", "meanwhile").await;
    charlie.expect_text("study", "meanwhile").await;
    assert!(bob.try_say("study", "refused").await.is_err());
    bob.stop().await;

    // What it couldn't keep, the peers have.
    store.mend();
    let mut bob = world.node("bob").chat("study", 1).extra(CLOSED).store(&store).start().await;
    bob.expect_text("study", "meanwhile").await;
    assert_eq!(bob.texts("study").await, ["meanwhile"]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_message_is_found_when_the_history_is_loaded_and_fetched_again() {
    let world = World::new();
    let [alice, mut bob, _charlie] = line(&world).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(alice.say("study", &n.to_string()).await);
    }
    bob.expect_text("study", "4").await;
    bob.store.rot(ids[1]);
    bob.store.rot(ids[3]);
    assert_eq!(bob.texts("study").await, ["0", "2", "4"], "nothing wrong is shown");
    let report = bob.load("study").await;
    assert_eq!((report.new, report.missing), (2, 0), "{report:?}");
    let mut forgotten = bob.store.forgotten();
    forgotten.sort_by_key(|id| ids.iter().position(|other| other == id));
    assert_eq!(forgotten, [ids[1], ids[3]]);
    assert_eq!(bob.ids("study").await, ids);
    assert_eq!(bob.counted("damaged"), 2);
    assert_eq!(bob.counted("equivocation"), 0);
    pass(Duration::from_secs(120)).await;
    for n in 0..5 {
        assert_eq!(bob.shown(&n.to_string()), 1, "what was damaged isn't shown again");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_damaged_and_comes_back_after_a_restart_is_restored_in_its_place_and_no_news() {
    for found_before in [true, false] {
        let world = World::new();
        let [alice, mut bob, charlie] = line(&world).await;
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(alice.say("study", &n.to_string()).await);
        }
        bob.expect_text("study", "4").await;
        // Nobody is there to give it back yet.
        let hers = alice.store.clone();
        for node in [alice, charlie] {
            node.stop().await;
        }
        bob.expect_peers(0).await;
        let store = bob.store.clone();
        store.rot(ids[1]);
        store.rot(ids[3]);
        if found_before {
            assert_eq!(bob.load("study").await.missing, 2);
            bob.expect_gap("study", 2).await;
        }
        bob.stop().await;

        // Found before the restart, or by the load after it: either way it was shown once, in the node's earlier life.
        let mut bob = world.node("bob").chat("study", 1).extra(CLOSED).store(&store).start().await;
        if found_before {
            assert_eq!(bob.node.chats()[0].missing, 2, "what was found to be damaged is known to be missing still");
            assert_eq!(bob.texts("study").await, ["0", "2", "4"]);
        }
        let alice = world.node("alice").peers(&["bob"]).chat("study", 1).extra(CLOSED).store(&hers).start().await;
        bob.expect_peers(1).await;
        pass(Duration::from_secs(120)).await;
        let report = bob.load("study").await;
        assert_eq!(report.missing, 0, "{report:?}");
        assert_eq!(bob.ids("study").await, ids, "each in its place");
        assert_eq!(bob.node.chats()[0].missing, 0);
        pass(Duration::from_secs(120)).await;
        let again = |event: &Event| matches!(event, Event::Message(_));
        assert_eq!(bob.count(again), 0, "found before the restart: {found_before}");
        assert_eq!(bob.counted("equivocation") + alice.counted("equivocation"), 0);

        // A second restart hears nothing of it either.
        bob.stop().await;
        let mut bob = world.node("bob").chat("study", 1).extra(CLOSED).store(&store).start().await;
        bob.expect_peers(1).await;
        pass(Duration::from_secs(120)).await;
        assert_eq!((bob.count(again), bob.node.chats()[0].missing), (0, 0));
        assert_eq!(bob.ids("study").await, ids);
        assert_eq!(store.forgotten().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_when_a_peer_asks_for_it_comes_back_and_reaches_the_peer() {
    let world = World::new();
    let [alice, bob, _charlie] = line(&world).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(alice.say("study", &n.to_string()).await);
    }
    pass(Duration::from_secs(1)).await;
    bob.store.rot(ids[2]);
    // The newcomer asks Bob alone, who finds that he can't serve one of them.
    let mut dora = world.node("dora").peers(&["bob"]).chat("study", 1).extra(CLOSED).start().await;
    dora.expect_text("study", "4").await;
    dora.expect_text("study", "2").await;
    assert_eq!(dora.ids("study").await, ids);
    assert_eq!(bob.ids("study").await, ids);
    assert_eq!(bob.counted("damaged"), 1);
}
