//! The engine: one node's gossip, inputs and the time in, effects out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rumormill_api::{Dedup, Direction, ExpiryRange, Frame, LinkId, LinkInfo, Millis, MsgId, PeerAddr, SourceGroup};

use super::antientropy::Syncs;
use super::counters::{Count, Counters};
use super::envelope::{Envelope, EnvelopeFault, LIFETIME_MAX_MS};
use super::peers::{Peers, group_of};
use super::records::{PeerRecord, handshake_key};
use super::rumor::{Recent, Rumors};
use super::wire::{Hello, LINK_VERSION, Message};
use super::{EngineEvent, Input, Now, Output, Scope, Timer};

/// How long a peer may take to say HELLO, in milliseconds.
pub const HELLO_TIMEOUT_MS: Millis = 5_000;
/// After how much silence a peer is pinged, in milliseconds.
pub const PING_AFTER_MS: Millis = 20_000;
/// After how much silence a link counts as dead, in milliseconds.
pub const DEAD_AFTER_MS: Millis = 60_000;
/// How often the recent window is reconciled with a random peer, in milliseconds.
pub const RECENT_SYNC_INTERVAL_MS: Millis = 60_000;
/// How often everything is, in milliseconds.
pub const FULL_SYNC_INTERVAL_MS: Millis = 24 * 3_600_000;
/// How much of the window, counted back from the newest, is recent, in hours.
pub const RECENT_HOURS: u32 = 2;
/// How often the engine looks after links, sessions and addresses, in milliseconds.
pub const TICK_MS: Millis = 1_000;

/// What an engine is told at its start.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// This node's link key (Ed25519, public).
    pub link_key: [u8; 32],
    /// Addresses that the config names: always kept dialled, whatever range they are in.
    pub static_peers: Vec<PeerAddr>,
    /// Addresses that [`Engine::addresses`] gave in an earlier run, the best first.
    pub known: Vec<PeerAddr>,
    /// Whether learned addresses may be private or loopback.
    pub lan: bool,
    /// How many outgoing links to keep beside the static ones. 0: only the static ones are dialled.
    pub outgoing_target: usize,
    /// How many links a node has at most.
    pub links_max: usize,
    /// How many new bytes a second one link may bring, on average.
    pub link_bytes_per_s: u64,
    /// How many new bytes one link may bring at once.
    pub link_burst_bytes: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            link_key: [0; 32],
            static_peers: Vec::new(),
            known: Vec::new(),
            lan: false,
            outgoing_target: 8,
            links_max: 512,
            link_bytes_per_s: 64 << 20,
            link_burst_bytes: 256 << 20,
        }
    }
}

/// One link.
pub(super) struct Link {
    pub(super) info: LinkInfo,
    pub(super) source: SourceGroup,
    /// Set by the peer's HELLO.
    pub(super) hello: bool,
    /// Its queue is full: no envelopes to it, and a reconciliation once it has drained.
    pub(super) behind: bool,
    pub(super) closing: bool,
    up_at: Millis,
    heard_at: Millis,
    pinged_at: Millis,
    /// Envelopes from it that wait for the exact store.
    pub(super) pending: usize,
    /// New bytes that it may still bring.
    pub(super) tokens: u64,
    pub(super) tokens_at: Millis,
    /// Peer records that it may still bring, in tenths.
    pub(super) records: u64,
    pub(super) records_at: Millis,
}

impl Link {
    /// Whether messages can be exchanged with it.
    pub(super) fn ready(&self) -> bool {
        self.hello && !self.closing
    }

    pub(super) fn outgoing(&self) -> bool {
        matches!(self.info.direction, Direction::Outgoing(_))
    }
}

/// The gossip of one node. See the [module's docs](super).
pub struct Engine<D: Dedup> {
    pub(super) config: EngineConfig,
    pub(super) dedup: D,
    pub(super) rng: ChaCha8Rng,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) rumors: Rumors,
    pub(super) recent: Recent,
    pub(super) peers: Peers,
    pub(super) syncs: Syncs,
    pub(super) out: VecDeque<Output>,
    pub(super) counters: Counters,
    own_x25519: Option<[u8; 32]>,
    ticking: bool,
    recent_sync_at: Millis,
    full_sync_at: Millis,
}

