//! One step of the gossip engine: a frame in, everything that follows from it out.

use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use ed25519_dalek::SigningKey;
use rumormill::api::{Dedup, DedupConfig, Direction, LinkId, LinkInfo, MsgId, PeerAddr};
use rumormill::proto::wire::{self, Hello, LINK_VERSION, Message};
use rumormill::proto::{Engine, EngineConfig, Input, Now, Output, RECENT_MAX_IDS};

/// Links of the engine: a rumor that one brings goes to the other eight.
const LINKS: u8 = 9;
/// The smallest class of envelopes.
const ENVELOPE_BYTES: usize = 512;
/// 2026-01-15 12:00 UTC, in milliseconds since the Unix epoch.
const UNIX_MS: u64 = 1_768_478_400_000;
const NOW: Now = Now { mono: 1_000, unix: UNIX_MS };
/// The link that the rumors come from.
const SOURCE: LinkId = LinkId(0);

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .nresamples(10_000)
        .configure_from_args();
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    for backend in ["bloom", "exact"] {
        fresh(&mut group, backend);
        duplicate(&mut group, backend);
    }
    old_duplicate(&mut group);
    group.finish();
    criterion.final_summary();
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

/// A rumor that is new here: checked, accepted, and sent on to eight links.
fn fresh(group: &mut Group<'_>, backend: &str) {
    let mut engine = engine(backend);
    let mut number = 0;
    group.bench_function(format!("fresh rumor to 8 links, {backend}"), |bencher| {
        bencher.iter_batched(
            || {
                number += 1;
                rumor(number)
            },
            |rumor| {
                engine.handle(Input::Batch(SOURCE, rumor), NOW);
                let sends = engine.outputs().filter(|output| matches!(output, Output::Send(..))).count();
                assert_eq!(sends, usize::from(LINKS) - 1, "to every link but the one that it came by");
            },
            BatchSize::SmallInput,
        );
    });
}

/// The same rumor again, as each link brings it once more.
fn duplicate(group: &mut Group<'_>, backend: &str) {
    let mut engine = engine(backend);
    let rumor = rumor(0);
    engine.handle(Input::Batch(SOURCE, rumor.clone()), NOW);
    let _ = engine.outputs().count();
    group.bench_function(format!("duplicate, {backend}"), |bencher| {
        bencher.iter(|| {
            engine.handle(Input::Batch(SOURCE, rumor.clone()), NOW);
            assert_eq!(engine.outputs().count(), 0, "nothing follows from it");
        });
    });
}

/// A rumor out of the past, of which the filter only says that it may have been here: with the question to the store
/// and its answer, but without the store's own work.
fn old_duplicate(group: &mut Group<'_>) {
    let mut engine = engine("bloom");
    let old = 4 * RECENT_MAX_IDS as u64;
    for number in 0..old {
        engine.note_seen(&MsgId::of(&envelope(number)), NOW);
    }
    let mut number = 0;
    group.bench_function("old duplicate, asked, bloom", |bencher| {
        bencher.iter_batched(
            || {
                number = (number + 1) % old;
                rumor(number)
            },
            |rumor| {
                engine.handle(Input::Batch(SOURCE, rumor), NOW);
                let asked = engine.outputs().find_map(|output| match output {
                    Output::Ask(id) => Some(id),
                    _ => None,
                });
                engine.handle(Input::Known { id: asked.expect("the store is asked"), known: true }, NOW);
                assert_eq!(engine.outputs().count(), 0, "nothing follows from it");
            },
            BatchSize::SmallInput,
        );
    });
}

/// An engine whose links have all said HELLO, and that takes as much as comes.
fn engine(backend: &str) -> Engine<Box<dyn Dedup>> {
    let dedup = rumormill::plugins::compiled_in().dedup(backend, DedupConfig::default());
    let config = EngineConfig {
        novel_bytes_per_s: u64::from(u32::MAX),
        novel_burst_bytes: 1 << 50,
        reconcile_on_connect: false,
        ..EngineConfig::default()
    };
    let mut engine = Engine::new(config, dedup.expect("the backend is compiled in"), [4; 32]);
    for number in 0..LINKS {
        let link_key = SigningKey::from_bytes(&[number + 1; 32]).verifying_key().to_bytes();
        let link = LinkId(number.into());
        let info = LinkInfo {
            peer: wire::link_key_to_x25519(&link_key).expect("a good key"),
            direction: Direction::Incoming,
            remote: address(number),
            handshake_hash: [number; 32],
        };
        let hello = Hello {
            version_min: LINK_VERSION,
            version_max: LINK_VERSION,
            probe: false,
            recon_max: EngineConfig::default().recon_max_bytes,
            link_key,
            seen_as: address(200),
            record: None,
        };
        engine.handle(Input::LinkUp(link, info), NOW);
        engine.handle(Input::Batch(link, Message::Hello(hello).encode()), NOW);
    }
    let _ = engine.outputs().count();
    assert_eq!(engine.links().count(), usize::from(LINKS), "every link is up");
    engine
}

fn address(number: u8) -> PeerAddr {
    PeerAddr::new("tcp", &format!("192.0.2.{number}:4001")).expect("an address")
}

fn rumor(number: u64) -> Bytes {
    Message::Rumor(envelope(number)).encode()
}

fn envelope(number: u64) -> Bytes {
    let expiry = u32::try_from(UNIX_MS / wire::HOUR_MS).expect("hours fit") + 24;
    let mut bytes = vec![0; ENVELOPE_BYTES];
    bytes[0] = wire::ENVELOPE_VERSION;
    bytes[wire::ENVELOPE_EXPIRY_OFFSET..][..4].copy_from_slice(&expiry.to_be_bytes());
    bytes[wire::ENVELOPE_NONCE_OFFSET..][..8].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}
