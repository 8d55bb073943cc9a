//! Rumormill, by the library's own builder: TCP on loopback, Noise, engine, dedup filter, history, rooms.
//!
//! A message is *delivered* when a node has it in its history: behind the engine, the dedup filter and the room's
//! trial opening, and with redb on disk. A member's application sees it a little later, as an event: counted apart.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use futures::future::BoxFuture;
use rumormill::Builder;
use rumormill::api::{
    Appended, ArchiveRecord, Cursor, Entry, ExpiryHour, ExpiryRange, History, Holding, MsgId, Pruned,
    Result as ApiResult, Retention, RoomTag, Shelf, Stats,
};
use rumormill::config::{Config, Format};
use rumormill::node::{Event, Handle, NoHooks, Node, NodeApi, SendOptions};
use rumormill::state::Profile;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Counts, Network, Plan, Rooms, RumorOptions};
use crate::Result;
use crate::recorder::{Recorder, message_text};

/// How long the nodes may take to link, in seconds.
const LINKING_MAX_S: u64 = 30;

/// The chat that each node speaks in.
const CHAT: &str = "bench";

struct Rumor {
    nodes: Vec<Arc<Node>>,
    handles: Vec<Handle>,
    watch: Arc<Watch>,
    size: usize,
    readers: u64,
    /// Removed when the run is over.
    _folder: TempDir,
}

/// What is seen of the nodes' histories.
struct Watch {
    recorder: Arc<Recorder>,
    envelopes: AtomicU64,
    envelope_bytes: AtomicU64,
    /// What each node has got, and when, in ns since the run's beginning: while delays are recorded.
    got: Vec<Mutex<Vec<(MsgId, u64)>>>,
    /// Which message of the run has which id.
    sent: Mutex<Vec<(MsgId, usize)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name that the watched history is registered under.
const WATCHED: &str = "watched";

/// A node's history, which tells of each envelope of others that it has made durable.
struct Watched {
    history: Box<dyn History>,
    node: usize,
    watch: Arc<Watch>,
}

impl Watched {
    fn tell(&self, batch: &[Entry]) {
        let (mut count, mut bytes) = (0, 0);
        let timing = self.watch.recorder.timing();
        let now = if timing { self.watch.recorder.now() } else { 0 };
        for entry in batch {
            // What this node says itself has no source.
            let Entry::Window { id, source: 1.., envelope, .. } = entry else { continue };
            count += 1;
            bytes += envelope.len() as u64;
            if timing {
                lock(&self.watch.got[self.node]).push((*id, now));
            }
        }
        if count > 0 {
            self.watch.envelopes.fetch_add(count, Ordering::Relaxed);
            self.watch.envelope_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.watch.recorder.count(count);
        }
    }
}

impl History for Watched {
    fn append(&mut self, batch: &[Entry]) -> ApiResult<Appended> {
        let appended = self.history.append(batch)?;
        self.tell(batch);
        Ok(appended)
    }

    fn holds(&self, id: &MsgId) -> ApiResult<Holding> {
        self.history.holds(id)
    }

    fn get(&self, shelf: Shelf, id: &MsgId) -> ApiResult<Option<Bytes>> {
        self.history.get(shelf, id)
    }

    fn page(&self, room: &RoomTag, before: Cursor, limit: usize) -> ApiResult<Vec<ArchiveRecord>> {
        self.history.page(room, before, limit)
    }

    fn ids(&self, shelf: Shelf, range: ExpiryRange) -> ApiResult<Vec<(ExpiryHour, MsgId)>> {
        self.history.ids(shelf, range)
    }

    fn tombstones(&self) -> ApiResult<Vec<MsgId>> {
        self.history.tombstones()
    }

    fn state(&self, key: &str) -> ApiResult<Option<Bytes>> {
        self.history.state(key)
    }

    fn prune(&mut self, keep: &Retention, now: ExpiryHour) -> ApiResult<Pruned> {
        self.history.prune(keep, now)
    }

    fn forget(&mut self, id: &MsgId) -> ApiResult<()> {
        self.history.forget(id)
    }

