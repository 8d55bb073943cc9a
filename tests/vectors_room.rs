//! The pinned formats of rooms: keys, seal, payload and invite, with their intermediate values.
//!
//! Each file under `tests/vectors/` is what the functions below make of fixed inputs, and stays readable for ever. Once
//! a format gets a new version, its old file is kept under another name and its reading tested; then
//! `RUMORMILL_WRITE_VECTORS=1 cargo test --test vectors_room` writes the new one.

#![cfg(feature = "cipher-chacha")]
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use rumormill::api::{CipherSuite, Header, MsgId};
use rumormill::room::{
    Access, Body, ChainKey, DAY_MS, Identity, Invite, NewMessage, Opened, Room, RoomId, RoomKind, RoomSecret, RoomSpec,
    RoomState, SIGNATURE_BYTES, StorageKey, day_of, proof_key, verify,
};
use rumormill_cipher_chacha::{ChaCha, derive};
use serde_json::{Value, json};

const SECRET: [u8; 32] = *b"an open secret, for the vectors!";
const SEED: [u8; 32] = *b"a seed that everybody here knows";
const BORN_DAY: u32 = 20_466;
/// Day 20,468, 12:00: epoch 2.
const NOW_MS: u64 = 20_468 * DAY_MS + DAY_MS / 2;
const DOMAIN: &[u8] = b"rumormill message signature v1\0";

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

