//! A database of the first schema: `tests/pinned.rs` reads a whole one, here the disk fails meanwhile or has failed before.

use std::io::ErrorKind::Other;

use rumormill_api::{Cursor, ErrorKind, ExpiryRange, History as _, MsgId, Shelf};

use super::disk::{Chance, Disk, Trouble};
use super::script::open;
use super::seeds;

#[path = "../../tests/pinned/content.rs"]
#[allow(dead_code, reason = "shared with what writes the file")]
mod content;

use content::{FRIENDS, STUDY, envelope, id};

const FILE: &[u8] = include_bytes!("../../tests/data/schema-1.redb");
const ROT_BYTES: u64 = 256;

fn check_whole(disk: &Disk, at: u64) {
    let history = open(disk).unwrap();
    assert_eq!(history.stats().unwrap().archive, 8, "at {at}");
    for (room, order) in [(STUDY, [7, 6, 5, 4]), (FRIENDS, [4, 5, 6, 7])] {
        let page = history.page(&room, Cursor::END, 10).unwrap();
        assert!(page.iter().map(|record| record.envelope.clone()).eq(order.map(envelope)), "at {at}");
    }
    assert_eq!(history.state("key").unwrap().as_deref(), Some(&b"value"[..]), "at {at}");
}

#[test]
fn interrupted_at_any_operation_a_conversion_costs_nothing() {
    let whole = Disk::of(FILE);
    whole.trouble(Trouble::None);
    check_whole(&whole, 0);
    let operations = whole.operations();
    assert!(operations > 20, "{operations}");
    for at in 0..operations {
        for trouble in [Trouble::From(at), Trouble::Once(at, Other)] {
            let disk = Disk::of(FILE);
            disk.trouble(trouble);
            if let Err(error) = open(&disk) {
                assert_eq!(error.kind(), ErrorKind::Io, "{error} at {at}");
            }
            disk.power_cycle();
            check_whole(&disk, at);
        }
    }
}

#[test]
fn what_rot_left_of_it_is_carried_over_and_nothing_wrong_with_it() {
    let (mut opened, mut carried) = (0, 0);
    for seed in seeds() {
        let mut chance = Chance(seed);
        let disk = Disk::of(FILE);
        disk.damage(|bytes| {
            let start = chance.below(bytes.len() as u64 - ROT_BYTES) as usize;
            bytes[start..start + ROT_BYTES as usize].iter_mut().for_each(|byte| *byte = chance.next() as u8);
        });
        let mut history = match open(&disk) {
            Ok(history) => history,
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("move it away") || text.contains("left as it is"), "{error} (seed {seed})");
                continue;
            }
        };
        opened += 1;
        for n in 0..10 {
            for shelf in [Shelf::Window, Shelf::Archive(STUDY), Shelf::Archive(FRIENDS)] {
                if let Ok(Some(found)) = history.get(shelf, &id(n)) {
                    assert_eq!(found, envelope(n), "seed {seed}");
                    carried += 1;
                }
            }
        }
        let known: Vec<MsgId> = (0..10).map(id).collect();
        for shelf in [Shelf::Window, Shelf::Archive(STUDY), Shelf::Archive(FRIENDS)] {
            let ids = history.ids(shelf, ExpiryRange::ALL).unwrap();
            assert!(ids.iter().all(|(_, id)| known.contains(id)), "seed {seed}");
        }
        // It is one of this build's now, and takes what is missing or damaged.
        for damaged in history.check(None, usize::MAX).unwrap().damaged {
            history.forget(&damaged.id).unwrap();
        }
        history.append(&content::entries()).unwrap();
        for n in 4..8 {
            assert_eq!(history.get(Shelf::Archive(FRIENDS), &id(n)).unwrap(), Some(envelope(n)), "seed {seed}");
        }
        assert!(!history.mend(&mut |_, _| {}).unwrap().rebuilt, "seed {seed}");
    }
    assert!(opened > 0 && carried > opened, "{opened} opened, {carried} carried over: the test tests nothing");
}
