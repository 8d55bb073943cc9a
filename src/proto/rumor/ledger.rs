//! The last envelopes: what they were, who has them, and, of the newest, their bytes.
//!
//! It knows a copy by its bytes, found under its nonce, so that a duplicate costs a comparison in place of a hash; and it
//! knows an announced envelope by its short id. It also spares the exact store: a Bloom filter says "maybe" to every copy
//! after the first.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;
use rumormill_api::{Frame, Millis, MsgId};
use siphasher::sip::SipHasher13;

use super::super::linkset::{LinkSet, Slot};
use super::super::wire::{
    ENVELOPE_COMMITMENT_OFFSET, ENVELOPE_NONCE_OFFSET, MESSAGE_HEADER_BYTES, SALT_KEY_BYTES, ShortId, short_id,
};

/// How many of the last ids are known exactly.
pub const RECENT_MAX_IDS: usize = 16_384;
/// How many bytes of the last envelopes are kept for who asks for an announced one. The memory backend of the history
/// shares them.
pub const KEPT_MAX_BYTES: usize = 4 << 20;

/// Copies of an envelope that this node needs none of: its own, and what came by repair.
pub(super) const ENOUGH: u8 = u8::MAX;

/// An envelope of the ledger, by its place in the order of arrival.
pub(super) type Place = u64;

/// What is known of one envelope.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: MsgId,
    /// The RUMOR that it came or was sent in; empty if it isn't kept (any more).
    pub(super) frame: Frame,
    /// The link that brought the first live copy. `None`: this node's own, or it didn't come live.
    pub(super) from: Option<Slot>,
    /// Full copies so far, or [`ENOUGH`].
    pub(super) copies: u8,
    /// Who has it: sent it, announced it, or was served it.
    pub(super) had: LinkSet,
    /// Who has sent a full copy.
    pub(super) gave: LinkSet,
    /// Who announced it first.
    pub(super) announcer: Option<Slot>,
    /// Who was told to send less of its like.
    pub(super) told: LinkSet,
    pub(super) at: Millis,
    short: ShortId,
    /// Its nonce as the index knows it, if it is there.
    nonce: Option<u64>,
}

impl Entry {
    /// Its id as peers announce it to this node.
    pub(super) const fn short(&self) -> ShortId {
        self.short
    }

    /// How long the envelope is, while it is kept.
    pub(super) fn envelope_bytes(&self) -> usize {
        self.frame.len().saturating_sub(MESSAGE_HEADER_BYTES)
    }
}

/// The last [`RECENT_MAX_IDS`] envelopes. The maps are looked up, never iterated, so their order decides nothing.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
    /// The place of the oldest entry.
    first: Place,
    by_short: HashMap<ShortId, Place, Folded>,
    by_nonce: HashMap<u64, Place, Folded>,
    /// The place of the oldest entry whose bytes may still be kept.
    kept_from: Place,
    kept_bytes: usize,
    key: [u8; SALT_KEY_BYTES],
    nonces: SipHasher13,
}

impl Ledger {
    /// `key` is what peers are told to shorten ids with; `secret` stays here.
    pub(super) fn new(key: [u8; SALT_KEY_BYTES], secret: [u8; 16]) -> Self {
        let fold = Folded(u64::from_be_bytes(*secret.first_chunk().expect("16 bytes")));
        Self {
            entries: VecDeque::new(),
            first: 0,
            by_short: HashMap::with_hasher(fold),
            by_nonce: HashMap::with_hasher(fold),
            kept_from: 0,
            kept_bytes: 0,
            key,
            nonces: SipHasher13::new_with_key(&secret),
        }
    }

    pub(super) const fn key(&self) -> &[u8; SALT_KEY_BYTES] {
        &self.key
    }

    /// The place of the oldest envelope.
    pub(super) const fn start(&self) -> Place {
        self.first
    }

