//! The Lua host against its targets: what a message costs inside a script's thread, how many a second go through one
//! script, what idle scripts weigh, how soon a saved file runs, what the interrupt costs, what a hostile script costs the
//! node.
//!
//! A plain program, not criterion: most of these are not one function's time. `cargo bench --bench script`; with names
//! behind `--` only those: `idle`, `both`, `through`, `reloads`, `interrupt`, `hostile`. Each figure stands beside its target.
//! It ends with 1 when a ratio or a size is past its target; times depend on the machine, and are only shown.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rumormill::Builder;
use rumormill::api::{BoxFuture, MsgId};
use rumormill::config::{Config, Format};
use rumormill::node::{
    ChatInfo, CommandContext, Commands, Draft, Event, Handle, HistoryQuery, Hooks, LoadReport, Me, Message, Node,
    NodeApi, NodeError, NoticeLevel, PeerInfo, Person, SendOptions, Verdict,
};
use rumormill::room::PersonId;
use rumormill::script::{Host, HostConfig, ScriptConfig};
use rumormill::state::Profile;
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
    let names = std::fs::read_dir(folder.join("bots")).unwrap();
    let name = |file: std::fs::DirEntry| file.file_name().into_string().unwrap().trim_end_matches(".lua").to_owned();
    start_granting(folder, names.map(|file| name(file.unwrap())).collect(), watch)
}

