//! The address book: who might be dialled. Bucketed so that one source, or one network, can fill only a part of it
//! (Heilman et al. 2015, "Eclipse Attacks on Bitcoin's Peer-to-Peer Network").

use std::collections::{BTreeMap, BTreeSet};

use rumormill_api::{Millis, PeerAddr};

use super::super::address::network;
use super::super::wire::{PeerRecord, link_key_to_x25519};

/// Buckets of addresses that this node hasn't reached yet.
pub const NEW_BUCKETS: u64 = 1_024;
/// Buckets of addresses that it has.
pub const TRIED_BUCKETS: u64 = 256;
/// Addresses in a bucket.
pub const BUCKET_SLOTS: u64 = 64;
/// New buckets that one source's addresses can get into.
pub const BUCKETS_PER_SOURCE: u64 = 64;
/// Tried buckets that one network's addresses can get into.
const BUCKETS_PER_NETWORK: u64 = 8;
/// Dials in a row that may fail before an address is forgotten.
pub const FAILURES_MAX: u32 = 3;
/// How long a handshake vouches for an address, in milliseconds.
pub const VERIFIED_FOR_MS: Millis = 24 * 3_600_000;
/// A tried address that was reached this lately isn't tested before another one is refused its place, in milliseconds.
const TEST_AFTER_MS: Millis = 4 * 3_600_000;
/// Entries looked at to pick one.
const PICK_TRIES: usize = 64;

type Slot = (u64, u64);

/// What is known of an address.
#[derive(Clone, Debug)]
pub(in super::super) struct Entry {
    pub(in super::super) record: Option<PeerRecord>,
    /// The X25519 form of the record's key, or of who answered.
    pub(in super::super) key: Option<[u8; 32]>,
    /// When this node last shook hands with it there.
    pub(in super::super) verified_at: Option<Millis>,
    failures: u32,
    tried: bool,
    slot: Slot,
}

impl Entry {
    /// Whether this node shook hands with it lately enough to vouch for it.
    pub(in super::super) fn vouched(&self, now: Millis) -> bool {
        self.verified_at.is_some_and(|at| now.saturating_sub(at) < VERIFIED_FOR_MS)
    }
}

/// What became of an address that was offered to the book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Added {
    /// It is new.
    New,
    /// It was there.
    Known,
    /// Its place is taken.
    Full,
}

/// The address book.
#[derive(Debug)]
pub(in super::super) struct Book {
    secret: [u8; 32],
    entries: BTreeMap<PeerAddr, Entry>,
    new: BTreeMap<Slot, PeerAddr>,
    tried: BTreeMap<Slot, PeerAddr>,
    /// Tried addresses whose place another one wants: forgotten at the next failure.
    contested: BTreeSet<PeerAddr>,
}

