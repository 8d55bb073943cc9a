//! A newcomer gets a room of 100,000 messages from one member, over TCP on loopback, every commit durable in redb; and what that
//! does to the live flood that both of them relay meanwhile.
//!
//! It prints what it measured: `cargo bench --bench restore`. With `RESTORE_MESSAGES=n` there are n.
#![allow(clippy::print_stdout, reason = "a benchmark says what it measured")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../tests/peer_support/mod.rs"]
mod peer_support;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peer_support::Linked;
use rumormill::Builder;
use rumormill::api::{LinkEvent, MsgId, PeerAddr};
use rumormill::config::{Config, Format};
use rumormill::node::{Event, Handle, HistoryQuery, NoHooks, Node, NodeApi, SendOptions};
use rumormill::proto::sim::envelope;
use rumormill::proto::wire::{Batch, ENVELOPE_LIFE_HOURS, HOUR_MS, Kind, LINK_VERSION_MIN, frame};
use rumormill::state::Profile;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// Messages in the room, if the environment doesn't say.
const MESSAGES: usize = 100_000;
/// How many are said at a time before.
const SAID_AT_ONCE: usize = 1_024;
/// A live envelope every so often.
const LIVE_EVERY: Duration = Duration::from_millis(5);
/// Live envelopes in each measurement without a restoration.
const LIVE_ALONE: usize = 1_000;

fn main() {
    let testing = !std::env::args().any(|arg| arg == "--bench");
    let given = std::env::var("RESTORE_MESSAGES").ok().and_then(|messages| messages.parse().ok());
    let messages = given.unwrap_or(if testing { 500 } else { MESSAGES });
    // The live flood's source, and what comes out at the other end.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(messages));
}

async fn run(messages: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (member, member_addr) = start(&folder, "member", &[]).await;
    let began = Instant::now();
    say(&member, messages).await;
    println!("{messages} messages said by the member, durable, in {:.1?}", began.elapsed());

    let (newcomer, newcomer_addr) = start(&folder, "newcomer", &[]).await;
    let mut live = Live::connect(&newcomer_addr).await;
    let alone = live.measure(LIVE_ALONE, || false).await;
    // The newcomer is told of the member: a node that had been started with it would have begun before.
    let other = Handle::new(Arc::clone(&newcomer.node) as Arc<dyn NodeApi>, Arc::new(NoHooks));
    other.shutdown();
    drop(live);
    pause_until_stopped(&other).await;
    drop((newcomer, other));

    let (began, used) = (Instant::now(), processor_time());
    let (newcomer, newcomer_addr) = start(&folder, "restored", &[member_addr]).await;
    let mut live = Live::connect(&newcomer_addr).await;
    let node = Arc::clone(&newcomer.node);
    let restored = tokio::spawn(async move {
        let mut report = node.load_history("study").await.expect("the history");
        while report.answered == 0 {
            report = node.load_history("study").await.expect("the history");
        }
        (began.elapsed(), report)
    });
    let during = live.measure(usize::MAX, || restored.is_finished()).await;
    let (took, report) = restored.await.expect("the load ends");
    let used = processor_time().zip(used).map(|(after, before)| after.saturating_sub(before));
    let page = newcomer.node.history("study", HistoryQuery { limit: 50, before: None }).await.expect("a page");
    assert_eq!(page.len(), 50.min(messages));
    assert_eq!(report.missing, 0, "{report:?}");
    let rate = messages as f64 / took.as_secs_f64();
    let counted = newcomer.node.counters();
    println!(
        "restored, durable and shown, in {took:.2?}: {rate:.0} messages/s; {} envelopes came, {} of them known",
        counted["item_accepted"], counted["item_known"]
    );
    if let Some(used) = used {
        let each = used.as_secs_f64() * 1e6 / messages as f64;
        println!("processor time, both nodes and the live flood's source: {each:.1} µs a message");
    }
    println!(
        "live relay through the newcomer, p50 / p99: alone {} / {}, meanwhile {} / {} ({} envelopes)",
        alone.show(50),
        alone.show(99),
        during.show(50),
        during.show(99),
        during.0.len()
    );
    println!("p99 meanwhile: {:.2} times the p99 alone", during.at(99).as_secs_f64() / alone.at(99).as_secs_f64());
}

/// The processor time that this process has taken so far. It says more than the clock does where others are busy, too.
#[cfg(unix)]
fn processor_time() -> Option<Duration> {
    use nix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok()?;
    Some(Duration::from(time))
}

#[cfg(not(unix))]
fn processor_time() -> Option<Duration> {
    None
}

async fn pause_until_stopped(handle: &Handle) {
    let mut events = handle.subscribe();
    while !matches!(events.recv().await, Ok(Event::Stopped) | Err(_)) {}
}

