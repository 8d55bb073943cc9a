//! Peer exchange: which addresses are dialled, which are passed on.
//!
//! An address is passed on only after this node itself shook hands there with the key that signed its record. One that is merely
//! claimed (in an incoming peer's HELLO, in PEERS) is first dialled: for good if this node lacks outgoing links, else as
//! a probe, which both ends close after HELLO.

mod book;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rand_core::Rng;
use rumormill_api::{Direction, LinkId, LinkInfo, Millis, PeerAddr};

use super::address::{dial_key, dialable, network};
use super::bucket::Bucket;
use super::core::Core;
use super::timers::Alarm;
use super::wire::{ByeReason, Hello, Message, PeerRecord};
use super::{EngineConfig, EngineEvent, Output};
pub(super) use book::Added;
use book::Book;
pub use book::{BUCKET_SLOTS, BUCKETS_PER_SOURCE, FAILURES_MAX, NEW_BUCKETS, TRIED_BUCKETS, VERIFIED_FOR_MS};

/// One learnt address is dialled at most once in this time, in milliseconds.
pub const REDIAL_AFTER_MS: Millis = 600_000;
/// A probe of a random address every so often, in milliseconds.
pub const FEELER_EVERY_MS: Millis = 120_000;
/// The first wait before a static peer is dialled again, in milliseconds; doubled at every failure …
pub const BACKOFF_MIN_MS: Millis = 1_000;
/// … up to this.
pub const BACKOFF_MAX_MS: Millis = 60_000;
/// How often a node signs its own record anew, in milliseconds: its peers read its clock off it.
pub const RECORD_RENEW_MS: Millis = 600_000;
/// A record older than this isn't believed, in seconds.
pub const RECORD_MAX_AGE_S: u64 = 7 * 24 * 3_600;
/// Nor one from so far in the future, in seconds.
pub const RECORD_MAX_AHEAD_S: u64 = 2 * 3_600;
/// Records that a new link is sent.
pub const PEERS_ON_CONNECT: usize = 32;
/// Outgoing links whose addresses are dialled at once after a restart.
pub const ANCHORS: usize = 2;
/// Addresses that [`Engine::addresses`](super::Engine::addresses) returns at most.
pub const ADDRESSES_MAX: usize = 256;
/// Addresses that wait for a probe.
const PROBES_WAITING_MAX: usize = 64;
/// Probes, in a thousand seconds …
const PROBES_PER_1000_S: u64 = 200;
/// … and at once.
const PROBES_BURST: u64 = 16;
/// Learnt addresses whose last dial is remembered.
const DIALLED_MAX: usize = 4_096;
/// A driver that doesn't say what became of a dial for so long has forgotten it, in milliseconds.
const DIAL_FORGOTTEN_MS: Millis = 120_000;
/// How often to look for someone to dial while links are lacking, in milliseconds.
const LOOK_EVERY_MS: Millis = 10_000;

/// What a dial is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Static,
    Link,
    Probe,
}

#[derive(Debug)]
struct StaticPeer {
    addr: PeerAddr,
    /// Who answered there.
    key: Option<[u8; 32]>,
    link: Option<LinkId>,
    backoff: Millis,
    next: Millis,
}

/// The state of peer exchange.
#[derive(Debug)]
pub(super) struct Peers {
    own: Option<(PeerRecord, Bytes)>,
    statics: Vec<StaticPeer>,
    anchors: VecDeque<PeerAddr>,
    book: Book,
    dialling: BTreeMap<PeerAddr, (Purpose, Millis)>,
    dialled: BTreeMap<Vec<u8>, Millis>,
    to_probe: VecDeque<PeerAddr>,
    probes: Bucket,
    feeler_at: Millis,
    started: bool,
}

impl Peers {
    pub(super) fn new(config: &EngineConfig, secret: [u8; 32]) -> Self {
        let statics = config.static_peers.iter().map(|addr| StaticPeer {
            addr: addr.clone(),
            key: None,
            link: None,
            backoff: BACKOFF_MIN_MS,
            next: 0,
        });
        let mut book = Book::new(secret);
        let mut anchors = VecDeque::new();
        for addr in config.known_addresses.iter().take(ADDRESSES_MAX) {
            if dialable(addr, config.lan) && !config.static_peers.contains(addr) {
                book.add(addr, None, addr.as_str().as_bytes());
                if anchors.len() < ANCHORS {
                    anchors.push_back(addr.clone());
                }
            }
        }
        Self {
            own: None,
            statics: statics.collect(),
            anchors,
            book,
            dialling: BTreeMap::new(),
            dialled: BTreeMap::new(),
            to_probe: VecDeque::new(),
            probes: Bucket::new(PROBES_PER_1000_S, PROBES_BURST, 0),
            feeler_at: 0,
            started: false,
        }
    }

