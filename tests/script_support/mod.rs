//! A node that only remembers, and a host in front of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumormill::api::{BoxFuture, MsgId};
use rumormill::node::{
    ChatInfo, CommandContext, CommandResult, Commands, Draft, Event, Handle, HistoryQuery, LoadReport, Me, Message,
    NodeApi, NodeError, NoticeLevel, PeerInfo, Person, UiAction,
};
use rumormill::room::PersonId;
use rumormill::script::{Host, HostConfig, Outside, Pace, ScriptConfig, ScriptStatus, Web, WebRequest, WebResponse};
use tempfile::TempDir;
use tokio::sync::{broadcast, mpsc};

/// How long a test waits for what must come: far beyond any budget, so that a slow machine doesn't fail it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A node that publishes into a list.
pub struct FakeNode {
    events: broadcast::Sender<Event>,
    notices: mpsc::UnboundedSender<(NoticeLevel, String, String)>,
    sent: mpsc::UnboundedSender<Draft>,
    history: Mutex<Vec<Message>>,
    report: Mutex<LoadReport>,
}

impl NodeApi for FakeNode {
    fn me(&self) -> Me {
        Me { id: PersonId([1; 32]), nick: "Alice".into() }
    }

    fn chats(&self) -> Vec<ChatInfo> {
        ["study", "friends", "my room"]
            .map(|name| ChatInfo { name: name.into(), weak: false, ephemeral: false, missing: 0 })
            .into()
    }

    fn peers(&self) -> Vec<PeerInfo> {
        vec![peer()]
    }

    fn publish<'a>(&'a self, draft: Draft) -> BoxFuture<'a, Result<MsgId, NodeError>> {
        Box::pin(async move {
            let id = MsgId::of(draft.text.as_bytes());
            self.sent.send(draft).unwrap();
            Ok(id)
        })
    }

    fn history<'a>(&'a self, chat: &'a str, query: HistoryQuery) -> BoxFuture<'a, Result<Vec<Message>, NodeError>> {
        Box::pin(async move {
            let all = self.history.lock().unwrap();
            let mut of_chat: Vec<_> = all.iter().filter(|m| *m.chat == *chat).cloned().collect();
            if let Some(before) = query.before {
                of_chat.truncate(of_chat.iter().position(|m| m.id == before).unwrap());
            }
            Ok(of_chat[of_chat.len().saturating_sub(query.limit)..].to_vec())
        })
    }

    fn load_history<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<LoadReport, NodeError>> {
        Box::pin(async { Ok(self.report.lock().unwrap().clone()) })
    }

    fn load_newest<'a>(&'a self, _: &'a str, limit: u64) -> BoxFuture<'a, Result<LoadReport, NodeError>> {
        Box::pin(async move { Ok(LoadReport { new: limit, more: true, ..self.report.lock().unwrap().clone() }) })
    }

    fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn notify(&self, level: NoticeLevel, source: &str, text: &str) {
        let _ = self.notices.send((level, source.into(), text.into()));
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }

    fn shutdown(&self) {}
}

/// A peer.
pub fn peer() -> PeerInfo {
    PeerInfo { addr: "tcp:127.0.0.1:4001".parse().unwrap(), outgoing: true, fingerprint: "0011aabb".into() }
}

/// A message of Bob's.
pub fn message(chat: &str, text: &str) -> Message {
    Message {
        id: MsgId::of(text.as_bytes()),
        chat: chat.into(),
        from: Person { id: PersonId([2; 32]), nick: "Bob".into() },
        text: text.into(),
        time: 1_700_000_000_000,
        mine: false,
        bot: false,
        synced: false,
        late: false,
        reply_to: None,
        missing: 0,
    }
}

