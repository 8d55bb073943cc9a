//! What the window's tables say together, whatever came and went.

use std::collections::BTreeMap;

use rumormill_api::{Entry, ExpiryRange, History as _, Retention, Shelf};

use super::disk::{Chance, Disk};
use super::script::{ROOM, envelope, id, open};
use crate::evict::READ_AHEAD;

/// Sources hold more of an hour than is looked up at a time, and in turn with each other's.
#[test]
fn eviction_takes_the_earliest_of_many_of_one_hour() {
    let each = READ_AHEAD as u64 * 2 + 10;
    let mut history = open(&Disk::new(0)).unwrap();
    let expiry = |n: u64| 50 + (n / 2 / each) as u32;
    // Of two hours; the second source has half as many bytes.
    let entry = |n: u64| Entry::Window { id: id(n * 5), expiry: expiry(n), source: n % 2, envelope: envelope(n * 5) };
    let batch: Vec<_> = (0..each * 4).map(entry).filter(|entry| source(entry) == 0 || expiry_of(entry) == 50).collect();
    history.append(&batch).unwrap();
    let held = batch.len() as u64;
    assert_eq!(held, each * 3);
    // Until both sources hold the same, and a hundred more.
    let keep = Retention { window_quota_bytes: 512 * (each * 2 - 100), ephemeral: Vec::new() };
    assert_eq!(history.prune(&keep, 10).unwrap().evicted as u64, each + 100);
    let mut left: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    let mut all: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    let kept: Vec<_> = history.ids(Shelf::Window, ExpiryRange::ALL).unwrap();
    for entry in &batch {
        let Entry::Window { id, expiry, source, .. } = entry else { continue };
        all.entry(*source).or_default().push((*expiry, *id));
        if kept.contains(&(*expiry, *id)) {
            left.entry(*source).or_default().push((*expiry, *id));
        }
    }
    for source in [0, 1] {
        let (left, all) = (left.get_mut(&source).unwrap(), all.get_mut(&source).unwrap());
        left.sort_unstable();
        all.sort_unstable();
        assert_eq!(left.len() as u64, each - 50);
        assert_eq!(left[..], all[all.len() - left.len()..], "the earliest went");
    }
    assert_eq!(history.stats().unwrap().window_bytes, 512 * (each * 2 - 100));
}

fn source(entry: &Entry) -> u64 {
    let Entry::Window { source, .. } = entry else { return 0 };
    *source
}

fn expiry_of(entry: &Entry) -> u32 {
    let Entry::Window { expiry, .. } = entry else { return 0 };
    *expiry
}

/// Anything in any order: the bytes that are counted are those of what stands there.
#[test]
fn the_bytes_of_the_sources_are_those_of_the_window() {
    let mut chance = Chance(3);
    let mut history = open(&Disk::new(0)).unwrap();
    for step in 0..400_u32 {
        let n = chance.below(60);
        let expiry = 20 + (n % 7) as u32;
        match chance.below(10) {
            0 => history.forget(&id(n)).unwrap(),
            1 => {
                let keep = Retention { window_quota_bytes: chance.below(100_000), ephemeral: vec![ROOM] };
                history.prune(&keep, step / 40 + 15).unwrap();
            }
            2..6 => {
                let entry = Entry::Archive { id: id(n), room: ROOM, expiry, lamport: n, envelope: envelope(n) };
                history.append(&[entry]).unwrap();
            }
            _ => {
                let entry = Entry::Window { id: id(n), expiry, source: n % 3, envelope: envelope(n) };
                history.append(&[entry]).unwrap();
            }
        }
        let ids = history.ids(Shelf::Window, ExpiryRange::ALL).unwrap();
        let bytes =
            ids.iter().map(|(_, id)| history.get(Shelf::Window, id).unwrap().unwrap().len() as u64).sum::<u64>();
        let archived = history.ids(Shelf::Archive(ROOM), ExpiryRange::ALL).unwrap();
        let stats = history.stats().unwrap();
        assert_eq!((stats.window, stats.window_bytes), (ids.len() as u64, bytes), "after step {step}");
        assert_eq!(stats.archive, archived.len() as u64, "after step {step}");
        for (_, id) in archived {
            assert!(history.get(Shelf::Archive(ROOM), &id).unwrap().is_some());
        }
    }
}
