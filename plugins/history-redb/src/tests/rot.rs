//! Bytes that change on the disk.

use rumormill_api::{Cursor, Damaged, ErrorKind, ExpiryRange, History as _, Mended, RoomTag, Shelf};

use super::disk::{Chance, Disk};
use super::script::{EXPIRY, ROOM, batch, damage, envelope, id, open};
use super::seeds;

const MESSAGES: u64 = 40;
const ROT_BYTES: u64 = 512;

fn filled() -> Disk {
    let disk = Disk::new(0);
    let mut history = open(&disk).unwrap();
    for n in 0..MESSAGES {
        history.append(&batch(n)).unwrap();
    }
    disk
}

#[test]
fn a_damaged_envelope_is_named_left_out_and_replaced() {
    let disk = filled();
    damage(&disk, 7, 33);
    let mut history = open(&disk).unwrap();
    for shelf in [Shelf::Window, Shelf::Archive(ROOM)] {
        assert_eq!(history.get(shelf, &id(7)).unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(history.ids(shelf, ExpiryRange::ALL).unwrap().contains(&(EXPIRY, id(7))));
    }
    let page = history.page(&ROOM, Cursor::END, usize::MAX).unwrap();
    assert!(page.iter().map(|record| record.at.lamport).eq((0..MESSAGES).filter(|n| *n != 7)));
    let page = history.page(&ROOM, Cursor { lamport: 9, id: id(9) }, 2).unwrap();
    assert!(page.iter().map(|record| record.at.lamport).eq([6, 8]), "the damaged one takes no place of the page");

    history.forget(&id(7)).unwrap();
    assert!(!history.holds(&id(7)).unwrap().any());
    assert_eq!(history.append(&batch(7)).unwrap().new, 2);
    assert_eq!(history.get(Shelf::Window, &id(7)).unwrap(), Some(envelope(7)));
    assert_eq!(history.page(&ROOM, Cursor::END, usize::MAX).unwrap().len() as u64, MESSAGES);
}

/// What stands before the envelope's bytes is damaged: the bytes are good, but nobody knows where they belong.
#[test]
fn a_damaged_place_is_named_with_its_room_and_taken_again() {
    let disk = filled();
    damage(&disk, 7, -5);
    for forgotten in [false, true] {
        let disk = disk.copy();
        let mut history = open(&disk).unwrap();
        for shelf in [Shelf::Window, Shelf::Archive(ROOM)] {
            assert_eq!(history.get(shelf, &id(7)).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let elsewhere = Shelf::Archive(RoomTag([9; 16]));
        assert_eq!(history.get(elsewhere, &id(7)).unwrap(), None, "it isn't missed where it never was");
        let checked = history.check(None, usize::MAX).unwrap();
        assert_eq!(checked.damaged, [Damaged { id: id(7), rooms: vec![ROOM] }]);
        assert_eq!(history.page(&ROOM, Cursor::END, usize::MAX).unwrap().len() as u64, MESSAGES - 1);
        let stats = history.stats().unwrap();
        if forgotten {
            history.forget(&id(7)).unwrap();
            assert_eq!(history.stats().unwrap().archive, MESSAGES - 1);
            assert!(!history.ids(Shelf::Window, ExpiryRange::ALL).unwrap().contains(&(EXPIRY, id(7))));
        }
        assert!(!history.holds(&id(7)).unwrap().any(), "it may come again");
        assert_eq!(history.append(&batch(7)).unwrap().new, 2);
        assert_eq!(history.get(Shelf::Window, &id(7)).unwrap(), Some(envelope(7)));
        assert_eq!(history.page(&ROOM, Cursor::END, usize::MAX).unwrap().len() as u64, MESSAGES);
        let after = history.stats().unwrap();
        assert_eq!((after.window, after.archive), (stats.window, stats.archive));
        assert_eq!(history.check(None, usize::MAX).unwrap().damaged, []);
    }
    // Made anew it is whole without anybody's help: the orders say where the bytes belong.
    let mut history = open(&disk).unwrap();
    assert_eq!(history.mend(&mut |_, _| {}).unwrap(), Mended { rebuilt: true, kept: MESSAGES, lost: Vec::new() });
    assert_eq!(history.get(Shelf::Archive(ROOM), &id(7)).unwrap(), Some(envelope(7)));
    assert_eq!(history.page(&ROOM, Cursor::END, usize::MAX).unwrap().len() as u64, MESSAGES);
}

#[test]
fn rotten_bytes_are_never_served_and_never_panic() {
    let whole = filled();
    let mut served = 0;
    for seed in seeds() {
        let disk = whole.copy();
        let mut chance = Chance(seed);
        disk.damage(|bytes| {
            let start = chance.below(bytes.len() as u64 - ROT_BYTES) as usize;
            bytes[start..start + ROT_BYTES as usize].iter_mut().for_each(|byte| *byte = chance.next() as u8);
        });
        let Ok(mut history) = open(&disk) else { continue };
        for n in 0..MESSAGES {
            for shelf in [Shelf::Window, Shelf::Archive(ROOM)] {
                if let Ok(Some(found)) = history.get(shelf, &id(n)) {
                    assert_eq!(found, envelope(n), "seed {seed}");
                    served += 1;
                }
            }
        }
        for record in history.page(&ROOM, Cursor::END, usize::MAX).unwrap_or_default() {
            assert!((0..MESSAGES).any(|n| record.envelope == envelope(n)), "seed {seed}");
        }
        if let Ok(Some(last)) = history.state("last") {
            assert_eq!(last[..], (MESSAGES - 1).to_le_bytes(), "seed {seed}");
        }
        // None of these may panic; what they say depends on what was hit.
        let _ = history.ids(Shelf::Window, ExpiryRange::ALL);
        let _ = history.stats();
        let _ = history.append(&batch(MESSAGES));
        let _ = history.forget(&id(3));
        let _ = history.prune(&rumormill_api::Retention { window_quota_bytes: 1 << 14, ephemeral: vec![ROOM] }, 50);
    }
    assert!(served > 0);
}
