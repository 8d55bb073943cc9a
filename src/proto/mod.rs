//! The gossip engine: inputs and the time in, effects out. No sockets, no clock, no randomness of its own, no disk.
//!
//! The driver (the node, or the simulator) feeds [`Input`]s to [`Engine::handle`] and carries out the [`Output`]s that it drains. Names follow
//! Demers et al. 1987: *rumor mongering* is the live flood, *anti-entropy* the repair and the history sync.

mod address;
mod antientropy;
mod bucket;
mod config;
mod core;
mod counters;
mod engine;
mod linkset;
mod peers;
mod rumor;
#[cfg(feature = "sim")]
pub mod sim;
mod skew;
#[cfg(all(test, feature = "testkit"))]
mod tests;
mod timers;
pub mod wire;

pub use antientropy::{
    CATCH_UP_EVERY_MS, FRUITLESS_MAX, FRUITLESS_PAUSE_MS, Finding, HOURS_MAX, ITEMS_MAX, LEAF_MAX_IDS, Look,
    PAGE_BYTES, PAGES_AHEAD, Page, Place, QUIET_MS, Question, RECENT_HOURS, ROUNDS_MAX, SESSION_MAX_MS,
    SESSIONS_SERVED_MAX, SILENCE_MS, Source, Step, TREE_LINK_VERSION, Tree, TreeLoader, previous_key,
};
pub use config::{
    DEAD_AFTER_MS, Dissemination, EAGER, EAGER_MAX, EngineConfig, FULL_EVERY_MS, HELLO_TIMEOUT_MS, LINKS_MAX,
    NOVEL_BURST_BYTES, NOVEL_BYTES_PER_S, OUTGOING_TARGET, PENDING_MAX_PER_LINK, PING_AFTER_MS, RECENT_EVERY_MS,
};
pub use counters::Counters;
pub use engine::Engine;
pub use linkset::SLOTS_MAX;
pub use peers::{
    ADDRESSES_MAX, ANCHORS, BACKOFF_MAX_MS, BACKOFF_MIN_MS, BUCKET_SLOTS, BUCKETS_PER_SOURCE, FAILURES_MAX,
    FEELER_EVERY_MS, NEW_BUCKETS, PEERS_ON_CONNECT, RECORD_MAX_AGE_S, RECORD_MAX_AHEAD_S, RECORD_RENEW_MS,
    REDIAL_AFTER_MS, TRIED_BUCKETS, VERIFIED_FOR_MS,
};
pub use rumor::{
    ANNOUNCE_AFTER_MS, ANNOUNCED_MAX, ANNOUNCERS_MAX, FLOODED_FOR_MS, GRAFT_AFTER_MAX_MS, GRAFT_AFTER_MIN_MS,
    KEPT_MAX_BYTES, LATE_AFTER_MS, RECENT_MAX_IDS, RELAYS_WAITING_MAX, REVIEW_AFTER_MS, WANTED_ALL_EVERY_MS,
};
pub use skew::{CLOCK_MEDIAN_MIN_PEERS, CLOCK_TOLERANCE_MS, Opinion, Skew};
pub use wire::{Envelope, PeerRecord};

use std::fmt;

use bytes::Bytes;
use rumormill_api::{
    ExpiryHour, ExpiryRange, Frame, Hashed, LinkId, LinkInfo, Millis, MsgId, PeerAddr, RoomTag, Shelf, SourceGroup,
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
#[derive(Clone, PartialEq, Eq)]
pub struct RoomProof {
    /// The room as this node's store knows it.
    pub tag: RoomTag,
    /// The key of the proof, derived from the room's secret: equal at all members, useless for opening envelopes.
    pub key: [u8; 32],
    /// Whether to answer others about it.
    pub serve: bool,
}

impl fmt::Debug for RoomProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomProof {{ tag: {:?}, serve: {}, .. }}", self.tag, self.serve)
    }
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
    /// The answer to [`Output::Look`].
    Found(SessionId, Finding),
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
    /// As [`Self::Sync`], of a room's archive and with every link, until so many envelopes have come: the newest first, to
    /// within an hour. Links whose turn doesn't come aren't asked, and count neither as answered nor as failed.
    SyncNewest {
        /// The driver's name for it.
        token: u64,
        /// Whose archive.
        room: RoomTag,
        /// How many envelopes at most; at least one.
        limit: u64,
    },
    /// The rooms whose archives this node has, replacing earlier ones.
    Rooms(Vec<RoomProof>),
    /// Whether somebody is to be asked before what comes live is passed on, by [`Output::MayRelay`]. When nobody is any
    /// more, what waits for an answer is passed on.
    AskRelays(bool),
    /// The answer to [`Output::MayRelay`]; late or twice, it has no effect.
    Relay {
        /// Which id was asked about.
        id: MsgId,
        /// Whether to pass it on.
        pass: bool,
    },
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
    /// An envelope that is new here: to the store, then to the rooms. Its relaying, or the question whether to, is already
    /// among the outputs before.
    Accept(Accepted),
    /// Ask the exact store whether it has had this id; answer with [`Input::Known`].
    Ask(MsgId),
    /// Ask whether an envelope that came live may be passed on; answer with [`Input::Relay`]. It waits for the answer, no
    /// other does. It is accepted whatever the answer: what this node keeps, reads and shows to peers doesn't depend on it.
    MayRelay {
        /// Its id.
        id: MsgId,
        /// Its size in bytes.
        size: usize,
        /// The link that it came by.
        link: LinkId,
    },
    /// Look at a shelf, [with its tree](Tree::answer), after all that was accepted before is durable; answer with
    /// [`Input::Found`].
    Look(SessionId, Box<Look>),
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
    /// Its id, and its bytes as they came.
    pub envelope: Hashed,
    /// When it expires.
    pub expiry: ExpiryHour,
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
    /// A peer says what time it is, in milliseconds since the Unix epoch. Its word only: see [`Skew`].
    PeerClock(LinkId, Millis),
    /// Where a peer sees this node: on a link that it dialled, the address that it dialled; else the address that this
    /// node's connection comes from, whose port nobody can dial. The peer's word only. Not repeated while it stays the same.
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
