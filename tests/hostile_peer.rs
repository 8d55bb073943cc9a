//! What a hostile peer sends to a whole node: each kind is dropped and counted under its own name, provable faults close
//! the link, and the node goes on.

#![cfg(all(feature = "transport-memory", feature = "history-memory", feature = "cipher-chacha"))]
#![allow(clippy::unwrap_used)]

mod node_support;
mod peer_support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use node_support::{TestNode, World, pass};
use peer_support::Linked;
use rumormill::api::{CipherSuite, Header, LinkEvent, MsgId, PeerAddr};
use rumormill::node::{Event, NodeApi};
use rumormill::proto::wire::{ENVELOPE_MAX_BYTES, Kind, LINK_VERSION, Message, PeerRecord, frame};
use rumormill::room::{ChainKey, Identity, RoomId, RoomSecret, day_of};
use rumormill_cipher_chacha::ChaCha;
use rumormill_transport_memory::{Hub, MemoryTransport};

const HOUR_MS: u64 = 3_600_000;
const LIFE_HOURS: u32 = 7 * 24;
const ROOM: u8 = 1;
const DOMAIN: &[u8] = b"rumormill message signature v1\0";

/// A peer that speaks the link protocol as it pleases.
struct Hostile {
    linked: Linked,
    pings: u64,
}

impl Hostile {
    /// Links up with the victim, without a word yet.
    async fn dial(hub: &Hub) -> Self {
        let linked =
            Linked::dial(&victim(), 0xee, |config| Arc::new(MemoryTransport::new(config, hub.clone()).unwrap())).await;
        Self { linked, pings: 0 }
    }

    /// Links up and says HELLO.
    async fn connect(hub: &Hub) -> Self {
        let hostile = Self::dial(hub).await;
        hostile.send(hostile.hello());
        hostile
    }

    fn hello(&self) -> Bytes {
        self.linked.hello(|_| {})
    }

    fn send(&self, frame: Bytes) {
        self.linked.send(frame);
    }

    /// Whether the victim keeps the link, judged by its answer to a PING. It has seen all that was sent before, then.
    async fn is_open(&mut self) -> bool {
        self.pings += 1;
        let ping = self.pings;
        if self.linked.links.try_send(self.linked.link, Message::Ping(ping).encode()).is_err() {
            return false;
        }
        let pong = Message::Pong(ping).encode();
        loop {
            match tokio::time::timeout(Duration::from_secs(30), self.linked.events.recv()).await.unwrap().unwrap() {
                LinkEvent::Down(..) => return false,
                LinkEvent::Batch(_, batch) if batch.windows(pong.len()).any(|window| window == pong) => return true,
                _ => {}
            }
        }
    }
}

fn victim() -> PeerAddr {
    "memory:victim".parse().unwrap()
}

async fn start(world: &World) -> TestNode {
    world.node("victim").chat("study", ROOM).extra("[network]\noutgoing = 0").start().await
}

/// A payload in the making: its fields in order, each as its key's and value's encoding.
#[derive(Clone)]
struct Payload(Vec<(u64, Vec<u8>)>);

fn head(major: u8, n: u64) -> Vec<u8> {
    let major = major << 5;
    let bytes = n.to_be_bytes();
    match n {
        0..24 => vec![major | bytes[7]],
        24..256 => vec![major | 24, bytes[7]],
        256..65_536 => [&[major | 25][..], &bytes[6..]].concat(),
        65_536..=0xffff_ffff => [&[major | 26][..], &bytes[4..]].concat(),
        _ => [&[major | 27][..], &bytes].concat(),
    }
}

fn uint(n: u64) -> Vec<u8> {
    head(0, n)
}

