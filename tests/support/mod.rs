//! Nodes as processes: the real binary, real sockets on loopback, a state folder of their own.
#![allow(dead_code, clippy::unwrap_used, reason = "shared by several test binaries, each of which uses a part")]
#![allow(clippy::disallowed_methods, reason = "waiting for a process is bounded by the real clock")]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for something that must come. Generous: it bounds a failure, not a success.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The secrets of the example rooms.
pub(crate) const STUDY: &str = "Faexh1pFDq3pVlUlQ6JZu4PPqVDu86hbBIBD9HNVz1M";

/// Free ports on loopback. They are held until all are found, so that they differ.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let held: Vec<_> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    std::array::from_fn(|i| held[i].local_addr().unwrap().port())
}

/// A config for tests.
pub(crate) struct TestConfig {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) peers: Vec<u16>,
    pub(crate) chats: Vec<(&'static str, String)>,
    pub(crate) extra: String,
}

impl TestConfig {
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let peers: Vec<String> = self.peers.iter().map(|port| format!("\"tcp:127.0.0.1:{port}\"")).collect();
        writeln!(out, "version = 1\nname = {:?}\nlisten = [\"tcp:127.0.0.1:{}\"]", self.name, self.port).unwrap();
        writeln!(out, "peers = [{}]", peers.join(", ")).unwrap();
        for (name, secret) in &self.chats {
            writeln!(out, "[[chats]]\nname = {name:?}\nsecret = {secret:?}").unwrap();
        }
        writeln!(out, "{}", self.extra).unwrap();
        out
    }

    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join(format!("{}.toml", self.name));
        std::fs::write(&path, self.text()).unwrap();
        path
    }
}

/// A secret for a test's own room.
pub(crate) fn secret(byte: u8) -> String {
    data_encoding::BASE64URL_NOPAD.encode(&[byte; 32])
}

/// A running node, spoken to as JSON lines.
pub(crate) struct Node {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// Everything that was read so far.
    pub(crate) seen: Vec<Value>,
}

impl Node {
    /// Starts a node and waits until it is ready.
    pub(crate) fn start(config: &Path, state: &Path) -> Self {
        let mut node = Self::spawn(config, state);
        node.expect("ready", |event| event["event"] == "ready");
        node
    }

    /// Starts a node with one bot, to which nobody types, and waits until it is ready.
    pub(crate) fn start_bot(script: &Path, room: &str, config: &Path, state: &Path) -> Self {
        let args = ["bot".as_ref(), "run".as_ref(), script.as_os_str(), "--room".as_ref(), room.as_ref()];
        let mut node = Self::spawn_with(&args, config, state);
        node.expect("ready", |event| event["event"] == "ready");
        node
    }

    pub(crate) fn spawn(config: &Path, state: &Path) -> Self {
        Self::spawn_with(&[], config, state)
    }