/// A script folder, a host and a node that remembers.
pub struct Bench {
    pub dir: TempDir,
    pub host: Arc<Host>,
    pub node: Arc<FakeNode>,
    pub handle: Handle,
    pub notices: mpsc::UnboundedReceiver<(NoticeLevel, String, String)>,
    pub sent: mpsc::UnboundedReceiver<Draft>,
    pub web: Arc<FakeWeb>,
}

/// Grants everything in every chat.
pub fn all() -> ScriptConfig {
    ScriptConfig {
        rooms: vec!["*".into()],
        allow: ["send", "filter", "ui", "store", "history"].map(String::from).into(),
        ..ScriptConfig::default()
    }
}

/// Writes a file below the folder.
pub fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

impl Bench {
    /// Scripts by file, each granted everything.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let name = |file: &str| file.rsplit('/').next().unwrap().trim_end_matches(".lua").to_owned();
        let scripts = files.iter().map(|(file, _)| (name(file), all())).collect();
        Self::with(files, HostConfig { scripts, ..HostConfig::default() })
    }

    /// The same, watched, with short waiting times.
    pub fn watched(files: &[(&str, &str)]) -> Self {
        let name = |file: &str| file.rsplit('/').next().unwrap().trim_end_matches(".lua").to_owned();
        let scripts = files.iter().map(|(file, _)| (name(file), all())).collect();
        Self::with(files, HostConfig { scripts, watch: true, ..HostConfig::default() })
    }

    /// With this config, whose folder is set here.
    pub fn with(files: &[(&str, &str)], config: HostConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["commands", "hooks", "bots", "lib"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for (file, text) in files {
            write(dir.path(), file, text);
        }
        let config = HostConfig { folder: Some(dir.path().to_owned()), ..config };
        let pace = Pace {
            quiet: Duration::from_millis(30),
            poll: Duration::from_millis(500),
            grace: Duration::from_millis(300),
        };
        let host = Host::start_at(config, pace).unwrap();
        let (notices_in, notices) = mpsc::unbounded_channel();
        let (sent_in, sent) = mpsc::unbounded_channel();
        let node = Arc::new(FakeNode {
            events: broadcast::channel(1_024).0,
            notices: notices_in,
            sent: sent_in,
            history: Mutex::default(),
            report: Mutex::default(),
        });
        let handle = Handle::new(node.clone(), host.clone());
        host.attach(handle.clone());
        Self { dir, host, node, handle, notices, sent, web: Arc::default() }
    }

    /// Something happens at the node.
    pub fn emit(&self, event: Event) {
        self.node.events.send(event).unwrap();
    }

    /// What the node has.
    pub fn set_history(&self, messages: Vec<Message>) {
        *self.node.history.lock().unwrap() = messages;
    }

    /// How loading ends.
    pub fn set_report(&self, report: LoadReport) {
        *self.node.report.lock().unwrap() = report;
    }

    /// Writes a file below the script folder.
    pub fn write(&self, file: &str, text: &str) {
        write(self.dir.path(), file, text);
    }

    /// Runs a line in a chat: what it made the frontend do, and how it ended.
    pub async fn run_in(&self, chat: Option<&str>, line: &str) -> (Vec<UiAction>, CommandResult) {
        let (actions, mut made) = mpsc::unbounded_channel();
        let context = CommandContext { chat: chat.map(Into::into), actions };
        let result = tokio::time::timeout(PATIENCE, self.host.run(line, context)).await.unwrap();
        let mut list = Vec::new();
        while let Ok(action) = made.try_recv() {
            list.push(action);
        }
        (list, result)
    }

    /// How a line ended.
    pub async fn run(&self, line: &str) -> CommandResult {
        self.run_in(Some("study"), line).await.1
    }

    /// The next notice that contains this.
    pub async fn notice(&mut self, wanted: &str) -> String {
        let mut seen = Vec::new();
        let wait = async {
            loop {
                let (_, _, text) = self.notices.recv().await.unwrap();
                if text.contains(wanted) {
                    return text;
                }
                seen.push(text);
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("no notice with {wanted:?}; there were {seen:?}"))
    }

    /// The next text that was published.
    pub async fn next_sent(&mut self) -> Draft {
        tokio::time::timeout(PATIENCE, self.sent.recv()).await.unwrap().unwrap()
    }
}

/// "Done" with a text.
pub fn done(text: &str) -> CommandResult {
    CommandResult::Done(Some(text.into()))
}

/// Why a command failed.
pub fn failure(result: CommandResult) -> String {
    match result {
        CommandResult::Failed(reason) => reason,
        other => panic!("it should have failed: {other:?}"),
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.host.stop();
    }
}

/// When virtual time begins, in milliseconds since the Unix epoch: 2026-03-28 00:00 UTC.
const CLOCK_START_MS: u64 = 1_774_656_000_000;

/// A web that has the answers that it is given.
#[derive(Default)]
pub struct FakeWeb {
    answers: Mutex<BTreeMap<String, Result<WebResponse, String>>>,
    asked: Mutex<Vec<WebRequest>>,
}

impl FakeWeb {
    /// What it answers there.
    pub fn answer(&self, url: &str, answer: Result<WebResponse, String>) {
        self.answers.lock().unwrap().insert(url.to_owned(), answer);
    }

    /// What it was asked.
    pub fn asked(&self) -> Vec<WebRequest> {
        self.asked.lock().unwrap().clone()
    }
}

impl Web for FakeWeb {
    fn fetch(&self, request: WebRequest) -> BoxFuture<'static, Result<WebResponse, String>> {
        let answer = self.answers.lock().unwrap().get(&request.url).cloned();
        self.asked.lock().unwrap().push(request);
        Box::pin(async move { answer.unwrap_or_else(|| Err("there is no answer".to_owned())) })
    }
}

