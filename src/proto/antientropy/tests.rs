//! Sessions against an honest peer, and against ones that aren't.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;
use rumormill_api::{ExpiryRange, LinkId, MsgId, RoomTag, Shelf};

use super::super::sim::{ExactDedup, START_UNIX_MS, envelope};
use super::super::tests::{Hand, closes, config, hour, key, live, sent, x25519};
use super::super::wire::{Message, OpenScope, RECON_MAX_BYTES, ReconBody, Role, SessionRef};
use super::super::*;
use super::session::salted;

const LINK: u64 = 5;
const TAG: RoomTag = RoomTag([4; 16]);

fn initiator(number: u32) -> SessionRef {
    SessionRef { number, sender: Role::Initiator }
}

fn responder(number: u32) -> SessionRef {
    SessionRef { number, sender: Role::Responder }
}

/// An engine, and its store.
struct Party {
    hand: Hand<ExactDedup>,
    store: BTreeMap<MsgId, Bytes>,
    ended: Vec<EngineEvent>,
    synced: usize,
    largest: usize,
}

impl Party {
    fn new(config: EngineConfig, envelopes: impl IntoIterator<Item = Bytes>) -> Self {
        let store = envelopes.into_iter().map(|bytes| (MsgId::of(&bytes), bytes)).collect();
        Self { hand: Hand::new(config), store, ended: Vec::new(), synced: 0, largest: 0 }
    }

    /// Carries out outputs as a store would; returns what is sent.
    fn settle(&mut self, outputs: Vec<Output>) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for output in outputs {
            let next = match output {
                Output::Send(_, frame) => {
                    self.largest = self.largest.max(frame.len());
                    frames.push(frame);
                    continue;
                }
                Output::ListIds(session, _, range) => {
                    let ids = self.store.iter().map(|(id, bytes)| (Envelope::parse(bytes).unwrap().expiry(), *id));
                    let ids = ids.filter(|(expiry, _)| (range.from..=range.to).contains(expiry)).collect();
                    self.hand.input(Input::Ids(session, Some(ids)))
                }
                Output::Fetch(session, _, ids) => {
                    let found = ids.iter().filter_map(|id| self.store.get(id).cloned()).collect();
                    self.hand.input(Input::Fetched(session, found))
                }
                Output::Ask(id) => self.hand.input(Input::Known { id, known: self.store.contains_key(&id) }),
                Output::Accept(accepted) => {
                    assert!(accepted.synced);
                    self.synced += 1;
                    self.store.insert(*accepted.envelope.id(), accepted.envelope.bytes().clone());
                    continue;
                }
                Output::Event(event) => {
                    self.ended.push(event);
                    continue;
                }
                _ => continue,
            };
            frames.extend(self.settle(next));
        }
        frames
    }

    fn take(&mut self, frames: Vec<Bytes>) -> Vec<Bytes> {
        frames
            .into_iter()
            .flat_map(|frame| {
                let outputs = self.hand.input(Input::Batch(LinkId(LINK), frame));
                self.settle(outputs)
            })
            .collect()
    }

    fn pass(&mut self, span: u64) -> Vec<Bytes> {
        let outputs = self.hand.pass(span);
        self.settle(outputs)
    }
}

fn party(own: u8, other: u8, recon_max: u16, envelopes: impl IntoIterator<Item = Bytes>) -> Party {
    let link_key = key(own).verifying_key().to_bytes();
    let config = EngineConfig { link_key, own: x25519(own), recon_max_bytes: recon_max, ..config() };
    let mut party = Party::new(config, envelopes);
    party.hand.ready(LINK, other, own == 1);
    party
}

fn rooms(serve: bool, room: u8) -> Input {
    Input::Rooms(vec![RoomProof { tag: TAG, key: [room; 32], serve }])
}

/// Lets two parties talk until both are silent; returns how many frames it took.
fn talk(a: &mut Party, b: &mut Party, start: Vec<Output>) -> usize {
    let mut to_b = a.settle(start);
    let mut count = 0;
    for _ in 0..100_000 {
        count += to_b.len();
        let mut to_a = b.take(std::mem::take(&mut to_b));
        count += to_a.len();
        to_b = a.take(std::mem::take(&mut to_a));
        if to_b.is_empty() {
            // A pace may hold the next part back.
            let (late_a, late_b) = (a.pass(1_000), b.pass(1_000));
            to_b = late_a;
            to_b.extend(a.take(late_b));
            if to_b.is_empty() {
                return count;
            }
        }
    }
    panic!("no end");
}

fn window() -> Scope {
    Scope::Window(ExpiryRange::ALL)
}

fn sync(party: &mut Party, scope: Scope) -> Vec<Output> {
    party.hand.input(Input::Sync { token: 1, scope, link: None })
}

