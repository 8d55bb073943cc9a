//! A network of engines in virtual time.
//!
//! Everything random comes from one seed, and events happen in the order (time, sequence), so that equal seeds give equal
//! [`Totals`]. A test prints the seed, so that a failure can be run again.
//!
//! A link keeps its frames in order and has a latency of its own. A lost frame is modelled as that frame alone missing, which
//! is harsher than TCP, where the link would go down. Stores answer after a millisecond and are durable a little later;
//! a crash loses what wasn't.

mod coverage;
mod faults;
mod kit;
mod network;
mod plan;
mod queue;
mod report;
mod shelf;
mod totals;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rumormill_api::{Dedup, ExpiryHour, LinkId, LinkInfo, Millis, MsgId, PeerAddr, RoomTag};

pub use coverage::Coverage;
pub use faults::{Behaviour, Churn};
pub use kit::{AlwaysMaybe, ExactDedup, envelope};
pub use plan::{Phase, Plan, Progress};
pub use report::{BytesPerNode, MessageReport, Report, Share};
pub use totals::{Sent, Spread, Totals};

use self::coverage::Published;
use self::queue::Queue;
use self::shelf::{Bits, Envelopes, Shelf};
use super::{
    Counters, Engine, EngineConfig, EngineEvent, Input, Now, Opinion, Output, PeerRecord, RoomProof, Scope, Skew,
    Timer, Tree,
};

/// The virtual start, in milliseconds since the Unix epoch: the beginning of an hour.
pub const START_UNIX_MS: Millis = 500_000 * 3_600_000;

/// What a simulation is made of.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Decides everything random.
    pub seed: u64,
    /// Each link's latency lies between these, in milliseconds.
    pub latency: (Millis, Millis),
    /// Frames lost, of a thousand.
    pub loss_per_mille: u64,
    /// Frames that arrive twice, of a thousand.
    pub duplicate_per_mille: u64,
    /// Frames that are overtaken by later ones, of a thousand.
    pub reorder_per_mille: u64,
    /// How long a store takes to make an envelope durable, in milliseconds.
    pub durable_after: Millis,
    /// The engines' settings; keys and static peers are each node's own.
    pub engine: EngineConfig,
    /// Whether nodes have signed records of their addresses.
    pub records: bool,
    /// How often a node signs its record anew and removes from its window what has expired by its own clock, if its peers confirm
    /// that, in milliseconds; `None`: never, and nothing is removed.
    pub housekeeping: Option<Millis>,
    /// Whether [`Sim::events`] and [`Sim::dials`] are kept.
    pub logs: bool,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            latency: (10, 100),
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            reorder_per_mille: 0,
            durable_after: 5,
            engine: EngineConfig { share_input: true, ..EngineConfig::default() },
            records: false,
            housekeeping: None,
            logs: true,
        }
    }
}

/// One end of a link.
#[derive(Clone, Debug)]
struct End {
    to: usize,
    to_link: LinkId,
    latency: Millis,
    /// When the last frame sent on it arrives.
    last: Millis,
}

struct Node<D: Dedup> {
    /// `None` while crashed.
    engine: Option<Engine<D>>,
    key: SigningKey,
    x25519: [u8; 32],
    addr: PeerAddr,
    static_peers: Vec<PeerAddr>,
    behaviour: Behaviour,
    /// What its wall clock is off by, in milliseconds.
    clock_off: i64,
    /// What its signed records are off by beyond that, in milliseconds.
    lie: i64,
    /// What its peers say of the time.
    skew: Skew,
    /// Counts its starts: what was scheduled for an earlier life is dropped.
    life: u32,
    /// When its present life began.
    since: Millis,
    /// By id, which ascend: a new one is put at the end.
    links: Vec<(LinkId, End)>,
    next_link: u64,
    window: Shelf,
    /// The window's digests.
    tree: Tree,
    archive: Shelf,
    rooms: BTreeMap<u8, bool>,
    events: Vec<EngineEvent>,
    dials: Vec<(Millis, PeerAddr)>,
}

impl<D: Dedup> Node<D> {
    fn end(&self, link: LinkId) -> Option<&End> {
        let at = self.links.binary_search_by_key(&link, |(id, _)| *id).ok()?;
        Some(&self.links[at].1)
    }

    fn end_mut(&mut self, link: LinkId) -> Option<&mut End> {
        let at = self.links.binary_search_by_key(&link, |(id, _)| *id).ok()?;
        Some(&mut self.links[at].1)
    }
}

