//! `rumor history check`, `compact`, `export` and `import` on the histories of real nodes.
#![cfg(all(
    feature = "transport-tcp",
    feature = "dedup-bloom",
    feature = "cipher-chacha",
    feature = "history-redb",
    feature = "luau"
))]
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "waiting for a process is bounded by the real clock")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use redb::{ReadableDatabase as _, TableDefinition};
use rumormill::api::MsgId;
use serde_json::Value;
use support::{Node, PATIENCE, TestConfig, free_ports, secret};
use tempfile::TempDir;

/// A node's config and folder, which has run and said something.
struct Bench {
    folder: TempDir,
    config: PathBuf,
    state: PathBuf,
    ids: Vec<String>,
}

impl Bench {
    fn new(texts: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port] = free_ports::<1>();
        let config = config(folder.path(), "alice", port, &[], secret(1));
        let state = folder.path().join("alice");
        let mut alice = Node::start(&config, &state);
        let ids = texts.iter().map(|text| alice.say(text)["id"].as_str().unwrap().to_owned()).collect();
        assert!(alice.stop().success());
        Self { folder, config, state, ids }
    }

    /// `rumor history …` on this profile.
    fn history(&self, args: &[&str]) -> Output {
        history(&self.config, &self.state, args)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// An export as JSON lines.
    fn exported(&self) -> String {
        done(&self.history(&["export", "--chat", "study"]))
    }
}

fn config(folder: &Path, name: &'static str, port: u16, peers: &[u16], secret: String) -> PathBuf {
    let extra = "[network]\noutgoing = 0".to_owned();
    TestConfig { name, port, peers: peers.to_vec(), chats: vec![("study", secret)], extra }.write(folder)
}

