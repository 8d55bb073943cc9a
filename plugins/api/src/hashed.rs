//! Envelopes whose id is known, and batches of them: hashed once on their way from the wire to the disk.

use bytes::Bytes;

use crate::error::Result;
use crate::history::Entry;
use crate::ids::{ExpiryHour, MsgId, RoomTag, SourceGroup};

/// Bytes that don't change behind their holder's back: [`Bytes`] and `&[u8]`.
pub trait Unchanging: AsRef<[u8]> + sealed::Sealed {}

impl Unchanging for Bytes {}
impl Unchanging for &[u8] {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for bytes::Bytes {}
    impl Sealed for &[u8] {}
}

/// An envelope and its id, known to belong together: nothing but hashing makes one, so nobody need hash again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hashed<B = Bytes> {
    id: MsgId,
    bytes: B,
}

impl<B: Unchanging> Hashed<B> {
    /// Hashes an envelope.
    #[must_use]
    pub fn of(bytes: B) -> Self {
        Self { id: MsgId::of(bytes.as_ref()), bytes }
    }

    /// The id: the hash of [`bytes`](Self::bytes).
    #[must_use]
    pub const fn id(&self) -> &MsgId {
        &self.id
    }

    /// The envelope.
    #[must_use]
    pub const fn bytes(&self) -> &B {
        &self.bytes
    }

    /// The same envelope in other memory. Compared, or, if `to` is something else after all, hashed.
    #[must_use]
    pub fn moved<C: Unchanging>(&self, to: C) -> Hashed<C> {
        if self.bytes.as_ref() == to.as_ref() { Hashed { id: self.id, bytes: to } } else { Hashed::of(to) }
    }
}

/// What is to be written in one commit, by [`History::append_batch`](crate::History::append_batch): entries whose ids
/// are known to be their envelopes' hashes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    entries: Vec<Entry>,
}

impl Batch {
    /// Adds an envelope for the window.
    pub fn window(&mut self, envelope: &Hashed, expiry: ExpiryHour, source: SourceGroup) {
        self.entries.push(Entry::Window { id: envelope.id, expiry, source, envelope: envelope.bytes.clone() });
    }

    /// Adds an envelope for a room's archive.
    pub fn archive(&mut self, envelope: &Hashed, room: RoomTag, expiry: ExpiryHour, lamport: u64) {
        self.entries.push(Entry::Archive { id: envelope.id, room, expiry, lamport, envelope: envelope.bytes.clone() });
    }

    /// Adds a small value of the node's own; `None` removes it.
    pub fn state(&mut self, key: String, value: Option<Bytes>) {
        self.entries.push(Entry::State { key, value });
    }

    /// The entries, in the order in which they were added.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Checks what [`Entry::check`] does beyond the hashes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    pub fn check(&self, backend: &'static str) -> Result<()> {
        self.entries
            .iter()
            .filter(|entry| matches!(entry, Entry::State { .. }))
            .try_for_each(|entry| entry.check(backend))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_id_is_always_the_hash_of_its_bytes() {
        let first: &[u8] = b"first";
        let hashed = Hashed::of(first);
        assert_eq!((hashed.id(), *hashed.bytes()), (&MsgId::of(first), first));
        let moved = hashed.moved(Bytes::from_static(b"first"));
        assert_eq!((moved.id(), &moved.bytes()[..]), (&MsgId::of(first), first));
        let other = hashed.moved(Bytes::from_static(b"other"));
        assert_eq!(*other.id(), MsgId::of(b"other"));
    }

    #[test]
    fn a_batch_holds_what_would_pass_every_check() {
        let mut batch = Batch::default();
        let envelope = Hashed::of(Bytes::from_static(b"envelope"));
        batch.window(&envelope, 1, 2);
        batch.archive(&envelope, RoomTag([3; 16]), 1, 4);
        batch.state("key".into(), None);
        batch.entries().iter().try_for_each(|entry| entry.check("test")).unwrap();
        batch.check("test").unwrap();
        batch.state("k".repeat(crate::STATE_KEY_MAX_BYTES + 1), None);
        assert!(batch.check("test").is_err());
    }
}
