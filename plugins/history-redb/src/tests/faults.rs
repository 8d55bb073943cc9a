//! An error at each single operation of the disk.

use std::io;

use rumormill_api::{ErrorKind, History as _, Retention};

use super::disk::{Disk, Trouble};
use super::script::{ROOM, batch, check, open};

const MESSAGES: u64 = 8;
/// How often a call is tried: one failure may cost the call itself and the opening after it.
const TRIES: usize = 4;

fn retry<T>(mut call: impl FnMut() -> rumormill_api::Result<T>, expected: &[ErrorKind]) -> T {
    for _ in 0..TRIES {
        match call() {
            Ok(value) => return value,
            Err(error) => assert!(expected.contains(&error.kind()), "{:?}: {error}", error.kind()),
        }
    }
    panic!("one failing operation cost more than {TRIES} tries")
}

/// Opens, appends, prunes and reads with `trouble`, then loses the power and looks what is there.
fn live_through(trouble: Trouble, seed: u64, expected: &[ErrorKind]) -> u64 {
    let disk = Disk::new(seed);
    drop(open(&disk).unwrap());
    disk.trouble(trouble);

    let mut history = retry(|| open(&disk), expected);
    for n in 0..MESSAGES {
        retry(|| history.append(&batch(n)), expected);
        if n % 3 == 2 {
            let keep = Retention { window_quota_bytes: u64::MAX, ephemeral: vec![ROOM] };
            retry(|| history.prune(&keep, 50), expected);
            retry(|| history.stats(), expected);
        }
    }
    let operations = disk.operations();
    check(&history, MESSAGES, seed);

    disk.trouble(Trouble::From(0));
    drop(history);
    disk.power_cycle();
    check(&open(&disk).unwrap(), MESSAGES, seed);
    operations
}

#[test]
fn an_error_at_any_operation_costs_nothing_acknowledged() {
    let operations = live_through(Trouble::None, 0, &[]);
    assert!(operations > 100, "{operations} operations");
    for at in 0..operations {
        live_through(Trouble::Once(at, io::ErrorKind::Other), at, &[ErrorKind::Io, ErrorKind::Closed]);
    }
}

#[test]
fn a_full_disk_at_any_operation_costs_nothing_acknowledged() {
    let operations = live_through(Trouble::None, 0, &[]);
    for at in 0..operations {
        let expected = [ErrorKind::Full, ErrorKind::Io, ErrorKind::Closed];
        live_through(Trouble::Once(at, io::ErrorKind::StorageFull), at, &expected);
    }
}

#[test]
fn a_failed_commit_is_not_acknowledged_by_the_next_try_alone() {
    // The first try fails at each of its operations, the next one succeeds, and then the power fails at once.
    let disk = Disk::new(0);
    let mut history = open(&disk).unwrap();
    disk.trouble(Trouble::None);
    history.append(&batch(0)).unwrap();
    for at in 0..disk.operations() {
        let disk = Disk::new(at);
        let mut history = open(&disk).unwrap();
        disk.trouble(Trouble::Once(at, io::ErrorKind::Other));
        retry(|| history.append(&batch(0)), &[ErrorKind::Io, ErrorKind::Closed]);
        disk.trouble(Trouble::From(0));
        drop(history);
        disk.power_cycle();
        check(&open(&disk).unwrap(), 1, at);
    }
}
