//! Expiry, the quota, and tombstones.

use super::{ENVELOPE_BYTES, FRIENDS, Factory, STUDY, Store, archive, envelope, id, quota, roomy, sorted_ids, window};
use crate::history::{Cursor, Entry, ExpiryRange, History, Holding, Pruned, Retention, Shelf};
use crate::ids::{ExpiryHour, MsgId};

/// The window's ids, ascending.
fn on_window(store: &dyn History) -> Vec<MsgId> {
    let mut ids: Vec<_> = store.ids(Shelf::Window, ExpiryRange::ALL).unwrap().into_iter().map(|(_, id)| id).collect();
    ids.sort_unstable();
    ids
}

fn evicted(count: usize) -> Pruned {
    Pruned { evicted: count, ..Pruned::default() }
}

/// What expires in the hour `now` stays, what expired an hour before goes.
pub fn prune_removes_only_what_has_expired(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 0, 0), window(2, 9, 0), window(3, 10, 1), window(4, 11, 1), window(5, ExpiryHour::MAX, 0)]);
    assert_eq!(store.prune(&roomy(), 0).unwrap(), Pruned::default(), "nothing expired before the first hour");
    assert_eq!(store.prune(&roomy(), 10).unwrap(), Pruned { expired: 2, ..Pruned::default() });
    assert_eq!(on_window(&*store), sorted_ids([3, 4, 5]));
    assert!(!store.holds(&id(2)).unwrap().any());
    assert_eq!(store.get(Shelf::Window, &id(2)).unwrap(), None);
    assert_eq!(store.stats().unwrap().window_bytes, 3 * ENVELOPE_BYTES as u64);
}

/// The quota is an amount that may be used up: evicted is only what lies past it.
pub fn at_the_quota_nothing_is_evicted(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&(0..4).map(|n| window(n, 50 + n as ExpiryHour, 0)).collect::<Vec<_>>());
    assert_eq!(store.prune(&quota(4), 10).unwrap(), Pruned::default());
    let one_byte_less = Retention { window_quota_bytes: 4 * ENVELOPE_BYTES as u64 - 1, ephemeral: Vec::new() };
    assert_eq!(store.prune(&one_byte_less, 10).unwrap(), evicted(1));
    assert_eq!(on_window(&*store), sorted_ids([1, 2, 3]));
}

/// Bytes decide who holds most, not the number of envelopes.
pub fn the_source_that_holds_most_gives_way(make: &Factory) {
    let mut store = Store::open(make);
    let large = envelope(100, 8 * ENVELOPE_BYTES);
    let large_id = MsgId::of(&large);
    store.put(&(0..6).map(|n| window(n, 20, 1)).collect::<Vec<_>>());
    store.put(&[Entry::Window { id: large_id, expiry: 90, source: 2, envelope: large }]);
    assert_eq!(store.prune(&quota(13), 10).unwrap(), evicted(1));
    assert!(store.holds(&large_id).unwrap().tombstone);
    assert_eq!(on_window(&*store), sorted_ids(0..6));
}

/// Within a source, what would expire first goes first.
pub fn the_earliest_to_expire_is_evicted_first(make: &Factory) {
    let mut store = Store::open(make);
    let expiry = |n: u64| 20 + (n * 7 % 10) as ExpiryHour;
    store.put(&(0..10).map(|n| window(n, expiry(n), 1)).collect::<Vec<_>>());
    assert_eq!(store.prune(&quota(6), 10).unwrap(), evicted(4));
    let kept: Vec<_> =
        store.ids(Shelf::Window, ExpiryRange::ALL).unwrap().into_iter().map(|(expiry, _)| expiry).collect();
    assert_eq!(kept, [24, 25, 26, 27, 28, 29]);
}

/// A source that floods the window loses its own envelopes; the quiet ones keep theirs, even where they expire sooner.
pub fn a_flooding_source_evicts_only_itself(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&(0..100).map(|n| window(n, 90, 7)).collect::<Vec<_>>());
    store.put(&(200..205).map(|n| window(n, 11, 0)).collect::<Vec<_>>());
    store.put(&(300..305).map(|n| window(n, 12, 1)).collect::<Vec<_>>());
    assert_eq!(store.prune(&quota(20), 10).unwrap(), evicted(90));
    let kept = on_window(&*store);
    for n in (200..205).chain(300..305) {
        assert!(kept.contains(&id(n)), "the quiet source's envelope {n} was evicted");
    }
    assert_eq!(kept.len(), 20);

    // Below what a fair share would be, all give alike.
    assert_eq!(store.prune(&quota(6), 10).unwrap(), evicted(14));
    let kept = on_window(&*store);
    for source in [0..100, 200..205, 300..305] {
        assert_eq!(source.filter(|n| kept.contains(&id(*n))).count(), 2);
    }
}

