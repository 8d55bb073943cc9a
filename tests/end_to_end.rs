//! The four example nodes as processes over TCP, and what their users do.
#![cfg(all(
    feature = "transport-tcp",
    feature = "dedup-bloom",
    feature = "cipher-chacha",
    feature = "history-redb",
    feature = "luau"
))]
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};

use support::{Node, STUDY, TestConfig, free_ports, secret};

/// An example config, with its four ports replaced by free ones.
fn example(name: &str, ports: &[u16; 4], folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(root.join(format!("config_examples/{name}.toml"))).unwrap();
    for (old, new) in (4001..).zip(ports) {
        text = text.replace(&format!("127.0.0.1:{old}"), &format!("127.0.0.1:@{new}"));
    }
    let path = folder.join(format!("{name}.toml"));
    std::fs::write(&path, text.replace('@', "")).unwrap();
    path
}

/// The config of Alice, who knows nobody.
fn alone(folder: &Path) -> PathBuf {
    let [port] = free_ports::<1>();
    TestConfig { name: "alice", port, peers: vec![], chats: vec![("study", secret(1))], extra: String::new() }
        .write(folder)
}

#[test]
fn the_four_examples_find_each_other_chat_and_remember() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports::<4>();
    let state = |name: &str| folder.path().join("state").join(name);
    let start = |name: &str| Node::start(&example(name, &ports, folder.path()), &state(name));
    let mut alice = start("alice");
    let mut bob = start("bob");
    let mut charlie = start("charlie");
    let mut emma = start("emma");

    // Emma knows nobody, and Charlie knows only Alice: all find all.
    for node in [&mut alice, &mut bob, &mut charlie, &mut emma] {
        node.expect_peers(3);
    }

    // Three rooms; each is read by its members and by nobody else.
    alice.say("hello study");
    for node in [&mut bob, &mut charlie] {
        let message = node.expect_text("study", "hello study");
        assert_eq!(message["from"], "Alice");
        assert_eq!(message["mine"], false);
        assert_eq!(message["synced"], false);
    }
    charlie.open("friends");
    charlie.say("just us two");
    alice.expect_text("friends", "just us two");
    emma.say("are you at work?");
    bob.expect_text("work", "are you at work?");
    bob.open("work");
    bob.say("yes");
    emma.expect_text("work", "yes");

    // Equal texts are two messages; control characters never come through.
    alice.say("twice");
    alice.say("twice");
    alice.say("a\u{1b}[31mred\u{7}\u{202e}");
    let red =
        charlie.expect("the cleaned text", |event| event["text"].as_str().is_some_and(|text| text.contains("red")));
    assert!(!red["text"].as_str().unwrap().contains(['\u{1b}', '\u{7}', '\u{202e}']), "{red}");
    assert_eq!(charlie.count(|event| event["text"] == "twice"), 2);

    // What one writes, the others' histories show in the same order, once.
    charlie.open("study");
    bob.open("study");
    let texts = |node: &mut Node| -> Vec<String> {
        node.show_history(50).iter().map(|event| event["text"].as_str().unwrap().to_owned()).collect()
    };
    let expected = texts(&mut alice);
    assert_eq!(expected[..3], ["hello study", "twice", "twice"]);
    assert_eq!(texts(&mut charlie), expected);
    assert_eq!(texts(&mut bob), expected);

    // After a restart the history is there, and nothing is shown a second time as new.
    assert!(bob.stop().success());
    let mut bob = start("bob");
    bob.expect_peers(1);
    bob.open("study");
    assert_eq!(texts(&mut bob), expected);
    alice.say("after the restart");
    bob.expect_text("study", "after the restart");
    assert_eq!(bob.count(|event| event["event"] == "message"), 1, "only the new message: {:#?}", bob.seen);

    // Emma never saw a word of study or friends.
    emma.drain();
    assert_eq!(emma.count(|event| event["event"] == "message" && event["chat"] != "work"), 0);

    for node in [alice, bob, charlie, emma] {
        assert!(node.stop().success());
    }
}

