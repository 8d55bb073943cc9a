//! The newest code opens the oldest files.

#![allow(clippy::unwrap_used)]

#[path = "pinned/content.rs"]
mod content;

use std::fs;
use std::path::Path;

use content::{FRIENDS, STUDY, envelope, id};
use rumormill_api::{Cursor, Entry, ExpiryRange, History, HistoryConfig, Holding, Shelf, Stats};
use rumormill_history_redb::{FILE_NAME, open};

/// A copy of the pinned file in a folder of its own, opened.
fn open_pinned(name: &str, folder: &Path) -> Box<dyn History> {
    let pinned = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let copy = folder.join(FILE_NAME);
    fs::write(&copy, fs::read(pinned).unwrap()).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    open(HistoryConfig { folder: folder.to_owned(), ..HistoryConfig::default() }).unwrap()
}

#[test]
fn a_file_of_schema_1_is_read_and_written() {
    read_and_written("schema-1.redb");
}

#[test]
fn a_file_of_schema_2_is_read_and_written() {
    read_and_written("schema-2.redb");
}

fn read_and_written(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut history = open_pinned(name, folder.path());
    assert_eq!(history.stats().unwrap(), Stats { window: 4, window_bytes: 4 * 512, archive: 8, tombstones: 1 });
    assert_eq!(history.tombstones().unwrap(), [id(1)]);
    assert_eq!(history.holds(&id(0)).unwrap(), Holding::default());
    assert_eq!(history.holds(&id(4)).unwrap(), Holding { window: true, archive: true, tombstone: false });
    let window = history.ids(Shelf::Window, ExpiryRange::ALL).unwrap();
    assert_eq!(window, [(102, id(2)), (103, id(3)), (104, id(4)), (105, id(5))]);
    for (room, order) in [(STUDY, [7, 6, 5, 4]), (FRIENDS, [4, 5, 6, 7])] {
        let page = history.page(&room, Cursor::END, 10).unwrap();
        assert!(page.iter().map(|record| record.envelope.clone()).eq(order.map(envelope)));
        let ids = history.ids(Shelf::Archive(room), ExpiryRange::ALL).unwrap();
        assert_eq!(ids, [(104, id(4)), (105, id(5)), (106, id(6)), (107, id(7))]);
    }
    assert_eq!(history.state("key").unwrap().as_deref(), Some(&b"value"[..]));

    // It goes on from there: all is known but envelope 0, which had expired.
    let appended = history.append(&content::entries()).unwrap();
    assert_eq!((appended.new, appended.known), (1, 13));
    history.forget(&id(0)).unwrap();
    let entry = |n| Entry::Window { id: id(n), expiry: 110, source: 0, envelope: envelope(n) };
    let appended = history.append(&[entry(1), entry(2), entry(9)]).unwrap();
    assert_eq!((appended.new, appended.known), (1, 2));
    assert_eq!(history.prune(&content::retention(), content::NOW).unwrap().evicted, 1);
}