    /// This node's record, for HELLO.
    pub(super) fn own_record(&self) -> Option<Bytes> {
        self.own.as_ref().map(|(_, bytes)| bytes.clone())
    }

    /// This node's record has changed: tell everyone.
    pub(super) fn set_own(&mut self, core: &mut Core, record: Option<&Bytes>) {
        let record = record.and_then(|bytes| PeerRecord::decode(bytes).ok().map(|record| (record, bytes.clone())));
        let changed = record != self.own;
        self.own = record;
        if let (true, Some((_, bytes))) = (changed, &self.own) {
            let links: Vec<_> = core.ready_links().map(|(id, _)| id).collect();
            for link in links {
                core.counters.peers_sent += 1;
                core.say(link, &Message::Peers(vec![bytes.clone()]));
            }
        }
    }

    /// A link is up; returns whether it is a probe of this node's.
    pub(super) fn link_up(&mut self, link: LinkId, info: &LinkInfo) -> bool {
        let Direction::Outgoing(addr) = &info.direction else { return false };
        let purpose = self.dialling.remove(addr).map(|(purpose, _)| purpose);
        for peer in self.statics.iter_mut().filter(|peer| peer.addr == *addr) {
            peer.key = Some(info.peer);
            peer.link = Some(link);
        }
        purpose == Some(Purpose::Probe)
    }

    /// A link's HELLO was accepted. `live`: it goes on to take part in the gossip.
    pub(super) fn hello(&mut self, core: &mut Core, link: LinkId, info: &LinkInfo, hello: &Hello, live: bool) {
        let dialled = match &info.direction {
            Direction::Outgoing(addr) => Some(addr),
            Direction::Incoming => None,
        };
        if let Some(peer) = self.statics.iter_mut().find(|peer| Some(&peer.addr) == dialled) {
            peer.backoff = BACKOFF_MIN_MS;
        }
        let mut record = None;
        if let Some(bytes) = &hello.record {
            if live {
                // On average it is half as old as it gets.
                hear_clock(core, link, &hello.link_key, bytes, RECORD_RENEW_MS / 2);
            }
            match check_record(core, bytes) {
                Checked::Good(good) if good.link_key == hello.link_key => record = Some(good),
                Checked::Good(_) | Checked::Forged => {
                    core.counters.peer_record_forged += 1;
                    core.close(link, ByeReason::Fault);
                    return;
                }
                Checked::Dropped => {}
            }
        }
        let source = network(&info.remote);
        let own_claim = record.as_ref().map(|record| record.addr.clone());
        if let Some(record) = &record {
            self.take(core, record.clone(), &source);
        }
        if let Some(addr) = dialled {
            self.reached(core, addr, info.peer, record, &source);
        }
        if let Some(addr) = own_claim.filter(|addr| Some(addr) != dialled) {
            self.want_probe(core, addr);
        }
        if live {
            self.greet(core, link, info.peer);
        }
        core.timers.set_by(Alarm::Peers, core.now.mono);
    }

    /// Sends a new link some of the records that this node vouches for.
    fn greet(&mut self, core: &mut Core, link: LinkId, peer: [u8; 32]) {
        let now = core.now.mono;
        let mut good: Vec<Bytes> = self
            .book
            .iter()
            .filter(|(addr, entry)| entry.key != Some(peer) && (entry.vouched(now) || linked_at(core, addr)))
            .filter_map(|(_, entry)| entry.record.as_ref().map(PeerRecord::encode))
            .collect();
        while good.len() > PEERS_ON_CONNECT {
            let one = core.below(good.len());
            good.swap_remove(one);
        }
        if !good.is_empty() {
            core.counters.peers_sent += good.len() as u64;
            core.say(link, &Message::Peers(good));
        }
    }