impl<D: Dedup> std::fmt::Debug for Engine<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("links", &self.links.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl<D: Dedup> Engine<D> {
    /// An engine whose every choice follows from `seed`: random in a node, fixed in a simulation.
    #[must_use]
    pub fn new(config: EngineConfig, dedup: D, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let peers = Peers::new(&config, rng.next_u64());
        let recent = Recent::new(rng.next_u64());
        let own_x25519 = handshake_key(&config.link_key);
        let mut engine = Self {
            config,
            dedup,
            rng,
            links: BTreeMap::new(),
            rumors: Rumors::default(),
            recent,
            peers,
            syncs: Syncs::default(),
            out: VecDeque::new(),
            counters: Counters::default(),
            own_x25519,
            ticking: false,
            recent_sync_at: 0,
            full_sync_at: 0,
        };
        // The first tick is due at once: it dials.
        engine.out.push_back(Output::SetTimer(Timer(0), 0));
        engine
    }

    /// Takes an input in. What it leads to is in [`outputs`](Self::outputs).
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::LinkUp(link, info) => self.link_up(link, info, now),
            Input::LinkDown(link) => self.link_down(link, now),
            Input::Batch(link, batch) => self.batch(link, batch, now),
            Input::LinkFull(link) => {
                self.counters.add(Count::LinkFull);
                if let Some(link) = self.links.get_mut(&link) {
                    link.behind = true;
                }
            }
            Input::LinkDrained(id) => {
                if let Some(link) = self.links.get_mut(&id)
                    && std::mem::take(&mut link.behind)
                {
                    self.reconcile(id, Scope::Window(recent_range(now)), None, now);
                }
            }
            Input::DialFailed(addr) => self.peers.dial_failed(&addr, now, &mut self.rng),
            Input::Timer(_) => self.tick(now),
            Input::Publish(envelope) => self.publish(envelope, now),
            Input::Known { id, known } => self.known(id, known, now),
            Input::Ids(session, ids) => self.listed(session, ids, now),
            Input::Fetched(session, envelopes) => self.fetched(session, envelopes, now),
            Input::Sync { token, scope, link } => self.sync(token, scope, link, now),
            Input::Rooms(rooms) => self.syncs.rooms = rooms,
            Input::OwnRecord(record) => self.own_record(record, now),
        }
    }

    /// Drains what is to be done, in order.
    pub fn outputs(&mut self) -> impl Iterator<Item = Output> + '_ {
        self.out.drain(..)
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts an id as seen: at the start for everything that is kept, so that nothing counts as seen that isn't.
    pub fn note_seen(&mut self, id: &MsgId, now: Now) {
        self.dedup.check_and_insert(id, now.mono);
    }

    /// Addresses worth trying at the next start, the best first.
    #[must_use]
    pub fn addresses(&self) -> Vec<PeerAddr> {
        self.peers.addresses(self.links.values())
    }

    pub(super) fn emit(&mut self, event: EngineEvent) {
        self.out.push_back(Output::Event(event));
    }

    pub(super) fn send(&mut self, link: LinkId, frame: Frame) {
        if self.links.get(&link).is_some_and(|link| !link.closing) {
            self.out.push_back(Output::Send(link, frame));
        }
    }

    pub(super) fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `n`, which isn't 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.rng.next_u64() % n as u64).unwrap_or(0)
    }

    pub(super) fn ready_links(&self) -> VecDeque<LinkId> {
        self.links.iter().filter(|(_, link)| link.ready()).map(|(id, _)| *id).collect()
    }

    /// A provable fault: counted, and the link is closed.
    pub(super) fn fault(&mut self, link: LinkId, count: Count, now: Now) {
        self.counters.add(count);
        self.close(link, now);
    }

    /// Closes a link. Nothing more is taken from it.
    pub(super) fn close(&mut self, link: LinkId, now: Now) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if !std::mem::replace(&mut state.closing, true) {
            self.out.push_back(Output::Close(link));
            self.end_sessions_of(link, now);
        }
    }

    fn link_up(&mut self, id: LinkId, info: LinkInfo, now: Now) {
        let source = u64::from_be_bytes(info.peer[..8].try_into().expect("a key has 32 bytes")) | 1;
        let link = Link {
            source,
            hello: false,
            behind: false,
            closing: false,
            up_at: now.mono,
            heard_at: now.mono,
            pinged_at: now.mono,
            pending: 0,
            tokens: self.config.link_burst_bytes,
            tokens_at: now.mono,
            records: super::peers::RECORDS_BURST * 10,
            records_at: now.mono,
            info,
        };
        let remote = link.info.remote.clone();
        let itself = self.own_x25519 == Some(link.info.peer);
        let outgoing = match &link.info.direction {
            Direction::Outgoing(addr) => Some(addr.clone()),
            Direction::Incoming => None,
        };
        if let Some(addr) = &outgoing {
            self.peers.reached(addr, &link.info.peer, now);
        }
        // Dialled to see whether the address is true, and it is: the link that there is will do.
        let linked = self.links.values().any(|other| other.ready() && other.info.peer == link.info.peer);
        let full = self.links.len() >= self.config.links_max;
        self.links.insert(id, link);
        if itself || full || (linked && outgoing.is_some()) {
            if itself && let Some(addr) = &outgoing {
                self.peers.is_self(addr);
            }
            self.counters.add(Count::DuplicateLink);
            self.close(id, now);
            self.share_verified(outgoing.as_ref(), now);
            return;
        }
        let hello = Hello {
            version_min: LINK_VERSION,
            version_max: LINK_VERSION,
            link_key: self.config.link_key,
            seen_as: Some(remote),
            record: self.peers.own.clone(),
        };
        self.send(id, Message::Hello(hello).encode());
    }

    fn link_down(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.closing = true;
        let (hello, outgoing) = (link.hello, link.outgoing());
        let addr = match &link.info.direction {
            Direction::Outgoing(addr) => Some(addr.clone()),
            Direction::Incoming => None,
        };
        self.end_sessions_of(id, now);
        self.links.remove(&id);
        if let (true, Some(addr)) = (outgoing, addr) {
            self.peers.lost(&addr, hello, now, &mut self.rng);
        }
        if hello {
            self.emit(EngineEvent::PeerDown(id));
        }
    }

    fn batch(&mut self, link: LinkId, mut batch: Bytes, now: Now) {
        while !batch.is_empty() {
            // A fault, or a BYE, ends what is taken from a link.
            let Some(state) = self.links.get_mut(&link).filter(|link| !link.closing) else { return };
            state.heard_at = now.mono;
            let ready = state.hello;
            match Message::decode_next(&mut batch) {
                Err(count) => self.fault(link, count, now),
                Ok(Message::Hello(hello)) if !ready => self.hello(link, hello, now),
                Ok(Message::Hello(_)) => self.fault(link, Count::OutOfOrder, now),
                Ok(_) if !ready => self.fault(link, Count::OutOfOrder, now),
                Ok(message) => self.message(link, message, now),
            }
        }
    }

    fn message(&mut self, link: LinkId, message: Message, now: Now) {
        match message {
            Message::Rumor { frame, envelope } => self.rumor(link, frame, envelope, now),
            Message::Get { session, ids } => self.get(link, session, ids, now),
            Message::Peers(records) => self.records(link, records, now),
            Message::Recon { session, step } => self.recon(link, session, step, now),
            Message::Item { session, envelope } => self.item(link, session, envelope, now),
            Message::Ping(token) => self.send(link, Message::Pong(token).encode()),
            Message::Bye => self.close(link, now),
            Message::Ihave(_) | Message::Prune | Message::Pong(_) | Message::Chaff | Message::Hello(_) => {}
        }
    }

    fn hello(&mut self, id: LinkId, hello: Hello, now: Now) {
        if hello.version_min > LINK_VERSION || hello.version_max < LINK_VERSION {
            self.fault(id, Count::UnknownLinkVersion, now);
            return;
        }
        let info = self.links[&id].info.clone();
        let forged = handshake_key(&hello.link_key) != Some(info.peer)
            || hello.record.as_ref().is_some_and(|record| record.link_key != hello.link_key);
        if forged {
            self.fault(id, Count::ForgedHello, now);
            return;
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.hello = true;
        }
        self.emit(EngineEvent::PeerUp(id, info.clone()));
        if let Some(addr) = hello.seen_as {
            self.emit(EngineEvent::SeenAs(addr));
        }
        if self.drop_double(id, &info, now) == Some(id) {
            return;
        }
        if let Some(record) = hello.record {
            self.record_of_peer(id, record, now);
        }
        let known = self.peers.verified(now, &info.peer);
        if !known.is_empty() {
            self.send(id, Message::Peers(known).encode());
        }
        if let Direction::Outgoing(addr) = &info.direction {
            self.share_verified(Some(addr), now);
            // The dialler opens the reconciliation; one session serves both.
            self.reconcile(id, Scope::Window(ExpiryRange::ALL), None, now);
        }
    }

    /// Two links to one peer, opened by both at once: both ends keep the same one, the one that the smaller key dialled
    /// or, of two in one direction, the one with the smaller handshake hash. Says which was closed.
    fn drop_double(&mut self, new: LinkId, info: &LinkInfo, now: Now) -> Option<LinkId> {
        let own = self.own_x25519.unwrap_or_default();
        let dialler = |info: &LinkInfo| match info.direction {
            Direction::Outgoing(_) => own,
            Direction::Incoming => info.peer,
        };
        let (old, other) = self
            .links
            .iter()
            .find(|(id, link)| **id != new && link.ready() && link.info.peer == info.peer)
            .map(|(id, link)| (*id, link.info.clone()))?;
        let keep_new = (dialler(info), info.handshake_hash) < (dialler(&other), other.handshake_hash);
        let close = if keep_new { old } else { new };
        self.counters.add(Count::DuplicateLink);
        self.close(close, now);
        Some(close)
    }

    fn tick(&mut self, now: Now) {
        if !std::mem::replace(&mut self.ticking, true) {
            // Spread over the interval, so that nodes started together don't all reconcile at once.
            self.recent_sync_at = now.mono + self.rng.next_u64() % RECENT_SYNC_INTERVAL_MS;
            self.full_sync_at = now.mono + FULL_SYNC_INTERVAL_MS;
        }
        self.tick_links(now);
        self.tick_sessions(now);
        self.tick_peers(now);
        if now.mono >= self.recent_sync_at {
            self.recent_sync_at = now.mono + RECENT_SYNC_INTERVAL_MS;
            self.sync_with_someone(Scope::Window(recent_range(now)), now);
        }
        if now.mono >= self.full_sync_at {
            self.full_sync_at = now.mono + FULL_SYNC_INTERVAL_MS;
            self.sync_with_someone(Scope::Window(ExpiryRange::ALL), now);
        }
        self.out.push_back(Output::SetTimer(Timer(0), now.mono + TICK_MS));
    }

    fn sync_with_someone(&mut self, scope: Scope, now: Now) {
        let links = self.ready_links();
        if !links.is_empty() {
            let chosen = links[self.below(links.len())];
            self.reconcile(chosen, scope, None, now);
        }
    }

    fn tick_links(&mut self, now: Now) {
        let mut late = Vec::new();
        let mut ping = BTreeSet::new();
        for (id, link) in self.links.iter_mut().filter(|(_, link)| !link.closing) {
            if !link.hello && now.mono >= link.up_at + HELLO_TIMEOUT_MS {
                late.push((*id, Count::HelloTimeout));
            } else if now.mono >= link.heard_at + DEAD_AFTER_MS {
                late.push((*id, Count::Dead));
            } else if now.mono >= link.heard_at.max(link.pinged_at) + PING_AFTER_MS {
                link.pinged_at = now.mono;
                ping.insert(*id);
            }
        }
        for (id, count) in late {
            self.fault(id, count, now);
        }
        for id in ping {
            let token = self.rng.next_u64().to_be_bytes();
            self.send(id, Message::Ping(token).encode());
        }
    }

    fn own_record(&mut self, record: Option<Bytes>, now: Now) {
        let record = record.and_then(PeerRecord::decode);
        self.peers.own.clone_from(&record);
        let Some(record) = record else { return };
        let frame = Message::Peers(vec![record]).encode();
        for link in self.ready_links() {
            self.send(link, frame.clone());
        }
        let _ = now;
    }
}

