//! Peer exchange and the address book: whom to dial, and whose address to pass on.
//!
//! An address is passed on only when this node itself shook hands there within [`FRESH_MS`]. Learned addresses go into
//! buckets by the network that they are in and the one that told of them (as in Bitcoin's address manager, after
//! Heilman et al. 2015, "Eclipse Attacks on Bitcoin's Peer-to-Peer Network"), so that one source can fill only a small
//! part; an address that works is moved among the tried ones, and evicts an older one only after that was tested.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use rumormill_api::{Dedup, LinkId, Millis, PeerAddr};

use super::counters::Count;
use super::engine::{Engine, EngineConfig, Link, link_group};
use super::records::PeerRecord;
use super::wire::{Message, PEERS_MAX_RECORDS};
use super::{Now, Output};

/// Buckets for addresses that were heard of.
pub const NEW_BUCKETS: u64 = 1_024;
/// Buckets for addresses where a handshake succeeded.
pub const TRIED_BUCKETS: u64 = 256;
/// Into how many of the new buckets one source's addresses go.
pub const BUCKETS_PER_SOURCE: u64 = 64;
/// How many addresses one bucket holds.
pub const BUCKET_SLOTS: u64 = 16;
/// How long after a handshake an address is passed on, in milliseconds.
pub const FRESH_MS: Millis = 24 * 3_600_000;
/// How many records one link may bring at once; after that one in [`RECORD_INTERVAL_MS`].
pub const RECORDS_BURST: u64 = 256;
/// How long a link takes to earn one more record, in milliseconds.
pub const RECORD_INTERVAL_MS: Millis = 10_000;
/// How long a learned address isn't dialled again, in milliseconds.
pub const REDIAL_AFTER_MS: Millis = 10 * 60_000;
/// How often an address is tried just to see whether it works, in milliseconds.
pub const FEELER_INTERVAL_MS: Millis = 2 * 60_000;
/// The first pause before a named peer is dialled again, in milliseconds; it doubles.
pub const BACKOFF_MIN_MS: Millis = 1_000;
/// The longest such pause, in milliseconds.
pub const BACKOFF_MAX_MS: Millis = 60_000;
/// How many dials may be under way.
pub const DIALS_MAX: usize = 32;
/// How many addresses are kept over a restart.
pub const KEPT_MAX: usize = 256;
/// How many of them are anchors: the links that lasted longest, dialled first.
pub const ANCHORS_MAX: usize = 2;

/// A peer that the config names.
struct Named {
    next_dial: Millis,
    backoff: Millis,
    /// The key that was found there, once.
    key: Option<[u8; 32]>,
}

/// An address that was heard of.
#[derive(Clone)]
struct Heard {
    addr: PeerAddr,
    /// Its record, if it came with one.
    record: Option<PeerRecord>,
    /// When a handshake there succeeded.
    reached: Option<Millis>,
    failures: u32,
}

/// The address book.
pub(super) struct Peers {
    pub(super) own: Option<PeerRecord>,
    named: BTreeMap<PeerAddr, Named>,
    /// By bucket and slot: (tried, bucket, slot).
    slots: BTreeMap<(bool, u64, u64), Heard>,
    places: BTreeMap<PeerAddr, (bool, u64, u64)>,
    /// Own neighbours' addresses, to be seen for true soon.
    to_verify: BTreeSet<PeerAddr>,
    anchors: Vec<PeerAddr>,
    dialling: BTreeSet<PeerAddr>,
    dialled_at: BTreeMap<PeerAddr, Millis>,
    selves: BTreeSet<PeerAddr>,
    feeler_at: Millis,
    secret: u64,
    lan: bool,
    target: usize,
}

impl Peers {
    pub(super) fn new(config: &EngineConfig, secret: u64) -> Self {
        let named = config
            .static_peers
            .iter()
            .map(|addr| (addr.clone(), Named { next_dial: 0, backoff: BACKOFF_MIN_MS, key: None }))
            .collect();
        let mut peers = Self {
            own: None,
            named,
            slots: BTreeMap::new(),
            places: BTreeMap::new(),
            to_verify: BTreeSet::new(),
            anchors: config.known.iter().take(ANCHORS_MAX).cloned().collect(),
            dialling: BTreeSet::new(),
            dialled_at: BTreeMap::new(),
            selves: BTreeSet::new(),
            feeler_at: FEELER_INTERVAL_MS,
            secret,
            lan: config.lan,
            target: config.outgoing_target,
        };
        for addr in config.known.iter().take(KEPT_MAX) {
            peers.hear(addr, None, "kept");
        }
        peers
    }