#[test]
fn either_end_gets_what_it_lacks() {
    for (common, only_a, only_b) in [(0, 0, 0), (10, 0, 0), (0, 3, 0), (0, 0, 3), (100, 1, 1), (3_000, 700, 1_500)] {
        for recon_max in [4_096, RECON_MAX_BYTES as u16] {
            let of = |from: u64, count: u64| (from..from + count).map(live);
            let mut a = party(1, 2, RECON_MAX_BYTES as u16, of(0, common).chain(of(10_000, only_a)));
            let mut b = party(2, 1, recon_max, of(0, common).chain(of(20_000, only_b)));
            let start = sync(&mut a, window());
            talk(&mut a, &mut b, start);
            assert_eq!(a.store.len() as u64, common + only_a + only_b);
            assert_eq!(a.store, b.store, "{common} {only_a} {only_b}");
            assert_eq!((a.synced as u64, b.synced as u64), (only_b, only_a), "nothing twice");
            let end = EngineEvent::SyncEnded { token: 1, answered: 1, failed: 0, received: only_b, missing: 0 };
            assert_eq!(a.ended.last(), Some(&end));
            let ends = a.ended.iter().filter(|event| matches!(event, EngineEvent::SyncEnded { .. })).count();
            assert_eq!(ends, 1);
            assert_eq!(b.hand.count("recon_failed") + a.hand.count("recon_failed"), 0);
        }
    }
}

#[test]
fn an_archive_shows_itself_to_members_only_and_all_refusals_are_alike() {
    let old = || (0..500).map(|n| envelope(hour() - 1_000, 4, n, 512).into_bytes());
    let mut member = party(2, 1, RECON_MAX_BYTES as u16, old());
    let mut asker = party(1, 2, RECON_MAX_BYTES as u16, None);
    asker.hand.input(rooms(true, 7));
    member.hand.input(rooms(true, 7));
    let start = sync(&mut asker, Scope::Archive(TAG));
    assert!(matches!(start[..], [Output::ListIds(_, Shelf::Archive(TAG), ExpiryRange::ALL)]));
    talk(&mut asker, &mut member, start);
    assert_eq!((asker.store.len(), asker.synced), (500, 500));

    let mut answers = Vec::new();
    for rooms in [Input::Rooms(vec![]), rooms(true, 8), rooms(false, 7)] {
        let mut other = party(2, 1, RECON_MAX_BYTES as u16, old());
        other.hand.input(rooms);
        let mut asker = party(1, 2, RECON_MAX_BYTES as u16, None);
        asker.hand.input(self::rooms(true, 7));
        let start = sync(&mut asker, Scope::Archive(TAG));
        let open = asker.settle(start);
        let answer = other.take(open);
        asker.take(answer.clone());
        answers.push(answer);
        let end = EngineEvent::SyncEnded { token: 1, answered: 0, failed: 1, received: 0, missing: 0 };
        assert_eq!(asker.ended.last(), Some(&end));
        assert_eq!(other.hand.count("recon_declined"), 1);
    }
    assert!(answers.iter().all(|answer| answer.len() == 1 && *answer == answers[0]), "{answers:?}");
}

#[test]
fn a_proof_can_be_neither_replayed_nor_reflected() {
    let mut member = party(2, 1, RECON_MAX_BYTES as u16, None);
    member.hand.input(rooms(true, 7));
    let outputs = sync(&mut member, Scope::Archive(TAG));
    let frames = member.settle(outputs);
    let open = match &sent(&[Output::Send(LinkId(LINK), frames[0].clone())], LINK)[..] {
        [Message::Recon(_, open @ ReconBody::Open { .. })] => open.clone(),
        other => panic!("{other:?}"),
    };
    // Back to itself, and over another link of another member.
    assert_eq!(member.take(vec![Message::Recon(initiator(9), open.clone()).encode()]).len(), 1);
    assert_eq!(member.hand.count("recon_declined"), 1);
    let mut third = Party::new(EngineConfig { own: x25519(3), ..config() }, None);
    third.hand.input(rooms(true, 7));
    third.hand.ready(LINK + 1, 2, false);
    third.hand.say(LINK + 1, &Message::Recon(initiator(9), open));
    assert_eq!(third.hand.count("recon_declined"), 1);
}

/// Opens a session at `party` as its peer, and has it list what it holds.
fn open(party: &mut Party, number: u32, message: &[u8]) -> Vec<Bytes> {
    let body = ReconBody::Open {
        scope: OpenScope::Window(ExpiryRange::ALL),
        salt: [6; 32],
        message: Bytes::copy_from_slice(message),
    };
    party.take(vec![Message::Recon(initiator(number), body).encode()])
}

/// The first message of someone who has nothing.
const EMPTY: [u8; 4] = [0x61, 0, 0, 2];

