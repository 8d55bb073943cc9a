//! Writing to the shelves, and reading by id and by expiry.

use bytes::Bytes;

use super::{ENVELOPE_BYTES, FRIENDS, Factory, STUDY, Store, archive, envelope, id, state, window};
use crate::error::ErrorKind;
use crate::hashed::{Batch, Hashed};
use crate::history::{Appended, Cursor, Entry, ExpiryRange, Holding, STATE_KEY_MAX_BYTES, Shelf, Stats};
use crate::ids::{ExpiryHour, MsgId};

/// A new store answers every question with nothing.
pub fn an_empty_store_holds_nothing(make: &Factory) {
    let store = Store::open(make);
    assert_eq!(store.holds(&id(1)).unwrap(), Holding::default());
    assert_eq!(store.get(Shelf::Window, &id(1)).unwrap(), None);
    assert_eq!(store.get(Shelf::Archive(STUDY), &id(1)).unwrap(), None);
    assert!(store.ids(Shelf::Window, ExpiryRange::ALL).unwrap().is_empty());
    assert!(store.page(&STUDY, Cursor::END, 10).unwrap().is_empty());
    assert!(store.tombstones().unwrap().is_empty());
    assert_eq!(store.state("key").unwrap(), None);
    assert_eq!(store.stats().unwrap(), Stats::default());
}

/// A batch without entries is fine and does nothing.
pub fn an_empty_batch_changes_nothing(make: &Factory) {
    let mut store = Store::open(make);
    assert_eq!(store.put(&[]), (0, 0));
    store.put(&[window(1, 5, 0)]);
    let before = store.stats().unwrap();
    assert_eq!(store.put(&[]), (0, 0));
    assert_eq!(store.stats().unwrap(), before);
}

/// Envelopes of every size class, and of none, come back byte for byte from both shelves.
pub fn bytes_come_back_as_they_came(make: &Factory) {
    let mut store = Store::open(make);
    for (n, bytes) in [0, 1, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10].into_iter().enumerate() {
        let envelope = envelope(n as u64, bytes);
        let id = MsgId::of(&envelope);
        let batch = [
            Entry::Window { id, expiry: 9, source: 3, envelope: envelope.clone() },
            Entry::Archive { id, room: STUDY, expiry: 9, lamport: n as u64, envelope: envelope.clone() },
        ];
        assert_eq!(store.put(&batch), (2, 0));
        assert_eq!(store.get(Shelf::Window, &id).unwrap().as_ref(), Some(&envelope), "{bytes} bytes on the window");
        assert_eq!(store.get(Shelf::Archive(STUDY), &id).unwrap(), Some(envelope), "{bytes} bytes in the archive");
    }
}

/// Of many ids at once the store says the same as of each, in their order, also of one that is asked about twice.
pub fn many_are_held_as_each_is(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 5, 0), window(2, 6, 0), archive(2, STUDY, 6, 7), archive(3, FRIENDS, 5, 8)]);
    let ids = [id(3), id(9), id(1), id(2), id(1)];
    let each: Vec<_> = ids.iter().map(|id| store.holds(id).unwrap()).collect();
    assert_eq!(store.holds_all(&ids).unwrap(), each);
    assert_eq!(each[3], Holding { window: true, archive: true, tombstone: false });
    assert_eq!(store.holds_all(&[]).unwrap(), []);
}

/// What stands already is known, in a later batch as well.
pub fn append_is_idempotent_by_id(make: &Factory) {
    let mut store = Store::open(make);
    let batch = [window(1, 5, 0), window(2, 6, 0), archive(1, STUDY, 5, 10)];
    assert_eq!(store.put(&batch), (3, 0));
    let before = store.stats().unwrap();
    assert_eq!(store.put(&batch), (0, 3));
    assert_eq!(store.put(&[window(2, 6, 0), window(3, 6, 0)]), (1, 1));
    assert_eq!(store.stats().unwrap(), Stats { window: 3, window_bytes: 3 * ENVELOPE_BYTES as u64, ..before });
}

/// The same entry twice in one batch is one envelope.
pub fn a_duplicate_within_a_batch_counts_once(make: &Factory) {
    let mut store = Store::open(make);
    let batch = [window(1, 5, 0), window(1, 5, 0), archive(1, STUDY, 5, 10), archive(1, STUDY, 5, 10)];
    assert_eq!(store.put(&batch), (2, 2));
    assert_eq!(store.ids(Shelf::Window, ExpiryRange::ALL).unwrap(), [(5, id(1))]);
    assert_eq!(store.page(&STUDY, Cursor::END, 10).unwrap().len(), 1);
    assert_eq!(store.stats().unwrap().window_bytes, ENVELOPE_BYTES as u64);
}

/// An entry that is known changes nothing, not even where it says something else.
pub fn the_first_entry_of_an_id_stays(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 5, 0), archive(1, STUDY, 5, 10)]);
    assert_eq!(store.put(&[window(1, 8, 4), archive(1, STUDY, 8, 20)]), (0, 2));
    assert_eq!(store.ids(Shelf::Window, ExpiryRange::ALL).unwrap(), [(5, id(1))]);
    assert_eq!(store.ids(Shelf::Archive(STUDY), ExpiryRange::ALL).unwrap(), [(5, id(1))]);
    let page = store.page(&STUDY, Cursor::END, 10).unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!((page[0].at.lamport, page[0].expiry), (10, 5));
}

