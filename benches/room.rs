//! Rooms: what a member pays to say something, to read it, and to find out that most of the traffic isn't theirs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion};
use rumormill::api::CipherSuite;
use rumormill::room::{
    Access, DAY_MS, Identity, Keyring, NewMessage, Room, RoomKind, RoomSecret, RoomSpec, RoomState, StorageKey, day_of,
};

/// 2026-01-15 12:00 UTC.
const NOW_MS: u64 = 20_468 * DAY_MS + DAY_MS / 2;
/// Texts, and the size of the envelope that holds them: the smallest class, and a longer one.
const TEXTS: [(usize, &str); 2] = [(100, "512 B"), (3_000, "4 KiB")];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .nresamples(10_000)
        .configure_from_args();
    let suite = rumormill::plugins::compiled_in().cipher("chacha", ()).expect("the feature cipher-chacha is on");
    seal(&mut criterion, &suite);
    open(&mut criterion, &suite);
    trial(&mut criterion, &suite);
    criterion.final_summary();
}

/// Sign, pad, seal, and take note of it in the room's state.
fn seal(criterion: &mut Criterion, suite: &Arc<dyn CipherSuite>) {
    let mut group = criterion.benchmark_group("room/seal");
    let room = room(0, suite);
    let identity = Identity::from_seed(&[1; 32]);
    for (length, class) in TEXTS {
        let message = message(length);
        let (mut state, mut entropy) = (RoomState::default(), entropy());
        group.bench_function(class, |bencher| {
            bencher
                .iter(|| room.seal(&identity, &mut state, black_box(&message), NOW_MS, &mut entropy).expect("sealed"));
        });
    }
}

/// Find the key, open, decode strictly, verify the signature.
fn open(criterion: &mut Criterion, suite: &Arc<dyn CipherSuite>) {
    let mut group = criterion.benchmark_group("room/open");
    let keyring = Keyring::new(vec![room(0, suite)]);
    for (length, class) in TEXTS {
        let envelope = sealed(&room(0, suite), length);
        group.bench_function(class, |bencher| {
            bencher.iter(|| {
                let opened = keyring.open(black_box(&envelope), NOW_MS).expect("a proper message");
                assert!(opened.is_some(), "it is the room's");
                opened
            });
        });
    }
}

/// Most envelopes belong to none of the own rooms: each costs a commitment for yesterday's, today's and tomorrow's key
/// of every room.
fn trial(criterion: &mut Criterion, suite: &Arc<dyn CipherSuite>) {
    let mut group = criterion.benchmark_group("room/trial of a foreign envelope");
    let envelope = sealed(&room(u16::MAX, suite), 100);
    for rooms in [1, 30, 300] {
        let keyring = Keyring::new((0..rooms).map(|number| room(number, suite)).collect());
        group.bench_with_input(BenchmarkId::new("rooms", rooms), &envelope, |bencher, envelope| {
            bencher.iter(|| {
                let opened = keyring.open(black_box(envelope), NOW_MS).expect("an envelope");
                assert!(opened.is_none(), "it is nobody's here");
            });
        });
    }
}

fn room(number: u16, suite: &Arc<dyn CipherSuite>) -> Room {
    let mut secret = [7; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    let spec = RoomSpec {
        name: format!("room-{number}").into(),
        access: Access::Secret(RoomSecret::new(secret)),
        kind: RoomKind::Archive,
        born_day: day_of(NOW_MS) - 10,
        weak: false,
    };
    Room::new(spec, Arc::clone(suite), &StorageKey::new([2; 32]))
}

fn message(length: usize) -> NewMessage {
    NewMessage { nick: "alice".into(), text: "x".repeat(length), ..NewMessage::default() }
}

fn sealed(room: &Room, length: usize) -> Bytes {
    let (mut state, mut entropy) = (RoomState::default(), entropy());
    let sealed = room.seal(&Identity::from_seed(&[1; 32]), &mut state, &message(length), NOW_MS, &mut entropy);
    sealed.expect("a valid message").remove(0).envelope
}

/// Nonces that differ and are the same in every run.
fn entropy() -> impl FnMut(&mut [u8]) {
    let mut count = 0_u64;
    move |out: &mut [u8]| {
        count += 1;
        out.fill(0);
        out[..8].copy_from_slice(&count.to_be_bytes());
    }
}