fn empty() -> Vec<u8> {
    [&EMPTY[..], &[0]].concat()
}

#[test]
fn a_peer_that_breaks_the_rules_of_a_session_is_dropped() {
    let good = live(1);
    let unasked = Message::Item(initiator(1), live(2)).encode();
    let recon = |body| Message::Recon(initiator(1), body).encode();
    for (what, messages) in [
        ("a message that is none", vec![recon(ReconBody::Next(Bytes::from_static(b"\x61\x00\x00\x07")))]),
        ("an item that wasn't asked for", vec![unasked]),
        ("an item that is no envelope", vec![Message::Item(initiator(1), good.slice(1..)).encode()]),
        ("served without being asked", vec![recon(ReconBody::Served)]),
        (
            "two GETs at once",
            vec![
                Message::Get(initiator(1), vec![salted(&[6; 32], &MsgId::of(&good))]).encode(),
                Message::Get(initiator(1), vec![[0; 32]]).encode(),
            ],
        ),
        ("two HAVEs at once", vec![recon(ReconBody::Have(vec![[1; 32]])), recon(ReconBody::Have(vec![[2; 32]]))]),
        (
            "comparing after asking",
            vec![Message::Get(initiator(1), vec![[0; 32]]).encode(), recon(ReconBody::Next(empty().into()))],
        ),
    ] {
        let mut party = party(2, 1, RECON_MAX_BYTES as u16, [good.clone()]);
        assert_eq!(open(&mut party, 1, &empty()).len(), 1);
        let mut closed = false;
        for message in messages {
            // What the store is asked stays unanswered, so that a second message finds the first under way.
            let outputs = party.hand.input(Input::Batch(LinkId(LINK), message));
            closed |= closes(&outputs, LINK);
        }
        assert!(closed, "{what}");
        assert_eq!(party.hand.count("recon_fault"), 1, "{what}");
    }
}

#[test]
fn comparing_without_end_is_bounded() {
    let mut party = party(2, 1, RECON_MAX_BYTES as u16, (0..100).map(live));
    open(&mut party, 1, &empty());
    let next = Message::Recon(initiator(1), ReconBody::Next(empty().into())).encode();
    for round in 1.. {
        let outputs = party.hand.input(Input::Batch(LinkId(LINK), next.clone()));
        if closes(&outputs, LINK) {
            assert_eq!(round, ROUNDS_MAX);
            break;
        }
    }
    assert_eq!(party.hand.count("recon_fault"), 1);
}

#[test]
fn claims_that_are_not_served_cost_one_page() {
    // As the initiator: the responder claims a thousand ids and serves none.
    let mut liar = party(2, 1, RECON_MAX_BYTES as u16, (0..1_000).map(live));
    let mut asker = party(1, 2, RECON_MAX_BYTES as u16, None);
    let start = sync(&mut asker, window());
    let mut to_liar = asker.settle(start);
    let mut gets = 0;
    while !to_liar.is_empty() {
        // It can list, and then has nothing to fetch.
        let mut to_asker = Vec::new();
        for frame in std::mem::take(&mut to_liar) {
            let message = sent(&[Output::Send(LinkId(LINK), frame.clone())], LINK);
            if matches!(message[..], [Message::Get(..)]) {
                gets += 1;
                liar.store.clear();
            }
            to_asker.extend(liar.take(vec![frame]));
        }
        to_liar = asker.take(to_asker);
    }
    assert_eq!(gets, 1);
    let end = EngineEvent::SyncEnded { token: 1, answered: 1, failed: 0, received: 0, missing: 1_000 };
    assert_eq!(asker.ended.last(), Some(&end));
    assert_eq!(asker.hand.count("item_missing"), 1_000);

    // As the responder: the initiator announces what it doesn't serve.
    let mut party = party(2, 1, RECON_MAX_BYTES as u16, None);
    open(&mut party, 1, &empty());
    let have = ReconBody::Have((0..200).map(|n| [n; 32]).collect());
    let get = party.take(vec![Message::Recon(initiator(1), have).encode()]);
    assert_eq!(get.len(), 1);
    let answer = party.take(vec![Message::Recon(initiator(1), ReconBody::Served).encode()]);
    assert_eq!(answer, [Message::Recon(responder(1), ReconBody::Taken).encode()]);
    assert_eq!(party.hand.count("item_missing"), 200);
}

