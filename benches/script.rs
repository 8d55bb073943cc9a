//! The Lua host against its targets: what a message costs inside a script's thread, how many a second go through one
//! script, what idle scripts weigh, how soon a saved file runs, what the interrupt costs.
//!
//! A plain program, not criterion: most of these are not one function's time. `cargo bench --bench script`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormill::api::{BoxFuture, MsgId};
use rumormill::node::{
    ChatInfo, Draft, Event, Handle, HistoryQuery, Hooks, LoadReport, Me, Message, NodeApi, NodeError, NoticeLevel,
    PeerInfo, Person, Verdict,
};
use rumormill::room::PersonId;
use rumormill::script::{Host, HostConfig, ScriptConfig};
use tokio::sync::{broadcast, mpsc};

/// A node that says what it is told.
struct Quiet {
    events: broadcast::Sender<Event>,
    notices: mpsc::UnboundedSender<String>,
}

impl NodeApi for Quiet {
    fn me(&self) -> Me {
        Me { id: PersonId([1; 32]), nick: "Alice".into() }
    }
    fn chats(&self) -> Vec<ChatInfo> {
        vec![ChatInfo { name: "study".into(), weak: false, ephemeral: false, missing: 0 }]
    }
    fn peers(&self) -> Vec<PeerInfo> {
        Vec::new()
    }
    fn publish<'a>(&'a self, draft: Draft) -> BoxFuture<'a, Result<MsgId, NodeError>> {
        Box::pin(async move { Ok(MsgId::of(draft.text.as_bytes())) })
    }
    fn history<'a>(&'a self, _: &'a str, _: HistoryQuery) -> BoxFuture<'a, Result<Vec<Message>, NodeError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn load_history<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<LoadReport, NodeError>> {
        Box::pin(async { Ok(LoadReport::default()) })
    }
    fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
    fn notify(&self, _: NoticeLevel, _: &str, text: &str) {
        let _ = self.notices.send(text.to_owned());
    }
    fn counters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }
    fn shutdown(&self) {}
}

fn message(text: &str) -> Message {
    Message {
        id: MsgId::of(text.as_bytes()),
        chat: "study".into(),
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

struct Bench {
    host: Arc<Host>,
    node: Arc<Quiet>,
    notices: mpsc::UnboundedReceiver<String>,
}

fn start(folder: &Path, watch: bool) -> Bench {
    let grant = ScriptConfig {
        rooms: vec!["*".into()],
        allow: ["send", "filter", "ui", "store", "history"].map(String::from).into(),
        ..ScriptConfig::default()
    };
    let names = std::fs::read_dir(folder.join("bots")).unwrap();
    let scripts = names
        .map(|file| file.unwrap().file_name().into_string().unwrap().trim_end_matches(".lua").to_owned())
        .map(|name| (name, grant.clone()))
        .collect();
    let host =
        Host::start(HostConfig { folder: Some(folder.to_owned()), scripts, watch, ..HostConfig::default() }).unwrap();
    let (heard, notices) = mpsc::unbounded_channel();
    let node = Arc::new(Quiet { events: broadcast::channel(1 << 16).0, notices: heard });
    host.attach(Handle::new(node.clone(), host.clone()));
    Bench { host, node, notices }
}

fn folder(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("bots")).unwrap();
    for (name, text) in scripts {
        std::fs::write(dir.path().join("bots").join(name), text).unwrap();
    }
    dir
}

/// The processor time and the memory of this process, from `/proc/self`.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn cpu(bench: &Bench, name: &str) -> Duration {
    bench.host.status().into_iter().find(|script| script.name == name).unwrap().cpu
}

fn calls(bench: &Bench, name: &str) -> u64 {
    bench.host.status().into_iter().find(|script| script.name == name).unwrap().calls
}

fn missed(bench: &Bench, name: &str) -> u64 {
    bench.host.status().into_iter().find(|script| script.name == name).unwrap().missed
}

/// A `receive` filter and a `message` observer that look at each message.
const BOTH: &str = r#"
    rumor.on("receive", function(msg) if msg.text == "spam" then return false end end)
    rumor.on("message", function(msg) if msg.text == "!ping" then msg:reply("pong") end end)
"#;

/// A `message` observer alone.
const OBSERVER: &str = r#"
    seen = 0
    rumor.on("message", function(msg) if msg.text ~= "" then seen += 1 end end)
"#;

