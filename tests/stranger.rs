//! History that any stranger restores, as processes: two members talk while a stranger, who can't read them, is online.
//! They leave; a newcomer with an invite reads everything from the stranger alone. Then a message is damaged on the
//! stranger's disk: the next newcomer sees one gap, and has it filled when a member returns.
#![cfg(all(
    feature = "transport-tcp",
    feature = "dedup-bloom",
    feature = "cipher-chacha",
    feature = "history-redb",
    feature = "luau"
))]
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use redb::{ReadableDatabase as _, TableDefinition};
use rumormill::api::MsgId;
use support::{Node, TestConfig, free_ports, secret};

/// How much each member says.
const WORDS: usize = 10;

fn rumor(args: &[&str], input: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rumor"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Changes a byte of an envelope in the database of a node that isn't running.
fn damage(state: &Path, id: &str) {
    let file = state.join("history/history.redb");
    let id: MsgId = id.parse().unwrap();
    let envelope = {
        let database = redb::Database::open(&file).unwrap();
        let envelopes = TableDefinition::<&[u8; 32], &[u8]>::new("envelopes");
        let transaction = database.begin_read().unwrap();
        let table = transaction.open_table(envelopes).unwrap();
        table.get(&id.0).unwrap().expect("the stranger keeps it").value().to_vec()
    };
    let mut bytes = std::fs::read(&file).unwrap();
    let places: Vec<_> = (0..bytes.len() - envelope.len()).filter(|at| bytes[*at..].starts_with(&envelope)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at + 200] ^= 1);
    std::fs::write(&file, bytes).unwrap();
}

fn ids(node: &mut Node) -> Vec<String> {
    node.show_history(100).iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_stranger_restores_a_room_and_a_damaged_message_is_one_gap_until_a_member_returns() {
    let folder = tempfile::tempdir().unwrap();
    let [alice_port, bob_port, stranger_port, carol_port] = free_ports::<4>();
    // Nobody dials anyone but whom they are told to: the stranger is the only way between the others.
    let closed = "[network]\noutgoing = 0";
    let config = |name, port, peers: &[u16], chats| {
        TestConfig { name, port, peers: peers.to_vec(), chats, extra: closed.to_owned() }.write(folder.path())
    };
    let state = |name: &str| folder.path().join("state").join(name);
    let study = || vec![("study", secret(1))];
    let stranger_config = config("stranger", stranger_port, &[], vec![]);
    let alice_config = config("alice", alice_port, &[stranger_port], study());
    let bob_config = config("bob", bob_port, &[stranger_port], study());

    let mut stranger = Node::start(&stranger_config, &state("stranger"));
    let mut alice = Node::start(&alice_config, &state("alice"));
    let mut bob = Node::start(&bob_config, &state("bob"));
    stranger.expect_peers(2);
    alice.expect_peers(1);
    bob.expect_peers(1);
    for n in 0..WORDS {
        alice.say(&format!("alice {n}"));
        bob.expect_text("study", &format!("alice {n}"));
        bob.say(&format!("bob {n}"));
        alice.expect_text("study", &format!("bob {n}"));
    }
    let said = ids(&mut alice);
    assert_eq!(said.len(), 2 * WORDS);
    assert_eq!(ids(&mut bob), said);
    assert!(alice.stop().success());
    assert!(bob.stop().success());

    // A newcomer with an invite, through the stranger alone.
    let invite = rumor(&["room", "invite", "--config", alice_config.to_str().unwrap(), "--chat", "study"], "");
    let joined = rumor(&["room", "join"], &invite);
    let carol_config = |name: &str| -> PathBuf {
        let file = folder.path().join(format!("{name}.toml"));
        let text = format!(
            "version = 1\nname = {name:?}\nlisten = [\"tcp:127.0.0.1:{carol_port}\"]\n\
             peers = [\"tcp:127.0.0.1:{stranger_port}\"]\n{joined}\n{closed}\n"
        );
        std::fs::write(&file, text).unwrap();
        file
    };
    let mut carol = Node::start(&carol_config("carol"), &state("carol"));
    carol.expect_peers(1);
    let end = carol.load_history();
    assert!(end.contains("complete since 20"), "{end}");
    let shown = carol.show_history(100);
    assert!(shown.iter().all(|event| event["missing"] == 0), "{shown:#?}");
    assert_eq!(ids(&mut carol), said, "everything, in the members' order");
    assert!(carol.stop().success());
    stranger.drain();
    assert_eq!(stranger.count(|event| event["event"] == "message"), 0, "the stranger reads nothing");
    assert!(stranger.stop().success());

    // One message is damaged on the stranger's disk.
    let lost = &said[WORDS];
    damage(&state("stranger"), lost);
    let mut stranger = Node::start(&stranger_config, &state("stranger"));
    let mut carla = Node::start(&carol_config("carla"), &state("carla"));
    carla.expect_peers(1);
    let end = carla.load_history();
    assert!(end.contains("1 message still missing"), "{end}");
    carla.expect_ever("the gap", |event| event["event"] == "gap" && event["missing"] == 1);
    let rest: Vec<_> = said.iter().filter(|id| *id != lost).cloned().collect();
    let shown = carla.show_history(100);
    assert!(shown.iter().any(|event| event["missing"] == 1), "the gap stands in its place: {shown:#?}");
    assert_eq!(ids(&mut carla), rest);

    // A member returns, and with them what was lost.
    stranger.expect_peers(1);
    let mut bob = Node::start(&bob_config, &state("bob"));
    bob.expect_peers(1);
    carla.expect_later("the message that was missing", |event| event["event"] == "message" && event["id"] == **lost);
    carla.expect_later("the end of the gap", |event| event["event"] == "gap" && event["missing"] == 0);
    let shown = carla.show_history(100);
    assert!(shown.iter().all(|event| event["missing"] == 0), "{shown:#?}");
    assert_eq!(ids(&mut carla), said);
    let end = carla.load_history();
    assert!(end.contains("complete since 20"), "{end}");
    for node in [carla, bob, stranger] {
        assert!(node.stop().success());
    }
}
