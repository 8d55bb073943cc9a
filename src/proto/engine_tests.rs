#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use rumormill_api::{ExpiryHour, ExpiryRange, Frame, Header, Millis, RoomTag, Seen, Shelf};

use super::super::wire::{
    ENVELOPE_OVERHEAD_BYTES, ENVELOPE_VERSION, ENVELOPE_WORK_OFFSET, Envelope, HOUR_MS, OpenScope, ReconBody, Role,
    Root, SessionRef, TreeKey,
};
use super::super::{Finding, Look, Question, RoomProof, Scope, Source, Tree, TreeLoader};
use super::*;

const NOW: Now = Now { mono: 1_000, unix: 500_000 * HOUR_MS };
const LINK: LinkId = LinkId(1);

#[derive(Debug, Default)]
struct Exact(BTreeSet<MsgId>);

impl Dedup for Exact {
    fn check_and_insert(&mut self, id: &MsgId, _: Millis) -> Seen {
        if self.0.insert(*id) { Seen::Fresh } else { Seen::Certain }
    }

    fn check(&self, id: &MsgId) -> Seen {
        if self.0.contains(id) { Seen::Certain } else { Seen::Fresh }
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn envelope(number: u8) -> Envelope {
    let expiry = ExpiryHour::try_from(NOW.unix / HOUR_MS + 100).unwrap();
    let header = Header { version: ENVELOPE_VERSION, flags: 0, expiry_hour: expiry, nonce: [number; 24] };
    Envelope::assemble(&header, &[0; 32], &[0; 512 - ENVELOPE_OVERHEAD_BYTES], &[0; 16]).unwrap()
}

/// An engine with one peer that has said HELLO.
fn linked() -> Engine<Exact> {
    let mut engine = Engine::new(EngineConfig { reconcile_on_connect: false, ..config() }, Exact::default(), [0; 32]);
    greet(&mut engine, LINK, 2);
    engine
}

fn config() -> EngineConfig {
    EngineConfig {
        link_key: key(1).verifying_key().to_bytes(),
        own: key(1).verifying_key().to_montgomery().to_bytes(),
        ..EngineConfig::default()
    }
}

fn greet(engine: &mut Engine<Exact>, link: LinkId, seed: u8) {
    let peer = key(seed).verifying_key();
    let remote: PeerAddr = "tcp:127.0.0.1:4000".parse().unwrap();
    let info = LinkInfo {
        peer: peer.to_montgomery().to_bytes(),
        direction: Direction::Incoming,
        remote: remote.clone(),
        handshake_hash: [seed; 32],
    };
    engine.handle(Input::LinkUp(link, info), NOW);
    let hello = Hello {
        version_min: LINK_VERSION,
        version_max: LINK_VERSION,
        probe: false,
        recon_max: 48 << 10,
        link_key: peer.to_bytes(),
        seen_as: remote,
        record: None,
    };
    hear(engine, link, &Message::Hello(hello));
}

fn hear(engine: &mut Engine<Exact>, link: LinkId, message: &Message) -> Vec<Output> {
    engine.handle(Input::Batch(link, message.encode()), NOW);
    engine.outputs().collect()
}

fn closes(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Close(link) if *link == LINK))
}

fn said(outputs: &[Output]) -> Vec<Message> {
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Send(_, frame) => Some(Frame::clone(frame)),
        _ => None,
    });
    frames.flat_map(Batch::new).map(|raw| Message::decode(&raw.unwrap()).unwrap()).collect()
}

#[test]
fn whatever_is_malformed_about_an_envelope_closes_the_link() {
    let altered = |at: usize| {
        let mut bytes = envelope(1).into_bytes().to_vec();
        bytes[at] = 9;
        Bytes::from(bytes)
    };
    type Count = fn(&Counters) -> u64;
    let cases: [(Bytes, Count); 4] = [
        (envelope(1).bytes().slice(1..), |counters| counters.bad_size),
        (altered(0), |counters| counters.unknown_version),
        (altered(1), |counters| counters.bad_flags),
        (altered(ENVELOPE_WORK_OFFSET), |counters| counters.bad_work),
    ];
    for (bytes, count) in cases {
        let mut engine = linked();
        assert!(closes(&hear(&mut engine, LINK, &Message::Rumor(bytes))));
        assert_eq!(count(engine.counters()), 1);
    }
    let mut engine = linked();
    assert!(!closes(&hear(&mut engine, LINK, &Message::Rumor(envelope(1).into_bytes()))));
    assert_eq!(engine.counters().accepted, 1);
}

