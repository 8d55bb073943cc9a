//! Deduplication with a million ids inside: a week of some 7,000 users, at 20 messages a day each.

use std::time::Duration;

use criterion::{BatchSize, Criterion};
use rumormill::api::{Dedup, DedupConfig, MsgId, Seen};

/// Ids in the filter before the first measurement, and what a generation is sized for.
const IDS: u64 = 1_000_000;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .nresamples(10_000)
        .configure_from_args();
    for backend in ["bloom", "exact"] {
        let mut group = criterion.benchmark_group(format!("dedup/{backend}, 1 M ids"));
        let mut dedup = filled(backend);

        // Before the fresh ones: those push the first million out in the end.
        let mut number = 0;
        group.bench_function("repeated", |bencher| {
            bencher.iter_batched(
                || {
                    number = (number + 1) % IDS;
                    id(number)
                },
                |id| assert_ne!(dedup.check_and_insert(&id, 0), Seen::Fresh, "it was inserted"),
                BatchSize::SmallInput,
            );
        });

        // The turns of the generations are in it, as they come.
        let mut number = IDS;
        group.bench_function("fresh", |bencher| {
            bencher.iter_batched(
                || {
                    number += 1;
                    id(number)
                },
                |id| dedup.check_and_insert(&id, 0),
                BatchSize::SmallInput,
            );
        });
    }
    criterion.final_summary();
}

fn filled(backend: &str) -> Box<dyn Dedup> {
    let capacity = usize::try_from(IDS).expect("a million fits");
    let config = DedupConfig { capacity, seed: [5; 32], ..DedupConfig::default() };
    let mut dedup = rumormill::plugins::compiled_in().dedup(backend, config).expect("the backend is compiled in");
    for number in 0..IDS {
        dedup.check_and_insert(&id(number), 0);
    }
    dedup
}

/// As even as a hash, and quicker to make: SplitMix64's finalizer (Steele, Lea, Flood 2014).
fn id(number: u64) -> MsgId {
    let mut bytes = [0; 32];
    for (word, chunk) in (0..).zip(bytes.chunks_exact_mut(8)) {
        let mut z = (number * 4 + word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
    }
    MsgId(bytes)
}
