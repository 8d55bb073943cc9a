//! kill -9 in the middle of sending: nothing acknowledged is lost, nothing is shown twice.
#![cfg(all(
    feature = "transport-tcp",
    feature = "dedup-bloom",
    feature = "cipher-chacha",
    feature = "history-redb",
    feature = "luau"
))]
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeSet;

use support::{Node, TestConfig, free_ports, secret};

/// How often the node is killed.
const KILLS: usize = 50;

/// How many lines it is given each time: more than it gets to send.
const LINES: usize = 24;

/// The most that `show history` shows.
const SHOWN_MAX: usize = 1_000;

#[test]
fn fifty_kills_lose_nothing_and_repeat_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [alice_port, bob_port] = free_ports::<2>();
    let chats = || vec![("study", secret(1))];
    let lan = "[network]\nlan = true";
    let config = |name, port, peers| {
        TestConfig { name, port, peers, chats: chats(), extra: lan.to_owned() }.write(folder.path())
    };
    let alice_config = config("alice", alice_port, vec![bob_port]);
    let bob_config = config("bob", bob_port, vec![]);
    let mut bob = Node::start(&bob_config, &folder.path().join("bob"));
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();

    for kill in 0..KILLS {
        let mut alice = Node::start(&alice_config, &folder.path().join("alice"));
        for line in 0..LINES {
            alice.line(&format!("{kill}/{line}"));
        }
        // Killed after a number of acknowledgements that differs each time, with more under way.
        for _ in 0..=(kill * 7) % 20 {
            alice.expect("sent", |event| event["event"] == "sent");
        }
        alice.kill();
        acknowledged.extend(
            alice
                .seen
                .iter()
                .filter(|event| event["event"] == "sent")
                .map(|event| event["id"].as_str().unwrap().to_owned()),
        );
    }

    let ids = |node: &mut Node| -> Vec<String> {
        node.show_history(SHOWN_MAX).iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    };
    let mut alice = Node::start(&alice_config, &folder.path().join("alice"));
    let shown = ids(&mut alice);
    assert!(shown.len() < SHOWN_MAX, "the history is longer than what is shown of it");
    let unique: BTreeSet<String> = shown.iter().cloned().collect();
    assert_eq!(unique.len(), shown.len(), "a message stands twice in the history");
    let lost: Vec<_> = acknowledged.difference(&unique).collect();
    assert!(lost.is_empty(), "{} acknowledged messages lost, the first {:?}", lost.len(), lost[0]);

    // Bob has them all too, whether they were flooded before the kill or reconciled after it, and saw none twice.
    for id in &acknowledged {
        bob.expect_ever(id, |event| event["event"] == "message" && event["id"] == id.as_str());
    }
    let mut live: Vec<_> = bob
        .seen
        .iter()
        .filter(|event| event["event"] == "message")
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    let before = live.len();
    live.sort_unstable();
    live.dedup();
    assert_eq!(live.len(), before, "a message was shown twice");
    assert!(
        acknowledged.len() >= KILLS,
        "only {} messages were acknowledged: the test tests nothing",
        acknowledged.len()
    );
}
