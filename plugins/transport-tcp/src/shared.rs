//! What all tasks of one open transport share: the link table, the keys, the limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumormill_api::{Frame, LinkEvent, LinkId, LinkSink, Links, PeerAddr, SendError, SendQueue};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::addr::HostPort;
use crate::listen::HalfOpen;
use crate::noise::Keys;

/// How many dials are under way at once; further ones wait their turn.
pub(crate) const DIALS_MAX: usize = 64;

/// One open transport.
pub(crate) struct Shared {
    pub(crate) sink: LinkSink,
    pub(crate) keys: Arc<Keys>,
    pub(crate) limits: Limits,
    pub(crate) proxy: Option<HostPort>,
    pub(crate) dials: Semaphore,
    pub(crate) half_open: HalfOpen,
    table: Mutex<Table>,
    shutdown: watch::Sender<bool>,
}

/// The configured limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) handshake_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) half_open_max: usize,
    pub(crate) incoming_max: usize,
    pub(crate) queue_max_bytes: usize,
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

impl Shared {
    pub(crate) fn new(sink: LinkSink, keys: Arc<Keys>, limits: Limits, proxy: Option<HostPort>) -> Self {
        Self {
            sink,
            keys,
            limits,
            proxy,
            dials: Semaphore::new(DIALS_MAX),
            half_open: HalfOpen::new(limits.half_open_max),
            table: Mutex::default(),
            shutdown: watch::Sender::new(false),
        }
    }

    /// Adds a link. `None` when the transport is closed, or has all the incoming links that it may have.
    pub(crate) fn add(&self, incoming: bool) -> Option<(LinkId, Arc<SendQueue>)> {
        let mut table = self.table();
        if table.closed || incoming && table.incoming >= self.limits.incoming_max {
            return None;
        }
        let id = self.sink.next_link();
        let queue = Arc::new(SendQueue::new(self.limits.queue_max_bytes));
        table.incoming += usize::from(incoming);
        table.links.insert(id, Entry { queue: Arc::clone(&queue), incoming });
        Some((id, queue))
    }

    /// Forgets a link: from now on it is [`SendError::Gone`].
    pub(crate) fn remove(&self, link: LinkId) {
        let mut table = self.table();
        if let Some(entry) = table.links.remove(&link) {
            table.incoming -= usize::from(entry.incoming);
        }
    }

    /// Whether another incoming link may be had.
    pub(crate) fn has_room(&self) -> bool {
        self.table().incoming < self.limits.incoming_max
    }

    /// Waits until the transport is closed.
    pub(crate) async fn closed(&self) {
        // The sender is part of `self`, so waiting can't fail.
        let _ = self.shutdown.subscribe().wait_for(|closed| *closed).await;
    }

    /// Closes everything: the handle was dropped, or the node is gone.
    pub(crate) fn close_all(&self) {
        let mut table = self.table();
        table.closed = true;
        for entry in table.links.values() {
            entry.queue.close();
        }
        drop(table);
        self.shutdown.send_replace(true);
    }

    /// Hands an event to the node; closes everything when the node is gone.
    pub(crate) async fn tell(&self, event: LinkEvent) -> bool {
        let told = self.sink.send(event).await;
        if !told {
            self.close_all();
        }
        told
    }

    fn queue(&self, link: LinkId) -> Option<Arc<SendQueue>> {
        self.table().links.get(&link).map(|entry| Arc::clone(&entry.queue))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle that the node holds.
pub(crate) struct TcpLinks {
    pub(crate) shared: Arc<Shared>,
    pub(crate) runtime: Handle,
}

impl Links for TcpLinks {
    fn dial(&self, addr: &PeerAddr) {
        self.runtime.spawn(crate::dial::run(Arc::clone(&self.shared), addr.clone()));
    }

    fn try_send(&self, link: LinkId, frame: Frame) -> Result<(), SendError> {
        self.shared.queue(link).ok_or(SendError::Gone)?.push(frame)
    }

    fn try_send_all(&self, link: LinkId, frames: &mut Vec<Frame>) -> Result<(), SendError> {
        self.shared.queue(link).ok_or(SendError::Gone)?.push_all(frames)
    }

    fn try_send_bulk(&self, link: LinkId, frames: &mut Vec<Frame>) -> Result<(), SendError> {
        self.shared.queue(link).ok_or(SendError::Gone)?.push_bulk(frames)
    }

    fn close(&self, link: LinkId) {
        if let Some(queue) = self.shared.queue(link) {
            queue.close();
        }
    }
}

impl Drop for TcpLinks {
    fn drop(&mut self) {
        self.shared.close_all();
    }
}
