//! Rumor mongering: the live flood. Every link gets every envelope once, as soon as it is known to be new.
//!
//! This is the safe mode of dissemination, flooding. Who gets a full copy is decided in one place, `relay`, which is
//! where an adaptive mode chooses between full copies and announcements.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, DefaultHasher, Hasher};

use bytes::Bytes;
use rumormill_api::{Dedup, Frame, LinkId, MsgId, Seen};

use super::counters::Count;
use super::engine::{Engine, envelope_of};
use super::envelope::Envelope;
use super::wire::Message;
use super::{Accepted, Now, Output};

/// How many envelopes of one link wait for the exact store.
pub const PENDING_PER_LINK_MAX: usize = 4_096;
/// How many ids one generation of the recent set holds: with those, most duplicates are told without the store.
pub const RECENT_MAX_IDS: usize = 16_384;

/// Envelopes that wait for the exact store's word.
#[derive(Default)]
pub(super) struct Rumors {
    pending: BTreeMap<MsgId, Pending>,
}

struct Pending {
    from: LinkId,
    frame: Frame,
    envelope: Envelope,
}

/// The last ids, exactly: two generations. Looked up, never iterated, so their order decides nothing.
pub(super) struct Recent {
    young: HashSet<MsgId, Keyed>,
    old: HashSet<MsgId, Keyed>,
}

/// `SipHash` under a secret of the engine's: ids that collide can't be made on purpose, and a simulation stays the same.
#[derive(Clone, Copy)]
struct Keyed(u64);

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

impl Recent {
    pub(super) fn new(secret: u64) -> Self {
        Self { young: HashSet::with_hasher(Keyed(secret)), old: HashSet::with_hasher(Keyed(secret)) }
    }

    fn contains(&self, id: &MsgId) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }

    fn insert(&mut self, id: MsgId) {
        if self.young.len() >= RECENT_MAX_IDS {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(id);
    }
}

impl<D: Dedup> Engine<D> {
    /// An envelope came live.
    pub(super) fn rumor(&mut self, from: LinkId, frame: Frame, bytes: Bytes, now: Now) {
        let envelope = match envelope_of(bytes, now) {
            Ok(envelope) => envelope,
            // That something has expired proves nothing: clocks differ.
            Err(fault) if fault.is_provable() => return self.fault(from, fault.into(), now),
            Err(fault) => return self.counters.add(fault.into()),
        };
        let id = envelope.id();
        if self.recent.contains(&id) || self.rumors.pending.contains_key(&id) {
            return self.counters.add(Count::Duplicate);
        }
        if !self.takes(from, envelope.bytes().len(), now) {
            return self.counters.add(Count::RateLimited);
        }
        match self.dedup.check_and_insert(&id, now.mono) {
            Seen::Fresh => self.accept(from, id, &frame, &envelope),
            Seen::Certain => {
                self.recent.insert(id);
                self.counters.add(Count::Duplicate);
            }
            Seen::Maybe => {
                let Some(link) = self.links.get_mut(&from) else { return };
                if link.pending >= PENDING_PER_LINK_MAX {
                    return self.counters.add(Count::PendingFull);
                }
                link.pending += 1;
                self.rumors.pending.insert(id, Pending { from, frame, envelope });
                self.out.push_back(Output::Ask(id));
            }
        }
    }

    /// The link's bucket of new bytes, refilled by the time.
    fn takes(&mut self, from: LinkId, bytes: usize, now: Now) -> bool {
        let (rate, burst) = (self.config.link_bytes_per_s, self.config.link_burst_bytes);
        let Some(link) = self.links.get_mut(&from) else { return false };
        let earned = (now.mono - link.tokens_at.min(now.mono)).saturating_mul(rate) / 1_000;
        if earned > 0 {
            link.tokens = link.tokens.saturating_add(earned).min(burst);
            link.tokens_at = now.mono;
        }
        let bytes = bytes as u64;
        let enough = link.tokens >= bytes;
        if enough {
            link.tokens -= bytes;
        }
        enough
    }

    /// The exact store's word on a `Maybe`.
    pub(super) fn known(&mut self, id: MsgId, known: bool, now: Now) {
        let Some(Pending { from, frame, envelope }) = self.rumors.pending.remove(&id) else { return };
        if let Some(link) = self.links.get_mut(&from) {
            link.pending = link.pending.saturating_sub(1);
        }
        if known {
            self.recent.insert(id);
            self.counters.add(Count::Duplicate);
        } else if envelope.check_expiry(now.unix).is_ok() {
            self.counters.add(Count::FalsePositive);
            self.accept(from, id, &frame, &envelope);
        }
    }

    fn accept(&mut self, from: LinkId, id: MsgId, frame: &Frame, envelope: &Envelope) {
        self.recent.insert(id);
        self.counters.add(Count::AcceptedLive);
        self.relay(Some(from), frame);
        let source = self.links.get(&from).map_or(0, |link| link.source);
        self.out.push_back(Output::Accept(Accepted {
            id,
            expiry: envelope.expiry(),
            envelope: envelope.bytes().clone(),
            source,
            synced: false,
            window: true,
        }));
    }

    /// Full copies to every link but the one that it came from. The frame is the bytes that came.
    fn relay(&mut self, from: Option<LinkId>, frame: &Frame) {
        let links = self.links.iter().filter(|(id, link)| Some(**id) != from && link.ready() && !link.behind);
        let before = self.out.len();
        self.out.extend(links.map(|(id, _)| Output::Send(*id, frame.clone())));
        self.counters.add_many(Count::Relayed, (self.out.len() - before) as u64);
    }

    /// An envelope of this node's own: to every link.
    pub(super) fn publish(&mut self, envelope: Bytes, now: Now) {
        let id = MsgId::of(&envelope);
        self.dedup.check_and_insert(&id, now.mono);
        self.recent.insert(id);
        self.relay(None, &Message::rumor(&envelope));
    }
}
