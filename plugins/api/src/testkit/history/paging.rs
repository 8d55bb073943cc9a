//! Reading an archive page by page.

use super::{ENVELOPE_BYTES, FRIENDS, Factory, STUDY, Store, archive, envelope, id, quota, window};
use crate::history::{ArchiveRecord, Cursor, ExpiryRange, History, Shelf};

/// Reads the whole archive of [`STUDY`] backwards in pages of `limit`.
fn read_back(store: &dyn History, limit: usize) -> Vec<ArchiveRecord> {
    let mut records = Vec::new();
    let mut before = Cursor::END;
    loop {
        let page = store.page(&STUDY, before, limit).unwrap();
        assert!(page.len() <= limit);
        let Some(first) = page.first() else { return records };
        assert!(first.at < before, "pages run backwards");
        before = first.at;
        records.splice(..0, page);
    }
}

/// Records are ascending by Lamport clock, equals by id, whatever order they went in; each carries its own bytes.
pub fn a_page_is_in_order_of_clock_then_id(make: &Factory) {
    let mut store = Store::open(make);
    let clock = |n: u64| n * 31 % 10;
    for n in 0..60 {
        store.put(&[archive(n, STUDY, 5, clock(n))]);
    }
    let mut expected: Vec<_> = (0..60).map(|n| Cursor { lamport: clock(n), id: id(n) }).collect();
    expected.sort_unstable();
    let page = store.page(&STUDY, Cursor::END, 100).unwrap();
    assert_eq!(page.iter().map(|record| record.at).collect::<Vec<_>>(), expected);
    for n in 0..60 {
        let record = page.iter().find(|record| record.at.id == id(n)).unwrap();
        assert_eq!((&record.envelope, record.expiry), (&envelope(n, ENVELOPE_BYTES), 5));
    }
}

/// A page holds the last `limit` records before its cursor, and never the cursor's own.
pub fn a_page_ends_before_its_cursor(make: &Factory) {
    let mut store = Store::open(make);
    for n in 0..10 {
        store.put(&[archive(n, STUDY, 5, n), archive(100 + n, FRIENDS, 5, n)]);
    }
    let clocks = |before, limit| -> Vec<u64> {
        store.page(&STUDY, before, limit).unwrap().iter().map(|record| record.at.lamport).collect()
    };
    assert_eq!(clocks(Cursor::END, 3), [7, 8, 9]);
    assert_eq!(clocks(Cursor { lamport: 7, id: id(7) }, 3), [4, 5, 6]);
    assert_eq!(clocks(Cursor { lamport: 2, id: id(2) }, 3), [0, 1]);
    assert!(clocks(Cursor { lamport: 0, id: id(0) }, 3).is_empty());
}

/// Reading page by page gives every record once, for any size of page, also where clocks are equal.
pub fn pages_have_no_gaps_and_no_repeats(make: &Factory) {
    let mut store = Store::open(make);
    let batch: Vec<_> = (0..101).map(|n| archive(n, STUDY, 5, n / 7)).collect();
    store.put(&batch);
    let whole = store.page(&STUDY, Cursor::END, usize::MAX).unwrap();
    assert_eq!(whole.len(), 101);
    for limit in [1, 2, 6, 7, 50, 100, 101, 102] {
        assert_eq!(read_back(&*store, limit), whole, "in pages of {limit}");
    }
}

/// A reader that goes backwards isn't disturbed by what arrives at the end.
pub fn pages_stay_put_while_newer_envelopes_arrive(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&(0..20).map(|n| archive(n, STUDY, 5, n)).collect::<Vec<_>>());
    let newest = store.page(&STUDY, Cursor::END, 5).unwrap();
    store.put(&(20..30).map(|n| archive(n, STUDY, 5, n)).collect::<Vec<_>>());
    let next = store.page(&STUDY, newest[0].at, 5).unwrap();
    assert!(next.iter().map(|record| record.at.lamport).eq(10..15));
}

/// No limit, no room, or only a window: an empty page.
pub fn a_page_of_nothing_is_empty(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[archive(1, STUDY, 5, 1), window(2, 5, 0)]);
    assert!(store.page(&STUDY, Cursor::END, 0).unwrap().is_empty());
    assert!(store.page(&FRIENDS, Cursor::END, 10).unwrap().is_empty());
}

/// The smallest and the largest clock are clocks like any other.
pub fn clocks_at_the_ends_of_their_range(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[archive(1, STUDY, 5, u64::MAX), archive(2, STUDY, 5, 0), archive(3, STUDY, 5, u64::MAX - 1)]);
    let page = store.page(&STUDY, Cursor::END, 10).unwrap();
    assert_eq!(page.iter().map(|record| record.at.lamport).collect::<Vec<_>>(), [0, u64::MAX - 1, u64::MAX]);
}

/// The parts of a long list, put together, are the list; whatever their size.
pub fn lists_by_parts_are_the_lists(make: &Factory) {
    let mut store = Store::open(make);
    for n in 0..100 {
        store.put(&[window(n, 10 + (n % 7) as u32, 1), archive(n, STUDY, 10 + (n % 5) as u32, n / 3)]);
        store.put(&[archive(n, FRIENDS, 10, 100 - n)]);
    }
    store.prune(&quota(60), 0).unwrap();
    let ranges = [ExpiryRange::ALL, ExpiryRange { from: 11, to: 13 }, ExpiryRange { from: 13, to: 11 }];
    for limit in [1, 7, 60, 1_000] {
        for shelf in [Shelf::Window, Shelf::Archive(STUDY), Shelf::Archive(FRIENDS)] {
            for range in ranges {
                let mut parts = Vec::new();
                loop {
                    let part = store.ids_after(shelf, range, parts.last().copied(), limit).unwrap();
                    assert!(part.len() <= limit);
                    if part.is_empty() {
                        break;
                    }
                    parts.extend(part);
                }
                assert_eq!(parts, store.ids(shelf, range).unwrap(), "{shelf:?} by {limit}");
            }
        }
        for room in [STUDY, FRIENDS] {
            let mut parts: Vec<ArchiveRecord> = Vec::new();
            loop {
                let part = store.page_after(&room, parts.last().map(|record| record.at), limit).unwrap();
                assert!(part.len() <= limit);
                if part.is_empty() {
                    break;
                }
                parts.extend(part);
            }
            assert_eq!(parts, store.page(&room, Cursor::END, usize::MAX).unwrap(), "by {limit}");
        }
        let mut parts = Vec::new();
        loop {
            let part = store.tombstones_after(parts.last().copied(), limit).unwrap();
            if part.is_empty() {
                break;
            }
            parts.extend(part);
        }
        let mut all = store.tombstones().unwrap();
        all.sort_unstable();
        assert_eq!(all.len(), 40);
        assert_eq!(parts, all, "by {limit}");
    }
    // A place before the range, and one behind it.
    let range = ExpiryRange { from: 12, to: 13 };
    let all = store.ids(Shelf::Window, range).unwrap();
    assert_eq!(store.ids_after(Shelf::Window, range, Some((3, id(0))), 1_000).unwrap(), all);
    assert_eq!(store.ids_after(Shelf::Window, range, Some((14, id(0))), 1_000).unwrap(), []);
}
