//! Checking, compacting and mending.

use bytes::Bytes;
use rumormill_api::{
    Cursor, Damaged, Entry, ErrorKind, ExpiryRange, History as _, Mended, MsgId, Retention, RoomTag, Shelf,
};

use super::disk::{Chance, Disk, Trouble};
use super::script::{ROOM, batch, check, damage, id, open};
use super::seeds;
use crate::RedbHistory;

const MESSAGES: u64 = 60;
/// What a file may take of its envelopes' bytes after compacting, in tenths.
const RATIO_MAX_TENTHS: u64 = 16;

fn filled() -> Disk {
    let disk = Disk::new(0);
    let mut history = open(&disk).unwrap();
    for n in 0..MESSAGES {
        history.append(&batch(n)).unwrap();
    }
    disk
}

fn compact(history: &mut RedbHistory) -> rumormill_api::Result<rumormill_api::Compacted> {
    history.compact(&mut |done, total| assert!(done <= total))
}

/// Every part of a check.
fn checked(history: &RedbHistory, limit: usize) -> (u64, Vec<Damaged>) {
    let (mut envelopes, mut damaged, mut after) = (0, Vec::new(), None);
    loop {
        let part = history.check(after.as_ref(), limit).unwrap();
        envelopes += part.envelopes;
        damaged.extend(part.damaged);
        after = part.next;
        if after.is_none() {
            return (envelopes, damaged);
        }
    }
}

#[test]
fn a_check_reads_everything_once_and_names_what_is_damaged() {
    let disk = filled();
    for limit in [1, 7, 60, 1_000] {
        assert_eq!(checked(&open(&disk).unwrap(), limit), (MESSAGES, Vec::new()));
    }
    damage(&disk, 4, 33);
    damage(&disk, 9, 33);
    let mut history = open(&disk).unwrap();
    let mut expected: Vec<_> = [4, 9].map(|n| Damaged { id: id(n), rooms: vec![ROOM] }).into();
    expected.sort_unstable_by_key(|damaged| damaged.id);
    for limit in [1, 60, 1_000] {
        assert_eq!(checked(&history, limit), (MESSAGES, expected.clone()));
    }
    let mended = history.mend(&mut |_, _| {}).unwrap();
    assert_eq!(mended, Mended { rebuilt: true, kept: MESSAGES - 2, lost: expected });
    assert_eq!(checked(&history, 10), (MESSAGES - 2, Vec::new()));
    assert_eq!(history.mend(&mut |_, _| {}).unwrap(), Mended::default(), "it is whole now");
    history.append(&batch(4)).unwrap();
    history.append(&batch(9)).unwrap();
    history.append(&batch(MESSAGES - 1)).unwrap();
    check(&history, MESSAGES, 0);
}

#[test]
fn compacting_changes_nothing_but_the_size() {
    let disk = filled();
    let mut history = open(&disk).unwrap();
    let before = disk.len() as u64;
    let compacted = compact(&mut history).unwrap();
    assert_eq!(compacted.before_bytes, before);
    assert_eq!(compacted.after_bytes, disk.len() as u64);
    assert!(compacted.after_bytes < compacted.before_bytes, "{compacted:?}");
    check(&history, MESSAGES, 0);
    history.append(&batch(MESSAGES)).unwrap();
    check(&history, MESSAGES + 1, 0);
    drop(history);
    let mut history = open(&disk).unwrap();
    check(&history, MESSAGES + 1, 0);
    // It evicts and prunes as before.
    let keep = Retention { window_quota_bytes: 4_096, ephemeral: vec![ROOM] };
    let evicted = history.prune(&keep, 50).unwrap().evicted;
    assert!(evicted > 50, "{evicted}");
    compact(&mut history).unwrap();
    assert_eq!(history.stats().unwrap().tombstones, evicted as u64);
    assert_eq!(history.append(&batch(0)).unwrap().new, 0, "a tombstone refuses as before");
}

/// Copied, damage would pass for what was written.
#[test]
fn what_is_damaged_is_not_compacted() {
    let disk = filled();
    damage(&disk, 4, 0);
    let mut history = open(&disk).unwrap();
    let before = disk.len();
    let error = compact(&mut history).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("rumor history check"), "{error}");
    assert_eq!(disk.len(), before);
    assert_eq!(history.mend(&mut |_, _| {}).unwrap().kept, MESSAGES - 1);
    compact(&mut history).unwrap();
    assert_eq!(checked(&history, 10), (MESSAGES - 1, Vec::new()));
}

#[test]
fn an_empty_store_is_compacted_and_checked() {
    let mut history = open(&Disk::new(0)).unwrap();
    compact(&mut history).unwrap();
    assert_eq!(checked(&history, 10), (0, Vec::new()));
    check(&history, 0, 0);
}

