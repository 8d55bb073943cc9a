//! The stores: durable appends by the size of the batch, and reading a page of a long history. The memory store beside
//! redb shows how much of it is the disk's.

use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use rumormill::api::{Cursor, Entry, History, HistoryConfig, MsgId, RoomTag};
use tempfile::TempDir;

/// The smallest class of envelopes.
const ENVELOPE_BYTES: usize = 512;
/// The room that everything is about.
const ROOM: RoomTag = RoomTag([6; 16]);
/// Messages in the room that pages are read of.
const STORED: u64 = 100_000;
/// Messages a page.
const PAGE: usize = 50;
const BACKENDS: [&str; 2] = ["redb", "memory"];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .nresamples(10_000)
        .configure_from_args();
    append(&mut criterion);
    page(&mut criterion);
    criterion.final_summary();
}

/// Envelopes of the window, on the disk when it returns.
fn append(criterion: &mut Criterion) {
    for backend in BACKENDS {
        let mut group = criterion.benchmark_group(format!("history/{backend}, append"));
        for batch in [1, 64, 512] {
            let (_folder, mut history) = open(backend);
            let mut number = 0;
            group.throughput(Throughput::Elements(batch));
            group.bench_function(BenchmarkId::new("batch", batch), |bencher| {
                bencher.iter_batched(
                    || {
                        number += batch;
                        (number - batch..number).map(window).collect::<Vec<_>>()
                    },
                    |entries| {
                        let appended = history.append(&entries).expect("the disk takes it");
                        assert_eq!(appended.known, 0, "all of it is new");
                        entries
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
}

/// `show history`, of the end and of the middle.
fn page(criterion: &mut Criterion) {
    for backend in BACKENDS {
        let mut group = criterion.benchmark_group(format!("history/{backend}, page of {PAGE} out of {STORED}"));
        let (_folder, mut history) = open(backend);
        for batch in 0..STORED / 1_000 {
            let entries: Vec<_> = (batch * 1_000..(batch + 1) * 1_000).map(archived).collect();
            history.append(&entries).expect("the disk takes it");
        }
        let middle = Cursor { lamport: STORED / 2, id: MsgId([0; 32]) };
        for (name, before) in [("newest", Cursor::END), ("middle", middle)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let page = history.page(&ROOM, before, PAGE).expect("a page");
                    assert_eq!(page.len(), PAGE);
                    page
                });
            });
        }
    }
}

fn open(backend: &str) -> (TempDir, Box<dyn History>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = HistoryConfig { folder: folder.path().to_owned(), ..HistoryConfig::default() };
    let history = rumormill::plugins::compiled_in().history(backend, config).expect("the backend is compiled in");
    (folder, history)
}

/// An envelope's worth of bytes that don't compress and don't repeat.
fn envelope(number: u64) -> (MsgId, Bytes) {
    let mut bytes = vec![0; ENVELOPE_BYTES];
    blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut bytes);
    (MsgId::of(&bytes), bytes.into())
}

fn window(number: u64) -> Entry {
    let (id, envelope) = envelope(number);
    Entry::Window { id, expiry: 491_400, source: 1, envelope }
}

fn archived(number: u64) -> Entry {
    let (id, envelope) = envelope(number);
    Entry::Archive { id, room: ROOM, expiry: 491_400, lamport: number, envelope }
}
