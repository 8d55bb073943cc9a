//! What has to survive closing and opening again.

use tempfile::TempDir;

use super::{
    ENVELOPE_BYTES, FRIENDS, Factory, STUDY, archive, envelope, id, open_in, put, quota, roomy, sorted_ids, state,
    window,
};
use crate::error::ErrorKind;
use crate::history::{Cursor, Entry, ExpiryRange, History, Holding, Pruned, Shelf};
use crate::ids::MsgId;

/// Opens a store, works on it, closes it and opens it again.
fn reopened(make: &Factory, work: impl FnOnce(&mut dyn History)) -> (Box<dyn History>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut history = open_in(make, &folder);
    work(&mut *history);
    drop(history);
    (open_in(make, &folder), folder)
}

/// Both shelves, values, tombstones and counts.
pub fn reopened_everything_is_there(make: &Factory) {
    let mut before = None;
    let (store, _folder) = reopened(make, |store| {
        put(store, &[window(1, 50, 0), window(2, 60, 1), window(3, 70, 0), archive(1, STUDY, 50, 1)]);
        put(store, &[archive(9, FRIENDS, 5, 2), state("key", Some(b"value"))]);
        store.prune(&quota(2), 10).unwrap();
        before = Some(store.stats().unwrap());
    });
    assert_eq!(Some(store.stats().unwrap()), before);
    assert_eq!(store.ids(Shelf::Window, ExpiryRange::ALL).unwrap(), [(60, id(2)), (70, id(3))]);
    assert_eq!(store.holds(&id(1)).unwrap(), Holding { window: false, archive: true, tombstone: true });
    assert_eq!(store.tombstones().unwrap(), [id(1)]);
    assert_eq!(store.ids(Shelf::Archive(STUDY), ExpiryRange::ALL).unwrap(), [(50, id(1))]);
    assert_eq!(store.ids(Shelf::Archive(FRIENDS), ExpiryRange::ALL).unwrap(), [(5, id(9))]);
    assert_eq!(store.state("key").unwrap().as_deref(), Some(&b"value"[..]));
}

/// Envelopes of every size class.
pub fn reopened_the_bytes_are_the_same(make: &Factory) {
    let sizes = (0..7).map(|n| (n, 512 << n)).chain([(8, 0), (9, 1)]);
    let envelopes: Vec<_> = sizes.map(|(n, bytes)| envelope(n, bytes)).collect();
    let (store, _folder) = reopened(make, |store| {
        for envelope in &envelopes {
            let id = MsgId::of(envelope);
            put(store, &[Entry::Window { id, expiry: 50, source: 0, envelope: envelope.clone() }]);
        }
    });
    for envelope in envelopes {
        assert_eq!(store.get(Shelf::Window, &MsgId::of(&envelope)).unwrap(), Some(envelope));
    }
}

/// The order of an archive, and reading on from a cursor that an earlier run gave out.
pub fn reopened_pages_are_in_order(make: &Factory) {
    let mut cursor = Cursor::END;
    let (store, _folder) = reopened(make, |store| {
        for n in 0..30 {
            put(store, &[archive(n, STUDY, 50, n * 7 % 30)]);
        }
        cursor = store.page(&STUDY, Cursor::END, 10).unwrap()[0].at;
    });
    let page = store.page(&STUDY, cursor, 100).unwrap();
    assert!(page.iter().map(|record| record.at.lamport).eq(0..20));
}

/// What was evicted is not new to the next run either.
pub fn reopened_tombstones_still_refuse(make: &Factory) {
    let (mut store, _folder) = reopened(make, |store| {
        put(store, &[window(1, 50, 0)]);
        store.prune(&quota(0), 10).unwrap();
    });
    assert_eq!(put(&mut *store, &[window(1, 50, 0)]), (0, 1));
    assert!(!store.holds(&id(1)).unwrap().window);
}

/// What peers are told of evictions stays the same.
pub fn reopened_tombstones_are_listed_in_order(make: &Factory) {
    let (store, _folder) = reopened(make, |store| {
        put(store, &(0..20).map(|n| window(n, 50 + n as u32 / 5, 0)).collect::<Vec<_>>());
        store.prune(&quota(5), 10).unwrap();
        store.prune(&quota(5), 51).unwrap();
    });
    let mut all: Vec<_> = (5..15).map(|n| (50 + n as u32 / 5, id(n))).collect();
    all.sort_unstable();
    let end = (u32::MAX, MsgId([0xff; 32]));
    assert_eq!(store.tombstones_between((0, MsgId([0; 32])), end, 1_000).unwrap(), all);
    assert_eq!(store.tombstones_between(all[3], end, 4).unwrap(), all[3..7]);
}

