//! The files: who may open them, and what happens to a file that isn't this build's.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, TableDefinition};
use rumormill_api::{Bytes, Entry, Error, ErrorKind, History, HistoryConfig, MsgId, Result};
use rumormill_history_redb::{FILE_NAME, open};
use tempfile::TempDir;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

fn open_in(folder: &Path) -> Result<Box<dyn History>> {
    open(HistoryConfig { folder: folder.to_owned(), ..HistoryConfig::default() })
}

fn refused(folder: &Path) -> Error {
    open_in(folder).err().expect("the file was opened")
}

fn entry(n: u8) -> Entry {
    let envelope = Bytes::from(vec![n; 512]);
    Entry::Window { id: MsgId::of(&envelope), expiry: 100, source: 0, envelope }
}

/// A store with one envelope in it, closed.
fn filled() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    open_in(folder.path()).unwrap().append(&[entry(1)]).unwrap();
    let file = folder.path().join(FILE_NAME);
    (folder, file)
}

/// Opens the file in vain, and makes sure that not a byte of it changed.
fn refused_untouched(folder: &Path) -> Error {
    let file = folder.join(FILE_NAME);
    let before = fs::read(&file).unwrap();
    let error = refused(folder);
    assert!(fs::read(&file).unwrap() == before, "the refused file was changed");
    error
}

fn private(file: &Path) {
    #[cfg(unix)]
    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    #[cfg(not(unix))]
    let _ = file;
}

#[test]
fn other_schemas_are_refused_and_left_as_they_are() {
    for (schema, advice) in [(3, "update this program"), (u64::MAX, "update this program"), (0, "older version")] {
        let (folder, file) = filled();
        let db = Database::open(&file).unwrap();
        let transaction = db.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("rumormill.history.schema", schema).unwrap();
        transaction.commit().unwrap();
        drop(db);
        let error = refused_untouched(folder.path());
        assert_eq!(error.kind(), ErrorKind::Version);
        assert!(error.to_string().contains(advice) && error.to_string().contains(&schema.to_string()), "{error}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    for content in [&b"dear diary"[..], &[0; 100_000], &[0xff; 4096]] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        fs::write(&file, content).unwrap();
        private(&file);
        let error = refused_untouched(folder.path());
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("move it away"), "{error}");
    }
}

#[test]
fn a_database_of_something_else_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE_NAME);
    let db = Database::create(&file).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("meta")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(db);
    private(&file);
    assert_eq!(refused_untouched(folder.path()).kind(), ErrorKind::Corrupt);
}

#[test]
fn a_truncated_database_is_refused() {
    let (folder, file) = filled();
    let whole = fs::metadata(&file).unwrap().len();
    for length in [10, 400, 5_000, whole / 2] {
        let truncated = fs::read(&file).unwrap();
        let other = tempfile::tempdir().unwrap();
        let copy = other.path().join(FILE_NAME);
        fs::write(&copy, &truncated[..length as usize]).unwrap();
        private(&copy);
        let kind = refused_untouched(other.path()).kind();
        assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Io), "{kind} at {length} bytes");
    }
    assert!(open_in(folder.path()).is_ok(), "the original is well");
}

#[test]
fn an_open_store_is_busy_to_others_until_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut history = open_in(folder.path()).unwrap();
    let error = refused(folder.path());
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("another process"), "{error}");
    history.append(&[entry(1)]).unwrap();
    drop(history);
    assert_eq!(open_in(folder.path()).unwrap().stats().unwrap().window, 1);
}

#[test]
fn a_database_that_something_else_has_open_is_busy() {
    let (folder, file) = filled();
    let other = Database::open(&file).unwrap();
    assert_eq!(refused(folder.path()).kind(), ErrorKind::Busy);
    drop(other);
    assert!(open_in(folder.path()).is_ok());
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = refused(&missing);
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("missing") && error.to_string().contains("create the folder"), "{error}");
}

#[test]
fn a_folder_in_the_place_of_the_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(FILE_NAME)).unwrap();
    assert_eq!(refused(folder.path()).kind(), ErrorKind::Invalid);
}

#[test]
fn what_a_crash_left_of_a_creation_is_no_hindrance() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("history.redb.new"), [0; 5_000]).unwrap();
    fs::write(folder.path().join(FILE_NAME), b"").unwrap();
    open_in(folder.path()).unwrap().append(&[entry(1)]).unwrap();
    assert!(!folder.path().join("history.redb.new").exists());
    assert_eq!(open_in(folder.path()).unwrap().stats().unwrap().window, 1);
}

#[test]
fn an_unknown_option_is_refused_before_any_file_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let options = [("cash_mib".to_owned(), "1".to_owned())].into();
    let error = open(HistoryConfig { folder: folder.path().to_owned(), options }).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn files_are_private_and_shared_ones_are_refused_with_the_fix() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, file) = filled();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
    for mode in [0o640, 0o604, 0o620, 0o666] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let error = refused_untouched(folder.path());
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(open_in(folder.path()).is_ok());
}