    fn stats(&self) -> ApiResult<Stats> {
        self.history.stats()
    }
}

/// Starts the nodes, and waits until all are linked.
pub(super) async fn start(plan: Plan) -> Result<Arc<dyn Network>> {
    let count = plan.graph.nodes();
    if plan.rumor.rooms == Rooms::Pairs && count % 2 == 1 {
        return Err(format!("{count} nodes make no pairs; give an even number, or --rooms one"));
    }
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let watch = Arc::new(Watch {
        recorder: Arc::clone(&plan.recorder),
        envelopes: AtomicU64::new(0),
        envelope_bytes: AtomicU64::new(0),
        got: (0..count).map(|_| Mutex::default()).collect(),
        sent: Mutex::default(),
    });
    let mut addresses: Vec<String> = Vec::new();
    let mut nodes = Vec::new();
    for node in 0..count {
        let peers: Vec<&str> = plan.graph.dials(node).map(|peer| &*addresses[peer]).collect();
        let config = config(node, &peers, &plan.rumor)?;
        let (node, address) = start_node(node, config, folder.path(), &plan.rumor.history, &watch).await?;
        addresses.push(address);
        nodes.push(node);
    }
    linked(&nodes, &plan).await?;
    let handles = nodes.iter().map(|node| Handle::new(Arc::clone(node) as Arc<dyn NodeApi>, Arc::new(NoHooks)));
    let readers = match plan.rumor.rooms {
        Rooms::Pairs => 1,
        Rooms::One => count as u64 - 1,
    };
    Ok(Arc::new(Rumor { handles: handles.collect(), nodes, watch, size: plan.size, readers, _folder: folder }))
}

/// A node's config, of the text that a user would write.
fn config(node: usize, peers: &[&str], options: &RumorOptions) -> Result<Config> {
    let room = match options.rooms {
        Rooms::Pairs => u64::try_from(node / 2).unwrap_or(u64::MAX) + 1,
        Rooms::One => 1,
    };
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&room.to_be_bytes());
    let peers: Vec<String> = peers.iter().map(|peer| format!("{peer:?}")).collect();
    let mut text =
        format!("version = 1\nname = \"n{node}\"\nlisten = [\"tcp:127.0.0.1:0\"]\npeers = [{}]\n", peers.join(", "));
    let secret = BASE64URL_NOPAD.encode(&secret);
    let _ = write!(text, "[[chats]]\nname = {CHAT:?}\nsecret = {secret:?}\n[network]\noutgoing = 0\n");
    let _ = write!(text, "[backends]\nhistory = {WATCHED:?}\n{}\n", options.config.replace("\\n", "\n"));
    Config::parse(&text, Format::Toml, Path::new("bench.toml"), None).map_err(|error| format!("{error}\n{text}"))
}

async fn start_node(
    node: usize,
    config: Config,
    folder: &Path,
    history: &str,
    watch: &Arc<Watch>,
) -> Result<(Arc<Node>, String)> {
    let profile = Profile::open(&folder.join(format!("n{node}"))).map_err(|error| error.to_string())?;
    let (history, watch) = (history.to_owned(), Arc::clone(watch));
    let recorder = Arc::clone(&watch.recorder);
    let builder = Builder::new(config, profile).register(move |registry| {
        let compiled_in = rumormill::plugins::compiled_in();
        registry.add_history(WATCHED, move |config| {
            let history = compiled_in.history(&history, config)?;
            Ok(Box::new(Watched { history, node, watch: Arc::clone(&watch) }))
        });
    });
    let mut events = builder.subscribe();
    let started = builder.start().await.map_err(|error| format!("node {node} doesn't start: {error}"))?;
    let address = loop {
        match events.recv().await {
            Ok(Event::Ready { listen }) => break listen.first().map(ToString::to_string),
            Ok(_) => {}
            Err(error) => return Err(format!("node {node} isn't ready: {error}")),
        }
    };
    tokio::spawn(read(node, events, recorder));
    Ok((started, address.ok_or_else(|| format!("node {node} listens nowhere"))?))
}

/// A member's application: it takes in what is shown.
async fn read(node: usize, mut events: broadcast::Receiver<Event>, recorder: Arc<Recorder>) {
    loop {
        match events.recv().await {
            Ok(Event::Message(message)) if !message.mine => recorder.read(node, message.text.as_bytes()),
            Ok(Event::Notice { text, .. }) => eprintln!("peers: node {node}: {text}"),
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => eprintln!("peers: node {node}: {missed} events were missed"),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn linked(nodes: &[Arc<Node>], plan: &Plan) -> Result<()> {
    let all = async {
        for (at, node) in nodes.iter().enumerate() {
            while node.peers().len() < plan.graph.degree(at) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(LINKING_MAX_S), all)
        .await
        .map_err(|_| format!("the nodes aren't linked after {LINKING_MAX_S} s"))
}

impl Network for Rumor {
    fn publish(self: Arc<Self>, from: usize, message: usize) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let text = message_text(message, self.size);
            let id = self.handles[from].send(CHAT, &text, SendOptions::default()).await;
            let id = id.map_err(|error| error.to_string())?;
            if self.watch.recorder.timing() {
                lock(&self.watch.sent).push((id, message));
            }
            Ok(())
        })
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts {
            duplicates: Some(0),
            message_bytes: self.watch.envelope_bytes.load(Ordering::Relaxed)
                / self.watch.envelopes.load(Ordering::Relaxed).max(1),
            ..Counts::default()
        };
        for node in &self.nodes {
            let counted = node.counters();
            let count = |name: &str| counted.get(name).copied().unwrap_or(0);
            counts.duplicates = counts.duplicates.map(|sum| sum + count("duplicate"));
            counts.repaired += count("item_accepted");
            counts.put_off += count("over_rate") + count("pending_full");
            counts.links += node.peers().len() as u64;
        }
        counts
    }

    fn readers(&self) -> u64 {
        self.readers
    }

    fn report_delays(&self) {
        let recorder = &self.watch.recorder;
        let sent: std::collections::HashMap<MsgId, usize> = lock(&self.watch.sent).drain(..).collect();
        for (node, got) in self.watch.got.iter().enumerate() {
            for (id, at) in lock(got).drain(..) {
                if let Some(message) = sent.get(&id) {
                    recorder.delay(node, at.saturating_sub(recorder.sent_at(*message)));
                }
            }
        }
    }
}
