//! One engine, driven by hand: hostile input, links, congestion, limits.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use rumormill_api::transport::BATCH_MAX_BYTES;
use rumormill_api::{Dedup, Direction, Hashed, LinkId, LinkInfo, Millis, MsgId, PeerAddr};

use super::sim::{AlwaysMaybe, ExactDedup, START_UNIX_MS, envelope};
use super::wire::{
    Batch, ByeReason, ENVELOPE_LIFE_HOURS, HOUR_MS, Hello, Kind, LINK_VERSION, Message, RECON_MAX_BYTES, frame,
};
use super::*;

/// An engine with its driver's hands.
pub(super) struct Hand<D: Dedup> {
    pub(super) engine: Engine<D>,
    pub(super) now: Now,
    timers: BTreeSet<(Millis, Timer)>,
}

pub(super) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub(super) fn x25519(number: u8) -> [u8; 32] {
    key(number).verifying_key().to_montgomery().to_bytes()
}

pub(super) fn addr(number: u8) -> PeerAddr {
    PeerAddr::new("tcp", &format!("8.{number}.8.8:4000")).unwrap()
}

pub(super) fn hello(number: u8) -> Hello {
    Hello {
        version_min: LINK_VERSION,
        version_max: LINK_VERSION,
        probe: false,
        recon_max: RECON_MAX_BYTES as u16,
        link_key: key(number).verifying_key().to_bytes(),
        seen_as: addr(1),
        record: None,
    }
}

pub(super) fn hour() -> u32 {
    u32::try_from(START_UNIX_MS / HOUR_MS).unwrap()
}

pub(super) fn live(number: u64) -> Bytes {
    envelope(hour() + ENVELOPE_LIFE_HOURS, 0, number, 512).into_bytes()
}

/// Node 1, with settings of its own.
pub(super) fn config() -> EngineConfig {
    let link_key = key(1).verifying_key().to_bytes();
    EngineConfig { link_key, own: x25519(1), reconcile_on_connect: false, ..EngineConfig::default() }
}

impl Hand<ExactDedup> {
    pub(super) fn new(config: EngineConfig) -> Self {
        Self::with(config, ExactDedup::default())
    }
}

impl<D: Dedup> Hand<D> {
    pub(super) fn with(config: EngineConfig, dedup: D) -> Self {
        let now = Now { mono: 1, unix: START_UNIX_MS };
        let mut hand = Self { engine: Engine::new(config, dedup, [9; 32]), now, timers: BTreeSet::new() };
        hand.outputs();
        hand
    }

    /// Drains the outputs; timers are set, and left out of what is returned.
    fn outputs(&mut self) -> Vec<Output> {
        let (timers, rest): (Vec<_>, Vec<_>) =
            self.engine.outputs().partition(|output| matches!(output, Output::SetTimer(..)));
        for timer in timers {
            if let Output::SetTimer(timer, at) = timer {
                self.timers.insert((at, timer));
            }
        }
        rest
    }

    pub(super) fn input(&mut self, input: Input) -> Vec<Output> {
        self.engine.handle(input, self.now);
        self.outputs()
    }

    pub(super) fn say(&mut self, link: u64, message: &Message) -> Vec<Output> {
        self.input(Input::Batch(LinkId(link), message.encode()))
    }

    pub(super) fn rumor(&mut self, link: u64, envelope: &Bytes) -> Vec<Output> {
        self.input(Input::Batch(LinkId(link), frame(Kind::Rumor, envelope)))
    }

    /// A link to node `number`, whose handshake is complete.
    pub(super) fn up(&mut self, link: u64, number: u8, outgoing: bool) -> Vec<Output> {
        let direction = if outgoing { Direction::Outgoing(addr(number)) } else { Direction::Incoming };
        let handshake_hash = [u8::try_from(link).unwrap(); 32];
        let info = LinkInfo { peer: x25519(number), direction, remote: addr(number), handshake_hash };
        self.input(Input::LinkUp(LinkId(link), info))
    }

    /// A link that takes part.
    pub(super) fn ready(&mut self, link: u64, number: u8, outgoing: bool) {
        self.up(link, number, outgoing);
        self.say(link, &Message::Hello(hello(number)));
        assert!(self.engine.links().any(|(id, _)| id == LinkId(link)));
    }

