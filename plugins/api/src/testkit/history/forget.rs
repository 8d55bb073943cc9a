//! Forgetting what is damaged, and counting what is there.

use super::{ENVELOPE_BYTES, FRIENDS, Factory, STUDY, Store, archive, envelope, id, quota, roomy, window};
use crate::history::{Cursor, ExpiryRange, Holding, Pruned, Retention, Shelf, Stats};

/// A forgotten id stands nowhere, not even as a tombstone.
pub fn forget_removes_from_every_shelf(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 50, 0), archive(1, STUDY, 50, 1), archive(1, FRIENDS, 50, 2)]);
    store.forget(&id(1)).unwrap();
    assert_eq!(store.holds(&id(1)).unwrap(), Holding::default());
    for shelf in [Shelf::Window, Shelf::Archive(STUDY), Shelf::Archive(FRIENDS)] {
        assert_eq!(store.get(shelf, &id(1)).unwrap(), None);
        assert!(store.ids(shelf, ExpiryRange::ALL).unwrap().is_empty());
    }
    assert!(store.page(&STUDY, Cursor::END, 10).unwrap().is_empty());
    assert!(store.tombstones().unwrap().is_empty());
    assert_eq!(store.stats().unwrap(), Stats::default());
}

/// What was forgotten is new when it comes again.
pub fn forget_lets_the_envelope_come_back(make: &Factory) {
    let mut store = Store::open(make);
    let batch = [window(1, 50, 0), archive(1, STUDY, 50, 1)];
    store.put(&batch);
    store.forget(&id(1)).unwrap();
    assert_eq!(store.put(&batch), (2, 0));
    assert_eq!(store.get(Shelf::Window, &id(1)).unwrap(), Some(envelope(1, ENVELOPE_BYTES)));
    assert_eq!(store.get(Shelf::Archive(STUDY), &id(1)).unwrap(), Some(envelope(1, ENVELOPE_BYTES)));
}

/// Other ids stay as they are; an unknown one is no error.
pub fn forget_touches_nothing_else(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 50, 0), window(2, 50, 0), archive(2, STUDY, 50, 1)]);
    store.forget(&id(1)).unwrap();
    store.forget(&id(1)).unwrap();
    store.forget(&id(99)).unwrap();
    assert_eq!(store.holds(&id(2)).unwrap(), Holding { window: true, archive: true, tombstone: false });
    let expected = Stats { window: 1, window_bytes: ENVELOPE_BYTES as u64, archive: 1, tombstones: 0 };
    assert_eq!(store.stats().unwrap(), expected);
    assert_eq!(store.prune(&quota(1), 10).unwrap(), Pruned::default(), "the forgotten one holds no quota");
}

/// What was evicted before its archived copy was found damaged is still not new to the window.
pub fn forget_keeps_an_earlier_tombstone(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 50, 0), archive(1, STUDY, 50, 1)]);
    store.prune(&quota(0), 10).unwrap();
    store.forget(&id(1)).unwrap();
    assert_eq!(store.holds(&id(1)).unwrap(), Holding { tombstone: true, ..Holding::default() });
    assert_eq!(store.put(&[window(1, 50, 0), archive(1, STUDY, 50, 1)]), (1, 1));
}

/// The counts are right after every kind of change.
pub fn stats_follow_what_is_done(make: &Factory) {
    const BYTES: u64 = ENVELOPE_BYTES as u64;
    let stats = |window, archive, tombstones| Stats { window, window_bytes: window * BYTES, archive, tombstones };
    let mut store = Store::open(make);
    store.put(&(0..6).map(|n| window(n, 5 + n as u32, n % 2)).collect::<Vec<_>>());
    store.put(&[archive(0, STUDY, 5, 1), archive(0, FRIENDS, 5, 1), archive(9, STUDY, 5, 2)]);
    assert_eq!(store.stats().unwrap(), stats(6, 3, 0));
    store.prune(&roomy(), 7).unwrap();
    assert_eq!(store.stats().unwrap(), stats(4, 3, 0));
    store.prune(&quota(3), 7).unwrap();
    assert_eq!(store.stats().unwrap(), stats(3, 3, 1));
    store.prune(&Retention { ephemeral: vec![STUDY], ..roomy() }, 7).unwrap();
    assert_eq!(store.stats().unwrap(), stats(3, 1, 1));
    store.forget(&id(5)).unwrap();
    assert_eq!(store.stats().unwrap(), stats(2, 1, 1));
    store.prune(&roomy(), 100).unwrap();
    assert_eq!(store.stats().unwrap(), stats(0, 1, 0));
}