fn blob(bytes: &[u8]) -> Vec<u8> {
    [head(2, bytes.len() as u64), bytes.to_vec()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [head(3, text.len() as u64), text.as_bytes().to_vec()].concat()
}

impl Payload {
    fn new(room: &RoomId, from: &Identity, words: &str, now: u64) -> Self {
        let body = [head(5, 2), uint(0), text("mallory"), uint(1), text(words)].concat();
        Self(vec![
            (0, blob(&room.0)),
            (1, blob(&from.id().0)),
            (2, uint(0)),
            (5, uint(now)),
            (6, uint(now)),
            (7, uint(0)),
            (8, body),
        ])
    }

    fn set(mut self, key: u64, value: Vec<u8>) -> Self {
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some(field) => field.1 = value,
            None => {
                self.0.push((key, value));
                self.0.sort_by_key(|(key, _)| *key);
            }
        }
        self
    }

    fn without(mut self, key: u64) -> Self {
        self.0.retain(|(k, _)| *k != key);
        self
    }

    fn fields(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(key, value)| [uint(*key), value.clone()].concat()).collect()
    }
}

/// Makes envelopes as a member of the room does, or nearly so.
struct Forge {
    from: Identity,
    room: RoomId,
    now: u64,
    nonces: u8,
}

impl Forge {
    fn new(now: u64) -> Self {
        let room = RoomId::of(&RoomSecret::new([ROOM; 32]));
        Self { from: Identity::from_seed(&[0x66; 32]), room, now, nonces: 0 }
    }

    fn payload(&self, words: &str) -> Payload {
        Payload::new(&self.room, &self.from, words, self.now)
    }

    fn header(&mut self) -> Header {
        self.nonces += 1;
        let expiry_hour = u32::try_from(self.now / HOUR_MS).unwrap() + LIFE_HOURS;
        Header { version: 1, flags: 0, expiry_hour, nonce: [self.nonces; 24] }
    }

    /// Signs a payload for this header.
    fn signed(&self, payload: &Payload, header: &Header) -> Vec<u8> {
        let fields = payload.fields();
        let epoch = day_of(self.now).to_be_bytes();
        let place = [&[header.version, header.flags][..], &header.expiry_hour.to_be_bytes(), &header.nonce].concat();
        let signature = self.from.sign(&[DOMAIN, &epoch, &place, &fields].concat());
        [head(5, payload.0.len() as u64 + 1), fields, uint(9), blob(&signature)].concat()
    }

    /// Seals bytes with the room's key of today.
    fn seal(&self, header: &Header, payload: &[u8], padding: u8) -> Bytes {
        let mut chain = ChainKey::start(&RoomSecret::new([ROOM; 32]));
        for _ in 0..day_of(self.now) {
            chain = chain.next();
        }
        let mut plaintext = u16::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
        plaintext.extend_from_slice(payload);
        let size = [512, 1_024, 2_048].into_iter().find(|size| size - 86 >= plaintext.len()).unwrap();
        plaintext.resize(size - 86, padding);
        let (commitment, tag) = ChaCha.room(&chain.epoch_key()).seal(header, &mut plaintext);
        [header.associated_data(&commitment).to_vec(), vec![0; 8], plaintext, tag.to_vec()].concat().into()
    }

    fn envelope(&mut self, payload: &Payload) -> Bytes {
        let header = self.header();
        let signed = self.signed(payload, &header);
        self.seal(&header, &signed, 0)
    }

    fn good(&mut self, words: &str) -> Bytes {
        let payload = self.payload(words);
        self.envelope(&payload)
    }
}

/// A good envelope with some of its bytes changed.
fn altered(envelope: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = envelope.to_vec();
    change(&mut bytes);
    bytes.into()
}