/// Pruned is pruned.
pub fn reopened_what_was_pruned_stays_away(make: &Factory) {
    let (store, _folder) = reopened(make, |store| {
        put(store, &(0..20).map(|n| window(n, n as u32, 0)).collect::<Vec<_>>());
        store.prune(&roomy(), 10).unwrap();
    });
    let mut ids: Vec<_> = store.ids(Shelf::Window, ExpiryRange::ALL).unwrap().into_iter().map(|(_, id)| id).collect();
    ids.sort_unstable();
    assert_eq!(ids, sorted_ids(10..20));
    assert_eq!(store.get(Shelf::Window, &id(3)).unwrap(), None);
}

/// Forgotten is forgotten.
pub fn reopened_what_was_forgotten_stays_away(make: &Factory) {
    let (store, _folder) = reopened(make, |store| {
        put(store, &[window(1, 50, 0), archive(1, STUDY, 50, 1), window(2, 50, 0)]);
        store.forget(&id(1)).unwrap();
    });
    assert_eq!(store.holds(&id(1)).unwrap(), Holding::default());
    assert!(store.page(&STUDY, Cursor::END, 10).unwrap().is_empty());
    assert!(store.holds(&id(2)).unwrap().window);
}

/// A batch that was refused is not there after all.
pub fn reopened_a_refused_batch_left_nothing(make: &Factory) {
    let (store, _folder) = reopened(make, |store| {
        put(store, &[window(1, 50, 0)]);
        let wrong = Entry::Window { id: id(3), expiry: 50, source: 0, envelope: envelope(4, ENVELOPE_BYTES) };
        let error = store.append(&[window(2, 50, 0), state("key", Some(b"value")), wrong]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    });
    assert_eq!(store.ids(Shelf::Window, ExpiryRange::ALL).unwrap(), [(50, id(1))]);
    assert_eq!(store.state("key").unwrap(), None);
}

/// A value that was removed or replaced doesn't come back.
pub fn reopened_removed_state_stays_removed(make: &Factory) {
    let (store, _folder) = reopened(make, |store| {
        put(store, &[state("gone", Some(b"1")), state("kept", Some(b"2"))]);
        put(store, &[state("gone", None), state("kept", Some(b"3"))]);
    });
    assert_eq!(store.state("gone").unwrap(), None);
    assert_eq!(store.state("kept").unwrap().as_deref(), Some(&b"3"[..]));
}

/// Who holds how much of the window is known across runs.
pub fn reopened_eviction_is_still_fair(make: &Factory) {
    let (mut store, _folder) = reopened(make, |store| {
        put(store, &(0..40).map(|n| window(n, 90, 7)).collect::<Vec<_>>());
        put(store, &(100..103).map(|n| window(n, 20, 1)).collect::<Vec<_>>());
    });
    put(&mut *store, &(200..203).map(|n| window(n, 20, 2)).collect::<Vec<_>>());
    assert_eq!(store.prune(&quota(10), 10).unwrap(), Pruned { evicted: 36, ..Pruned::default() });
    for n in (100..103).chain(200..203) {
        assert!(store.holds(&id(n)).unwrap().window, "the quiet source's envelope {n} was evicted");
    }
}

/// Twenty runs, each of which adds a little.
pub fn reopened_often_nothing_is_lost(make: &Factory) {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..20 {
        let mut store = open_in(make, &folder);
        assert_eq!(store.stats().unwrap().window, n);
        assert_eq!(put(&mut *store, &[window(n, 50, 0), archive(n, STUDY, 50, n)]), (2, 0));
        assert_eq!(put(&mut *store, &[window(0, 50, 0)]), (0, 1));
    }
    let store = open_in(make, &folder);
    assert_eq!(store.stats().unwrap().window, 20);
    assert!(store.page(&STUDY, Cursor::END, 100).unwrap().iter().map(|record| record.at.lamport).eq(0..20));
}
