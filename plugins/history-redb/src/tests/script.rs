//! What a node does to its history, and what it may rely on afterwards.

use std::path::Path;

use bytes::Bytes;
use rumormill_api::{Cursor, Entry, ExpiryRange, History as _, MsgId, Result, RoomTag, Shelf};

use super::disk::Disk;
use crate::RedbHistory;
use crate::ballast::Ballast;
use crate::options::Settings;

pub(super) const ROOM: RoomTag = RoomTag([1; 16]);
pub(super) const EXPIRY: u32 = 100;

/// Opens what is on the disk, without a reserve.
pub(super) fn open(disk: &Disk) -> Result<RedbHistory> {
    RedbHistory::open(Box::new(disk.clone()), Settings { cache_bytes: 1 << 20, ballast_bytes: 0 }, no_ballast())
}

pub(super) fn no_ballast() -> Ballast {
    Ballast::new(Path::new(""), 0)
}

/// The `n`th message: between 1 and 3 pages of bytes that nothing else has.
pub(super) fn envelope(n: u64) -> Bytes {
    let seed = MsgId::of(&n.to_le_bytes()).0;
    seed.iter().copied().cycle().take(512 << (n % 5)).enumerate().map(|(at, byte)| byte ^ (at / 32) as u8).collect()
}

pub(super) fn id(n: u64) -> MsgId {
    MsgId::of(&envelope(n))
}

/// Flips a bit of the byte that lies so far from the beginning of the `n`th envelope, wherever a copy of it stands in the
/// file: the older copies of a page are free.
pub(super) fn damage(disk: &Disk, n: u64, at: isize) {
    disk.damage(|bytes| {
        let needle = &envelope(n)[..64];
        let places: Vec<_> =
            bytes.windows(64).enumerate().filter(|(_, at)| at == &needle).map(|(place, _)| place).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|place| bytes[place.strict_add_signed(at)] ^= 1);
    });
}

/// The `n`th message on both shelves, and a counter.
pub(super) fn batch(n: u64) -> Vec<Entry> {
    let (id, envelope) = (id(n), envelope(n));
    vec![
        Entry::Window { id, expiry: EXPIRY, source: n % 3, envelope: envelope.clone() },
        Entry::Archive { id, room: ROOM, expiry: EXPIRY, lamport: n, envelope },
        Entry::State { key: "last".to_owned(), value: Some(Bytes::copy_from_slice(&n.to_le_bytes())) },
    ]
}

/// Every message below `acknowledged` is there, whole, in its place, on both shelves; at most the next one is, too.
pub(super) fn check(history: &RedbHistory, acknowledged: u64, seed: u64) {
    let page = history.page(&ROOM, Cursor::END, usize::MAX).unwrap();
    let count = page.len() as u64;
    assert!(
        count == acknowledged || count == acknowledged + 1,
        "{acknowledged} were acknowledged, {count} are there (seed {seed})"
    );
    for (n, record) in (0..).zip(&page) {
        assert_eq!(record.at, Cursor { lamport: n, id: id(n) }, "seed {seed}");
        assert_eq!(record.envelope, envelope(n), "seed {seed}");
        assert_eq!(history.get(Shelf::Window, &id(n)).unwrap(), Some(envelope(n)), "seed {seed}");
    }
    let mut ids = history.ids(Shelf::Window, ExpiryRange::ALL).unwrap();
    ids.retain(|(expiry, _)| *expiry == EXPIRY);
    let mut expected: Vec<_> = (0..count).map(|n| (EXPIRY, id(n))).collect();
    expected.sort_unstable();
    assert_eq!(ids, expected, "seed {seed}");
    let last = history.state("last").unwrap().map(|last| u64::from_le_bytes(last[..].try_into().unwrap()));
    assert_eq!(last, count.checked_sub(1), "a value is committed with its batch (seed {seed})");
    assert_eq!(history.stats().unwrap().archive, count, "seed {seed}");
}