/// What stands on one shelf is not seen on another.
pub fn shelves_stand_apart(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 5, 0), archive(2, STUDY, 5, 10)]);
    assert_eq!(store.get(Shelf::Archive(STUDY), &id(1)).unwrap(), None);
    assert_eq!(store.get(Shelf::Window, &id(2)).unwrap(), None);
    assert_eq!(store.get(Shelf::Archive(FRIENDS), &id(2)).unwrap(), None);
    assert_eq!(store.ids(Shelf::Window, ExpiryRange::ALL).unwrap(), [(5, id(1))]);
    assert_eq!(store.ids(Shelf::Archive(STUDY), ExpiryRange::ALL).unwrap(), [(5, id(2))]);
    let stats = store.stats().unwrap();
    assert_eq!((stats.window, stats.archive), (1, 1));
}

/// Archiving what stands on the window is new to the archive, and the other way round.
pub fn an_envelope_stands_on_both_shelves(make: &Factory) {
    let mut store = Store::open(make);
    assert_eq!(store.put(&[window(1, 5, 0), archive(2, STUDY, 6, 10)]), (2, 0));
    assert_eq!(store.put(&[archive(1, STUDY, 5, 11), window(2, 6, 0)]), (2, 0));
    for n in [1, 2] {
        let expected = Some(envelope(n, ENVELOPE_BYTES));
        assert_eq!(store.get(Shelf::Window, &id(n)).unwrap(), expected);
        assert_eq!(store.get(Shelf::Archive(STUDY), &id(n)).unwrap(), expected);
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.window, stats.archive, stats.window_bytes), (2, 2, 2 * ENVELOPE_BYTES as u64));
}

/// Two rooms may hold the same envelope, each at its own place.
pub fn one_envelope_stands_in_two_rooms(make: &Factory) {
    let mut store = Store::open(make);
    assert_eq!(store.put(&[archive(1, STUDY, 5, 10), archive(1, FRIENDS, 5, 20)]), (2, 0));
    for (room, lamport) in [(STUDY, 10), (FRIENDS, 20)] {
        assert_eq!(store.get(Shelf::Archive(room), &id(1)).unwrap(), Some(envelope(1, ENVELOPE_BYTES)));
        let page = store.page(&room, Cursor::END, 10).unwrap();
        assert_eq!(page.iter().map(|record| record.at.lamport).collect::<Vec<_>>(), [lamport]);
    }
    assert_eq!(store.stats().unwrap().archive, 2);
}

/// An id that isn't the hash of its envelope is [`ErrorKind::Invalid`], and nothing of its batch is written.
pub fn a_wrong_id_is_refused_with_its_whole_batch(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(9, 5, 0)]);
    let before = store.stats().unwrap();
    let wrong_window = Entry::Window { id: id(3), expiry: 5, source: 0, envelope: envelope(4, ENVELOPE_BYTES) };
    let wrong_archive =
        Entry::Archive { id: id(3), room: STUDY, expiry: 5, lamport: 1, envelope: envelope(4, ENVELOPE_BYTES) };
    for wrong in [wrong_window, wrong_archive] {
        let batch = [window(1, 5, 0), archive(2, STUDY, 5, 1), state("key", Some(b"value")), wrong, window(5, 5, 0)];
        assert_eq!(store.append(&batch).unwrap_err().kind(), ErrorKind::Invalid);
        for n in 1..=5 {
            assert!(!store.holds(&id(n)).unwrap().any(), "envelope {n} was written");
        }
        assert_eq!(store.state("key").unwrap(), None);
        assert_eq!(store.stats().unwrap(), before);
    }
    assert_eq!(store.put(&[window(1, 5, 0)]), (1, 0), "the store takes the next batch");
}

/// A batch whose ids are known does what its entries do one by one; a name that is too long is refused with all of it.
pub fn a_hashed_batch_is_written_as_its_entries_are(make: &Factory) {
    let mut store = Store::open(make);
    let mut batch = Batch::default();
    let hashed = Hashed::of(envelope(1, ENVELOPE_BYTES));
    batch.window(&hashed, 5, 2);
    batch.window(&hashed, 5, 2);
    batch.archive(&hashed, STUDY, 5, 7);
    batch.state("key".to_owned(), Some(Bytes::from_static(b"value")));
    let appended = store.append_batch(&batch).unwrap();
    assert_eq!((appended.new, appended.known), (2, 1));
    assert_eq!(store.get(Shelf::Window, &id(1)).unwrap().as_ref(), Some(hashed.bytes()));
    assert_eq!(store.get(Shelf::Archive(STUDY), &id(1)).unwrap().as_ref(), Some(hashed.bytes()));
    assert_eq!(store.state("key").unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(store.append_batch(&Batch::default()).unwrap(), Appended::default());

    let mut refused = Batch::default();
    refused.window(&Hashed::of(envelope(2, ENVELOPE_BYTES)), 5, 2);
    refused.state("k".repeat(STATE_KEY_MAX_BYTES + 1), None);
    assert_eq!(store.append_batch(&refused).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(!store.holds(&id(2)).unwrap().any());
}

/// [`Holding`] names every place of an id, and only those.
pub fn holds_says_where_an_id_stands(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 5, 0), archive(2, STUDY, 5, 1), window(3, 5, 0), archive(3, FRIENDS, 5, 1)]);
    let place = |window, archive| Holding { window, archive, tombstone: false };
    assert_eq!(store.holds(&id(1)).unwrap(), place(true, false));
    assert_eq!(store.holds(&id(2)).unwrap(), place(false, true));
    assert_eq!(store.holds(&id(3)).unwrap(), place(true, true));
    assert_eq!(store.holds(&id(4)).unwrap(), place(false, false));
}