    pub(super) fn pass(&mut self, span: u64) -> Vec<Output> {
        let end = self.now.mono + span;
        let mut all = Vec::new();
        while let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= end) {
            self.timers.remove(&(at, timer));
            self.now.unix += at.saturating_sub(self.now.mono);
            self.now.mono = self.now.mono.max(at);
            all.extend(self.input(Input::Timer(timer)));
        }
        self.now.unix += end - self.now.mono;
        self.now.mono = end;
        all
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        self.engine.counters().iter().find(|(counter, _)| *counter == name).unwrap().1
    }
}

pub(super) fn closes(outputs: &[Output], link: u64) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Close(id) if *id == LinkId(link)))
}

/// The messages that are sent on a link.
pub(super) fn sent(outputs: &[Output], link: u64) -> Vec<Message> {
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Send(id, frame) if *id == LinkId(link) => Some(frame.clone()),
        _ => None,
    });
    frames.flat_map(Batch::new).map(|raw| Message::decode(&raw.unwrap()).unwrap()).collect()
}

fn accepted(outputs: &[Output]) -> Vec<MsgId> {
    let accepted = outputs.iter().filter_map(|output| match output {
        Output::Accept(accepted) => Some(*accepted.envelope.id()),
        _ => None,
    });
    accepted.collect()
}

#[test]
fn every_kind_of_bad_input_has_its_counter_and_only_faults_close_the_link() {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = live(1).to_vec();
        change(&mut bytes);
        frame(Kind::Rumor, &bytes)
    };
    let expiring = |hours: i64| {
        let expiry = u32::try_from(i64::from(hour()) + hours).unwrap();
        frame(Kind::Rumor, envelope(expiry, 0, 1, 512).bytes())
    };
    let raw = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let record = |change: &dyn Fn(&mut PeerRecord)| {
        let mut record = PeerRecord::sign(&key(7), addr(7), START_UNIX_MS / 1_000);
        change(&mut record);
        Message::Peers(vec![record.encode()]).encode()
    };
    let signed = |addr: &str, at: i64| {
        let at = (START_UNIX_MS / 1_000).saturating_add_signed(at);
        Message::Peers(vec![PeerRecord::sign(&key(7), addr.parse().unwrap(), at).encode()]).encode()
    };
    let life = i64::from(ENVELOPE_LIFE_HOURS);
    let day_s = 24 * 3_600;
    for (name, bytes, closes_link) in [
        ("accepted", with(&|_| {}), false),
        ("bad_size", with(&|bytes| bytes.push(0)), true),
        ("unknown_version", with(&|bytes| bytes[0] = 2), true),
        ("bad_flags", with(&|bytes| bytes[1] = 1), true),
        ("bad_work", with(&|bytes| bytes[62] = 1), true),
        ("accepted", expiring(0), false),
        ("expired", expiring(-1), false),
        ("accepted", expiring(life + 1), false),
        ("from_future", expiring(life + 2), false),
        ("malformed", raw(&[Kind::Rumor as u8, 2]), true),
        ("malformed", raw(&[Kind::Rumor as u8, 2, 0, 1]), true),
        ("malformed", raw(&[Kind::Ping as u8, 0, 1, 1]), true),
        ("oversized", raw(&[Kind::Ping as u8, 0, 9]), true),
        ("oversized", raw(&[Kind::Rumor as u8, 0x80, 1]), true),
        ("unknown_kind", raw(&[99, 0, 0]), true),
        ("second_hello", Message::Hello(hello(2)).encode(), true),
        ("unasked_announcement", Message::PruneAll.encode(), false),
        ("unasked_announcement", Message::IHaveWhole(vec![MsgId([1; 32])]).encode(), false),
        ("chaff", frame(Kind::Chaff, &[0; 100]), false),
        ("peer_record_new", record(&|_| {}), false),
        ("peer_record_forged", record(&|record| record.issued_at += 1), true),
        ("peer_record_malformed", Message::Peers(vec![raw(&[1, 2, 3])]).encode(), false),
        ("peer_record_refused", signed("tcp:127.0.0.1:4000", 0), false),
        ("peer_record_refused", signed("tcp:10.1.1.1:4000", 0), false),
        ("peer_record_refused", signed("tcp:example.org:4000", 0), false),
        ("peer_record_new", signed("tcp:8.9.8.8:4000", -7 * day_s), false),
        ("peer_record_stale", signed("tcp:8.9.8.8:4000", -7 * day_s - 1), false),
        ("peer_record_new", signed("tcp:8.9.8.8:4000", 2 * 3_600), false),
        ("peer_record_stale", signed("tcp:8.9.8.8:4000", 2 * 3_600 + 1), false),
    ] {
        let mut hand = Hand::new(config());
        hand.ready(5, 2, false);
        let before = hand.count(name);
        let outputs = hand.input(Input::Batch(LinkId(5), bytes));
        assert_eq!(hand.count(name), before + 1, "{name}");
        assert_eq!(closes(&outputs, 5), closes_link, "{name}");
        if closes_link {
            assert_eq!(sent(&outputs, 5), [Message::Bye(ByeReason::Fault)], "{name}");
            let down = |output: &Output| matches!(output, Output::Event(EngineEvent::PeerDown(LinkId(5))));
            assert!(outputs.iter().any(down), "{name}");
            assert!(hand.rumor(5, &live(2)).is_empty(), "deaf from then on");
        }
    }
}