    /// Whether a learned address may be dialled at all.
    fn dialable(&self, addr: &PeerAddr) -> bool {
        !self.selves.contains(addr) && (self.lan || is_global(addr))
    }

    fn hash(&self, what: &[&str]) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.secret.to_be_bytes());
        for part in what {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        u64::from_be_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
    }

    /// Puts an address where it belongs among the new ones. `false` if there is no room for it.
    fn hear(&mut self, addr: &PeerAddr, record: Option<PeerRecord>, source: &str) -> bool {
        if !self.dialable(addr) {
            return false;
        }
        if let Some(place) = self.places.get(addr) {
            if let Some(heard) = self.slots.get_mut(place)
                && let Some(record) = record
                && heard.record.as_ref().is_none_or(|old| old.issued_at < record.issued_at)
            {
                heard.record = Some(record);
            }
            return true;
        }
        let group = group_of(addr);
        let part = (self.hash(&["part", source, &group]) % BUCKETS_PER_SOURCE).to_string();
        let bucket = self.hash(&["new", source, &part]) % NEW_BUCKETS;
        let slot = self.hash(&["slot", &bucket.to_string(), addr.as_str()]) % BUCKET_SLOTS;
        let place = (false, bucket, slot);
        if let Some(there) = self.slots.get(&place) {
            // An address that never worked gives way; any other stays.
            if there.failures == 0 || there.reached.is_some() {
                return false;
            }
            self.places.remove(&there.addr);
            self.dialled_at.remove(&there.addr);
        }
        self.places.insert(addr.clone(), place);
        self.slots.insert(place, Heard { addr: addr.clone(), record, reached: None, failures: 0 });
        true
    }

    /// A handshake succeeded there, and showed that key.
    pub(super) fn reached(&mut self, addr: &PeerAddr, key: &[u8; 32], now: Now) {
        self.dialling.remove(addr);
        self.to_verify.remove(addr);
        if let Some(named) = self.named.get_mut(addr) {
            named.key = Some(*key);
            named.backoff = BACKOFF_MIN_MS;
        }
        let Some(place) = self.places.get(addr).copied() else { return };
        let Some(heard) = self.slots.get_mut(&place) else { return };
        // Another node answers there than the record says: what was signed for the old one isn't passed on.
        if heard.record.as_ref().is_some_and(|record| record.handshake_key() != Some(*key)) {
            heard.record = None;
        }
        heard.reached = Some(now.mono);
        heard.failures = 0;
        if !place.0 {
            self.promote(place);
        }
    }

    /// Moves an address among the tried ones; one that stands in its place there is tested before it goes.
    fn promote(&mut self, from: (bool, u64, u64)) {
        let Some(heard) = self.slots.get(&from) else { return };
        let group = group_of(&heard.addr);
        let part = (self.hash(&["part", heard.addr.as_str()]) % 8).to_string();
        let bucket = self.hash(&["tried", &group, &part]) % TRIED_BUCKETS;
        let slot = self.hash(&["slot", &bucket.to_string(), heard.addr.as_str()]) % BUCKET_SLOTS;
        let place = (true, bucket, slot);
        if let Some(there) = self.slots.get(&place) {
            if there.failures == 0 {
                let addr = there.addr.clone();
                self.to_verify.insert(addr);
                return;
            }
            self.places.remove(&there.addr);
        }
        if let Some(heard) = self.slots.remove(&from) {
            self.places.insert(heard.addr.clone(), place);
            self.slots.insert(place, heard);
        }
    }

    pub(super) fn dial_failed(&mut self, addr: &PeerAddr, now: Now, rng: &mut ChaCha8Rng) {
        self.dialling.remove(addr);
        self.to_verify.remove(addr);
        if let Some(place) = self.places.get(addr)
            && let Some(heard) = self.slots.get_mut(place)
        {
            heard.failures = heard.failures.saturating_add(1);
        }
        self.back_off(addr, now, rng);
    }

    /// An outgoing link ended; `hello`: it had been good.
    pub(super) fn lost(&mut self, addr: &PeerAddr, hello: bool, now: Now, rng: &mut ChaCha8Rng) {
        self.dialling.remove(addr);
        if let Some(named) = self.named.get_mut(addr)
            && hello
        {
            named.backoff = BACKOFF_MIN_MS;
        }
        self.back_off(addr, now, rng);
    }

    fn back_off(&mut self, addr: &PeerAddr, now: Now, rng: &mut ChaCha8Rng) {
        let Some(named) = self.named.get_mut(addr) else { return };
        // Half of it fixed, half of it chance: peers that failed together don't come back together.
        named.next_dial = now.mono + named.backoff / 2 + rng.next_u64() % (named.backoff / 2 + 1);
        named.backoff = (named.backoff * 2).min(BACKOFF_MAX_MS);
    }

    /// The address leads to this node itself.
    pub(super) fn is_self(&mut self, addr: &PeerAddr) {
        self.selves.insert(addr.clone());
        self.named.remove(addr);
        if let Some(place) = self.places.remove(addr) {
            self.slots.remove(&place);
        }
    }

    /// The records to pass on: of addresses where this node itself shook hands lately, and its own.
    pub(super) fn verified(&self, now: Now, but: &[u8; 32]) -> Vec<PeerRecord> {
        let fresh = self.slots.values().filter(|heard| heard.reached.is_some_and(|at| now.mono < at + FRESH_MS));
        let records = fresh.filter_map(|heard| heard.record.as_ref());
        records.filter(|record| record.handshake_key() != Some(*but)).take(PEERS_MAX_RECORDS).cloned().collect()
    }

    fn verified_at(&self, addr: &PeerAddr) -> Option<&PeerRecord> {
        let heard = self.slots.get(self.places.get(addr)?)?;
        heard.reached.and(heard.record.as_ref())
    }

    pub(super) fn addresses<'a>(&self, links: impl Iterator<Item = &'a Link>) -> Vec<PeerAddr> {
        let mut best: Vec<PeerAddr> = Vec::new();
        for link in links.filter(|link| link.ready()) {
            if let rumormill_api::Direction::Outgoing(addr) = &link.info.direction
                && best.len() < ANCHORS_MAX
                && !self.named.contains_key(addr)
            {
                best.push(addr.clone());
            }
        }
        let mut tried: Vec<&Heard> = self.slots.values().filter(|heard| heard.reached.is_some()).collect();
        tried.sort_by_key(|heard| std::cmp::Reverse(heard.reached));
        for heard in tried {
            if best.len() < KEPT_MAX && !best.contains(&heard.addr) {
                best.push(heard.addr.clone());
            }
        }
        best
    }

    fn may_dial(&self, addr: &PeerAddr, now: Now) -> bool {
        !self.dialling.contains(addr)
            && self.dialable(addr)
            && self.dialled_at.get(addr).is_none_or(|at| now.mono >= at + REDIAL_AFTER_MS)
    }
}