/// A web that has its answers, and stores that outlive the host.
pub fn outside() -> (Outside, Arc<FakeWeb>) {
    let web = Arc::new(FakeWeb::default());
    let stores = rumormill::plugins::compiled_in().store("memory", BTreeMap::new()).unwrap();
    (Outside { web: web.clone(), stores, files: None }, web)
}

/// Tokio's paused time, readable on every thread.
#[derive(Debug)]
struct PausedClock {
    runtime: tokio::runtime::Handle,
    start: tokio::time::Instant,
}

/// The present runtime's time, from its beginning on.
pub fn paused_clock() -> Arc<dyn rumormill::node::Clock> {
    let (runtime, start) = (tokio::runtime::Handle::current(), tokio::time::Instant::now());
    Arc::new(PausedClock { runtime, start })
}

impl rumormill::node::Clock for PausedClock {
    fn now(&self) -> rumormill::proto::Now {
        let _entered = self.runtime.enter();
        let mono = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        rumormill::proto::Now { mono, unix: CLOCK_START_MS + mono }
    }
}

impl Bench {
    /// In virtual time (a paused current-thread runtime), each script granted everything and two web servers.
    pub fn timed(files: &[(&str, &str)]) -> Self {
        let name = |file: &str| file.rsplit('/').next().unwrap().trim_end_matches(".lua").to_owned();
        let mut granted = all();
        granted.allow.extend(["http:example.org".to_owned(), "http:api.example.org".to_owned()]);
        let scripts = files.iter().map(|(file, _)| (name(file), granted.clone())).collect();
        let (outside, web) = outside();
        let clock = Some(paused_clock());
        let mut bench = Self::with(files, HostConfig { scripts, outside, clock, ..HostConfig::default() });
        bench.web = web;
        bench
    }

    /// Lets virtual time pass, and with it everything that happens until then.
    pub async fn pass(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// What was published since it was last asked.
    pub fn texts(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.sent.try_recv().ok()).map(|draft| draft.text).collect()
    }

    /// How a script fares.
    pub fn status(&self, name: &str) -> ScriptStatus {
        self.host.status().into_iter().find(|script| script.name == name).unwrap()
    }
}