    /// PEERS came.
    pub(super) fn receive(&mut self, core: &mut Core, link: LinkId, records: &[Bytes]) {
        let Some(state) = core.ready(link) else { return };
        let (peer, source) = (state.info.peer, network(&state.info.remote));
        let own_key = state.hello.as_ref().map(|hello| hello.link_key);
        for bytes in records {
            let now = core.now.mono;
            let Some(state) = core.ready(link) else { return };
            if !state.records.take(1, now) {
                core.counters.peer_record_over_rate += 1;
                continue;
            }
            // A peer sends its own as soon as it is signed.
            own_key.iter().for_each(|key| hear_clock(core, link, key, bytes, 0));
            match check_record(core, bytes) {
                Checked::Good(record) => {
                    let addr = record.addr.clone();
                    self.take(core, record, &source);
                    if self.book.get(&addr).is_some_and(|entry| entry.key == Some(peer)) {
                        self.want_probe(core, addr);
                    }
                }
                Checked::Forged => {
                    core.counters.peer_record_forged += 1;
                    core.close(link, ByeReason::Fault);
                    return;
                }
                Checked::Dropped => {}
            }
        }
        core.timers.set_by(Alarm::Peers, core.now.mono);
    }

    /// Takes a record whose signature was checked into the book.
    fn take(&mut self, core: &mut Core, record: PeerRecord, source: &[u8]) {
        let own = record.link_key == core.config.link_key;
        if own || self.own.as_ref().is_some_and(|(own, _)| own.addr == record.addr) {
            return;
        }
        let addr = record.addr.clone();
        match self.book.add(&addr, Some(record), source) {
            Added::New => core.counters.peer_record_new += 1,
            Added::Known => {}
            Added::Full => core.counters.peer_record_full += 1,
        }
    }

    /// This node shook hands at an address that it dialled, with a peer that perhaps gave its record.
    fn reached(&mut self, core: &mut Core, addr: &PeerAddr, key: [u8; 32], own: Option<PeerRecord>, source: &[u8]) {
        let (news, test) = self.book.verified(addr, key, core.now.mono);
        if let Some(own) = own.filter(|own| own.addr == *addr) {
            // Once more: a record by which someone else claimed the address has just been thrown out.
            self.take(core, own, source);
        }
        if let Some(test) = test {
            self.want_probe(core, test);
        }
        let Some(record) = self.book.get(addr).and_then(|entry| entry.record.as_ref()).filter(|_| news) else { return };
        let message = Message::Peers(vec![record.encode()]).encode();
        let links: Vec<_> = core.ready_links().filter(|(_, link)| link.info.peer != key).map(|(id, _)| id).collect();
        for link in links {
            core.counters.peers_sent += 1;
            core.send(link, message.clone());
        }
    }

    fn want_probe(&mut self, core: &mut Core, addr: PeerAddr) {
        let vouched = self.book.get(&addr).is_none_or(|entry| entry.vouched(core.now.mono));
        if !vouched && self.to_probe.len() < PROBES_WAITING_MAX && !self.to_probe.contains(&addr) {
            if self.may_dial(core.now.mono, &addr) {
                self.to_probe.push_back(addr);
            } else {
                core.counters.dial_limited += 1;
            }
        }
    }

    /// A dial came to nothing.
    pub(super) fn dial_failed(&mut self, core: &mut Core, addr: &PeerAddr) {
        core.counters.dial_failed += 1;
        self.dialling.remove(addr);
        self.book.failed(addr);
        let now = core.now.mono;
        for at in 0..self.statics.len() {
            if self.statics[at].addr == *addr {
                let wait = core.jitter(self.statics[at].backoff);
                let peer = &mut self.statics[at];
                peer.next = now + wait;
                peer.backoff = (peer.backoff * 2).min(BACKOFF_MAX_MS);
            }
        }
        core.timers.set_by(Alarm::Peers, now);
    }

    /// A link is closed or gone.
    pub(super) fn link_closed(&mut self, core: &mut Core, closed: LinkId) {
        let now = core.now.mono;
        for at in 0..self.statics.len() {
            if self.statics[at].link == Some(closed) {
                let wait = core.jitter(self.statics[at].backoff);
                let peer = &mut self.statics[at];
                peer.link = None;
                peer.next = now + wait;
                peer.backoff = (peer.backoff * 2).min(BACKOFF_MAX_MS);
            }
        }
        core.timers.set_by(Alarm::Peers, now);
    }