#[test]
fn a_hello_is_refused_for_each_thing_that_can_be_wrong_with_it() {
    type Change = fn(&mut Hello);
    let cases: [(&str, Change); 4] = [
        ("hello_version", |hello| (hello.version_min, hello.version_max) = (LINK_VERSION + 1, LINK_VERSION + 2)),
        ("hello_version", |hello| (hello.version_min, hello.version_max) = (0, 0)),
        ("hello_key", |hello| hello.link_key = key(3).verifying_key().to_bytes()),
        ("hello_key", |hello| hello.link_key = [0xff; 32]),
    ];
    for (name, change) in cases {
        let mut hand = Hand::new(config());
        hand.up(5, 2, false);
        let mut hello = hello(2);
        change(&mut hello);
        let outputs = hand.say(5, &Message::Hello(hello));
        assert_eq!(hand.count(name), 1, "{name}");
        assert!(closes(&outputs, 5) && hand.engine.links().next().is_none(), "{name}");
        assert!(!outputs.iter().any(|output| matches!(output, Output::Event(_))), "{name}: it was never up");
    }
    // A newer peer that still speaks this version.
    let mut hand = Hand::new(config());
    hand.up(5, 2, false);
    hand.say(5, &Message::Hello(Hello { version_max: 200, ..hello(2) }));
    assert_eq!(hand.engine.links().count(), 1);
    // Someone else's record.
    let mut hand = Hand::new(config());
    hand.up(5, 2, false);
    let record = Some(PeerRecord::sign(&key(3), addr(3), START_UNIX_MS / 1_000).encode());
    assert!(closes(&hand.say(5, &Message::Hello(Hello { record, ..hello(2) })), 5));
    assert_eq!(hand.count("peer_record_forged"), 1);
}

#[test]
fn hello_comes_first_and_in_time() {
    let mut hand = Hand::new(config());
    let outputs = hand.up(5, 2, false);
    assert!(matches!(&sent(&outputs, 5)[..], [Message::Hello(hello)] if hello.seen_as == addr(2)));
    assert!(closes(&hand.rumor(5, &live(1)), 5));
    assert_eq!(hand.count("no_hello"), 1);

    hand.up(6, 2, false);
    assert!(!closes(&hand.pass(HELLO_TIMEOUT_MS - 1), 6));
    assert!(closes(&hand.pass(1), 6));
    assert_eq!(hand.count("hello_timeout"), 1);
    // Nothing is sent to a link that hasn't said HELLO.
    hand.up(7, 3, false);
    assert!(sent(&hand.input(Input::Publish(live(1))), 7).is_empty());
}

#[test]
fn silence_is_asked_after_and_ends_the_link() {
    let mut hand = Hand::new(config());
    hand.ready(5, 2, false);
    assert!(sent(&hand.pass(PING_AFTER_MS - 1), 5).is_empty());
    let outputs = hand.pass(1);
    assert!(matches!(sent(&outputs, 5)[..], [Message::Ping(_)]));
    assert_eq!(sent(&hand.say(5, &Message::Ping(42)), 5), [Message::Pong(42)]);
    assert!(!closes(&hand.pass(DEAD_AFTER_MS - 1), 5));
    assert!(closes(&hand.pass(1), 5));
    assert_eq!(hand.count("dead_link"), 1);
}