    fn spawn_with(args: &[&OsStr], config: &Path, state: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rumor"))
            .args(args)
            .args(["--config".as_ref(), config.as_os_str(), "--json".as_ref(), "--state".as_ref(), state.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                let value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON on stdout: {line}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let name = config.file_stem().unwrap().to_string_lossy().into_owned();
        let stdin = child.stdin.take();
        Self { name, child, stdin, lines, seen: Vec::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types a line.
    pub(crate) fn line(&mut self, line: &str) {
        self.try_line(line).unwrap_or_else(|error| panic!("{}: can't type {line:?}: {error}", self.name));
    }

    pub(crate) fn try_line(&mut self, line: &str) -> std::io::Result<()> {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{line}")
    }

    /// The next event that fits; those before it stay in `seen`.
    pub(crate) fn expect(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.expect_within(PATIENCE, what, fits)
    }

    /// As [`expect_ever`](Self::expect_ever), for what a node does by itself, from minute to minute.
    pub(crate) fn expect_later(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        match self.seen.iter().find(|event| fits(event)) {
            Some(event) => event.clone(),
            None => self.expect_within(4 * PATIENCE, what, fits),
        }
    }

    fn expect_within(&mut self, patience: Duration, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.seen.push(event.clone());
                    if fits(&event) {
                        return event;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("{}: no {what}; seen: {:#?}", self.name, self.tail()),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{}: ended before {what}; seen: {:#?}", self.name, self.tail())
                }
            }
        }
    }

    /// As [`expect`](Self::expect), but an event that was seen already counts.
    pub(crate) fn expect_ever(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        match self.seen.iter().find(|event| fits(event)) {
            Some(event) => event.clone(),
            None => self.expect(what, fits),
        }
    }

    fn tail(&self) -> &[Value] {
        &self.seen[self.seen.len().saturating_sub(20)..]
    }

    pub(crate) fn expect_text(&mut self, chat: &str, text: &str) -> Value {
        self.expect_ever(&format!("message {text:?} in {chat}"), |event| {
            event["event"] == "message" && event["chat"] == chat && event["text"] == text
        })
    }

    /// Says something in the open chat and waits until it is durable.
    pub(crate) fn say(&mut self, text: &str) -> Value {
        self.line(text);
        self.expect("sent", |event| event["event"] == "sent")
    }

    /// Takes in what has come so far, without waiting.
    pub(crate) fn drain(&mut self) {
        while let Ok(event) = self.lines.try_recv() {
            self.seen.push(event);
        }
    }

    /// How many events of the run fit.
    pub(crate) fn count(&self, fits: impl Fn(&Value) -> bool) -> usize {
        self.seen.iter().filter(|event| fits(event)).count()
    }

    /// Opens a chat.
    pub(crate) fn open(&mut self, chat: &str) {
        self.line(&format!("/chat {chat}"));
        self.expect("the chat to open", |event| {
            event["event"] == "notice" && event["text"].as_str().is_some_and(|text| text.contains(chat))
        });
    }

    /// `show history`: the texts, in the order shown. A marker sent as a command bounds it.
    pub(crate) fn show_history(&mut self, limit: usize) -> Vec<Value> {
        self.drain();
        let from = self.seen.len();
        self.line(&format!("/show history {limit}"));
        self.line("/nosuchcommand");
        let end = self.expect("the end of the history", |event| event["event"] == "error");
        assert!(end["text"].as_str().is_some_and(|text| text.contains("nosuchcommand")), "{end}");
        self.seen[from..].iter().filter(|event| event["event"] == "history").cloned().collect()
    }

    /// `load history`, and waits for what it prints at its end.
    pub(crate) fn load_history(&mut self) -> String {
        self.line("/load history");
        let end = self.expect("the end of loading", |event| {
            event["event"] == "notice"
                && event["text"].as_str().is_some_and(|text| {
                    text.contains("complete") || text.contains("missing") || text.contains("no peer")
                })
        });
        end["text"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until it is linked to `n` peers.
    pub(crate) fn expect_peers(&mut self, n: usize) {
        let linked = |seen: &[Value]| {
            let count = |name: &str| seen.iter().filter(|event| event["event"] == name).count();
            count("peer_up") - count("peer_down").min(count("peer_up"))
        };
        while linked(&self.seen) < n {
            self.expect("a peer", |event| event["event"] == "peer_up" || event["event"] == "peer_down");
        }
    }

    /// Ends its input, as Ctrl+D does, and waits for a clean end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.stdin = None;
        self.expect("stopped", |event| event["event"] == "stopped");
        self.child.wait().unwrap()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.drain_to_end();
    }

    /// Sends a signal by the system's own command.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn wait(mut self) -> (ExitStatus, Vec<Value>) {
        let status = self.child.wait().unwrap();
        self.drain_to_end();
        (status, std::mem::take(&mut self.seen))
    }

    fn drain_to_end(&mut self) {
        while let Ok(event) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(event);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