    /// The place of the next envelope.
    pub(super) fn end(&self) -> Place {
        self.first + self.entries.len() as u64
    }

    pub(super) fn get(&self, place: Place) -> Option<&Entry> {
        self.entries.get(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    /// The envelope with exactly these bytes, if its bytes are kept.
    pub(super) fn same(&self, envelope: &[u8]) -> Option<Place> {
        let place = *self.by_nonce.get(&self.nonce(envelope))?;
        let kept = &self.get(place)?.frame;
        (kept.get(MESSAGE_HEADER_BYTES..) == Some(envelope)).then_some(place)
    }

    pub(super) fn find(&self, id: &MsgId) -> Option<Place> {
        let place = *self.by_short.get(&short_id(&self.key, id))?;
        (self.get(place)?.id == *id).then_some(place)
    }

    pub(super) fn find_short(&self, short: ShortId) -> Option<Place> {
        self.by_short.get(&short).copied()
    }

    /// The id as peers announce it to this node.
    pub(super) fn short(&self, id: &MsgId) -> ShortId {
        short_id(&self.key, id)
    }

    /// Takes in an envelope that came live, or is this node's own, in its RUMOR.
    pub(super) fn insert(&mut self, id: MsgId, frame: Frame, from: Option<Slot>, copies: u8, at: Millis) -> Place {
        let nonce = self.nonce(&frame[MESSAGE_HEADER_BYTES..]);
        self.by_nonce.insert(nonce, self.end());
        self.kept_bytes += frame.len();
        let place = self.push(id, frame, from, copies, at, Some(nonce));
        while self.kept_bytes > KEPT_MAX_BYTES {
            self.drop_bytes();
        }
        place
    }

    /// Takes in an id that is known here otherwise.
    pub(super) fn insert_known(&mut self, id: MsgId, at: Millis) {
        if self.find(&id).is_none() {
            self.push(id, Bytes::new(), None, ENOUGH, at, None);
        }
    }

    fn push(
        &mut self,
        id: MsgId,
        frame: Frame,
        from: Option<Slot>,
        copies: u8,
        at: Millis,
        nonce: Option<u64>,
    ) -> Place {
        if self.entries.len() >= RECENT_MAX_IDS {
            self.forget_oldest();
        }
        let place = self.end();
        let short = self.short(&id);
        self.by_short.insert(short, place);
        let (had, gave, told) = (LinkSet::EMPTY, LinkSet::EMPTY, LinkSet::EMPTY);
        let announcer = None;
        self.entries.push_back(Entry { id, frame, from, copies, had, gave, announcer, told, at, short, nonce });
        place
    }

    fn drop_bytes(&mut self) {
        let place = self.kept_from.max(self.first);
        self.kept_from = place + 1;
        let Some(entry) = self.get_mut(place) else { return };
        let bytes = std::mem::take(&mut entry.frame).len();
        let nonce = entry.nonce.take();
        self.kept_bytes -= bytes;
        if let Some(nonce) = nonce.filter(|nonce| self.by_nonce.get(nonce) == Some(&place)) {
            self.by_nonce.remove(&nonce);
        }
    }

    fn forget_oldest(&mut self) {
        let place = self.first;
        if self.kept_from <= place {
            self.drop_bytes();
        }
        if let Some(oldest) = self.entries.pop_front() {
            self.first += 1;
            if self.by_short.get(&oldest.short) == Some(&place) {
                self.by_short.remove(&oldest.short);
            }
        }
    }

    /// Another link has this place from now on.
    pub(super) fn clear_slot(&mut self, slot: Slot) {
        for entry in &mut self.entries {
            entry.had.remove(slot);
            entry.gave.remove(slot);
            entry.told.remove(slot);
            entry.announcer.take_if(|announcer| *announcer == slot);
        }
    }

    /// The nonce of an envelope, under a secret: nobody can fill one bucket on purpose.
    fn nonce(&self, envelope: &[u8]) -> u64 {
        self.nonces.hash(&envelope[ENVELOPE_NONCE_OFFSET..ENVELOPE_COMMITMENT_OFFSET])
    }
}

/// A hash of numbers that are hashes already, or are chosen by peers: a multiplication with a secret, folded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folded(pub(super) u64);

impl BuildHasher for Folded {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold { secret: self.0, state: 0 }
    }
}

#[derive(Debug)]
pub(super) struct Fold {
    secret: u64,
    state: u64,
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, number: u64) {
        let folded = u128::from(number ^ self.state ^ self.secret) * u128::from(self.secret | 1);
        self.state = (folded as u64) ^ ((folded >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::super::wire::{Kind, frame};
    use super::*;

    fn envelope(n: usize, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        bytes[ENVELOPE_NONCE_OFFSET..][..8].copy_from_slice(&n.to_be_bytes());
        bytes
    }

    fn insert(ledger: &mut Ledger, n: usize, size: usize) -> MsgId {
        let bytes = envelope(n, size);
        let id = MsgId::of(&bytes);
        ledger.insert(id, frame(Kind::Rumor, &bytes), None, 1, 0);
        id
    }

    #[test]
    fn so_many_ids_are_known_and_the_oldest_goes_first() {
        let mut ledger = Ledger::new([1; 16], [2; 16]);
        let ids: Vec<_> = (0..=RECENT_MAX_IDS).map(|n| insert(&mut ledger, n, 512)).collect();
        assert_eq!(ledger.find(&ids[0]), None);
        assert!(ids[1..].iter().all(|id| ledger.find(id).is_some()));
        assert_eq!(ledger.by_short.len(), RECENT_MAX_IDS);
    }

    #[test]
    fn the_newest_bytes_are_kept_up_to_the_bound() {
        let mut ledger = Ledger::new([1; 16], [2; 16]);
        let whole = 512 + MESSAGE_HEADER_BYTES;
        let fit = KEPT_MAX_BYTES / whole;
        for n in 0..fit {
            insert(&mut ledger, n, 512);
        }
        assert!(ledger.same(&envelope(0, 512)).is_some(), "all fit");
        let id = MsgId::of(&envelope(0, 512));
        insert(&mut ledger, fit, 512);
        assert_eq!(ledger.same(&envelope(0, 512)), None);
        assert!(ledger.find(&id).is_some(), "the id outlives the bytes");
        assert!(ledger.same(&envelope(1, 512)).is_some() && ledger.same(&envelope(fit, 512)).is_some());
        assert_eq!((ledger.kept_bytes, ledger.by_nonce.len()), (fit * whole, fit));
    }

    #[test]
    fn a_mutated_copy_under_the_same_nonce_is_not_the_same() {
        let mut ledger = Ledger::new([1; 16], [2; 16]);
        insert(&mut ledger, 7, 512);
        let mut mutated = envelope(7, 512);
        mutated[511] ^= 1;
        assert_eq!(ledger.same(&mutated), None);
        assert!(ledger.same(&envelope(7, 512)).is_some());
        // It came first, and the original after it: both are known.
        let first = MsgId::of(&mutated);
        ledger.insert(first, frame(Kind::Rumor, &mutated), None, 1, 0);
        assert!(ledger.same(&mutated).is_some() && ledger.find(&MsgId::of(&envelope(7, 512))).is_some());
    }

    #[test]
    fn a_known_id_is_noted_once_and_without_bytes() {
        let mut ledger = Ledger::new([1; 16], [2; 16]);
        let id = MsgId([5; 32]);
        ledger.insert_known(id, 0);
        ledger.insert_known(id, 0);
        assert_eq!(ledger.end(), 1);
        let entry = ledger.get(ledger.find_short(ledger.short(&id)).unwrap()).unwrap();
        assert!(entry.frame.is_empty() && entry.copies == ENOUGH);
    }
}
