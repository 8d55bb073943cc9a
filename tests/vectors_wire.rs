//! The wire formats' pinned vectors: hexadecimal in, decoded fields out. They stay readable for ever.
#![allow(clippy::unwrap_used, missing_docs)]

use data_encoding::HEXLOWER;
use rumormill::api::{ExpiryRange, MsgId};
use rumormill::proto::wire::{
    Batch, Envelope, Hello, Message, OpenScope, PeerRecord, ReconBody, Role, SessionRef, ShortId, link_key_to_x25519,
    short_id,
};
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn session(session: &SessionRef) -> Value {
    json!({ "number": session.number, "sender": match session.sender {
        Role::Initiator => "initiator",
        Role::Responder => "responder",
    }})
}

fn record(bytes: &bytes::Bytes) -> Value {
    let record = PeerRecord::decode(bytes).unwrap();
    json!({
        "link_key": hex(&record.link_key),
        "x25519": hex(&link_key_to_x25519(&record.link_key).unwrap()),
        "addr": record.addr.as_str(),
        "issued_at": record.issued_at,
        "signature": hex(&record.signature),
        "valid": record.verify().is_ok(),
    })
}

fn envelope(bytes: &bytes::Bytes) -> Value {
    let envelope = Envelope::parse(bytes).unwrap();
    let header = envelope.header();
    json!({
        "id": envelope.id().to_string(),
        "version": header.version,
        "flags": header.flags,
        "expiry_hour": header.expiry_hour,
        "nonce": hex(&header.nonce),
        "commitment": hex(&envelope.commitment()),
        "ciphertext_bytes": envelope.ciphertext().len(),
        "tag": hex(&envelope.tag()),
    })
}

fn recon(body: &ReconBody) -> Value {
    match body {
        ReconBody::Open { scope: OpenScope::Window(ExpiryRange { from, to }), salt, message } => {
            json!({ "open": { "from": from, "to": to, "salt": hex(salt), "message": hex(message) } })
        }
        ReconBody::Open { scope: OpenScope::Archive(proof), salt, message } => {
            json!({ "open": { "proof": hex(proof), "salt": hex(salt), "message": hex(message) } })
        }
        ReconBody::Next(message) => json!({ "next": hex(message) }),
        ReconBody::Answer { proof, message } => json!({ "answer": { "proof": hex(proof), "message": hex(message) } }),
        ReconBody::Have(ids) => json!({ "have": ids.iter().map(|id| hex(id)).collect::<Vec<_>>() }),
        ReconBody::Decline => json!("decline"),
        ReconBody::Taken => json!("taken"),
        ReconBody::Served => json!("served"),
        ReconBody::Done => json!("done"),
        other => unreachable!("pinned in vectors/recon.json: {other:?}"),
    }
}

fn short_ids(ids: &[ShortId]) -> Vec<String> {
    ids.iter().map(|id| hex(&id.to_be_bytes())).collect()
}

fn message(message: &Message) -> Value {
    match message {
        Message::Hello(Hello { version_min, version_max, probe, recon_max, link_key, seen_as, record: own }) => {
            json!({ "hello": {
                "version_min": version_min,
                "version_max": version_max,
                "probe": probe,
                "recon_max": recon_max,
                "link_key": hex(link_key),
                "seen_as": seen_as.as_str(),
                "record": own.as_ref().map(record),
            }})
        }
        Message::Rumor(bytes) => json!({ "rumor": envelope(bytes) }),
        Message::IHaveWhole(ids) => json!({ "ihave": ids.iter().map(ToString::to_string).collect::<Vec<_>>() }),
        Message::Get(of, ids) => {
            json!({ "get": { "session": session(of), "ids": ids.iter().map(|id| hex(id)).collect::<Vec<_>>() } })
        }
        Message::PruneAll => json!("prune"),
        Message::Salt(key) => json!({ "salt": hex(key) }),
        Message::IHave(first, ids) => json!({ "ihave": { "first": first, "ids": short_ids(ids) } }),
        Message::IWant(numbers) => json!({ "iwant": numbers }),
        Message::Graft(ids) => json!({ "graft": short_ids(ids) }),
        Message::Prune(ids) => json!({ "prune": short_ids(ids) }),
        Message::Peers(records) => json!({ "peers": records.iter().map(record).collect::<Vec<_>>() }),
        Message::Recon(of, body) => json!({ "recon": { "session": session(of), "body": recon(body) } }),
        Message::Item(of, bytes) => json!({ "item": { "session": session(of), "envelope": envelope(bytes) } }),
        Message::Ping(number) => json!({ "ping": number }),
        Message::Pong(number) => json!({ "pong": number }),
        Message::Chaff(bytes) => json!({ "chaff": hex(bytes) }),
        Message::Bye(reason) => json!({ "bye": format!("{reason:?}") }),
    }
}

#[test]
fn every_pinned_vector_decodes_to_its_fields_and_back() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/wire.json")).unwrap();
    let vectors = vectors["link_messages"].as_array().unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let bytes = HEXLOWER.decode(vector["hex"].as_str().unwrap().as_bytes()).unwrap();
        let raw: Vec<_> = Batch::new(bytes.clone().into()).map(Result::unwrap).collect();
        assert_eq!(raw.len(), 1, "{name}");
        kinds.insert(raw[0].kind as u8);
        let decoded = Message::decode(&raw[0]).unwrap();
        assert_eq!(message(&decoded), vector["message"], "{name}");
        assert_eq!(decoded.encode(), bytes, "{name}");
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), (1..=17).collect::<Vec<_>>(), "every kind is pinned");
}

#[test]
fn a_short_id_is_siphash_of_the_id_under_the_readers_key() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/wire.json")).unwrap();
    for vector in vectors["short_ids"].as_array().unwrap() {
        let bytes = |field: &str| HEXLOWER.decode(vector[field].as_str().unwrap().as_bytes()).unwrap();
        let id = MsgId(bytes("id").try_into().unwrap());
        let short = short_id(&bytes("key").try_into().unwrap(), &id);
        assert_eq!(hex(&short.to_be_bytes()), vector["short"].as_str().unwrap());
    }
}