    /// Dials whom there is to dial, and sets the alarm for the next look.
    pub(super) fn maintain(&mut self, core: &mut Core) {
        let now = core.now.mono;
        if !self.started {
            self.started = true;
            self.feeler_at = now + core.jitter(FEELER_EVERY_MS);
        }
        self.dialling.retain(|_, (_, at)| now.saturating_sub(*at) < DIAL_FORGOTTEN_MS);
        let mut next = self.dial_statics(core);
        while let Some(addr) = self.anchors.pop_front() {
            self.dial(core, &addr, Purpose::Link);
        }
        self.dial_learnt(core);
        if self.outgoing(core) < core.config.outgoing_target {
            next = next.min(now + LOOK_EVERY_MS);
        }
        if let Some(at) = self.dial_probes(core) {
            next = next.min(at);
        }
        if now >= self.feeler_at {
            self.feeler_at = now + core.jitter(FEELER_EVERY_MS);
            self.feel(core);
        }
        core.timers.set(Alarm::Peers, next.min(self.feeler_at).max(now + 1));
    }

    /// Dials the static peers that are due; returns when the next one is.
    fn dial_statics(&mut self, core: &mut Core) -> Millis {
        let now = core.now.mono;
        let mut next = Millis::MAX;
        for at in 0..self.statics.len() {
            let peer = &self.statics[at];
            let linked = peer.link.is_some()
                || peer.key.is_some_and(|key| key == core.config.own || linked_to(core, key))
                || self.dialling.contains_key(&peer.addr);
            if linked {
                continue;
            }
            if peer.next <= now {
                let addr = peer.addr.clone();
                self.dial(core, &addr, Purpose::Static);
            } else {
                next = next.min(peer.next);
            }
        }
        next
    }

    fn outgoing(&self, core: &Core) -> usize {
        let linked = core.links.values().filter(|link| link.outgoing() && !link.probe && !link.closing).count();
        linked + self.dialling.values().filter(|(purpose, _)| *purpose != Purpose::Probe).count()
    }

    /// Dials learnt addresses while outgoing links are lacking.
    fn dial_learnt(&mut self, core: &mut Core) {
        while self.outgoing(core) < core.config.outgoing_target {
            let random = core.rng.next_u64();
            let tried_first = random & 1 == 0;
            let taken = self.taken_networks(core);
            let pick = |tried: bool| {
                self.book.pick(tried, random >> 1, |addr, entry| {
                    self.may_dial(core.now.mono, addr)
                        && !self.known_otherwise(core, addr, entry.key)
                        && (core.config.lan || !taken.contains(&network(addr)))
                })
            };
            let Some(addr) = pick(tried_first).or_else(|| pick(!tried_first)) else { return };
            if !self.dial(core, &addr, Purpose::Link) {
                return;
            }
        }
    }

    fn taken_networks(&self, core: &Core) -> Vec<Vec<u8>> {
        let linked = core.links.values().filter(|link| !link.probe && !link.closing);
        let linked = linked.filter_map(|link| match &link.info.direction {
            Direction::Outgoing(addr) => Some(network(addr)),
            Direction::Incoming => None,
        });
        linked.chain(self.dialling.keys().map(network)).collect()
    }

    /// Whether dialling an address is pointless: it is linked, being dialled, a static peer's, or this node's own.
    fn known_otherwise(&self, core: &Core, addr: &PeerAddr, key: Option<[u8; 32]>) -> bool {
        self.dialling.contains_key(addr)
            || self.own.as_ref().is_some_and(|(own, _)| own.addr == *addr)
            || self.statics.iter().any(|peer| peer.addr == *addr)
            || linked_at(core, addr)
            || key.is_some_and(|key| key == core.config.own || linked_to(core, key))
    }

    /// Dials addresses that wait for a probe; returns when to go on if the rate is used up.
    fn dial_probes(&mut self, core: &mut Core) -> Option<Millis> {
        let now = core.now.mono;
        while let Some(addr) = self.to_probe.front().cloned() {
            let wanted = self.book.get(&addr).is_some_and(|entry| !entry.vouched(now))
                && !self.dialling.contains_key(&addr)
                && self.may_dial(now, &addr);
            if wanted && !self.probes.take(1, now) {
                return Some(now + self.probes.wait(1));
            }
            self.to_probe.pop_front();
            if wanted {
                self.dial(core, &addr, Purpose::Probe);
            }
        }
        None
    }

