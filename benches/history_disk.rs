//! A long history on disk, as a user meets it: how soon a node with it is ready, how much memory it takes, how fast its
//! end is shown, the same after kill -9, and how large the file is after `rumor history compact`. Real processes.
//!
//! ```sh
//! cargo bench --bench history_disk -- --messages 1000000
//! ```
//!
//! Without `--messages` it takes 100,000. Half a kilobyte of disk a message, twice while compacting, and more before.

#![allow(clippy::disallowed_methods, reason = "it measures the time of other processes")]
#![allow(clippy::print_stdout, reason = "its report")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rumormill::api::{Bytes, Entry, HistoryConfig};
use rumormill::config::{Config, Format};
use rumormill::room::{HOUR_MS, Identity, NewMessage, Opened, Room, RoomState, StorageKey};
use rumormill::state::Profile;
use rumormill::{Builder, room_spec};

/// Messages where `--messages` isn't given.
const MESSAGES_DEFAULT: u64 = 100_000;
/// Messages a transaction.
const BATCH: u64 = 1_000;
/// Over how long they were said, in milliseconds: all of them are on the window still.
const SPAN_MS: u64 = 6 * 24 * HOUR_MS;
/// How long a node has to settle, until its memory is looked at again.
const SETTLE: Duration = Duration::from_secs(8);
/// How often each start and each look at the history is measured.
const ROUNDS: usize = 5;

fn main() {
    let messages = messages();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("node.toml");
    let text = format!(
        "version = 1\nname = \"bench\"\nlisten = [\"tcp:127.0.0.1:0\"]\n[[chats]]\nname = \"study\"\nsecret = {:?}\n[network]\noutgoing = 0\n",
        data_encoding::BASE64URL_NOPAD.encode(&[7; 32])
    );
    std::fs::write(&config, text).expect("a config");
    let state = folder.path().join("state");
    let begun = Instant::now();
    let bytes = fill(&config, &state, messages);
    println!("{messages} messages, {} of envelopes, filled in {:.0?}", mib(bytes), begun.elapsed());
    let file = state.join("history/history.redb");
    println!("file: {} as it grew, {:.2} times the envelopes", mib(size(&file)), ratio(size(&file), bytes));

    let starts: Vec<_> = (0..ROUNDS).map(|_| Node::start(&config, &state).stop()).collect();
    report("clean start", &starts);
    let kills: Vec<_> = (0..ROUNDS).map(|_| Node::start(&config, &state).kill()).collect();
    report("start after kill -9", &kills[1..]);

    for (command, what) in [("check", "check"), ("compact", "compact")] {
        let begun = Instant::now();
        let said = rumor(&["history", command], &config, &state, &[]);
        println!("{what}: {:.1?}; {}", begun.elapsed(), said.trim());
    }
    println!("file: {} compacted, {:.2} times the envelopes", mib(size(&file)), ratio(size(&file), bytes));
    let export = folder.path().join("study.jsonl");
    let begun = Instant::now();
    rumor(&["history", "export"], &config, &state, &["--chat", "study", "--output", &export.to_string_lossy()]);
    println!("export: {:.1?}, {}", begun.elapsed(), mib(size(&export)));
    let other = folder.path().join("other");
    Node::start(&config, &other).end();
    let begun = Instant::now();
    rumor(&["history", "import"], &config, &other, &["--chat", "study", &export.to_string_lossy()]);
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    println!("import into an empty history: {:.1?}, {rate:.0} messages/s", begun.elapsed());
    let starts: Vec<_> = (0..ROUNDS).map(|_| Node::start(&config, &state).stop()).collect();
    report("start after compacting", &starts);
}

fn messages() -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--messages").skip(1);
    arguments.next().map_or(MESSAGES_DEFAULT, |count| count.parse().expect("--messages takes a number"))
}