impl Book {
    /// `secret` decides who shares a bucket with whom, so that nobody can aim.
    pub(in super::super) const fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            entries: BTreeMap::new(),
            new: BTreeMap::new(),
            tried: BTreeMap::new(),
            contested: BTreeSet::new(),
        }
    }

    pub(in super::super) fn get(&self, addr: &PeerAddr) -> Option<&Entry> {
        self.entries.get(addr)
    }

    /// All entries, by address.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (&PeerAddr, &Entry)> {
        self.entries.iter()
    }

    /// Offers an address that `source` (a network) told of. A verified record must come with its signature checked.
    pub(in super::super) fn add(&mut self, addr: &PeerAddr, record: Option<PeerRecord>, source: &[u8]) -> Added {
        let key = record.as_ref().and_then(|record| link_key_to_x25519(&record.link_key));
        if let Some(entry) = self.entries.get_mut(addr) {
            // Of two that claim an address, who answered there is right; before that, who came first.
            let newer = match (&entry.record, &record) {
                (Some(old), Some(new)) => old.link_key == new.link_key && old.issued_at < new.issued_at,
                (None, Some(_)) => entry.key.is_none() || entry.key == key,
                _ => false,
            };
            if newer {
                entry.record = record;
                entry.key = key;
            }
            return Added::Known;
        }
        let group = network(addr);
        let within = self.hash(&[b"group", source, &group]) % BUCKETS_PER_SOURCE;
        let bucket = self.hash(&[b"new", source, &within.to_be_bytes()]) % NEW_BUCKETS;
        let slot = (bucket, self.slot(bucket, addr));
        if let Some(holder) = self.new.get(&slot).cloned() {
            let spent = self.entries.get(&holder).is_none_or(|entry| entry.failures > 0);
            if !spent {
                return Added::Full;
            }
            self.remove(&holder);
        }
        self.new.insert(slot, addr.clone());
        let entry = Entry { record, key, verified_at: None, failures: 0, tried: false, slot };
        self.entries.insert(addr.clone(), entry);
        Added::New
    }

    /// A handshake at this address proved `key`. Returns whether that is news worth passing on, and the tried address that
    /// is to be tested because this one wants its place.
    pub(in super::super) fn verified(
        &mut self,
        addr: &PeerAddr,
        key: [u8; 32],
        now: Millis,
    ) -> (bool, Option<PeerAddr>) {
        let Some(entry) = self.entries.get_mut(addr) else { return (false, None) };
        if entry.key.is_some_and(|expected| expected != key) {
            // The record lied: someone else answers there.
            entry.record = None;
        }
        let news = !entry.vouched(now);
        entry.key = Some(key);
        entry.verified_at = Some(now);
        entry.failures = 0;
        let (tried, old) = (entry.tried, entry.slot);
        self.contested.remove(addr);
        if tried {
            return (news, None);
        }
        let group = network(addr);
        let within = self.hash(&[b"address", addr.as_str().as_bytes()]) % BUCKETS_PER_NETWORK;
        let bucket = self.hash(&[b"tried", &group, &within.to_be_bytes()]) % TRIED_BUCKETS;
        let slot = (bucket, self.slot(bucket, addr));
        if let Some(holder) = self.tried.get(&slot).cloned() {
            let fresh = self
                .entries
                .get(&holder)
                .and_then(|entry| entry.verified_at)
                .is_some_and(|at| now.saturating_sub(at) < TEST_AFTER_MS);
            if !fresh {
                self.contested.insert(holder.clone());
            }
            return (news, (!fresh).then_some(holder));
        }
        self.new.remove(&old);
        self.tried.insert(slot, addr.clone());
        if let Some(entry) = self.entries.get_mut(addr) {
            entry.tried = true;
            entry.slot = slot;
        }
        (news, None)
    }

    /// A dial came to nothing.
    pub(in super::super) fn failed(&mut self, addr: &PeerAddr) {
        let contested = self.contested.contains(addr);
        let Some(entry) = self.entries.get_mut(addr) else { return };
        entry.failures += 1;
        if contested || entry.failures >= FAILURES_MAX {
            self.remove(addr);
        }
    }

    /// Forgets an address.
    pub(in super::super) fn remove(&mut self, addr: &PeerAddr) {
        self.contested.remove(addr);
        if let Some(entry) = self.entries.remove(addr) {
            let table = if entry.tried { &mut self.tried } else { &mut self.new };
            table.remove(&entry.slot);
        }
    }

    /// Some address of the tried or of the new ones that `accept` takes; `random` decides where to begin.
    pub(in super::super) fn pick(
        &self,
        tried: bool,
        random: u64,
        mut accept: impl FnMut(&PeerAddr, &Entry) -> bool,
    ) -> Option<PeerAddr> {
        let (table, buckets) = if tried { (&self.tried, TRIED_BUCKETS) } else { (&self.new, NEW_BUCKETS) };
        let start: Slot = (random % buckets, (random >> 32) % BUCKET_SLOTS);
        table
            .range(start..)
            .chain(table.range(..start))
            .take(PICK_TRIES)
            .find(|(_, addr)| self.entries.get(addr).is_some_and(|entry| accept(addr, entry)))
            .map(|(_, addr)| addr.clone())
    }

    fn slot(&self, bucket: u64, addr: &PeerAddr) -> u64 {
        self.hash(&[b"slot", &bucket.to_be_bytes(), addr.as_str().as_bytes()]) % BUCKET_SLOTS
    }

    fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let head: [u8; 8] = hasher.finalize().as_bytes()[..8].try_into().expect("8 of 32 bytes");
        u64::from_be_bytes(head)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addr(text: &str) -> PeerAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_source_fills_its_share_only() {
        let mut book = Book::new([1; 32]);
        let mut added = 0_u64;
        for n in 0..20_000_u32 {
            let [_, b, c, d] = n.to_be_bytes();
            let other = addr(&format!("tcp:{}.{b}.{c}.{d}:4000", 20 + n % 50));
            added += u64::from(book.add(&other, None, b"one source") == Added::New);
        }
        assert!(added <= BUCKETS_PER_SOURCE * BUCKET_SLOTS, "{added}");
        assert!(added > BUCKETS_PER_SOURCE * BUCKET_SLOTS / 4, "{added}");
        assert_eq!(book.add(&addr("tcp:8.8.8.8:1"), None, b"another source"), Added::New);
    }

    #[test]
    fn reached_addresses_move_and_failing_ones_go() {
        let mut book = Book::new([1; 32]);
        let a = addr("tcp:8.8.8.8:1");
        book.add(&a, None, b"x");
        assert_eq!(book.verified(&a, [7; 32], 5), (true, None));
        assert_eq!(book.verified(&a, [7; 32], 6), (false, None));
        assert_eq!(book.pick(true, 99, |_, _| true), Some(a.clone()));
        assert_eq!(book.pick(false, 99, |_, _| true), None);
        assert!(book.get(&a).unwrap().vouched(5 + VERIFIED_FOR_MS - 1));
        assert!(!book.get(&a).unwrap().vouched(6 + VERIFIED_FOR_MS));
        for _ in 0..FAILURES_MAX {
            assert!(book.get(&a).is_some());
            book.failed(&a);
        }
        assert!(book.get(&a).is_none());
    }

    #[test]
    fn a_tried_address_is_tested_before_it_makes_room() {
        let mut book = Book::new([1; 32]);
        let (mut holder, mut rival) = (None, None);
        for n in 0..2_000_u32 {
            let [_, _, c, d] = n.to_be_bytes();
            let a = addr(&format!("tcp:8.8.{c}.{d}:1"));
            book.add(&a, None, &n.to_be_bytes());
            if let (_, Some(test)) = book.verified(&a, [7; 32], u64::from(n) * TEST_AFTER_MS) {
                (holder, rival) = (Some(test), Some(a));
                break;
            }
        }
        let (holder, rival) = (holder.unwrap(), rival.unwrap());
        assert!(!book.get(&rival).unwrap().tried);
        book.failed(&holder);
        assert!(book.get(&holder).is_none(), "it failed the test");
        book.verified(&rival, [7; 32], 0);
        assert!(book.get(&rival).unwrap().tried);
    }
}