#[test]
fn a_bridge_relays_what_it_cannot_read_and_restores_it_to_a_newcomer() {
    let folder = tempfile::tempdir().unwrap();
    let [left, bridge, right, new] = free_ports::<4>();
    // No outgoing links but the ones named: Emma stays the only way between the halves.
    let closed = "[network]\noutgoing = 0";
    let config = |name, port, peers: &[u16], chats| {
        TestConfig { name, port, peers: peers.to_vec(), chats, extra: closed.to_owned() }.write(folder.path())
    };
    let state = |name: &str| folder.path().join(name);
    let study = || vec![("study", STUDY.to_owned())];
    let emma = config("emma", bridge, &[], vec![("work", secret(9))]);
    let alice = config("alice", left, &[bridge], study());
    let bob = config("bob", right, &[bridge], study());
    let mut emma = Node::start(&emma, &state("emma"));
    let mut alice = Node::start(&alice, &state("alice"));
    let mut bob = Node::start(&bob, &state("bob"));
    emma.expect_peers(2);
    alice.expect_peers(1);
    bob.expect_peers(1);

    for n in 0..20 {
        alice.say(&format!("from the left {n}"));
        bob.say(&format!("from the right {n}"));
    }
    for n in 0..20 {
        bob.expect_text("study", &format!("from the left {n}"));
        alice.expect_text("study", &format!("from the right {n}"));
    }
    assert!(alice.stop().success());
    assert!(bob.stop().success());

    // Both members are gone. A newcomer with the secret and an empty store learns everything from the stranger.
    let dora = config("dora", new, &[bridge], study());
    let mut dora = Node::start(&dora, &state("dora"));
    dora.expect_peers(1);
    let end = dora.load_history();
    assert!(end.contains("complete"), "{end}");
    let shown = dora.show_history(100);
    assert_eq!(shown.len(), 40);
    let mut ids: Vec<_> = shown.iter().map(|event| event["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 40, "no message twice");
    // What was recovered is marked as such, wherever it was shown as it came in.
    assert_eq!(dora.count(|event| event["event"] == "message" && event["synced"] == false), 0);
    emma.drain();
    assert_eq!(emma.count(|event| event["event"] == "message"), 0, "the bridge reads nothing");
    for node in [dora, emma] {
        assert!(node.stop().success());
    }
}

#[test]
fn a_command_is_a_script_that_reloads_as_it_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let [port] = free_ports::<1>();
    let scripts = folder.path().join("scripts");
    std::fs::create_dir_all(scripts.join("commands")).unwrap();
    let extra = format!("[lua]\nfolder = {:?}", scripts.to_str().unwrap());
    let config = TestConfig { name: "alice", port, peers: vec![], chats: vec![("study", secret(1))], extra }
        .write(folder.path());
    let mut alice = Node::start(&config, &folder.path().join("state"));

    alice.line("/help");
    for command in ["chat", "exit", "load history", "show history", "help"] {
        alice.expect_ever(command, |event| {
            event["event"] == "notice" && event["text"].as_str().is_some_and(|text| text.contains(command))
        });
    }

    let script = |answer: &str| {
        format!("rumor.command(\"greet\", {{ desc = \"greets\", run = function(ctx) ctx:print({answer:?}) end }})\n")
    };
    let said = |text: &'static str| {
        move |event: &serde_json::Value| {
            event["event"] == "notice" && event["text"].as_str().is_some_and(|t| t.contains(text))
        }
    };
    let file = scripts.join("commands/greet.lua");
    std::fs::write(&file, script("good morning")).unwrap();
    alice.expect("the new script", said("greet"));
    alice.line("/greet");
    alice.expect("its answer", said("good morning"));
    std::fs::write(&file, script("good night")).unwrap();
    alice.expect("the reload", said("reloaded greet"));
    alice.line("/greet");
    alice.expect("its new answer", said("good night"));
    // A broken script leaves the one before it running, and is reported with its line.
    std::fs::write(&file, "rumor.command(\"greet\", {\n  oops").unwrap();
    alice.expect("the error", |event| event["text"].as_str().is_some_and(|text| text.contains("greet.lua:2")));
    alice.line("/greet");
    alice.expect("the old answer", said("good night"));

    // `exit` ends the program cleanly, and is a script as well.
    alice.line("/exit");
    let (status, seen) = alice.wait();
    assert!(status.success());
    assert_eq!(seen.last().unwrap()["event"], "stopped");
}