impl<D: Dedup> Engine<D> {
    /// Records that a peer passes on.
    pub(super) fn records(&mut self, link: LinkId, records: Vec<PeerRecord>, now: Now) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let earned = (now.mono - state.records_at.min(now.mono)) * 10 / RECORD_INTERVAL_MS;
        if earned > 0 {
            state.records = (state.records + earned).min(RECORDS_BURST * 10);
            state.records_at = now.mono;
        }
        let (peer, source) = (state.info.peer, link_group(&state.info));
        for record in records {
            let Some(state) = self.links.get_mut(&link) else { return };
            if state.records < 10 {
                self.counters.add(Count::RecordRate);
                continue;
            }
            state.records -= 10;
            if record.link_key == self.config.link_key {
                continue;
            }
            if !self.peers.dialable(&record.addr) {
                self.counters.add(Count::RecordAddress);
            } else if !record.verify(now.unix / 1_000) {
                self.counters.add(Count::BadRecord);
            } else if record.handshake_key() == Some(peer) {
                self.record_of_peer(link, record, now);
            } else {
                let addr = record.addr.clone();
                self.peers.hear(&addr, Some(record), &source);
            }
        }
        self.tick_peers(now);
    }

    /// A neighbour's own address: worth a dial soon, so that it can be passed on.
    pub(super) fn record_of_peer(&mut self, link: LinkId, record: PeerRecord, now: Now) {
        if !record.verify(now.unix / 1_000) {
            self.counters.add(Count::BadRecord);
            return;
        }
        let Some(state) = self.links.get(&link) else { return };
        let source = link_group(&state.info);
        let at_it = matches!(&state.info.direction, rumormill_api::Direction::Outgoing(addr) if *addr == record.addr);
        let (addr, peer) = (record.addr.clone(), state.info.peer);
        // What the config names is passed on like any other, once it was reached.
        if !self.peers.hear(&addr, Some(record), &source) {
            self.counters.add(Count::RecordAddress);
            return;
        }
        if at_it {
            self.peers.reached(&addr, &peer, now);
        } else if self.peers.verified_at(&addr).is_none() && self.config.outgoing_target > 0 {
            self.peers.to_verify.insert(addr);
        }
        self.tick_peers(now);
    }

    /// Tells everyone of an address that was just found to be true.
    pub(super) fn share_verified(&mut self, addr: Option<&PeerAddr>, now: Now) {
        let Some(record) = addr.and_then(|addr| self.peers.verified_at(addr)).cloned() else { return };
        let key = record.handshake_key();
        let frame = Message::Peers(vec![record]).encode();
        let others: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.ready() && Some(link.info.peer) != key)
            .map(|(id, _)| *id)
            .collect();
        for link in others {
            self.send(link, frame.clone());
        }
        let _ = now;
    }

    /// Dials whom there is reason to dial.
    pub(super) fn tick_peers(&mut self, now: Now) {
        let linked: BTreeSet<[u8; 32]> =
            self.links.values().filter(|link| !link.closing).map(|link| link.info.peer).collect();
        let dialled: BTreeSet<PeerAddr> = self
            .links
            .values()
            .filter_map(|link| match &link.info.direction {
                rumormill_api::Direction::Outgoing(addr) => Some(addr.clone()),
                rumormill_api::Direction::Incoming => None,
            })
            .collect();
        let named: Vec<PeerAddr> = self
            .peers
            .named
            .iter()
            .filter(|(addr, named)| {
                now.mono >= named.next_dial
                    && !self.peers.dialling.contains(*addr)
                    && !dialled.contains(*addr)
                    && !named.key.is_some_and(|key| linked.contains(&key))
            })
            .map(|(addr, _)| addr.clone())
            .collect();
        for addr in named {
            self.dial(addr, now);
        }
        if self.config.outgoing_target == 0 {
            return;
        }
        let verify: Vec<PeerAddr> = self.peers.to_verify.iter().cloned().collect();
        for addr in verify {
            if dialled.contains(&addr) || self.peers.named.contains_key(&addr) {
                self.peers.to_verify.remove(&addr);
            } else if self.peers.may_dial(&addr, now) {
                self.peers.to_verify.remove(&addr);
                self.dial(addr, now);
            }
        }
        self.fill_up(&linked, &dialled, now);
    }

    /// Keeps the target of outgoing links, each in a network of its own; now and then one more, to see if it works.
    fn fill_up(&mut self, linked: &BTreeSet<[u8; 32]>, dialled: &BTreeSet<PeerAddr>, now: Now) {
        let learned = |addr: &&PeerAddr| !self.peers.named.contains_key(*addr);
        let mut outgoing = dialled.iter().filter(learned).count()
            + self.peers.dialling.iter().filter(learned).filter(|addr| !dialled.contains(*addr)).count();
        let feeler = now.mono >= self.peers.feeler_at;
        if feeler {
            self.peers.feeler_at = now.mono + FEELER_INTERVAL_MS;
            self.close_spare_feelers(now);
        }
        let anchors = std::mem::take(&mut self.peers.anchors);
        for addr in anchors {
            if self.peers.may_dial(&addr, now) && !dialled.contains(&addr) && outgoing < self.peers.target {
                outgoing += 1;
                self.dial(addr, now);
            }
        }
        if outgoing >= self.peers.target && !feeler {
            return;
        }
        let groups: BTreeSet<String> = dialled.iter().chain(&self.peers.dialling).map(group_of).collect();
        let mut candidates: Vec<PeerAddr> = self
            .peers
            .slots
            .values()
            .filter(|heard| {
                self.peers.may_dial(&heard.addr, now)
                    && !dialled.contains(&heard.addr)
                    && !heard
                        .record
                        .as_ref()
                        .and_then(PeerRecord::handshake_key)
                        .is_some_and(|key| linked.contains(&key))
                    && (self.config.lan || !groups.contains(&group_of(&heard.addr)))
            })
            .map(|heard| heard.addr.clone())
            .collect();
        let mut taken = groups;
        while (outgoing < self.peers.target || feeler) && !candidates.is_empty() {
            let chosen = self.below(candidates.len());
            let addr = candidates.swap_remove(chosen);
            if !self.config.lan && !taken.insert(group_of(&addr)) {
                continue;
            }
            outgoing += 1;
            self.dial(addr, now);
            if outgoing > self.peers.target {
                break;
            }
        }
    }

    /// Outgoing links past the target were feelers: they have shown what they were to show.
    fn close_spare_feelers(&mut self, now: Now) {
        let outgoing: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| match &link.info.direction {
                rumormill_api::Direction::Outgoing(addr) => link.ready() && !self.peers.named.contains_key(addr),
                rumormill_api::Direction::Incoming => false,
            })
            .map(|(id, _)| *id)
            .collect();
        for link in outgoing.into_iter().skip(self.peers.target) {
            self.send(link, Message::Bye.encode());
            self.close(link, now);
        }
    }

    fn dial(&mut self, addr: PeerAddr, now: Now) {
        if self.peers.dialling.len() >= DIALS_MAX {
            return;
        }
        self.peers.dialled_at.insert(addr.clone(), now.mono);
        self.peers.dialling.insert(addr.clone());
        self.out.push_back(Output::Dial(addr));
    }
}