    /// Probes a random address that this node doesn't vouch for.
    fn feel(&mut self, core: &mut Core) {
        let random = core.rng.next_u64();
        let now = core.now.mono;
        let pick = |tried: bool| {
            self.book.pick(tried, random, |addr, entry| {
                !entry.vouched(now)
                    && self.may_dial(now, addr)
                    && !self.dialling.contains_key(addr)
                    && !linked_at(core, addr)
            })
        };
        if let Some(addr) = pick(false).or_else(|| pick(true)) {
            self.dial(core, &addr, Purpose::Probe);
        }
    }

    fn may_dial(&self, now: Millis, addr: &PeerAddr) -> bool {
        match self.dialled.get(&dial_key(addr)) {
            Some(at) => now.saturating_sub(*at) >= REDIAL_AFTER_MS,
            None => true,
        }
    }

    /// Dials, unless too many addresses were dialled a short while ago; whether it does.
    fn dial(&mut self, core: &mut Core, addr: &PeerAddr, purpose: Purpose) -> bool {
        let now = core.now.mono;
        if purpose != Purpose::Static {
            if self.dialled.len() >= DIALLED_MAX {
                self.dialled.retain(|_, at| now.saturating_sub(*at) < REDIAL_AFTER_MS);
            }
            if self.dialled.len() >= DIALLED_MAX {
                core.counters.dial_limited += 1;
                return false;
            }
            self.dialled.insert(dial_key(addr), now);
        }
        core.counters.dials += 1;
        self.dialling.insert(addr.clone(), (purpose, now));
        core.out.push_back(Output::Dial(addr.clone()));
        true
    }

    /// Good addresses to begin with after a restart: those of outgoing links first.
    pub(super) fn addresses(&self, core: &Core) -> Vec<PeerAddr> {
        let is_static = |addr: &PeerAddr| self.statics.iter().any(|peer| peer.addr == *addr);
        let mut good: Vec<PeerAddr> = Vec::new();
        let linked = core.ready_links().filter_map(|(_, link)| match &link.info.direction {
            Direction::Outgoing(addr) => Some(addr),
            Direction::Incoming => None,
        });
        let reached = self.book.iter().filter(|(_, entry)| entry.verified_at.is_some()).map(|(addr, _)| addr);
        for addr in linked.chain(reached) {
            if good.len() < ADDRESSES_MAX && !is_static(addr) && !good.contains(addr) {
                good.push(addr.clone());
            }
        }
        good
    }
}

enum Checked {
    Good(PeerRecord),
    Forged,
    Dropped,
}

/// A peer's own record shows what time it is there. Not only a record that passes for fresh: the own clock may be wrong.
fn hear_clock(core: &mut Core, link: LinkId, own_key: &[u8; 32], bytes: &Bytes, age: Millis) {
    let Ok(record) = PeerRecord::decode(bytes) else { return };
    if record.link_key == *own_key && record.verify().is_ok() {
        let theirs = record.issued_at.saturating_mul(1_000).saturating_add(age);
        core.event(EngineEvent::PeerClock(link, theirs));
    }
}

/// Checks a record, the cheap things first.
fn check_record(core: &mut Core, bytes: &Bytes) -> Checked {
    let Ok(record) = PeerRecord::decode(bytes) else {
        core.counters.peer_record_malformed += 1;
        return Checked::Dropped;
    };
    let now = core.now.unix / 1_000;
    if record.issued_at.saturating_add(RECORD_MAX_AGE_S) < now || record.issued_at > now + RECORD_MAX_AHEAD_S {
        core.counters.peer_record_stale += 1;
        return Checked::Dropped;
    }
    if !dialable(&record.addr, core.config.lan) {
        core.counters.peer_record_refused += 1;
        return Checked::Dropped;
    }
    if record.verify().is_err() {
        return Checked::Forged;
    }
    Checked::Good(record)
}

/// Whether a link that takes part in the gossip leads to this peer.
fn linked_to(core: &Core, key: [u8; 32]) -> bool {
    core.ready_links().any(|(_, link)| link.info.peer == key)
}

/// Whether this node dialled an open link at this address.
fn linked_at(core: &Core, addr: &PeerAddr) -> bool {
    core.links
        .values()
        .any(|link| !link.closing && matches!(&link.info.direction, Direction::Outgoing(dialled) if dialled == addr))
}
