//! Links to other nodes.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::Result;
use crate::ids::{LinkId, Millis, PeerAddr};
use crate::registry::Options;

/// A future on the heap, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Largest frame on the wire, in bytes, its two length bytes not counted.
pub const FRAME_MAX_BYTES: usize = 65_535;
/// Largest sequence of link messages in one frame, in bytes: a frame less the AEAD's tag.
pub const BATCH_MAX_BYTES: usize = FRAME_MAX_BYTES - 16;
/// What a link may have waiting to be written, in bytes.
pub const LINK_QUEUE_MAX_BYTES: usize = 4 << 20;

/// One encoded link message, whole. A transport puts as many as fit into one frame and hands the receiving node their
/// concatenation; it never looks inside.
pub type Frame = Bytes;

/// The secret half of a link key: an X25519 scalar. Erased when dropped; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct LinkSecret(pub [u8; 32]);

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(…)")
    }
}

/// How a transport is opened.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Where to listen, in the transport's own notation (`rest` of a [`PeerAddr`]). Empty: dial only.
    pub listen: Vec<String>,
    /// This node's link key.
    pub secret: LinkSecret,
    /// The network's pre-shared key: all nodes of one network have the same.
    pub network: LinkSecret,
    /// A proxy for dialling, `socks5://HOST:PORT`, or none.
    pub proxy: Option<String>,
    /// How long a handshake may take, in milliseconds.
    pub handshake_timeout: Millis,
    /// How long a link may be silent before it counts as dead, in milliseconds.
    pub idle_timeout: Millis,
    /// How many handshakes may be under way for incoming links.
    pub half_open_max: usize,
    /// How many incoming links there may be.
    pub incoming_max: usize,
    /// What a link may have waiting to be written, in bytes.
    pub queue_max_bytes: usize,
    /// The backend's own settings.
    pub options: Options,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            secret: LinkSecret([0; 32]),
            network: LinkSecret([0; 32]),
            proxy: None,
            handshake_timeout: 5_000,
            idle_timeout: 60_000,
            half_open_max: 64,
            incoming_max: 256,
            queue_max_bytes: LINK_QUEUE_MAX_BYTES,
            options: Options::default(),
        }
    }
}

/// Who opened a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Direction {
    /// This node dialled that address.
    Outgoing(PeerAddr),
    /// The other node dialled.
    Incoming,
}

/// What is known of a link once its handshake is complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkInfo {
    /// The other node's public link key (X25519), proven by the handshake.
    pub peer: [u8; 32],
    /// Who opened it.
    pub direction: Direction,
    /// The address that the other end is seen at; for an incoming link not one that can be dialled.
    pub remote: PeerAddr,
    /// The handshake's hash: the same on both ends, different for every link.
    pub handshake_hash: [u8; 32],
}

/// Why a link ended.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DownReason {
    /// This node closed it.
    Closed,
    /// The other end closed it.
    Remote,
    /// Nothing was heard for the idle time-out.
    Idle,
    /// The other end sent what the transport can't accept: a broken, oversized or forged frame.
    Fault(&'static str),
    /// The operating system reported an error.
    Io(String),
}

/// What a transport tells the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkEvent {
    /// The transport listens there; the port is the real one.
    Listening(PeerAddr),
    /// A link is up; its handshake is complete.
    Up(LinkId, LinkInfo),
    /// Link messages that came together, whole, concatenated: at most [`BATCH_MAX_BYTES`]. Never before [`Up`](Self::Up)
    /// nor after [`Down`](Self::Down).
    ///
    /// The bytes may be a part of what the transport reads into, which is used again once they are dropped: who keeps a
    /// message for long copies it.
    Batch(LinkId, Bytes),
    /// A link that had answered [`SendError::Full`] has drained below half of its queue.
    Drained(LinkId),
    /// A link ended. Sent once for every [`Up`](Self::Up).
    Down(LinkId, DownReason),
    /// A dial came to nothing: refused, timed out, or the handshake failed.
    DialFailed(PeerAddr, String),
}