/// Kept small: there are millions of them.
enum Event {
    Input(usize, u32, Box<Input>),
    /// A frame arrives at a link that may be gone by then.
    Frame(usize, LinkId, Bytes),
    Down(usize, LinkId),
    Up(Box<Handshake>),
    /// A node's store answers what its engine asked.
    Store(usize, u32, Box<Output>),
    Timer(usize, u32, Timer),
    /// Some node crashes, if the churn is still the one of this number.
    Crash(u64),
    /// The partition ends.
    Heal,
    /// A node that crashed in this life comes back.
    Start(usize, u32),
    Housekeeping(usize, u32),
}

/// A dial that has reached someone.
struct Handshake {
    dialler: usize,
    listener: usize,
    addr: PeerAddr,
    latency: Millis,
    /// The two's lives when it began.
    lives: (u32, u32),
}

/// A network of engines in virtual time.
pub struct Sim<D: Dedup> {
    config: SimConfig,
    make_dedup: Box<dyn Fn(usize) -> D>,
    nodes: Vec<Node<D>>,
    by_addr: BTreeMap<PeerAddr, usize>,
    queue: Queue<Event>,
    /// Events that have happened.
    happened: u64,
    /// An engine's outputs while they are carried out; kept for its memory.
    outputs: Vec<Output>,
    now: Millis,
    rng: ChaCha8Rng,
    /// The sides of a partition; empty without one.
    sides: Vec<u8>,
    envelopes: Envelopes,
    /// By the numbers of their envelopes.
    published: BTreeMap<u32, Published>,
    /// Of these, those that count.
    counted: Bits,
    next_message: u64,
    churn: Option<Churn>,
    /// Counts the settings of the churn: crashes scheduled under an earlier one don't happen.
    churn_number: u64,
    /// When the next crash is due, in microseconds: there may be several in a millisecond.
    churn_at_us: u64,
    /// What was sent, by the code of the kind.
    sent: Box<[Sent; 256]>,
    /// Of engines that are gone.
    gone: Counters,
    /// Before what counts.
    before: Counters,
    totals: Totals,
}