/// A quota of 0 evicts everything that has a size.
pub fn a_quota_of_nothing_empties_the_window(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&(0..20).map(|n| window(n, 50, n % 3)).collect::<Vec<_>>());
    assert_eq!(store.prune(&quota(0), 10).unwrap(), evicted(20));
    let stats = store.stats().unwrap();
    assert_eq!((stats.window, stats.window_bytes, stats.tombstones), (0, 0, 20));
}

/// An evicted envelope counts as known and stays out of the window.
pub fn an_evicted_envelope_is_not_taken_again(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 50, 0), window(2, 60, 0)]);
    assert_eq!(store.prune(&quota(1), 10).unwrap(), evicted(1));
    assert_eq!(store.holds(&id(1)).unwrap(), Holding { tombstone: true, ..Holding::default() });
    assert_eq!(store.put(&[window(1, 50, 0), window(3, 70, 0)]), (1, 1));
    assert_eq!(on_window(&*store), sorted_ids([2, 3]));
    assert_eq!(store.get(Shelf::Window, &id(1)).unwrap(), None);
    assert!(store.holds(&id(1)).unwrap().tombstone);
}

/// A tombstone stands for the window alone.
pub fn an_evicted_envelope_may_enter_an_archive(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 50, 0)]);
    assert_eq!(store.prune(&quota(0), 10).unwrap(), evicted(1));
    assert_eq!(store.put(&[archive(1, STUDY, 50, 7)]), (1, 0));
    assert_eq!(store.holds(&id(1)).unwrap(), Holding { window: false, archive: true, tombstone: true });
    assert_eq!(store.get(Shelf::Archive(STUDY), &id(1)).unwrap(), Some(envelope(1, ENVELOPE_BYTES)));
    assert_eq!(store.put(&[window(1, 50, 0)]), (0, 1));
}

/// Every tombstone is listed, and nothing else.
pub fn tombstones_are_listed(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&(0..10).map(|n| window(n, 50 + n as ExpiryHour, 0)).collect::<Vec<_>>());
    store.prune(&quota(6), 10).unwrap();
    let mut listed = store.tombstones().unwrap();
    listed.sort_unstable();
    assert_eq!(listed, sorted_ids(0..4));
    assert_eq!(store.stats().unwrap().tombstones, 4);
}

/// Between two places stand the tombstones of that part alone, in order, the first ones if not all fit: as peers are told.
pub fn tombstones_between_two_places_are_listed(make: &Factory) {
    let mut store = Store::open(make);
    // Four hours of ten each, of which the window keeps the last one; archives leave no tombstones.
    store.put(&(0..40).map(|n| window(n, 50 + (n / 10) as ExpiryHour, 0)).collect::<Vec<_>>());
    store.put(&[archive(0, STUDY, 50, 1), archive(90, STUDY, 50, 2)]);
    store.prune(&quota(10), 10).unwrap();
    let mut all: Vec<_> = (0..30).map(|n| (50 + (n / 10) as ExpiryHour, id(n))).collect();
    all.sort_unstable();
    let (low, high) = (MsgId([0; 32]), MsgId([0xff; 32]));
    let between = |from, to, limit| store.tombstones_between(from, to, limit).unwrap();
    assert_eq!(between((0, low), (ExpiryHour::MAX, high), 1_000), all);
    assert_eq!(between((51, low), (51, high), 1_000), all[10..20], "one hour");
    assert_eq!(between((53, low), (ExpiryHour::MAX, high), 1_000), [], "what stands on the window has none");
    for (first, last) in [(0, 29), (3, 3), (5, 14), (9, 10), (28, 29)] {
        assert_eq!(between(all[first], all[last], 1_000), all[first..=last], "both ends included");
        for limit in [0, 1, last - first, last - first + 1] {
            let listed = between(all[first], all[last], limit);
            assert_eq!(listed, all[first..(first + limit).min(last + 1)], "the first {limit}");
        }
    }
    assert_eq!(between(all[14], all[5], 1_000), [], "backwards there is nothing");

    // One that expires goes from this list, too.
    store.prune(&quota(10), 51).unwrap();
    let between = |from, to, limit| store.tombstones_between(from, to, limit).unwrap();
    assert_eq!(between((0, low), (ExpiryHour::MAX, high), 1_000), all[10..]);
}