/// The network that an address is in: /16 of IPv4, /32 of IPv6, else the address itself.
pub(super) fn group_of(addr: &PeerAddr) -> String {
    match addr.rest().parse::<SocketAddr>().map(|socket| socket.ip().to_canonical()) {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, ..] = ip.octets();
            format!("{a}.{b}")
        }
        Ok(IpAddr::V6(ip)) => {
            let [a, b, ..] = ip.segments();
            format!("{a:x}:{b:x}")
        }
        Err(_) => addr.to_string(),
    }
}

/// Whether an address is a global unicast one (IANA's special-purpose registries, RFC 6890 and its successors). Names
/// aren't: they could be made to mean anything.
fn is_global(addr: &PeerAddr) -> bool {
    match addr.rest().parse::<SocketAddr>() {
        Ok(socket) if socket.port() == 0 => false,
        Ok(socket) => match socket.ip().to_canonical() {
            IpAddr::V4(ip) => is_global_v4(ip),
            IpAddr::V6(ip) => is_global_v6(ip),
        },
        Err(_) => false,
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    // Only 2000::/3 is global unicast; within it, documentation, benchmarking, Teredo and 6to4 aren't for peers.
    let [a, b, ..] = ip.segments();
    (a & 0xe000) == 0x2000 && !(a == 0x2001 && (b == 0xdb8 || b < 0x200)) && a != 0x2002 && !(a == 0x3fff && b < 0x1000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_global_unicast_addresses_are_dialled_unasked() {
        for (addr, global) in [
            ("tcp:8.8.8.8:1", true),
            ("tcp:8.8.8.8:0", false),
            ("tcp:127.0.0.1:1", false),
            ("tcp:10.1.2.3:1", false),
            ("tcp:172.16.0.1:1", false),
            ("tcp:172.32.0.1:1", true),
            ("tcp:192.168.1.1:1", false),
            ("tcp:169.254.169.254:80", false),
            ("tcp:100.64.0.1:1", false),
            ("tcp:100.128.0.1:1", true),
            ("tcp:198.18.0.1:1", false),
            ("tcp:192.0.2.1:1", false),
            ("tcp:224.0.0.1:1", false),
            ("tcp:255.255.255.255:1", false),
            ("tcp:0.0.0.0:1", false),
            ("tcp:[::1]:1", false),
            ("tcp:[::ffff:10.0.0.1]:1", false),
            ("tcp:[fe80::1]:1", false),
            ("tcp:[fc00::1]:1", false),
            ("tcp:[2001:db8::1]:1", false),
            ("tcp:[2606:4700::1]:1", true),
            ("tcp:localhost:1", false),
            ("memory:alice", false),
        ] {
            assert_eq!(is_global(&addr.parse().unwrap()), global, "{addr}");
        }
    }

    #[test]
    fn groups_are_networks() {
        let group = |addr: &str| group_of(&addr.parse().unwrap());
        assert_eq!(group("tcp:1.2.3.4:5"), group("tcp:1.2.9.9:1"));
        assert_ne!(group("tcp:1.2.3.4:5"), group("tcp:1.3.3.4:5"));
        assert_eq!(group("tcp:[2606:4700:1::1]:5"), group("tcp:[2606:4700:2::1]:5"));
        assert_eq!(group("tcp:[::ffff:1.2.3.4]:5"), group("tcp:1.2.9.9:1"));
    }
}
