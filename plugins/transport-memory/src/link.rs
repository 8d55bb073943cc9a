//! One end of a link: a task that takes what the other end has queued and hands it to this end's node.
//!
//! So a node that doesn't take its events leaves them in the sender's queue. Ending goes as over a socket: the end that
//! closes takes no more frames, the other one hands over what is left and closes too, and [`CLOSE_FLUSH_MS`] bounds it.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumormill_api::transport::BATCH_MAX_BYTES;
use rumormill_api::{Bytes, DownReason, Frame, LinkEvent, LinkId, LinkInfo, SendQueue};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::shared::Shared;

/// How long closing waits for the other end to take what is queued, in milliseconds.
const CLOSE_FLUSH_MS: u64 = 1_000;

/// One end of a link.
pub(crate) struct End {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: LinkId,
    pub(crate) info: LinkInfo,
    /// What this end has queued.
    pub(crate) outgoing: Arc<SendQueue>,
    /// What the other end has queued.
    pub(crate) incoming: Arc<SendQueue>,
    pub(crate) peer_names: Vec<String>,
    pub(crate) partitions: watch::Receiver<u64>,
}

/// Runs one end from its `Up` to its `Down`.
pub(crate) async fn run(end: End) {
    let leave = Leave(&end);
    let reason = if end.shared.tell(LinkEvent::Up(end.id, end.info.clone())).await {
        end.exchange().await
    } else {
        DownReason::Closed
    };
    drop(leave);
    end.shared.tell(LinkEvent::Down(end.id, reason)).await;
}

/// Leaves the table and tells the other end, also when the task is ended from outside.
struct Leave<'a>(&'a End);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.shared.remove(self.0.id);
        self.0.outgoing.close();
    }
}

impl End {
    async fn exchange(&self) -> DownReason {
        let reason = tokio::select! {
            reason = self.receive() => reason,
            () = self.partitioned() => DownReason::Closed,
            () = self.announce_drained() => DownReason::Closed,
            () = self.flush_deadline() => DownReason::Closed,
        };
        // The other end may have noticed a partition first, and be gone.
        if self.is_cut() {
            DownReason::Io("the hub is partitioned".to_owned())
        } else if self.outgoing.is_closed() {
            DownReason::Closed
        } else {
            reason
        }
    }

    async fn receive(&self) -> DownReason {
        let mut frames = Vec::new();
        loop {
            match timeout(self.shared.idle_timeout, self.incoming.take(&mut frames, BATCH_MAX_BYTES)).await {
                Ok(true) => {}
                Ok(false) => return DownReason::Remote,
                Err(_) => return DownReason::Idle,
            }
            let delay = self.shared.hub.delay();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if !self.shared.tell(LinkEvent::Batch(self.id, joined(&mut frames))).await {
                return DownReason::Closed;
            }
        }
    }

    async fn partitioned(&self) {
        let mut partitions = self.partitions.clone();
        while !self.is_cut() {
            // The sender is part of the hub, which this end holds.
            let _ = partitions.changed().await;
        }
    }

    fn is_cut(&self) -> bool {
        self.shared.hub.is_cut(&self.shared.names, &self.peer_names)
    }

    async fn announce_drained(&self) {
        loop {
            self.outgoing.drained().await;
            if !self.shared.tell(LinkEvent::Drained(self.id)).await {
                return;
            }
        }
    }

    async fn flush_deadline(&self) {
        self.outgoing.closed().await;
        tokio::time::sleep(Duration::from_millis(CLOSE_FLUSH_MS)).await;
    }
}

/// The frames side by side; one alone isn't copied.
fn joined(frames: &mut Vec<Frame>) -> Bytes {
    if frames.len() == 1 {
        return frames.remove(0);
    }
    let mut batch = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
    for frame in frames.drain(..) {
        batch.extend_from_slice(&frame);
    }
    batch.freeze()
}
