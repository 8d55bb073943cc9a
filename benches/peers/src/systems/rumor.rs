//! Rumormill, by the library's own builder: TCP on loopback, Noise, engine, dedup filter, history, rooms.
//!
//! A message is *delivered* when a node has it in its history: behind the engine, the dedup filter and the room's
//! trial opening, and with redb on disk. A member's application sees it a little later, as an event: counted apart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use rumormill::api::{Entry, MsgId};
use rumormill::node::{Event, Handle, Node, NodeApi, SendOptions};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Counts, Network, Plan, Rooms};
use crate::Result;
use crate::recorder::{Recorder, message_text};
use crate::rumor_node::{CHAT, NodePlan};

/// How long the nodes may take to link, in seconds.
const LINKING_MAX_S: u64 = 30;

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

impl Watch {
    /// A node has made that batch durable.
    fn appended(&self, node: usize, batch: &[Entry]) {
        let (mut count, mut bytes) = (0, 0);
        let timing = self.recorder.timing();
        let now = if timing { self.recorder.now() } else { 0 };
        for entry in batch {
            // What this node says itself has no source.
            let Entry::Window { id, source: 1.., envelope, .. } = entry else { continue };
            count += 1;
            bytes += envelope.len() as u64;
            if timing {
                lock(&self.got[node]).push((*id, now));
            }
        }
        if count > 0 {
            self.envelopes.fetch_add(count, Ordering::Relaxed);
            self.envelope_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.recorder.count(count);
        }
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
    let (mut nodes, mut handles) = (Vec::new(), Vec::new());
    for node in 0..count {
        let room = match plan.rumor.rooms {
            Rooms::Pairs => node as u64 / 2,
            Rooms::One => 0,
        };
        let node_plan = NodePlan {
            node,
            peers: plan.graph.dials(node).map(|peer| addresses[peer].clone()).collect(),
            room,
            history: plan.rumor.history.clone().unwrap_or_else(|| "memory".to_owned()),
            config: plan.rumor.config_lines(),
        };
        let on_append = {
            let watch = Arc::clone(&watch);
            Arc::new(move |batch: &[Entry]| watch.appended(node, batch))
        };
        let started = node_plan.start(&folder.path().join(format!("n{node}")), on_append).await?;
        tokio::spawn(read(node, started.events, Arc::clone(&plan.recorder)));
        addresses.push(started.address);
        handles.push(started.handle);
        nodes.push(started.node);
    }
    linked(&nodes, &plan).await?;
    let readers = match plan.rumor.rooms {
        Rooms::Pairs => 1,
        Rooms::One => count as u64 - 1,
    };
    Ok(Arc::new(Rumor { handles, nodes, watch, size: plan.size, readers, _folder: folder }))
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
            counts.put_off += count("over_rate") + count("pending_full") + count("waits_full");
            counts.pulled += count("pulled");
            counts.links += node.peers().len() as u64;
        }
        counts
    }

    fn readers(&self) -> u64 {
        self.readers
    }

    fn report_delays(&self) {
        let recorder = &self.watch.recorder;
        let sent: HashMap<MsgId, usize> = lock(&self.watch.sent).drain(..).collect();
        for (node, got) in self.watch.got.iter().enumerate() {
            for (id, at) in lock(got).drain(..) {
                if let Some(message) = sent.get(&id) {
                    recorder.delay(node, at.saturating_sub(recorder.sent_at(*message)));
                }
            }
        }
    }
}