/// A history of so many messages of one room, on the window and in the archive. The bytes of the envelopes.
fn fill(config: &Path, state: &Path, messages: u64) -> u64 {
    let text = std::fs::read_to_string(config).expect("the config");
    let parsed = || Config::parse(&text, Format::Toml, config, None).expect("a good config");
    let open = || Profile::open(state).expect("a profile");
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(0);
    let registry = rumormill::plugins::compiled_in();
    let storage = StorageKey::new(*open().storage_key);
    let suite = registry.cipher(&parsed().backends.cipher, ()).expect("a cipher");
    let room = Room::new(room_spec(&parsed().chats[0]).expect("a room"), suite, &storage);
    let speakers: Vec<Identity> = (1..=4).map(|n| Identity::from_seed(&[n; 32])).collect();
    let mut said = RoomState::default();
    let mut number = 0_u64;
    let mut entropy = |out: &mut [u8]| {
        number += 1;
        blake3::Hasher::new_derive_key("bench").update(&number.to_le_bytes()).finalize_xof().fill(out);
    };
    let mut offline = Builder::new(parsed(), open()).offline().expect("an empty history");
    let mut window = Vec::new();
    let mut bytes = 0;
    for first in (0..messages).step_by(BATCH as usize) {
        let batch: Vec<(Opened, Bytes)> = (first..messages.min(first + BATCH))
            .map(|n| {
                let at = now - SPAN_MS + n * (SPAN_MS / messages);
                let message =
                    NewMessage { nick: "Speaker".into(), text: format!("message {n}"), ..NewMessage::default() };
                // Each speaker goes on where the others left off, as members do.
                let speaker = &speakers[(n % 4) as usize];
                let sealed = room.seal(speaker, &mut said, &message, at, &mut entropy).expect("it seals").remove(0);
                bytes += sealed.envelope.len() as u64;
                window.push((sealed.id, sealed.expiry));
                (sealed.opened, sealed.envelope)
            })
            .collect();
        offline.take_in(0, batch).expect("it is taken in");
    }
    drop(offline);
    let profile = open();
    let folder = profile.history_folder();
    let history = HistoryConfig { folder, ..HistoryConfig::default() };
    let mut history = registry.history("redb", history).expect("the history");
    let shelf = rumormill::api::Shelf::Archive(room.tag());
    for part in window.chunks(BATCH as usize) {
        let entry = |(id, expiry): &_| Entry::Window {
            id: *id,
            expiry: *expiry,
            source: 1,
            envelope: history.get(shelf, id).expect("a good store").expect("it is there"),
        };
        let entries: Vec<_> = part.iter().map(entry).collect();
        history.append(&entries).expect("the window takes it");
    }
    bytes
}

/// What a start showed.
struct Start {
    ready: Duration,
    shown: Vec<Duration>,
    /// In KiB: when ready, after a while, and the most there was.
    memory: [u64; 3],
}

struct Node {
    child: Child,
    input: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    ready: Duration,
}

impl Node {
    fn start(config: &Path, state: &Path) -> Self {
        let begun = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_rumor"))
            .args(["--config".as_ref(), config.as_os_str(), "--json".as_ref(), "--state".as_ref(), state.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let input = child.stdin.take().expect("its input");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut node = Self { child, input, lines, ready: Duration::ZERO };
        node.until("\"ready\"");
        node.ready = begun.elapsed();
        node
    }

    fn until(&mut self, what: &str) -> usize {
        for (count, line) in self.lines.by_ref().enumerate() {
            if line.expect("a line").contains(what) {
                return count;
            }
        }
        panic!("the node ended before it said {what}");
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0");
        line.trim_start_matches(':').split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
    }

    fn look(&mut self) -> Start {
        let ready = self.memory("VmRSS");
        let shown = (0..ROUNDS)
            .map(|_| {
                let begun = Instant::now();
                writeln!(self.input, "/show history 50\n/nosuchcommand").expect("it reads");
                let count = self.until("nosuchcommand");
                assert!(count >= 50, "{count} lines of the history");
                begun.elapsed()
            })
            .collect();
        std::thread::sleep(SETTLE);
        Start { ready: self.ready, shown, memory: [ready, self.memory("VmRSS"), self.memory("VmHWM")] }
    }

    fn stop(mut self) -> Start {
        let start = self.look();
        self.end();
        start
    }

    fn end(mut self) {
        drop(self.input);
        self.child.wait().expect("it ends");
    }

    fn kill(mut self) -> Start {
        let start = self.look();
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it is gone");
        start
    }
}

fn report(what: &str, starts: &[Start]) {
    let ready: Vec<_> = starts.iter().map(|start| start.ready.as_millis()).collect();
    let mut shown: Vec<_> = starts.iter().flat_map(|start| start.shown.iter().map(Duration::as_micros)).collect();
    shown.sort_unstable();
    let most = |n: usize| starts.iter().map(|start| start.memory[n]).max().unwrap_or(0) / 1_024;
    println!(
        "{what}: ready in {ready:?} ms; show history 50: median {} µs, most {} µs; memory when ready {} MiB, after {} s {} MiB, \
         at most {} MiB",
        shown.get(shown.len() / 2).copied().unwrap_or(0),
        shown.last().copied().unwrap_or(0),
        most(0),
        SETTLE.as_secs(),
        most(1),
        most(2),
    );
}

fn rumor(command: &[&str], config: &Path, state: &Path, more: &[&str]) -> String {
    let profile: [PathBuf; 4] = ["--config".into(), config.into(), "--state".into(), state.into()];
    let output = Command::new(env!("CARGO_BIN_EXE_rumor")).args(command).args(profile).args(more).output();
    let output = output.expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).expect("the file").len()
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn ratio(file: u64, envelopes: u64) -> f64 {
    file as f64 / envelopes as f64
}