async fn both() {
    const MESSAGES: u64 = 50_000;
    let dir = folder(&[("both.lua", BOTH)]);
    let bench = start(dir.path(), false);
    let (before, calls_before) = (cpu(&bench, "both"), calls(&bench, "both"));
    for n in 0..MESSAGES {
        let Verdict::Pass(passed) = bench.host.on_receive(message(&format!("text {n}"))).await else { panic!() };
        bench.node.events.send(Event::Message(passed)).unwrap();
    }
    // What the observer was too slow to get counts as handled, and not as a call.
    let handled = || calls(&bench, "both") - calls_before + missed(&bench, "both");
    while handled() < 2 * MESSAGES {
        tokio::task::yield_now().await;
    }
    let spent = (cpu(&bench, "both") - before) * 2 * u32::try_from(MESSAGES).unwrap()
        / u32::try_from(calls(&bench, "both") - calls_before).unwrap();
    println!(
        "filter and observer: {:.2} µs of the thread's time a message",
        spent.as_secs_f64() * 1e6 / MESSAGES as f64
    );
    bench.host.stop();
}

async fn through_one() {
    const MESSAGES: u64 = 200_000;
    let dir = folder(&[("ear.lua", OBSERVER)]);
    let bench = start(dir.path(), false);
    let calls_before = calls(&bench, "ear");
    let one = message("some text of a usual length, so that it looks like one");
    let begun = Instant::now();
    let mut sent = 0;
    while sent < MESSAGES {
        // No more than the script's queue takes: what came on top would be missed, and counted as such.
        if sent - (calls(&bench, "ear") - calls_before) < 200 {
            bench.node.events.send(Event::Message(one.clone())).unwrap();
            sent += 1;
        } else {
            tokio::task::yield_now().await;
        }
    }
    while calls(&bench, "ear") - calls_before < MESSAGES {
        tokio::task::yield_now().await;
    }
    let took = begun.elapsed();
    println!("through one script: {:.0} messages/s", MESSAGES as f64 / took.as_secs_f64());
    bench.host.stop();
}

async fn idle() {
    let names: Vec<_> = (0..50).map(|n| format!("idle{n}.lua")).collect();
    let empty = folder(&[]);
    let none = start(empty.path(), false);
    let before = resident_kib();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), BOTH)).collect();
    let dir = folder(&files);
    let bench = start(dir.path(), false);
    let after = resident_kib();
    println!("50 idle scripts: {:.1} MiB", (after.saturating_sub(before)) as f64 / 1024.0);
    bench.host.stop();
    none.host.stop();
}

async fn reloads() {
    let dir = folder(&[("v.lua", BOTH)]);
    let mut bench = start(dir.path(), true);
    let path = dir.path().join("bots/v.lua");
    let mut times = Vec::new();
    for n in 0..20 {
        let begun = Instant::now();
        std::fs::write(&path, format!("{BOTH}-- {n}")).unwrap();
        loop {
            if bench.notices.recv().await.unwrap().starts_with("reloaded v (") {
                break;
            }
        }
        times.push(begun.elapsed());
    }
    times.sort();
    println!("save to reloaded: median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1]);
    bench.host.stop();

    let bench = start(dir.path(), false);
    let mut at = Vec::new();
    let begun = Instant::now();
    for n in 0..1_000 {
        std::fs::write(&path, format!("{BOTH}-- again {n}")).unwrap();
        assert_eq!(bench.host.reload(), (1, 0));
        if n % 100 == 99 {
            at.push(resident_kib());
        }
    }
    let status = bench.host.status().into_iter().find(|script| script.name == "v").unwrap();
    println!(
        "1,000 reloads: {:.1} ms each, resident after 100 and 1,000: {:.1} and {:.1} MiB, {} handlers",
        begun.elapsed().as_secs_f64(),
        at[0] as f64 / 1024.0,
        at[9] as f64 / 1024.0,
        status.handlers
    );
    bench.host.stop();
}

/// A loop that computes, with the interrupt that the host sets and with none.
fn interrupt() {
    const LOOP: &str = "local n = 0 for i = 1, 20000000 do n = (n + i) % 1000003 end return n";
    let time = |flag: Option<Arc<std::sync::atomic::AtomicBool>>| {
        let lua = mlua::Lua::new();
        lua.set_compiler(mlua::chunk::Compiler::new().set_optimization_level(1).set_debug_level(1));
        lua.sandbox(true).unwrap();
        if let Some(flag) = flag {
            lua.set_interrupt(move |_| match flag.load(std::sync::atomic::Ordering::Relaxed) {
                false => Ok(mlua::VmState::Continue),
                true => Err(mlua::Error::runtime("stopped")),
            });
        }
        let chunk = lua.load(LOOP).into_function().unwrap();
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            chunk.call::<f64>(()).unwrap();
            best = best.min(begun.elapsed());
        }
        best
    };
    let without = time(None);
    let with = time(Some(Arc::default()));
    let more = 100.0 * (with.as_secs_f64() / without.as_secs_f64() - 1.0);
    println!("interrupt: {without:?} without, {with:?} with one: {more:+.1} %");
}

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        idle().await;
        both().await;
        through_one().await;
        reloads().await;
    });
    interrupt();
}