#[test]
fn interrupted_at_any_operation_compacting_costs_nothing() {
    let whole = filled();
    whole.trouble(Trouble::None);
    let mut history = open(&whole).unwrap();
    let opened = whole.operations();
    compact(&mut history).unwrap();
    check(&history, MESSAGES, 0);
    let operations = whole.operations();
    assert!(operations > opened + 10);
    let filled = filled();
    for at in 0..operations - opened {
        for power in [true, false] {
            let disk = filled.copy();
            let mut history = open(&disk).unwrap();
            disk.trouble(if power { Trouble::From(at) } else { Trouble::Once(at, std::io::ErrorKind::Other) });
            let compacted = compact(&mut history);
            if power {
                drop(history);
                disk.power_cycle();
                history = open(&disk).unwrap();
            } else if let Err(error) = compacted {
                assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Closed | ErrorKind::Corrupt), "{error}");
            }
            disk.trouble(Trouble::None);
            check(&history, MESSAGES, at);
        }
    }
}

/// Envelopes of one size on one shelf or both, as they come in: hundreds a commit.
fn ratio(bytes: usize, shelves: &[Shelf]) -> (u64, u64) {
    const ENVELOPES: u64 = 8_000;
    let disk = Disk::new(0);
    let mut history = open(&disk).unwrap();
    let mut chance = Chance(7);
    for batch in 0..ENVELOPES / 400 {
        let entries: Vec<_> = (0..400)
            .flat_map(|n| {
                let envelope: Bytes = (0..bytes / 8).flat_map(|_| chance.next().to_le_bytes()).collect();
                let (id, lamport) = (MsgId::of(&envelope), batch * 400 + n);
                let expiry = 100 + (lamport / 50) as u32;
                shelves.iter().map(move |shelf| {
                    let envelope = envelope.clone();
                    match *shelf {
                        Shelf::Window => Entry::Window { id, expiry, source: n % 9, envelope },
                        Shelf::Archive(room) => Entry::Archive { id, room, expiry, lamport, envelope },
                    }
                })
            })
            .collect();
        history.append(&entries).unwrap();
    }
    let compacted = compact(&mut history).unwrap();
    (compacted.after_bytes, ENVELOPES * bytes as u64)
}

#[test]
fn compacted_a_file_is_little_larger_than_its_envelopes() {
    for bytes in [512, 1_024] {
        let both = [Shelf::Window, Shelf::Archive(ROOM)];
        for shelves in [&both[..1], &both[1..], &both] {
            let (file, envelopes) = ratio(bytes, shelves);
            assert!(
                file * 10 <= envelopes * RATIO_MAX_TENTHS,
                "{file} bytes for {envelopes} bytes of envelopes of {bytes} on {shelves:?}"
            );
        }
    }
}

#[test]
fn what_rot_breaks_is_mended_and_the_rest_comes_from_peers() {
    const ROT_BYTES: u64 = 512;
    let whole = filled();
    let (mut rebuilt, mut refetched) = (0, 0);
    for seed in seeds() {
        let mut chance = Chance(seed);
        let disk = whole.copy();
        disk.damage(|bytes| {
            let start = chance.below(bytes.len() as u64 - ROT_BYTES) as usize;
            bytes[start..start + ROT_BYTES as usize].iter_mut().for_each(|byte| *byte = chance.next() as u8);
        });
        // A file that can't be opened says so, and is moved away: an empty one takes its place.
        let mut history = open(&disk).unwrap_or_else(|error| {
            assert!(error.to_string().contains("move"), "{error} (seed {seed})");
            open(&Disk::new(0)).unwrap()
        });
        // What `rumor history check` does.
        let mended = history.mend(&mut |_, _| {}).unwrap_or_else(|error| panic!("{error} (seed {seed})"));
        assert_eq!(checked(&history, 16).1, [], "seed {seed}");
        rebuilt += u64::from(mended.rebuilt);
        // What a peer has and this store doesn't name comes back: so does reconciliation.
        let window = history.ids(Shelf::Window, ExpiryRange::ALL).unwrap();
        let archive = history.ids(Shelf::Archive(ROOM), ExpiryRange::ALL).unwrap();
        for n in 0..MESSAGES {
            let (window, archive) =
                (window.iter().any(|(_, here)| *here == id(n)), archive.iter().any(|(_, here)| *here == id(n)));
            if !window || !archive {
                refetched += 1;
                history.append(&batch(n)).unwrap();
            }
        }
        history.append(&batch(MESSAGES - 1)).unwrap();
        check(&history, MESSAGES, seed);
        assert_eq!(checked(&history, 16), (MESSAGES, Vec::new()), "seed {seed}");
        assert_eq!(history.page(&RoomTag([9; 16]), Cursor::END, 9).unwrap(), []);
    }
    assert!(rebuilt > 0 && refetched > 0, "{rebuilt} rebuilt, {refetched} fetched: the test tests nothing");
}