#[test]
fn a_rumor_is_relayed_to_all_others_before_it_is_accepted_and_once() {
    let mut hand = Hand::new(config());
    (2..6).for_each(|n| hand.ready(n.into(), n, n % 2 == 0));
    let outputs = hand.rumor(3, &live(1));
    let links: Vec<_> = outputs
        .iter()
        .map(|output| match output {
            Output::Send(link, frame) => {
                assert_eq!(frame, &super::wire::frame(Kind::Rumor, &live(1)));
                link.0
            }
            Output::Accept(accepted) => {
                assert!(!accepted.synced && accepted.window && accepted.source != 0);
                assert_eq!(accepted.envelope, Hashed::of(live(1)));
                0
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(links, [2, 4, 5, 0]);
    assert!(hand.rumor(4, &live(1)).is_empty());
    assert_eq!((hand.count("accepted"), hand.count("duplicate"), hand.count("relayed")), (1, 1, 3));
    let published = hand.input(Input::Publish(live(2)));
    assert_eq!((published.len(), accepted(&published)), (4, vec![]));
    assert!(hand.rumor(4, &live(2)).is_empty(), "an echo of one's own");
    assert!(hand.input(Input::Publish(live(2).slice(1..))).is_empty());
    assert_eq!((hand.count("published"), hand.count("bad_publish")), (1, 1));
}

#[test]
fn where_somebody_decides_on_relaying_each_envelope_waits_for_its_own_answer() {
    let mut hand = Hand::new(config());
    (2..5).for_each(|n| hand.ready(n.into(), n, n % 2 == 0));
    let id = |n| MsgId::of(&live(n));
    let asked = |outputs: &[Output]| {
        let asked = outputs.iter().filter_map(|output| match output {
            Output::MayRelay { id, size, link } => Some((*id, *size, link.0)),
            _ => None,
        });
        asked.collect::<Vec<_>>()
    };
    let copies = |outputs: &[Output], n| {
        let whole = super::wire::frame(Kind::Rumor, &live(n));
        outputs.iter().filter(|output| matches!(output, Output::Send(_, frame) if *frame == whole)).count()
    };
    hand.input(Input::AskRelays(true));
    for n in 1..=3 {
        let outputs = hand.rumor(3, &live(n));
        assert_eq!(asked(&outputs), [(id(n), 512, 3)]);
        // Kept and read whatever the answer.
        assert_eq!((copies(&outputs, n), accepted(&outputs)), (0, vec![id(n)]));
    }
    assert!(hand.rumor(4, &live(2)).is_empty(), "it is asked about once");
    let outputs = hand.input(Input::Relay { id: id(2), pass: true });
    assert_eq!(copies(&outputs, 2), 2, "in whatever order the answers come");
    assert!(hand.input(Input::Relay { id: id(1), pass: false }).is_empty());
    assert!(hand.input(Input::Relay { id: id(1), pass: true }).is_empty(), "the first answer counts");
    assert_eq!(hand.count("relay_refused"), 1);
    // Its own go out unasked.
    assert_eq!(copies(&hand.input(Input::Publish(live(4))), 4), 3);
    // What still waits goes when nobody decides any more.
    let outputs = hand.input(Input::AskRelays(false));
    assert_eq!(copies(&outputs, 3), 2);
    assert_eq!(copies(&hand.rumor(3, &live(5)), 5), 2);
    // Past the bound nothing waits.
    hand.input(Input::AskRelays(true));
    let most = RELAYS_WAITING_MAX as u64;
    for n in 0..most {
        assert_eq!(asked(&hand.rumor(3, &live(100 + n))).len(), 1);
    }
    let outputs = hand.rumor(3, &live(100 + most));
    assert_eq!((asked(&outputs).len(), copies(&outputs, 100 + most)), (0, 2));
    assert_eq!(hand.count("relay_unasked"), 1);
}

#[test]
fn an_engine_told_what_was_seen_takes_none_of_it_as_new() {
    let mut hand = Hand::new(config());
    let now = hand.now;
    hand.engine.note_seen(&MsgId::of(&live(1)), now);
    hand.ready(5, 2, false);
    assert!(hand.rumor(5, &live(1)).is_empty());
}

#[test]
fn what_may_be_known_waits_for_the_store_within_bounds() {
    let mut hand = Hand::with(EngineConfig { pending_max: 3, ..config() }, AlwaysMaybe);
    hand.ready(5, 2, false);
    hand.ready(6, 3, false);
    for n in 1..=3 {
        let outputs = hand.rumor(5, &live(n));
        assert!(matches!(outputs[..], [Output::Ask(id)] if id == MsgId::of(&live(n))), "{outputs:?}");
    }
    assert!(hand.rumor(6, &live(1)).is_empty(), "asked about already");
    hand.rumor(5, &live(4));
    assert_eq!((hand.count("pending_full"), hand.count("asked"), hand.count("duplicate")), (1, 3, 1));
    assert_eq!(hand.rumor(6, &live(4)).len(), 1, "another link's allowance is its own");

    let id = |n| MsgId::of(&live(n));
    let outputs = hand.input(Input::Known { id: id(1), known: false });
    assert_eq!((sent(&outputs, 6).len(), accepted(&outputs)), (1, vec![id(1)]));
    assert!(hand.input(Input::Known { id: id(2), known: true }).is_empty());
    assert!(hand.input(Input::Known { id: id(2), known: false }).is_empty(), "answered already");
    assert_eq!(hand.rumor(5, &live(5)).len(), 1, "answers make room");
    // The link goes; what came over it stays.
    hand.input(Input::LinkDown(LinkId(5)));
    assert_eq!(accepted(&hand.input(Input::Known { id: id(5), known: false })), [id(5)]);
}

#[test]
fn a_link_that_is_behind_gets_no_rumors_and_then_a_repair() {
    let mut hand = Hand::new(config());
    hand.ready(5, 2, false);
    hand.ready(6, 3, false);
    hand.input(Input::LinkFull(LinkId(5)));
    let outputs = hand.input(Input::Publish(live(1)));
    assert_eq!((sent(&outputs, 5).len(), sent(&outputs, 6).len()), (0, 1));
    assert_eq!((hand.count("link_full"), hand.count("held_back")), (1, 1));
    assert!(!hand.pass(2_000).iter().any(|output| matches!(output, Output::Look(..))));
    hand.input(Input::LinkDrained(LinkId(5)));
    assert_eq!(sent(&hand.input(Input::Publish(live(2))), 5).len(), 1);
    let outputs = hand.pass(2_000);
    let listed = outputs.iter().filter(|output| matches!(output, Output::Look(..))).count();
    assert_eq!(listed, 1, "{outputs:?}");
}

#[test]
fn new_bytes_over_a_links_rate_are_left_to_reconciliation_and_other_links() {
    let mut hand = Hand::new(EngineConfig { novel_bytes_per_s: 515, novel_burst_bytes: 1_030, ..config() });
    hand.ready(5, 2, false);
    hand.ready(6, 3, false);
    assert_eq!(accepted(&hand.rumor(5, &live(1))).len(), 1);
    assert_eq!(accepted(&hand.rumor(5, &live(2))).len(), 1);
    assert!(accepted(&hand.rumor(5, &live(3))).is_empty());
    assert_eq!(hand.count("over_rate"), 1);
    hand.rumor(5, &live(1));
    assert_eq!((hand.count("over_rate"), hand.count("duplicate")), (1, 1), "what is known costs nothing");
    assert_eq!(accepted(&hand.rumor(6, &live(3))).len(), 1, "a copy over another link is new");
    let outputs = hand.pass(1_000);
    assert!(outputs.iter().any(|output| matches!(output, Output::Look(..))), "{outputs:?}");
    assert!(!closes(&outputs, 5), "an honest relay isn't punished for carrying spam");
    assert_eq!(accepted(&hand.rumor(5, &live(4))).len(), 1);
}

#[test]
fn both_ends_keep_the_same_one_of_two_links() {
    // Nodes 1 and 2 dial each other at the same time: links 10 (dialled by 1) and 20 (dialled by 2).
    for order in [[10, 20], [20, 10]] {
        let mut kept = Vec::new();
        for (own, other) in [(1, 2), (2, 1)] {
            let link_key = key(own).verifying_key().to_bytes();
            let mut hand = Hand::new(EngineConfig { link_key, own: x25519(own), ..config() });
            for link in [10, 20] {
                hand.up(link, other, (link == 10) == (own == 1));
            }
            for link in order {
                hand.say(link, &Message::Hello(hello(other)));
            }
            assert_eq!(hand.count("duplicate_link"), 1);
            let links: Vec<_> = hand.engine.links().map(|(id, _)| id).collect();
            kept.push(links);
        }
        assert_eq!(kept[0].len(), 1);
        assert_eq!(kept[0], kept[1], "{order:?}");
    }
}

#[test]
fn a_peer_that_comes_back_takes_the_place_of_its_half_open_link() {
    for (old, new) in [(10, 20), (20, 10)] {
        for outgoing in [false, true] {
            let mut hand = Hand::new(config());
            hand.ready(old, 2, outgoing);
            hand.pass(10_001);
            hand.up(new, 2, outgoing);
            let outputs = hand.say(new, &Message::Hello(hello(2)));
            assert!(closes(&outputs, old));
            assert_eq!(hand.engine.links().map(|(id, _)| id).collect::<Vec<_>>(), [LinkId(new)]);
        }
    }
}

#[test]
fn links_to_oneself_and_too_many_are_closed() {
    let mut hand = Hand::new(EngineConfig { max_links: 2, ..config() });
    assert!(closes(&hand.up(5, 1, true), 5));
    hand.input(Input::LinkDown(LinkId(5)));
    hand.ready(6, 2, false);
    hand.ready(7, 3, false);
    assert!(closes(&hand.up(8, 4, false), 8));
    hand.input(Input::LinkDown(LinkId(8)));
    assert!(!closes(&hand.up(9, 5, true), 9), "what this node dialled itself is welcome");
    assert_eq!((hand.count("self_link"), hand.count("too_many_links")), (1, 1));
}

#[test]
fn what_the_driver_gets_wrong_is_ignored() {
    let mut hand = Hand::new(config());
    let link = LinkId(99);
    for input in [
        Input::LinkDown(link),
        Input::LinkFull(link),
        Input::LinkDrained(link),
        Input::Batch(link, live(1)),
        Input::DialFailed(addr(9)),
        Input::Known { id: MsgId([0; 32]), known: false },
        Input::Found(SessionId(9), Finding::Failed),
        Input::Fetched(SessionId(9), vec![live(1)]),
        Input::Timer(Timer(99)),
        Input::OwnRecord(Some(Bytes::from_static(b"no record"))),
    ] {
        let outputs = hand.input(input);
        assert!(outputs.is_empty(), "{outputs:?}");
    }
    hand.now.mono = 0;
    hand.ready(5, 2, false);
}

#[test]
fn a_peers_view_of_this_node_is_reported_when_it_changes() {
    let mut hand = Hand::new(config());
    let seen = |outputs: &[Output]| {
        outputs.iter().any(|output| matches!(output, Output::Event(EngineEvent::SeenAs(seen)) if *seen == addr(1)))
    };
    hand.up(5, 2, true);
    assert!(seen(&hand.say(5, &Message::Hello(hello(2)))));
    hand.up(6, 3, true);
    assert!(!seen(&hand.say(6, &Message::Hello(hello(3)))));
}

#[test]
fn static_peers_are_dialled_again_with_growing_waits() {
    let private: PeerAddr = "tcp:127.0.0.1:4000".parse().unwrap();
    let mut hand = Hand::new(EngineConfig { static_peers: vec![private.clone()], ..config() });
    let dials = |outputs: &[Output]| outputs.iter().filter(|output| matches!(output, Output::Dial(_))).count();
    assert_eq!(dials(&hand.pass(10)), 1, "a named address may be private");
    let mut waits = Vec::new();
    for _ in 0..9 {
        hand.input(Input::DialFailed(private.clone()));
        let from = hand.now.mono;
        while dials(&hand.pass(100)) == 0 {
            assert!(hand.now.mono - from <= 2 * BACKOFF_MAX_MS);
        }
        waits.push(hand.now.mono - from);
    }
    // Looked at in steps of 100 ms.
    let around = |wait: u64, span: u64| (span * 3 / 4..=span * 5 / 4 + 100).contains(&wait);
    assert!(around(waits[0], BACKOFF_MIN_MS), "{waits:?}");
    assert!(around(waits[8], BACKOFF_MAX_MS), "{waits:?}");
}

#[test]
fn no_message_is_longer_than_a_frame() {
    assert!(Kind::ALL.iter().all(|kind| kind.max_bytes() + 3 <= BATCH_MAX_BYTES));
}
