//! A disk that is full for real, and the reserve.

use bytes::Bytes;
use rumormill_api::{Entry, ErrorKind, ExpiryRange, History as _, MsgId, Retention, Shelf};

use super::disk::Disk;
use crate::RedbHistory;
use crate::ballast::{self, Ballast};
use crate::options::Settings;

const RESERVE_BYTES: usize = 1 << 20;
const SETTINGS: Settings = Settings { cache_bytes: 1 << 20, ballast_bytes: RESERVE_BYTES };

fn large(n: u64) -> Entry {
    let mut envelope = vec![0xa5; 32 << 10];
    envelope[..8].copy_from_slice(&n.to_le_bytes());
    Entry::Window { id: MsgId::of(&envelope), expiry: 100 + n as u32, source: 0, envelope: Bytes::from(envelope) }
}

#[test]
fn a_full_disk_is_said_and_pruning_makes_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let reserve = folder.path().join(ballast::FILE_NAME);
    let disk = Disk::new(0);
    let open =
        || RedbHistory::open(Box::new(disk.clone()), SETTINGS, Ballast::new(folder.path(), RESERVE_BYTES)).unwrap();
    let mut history = open();
    assert!(reserve.exists());
    disk.limit(disk.len() + (4 << 20) + RESERVE_BYTES, reserve.clone(), RESERVE_BYTES);

    let mut acknowledged = 0;
    let error = loop {
        match history.append(&[large(acknowledged)]) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(acknowledged > 40, "{acknowledged} envelopes found room");
    assert!(!reserve.exists(), "the reserve was given back");

    let there = |history: &RedbHistory| history.ids(Shelf::Window, ExpiryRange::ALL).unwrap().len() as u64;
    assert_eq!(there(&history), acknowledged);
    drop(history);
    let mut history = open();
    assert_eq!(there(&history), acknowledged);

    let keep = Retention { window_quota_bytes: 10 * (32 << 10), ephemeral: Vec::new() };
    let evicted = history.prune(&keep, 50).unwrap().evicted as u64;
    assert_eq!(evicted, acknowledged - 10);
    assert!(reserve.exists());
    for n in 1_000..1_010 {
        history.append(&[large(n)]).unwrap();
    }
    assert_eq!(there(&history), 20);
}

#[cfg(target_os = "linux")]
#[test]
fn without_its_reserve_it_takes_no_envelopes() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join(ballast::FILE_NAME)).unwrap();
    let disk = Disk::new(0);
    let mut history =
        RedbHistory::open(Box::new(disk.clone()), SETTINGS, Ballast::new(folder.path(), RESERVE_BYTES)).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join(ballast::FILE_NAME)).unwrap();
    let error = history.append(&[large(0)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(history.stats().is_ok());
    assert_eq!(history.append(&[large(0)]).unwrap().new, 1, "there is room again");
}