/// With what is granted to scripts of these names.
fn start_granting(folder: &Path, names: Vec<String>, watch: bool) -> Bench {
    let grant = ScriptConfig {
        rooms: vec!["*".into()],
        allow: ["send", "filter", "ui", "store", "history"].map(String::from).into(),
        ..ScriptConfig::default()
    };
    let scripts = names.into_iter().map(|name| (name, grant.clone())).collect();
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

/// Whether a ratio or a size was past its target.
static MISSED: AtomicBool = AtomicBool::new(false);

/// What is measured, and against what.
#[derive(Clone, Copy)]
enum Target {
    /// A time or a rate: the machine's as much as the program's.
    Shown(&'static str),
    /// At most so much, or the program ends with 1.
    AtMost(f64, &'static str),
}

fn row(what: &str, measured: f64, unit: &str, target: Target) {
    let (target, verdict) = match target {
        Target::Shown(target) => (target.to_owned(), ""),
        Target::AtMost(most, unit) if measured <= most => (format!("at most {most:.2} {unit}"), "met"),
        Target::AtMost(most, unit) => {
            MISSED.store(true, Ordering::Relaxed);
            (format!("at most {most:.2} {unit}"), "MISSED")
        }
    };
    println!("{what:<52} {measured:>12.2} {unit:<12} target: {target:<28} {verdict}");
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

fn in_calls(bench: &Bench, name: &str) -> Duration {
    bench.host.status().into_iter().find(|script| script.name == name).unwrap().in_calls
}

/// So many messages at once, as a node presents them: one after the other, when the script's thread sleeps and is woken for
/// each, or those that wait together. The time inside the calls is from a message's table being made to the answer, by the
/// wall clock; the thread's processor time is that, the queue, the answer's way and the wake-ups.
async fn both(at_once: u64) {
    const MESSAGES: u64 = 48_000;
    let dir = folder(&[("both.lua", BOTH)]);
    let bench = start(dir.path(), false);
    let (cpu_before, in_calls_before, calls_before) =
        (cpu(&bench, "both"), in_calls(&bench, "both"), calls(&bench, "both"));
    for n in (0..MESSAGES).step_by(usize::try_from(at_once).unwrap()) {
        let waiting = (n..n + at_once).map(|n| message(&format!("text {n}"))).collect();
        for verdict in bench.host.on_receive_all(waiting).await {
            let Verdict::Pass(passed) = verdict else { panic!() };
            bench.node.events.send(Event::Message(passed)).unwrap();
        }
    }
    // What the observer was too slow to get counts as handled, and not as a call.
    let handled = || calls(&bench, "both") - calls_before + missed(&bench, "both");
    while handled() < 2 * MESSAGES {
        tokio::task::yield_now().await;
    }
    let messages = (calls(&bench, "both") - calls_before) as f64 / 2.0;
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / messages;
    let (inside, whole) = (in_calls(&bench, "both") - in_calls_before, cpu(&bench, "both") - cpu_before);
    let row_of = |what: &str, spent, target| {
        row(
            &format!("filter and observer, {at_once} at once, {what}"),
            each(spent),
            "µs a message",
            Target::Shown(target),
        );
    };
    row_of("inside the calls", inside, "at most 3 µs");
    row_of("of the script's thread", whole, "none");
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
        // No more than the script's queue takes: what came on top would be missed, and counted as such. To look costs more
        // than a message, so it is done once for many.
        if sent - (calls(&bench, "ear") - calls_before) <= 100 {
            for _ in 0..100 {
                bench.node.events.send(Event::Message(one.clone())).unwrap();
            }
            sent += 100;
        } else {
            // Not the runtime's timer, whose milliseconds would be the bound: it is idle for a fraction of one.
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    while calls(&bench, "ear") - calls_before < MESSAGES {
        tokio::task::yield_now().await;
    }
    let took = begun.elapsed();
    let rate = MESSAGES as f64 / took.as_secs_f64();
    row("through one script", rate, "messages/s", Target::Shown("at least 100,000"));
    bench.host.stop();
}

async fn idle() {
    const SCRIPTS: usize = 50;
    let name = |n: usize| format!("idle{n}");
    let names: Vec<_> = (0..=SCRIPTS).map(name).collect();
    // The host, its commands and what a first script brings into memory are there before.
    let dir = folder(&[("idle0.lua", BOTH)]);
    let bench = start_granting(dir.path(), names.clone(), false);
    let before = resident_kib();
    for name in &names[1..] {
        std::fs::write(dir.path().join(format!("bots/{name}.lua")), BOTH).unwrap();
    }
    assert_eq!(bench.host.reload(), (SCRIPTS, 0));
    let grown = resident_kib().saturating_sub(before) as f64 / 1024.0;
    row("50 idle scripts", grown, "MiB", Target::AtMost(16.0, "MiB"));
    let state = bench.host.status().iter().find(|script| script.name == names[1]).unwrap().memory;
    row("of each of these, its state", state as f64 / 1024.0, "KiB", Target::Shown("none"));
    bench.host.stop();
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
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    row(
        "save to reloaded, the quiet time in it: median",
        ms(times[times.len() / 2]),
        "ms",
        Target::Shown("at most 400 ms"),
    );
    row(
        "save to reloaded, the quiet time in it: worst",
        ms(times[times.len() - 1]),
        "ms",
        Target::Shown("at most 400 ms"),
    );
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
    row("a reload without the quiet time", begun.elapsed().as_secs_f64(), "ms", Target::Shown("none"));
    let grown = (at[9] as f64 - at[0] as f64) / 1024.0;
    row("growth from the 100th reload to the 1,000th", grown, "MiB", Target::AtMost(1.0, "MiB"));
    row("handlers after 1,000 reloads, of two", status.handlers as f64, "", Target::AtMost(2.0, ""));
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
    row("interrupt, on a loop that computes", more, "% more", Target::AtMost(15.0, "%"));
}

/// A command that runs into its budget, and one between two such that keeps the script from being disabled.
const HOSTILE: &str = r#"
    rumor.command("bad", { run = function() while true do pcall(function() while true do end end) end end })
    rumor.command("ok", { run = function() return true end })
"#;

/// Two whole nodes on the memory transport, scripts on both: how soon a message is shown at the other, with a script of the
/// second that is always in an endless loop and without.
async fn hostile() {
    const ROUNDS: usize = 5;
    const MESSAGES: usize = 400;
    let files = [("both.lua", BOTH), ("bad.lua", HOSTILE)];
    let (left, right) = (Whole::start("left", None, &files).await, Whole::start("right", Some("left"), &files).await);
    while left.node.peers().is_empty() || right.node.peers().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut p99 = [Vec::new(), Vec::new()];
    for round in 0..2 * ROUNDS {
        let bad = (round % 2 == 1).then(|| {
            let host = Arc::clone(&right.host);
            tokio::spawn(async move {
                loop {
                    // The quick one first: rounds that end within the other would disable the script.
                    for line in ["ok", "bad"] {
                        let (actions, _seen) = mpsc::unbounded_channel();
                        host.run(line, CommandContext { chat: None, actions }).await;
                        // What is disabled answers at once, and a loop that never waits can't be aborted.
                        tokio::task::yield_now().await;
                    }
                }
            })
        });
        let mut heard = right.node.subscribe();
        let mut times = Vec::with_capacity(MESSAGES);
        for n in 0..MESSAGES {
            let text = format!("round {round} message {n}");
            let begun = Instant::now();
            left.handle.send("study", &text, SendOptions::default()).await.unwrap();
            loop {
                match heard.recv().await.unwrap() {
                    Event::Message(message) if message.text == text => break,
                    _ => {}
                }
            }
            times.push(begun.elapsed());
        }
        if let Some(bad) = bad {
            bad.abort();
            let _ = bad.await;
        }
        times.sort();
        p99[round % 2].push(times[MESSAGES * 99 / 100].as_secs_f64() * 1e3);
    }
    p99.iter_mut().for_each(|rounds| rounds.sort_by(f64::total_cmp));
    let [without, with] = &p99;
    let (median, highest) = (without[ROUNDS / 2], without[ROUNDS - 1]);
    row("p99 to the other node, no hostile script: median", median, "ms", Target::Shown("none"));
    row("p99 to the other node, no hostile script: highest", highest, "ms", Target::Shown("none"));
    row("p99 to the other node, a hostile one: median", with[ROUNDS / 2], "ms", Target::Shown("none"));
    // Noise is what the rounds without it differ by.
    let most = (highest / median).max(1.25);
    row("p99 with it to p99 without", with[ROUNDS / 2] / median, "times", Target::AtMost(most, "times, the noise"));
    for whole in [left, right] {
        whole.node.shutdown();
        whole.host.stop();
    }
}

/// A whole node with scripts.
struct Whole {
    node: Arc<Node>,
    handle: Handle,
    host: Arc<Host>,
    _folders: [tempfile::TempDir; 2],
}

impl Whole {
    async fn start(name: &str, peer: Option<&str>, files: &[(&str, &str)]) -> Self {
        let scripts = folder(files);
        let grant = ScriptConfig {
            rooms: vec!["*".into()],
            allow: vec!["send".into(), "filter".into()],
            ..ScriptConfig::default()
        };
        let granted = ["both", "bad"].map(|name| (name.to_owned(), grant.clone())).into();
        let config = HostConfig { folder: Some(scripts.path().to_owned()), scripts: granted, ..HostConfig::default() };
        let host = Host::start(config).unwrap();
        let peers = peer.map(|peer| format!("\"memory:bench-{peer}\"")).unwrap_or_default();
        let text = format!(
            "version = 1\nname = {name:?}\nlisten = [\"memory:bench-{name}\"]\npeers = [{peers}]\n\
             [backends]\ntransports = [\"memory\"]\nhistory = \"memory\"\n\
             [[chats]]\nname = \"study\"\nsecret = \"{}\"\n",
            "A".repeat(42) + "E"
        );
        let config = Config::parse(&text, Format::Toml, Path::new("bench.toml"), None).unwrap();
        let state = tempfile::tempdir().unwrap();
        let hooks = Arc::clone(&host) as Arc<dyn Hooks>;
        let builder = Builder::new(config, Profile::open(&state.path().join(name)).unwrap()).hooks(Arc::clone(&hooks));
        let node = builder.start().await.unwrap();
        let handle = Handle::new(Arc::clone(&node) as Arc<dyn NodeApi>, hooks);
        host.attach(handle.clone());
        Self { node, handle, host, _folders: [scripts, state] }
    }
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    // `cargo test --benches` only wants to know that it starts.
    if args.iter().any(|arg| arg == "--test") {
        return;
    }
    let names: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| *wanted == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // The memory comes first: what ran before would leave its own behind.
        if wanted("idle") {
            idle().await;
        }
        if wanted("both") {
            both(1).await;
            both(16).await;
        }
        if wanted("through") {
            through_one().await;
        }
        if wanted("reloads") {
            reloads().await;
        }
        if wanted("hostile") {
            hostile().await;
        }
    });
    if wanted("interrupt") {
        interrupt();
    }
    if MISSED.load(Ordering::Relaxed) {
        std::process::exit(1);
    }
}