/// The expiry hours of what was sent lately.
pub(super) fn recent_range(now: Now) -> ExpiryRange {
    let newest = u32::try_from((now.unix + LIFETIME_MAX_MS) / 3_600_000).unwrap_or(u32::MAX);
    ExpiryRange { from: newest.saturating_sub(RECENT_HOURS), to: u32::MAX }
}

impl From<EnvelopeFault> for Count {
    fn from(fault: EnvelopeFault) -> Self {
        match fault {
            EnvelopeFault::Size => Self::EnvelopeSize,
            EnvelopeFault::Version => Self::EnvelopeVersion,
            EnvelopeFault::Flags => Self::EnvelopeFlags,
            EnvelopeFault::Work => Self::EnvelopeWork,
            EnvelopeFault::Expired => Self::EnvelopeExpired,
            EnvelopeFault::FromFuture => Self::EnvelopeFromFuture,
        }
    }
}

/// The network that a link's other end is in.
pub(super) fn link_group(info: &LinkInfo) -> String {
    match &info.direction {
        Direction::Outgoing(addr) => group_of(addr),
        Direction::Incoming => group_of(&info.remote),
    }
}

pub(super) fn envelope_of(bytes: Bytes, now: Now) -> Result<Envelope, EnvelopeFault> {
    let envelope = Envelope::parse(bytes)?;
    envelope.check_expiry(now.unix)?;
    Ok(envelope)
}
