//! What the pinned databases hold: written by `examples/pin.rs`, read by `tests/pinned.rs`. It never changes.

use rumormill_api::{Bytes, Entry, MsgId, Retention, RoomTag};

pub(crate) const STUDY: RoomTag = RoomTag([1; 16]);
pub(crate) const FRIENDS: RoomTag = RoomTag([2; 16]);

/// What is pruned by at the hour [`NOW`], after the entries are in: envelope 0 expired, envelope 1 is evicted.
pub(crate) const NOW: u32 = 50;

pub(crate) fn retention() -> Retention {
    Retention { window_quota_bytes: 512 * 4, ephemeral: Vec::new() }
}

pub(crate) fn envelope(n: u8) -> Bytes {
    vec![n; 512].into()
}

pub(crate) fn id(n: u8) -> MsgId {
    MsgId::of(&envelope(n))
}

pub(crate) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for n in 0..6 {
        let expiry = if n == 0 { 49 } else { 100 + u32::from(n) };
        entries.push(Entry::Window { id: id(n), expiry, source: 7, envelope: envelope(n) });
    }
    for n in 4..8 {
        for (room, lamport) in [(STUDY, 100 - u64::from(n)), (FRIENDS, u64::from(n))] {
            let expiry = 100 + u32::from(n);
            entries.push(Entry::Archive { id: id(n), room, expiry, lamport, envelope: envelope(n) });
        }
    }
    entries.push(Entry::State { key: "key".to_owned(), value: Some(Bytes::from_static(b"value")) });
    entries
}
