//! The wire formats' pinned vectors: hexadecimal in, decoded fields out. They stay readable for ever.
#![allow(clippy::unwrap_used, missing_docs)]

use data_encoding::HEXLOWER;
use rumormill::api::ExpiryRange;
use rumormill::proto::wire::{
    Batch, Envelope, Hello, Message, OpenScope, PeerRecord, ReconBody, Role, SessionRef, link_key_to_x25519,
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
    }
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
        Message::IHave(ids) => json!({ "ihave": ids.iter().map(ToString::to_string).collect::<Vec<_>>() }),
        Message::Get(of, ids) => {
            json!({ "get": { "session": session(of), "ids": ids.iter().map(|id| hex(id)).collect::<Vec<_>>() } })
        }
        Message::Prune => json!("prune"),
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
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>(), "every kind is pinned");
}