#[test]
fn a_sync_ends_once_whatever_happens() {
    let ends = |party: &Party| {
        let ends = party.ended.iter().filter_map(|event| match event {
            EngineEvent::SyncEnded { answered, failed, .. } => Some((*answered, *failed)),
            _ => None,
        });
        ends.collect::<Vec<_>>()
    };
    // Nobody there.
    let mut alone = Party::new(config(), None);
    let outputs = sync(&mut alone, window());
    alone.settle(outputs);
    assert_eq!(ends(&alone), [(0, 0)]);
    // A link that isn't.
    let outputs = alone.hand.input(Input::Sync { token: 1, scope: window(), link: Some(LinkId(77)) });
    alone.settle(outputs);
    assert_eq!(ends(&alone), [(0, 0), (0, 1)]);

    let fresh = || party(1, 2, RECON_MAX_BYTES as u16, [live(1)]);
    // A room that isn't this node's.
    let mut asker = fresh();
    let outputs = sync(&mut asker, Scope::Archive(TAG));
    asker.settle(outputs);
    assert_eq!(ends(&asker), [(0, 1)]);
    // A store that fails.
    let mut asker = fresh();
    let outputs = sync(&mut asker, window());
    let [Output::ListIds(session, ..)] = outputs[..] else { panic!("{outputs:?}") };
    let outputs = asker.hand.input(Input::Ids(session, None));
    asker.settle(outputs);
    assert_eq!(ends(&asker), [(0, 1)]);
    // Silence.
    let mut asker = fresh();
    let outputs = sync(&mut asker, window());
    asker.settle(outputs);
    asker.pass(SILENCE_MS - 1);
    assert_eq!(ends(&asker), []);
    asker.pass(1);
    assert_eq!(ends(&asker), [(0, 1)]);
    // The link goes, or is closed for a fault, with one session under way and another waiting.
    for input in [Input::LinkDown(LinkId(LINK)), Input::Batch(LinkId(LINK), Bytes::from_static(&[99, 0, 0]))] {
        let mut asker = fresh();
        for _ in 0..2 {
            let outputs = sync(&mut asker, window());
            asker.settle(outputs);
        }
        let outputs = asker.hand.input(input);
        asker.settle(outputs);
        asker.hand.input(Input::LinkDown(LinkId(LINK)));
        assert_eq!(ends(&asker), [(0, 1), (0, 1)]);
    }
}

#[test]
fn a_peer_may_open_so_many_sessions_and_no_more() {
    let mut party = party(2, 1, RECON_MAX_BYTES as u16, None);
    let mut answered = 0;
    for number in 0..100 {
        let frames = open(&mut party, number, &empty());
        answered += usize::from(frames != [Message::Recon(responder(number), ReconBody::Decline).encode()]);
    }
    assert_eq!(answered, 32);
    assert_eq!(party.hand.count("recon_declined"), 100 - 32);
    party.pass(5_000);
    assert_ne!(open(&mut party, 200, &empty()), [Message::Recon(responder(200), ReconBody::Decline).encode()]);
}

#[test]
fn what_has_expired_meanwhile_is_neither_listed_nor_taken_on_the_window() {
    let stale = envelope(hour() - 1, 0, 1, 512).into_bytes();
    let mut holder = party(2, 1, RECON_MAX_BYTES as u16, [stale.clone(), live(2)]);
    let mut asker = party(1, 2, RECON_MAX_BYTES as u16, None);
    let start = sync(&mut asker, window());
    talk(&mut asker, &mut holder, start);
    assert_eq!(asker.store.len(), 1);
    // A holder whose clock is behind serves it; it isn't taken.
    let mut holder = party(2, 1, RECON_MAX_BYTES as u16, [stale]);
    holder.hand.now.unix = START_UNIX_MS - 3_600_000;
    let mut asker = party(1, 2, RECON_MAX_BYTES as u16, None);
    let start = sync(&mut asker, window());
    talk(&mut asker, &mut holder, start);
    assert_eq!((asker.store.len(), asker.hand.count("item_expired")), (0, 1));
}

#[test]
fn messages_of_sessions_that_are_over_are_no_fault() {
    let mut party = party(2, 1, RECON_MAX_BYTES as u16, None);
    for message in [
        Message::Recon(initiator(1), ReconBody::Done),
        Message::Recon(responder(1), ReconBody::Served),
        Message::Get(initiator(1), vec![[0; 32]]),
        Message::Item(responder(1), live(1)),
    ] {
        assert!(party.take(vec![message.encode()]).is_empty());
    }
    assert_eq!(party.hand.count("recon_stray"), 4);
    assert_eq!(party.hand.engine.links().count(), 1);
}

#[test]
fn frames_stay_within_what_a_frame_may_hold() {
    let mut a = party(1, 2, RECON_MAX_BYTES as u16, (0..20_000).map(live));
    let mut b = party(2, 1, RECON_MAX_BYTES as u16, (0..4_000).map(|n| live(100_000 + n)));
    let start = sync(&mut a, window());
    talk(&mut a, &mut b, start);
    assert_eq!(a.store.len(), 24_000);
    assert_eq!(b.store.len(), 24_000);
    assert!(a.largest.max(b.largest) <= rumormill_api::transport::BATCH_MAX_BYTES);
}