#[tokio::test(start_paused = true)]
async fn what_only_a_member_can_get_wrong_is_counted_by_name_and_costs_nobody_a_link() {
    let world = World::new();
    let mut node = start(&world).await;
    let mut other = world.node("other").peers(&["victim"]).extra("[network]\noutgoing = 0").start().await;
    other.expect_peers(1).await;
    let mut hostile = Hostile::connect(&world.hub).await;
    let mut forge = Forge::new(world.now_ms());
    let now = forge.now;

    let day = 24 * HOUR_MS;
    let deep = [vec![0x81; 40], vec![0x80]].concat();
    let plain = forge.payload("evil");
    let foreign = RoomId::of(&RoomSecret::new([7; 32]));
    let twice = Payload([plain.0.clone(), vec![plain.0[6].clone()]].concat());
    let parents = [head(4, 3), blob(&[1; 32]), blob(&[2; 32]), blob(&[3; 32])].concat();
    let manifest = [
        head(5, 4),
        uint(0),
        text("mallory"),
        uint(4),
        [head(4, 1), blob(&[1; 32])].concat(),
        uint(5),
        uint(300_000_000),
        uint(6),
        blob(&[0; 32]),
    ]
    .concat();
    let mut cases: Vec<(&str, Bytes)> = [
        ("foreign_room", plain.clone().set(0, blob(&foreign.0))),
        ("unknown_field", plain.clone().set(8, [head(5, 3), plain.0[6].1[1..].to_vec(), uint(9), uint(0)].concat())),
        ("duplicate_field", twice),
        ("missing_field", plain.clone().without(6)),
        ("too_deep", plain.clone().set(8, deep)),
        ("non_canonical", plain.clone().set(2, vec![0x18, 0])),
        ("too_many_parents", plain.clone().set(2, uint(1)).set(3, blob(&[9; 32])).set(4, parents)),
        ("bad_payload", plain.clone().set(7, uint(3))),
        ("bad_payload", plain.clone().set(2, uint(5))),
        ("bad_payload", plain.clone().set(7, uint(2)).set(8, manifest)),
        ("expired_epoch", plain.clone().set(6, uint(now - 3 * day))),
        ("expired_epoch", plain.clone().set(5, uint(now + 3 * day))),
    ]
    .into_iter()
    .map(|(name, payload)| (name, forge.envelope(&payload)))
    .collect();
    // A signature of other words, and one of the same words in another envelope.
    let (here, there) = (forge.header(), forge.header());
    let of_others = {
        let mut signed = forge.signed(&plain, &here);
        let at = signed.windows(4).position(|window| window == b"evil").unwrap();
        signed[at] ^= 1;
        signed
    };
    cases.push(("bad_signature", forge.seal(&here, &of_others, 0)));
    let elsewhere = forge.signed(&plain, &here);
    cases.push(("bad_signature", forge.seal(&there, &elsewhere, 0)));
    let header = forge.header();
    let trailing = [forge.signed(&plain, &header), vec![0]].concat();
    cases.push(("trailing_bytes", forge.seal(&header, &trailing, 0)));
    let signed = forge.signed(&plain, &header);
    cases.push(("bad_padding", forge.seal(&header, &signed, 1)));
    let good = forge.good("the good copy");
    let last = good.len() - 1;
    cases.push(("broken_tag", altered(&good, |bytes| bytes[last] ^= 1)));
    cases.push(("broken_tag", altered(&good, |bytes| bytes[100] ^= 1)));

    let mut sent = 0;
    for (name, envelope) in &cases {
        let before = node.counted(name);
        hostile.send(Message::Rumor(envelope.clone()).encode());
        assert!(hostile.is_open().await, "{name}: only a member can have made it, the link isn't to blame");
        pass(Duration::from_millis(10)).await;
        assert_eq!(node.counted(name), before + 1, "{name}: {:?}", node.node.counters());
        sent += 1;
        // Whether it can be read changes nothing about its being relayed.
        assert_eq!(other.store.window_ids().len(), sent, "{name}");
    }
    assert_eq!(node.count(|event| matches!(event, Event::Message(_) | Event::Gap { .. })), 0);
    assert!(node.history("study").await.is_empty());

    // A mutated copy that came first doesn't shadow the good one.
    hostile.send(Message::Rumor(good.clone()).encode());
    assert_eq!(node.expect_text("study", "the good copy").await.id, MsgId::of(&good));
}