/// Begins to load a room's archive of one envelope; returns the session as the peer sees it, and BEGIN.
fn load(engine: &mut Engine<Exact>, held: &Envelope) -> (SessionRef, ReconBody) {
    let tag = RoomTag([7; 16]);
    engine.handle(Input::Rooms(vec![RoomProof { tag, key: [8; 32], serve: true }]), NOW);
    engine.handle(Input::Sync { token: 1, scope: Scope::Archive(tag), link: None }, NOW);
    let outputs: Vec<_> = engine.outputs().collect();
    let looked = outputs.into_iter().find_map(|output| match output {
        Output::Look(session, look) if look.shelf == Shelf::Archive(tag) => Some((session, look)),
        _ => None,
    });
    let (session, look) = looked.unwrap();
    engine.handle(Input::Found(session, tree(held).answer(&look, &mut One(held)).unwrap()), NOW);
    let outputs: Vec<_> = engine.outputs().collect();
    let begin = said(&outputs).into_iter().find_map(|message| match message {
        Message::Recon(session, body) => Some((session, body)),
        _ => None,
    });
    begin.unwrap()
}

/// A shelf with one envelope.
struct One<'a>(&'a Envelope);

impl Source for One<'_> {
    type Error = ();

    fn ids(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, ()> {
        let key = (self.0.expiry(), self.0.id());
        Ok(Some(key).filter(|key| (from..=to).contains(key)).into_iter().take(limit).collect())
    }

    fn gone(&mut self, _: TreeKey, _: TreeKey, _: usize) -> Result<Vec<TreeKey>, ()> {
        Ok(Vec::new())
    }

    fn envelope(&mut self, _: &MsgId) -> Option<Bytes> {
        Some(self.0.bytes().clone())
    }
}

fn tree(held: &Envelope) -> Tree {
    let mut loader = TreeLoader::default();
    loader.push((held.expiry(), held.id()));
    loader.finish()
}

#[test]
fn opening_a_session_about_a_room_tells_a_stranger_of_no_envelope() {
    let (mut engine, held) = (linked(), envelope(1));
    let (_, begin) = load(&mut engine, &held);
    let ReconBody::Begin { scope: OpenScope::Archive(_), salt, root, .. } = begin else { panic!("{begin:?}") };
    assert_ne!(root, Root::default());
    // Whoever has the envelope and the salt, but not the room, would find this, were the session's key made of the salt.
    let look = Look {
        shelf: Shelf::Window,
        range: ExpiryRange::ALL,
        key: blake3::derive_key("rumormill reconciliation of the window v2", &salt),
        question: Question::Root,
    };
    let guess = tree(&held).answer(&look, &mut One(&held)).unwrap();
    assert!(matches!(guess, Finding::Root(guess, 1) if guess != root));
}

#[test]
fn who_has_not_proven_a_room_is_served_nothing_of_it() {
    let (mut engine, held) = (linked(), envelope(1));
    let (session, begin) = load(&mut engine, &held);
    assert!(matches!(begin, ReconBody::Begin { .. }));
    let session = SessionRef { number: session.number, sender: Role::Responder };
    // It wants what it hasn't been told of, or says that the two hold the same.
    for body in [ReconBody::Found(vec![0]), ReconBody::Same(None), ReconBody::Same(Some([1; 32]))] {
        let (mut engine, held) = (linked(), envelope(1));
        load(&mut engine, &held);
        let outputs = hear(&mut engine, LINK, &Message::Recon(session, body));
        assert!(!outputs.iter().any(|output| matches!(output, Output::Fetch(..))));
        assert!(closes(&outputs));
        assert_eq!(engine.counters().recon_fault, 1);
    }
}
