//! What all tasks of one node share: the link table, the keys, the limits.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use curve25519_dalek::MontgomeryPoint;
use rumormill_api::{
    Frame, LinkEvent, LinkId, LinkSecret, LinkSink, Links, PeerAddr, SendError, SendQueue, TransportConfig,
};
use tokio::runtime::Handle;

use crate::hub::Hub;

/// One open transport.
pub(crate) struct Shared {
    pub(crate) hub: Hub,
    /// What it listens at, or the name that the hub gave it: never empty.
    pub(crate) names: Vec<String>,
    pub(crate) public: [u8; 32],
    pub(crate) network: LinkSecret,
    pub(crate) idle_timeout: Duration,
    pub(crate) queue_max_bytes: usize,
    pub(crate) runtime: Handle,
    incoming_max: usize,
    sink: LinkSink,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    links: HashMap<LinkId, Entry>,
    incoming: usize,
    closed: bool,
}

struct Entry {
    queue: Arc<SendQueue>,
    incoming: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(config: &TransportConfig, hub: Hub, sink: LinkSink) -> Self {
        let names = if config.listen.is_empty() { vec![hub.anonymous()] } else { config.listen.clone() };
        Self {
            hub,
            names,
            public: MontgomeryPoint::mul_base_clamped(config.secret.0).to_bytes(),
            network: config.network.clone(),
            idle_timeout: Duration::from_millis(config.idle_timeout),
            queue_max_bytes: config.queue_max_bytes,
            runtime: Handle::current(),
            incoming_max: config.incoming_max,
            sink,
            table: Mutex::default(),
        }
    }

    /// Adds a link. `None` when the transport is closed, or has all the incoming links that it may have.
    pub(crate) fn add(&self, incoming: bool, queue: &Arc<SendQueue>) -> Option<LinkId> {
        let mut table = self.table();
        if table.closed || incoming && table.incoming >= self.incoming_max {
            return None;
        }
        let id = self.sink.next_link();
        table.incoming += usize::from(incoming);
        table.links.insert(id, Entry { queue: Arc::clone(queue), incoming });
        Some(id)
    }

    /// Forgets a link: from now on it is [`SendError::Gone`].
    pub(crate) fn remove(&self, link: LinkId) {
        let mut table = self.table();
        if let Some(entry) = table.links.remove(&link) {
            table.incoming -= usize::from(entry.incoming);
        }
    }

    /// Hands an event to the node; closes everything when the node is gone.
    pub(crate) async fn tell(&self, event: LinkEvent) -> bool {
        let told = self.sink.send(event).await;
        if !told {
            self.close_all();
        }
        told
    }

    /// Closes everything: the handle was dropped, or the node is gone.
    pub(crate) fn close_all(&self) {
        self.hub.forget(self);
        let mut table = self.table();
        table.closed = true;
        for entry in table.links.values() {
            entry.queue.close();
        }
    }

    fn queue(&self, link: LinkId) -> Option<Arc<SendQueue>> {
        self.table().links.get(&link).map(|entry| Arc::clone(&entry.queue))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle that the node holds.
pub(crate) struct MemoryLinks(pub(crate) Arc<Shared>);

impl Links for MemoryLinks {
    fn dial(&self, addr: &PeerAddr) {
        let (shared, addr) = (Arc::clone(&self.0), addr.clone());
        self.0.runtime.spawn(async move {
            if let Err(why) = shared.hub.clone().connect(&shared, &addr) {
                shared.tell(LinkEvent::DialFailed(addr, why)).await;
            }
        });
    }

    fn try_send(&self, link: LinkId, frame: Frame) -> Result<(), SendError> {
        self.0.queue(link).ok_or(SendError::Gone)?.push(frame)
    }

    fn try_send_all(&self, link: LinkId, frames: &mut Vec<Frame>) -> Result<(), SendError> {
        self.0.queue(link).ok_or(SendError::Gone)?.push_all(frames)
    }

    fn try_send_bulk(&self, link: LinkId, frames: &mut Vec<Frame>) -> Result<(), SendError> {
        self.0.queue(link).ok_or(SendError::Gone)?.push_bulk(frames)
    }

    fn close(&self, link: LinkId) {
        if let Some(queue) = self.0.queue(link) {
            queue.close();
        }
    }
}

impl Drop for MemoryLinks {
    fn drop(&mut self) {
        self.0.close_all();
    }
}