impl<D: Dedup> Sim<D> {
    /// A network without nodes. `make_dedup` makes the dedup of a node, anew at each of its starts.
    pub fn new(config: SimConfig, make_dedup: impl Fn(usize) -> D + 'static) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            config,
            make_dedup: Box::new(make_dedup),
            nodes: Vec::new(),
            by_addr: BTreeMap::new(),
            queue: Queue::new(),
            happened: 0,
            outputs: Vec::new(),
            now: 0,
            sides: Vec::new(),
            envelopes: Envelopes::default(),
            published: BTreeMap::new(),
            counted: Bits::default(),
            next_message: 0,
            churn: None,
            churn_number: 0,
            churn_at_us: 0,
            sent: Box::new([Sent::default(); 256]),
            gone: Counters::default(),
            before: Counters::default(),
            totals: Totals::default(),
        }
    }

    /// What it is made of.
    #[must_use]
    pub const fn config(&self) -> &SimConfig {
        &self.config
    }

    /// Adds a node that is to be started with [`Self::start`]; returns its number.
    pub fn add(&mut self, static_peers: Vec<PeerAddr>) -> usize {
        let number = self.nodes.len();
        let mut secret = [0; 32];
        self.rng.fill_bytes(&mut secret);
        let key = SigningKey::from_bytes(&secret);
        let addr = Self::addr_of(number);
        self.by_addr.insert(addr.clone(), number);
        self.nodes.push(Node {
            engine: None,
            x25519: key.verifying_key().to_montgomery().to_bytes(),
            key,
            addr,
            static_peers,
            behaviour: Behaviour::Honest,
            clock_off: 0,
            lie: 0,
            skew: Skew::default(),
            life: 0,
            since: 0,
            links: Vec::new(),
            next_link: 1,
            window: Shelf::default(),
            tree: Tree::default(),
            archive: Shelf::default(),
            rooms: BTreeMap::new(),
            events: Vec::new(),
            dials: Vec::new(),
        });
        number
    }

    /// The address of a node: global unicast, every node in a /16 of its own (as long as there are enough).
    ///
    /// # Panics
    ///
    /// Never for a number below 5 million.
    #[must_use]
    pub fn addr_of(number: usize) -> PeerAddr {
        let (a, b, c) = (11 + number / 256 % 89, number % 256, number / 256 / 89);
        PeerAddr::new("tcp", &format!("{a}.{b}.{c}.1:4000")).expect("an IPv4 address and a port")
    }

    /// A connected network of `count` nodes with `degree` links each on average: a ring, and chords at random.
    pub fn network(config: SimConfig, count: usize, degree: usize, make_dedup: impl Fn(usize) -> D + 'static) -> Self {
        let mut sim = Self::new(config, make_dedup);
        for number in 0..count {
            let mut peers = BTreeSet::from([(number + 1) % count]);
            // Each dials half of its links; of an odd degree every second node one more.
            while peers.len() < ((degree + number % 2) / 2).min(count - 1) {
                let other = sim.below(count);
                if other != number {
                    peers.insert(other);
                }
            }
            peers.remove(&number);
            sim.add(peers.into_iter().map(Self::addr_of).collect());
        }
        for number in 0..count {
            sim.start(number);
        }
        sim
    }

    /// Starts a node, or starts it again after [`Self::crash`], with what was durable.
    pub fn start(&mut self, number: usize) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let now = self.now_of(number);
        let dedup = (self.make_dedup)(number);
        let node = &mut self.nodes[number];
        let config = EngineConfig {
            link_key: node.key.verifying_key().to_bytes(),
            own: node.x25519,
            static_peers: node.static_peers.clone(),
            ..self.config.engine.clone()
        };
        let mut engine = Engine::new(config, dedup, seed);
        for envelope in node.window.has.iter() {
            engine.note_seen(&self.envelopes.get(envelope).id, now);
        }
        node.engine = Some(engine);
        node.since = self.now;
        node.skew = Skew::default();
        let record = self.config.records.then(|| self.record_of(number));
        self.input(number, Input::OwnRecord(record));
        self.tell_rooms(number);
        if let Some(every) = self.config.housekeeping {
            // Not all in the same moment.
            let first = self.now + 1 + self.rng.next_u64() % every.max(1);
            self.schedule(first, Event::Housekeeping(number, self.nodes[number].life));
        }
    }

    /// A node's record of its address, as it signs it now.
    fn record_of(&self, number: usize) -> Bytes {
        let node = &self.nodes[number];
        let unix = self.now_of(number).unix.saturating_add_signed(node.lie);
        PeerRecord::sign(&node.key, node.addr.clone(), unix / 1_000).encode()
    }

    /// Ends a node at once. Its links go down; what its store hadn't made durable is lost.
    pub fn crash(&mut self, number: usize) {
        let now = self.now;
        let node = &mut self.nodes[number];
        if let Some(engine) = node.engine.take() {
            self.gone.add(engine.counters());
            self.totals.crashes += 1;
        }
        node.life += 1;
        node.window.crash(now);
        node.tree.forget();
        node.archive.crash(now);
        let ends = std::mem::take(&mut node.links);
        for (_, end) in ends {
            self.schedule(now + end.latency, Event::Down(end.to, end.to_link));
        }
    }

    /// Sets how a node behaves from now on.
    pub fn behave(&mut self, number: usize, behaviour: Behaviour) {
        self.nodes[number].behaviour = behaviour;
    }

    /// Sets what a node's wall clock is off by, in milliseconds.
    pub fn clock(&mut self, number: usize, off: i64) {
        self.nodes[number].clock_off = off;
    }

    /// Has a node sign its records with a time that is off by so much beyond its own clock, in milliseconds, from the next one on.
    pub fn lie(&mut self, number: usize, off: i64) {
        self.nodes[number].lie = off;
    }

    /// What a node's peers say of its clock.
    #[must_use]
    pub fn opinion(&self, number: usize) -> Opinion {
        self.nodes[number].skew.opinion(self.now_of(number))
    }

    /// Whether a node has an envelope on its window.
    #[must_use]
    pub fn on_window(&self, number: usize, id: &MsgId) -> bool {
        self.envelopes.number(id).is_some_and(|envelope| self.nodes[number].window.has.contains(envelope))
    }

    /// Makes a node a member of a room, with or without serving its archive.
    pub fn join(&mut self, number: usize, room: u8, serve: bool) {
        self.nodes[number].rooms.insert(room, serve);
        self.tell_rooms(number);
    }

    fn tell_rooms(&mut self, number: usize) {
        let rooms = self.nodes[number].rooms.iter();
        let rooms = rooms.map(|(room, serve)| RoomProof {
            tag: Self::tag(*room),
            key: *blake3::hash(&[*room]).as_bytes(),
            serve: *serve,
        });
        let rooms = rooms.collect();
        self.input(number, Input::Rooms(rooms));
    }

    /// How stores name a room.
    #[must_use]
    pub fn tag(room: u8) -> RoomTag {
        RoomTag([room; 16])
    }

    /// Splits the network: frames and dials between different sides come to nothing.
    pub fn partition(&mut self, side: impl Fn(usize) -> u8) {
        self.sides = (0..self.nodes.len()).map(side).collect();
    }

    /// Ends the partition.
    pub fn heal(&mut self) {
        self.sides.clear();
    }

    /// Ends the partition at a time.
    pub fn heal_at(&mut self, at: Millis) {
        self.schedule(at, Event::Heal);
    }

    /// A node says something in a room, 512 bytes in all, as the node driver does: to the store, then to the flood. Counts towards
    /// the totals. Returns its id.
    pub fn publish(&mut self, number: usize, room: u8) -> MsgId {
        self.next_message += 1;
        let hour = ExpiryHour::try_from(self.now_of(number).unix / 3_600_000).unwrap_or(0);
        let bytes = envelope(hour + super::wire::ENVELOPE_LIFE_HOURS, room, self.next_message, 512).into_bytes();
        self.publish_bytes(number, bytes)
    }

    /// As [`Self::publish`], with an envelope of the caller's.
    pub fn publish_bytes(&mut self, number: usize, bytes: Bytes) -> MsgId {
        let id = MsgId::of(&bytes);
        if let Some(envelope) = self.envelopes.add(&id, &bytes) {
            let running =
                self.nodes.iter().enumerate().filter(|(other, node)| *other != number && node.engine.is_some());
            let published = Published::new(number, self.now, running.count() as u64);
            self.published.insert(envelope, published);
            self.counted.insert(envelope);
        }
        self.store(number, &id, &bytes, true, true);
        self.input(number, Input::Publish(bytes));
        id
    }

    /// Has the totals begin anew: neither what has been published nor what has been sent so far counts.
    pub fn start_counting(&mut self) {
        self.before = self.counters();
        self.totals = Totals::default();
        self.sent.fill(Sent::default());
        self.counted = Bits::default();
    }

    /// Gives a node an envelope as if it had had it for long, on the window or in the archive alone.
    pub fn plant(&mut self, number: usize, envelope: &Bytes, window: bool) {
        self.store(number, &MsgId::of(envelope), envelope, window, true);
    }

    /// Has all of a node's peers send it an envelope, as if they had just got it.
    pub fn replay(&mut self, number: usize, envelope: &Bytes) {
        let frame = super::wire::frame(super::wire::Kind::Rumor, envelope);
        let links: Vec<_> = self.nodes[number].links.iter().map(|(link, _)| *link).collect();
        for link in links {
            self.input(number, Input::Batch(link, frame.clone()));
        }
    }

    /// Has one peer of a node send it `count` genuine records, each of another key, that name `addrs` in turn. Returns
    /// how many were sent before a link was closed on it.
    pub fn flood_records(&mut self, number: usize, count: usize, addrs: &[PeerAddr]) -> usize {
        use super::wire::{Message, PEERS_MAX_RECORDS};
        let unix = self.now_of(number).unix / 1_000;
        let mut sent = 0;
        while sent < count {
            let Some((link, _)) = self.links(number).first().copied() else { break };
            let page = PEERS_MAX_RECORDS.min(count - sent);
            let records = (sent..sent + page).map(|n| {
                let key = SigningKey::from_bytes(blake3::hash(&n.to_be_bytes()).as_bytes());
                // Signing dominates: past what a link may bring, nobody looks at the signature.
                PeerRecord::sign(&key, addrs[n % addrs.len()].clone(), unix).encode()
            });
            let message = Message::Peers(records.collect());
            sent += page;
            self.input(number, Input::Batch(link, message.encode()));
            self.run_for(1_000);
        }
        sent
    }

    /// Asks a node for a reconciliation.
    pub fn sync(&mut self, number: usize, token: u64, scope: Scope, link: Option<LinkId>) {
        self.input(number, Input::Sync { token, scope, link });
    }

    /// Whether a node has an envelope, on the window or in an archive.
    #[must_use]
    pub fn has(&self, number: usize, id: &MsgId) -> bool {
        let node = &self.nodes[number];
        self.envelopes.number(id).is_some_and(|id| node.window.has.contains(id) || node.archive.has.contains(id))
    }

    /// How many envelopes a node has in its rooms' archives.
    #[must_use]
    pub fn archived(&self, number: usize) -> usize {
        self.nodes[number].archive.has.len()
    }

    /// What a node's engine has reported.
    #[must_use]
    pub fn events(&self, number: usize) -> &[EngineEvent] {
        &self.nodes[number].events
    }

    /// What a node has dialled, and when.
    #[must_use]
    pub fn dials(&self, number: usize) -> &[(Millis, PeerAddr)] {
        &self.nodes[number].dials
    }

    /// A node's engine, unless it has crashed.
    #[must_use]
    pub fn engine(&self, number: usize) -> Option<&Engine<D>> {
        self.nodes[number].engine.as_ref()
    }

    /// The links of a node that take part in the gossip, with the nodes that they lead to.
    #[must_use]
    pub fn links(&self, number: usize) -> Vec<(LinkId, usize)> {
        let node = &self.nodes[number];
        let ready: Vec<LinkId> = node.engine.iter().flat_map(Engine::links).map(|(id, _)| id).collect();
        node.links.iter().filter(|(id, _)| ready.contains(id)).map(|(id, end)| (*id, end.to)).collect()
    }

    /// Virtual time since the start, in milliseconds.
    #[must_use]
    pub const fn now(&self) -> Millis {
        self.now
    }

    /// Events that have happened: frames, timers, answers of stores, links that came up or went down.
    #[must_use]
    pub const fn happened(&self) -> u64 {
        self.happened
    }

    /// Pairs of a message that counts and a running node that lacks it. Cheaper than [`Self::totals`].
    #[must_use]
    pub fn missed(&self) -> u64 {
        let running = self.nodes.iter().filter(|node| node.engine.is_some());
        running.map(|node| self.counted.lacking(&node.window.has, &node.archive.has)).sum()
    }

    /// How many running nodes lack each message that counts, in the order in which they were published.
    fn lacking(&self) -> Vec<u64> {
        let mut lacking: BTreeMap<u32, u64> = self.counted.iter().map(|envelope| (envelope, 0)).collect();
        for node in self.nodes.iter().filter(|node| node.engine.is_some()) {
            for envelope in self.counted.lacking_ones(&node.window.has, &node.archive.has) {
                *lacking.entry(envelope).or_default() += 1;
            }
        }
        lacking.into_values().collect()
    }

    /// How each message that counts has spread so far, in the order in which they were published.
    pub fn coverage(&self) -> impl Iterator<Item = Coverage> + '_ {
        self.counted().map(Published::coverage)
    }

    fn counted(&self) -> impl Iterator<Item = &Published> {
        self.counted.iter().filter_map(|envelope| self.published.get(&envelope))
    }

    fn counters(&self) -> Counters {
        let mut counters = self.gone.clone();
        self.nodes.iter().filter_map(|node| node.engine.as_ref()).for_each(|engine| counters.add(engine.counters()));
        counters
    }

    /// What has happened since the start, or since [`Self::start_counting`].
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = self.totals.clone();
        totals.nodes = self.nodes.len() as u64;
        totals.published = self.counted.len() as u64;
        let sent = (0..=u8::MAX).zip(self.sent.iter()).filter(|(_, sent)| sent.messages > 0);
        totals.by_kind = sent.map(|(code, sent)| (code, *sent)).collect();
        totals.missed = self.missed();
        let mut counters = self.counters();
        counters.subtract(&self.before);
        totals.counters = counters.iter().collect();
        let mut deliveries = BTreeMap::new();
        for (after, count) in self.counted().flat_map(Published::after) {
            *deliveries.entry(after).or_default() += count;
        }
        totals.delivery = Spread::of_counts(&deliveries);
        totals.time_to_all = Spread::of(self.counted().map(Published::last));
        totals
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound.max(1) as u64).unwrap_or(0)
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.rng.next_u64() % 1_000 < per_mille
    }

    fn now_of(&self, number: usize) -> Now {
        let unix = (START_UNIX_MS + self.now).saturating_add_signed(self.nodes[number].clock_off);
        Now { mono: self.now, unix }
    }

    fn info(&self, dialler: usize, listener: usize, hash: [u8; 32]) -> (LinkInfo, LinkInfo) {
        use rumormill_api::Direction::{Incoming, Outgoing};
        let (from, to) = (&self.nodes[dialler], &self.nodes[listener]);
        let seen = from.addr.rest().replace(":4000", ":50000");
        let seen = PeerAddr::new("tcp", &seen).expect("an IPv4 address and a port");
        (
            LinkInfo {
                peer: to.x25519,
                direction: Outgoing(to.addr.clone()),
                remote: to.addr.clone(),
                handshake_hash: hash,
            },
            LinkInfo { peer: from.x25519, direction: Incoming, remote: seen, handshake_hash: hash },
        )
    }
}