/// A tombstone goes when its envelope would have; nobody takes the envelope any more by then, but the store would.
pub fn tombstones_expire(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 50, 0), window(2, 51, 0)]);
    store.prune(&quota(0), 10).unwrap();
    assert_eq!(store.prune(&quota(0), 50).unwrap(), Pruned::default(), "still unexpired in its own hour");
    assert_eq!(store.prune(&quota(0), 51).unwrap(), Pruned { tombstones: 1, ..Pruned::default() });
    assert_eq!(store.tombstones().unwrap(), [id(2)]);
    assert!(!store.holds(&id(1)).unwrap().any());
    assert_eq!(store.put(&[window(1, 50, 0)]), (1, 0));
}

/// Expiry is no eviction, even when the quota is short at the same time.
pub fn what_expired_leaves_no_tombstone(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 5, 0), window(2, 6, 0), window(3, 50, 0), window(4, 60, 0)]);
    assert_eq!(store.prune(&quota(1), 10).unwrap(), Pruned { expired: 2, evicted: 1, ..Pruned::default() });
    assert_eq!(store.tombstones().unwrap(), [id(3)]);
    assert_eq!(on_window(&*store), [id(4)]);
}

/// What leaves the window by eviction or by expiry is still read from the archive.
pub fn eviction_leaves_the_archive_readable(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 5, 0), archive(1, STUDY, 5, 1), window(2, 50, 0), archive(2, STUDY, 50, 2)]);
    assert_eq!(store.prune(&quota(0), 10).unwrap(), Pruned { expired: 1, evicted: 1, ..Pruned::default() });
    for n in [1, 2] {
        assert_eq!(store.get(Shelf::Window, &id(n)).unwrap(), None);
        assert_eq!(store.get(Shelf::Archive(STUDY), &id(n)).unwrap(), Some(envelope(n, ENVELOPE_BYTES)));
    }
    assert_eq!(store.page(&STUDY, Cursor::END, 10).unwrap().len(), 2);
}

/// A room that isn't ephemeral keeps its archive for good.
pub fn an_archive_is_kept_past_expiry(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[archive(1, STUDY, 5, 1), archive(2, STUDY, 6, 2)]);
    assert_eq!(store.prune(&roomy(), ExpiryHour::MAX).unwrap(), Pruned::default());
    assert_eq!(store.ids(Shelf::Archive(STUDY), ExpiryRange::ALL).unwrap(), [(5, id(1)), (6, id(2))]);
    assert_eq!(store.put(&[archive(3, STUDY, 1, 3)]), (1, 0), "an archive takes what has expired");
}

/// An ephemeral room's expired envelopes are removed, there and nowhere else.
pub fn an_ephemeral_archive_goes_with_the_window(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[
        window(1, 9, 0),
        archive(1, STUDY, 9, 1),
        archive(2, STUDY, 9, 2),
        archive(3, STUDY, 10, 3),
        archive(2, FRIENDS, 9, 2),
    ]);
    let keep = Retention { ephemeral: vec![STUDY], ..roomy() };
    assert_eq!(store.prune(&keep, 10).unwrap(), Pruned { expired: 1, archive: 2, ..Pruned::default() });
    assert_eq!(store.ids(Shelf::Archive(STUDY), ExpiryRange::ALL).unwrap(), [(10, id(3))]);
    assert_eq!(store.page(&STUDY, Cursor::END, 10).unwrap().len(), 1);
    assert!(!store.holds(&id(1)).unwrap().any());
    assert_eq!(store.get(Shelf::Archive(FRIENDS), &id(2)).unwrap(), Some(envelope(2, ENVELOPE_BYTES)));
    assert_eq!(store.stats().unwrap().archive, 2);
}

/// What was done needs no doing again.
pub fn pruning_twice_removes_nothing_more(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&(0..10).map(|n| window(n, 5 + n as ExpiryHour, 0)).collect::<Vec<_>>());
    store.put(&[archive(20, STUDY, 5, 1)]);
    let keep = Retention { ephemeral: vec![STUDY], ..quota(3) };
    assert_eq!(store.prune(&keep, 10).unwrap(), Pruned { expired: 5, evicted: 2, archive: 1, tombstones: 0 });
    let stats = store.stats().unwrap();
    assert_eq!(store.prune(&keep, 10).unwrap(), Pruned::default());
    assert_eq!(store.stats().unwrap(), stats);
}

/// Archives don't use up the window's quota.
pub fn the_quota_counts_the_window_alone(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&(0..50).map(|n| archive(n, STUDY, 50, n)).collect::<Vec<_>>());
    store.put(&[window(1, 50, 0), window(100, 50, 0)]);
    assert_eq!(store.prune(&quota(2), 10).unwrap(), Pruned::default());
    assert_eq!(store.stats().unwrap().window_bytes, 2 * ENVELOPE_BYTES as u64);
}