fn pinned(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// Compares with the pinned file.
fn compare(name: &str, made: &Value) {
    if std::env::var_os("RUMORMILL_WRITE_VECTORS").is_some() {
        std::fs::write(path(name), serde_json::to_string_pretty(made).unwrap() + "\n").unwrap();
    }
    assert_eq!(*made, pinned(name), "{name}");
}

fn room() -> Room {
    let access = Access::Secret(RoomSecret::new(SECRET));
    let spec = RoomSpec { name: "study".into(), access, kind: RoomKind::Archive, born_day: BORN_DAY, weak: false };
    Room::new(spec, Arc::new(ChaCha), &StorageKey::new([0; 32]))
}

/// "Random" bytes that count up.
fn counting() -> impl FnMut(&mut [u8]) {
    let mut next = 0_u8;
    move |out: &mut [u8]| {
        for byte in out {
            *byte = next;
            next = next.wrapping_add(1);
        }
    }
}

fn message(words: &str) -> NewMessage {
    NewMessage { nick: "alice".to_owned(), text: words.to_owned(), ..NewMessage::default() }
}

#[test]
fn keys() {
    let secret = RoomSecret::new(SECRET);
    let mut chain = ChainKey::start(&secret);
    let mut epochs = Vec::new();
    for epoch in 0..4 {
        epochs.push(json!({
            "epoch": epoch,
            "chain_key": hex(&chain.0),
            "epoch_key": hex(&chain.epoch_key().0),
        }));
        chain = chain.next();
    }
    let passphrase = "correct horse battery staple";
    compare(
        "keys.json",
        &json!({
            "secret": hex(secret.as_bytes()),
            "secret_base64": *secret.to_base64(),
            "room_id": hex(&RoomId::of(&secret).0),
            "archive_proof_key": hex(&proof_key(&secret)),
            "epochs": epochs,
            "passphrase": {
                "passphrase": passphrase,
                "label": "study",
                "secret": hex(RoomSecret::from_passphrase(passphrase, "study").unwrap().as_bytes()),
            },
        }),
    );
}

/// An envelope's parts, and what the room's key makes of them.
fn take_apart(envelope: &[u8]) -> (Header, Vec<u8>, Value) {
    let chain = ChainKey::start(&RoomSecret::new(SECRET)).next().next();
    let header = Header {
        version: envelope[0],
        flags: envelope[1],
        expiry_hour: u32::from_be_bytes(envelope[2..6].try_into().unwrap()),
        nonce: envelope[6..30].try_into().unwrap(),
    };
    let commitment: [u8; 32] = envelope[30..62].try_into().unwrap();
    let (body, tag) = envelope[70..].split_last_chunk().unwrap();
    let mut plaintext = body.to_vec();
    ChaCha.room(&chain.epoch_key()).open(&header, &commitment, &mut plaintext, tag).unwrap();
    let derived = derive(&chain.epoch_key(), &header.nonce);
    let values = json!({
        "secret": hex(&SECRET),
        "born_day": BORN_DAY,
        "day": day_of(NOW_MS),
        "epoch_key": hex(&chain.epoch_key().0),
        "nonce": hex(&header.nonce),
        "expiry_hour": header.expiry_hour,
        "commitment": hex(&derived.commitment),
        "body_key": hex(&*derived.key),
        "associated_data": hex(&header.associated_data(&commitment)),
        "plaintext": hex(&plaintext),
        "tag": hex(tag),
        "envelope": hex(envelope),
        "id": MsgId::of(envelope).to_string(),
    });
    (header, plaintext, values)
}

#[test]
fn seal() {
    let identity = Identity::from_seed(&SEED);
    let sealed = room()
        .seal(&identity, &mut RoomState::default(), &message("Hello, study group"), NOW_MS, &mut counting())
        .unwrap();
    let (_, _, values) = take_apart(&sealed[0].envelope);
    compare("seal.json", &values);
}

#[test]
fn the_pinned_envelope_opens() {
    let pinned = pinned("seal.json");
    let envelope = Bytes::from(unhex(&pinned["envelope"]));
    let opened = room().open(&envelope, NOW_MS).unwrap().unwrap();
    assert_eq!(opened.id.to_string(), pinned["id"].as_str().unwrap());
    assert_eq!(opened.body, Body::Text("Hello, study group".to_owned()));
    assert_eq!(opened.from, Identity::from_seed(&SEED).id());
}

/// What is in an opened message's envelope, down to the bytes that are signed.
fn payload_values(opened: &Opened, envelope: &[u8]) -> Value {
    let (header, plaintext, _) = take_apart(envelope);
    let length = usize::from(u16::from_be_bytes([plaintext[0], plaintext[1]]));
    let payload = &plaintext[2..2 + length];
    assert!(plaintext[2 + length..].iter().all(|&byte| byte == 0));
    // The map's head is one byte, the signature's field 3 bytes and the signature itself.
    let (fields, signature) = payload.split_at(length - SIGNATURE_BYTES);
    let fields = &fields[1..fields.len() - 3];
    let epoch = day_of(NOW_MS) - BORN_DAY;
    let head = [&[header.version, header.flags][..], &header.expiry_hour.to_be_bytes(), &header.nonce].concat();
    let signed = [DOMAIN, &epoch.to_be_bytes(), &head, fields].concat();
    assert!(verify(&opened.from, &signed, signature.try_into().unwrap()));
    json!({
        "sequence": opened.seq,
        "previous": opened.prev.map(|id| id.to_string()),
        "parents": opened.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "lamport": opened.lamport,
        "time": opened.time,
        "payload": hex(payload),
        "signed": hex(&signed),
        "signature": hex(signature),
        "envelope_bytes": envelope.len(),
        "id": opened.id.to_string(),
    })
}

#[test]
fn payload() {
    let room = room();
    let (alice, bob) = (Identity::from_seed(&SEED), Identity::from_seed(&[0xb0; 32]));
    let mut entropy = counting();
    let (mut alices, mut bobs) = (RoomState::default(), RoomState::default());
    let mut say = |identity: &Identity, state: &mut RoomState, message: &NewMessage| {
        room.seal(identity, state, message, NOW_MS, &mut entropy).unwrap()
    };

    let first = say(&alice, &mut alices, &message("first")).remove(0);
    say(&bob, &mut bobs, &message("bob's own"));
    room.note(&mut bobs, &first.opened, NOW_MS, &mut |_| true);
    let reply = NewMessage { nick: "bob".to_owned(), bot: true, reply_to: Some(first.id), ..message("reply") };
    let reply = say(&bob, &mut bobs, &reply).remove(0);
    let long = say(&alice, &mut alices, &message(&"long ".repeat(7_000)));

    let mut values = vec![];
    for (kind, sealed) in [("text", &first), ("text with all fields", &reply), ("manifest", &long[2])] {
        assert_eq!(room.open(&sealed.envelope, NOW_MS).unwrap().as_ref(), Some(&sealed.opened));
        values.push(json!({ "kind": kind, "values": payload_values(&sealed.opened, &sealed.envelope) }));
    }
    let chunks: Vec<_> = long[..2].iter().map(|sealed| sealed.id.to_string()).collect();
    compare(
        "payload.json",
        &json!({
            "alice_seed": hex(&SEED),
            "alice": alice.id().to_string(),
            "bob_seed": hex(&[0xb0; 32]),
            "bob": bob.id().to_string(),
            "room_id": hex(&room.room_id().0),
            "epoch": day_of(NOW_MS) - BORN_DAY,
            "long_text": "\"long \" 7,000 times",
            "chunk_ids": chunks,
            "messages": values,
        }),
    );
}

#[test]
fn invite() {
    let whole = Invite {
        name: "study".to_owned(),
        kind: RoomKind::Archive,
        born_day: BORN_DAY,
        access: Access::Secret(RoomSecret::new(SECRET)),
        weak: false,
        network: None,
        peers: vec!["tcp:127.0.0.1:4001".parse().unwrap()],
        expires: None,
    };
    let from = Invite {
        kind: RoomKind::Ephemeral,
        access: Access::From(room().from_now_on(NOW_MS).unwrap()),
        network: Some("friends".to_owned()),
        expires: Some(491_400),
        ..whole.clone()
    };
    compare(
        "invite.json",
        &json!({
            "name": "study",
            "born_day": BORN_DAY,
            "peers": ["tcp:127.0.0.1:4001"],
            "with_history": *whole.encode().unwrap(),
            "from_epoch_2": *from.encode().unwrap(),
        }),
    );

    let pinned = pinned("invite.json");
    let read = |name: &str| Invite::decode(pinned[name].as_str().unwrap(), NOW_MS).unwrap();
    assert!(matches!(&read("with_history").access, Access::Secret(secret) if *secret.as_bytes() == SECRET));
    assert!(matches!(&read("from_epoch_2").access, Access::From(from) if from.epoch == 2));
}