fn history(config: &Path, state: &Path, args: &[&str]) -> Output {
    let profile = ["--config", config.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let args = [&["history", args[0]], &profile[..], &args[1..]].concat();
    Command::new(env!("CARGO_BIN_EXE_rumor")).args(args).output().unwrap()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "no progress where nobody looks: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn texts() -> Vec<String> {
    let mut texts: Vec<String> = (0..40).map(|n| format!("message {n}")).collect();
    // In chunks, and with what a terminal and Markdown would obey.
    texts.push("long ".repeat(10_000));
    texts.push("\u{1b}]0;title\u{7} *bold* <b>".to_owned());
    texts
}

/// A byte of a row that is the envelope's, and one of what says where it stands.
const IN_THE_ENVELOPE: usize = 200;
const BEFORE_THE_ENVELOPE: usize = 8;

/// Changes a byte of an envelope's row wherever a copy of it lies in the file.
fn damage(state: &Path, id: &str, byte: usize) {
    let file = state.join("history/history.redb");
    let id: MsgId = id.parse().unwrap();
    let row = {
        let database = redb::Database::open(&file).unwrap();
        let transaction = database.begin_read().unwrap();
        let table = transaction.open_table(TableDefinition::<&[u8; 32], &[u8]>::new("envelopes")).unwrap();
        table.get(&id.0).unwrap().unwrap().value().to_vec()
    };
    let mut bytes = std::fs::read(&file).unwrap();
    let places: Vec<_> = (0..bytes.len() - row.len()).filter(|at| bytes[*at..].starts_with(&row)).collect();
    places.into_iter().for_each(|at| bytes[at + byte] ^= 1);
    std::fs::write(&file, bytes).unwrap();
}

fn shown(node: &mut Node) -> Vec<String> {
    node.show_history(100).iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_exported_is_taken_in_elsewhere_and_only_once() {
    let bench = Bench::new(&texts());
    let file = bench.path("study.jsonl");
    let said = done(&bench.history(&["export", "--chat", "study", "--output", &file]));
    assert!(said.contains("of study written to"), "{said}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, bench.exported(), "standard output gets the same");
    assert!(!text.contains('\u{1b}') && !text.contains("\\u001b"), "what is exported is fit to be shown");
    let mut lines = text.lines();
    assert_eq!(lines.next().unwrap(), r#"{"rumor_export":1,"chat":"study"}"#);
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: Vec<_> = lines.iter().filter(|line| line["part"].is_null()).collect();
    assert!(messages.iter().map(|line| line["id"].as_str().unwrap()).eq(bench.ids.iter().map(String::as_str)));
    assert_eq!(messages[3]["text"], "message 3");
    assert_eq!(messages[40]["text"], "long ".repeat(10_000));
    assert!(lines.len() > messages.len(), "the chunks are there too");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    // Another member, with an empty store that a node has made.
    let [port] = free_ports::<1>();
    let other = config(bench.folder.path(), "bob", port, &[], secret(1));
    let state = bench.folder.path().join("bob");
    assert!(Node::start(&other, &state).stop().success());
    let import = || history(&other, &state, &["import", "--chat", "study", &file]);
    let said = done(&import());
    assert_eq!(said, format!("{} messages new, 0 were here already\n", lines.len()));
    let said = done(&import());
    assert_eq!(said, format!("0 messages new, {} were here already\n", lines.len()));
    let mut bob = Node::start(&other, &state);
    assert_eq!(shown(&mut bob), bench.ids);
    assert_eq!(bob.count(|event| event["event"] == "message"), 0, "nothing is shown as new");
    // The sequence goes on after what was taken in.
    bob.say("after the import");
    assert!(bob.stop().success());
    assert_eq!(history(&other, &state, &["check"]).status.code(), Some(0));
}

#[test]
fn a_forged_line_is_refused_with_its_number_and_nothing_from_it_on_is_taken_in() {
    let bench = Bench::new(&texts()[..12]);
    let good = bench.exported();
    let lines: Vec<&str> = good.lines().collect();
    let [port] = free_ports::<1>();
    let other = config(bench.folder.path(), "bob", port, &[], secret(1));
    let stranger = config(bench.folder.path(), "mallory", 0, &[], secret(2));
    let forged = |number: usize, change: &dyn Fn(&mut Value)| {
        let mut line: Value = serde_json::from_str(lines[number - 1]).unwrap();
        change(&mut line);
        let mut all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        all[number - 1] = line.to_string();
        all.join("\n")
    };
    let flipped = |line: &mut Value| {
        let envelope = line["envelope"].as_str().unwrap();
        let mut bytes = data_encoding::BASE64URL_NOPAD.decode(envelope.as_bytes()).unwrap();
        bytes[300] ^= 1;
        line["id"] = MsgId::of(&bytes).to_string().into();
        line["envelope"] = data_encoding::BASE64URL_NOPAD.encode(&bytes).into();
    };
    let cases: [(String, &str, u32); 9] = [
        (forged(5, &flipped), "line 5: it is forged or damaged", 3),
        (forged(7, &|line| line["text"] = "I never said this".into()), "line 7: its text isn't", 5),
        (forged(4, &|line| line["nick"] = "Mallory".into()), "line 4: its nick isn't", 2),
        (forged(4, &|line| line["time"] = 1.into()), "line 4: its time isn't", 2),
        (forged(6, &|line| line["id"] = "00".repeat(32).into()), "line 6: its envelope is another", 4),
        (forged(6, &|line| line["envelope"] = "%".into()), "line 6: its envelope isn't base64", 4),
        (forged(6, &|line| line["colour"] = "red".into()), "line 6: it is no record of an export: unknown field", 4),
        (forged(1, &|line| line["rumor_export"] = 2.into()), "line 1: the export has version 2", 0),
        (lines[1..].join("\n"), "line 1: it isn't the first line", 0),
    ];
    for (n, (text, expected, before)) in cases.into_iter().enumerate() {
        let state = bench.folder.path().join(format!("bob{n}"));
        assert!(Node::start(&other, &state).stop().success());
        let file = bench.path("forged.jsonl");
        std::fs::write(&file, text).unwrap();
        let error = refused(&history(&other, &state, &["import", "--chat", "study", &file]));
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&format!("({before} new, 0 were here already)")), "{error}");
        let there = done(&history(&other, &state, &["export", "--chat", "study"]));
        assert!(there.lines().skip(1).eq(lines[1..].iter().take(before as usize).copied()), "{there}");
    }

    // Someone who doesn't belong to the room.
    let state = bench.folder.path().join("mallory");
    assert!(Node::start(&stranger, &state).stop().success());
    let file = bench.path("good.jsonl");
    std::fs::write(&file, &good).unwrap();
    let error = refused(&history(&stranger, &state, &["import", "--chat", "study", &file]));
    assert!(error.contains("line 2: it is no message of this chat"), "{error}");
    let error = refused(&history(&stranger, &state, &["import", "--chat", "study", "/nowhere"]));
    assert!(error.contains("can't read /nowhere"), "{error}");
    let error = refused(&history(&stranger, &state, &["import", "--chat", "garden", &file]));
    assert!(error.contains("there is no chat \"garden\"; your chats: study"), "{error}");
}

#[test]
fn an_interrupted_export_goes_on_where_it_was() {
    let bench = Bench::new(&texts());
    let whole = bench.exported();
    let file = bench.path("study.jsonl");
    // What an interrupted one leaves: a part, a note of where it goes on, and a line half written after that.
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let (kept, last): (String, Value) = (lines[..=10].concat(), serde_json::from_str(lines[10]).unwrap());
    let note = serde_json::json!({
        "version": 1, "chat": "study", "markdown": false, "lamport": last["lamport"], "id": last["id"],
        "records": 10, "bytes": kept.len(), "day": null
    });
    std::fs::write(format!("{file}.part"), format!("{kept}{{\"id\":\"ha")).unwrap();
    std::fs::write(format!("{file}.part.at"), note.to_string()).unwrap();

    let error = refused(&bench.history(&["export", "--chat", "study", "--format", "markdown", "--output", &file]));
    assert!(error.contains("left of another export"), "{error}");
    done(&bench.history(&["export", "--chat", "study", "--output", &file]));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
    for left in [".part", ".part.at", ".part.at.new"] {
        assert!(!Path::new(&format!("{file}{left}")).exists(), "{left}");
    }
    let error = refused(&bench.history(&["export", "--chat", "study", "--output", &file]));
    assert!(error.contains("is there already"), "{error}");
}

#[test]
fn markdown_shows_what_was_said_and_nothing_else() {
    let bench = Bench::new(&texts()[30..]);
    let text = done(&bench.history(&["export", "--chat", "study", "--format", "markdown"]));
    assert!(text.starts_with("# study\n\n## 20"), "{}", &text[..60]);
    assert_eq!(text.matches("\n**alice**\\#").count(), 12);
    assert!(text.contains("> message 30  \n"));
    assert!(text.contains(r"\*bold\* \<b\>") && !text.contains('\u{1b}'));
}

#[test]
fn a_running_node_is_not_disturbed() {
    let bench = Bench::new(&texts()[..2]);
    let file = bench.path("study.jsonl");
    done(&bench.history(&["export", "--chat", "study", "--output", &file]));
    let alice = Node::start(&bench.config, &bench.state);
    let running = format!("another node (process {}) is running on", alice.pid());
    let other = bench.path("other.jsonl");
    for args in [
        &["check"][..],
        &["compact"],
        &["export", "--chat", "study"],
        &["export", "--chat", "study", "--output", &other],
        &["import", "--chat", "study", &file],
    ] {
        let error = refused(&bench.history(args));
        assert!(error.contains(&running), "{error}");
    }
    assert!(!Path::new(&other).exists());
    assert!(alice.stop().success());

    // And a folder that isn't a profile's isn't made one.
    let nowhere = bench.folder.path().join("nowhere");
    let error = refused(&history(&bench.config, &nowhere, &["check"]));
    assert!(error.contains("there is no profile in"), "{error}");
    assert!(!nowhere.exists());
}

#[test]
fn compact_shrinks_the_file_and_loses_nothing() {
    let bench = Bench::new(&texts());
    let before = bench.exported();
    let file = bench.state.join("history/history.redb");
    let size = || std::fs::metadata(&file).unwrap().len();
    let large = size();
    let said = done(&bench.history(&["compact"]));
    assert!(said.starts_with("compacted: ") && said.contains(" MiB now"), "{said}");
    assert!(size() < large, "{large} bytes before, {} now", size());
    assert_eq!(bench.exported(), before);
    assert!(done(&bench.history(&["check"])).starts_with("OK: "));
    let mut alice = Node::start(&bench.config, &bench.state);
    assert_eq!(shown(&mut alice), bench.ids);
    assert!(alice.stop().success());
}

#[test]
fn what_a_check_finds_damaged_comes_back_from_a_peer_and_is_not_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let [alice_port, bob_port] = free_ports::<2>();
    let alice_config = config(folder.path(), "alice", alice_port, &[], secret(1));
    let bob_config = config(folder.path(), "bob", bob_port, &[alice_port], secret(1));
    let (alice_state, bob_state) = (folder.path().join("alice"), folder.path().join("bob"));
    let mut alice = Node::start(&alice_config, &alice_state);
    let mut bob = Node::start(&bob_config, &bob_state);
    bob.expect_peers(1);
    let ids: Vec<String> = (0..10).map(|n| alice.say(&n.to_string())["id"].as_str().unwrap().to_owned()).collect();
    for n in 0..10 {
        bob.expect_text("study", &n.to_string());
    }
    assert!(bob.stop().success());
    damage(&bob_state, &ids[4], IN_THE_ENVELOPE);
    damage(&bob_state, &ids[9], IN_THE_ENVELOPE);
    // Its bytes are whole, and the orders still say where they belong.
    damage(&bob_state, &ids[7], BEFORE_THE_ENVELOPE);

    let said = done(&history(&bob_config, &bob_state, &["check"]));
    assert!(said.contains("2 damaged and removed") && said.contains("study: 2 messages"), "{said}");
    assert!(done(&history(&bob_config, &bob_state, &["check"])).starts_with("OK: "));
    let mut bob = Node::start(&bob_config, &bob_state);
    bob.expect_peers(1);
    // What comes back isn't told as a message, so it is looked for, by question after question.
    let until = Instant::now() + PATIENCE;
    while shown(&mut bob) != ids {
        assert!(Instant::now() < until, "not fetched again: {:#?}", bob.seen);
    }
    assert_eq!(bob.count(|event| event["event"] == "message"), 0, "nothing is shown twice: {:#?}", bob.seen);
    for node in [alice, bob] {
        assert!(node.stop().success());
    }
}
