//! Invites, as users hand them on: `rumor room invite`, `rumor room join`, and a node of what was printed.
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
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use rumormill::room::{Access, DAY_MS, HOUR_MS, Identity, Invite, NewMessage, Room, RoomKind, RoomState, StorageKey};
use support::{Node, TestConfig, free_ports, secret};

/// Runs the program with something on its standard input.
fn rumor(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rumor"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments doesn't read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What standard error says of a command that must fail.
fn refused(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn invite(config: &Path, args: &[&str]) -> String {
    stdout(rumor(&[&["room", "invite", "--config", config.to_str().unwrap(), "--chat", "study"], args].concat(), ""))
}

/// The config of a newcomer who follows what `rumor room join` printed.
fn newcomer(folder: &Path, joined: &str, port: u16) -> std::path::PathBuf {
    let peers = joined.lines().find_map(|line| line.strip_prefix("# peers = ")).expect("the peers are named");
    let text = format!(
        "version = 1\nname = \"nina\"\nlisten = [\"tcp:127.0.0.1:{port}\"]\npeers = {peers}\n{joined}\n[network]\nlan = true\n"
    );
    let file = folder.join("nina.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn texts(node: &mut Node) -> Vec<String> {
    node.show_history(50).iter().map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

#[expect(clippy::disallowed_methods, reason = "the days of the nodes under test are the wall clock's")]
fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn a_newcomer_reads_the_history_and_is_heard() {
    for passphrase in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let [alice_port, nina_port] = free_ports::<2>();
        let (chats, extra) = if passphrase {
            (vec![], "[[chats]]\nname = \"study\"\npassphrase = \"correct horse battery\"\n[network]\nlan = true")
        } else {
            (vec![("study", secret(1))], "[network]\nlan = true")
        };
        let config = TestConfig { name: "alice", port: alice_port, peers: vec![], chats, extra: extra.into() }
            .write(folder.path());
        let mut alice = Node::start(&config, &folder.path().join("alice"));
        alice.say("one");
        alice.say("two");

        let text = invite(&config, &["--expires", "1"]);
        assert_eq!(text.lines().count(), 1);
        let read = Invite::decode(&text, now_ms()).unwrap();
        assert_eq!(read.weak, passphrase);
        assert_eq!(read.peers.len(), 1, "its own address");
        // The newcomer calls the chat as they like: a passphrase's secret isn't derived from their name for it.
        let joined = stdout(rumor(&["room", "join", "--name", "a \"lesson\""], &format!("\n  {text}\n")));
        let config = newcomer(folder.path(), &joined, nina_port);
        assert!(stdout(rumor(&["config", "check", config.to_str().unwrap()], "")).starts_with("OK "));
        let mut nina = Node::start(&config, &folder.path().join("nina"));
        nina.expect_peers(1);
        assert!(nina.load_history().contains("complete"));
        assert_eq!(texts(&mut nina), ["one", "two"]);
        nina.say("three");
        alice.expect_text("study", "three");
    }
}

#[test]
fn an_invite_from_now_on_reads_today_and_no_day_before() {
    let folder = tempfile::tempdir().unwrap();
    let [alice_port, nina_port] = free_ports::<2>();
    let config = TestConfig {
        name: "alice",
        port: alice_port,
        peers: vec![],
        chats: vec![("study", secret(1))],
        extra: "[network]\nlan = true".to_owned(),
    }
    .write(folder.path());
    let today = now_ms() / DAY_MS;
    let mut alice = Node::start(&config, &folder.path().join("alice"));
    alice.say("earlier today");
    let text = invite(&config, &["--from-now"]);
    let read: Invite = text.parse().unwrap();
    let Access::From(ratchet) = &read.access else { panic!("it gives the secret away") };
    if now_ms() / DAY_MS != today {
        return; // Midnight (UTC) came between the message and the invite.
    }
    assert_eq!(u64::from(ratchet.born_day + ratchet.epoch), today);

    // As a whole: a node of the invite gets what was said today before the invite was made.
    let joined = stdout(rumor(&["room", "join"], &text));
    assert!(joined.contains("name = \"study\"\n"), "the name that the invite suggests: {joined}");
    let mut nina = Node::start(&newcomer(folder.path(), &joined, nina_port), &folder.path().join("nina"));
    nina.expect_text("study", "earlier today");

    // With the clock a day back: sealed with yesterday's key, which the invite doesn't lead to.
    let cipher = || rumormill::plugins::compiled_in().cipher("chacha", ()).unwrap();
    let spec = |config: &Path| {
        let registry = rumormill::plugins::compiled_in();
        let config = rumormill::config::Config::load_with(config, &registry).unwrap();
        rumormill::room_spec(&config.chats[0]).unwrap()
    };
    let storage = StorageKey::new([1; 32]);
    let whole = Room::new(spec(&config), cipher(), &storage);
    let from_now = Room::new(spec(&folder.path().join("nina.toml")), cipher(), &storage);
    assert_eq!(from_now.kind(), RoomKind::Archive);
    let message = |text: &str| NewMessage { nick: "alice".into(), text: text.into(), ..NewMessage::default() };
    for (text, at, readable) in [("yesterday", now_ms() - DAY_MS, false), ("today", now_ms(), true)] {
        let mut entropy = |out: &mut [u8]| out.fill(7);
        let alice = Identity::from_seed(&[2; 32]);
        let sealed = whole.seal(&alice, &mut RoomState::default(), &message(text), at, &mut entropy).unwrap();
        let opens = |room: &Room| room.open(&sealed[0].envelope, now_ms()).unwrap().is_some();
        assert!(opens(&whole), "{text}");
        assert_eq!(opens(&from_now), readable, "{text}");
    }
}

#[test]
fn bad_invites_are_refused_by_join_and_by_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let [port] = free_ports::<1>();
    let config = TestConfig {
        name: "alice",
        port,
        peers: vec![],
        chats: vec![("study", secret(1)), ("friends", secret(2))],
        extra: String::new(),
    }
    .write(folder.path());
    let text = invite(&config, &[]);

    let unknown = rumor(&["room", "invite", "--config", config.to_str().unwrap(), "--chat", "work"], "");
    assert!(refused(&unknown, 1).contains("has no chat \"work\"; it has: study, friends"));
    for hours in ["0", "87601", "x"] {
        let output = rumor(&["room", "invite", "--config", "x", "--chat", "study", "--expires", hours], "");
        refused(&output, 2);
    }

    let mut expired: Invite = text.parse().unwrap();
    expired.expires = Some(u32::try_from(now_ms() / HOUR_MS).unwrap());
    let expired = expired.encode().unwrap();
    let cut = &text[..40];
    for (input, sentence) in [
        ("", "standard input holds no invite"),
        ("\n \n", "standard input holds no invite"),
        ("hello", "an invite begins with rumor1"),
        (cut, "the invite was not copied whole"),
        (expired.as_str(), "the invite has expired: ask for a new one"),
        (&"x".repeat(100_000), "an invite has at most 4096 characters"),
    ] {
        let error = refused(&rumor(&["room", "join"], input), 1);
        assert!(error.starts_with("rumor: ") && error.contains(sentence), "{error}");
        assert!(!error.contains(cut), "an error never shows the invite");
    }
    let control = refused(&rumor(&["room", "join", "--name", "a\u{7}"], &text), 1);
    assert!(control.contains("use --name"), "{control}");

    // In a config: a bad one is found by the check; an expired one stays good for who joined in time.
    let with = |invite: &str| {
        let file = folder.path().join("joined.toml");
        let chat =
            format!("version = 1\nname = \"nina\"\nport = 1\n[[chats]]\nname = \"study\"\ninvite = \"{invite}\"\n");
        std::fs::write(&file, chat).unwrap();
        rumor(&["config", "check", file.to_str().unwrap()], "")
    };
    let error = refused(&with(cut), 1);
    assert!(error.contains("chats[0].invite: the invite was not copied whole") && !error.contains(cut), "{error}");
    assert!(stdout(with(&expired)).starts_with("OK "));
}

#[test]
fn an_invite_names_addresses_that_others_can_dial() {
    let folder = tempfile::tempdir().unwrap();
    let peers = |listen: &str, announce: &str| {
        let file = folder.path().join("a.toml");
        let text = format!(
            "version = 1\nname = \"a\"\nlisten = [{listen}]\nannounce = [{announce}]\n[[chats]]\nname = \"study\"\nsecret = {:?}\n",
            secret(1)
        );
        std::fs::write(&file, text).unwrap();
        let invite: Invite = invite(&file, &[]).parse().unwrap();
        invite.peers.iter().map(|peer| peer.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(peers("\"tcp:0.0.0.0:4001\", \"tcp:[::]:4001\", \"tcp:127.0.0.1:0\"", ""), [""; 0]);
    assert_eq!(peers("\"tcp:0.0.0.0:4001\", \"tcp:127.0.0.1:4002\"", ""), ["tcp:127.0.0.1:4002"]);
    assert_eq!(peers("\"tcp:127.0.0.1:4002\"", "\"tcp:node.example.org:4001\""), ["tcp:node.example.org:4001"]);
    let many: Vec<String> = (1..=10).map(|n| format!("\"tcp:127.0.0.{n}:4001\"")).collect();
    assert_eq!(peers(&many.join(", "), "").len(), rumormill::room::INVITE_MAX_PEERS);
}
