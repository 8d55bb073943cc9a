//! Where the nodes of one process meet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rumormill_api::{Direction, Error, ErrorKind, LinkInfo, PeerAddr, Result, SendQueue};
use tokio::sync::watch;

use crate::link::{self, End};
use crate::shared::Shared;
use crate::{EXPECTED, NAME, is_name, peer_addr};

/// Where the nodes of one process meet, and where a test causes faults. Clones are the same hub.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Counts the partitions, so that every link looks whether it is cut.
    partitions: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    listeners: BTreeMap<String, Weak<Shared>>,
    cut: BTreeSet<(String, String)>,
    delay: Duration,
    nodes: u64,
    links: u64,
}

impl Hub {
    /// A hub where nobody listens yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Separates every node of `left` from every node of `right`, by the names that they listen at: links between them go
    /// down at both ends, with what they had under way, and dials fail, until [`heal`](Self::heal).
    pub fn partition(&self, left: &[&str], right: &[&str]) {
        let mut state = self.state();
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            state.cut.insert((a.to_owned(), b.to_owned()));
            state.cut.insert((b.to_owned(), a.to_owned()));
        }
        drop(state);
        self.0.partitions.send_modify(|count| *count += 1);
    }

    /// Ends every partition. Links that went down stay down; dialling is up to the nodes.
    pub fn heal(&self) {
        self.state().cut.clear();
    }

    /// From now on holds every batch that long before it is handed over. Batches of one link wait one after another;
    /// what is queued meanwhile goes along in the next one. Zero at first.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    pub(crate) fn delay(&self) -> Duration {
        self.state().delay
    }

    /// A name for a node that listens nowhere, which can't be dialled.
    pub(crate) fn anonymous(&self) -> String {
        let mut state = self.state();
        state.nodes += 1;
        format!("~{}", state.nodes)
    }

    /// Tells when there is a new partition.
    pub(crate) fn partitions(&self) -> watch::Receiver<u64> {
        self.0.partitions.subscribe()
    }

    pub(crate) fn is_cut(&self, left: &[String], right: &[String]) -> bool {
        let state = self.state();
        // The order of names in a pair never matters: both are in the set.
        !state.cut.is_empty() && left.iter().any(|a| right.iter().any(|b| state.cut.contains(&(a.clone(), b.clone()))))
    }

    pub(crate) fn listen(&self, name: &str, shared: &Arc<Shared>) -> Result<()> {
        let mut state = self.state();
        if state.listeners.get(name).is_some_and(|there| there.strong_count() > 0) {
            let text = format!("can't listen on {name:?}: another node of this process does; choose another name");
            return Err(Error::new(ErrorKind::Busy, NAME, text));
        }
        state.listeners.insert(name.to_owned(), Arc::downgrade(shared));
        Ok(())
    }

    /// Takes back what that node listens at.
    pub(crate) fn forget(&self, shared: &Shared) {
        self.state().listeners.retain(|_, there| !std::ptr::eq(there.as_ptr(), shared));
    }

    /// Links two nodes, and starts both ends' tasks.
    pub(crate) fn connect(&self, dialler: &Arc<Shared>, addr: &PeerAddr) -> std::result::Result<(), String> {
        if addr.scheme() != NAME || !is_name(addr.rest()) {
            return Err(format!("{addr} can't be dialled: expected memory:NAME; {EXPECTED}"));
        }
        let listener = self.state().listeners.get(addr.rest()).and_then(Weak::upgrade);
        let listener = listener.ok_or_else(|| format!("nobody listens on {addr}"))?;
        if self.is_cut(&dialler.names, &listener.names) {
            return Err(format!("{addr} is in another partition of the hub"));
        }
        if dialler.network.0 != listener.network.0 {
            return Err(format!("{addr} belongs to another network"));
        }
        if dialler.public == listener.public {
            return Err("that is this node itself".to_owned());
        }

        let partitions = self.partitions();
        let to_listener = Arc::new(SendQueue::new(dialler.queue_max_bytes));
        let to_dialler = Arc::new(SendQueue::new(listener.queue_max_bytes));
        let at_listener =
            listener.add(true, &to_dialler).ok_or_else(|| format!("{addr} has no room for another link"))?;
        let Some(at_dialler) = dialler.add(false, &to_listener) else {
            listener.remove(at_listener);
            return Err("the transport was closed".to_owned());
        };

        let handshake_hash = self.next_hash(dialler, &listener);
        let ends = [
            (
                dialler,
                &listener,
                at_dialler,
                &to_listener,
                &to_dialler,
                Direction::Outgoing(addr.clone()),
                addr.clone(),
            ),
            (
                &listener,
                dialler,
                at_listener,
                &to_dialler,
                &to_listener,
                Direction::Incoming,
                peer_addr(&dialler.names[0]),
            ),
        ];
        for (here, there, id, outgoing, incoming, direction, remote) in ends {
            here.runtime.spawn(link::run(End {
                id,
                info: LinkInfo { peer: there.public, direction, remote, handshake_hash },
                shared: Arc::clone(here),
                outgoing: Arc::clone(outgoing),
                incoming: Arc::clone(incoming),
                peer_names: there.names.clone(),
                partitions: partitions.clone(),
            }));
        }
        Ok(())
    }

    fn next_hash(&self, dialler: &Shared, listener: &Shared) -> [u8; 32] {
        let mut state = self.state();
        state.links += 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&state.links.to_be_bytes()).update(&dialler.public).update(&listener.public);
        *hasher.finalize().as_bytes()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