#[test]
fn a_service_without_input_runs_until_it_is_told_to_stop() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let [port] = free_ports::<1>();
    let config = TestConfig { name: "relay", port, peers: vec![], chats: vec![], extra: String::new() };
    let mut relay = Command::new(env!("CARGO_BIN_EXE_rumor"))
        .arg("--config")
        .arg(config.write(folder.path()))
        .arg("--json")
        .arg("--state")
        .arg(folder.path().join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(relay.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("ready"));
    // Had the null device counted as an end of input, the next line would be "stopped" without being asked for.
    let mut peer = Node::start(
        &TestConfig { name: "alice", port: 0, peers: vec![port], chats: vec![], extra: String::new() }
            .write(folder.path()),
        &folder.path().join("alice"),
    );
    peer.expect_peers(1);
    assert!(lines.next().unwrap().contains("peer_up"));
    assert!(Command::new("kill").args(["-TERM", &relay.id().to_string()]).status().unwrap().success());
    assert!(lines.last().unwrap().contains("stopped"));
    assert!(relay.wait().unwrap().success());
}

#[test]
fn a_signal_ends_a_node_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let config = alone(folder.path());
    let state = folder.path().join("state");
    for signal in ["-TERM", "-INT"] {
        let mut alice = Node::start(&config, &state);
        alice.say(signal);
        alice.signal(signal);
        let (status, seen) = alice.wait();
        assert!(status.success(), "{signal}: {status}");
        assert_eq!(seen.last().unwrap()["event"], "stopped");
    }
    let mut alice = Node::start(&config, &state);
    let texts: Vec<_> = alice.show_history(10).iter().map(|event| event["text"].clone()).collect();
    assert_eq!(texts, ["-TERM", "-INT"]);
}

/// What relays goes before what keeps, also where the processors are busy.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_of_the_history_are_nice_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let config = alone(folder.path());
    let mut alice = Node::start(&config, &folder.path().join("state"));
    alice.say("both of them have been at work");
    let task = format!("/proc/{}/task", alice.pid());
    // A thread may end meanwhile. Its name stands in brackets, and its nice value is the 17th field behind them.
    let thread = |path: &Path| {
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        Some((name.to_owned(), rest.split(' ').nth(16)?.parse::<i32>().ok()?))
    };
    let (_, of_all) = thread(&Path::new(&task).join(alice.pid().to_string())).unwrap();
    let threads = std::fs::read_dir(&task).unwrap().filter_map(|entry| thread(&entry.ok()?.path()));
    let mut nice: Vec<_> = threads.filter(|(_, nice)| *nice != of_all).collect();
    nice.sort();
    // Where everything is nicer already, nothing is left to do.
    let expected: &[_] = if of_all < 10 { &["rumor-open", "rumor-vault"] } else { &[] };
    assert_eq!(nice, expected.iter().map(|name| ((*name).to_owned(), 10)).collect::<Vec<_>>());
}

/// `rumor bot run`: one bot on a node of its own, which answers over the network and reloads as it is saved.
#[test]
fn a_bot_runs_without_a_terminal_and_reloads_as_it_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let [alice_port, bot_port] = free_ports();
    let chats = || vec![("study", secret(7))];
    let config = |name: &'static str, port, peers| {
        TestConfig { name, port, peers, chats: chats(), extra: String::new() }.write(folder.path())
    };
    let script = folder.path().join("answer.lua");
    let save = |answer: &str| {
        let head = "rumor.script({ name = \"answer\", permissions = { \"send\" } })";
        let text = format!("{head}\nrumor.on(\"message\", function(msg) msg:reply(\"{answer} \" .. msg.text) end)\n");
        std::fs::write(&script, text).unwrap();
    };
    save("yes,");
    let mut bot = Node::start_bot(&script, "study", &config("bot", bot_port, vec![]), &folder.path().join("bot"));
    let mut alice = Node::start(&config("alice", alice_port, vec![bot_port]), &folder.path().join("alice"));
    alice.expect_peers(1);
    alice.say("one");
    assert_eq!(alice.expect_text("study", "yes, one")["bot"], true);
    save("no,");
    bot.expect("the reload", |event| event["text"].as_str().is_some_and(|text| text.starts_with("reloaded answer (")));
    alice.say("two");
    alice.expect_text("study", "no, two");
}
