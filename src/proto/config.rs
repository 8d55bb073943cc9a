//! The engine's settings, and the limits that are not settings.

use rumormill_api::{Millis, PeerAddr};

use super::wire::RECON_MAX_BYTES;

/// How long a link may take to say HELLO, in milliseconds.
pub const HELLO_TIMEOUT_MS: Millis = 5_000;
/// Silence after which a link is sent a PING, in milliseconds.
pub const PING_AFTER_MS: Millis = 20_000;
/// Silence after which a link is dead, in milliseconds.
pub const DEAD_AFTER_MS: Millis = 60_000;
/// Envelopes of one link that may wait for the exact store's answer.
pub const PENDING_MAX_PER_LINK: usize = 4_096;
/// How many links this node dials on its own.
pub const OUTGOING_TARGET: usize = 8;
/// How many links there may be; incoming ones past it are closed.
pub const LINKS_MAX: usize = 128;
/// New bytes a second that are taken from one link live; past it they are left to reconciliation. About what a line of
/// 100 Mbit/s carries: a component's whole traffic may come by the one link that is quickest. What the store can't take in
/// time is slowed down before that, by not reading from any link.
pub const NOVEL_BYTES_PER_S: u64 = 8 << 20;
/// New bytes that one link may bring at once.
pub const NOVEL_BURST_BYTES: u64 = 32 << 20;
/// How often the recent part of the window is reconciled with a random peer, in milliseconds.
pub const RECENT_EVERY_MS: Millis = 60_000;
/// How often the whole window is reconciled with a random peer, in milliseconds.
pub const FULL_EVERY_MS: Millis = 24 * 3_600_000;

/// How many full copies of an envelope a node wants unless told otherwise: two, so that one silent dropper never decides.
pub const EAGER: u8 = 2;
/// The most that it may be told to want.
pub const EAGER_MAX: u8 = 16;

/// Who gets the full copy of an envelope that this node relays. Its own go to every link in full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dissemination {
    /// Every link.
    Flood,
    /// The links that need it; it is announced to the rest.
    Adaptive {
        /// How many full copies this node wants of each envelope: 1 to [`EAGER_MAX`].
        eager: u8,
    },
}

impl Dissemination {
    /// How many full copies are wanted, unless it is all there are.
    pub(super) const fn eager(self) -> Option<u8> {
        match self {
            Self::Flood => None,
            Self::Adaptive { eager } => Some(eager),
        }
    }
}

/// The engine's settings.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The Ed25519 form of this node's link key. Its X25519 form is what the transports' handshakes prove.
    pub link_key: [u8; 32],
    /// The X25519 form of this node's link key.
    pub own: [u8; 32],
    /// Peers that the config names: always kept dialled, wherever their addresses lie.
    pub static_peers: Vec<PeerAddr>,
    /// [`Engine::addresses`](super::Engine::addresses) of the last run: tried before learnt ones, the first two at once.
    pub known_addresses: Vec<PeerAddr>,
    /// Whether learnt addresses may be private ones, and several in one network.
    pub lan: bool,
    /// How many links this node dials on its own, static peers included.
    pub outgoing_target: usize,
    /// How many links there may be.
    pub max_links: usize,
    /// How long a link may take to say HELLO, in milliseconds.
    pub hello_timeout: Millis,
    /// Silence after which a link is sent a PING, in milliseconds.
    pub ping_after: Millis,
    /// Silence after which a link is dead, in milliseconds.
    pub dead_after: Millis,
    /// Envelopes of one link that may wait for the exact store's answer.
    pub pending_max: usize,
    /// New bytes a second that are taken from one link live.
    pub novel_bytes_per_s: u64,
    /// New bytes that one link may bring at once.
    pub novel_burst_bytes: u64,
    /// How often the recent part of the window is reconciled with a random peer, in milliseconds.
    pub recent_every: Millis,
    /// How often the whole window is reconciled with a random peer, in milliseconds.
    pub full_every: Millis,
    /// Whether a new outgoing link begins with a reconciliation of the whole window.
    pub reconcile_on_connect: bool,
    /// The largest reconciliation message, in bytes: between [`RECON_MIN_BYTES`](super::wire::RECON_MIN_BYTES) and
    /// [`RECON_MAX_BYTES`].
    pub recon_max_bytes: u16,
    /// Who gets the full copy of an envelope.
    pub dissemination: Dissemination,
    /// Whether an envelope may be kept as a part of the input that it came in. A node's inputs are large buffers, which a
    /// small part would hold in memory; a simulation's are one message each.
    pub share_input: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            link_key: [0; 32],
            own: [0; 32],
            static_peers: Vec::new(),
            known_addresses: Vec::new(),
            lan: false,
            outgoing_target: OUTGOING_TARGET,
            max_links: LINKS_MAX,
            hello_timeout: HELLO_TIMEOUT_MS,
            ping_after: PING_AFTER_MS,
            dead_after: DEAD_AFTER_MS,
            pending_max: PENDING_MAX_PER_LINK,
            novel_bytes_per_s: NOVEL_BYTES_PER_S,
            novel_burst_bytes: NOVEL_BURST_BYTES,
            recent_every: RECENT_EVERY_MS,
            full_every: FULL_EVERY_MS,
            reconcile_on_connect: true,
            recon_max_bytes: RECON_MAX_BYTES as u16,
            dissemination: Dissemination::Flood,
            share_input: false,
        }
    }
}