/// Where a transport puts its events: bounded, so that a busy node slows its peers instead of growing.
#[derive(Clone, Debug)]
pub struct LinkSink {
    events: mpsc::Sender<LinkEvent>,
    next: Arc<AtomicU64>,
}

impl LinkSink {
    /// A sink and the end that the node reads. All transports of one node share clones of one sink.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<LinkEvent>) {
        let (events, receiver) = mpsc::channel(capacity);
        (Self { events, next: Arc::new(AtomicU64::new(1)) }, receiver)
    }

    /// A new link's id, unique in this node.
    #[must_use]
    pub fn next_link(&self) -> LinkId {
        LinkId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands an event over, waiting while the node is busy. `false` when the node is gone: the transport then ends.
    pub async fn send(&self, event: LinkEvent) -> bool {
        self.events.send(event).await.is_ok()
    }
}

/// Why a frame wasn't queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// The link's queue is full; [`LinkEvent::Drained`] will follow.
    Full,
    /// There is no such link (any more).
    Gone,
    /// The frame is longer than [`BATCH_MAX_BYTES`] or empty.
    Invalid,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the link's queue is full",
            Self::Gone => "the link is gone",
            Self::Invalid => "the frame is empty or too long",
        })
    }
}

impl std::error::Error for SendError {}

/// A way to reach other nodes.
pub trait Transport: Send + Sync {
    /// The scheme of the addresses that it dials: "tcp", "memory", "ws", …
    fn scheme(&self) -> &'static str;

    /// Starts listening and returns the handle that dials and sends. Dropping the handle closes every link and stops
    /// listening. Every [`LinkEvent::Listening`] is sent (or the call fails) before it returns.
    ///
    /// # Errors
    ///
    /// [`Busy`](crate::ErrorKind::Busy) when an address is in use, [`Invalid`](crate::ErrorKind::Invalid) when it makes
    /// no sense, [`Denied`](crate::ErrorKind::Denied) when the system forbids it.
    fn open<'a>(&'a self, sink: LinkSink) -> BoxFuture<'a, Result<Box<dyn Links>>>;
}

/// Mirrors the engine's outputs one to one. Never blocks: a full queue is an answer.
pub trait Links: Send + Sync {
    /// Starts dialling; ends in [`LinkEvent::Up`] with [`Direction::Outgoing`] of exactly this address, or in
    /// [`LinkEvent::DialFailed`].
    fn dial(&self, addr: &PeerAddr);

    /// Queues one link message. Messages of one link arrive in the order queued, or the link goes down.
    ///
    /// # Errors
    ///
    /// [`SendError`]; then nothing was queued.
    fn try_send(&self, link: LinkId, frame: Frame) -> std::result::Result<(), SendError>;

    /// Queues link messages in their order, as [`try_send`](Self::try_send) does one by one, for the price of one look at
    /// the link: what a node has for one link goes there together.
    ///
    /// # Errors
    ///
    /// [`SendError`] about the first message that wasn't queued. It and those after it stay in `frames`; those before it
    /// are queued. Without an error `frames` is empty afterwards.
    fn try_send_all(&self, link: LinkId, frames: &mut Vec<Frame>) -> std::result::Result<(), SendError> {
        let mut queued = 0;
        let result = frames.iter().try_for_each(|frame| {
            self.try_send(link, frame.clone())?;
            queued += 1;
            Ok(())
        });
        frames.drain(..queued);
        result
    }

    /// Queues link messages that can wait, in their order: what [`try_send`](Self::try_send) queues meanwhile goes before them, or
    /// soon after. By default the same as [`try_send_all`](Self::try_send_all).
    ///
    /// # Errors
    ///
    /// As [`try_send_all`](Self::try_send_all).
    fn try_send_bulk(&self, link: LinkId, frames: &mut Vec<Frame>) -> std::result::Result<(), SendError> {
        self.try_send_all(link, frames)
    }

    /// Closes a link after writing what is queued, waiting at most a second for that. [`LinkEvent::Down`] follows.
    fn close(&self, link: LinkId);
}