/// Latencies, ascending.
struct Latencies(Vec<Duration>);

impl Latencies {
    fn at(&self, percent: usize) -> Duration {
        self.0.get((self.0.len().saturating_sub(1)) * percent / 100).copied().unwrap_or_default()
    }

    fn show(&self, percent: usize) -> String {
        format!("{:.2?}", self.at(percent))
    }
}

/// A node with a runtime of its own, as it has in its process.
struct Running {
    node: Arc<Node>,
    runtime: Option<Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Here nothing may wait for its threads.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

async fn start(folder: &TempDir, name: &str, peers: &[PeerAddr]) -> (Running, PeerAddr) {
    let peers: Vec<_> = peers.iter().map(|peer| format!("{:?}", peer.as_str())).collect();
    let secret = data_encoding::BASE64URL_NOPAD.encode(&[5; 32]);
    let text = format!(
        "version = 1\nname = {name:?}\nlisten = [\"tcp:127.0.0.1:0\"]\npeers = [{}]\n[[chats]]\nname = \"study\"\nsecret = \
         {secret:?}\n[network]\noutgoing = 0\n",
        peers.join(", ")
    );
    let config = Config::parse(&text, Format::Toml, Path::new("bench.toml"), None).expect("a good config");
    let profile = Profile::open(&folder.path().join(name)).expect("a new profile");
    let builder = Builder::new(config, profile);
    let mut events = builder.subscribe();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let node = runtime.spawn(builder.start()).await.expect("it doesn't panic").expect("it starts");
    loop {
        if let Event::Ready { listen } = events.recv().await.expect("it becomes ready") {
            return (Running { node, runtime: Some(runtime) }, listen[0].clone());
        }
    }
}

/// As many messages, many at a time, so that commits are shared.
async fn say(member: &Running, messages: usize) {
    let handle = Handle::new(Arc::clone(&member.node) as Arc<dyn NodeApi>, Arc::new(NoHooks));
    let turns = Arc::new(Semaphore::new(SAID_AT_ONCE));
    let mut all = tokio::task::JoinSet::new();
    for number in 0..messages {
        let turn = Arc::clone(&turns).acquire_owned().await.expect("it stays open");
        let handle = handle.clone();
        all.spawn(async move {
            handle.send("study", &format!("message {number}"), SendOptions::default()).await.expect("it is sent");
            drop(turn);
        });
        while all.try_join_next().is_some() {}
    }
    while all.join_next().await.is_some() {}
}

/// Two peers of one node: what the one sends, the other gets from it.
struct Live {
    from: Linked,
    to: Linked,
    sent: u64,
}

impl Live {
    async fn connect(addr: &PeerAddr) -> Self {
        let seed = rand_seed();
        Self { from: connect(addr, seed).await, to: connect(addr, seed + 1).await, sent: u64::from(seed) << 32 }
    }

    /// Sends and receives until so many have come, or `done`.
    async fn measure(&mut self, count: usize, done: impl Fn() -> bool) -> Latencies {
        let mut under_way: HashMap<MsgId, Instant> = HashMap::new();
        let mut took = Vec::new();
        let mut tick = tokio::time::interval(LIVE_EVERY);
        while took.len() < count && !done() {
            tokio::select! {
                _ = tick.tick() => {
                    self.sent += 1;
                    let bytes = envelope(hour() + ENVELOPE_LIFE_HOURS, 9, self.sent, 512).into_bytes();
                    under_way.insert(MsgId::of(&bytes), Instant::now());
                    self.from.send(frame(Kind::Rumor, &bytes));
                }
                Some(event) = self.to.events.recv() => {
                    let LinkEvent::Batch(_, batch) = event else { continue };
                    for message in Batch::new(batch).flatten().filter(|message| message.kind == Kind::Rumor) {
                        if let Some(sent) = under_way.remove(&MsgId::of(&message.body())) {
                            took.push(sent.elapsed());
                        }
                    }
                }
                Some(_) = self.from.events.recv() => {}
            }
        }
        took.sort_unstable();
        Latencies(took)
    }
}

fn hour() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock past 1970");
    u32::try_from(now.as_millis() as u64 / HOUR_MS).expect("hours fit")
}

/// Another pair of keys for each pair of peers.
fn rand_seed() -> u8 {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    NEXT.fetch_add(2, Ordering::Relaxed)
}

/// A peer by its link alone, of the first version: it takes no part in reconciliations, and a node waits for none.
async fn connect(addr: &PeerAddr, seed: u8) -> Linked {
    let tcp = |config| rumormill::plugins::compiled_in().transport("tcp", config).expect("TCP is compiled in");
    let linked = Linked::dial(addr, seed, tcp).await;
    linked.send(linked.hello(|hello| hello.version_max = LINK_VERSION_MIN));
    linked
}