#[tokio::test(start_paused = true)]
async fn envelopes_that_are_no_fault_of_their_carrier_are_dropped_and_counted() {
    let world = World::new();
    let mut node = start(&world).await;
    let mut hostile = Hostile::connect(&world.hub).await;
    let mut forge = Forge::new(world.now_ms());
    let hour = u32::try_from(forge.now / HOUR_MS).unwrap();
    let good = forge.good("x");
    let expiring = |at: u32| altered(&good, |bytes| bytes[2..6].copy_from_slice(&at.to_be_bytes()));
    let cases = [
        ("expired", expiring(hour - 1)),
        ("expired", expiring(0)),
        ("from_future", expiring(hour + LIFE_HOURS + 2)),
        ("from_future", expiring(u32::MAX)),
    ];
    for (name, envelope) in cases {
        let before = node.counted(name);
        hostile.send(Message::Rumor(envelope).encode());
        assert!(hostile.is_open().await, "{name}");
        assert_eq!(node.counted(name), before + 1, "{name}: {:?}", node.node.counters());
    }
    assert!(node.store.window_ids().is_empty(), "nothing of it is kept");
    // The limits from within: the first hour that isn't expired, the last that isn't from the future.
    for at in [hour, hour + LIFE_HOURS + 1] {
        hostile.send(Message::Rumor(expiring(at)).encode());
    }
    assert!(hostile.is_open().await);
    pass(Duration::from_millis(10)).await;
    assert_eq!(node.store.window_ids().len(), 2);
    assert_eq!(node.count(|event| matches!(event, Event::Message(_))), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_shown_once_even_over_a_restart() {
    let world = World::new();
    let mut node = start(&world).await;
    let mut hostile = Hostile::connect(&world.hub).await;
    let mut forge = Forge::new(world.now_ms());
    let envelope = forge.good("once");
    for _ in 0..100 {
        hostile.send(Message::Rumor(envelope.clone()).encode());
    }
    assert!(hostile.is_open().await);
    node.expect_text("study", "once").await;
    pass(Duration::from_secs(10)).await;
    assert_eq!((node.shown("once"), node.counted("duplicate")), (1, 99));

    let store = node.store.clone();
    node.stop().await;
    let plan = world.node("victim").chat("study", ROOM).extra("[network]\noutgoing = 0");
    let mut node = plan.store(&store).start().await;
    let mut hostile = Hostile::connect(&world.hub).await;
    for _ in 0..100 {
        hostile.send(Message::Rumor(envelope.clone()).encode());
    }
    assert!(hostile.is_open().await);
    pass(Duration::from_secs(10)).await;
    assert_eq!((node.shown("once"), node.counted("duplicate")), (0, 100));
    assert_eq!(node.texts("study").await, ["once"]);

    // Once it has expired, a replay is dropped for that.
    pass(Duration::from_secs(9 * 24 * 3_600)).await;
    let mut hostile = Hostile::connect(&world.hub).await;
    hostile.send(Message::Rumor(envelope).encode());
    assert!(hostile.is_open().await);
    assert_eq!((node.shown("once"), node.counted("expired")), (0, 1));
    assert_eq!(node.texts("study").await, ["once"]);
}

/// A link message with a header that says what it likes.
fn raw(kind: u8, length: u16, body: &[u8]) -> Bytes {
    [&[kind][..], &length.to_be_bytes(), body].concat().into()
}

#[tokio::test(start_paused = true)]
async fn a_provable_fault_closes_the_link_and_nothing_else() {
    type Say = fn(&Hostile) -> Vec<Bytes>;
    // A well-formed envelope but for one byte: an honest peer of this link version would not have passed it on.
    fn spoilt(at: usize, byte: u8) -> Vec<Bytes> {
        let good = Forge::new(node_support::START_MS).good("x");
        vec![frame(Kind::Rumor, &altered(&good, |bytes| bytes[at] = byte))]
    }
    let after_hello: [(&str, Say); 14] = [
        ("unknown_version", |_| spoilt(0, 2)),
        ("bad_flags", |_| spoilt(1, 1)),
        ("bad_work", |_| spoilt(62, 1)),
        ("bad_size", |_| vec![frame(Kind::Rumor, &[1; 513])]),
        ("bad_size", |_| vec![frame(Kind::Rumor, &[])]),
        ("oversized", |_| vec![raw(Kind::Rumor as u8, ENVELOPE_MAX_BYTES as u16 + 1, &[1; ENVELOPE_MAX_BYTES + 1])]),
        ("oversized", |_| vec![raw(Kind::Ping as u8, 9, &[0; 9])]),
        ("malformed", |_| vec![raw(Kind::Ping as u8, 7, &[0; 7])]),
        ("malformed", |_| vec![raw(Kind::Rumor as u8, 512, &[1; 511])]),
        ("malformed", |_| vec![raw(Kind::IHave as u8, 33, &[1; 33])]),
        ("unknown_kind", |_| vec![raw(0, 0, &[])]),
        ("unknown_kind", |_| vec![raw(99, 3, &[1, 2, 3])]),
        ("second_hello", |hostile| vec![hostile.hello()]),
        ("peer_record_forged", |hostile| {
            let mut record = PeerRecord::sign(
                &hostile.linked.key,
                "tcp:9.9.9.9:4000".parse().unwrap(),
                node_support::START_MS / 1_000,
            );
            record.issued_at += 1;
            vec![Message::Peers(vec![record.encode()]).encode()]
        }),
    ];
    let first: [(&str, Say); 4] = [
        ("no_hello", |_| vec![Message::Ping(1).encode()]),
        ("no_hello", |_| vec![frame(Kind::Rumor, &[1; 512])]),
        ("hello_key", |hostile| {
            let other = SigningKey::from_bytes(&[0xdd; 32]).verifying_key().to_bytes();
            vec![hostile.linked.hello(|hello| hello.link_key = other)]
        }),
        ("hello_version", |hostile| {
            vec![
                hostile
                    .linked
                    .hello(|hello| (hello.version_min, hello.version_max) = (LINK_VERSION + 1, LINK_VERSION + 1)),
            ]
        }),
    ];
    let world = World::new();
    let mut node = start(&world).await;
    let honest = world.node("honest").peers(&["victim"]).chat("study", ROOM).extra("[network]\noutgoing = 0");
    let mut honest = honest.start().await;
    honest.expect_peers(1).await;
    let cases = after_hello.into_iter().map(|case| (true, case)).chain(first.into_iter().map(|case| (false, case)));
    for (n, (hello, (name, say))) in cases.enumerate() {
        let mut hostile = if hello { Hostile::connect(&world.hub).await } else { Hostile::dial(&world.hub).await };
        if hello {
            assert!(hostile.is_open().await, "{name}");
        }
        let before = node.counted(name);
        for frame in say(&hostile) {
            hostile.send(frame);
        }
        // In a frame of its own: a message cut short would go on in the next one.
        pass(Duration::from_millis(10)).await;
        assert!(!hostile.is_open().await, "{name} is a provable fault");
        assert_eq!(node.counted(name), before + 1, "{name}: {:?}", node.node.counters());
        // The others are no worse off.
        let words = format!("after {name} {n}");
        honest.say("study", &words).await;
        node.expect_text("study", &words).await;
    }
    assert_eq!(honest.node.peers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_let_go() {
    let world = World::new();
    let node = start(&world).await;
    let mut silent = Hostile::dial(&world.hub).await;
    pass(Duration::from_secs(10)).await;
    assert!(!silent.is_open().await);
    assert_eq!(node.counted("hello_timeout"), 1);
    assert!(node.node.peers().is_empty());
}
