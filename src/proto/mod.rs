//! The gossip engine: inputs and the time in, effects out. No sockets, no clock, no randomness of its own, no disk.
//!
//! The driver (the node, or the simulator) feeds [`Input`]s to [`Engine::handle`] and carries out the [`Output`]s that it drains. Names follow
//! Demers et al. 1987: *rumor mongering* is the live flood, *anti-entropy* the repair and the history sync.

pub mod antientropy;
pub mod counters;
pub mod engine;
pub mod envelope;
pub mod peers;
pub mod records;
pub mod rumor;
pub mod wire;

use bytes::Bytes;
pub use counters::{Count, Counters};
pub use engine::{Engine, EngineConfig};
pub use envelope::Envelope;
pub use records::PeerRecord;
use rumormill_api::{
    ExpiryHour, ExpiryRange, Frame, LinkId, LinkInfo, Millis, MsgId, PeerAddr, RoomTag, Shelf, SourceGroup,
};

/// The time, as the driver sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Monotonic, in milliseconds since an arbitrary start: what timers and intervals count by.
    pub mono: Millis,
    /// The wall clock, in milliseconds since the Unix epoch: what expiry is judged by. May jump.
    pub unix: Millis,
}

/// An opaque timer, handed back by the driver when it is due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timer(pub(crate) u64);

/// One reconciliation under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// What is to be reconciled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The window, in a range of expiry hours.
    Window(ExpiryRange),
    /// One room's archive; the room must be among those of [`Input::Rooms`].
    Archive(RoomTag),
}

/// A room whose archive this node can prove to know and, if `serve`, shows to who proves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomProof {
    /// The room as this node's store knows it.
    pub tag: RoomTag,
    /// The key of the proof, derived from the room's secret: equal at all members, useless for opening envelopes.
    pub key: [u8; 32],
    /// Whether to answer others about it.
    pub serve: bool,
}

/// What happens to the engine.
#[derive(Clone, Debug)]
pub enum Input {
    /// A link's handshake is complete.
    LinkUp(LinkId, LinkInfo),
    /// A link ended.
    LinkDown(LinkId),
    /// Link messages came in, concatenated as one frame held them.
    Batch(LinkId, Bytes),
    /// A frame of [`Output::Send`] wasn't taken: the link's queue is full. The frame is gone.
    LinkFull(LinkId),
    /// The full queue has drained below half.
    LinkDrained(LinkId),
    /// A dial came to nothing.
    DialFailed(PeerAddr),
    /// A timer is due.
    Timer(Timer),
    /// An envelope of this node's own, durable already: to every link.
    Publish(Bytes),
    /// The answer to [`Output::Ask`].
    Known {
        /// Which id was asked about.
        id: MsgId,
        /// Whether the exact store, or what waits to be written to it, has had it.
        known: bool,
    },
    /// The answer to [`Output::ListIds`]; `None` when the store failed.
    Ids(SessionId, Option<Vec<(ExpiryHour, MsgId)>>),
    /// The answer to [`Output::Fetch`]: what of the asked-for the store could serve.
    Fetched(SessionId, Vec<Bytes>),
    /// Start a reconciliation with one link, or (`None`) with every link. Its end is an [`EngineEvent::SyncEnded`] of
    /// that token.
    Sync {
        /// The driver's name for it.
        token: u64,
        /// What to reconcile.
        scope: Scope,
        /// With whom.
        link: Option<LinkId>,
    },
    /// The rooms whose archives this node has, replacing earlier ones.
    Rooms(Vec<RoomProof>),
    /// This node's own signed peer record (see [`peers`](self)), to announce; `None` while it has no address.
    OwnRecord(Option<Bytes>),
}

/// What the driver is to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Queue a frame on a link. If it is refused as full, feed [`Input::LinkFull`].
    Send(LinkId, Frame),
    /// Dial an address.
    Dial(PeerAddr),
    /// Close a link.
    Close(LinkId),
    /// An envelope that is new here: to the store, then to the rooms. Its relaying is already among the outputs before.
    Accept(Accepted),
    /// Ask the exact store whether it has had this id; answer with [`Input::Known`].
    Ask(MsgId),
    /// List the ids of a shelf; answer with [`Input::Ids`].
    ListIds(SessionId, Shelf, ExpiryRange),
    /// Fetch envelopes of a shelf; answer with [`Input::Fetched`].
    Fetch(SessionId, Shelf, Vec<MsgId>),
    /// Feed [`Input::Timer`] at this monotonic time or later.
    SetTimer(Timer, Millis),
    /// Something that the node's user may want to know.
    Event(EngineEvent),
}

/// An envelope that passed the engine's checks and is new.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Its id.
    pub id: MsgId,
    /// When it expires.
    pub expiry: ExpiryHour,
    /// Its bytes, as they came.
    pub envelope: Bytes,
    /// Whom the window's eviction counts it against.
    pub source: SourceGroup,
    /// `false`: it came live. `true`: it came because this node asked; not relayed, not "new" to bots.
    pub synced: bool,
    /// Whether it belongs on the window (false for an expired one out of a room's archive).
    pub window: bool,
}

/// What the engine reports.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EngineEvent {
    /// A peer's HELLO was accepted.
    PeerUp(LinkId, LinkInfo),
    /// A peer whose HELLO had been accepted is gone.
    PeerDown(LinkId),
    /// A peer sees this node at that address (with the port of this link, not the one it listens at).
    SeenAs(PeerAddr),
    /// A sync brought envelopes: how many so far, of how many known to be wanted.
    SyncProgress {
        /// Of [`Input::Sync`].
        token: u64,
        /// Received so far.
        received: u64,
        /// Known to be wanted so far.
        wanted: u64,
    },
    /// A sync has ended with every link that took part.
    SyncEnded {
        /// Of [`Input::Sync`].
        token: u64,
        /// Links that answered.
        answered: u32,
        /// Links that refused, failed or fell silent.
        failed: u32,
        /// Envelopes received.
        received: u64,
        /// Envelopes that a peer claimed to have and didn't deliver.
        missing: u64,
    },
}
