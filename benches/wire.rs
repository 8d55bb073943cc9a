//! The formats between nodes: what each frame costs before anything is done about it.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use ed25519_dalek::SigningKey;
use rumormill::api::{MsgId, PeerAddr};
use rumormill::proto::wire::{Batch, Envelope, Hello, LINK_VERSION, Message, PEERS_MAX_RECORDS, RECON_MAX_BYTES};
use rumormill::proto::{PeerRecord, wire};

/// Rumors in a batch.
const RUMORS: usize = 64;
/// The smallest class of envelopes.
const ENVELOPE_BYTES: usize = 512;
/// A time that records are issued at, in seconds since the Unix epoch.
const NOW_S: u64 = 1_768_478_400;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .nresamples(10_000)
        .configure_from_args();
    messages(&mut criterion, "64 rumors of 512 B", &rumors());
    messages(&mut criterion, "hello", &[hello()]);
    messages(&mut criterion, "64 peer records", &[peers()]);
    envelope(&mut criterion);
    record(&mut criterion);
    criterion.final_summary();
}

/// A batch of link messages, as one frame holds them, written and read again.
fn messages(criterion: &mut Criterion, name: &str, messages: &[Message]) {
    let mut group = criterion.benchmark_group(format!("wire/{name}"));
    let bytes = encode(messages);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| encode(black_box(messages))));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let messages = Batch::new(black_box(&bytes).clone()).map(|raw| Message::decode(&raw?));
            messages.map(|message| message.expect("it was encoded here")).map(black_box).count()
        });
    });
}

/// What a relay does for each envelope: look at its structure, and hash it.
fn envelope(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire/envelope of 512 B");
    let bytes = envelope_bytes(0);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| Envelope::parse(black_box(&bytes)).expect("an envelope"));
    });
    group.bench_function("parse and id", |bencher| {
        bencher.iter(|| Envelope::parse(black_box(&bytes)).expect("an envelope").id());
    });
    group.bench_function("id of 32 KiB", |bencher| {
        let bytes = vec![7; wire::ENVELOPE_MAX_BYTES];
        bencher.iter(|| MsgId::of(black_box(&bytes)));
    });
}

/// Why a record's signature is looked at last.
fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire/peer record");
    let record = peer_record(1);
    let bytes = record.encode();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| PeerRecord::decode(black_box(&bytes)).expect("a record"));
    });
    group.bench_function("verify", |bencher| bencher.iter(|| black_box(&record).verify().expect("its own signature")));
}

fn encode(messages: &[Message]) -> Bytes {
    let mut out = Vec::with_capacity(64 << 10);
    for message in messages {
        out.extend_from_slice(&message.encode());
    }
    out.into()
}

fn rumors() -> Vec<Message> {
    (0..RUMORS).map(|number| Message::Rumor(envelope_bytes(number))).collect()
}

fn hello() -> Message {
    Message::Hello(Hello {
        version_min: LINK_VERSION,
        version_max: LINK_VERSION,
        probe: false,
        recon_max: u16::try_from(RECON_MAX_BYTES).expect("a message fits a frame"),
        link_key: [3; 32],
        seen_as: address(1),
        record: Some(peer_record(1).encode()),
    })
}

fn peers() -> Message {
    let numbers = 0..u8::try_from(PEERS_MAX_RECORDS).expect("a few records");
    Message::Peers(numbers.map(|number| peer_record(number).encode()).collect())
}

fn peer_record(number: u8) -> PeerRecord {
    PeerRecord::sign(&SigningKey::from_bytes(&[number; 32]), address(number), NOW_S)
}

fn address(number: u8) -> PeerAddr {
    PeerAddr::new("tcp", &format!("192.0.2.{number}:4001")).expect("an address")
}

fn envelope_bytes(number: usize) -> Bytes {
    let mut bytes = vec![0; ENVELOPE_BYTES];
    bytes[0] = wire::ENVELOPE_VERSION;
    bytes[wire::ENVELOPE_NONCE_OFFSET..][..8].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}