/// Ids come by expiry, then by id, whatever order they went in.
pub fn ids_are_ascending(make: &Factory) {
    let mut store = Store::open(make);
    let numbers: Vec<u64> = (0..200).collect();
    for chunk in numbers.chunks(7) {
        let batch: Vec<_> = chunk.iter().map(|n| window(*n, (n * 37 % 11) as ExpiryHour, n % 3)).collect();
        store.put(&batch);
    }
    let mut expected: Vec<_> = numbers.iter().map(|n| ((n * 37 % 11) as ExpiryHour, id(*n))).collect();
    expected.sort_unstable();
    assert_eq!(store.ids(Shelf::Window, ExpiryRange::ALL).unwrap(), expected);
}

/// Both ends of a range belong to it, also at the ends of what an hour can be.
pub fn ids_take_both_ends_of_the_range(make: &Factory) {
    let mut store = Store::open(make);
    let hours = [0, 1, 4, 5, 6, ExpiryHour::MAX - 1, ExpiryHour::MAX];
    for (n, hour) in hours.into_iter().enumerate() {
        let n = n as u64;
        store.put(&[window(n, hour, 0), archive(n, STUDY, hour, n)]);
    }
    for shelf in [Shelf::Window, Shelf::Archive(STUDY)] {
        for from in hours {
            for to in hours.into_iter().filter(|to| *to >= from) {
                let ids = store.ids(shelf, ExpiryRange { from, to }).unwrap();
                let expected: Vec<_> = hours.into_iter().filter(|hour| (from..=to).contains(hour)).collect();
                assert_eq!(ids.iter().map(|(hour, _)| *hour).collect::<Vec<_>>(), expected, "{from}..={to}");
            }
        }
        assert!(store.ids(shelf, ExpiryRange { from: 2, to: 3 }).unwrap().is_empty());
    }
}

/// A room's ids are those of its archive alone.
pub fn ids_of_a_room_are_its_own(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[archive(1, STUDY, 7, 1), archive(2, STUDY, 5, 2), archive(3, FRIENDS, 6, 3), window(4, 6, 0)]);
    assert_eq!(store.ids(Shelf::Archive(STUDY), ExpiryRange::ALL).unwrap(), [(5, id(2)), (7, id(1))]);
    assert_eq!(store.ids(Shelf::Archive(FRIENDS), ExpiryRange::ALL).unwrap(), [(6, id(3))]);
}

/// A range whose end lies before its start holds nothing; it isn't an error and doesn't panic.
pub fn a_range_backwards_is_empty(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[window(1, 5, 0), archive(1, STUDY, 5, 1)]);
    for shelf in [Shelf::Window, Shelf::Archive(STUDY)] {
        assert!(store.ids(shelf, ExpiryRange { from: 6, to: 4 }).unwrap().is_empty());
        assert!(store.ids(shelf, ExpiryRange { from: ExpiryHour::MAX, to: 0 }).unwrap().is_empty());
    }
}

/// 10,000 envelopes on each shelf are all there, and all counted.
pub fn ten_thousand_envelopes(make: &Factory) {
    const COUNT: u64 = 10_000;
    let mut store = Store::open(make);
    for start in (0..COUNT).step_by(1_000) {
        let entries = (start..start + 1_000)
            .flat_map(|n| [window(n, (n % 168) as ExpiryHour, n % 8), archive(n, STUDY, (n % 168) as ExpiryHour, n)]);
        assert_eq!(store.put(&entries.collect::<Vec<_>>()), (2_000, 0));
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.window, stats.archive, stats.window_bytes), (COUNT, COUNT, COUNT * ENVELOPE_BYTES as u64));
    assert_eq!(store.ids(Shelf::Window, ExpiryRange::ALL).unwrap().len() as u64, COUNT);
    let page = store.page(&STUDY, Cursor::END, COUNT as usize).unwrap();
    assert!(page.iter().map(|record| record.at.lamport).eq(0..COUNT));
    for n in (0..COUNT).step_by(97) {
        assert_eq!(store.get(Shelf::Window, &id(n)).unwrap(), Some(envelope(n, ENVELOPE_BYTES)));
    }
}
