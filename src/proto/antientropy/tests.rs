//! Sessions against an honest peer, and against ones that aren't.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use bytes::Bytes;
use rumormill_api::{ExpiryRange, LinkId, MsgId, RoomTag, Shelf};

use super::super::sim::{ExactDedup, START_UNIX_MS, envelope};
use super::super::tests::{Hand, closes, config, hour, key, live, sent, x25519};
use super::super::wire::{
    Message, OpenScope, RECON_MAX_BYTES, ReconBody, Role, Root, SessionRef, TreeEntry, TreeKey, TreeNode,
};
use super::super::*;

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
    order: BTreeSet<TreeKey>,
    /// Evicted.
    gone: Vec<TreeKey>,
    tree: Tree,
    ended: Vec<EngineEvent>,
    synced: usize,
    largest: usize,
    sent: usize,
    /// On which link each frame went.
    on: Vec<LinkId>,
}

impl Party {
    fn new(config: EngineConfig, envelopes: impl IntoIterator<Item = Bytes>) -> Self {
        let store: BTreeMap<_, _> = envelopes.into_iter().map(|bytes| (MsgId::of(&bytes), bytes)).collect();
        let order = store.iter().map(|(id, bytes)| (Envelope::parse(bytes).unwrap().expiry(), *id)).collect();
        Self {
            hand: Hand::new(config),
            store,
            order,
            gone: Vec::new(),
            tree: Tree::default(),
            ended: Vec::new(),
            synced: 0,
            largest: 0,
            sent: 0,
            on: Vec::new(),
        }
    }

    /// Carries out outputs as a store would; returns what is sent.
    fn settle(&mut self, outputs: Vec<Output>) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for output in outputs {
            let next = match output {
                Output::Send(link, frame) => {
                    self.on.push(link);
                    self.largest = self.largest.max(frame.len());
                    self.sent += frame.len();
                    frames.push(frame);
                    continue;
                }
                Output::Look(session, look) => {
                    let mut shelf = Shelved { store: &self.store, order: &self.order, gone: &self.gone };
                    let Ok(finding) = self.tree.answer(&look, &mut shelf);
                    self.hand.input(Input::Found(session, finding))
                }
                Output::Fetch(session, _, ids) => {
                    let found = ids.iter().filter_map(|id| self.store.get(id).cloned()).collect();
                    self.hand.input(Input::Fetched(session, found))
                }
                Output::Ask(id) => self.hand.input(Input::Known { id, known: self.store.contains_key(&id) }),
                Output::Accept(accepted) => {
                    assert!(accepted.synced);
                    self.synced += 1;
                    let key = (accepted.expiry, *accepted.envelope.id());
                    self.tree.touch(key);
                    self.order.insert(key);
                    self.store.insert(key.1, accepted.envelope.bytes().clone());
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

struct Shelved<'a> {
    store: &'a BTreeMap<MsgId, Bytes>,
    order: &'a BTreeSet<TreeKey>,
    gone: &'a [TreeKey],
}

impl Source for Shelved<'_> {
    type Error = Infallible;

    fn ids(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Infallible> {
        Ok(self.order.range(from..=to).take(limit).copied().collect())
    }

    fn gone(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Infallible> {
        Ok(self.gone.iter().filter(|key| (from..=to).contains(*key)).take(limit).copied().collect())
    }

    fn envelope(&mut self, id: &MsgId) -> Option<Bytes> {
        self.store.get(id).cloned()
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
    let [Output::Look(_, look)] = &start[..] else { panic!("{start:?}") };
    assert_eq!((look.shelf, look.range), (Shelf::Archive(TAG), ExpiryRange::ALL));
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
fn a_limited_sync_brings_no_more_than_that_and_the_newest_hours_first() {
    // Sixteen hours with fifty envelopes each: by so many a call, fewer calls than a peer may make at once.
    let old = || (0..800).map(|n| envelope(hour() - 1_000 - n as u32 / 50, 4, n, 512).into_bytes());
    for limit in [1, 49, 50, 51, 399, 799, 800, 801] {
        let mut member = party(2, 1, RECON_MAX_BYTES as u16, old());
        let mut asker = party(1, 2, RECON_MAX_BYTES as u16, None);
        asker.hand.input(rooms(true, 7));
        member.hand.input(rooms(true, 7));
        let (mut held, mut calls) = (0, 0);
        while held < 800 {
            let start = asker.hand.input(Input::SyncNewest { token: 1, room: TAG, limit });
            talk(&mut asker, &mut member, start);
            let came = limit.min(800 - held);
            held += came;
            calls += 1;
            let end = EngineEvent::SyncEnded { token: 1, answered: 1, failed: 0, received: came, missing: 0 };
            assert_eq!(asker.ended.last(), Some(&end), "limit {limit}, call {calls}");
            let from = hour() - 1_000 - u32::try_from(held.div_ceil(50)).unwrap() + 1;
            assert!(asker.order.iter().all(|(expiry, _)| *expiry >= from), "limit {limit}, call {calls}");
            assert_eq!(asker.store.len() as u64, held);
            if limit == 1 && calls == 25 {
                break;
            }
        }
        assert_eq!(asker.hand.engine.links().count() + member.hand.engine.links().count(), 2, "no fault");
    }
}

#[test]
fn a_proof_can_be_neither_replayed_nor_reflected() {
    let mut member = party(2, 1, RECON_MAX_BYTES as u16, None);
    member.hand.input(rooms(true, 7));
    let outputs = sync(&mut member, Scope::Archive(TAG));
    let frames = member.settle(outputs);
    let open = match &sent(&[Output::Send(LinkId(LINK), frames[0].clone())], LINK)[..] {
        [Message::Recon(_, open @ ReconBody::Begin { .. })] => open.clone(),
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

/// Opens a session at `party` as its peer, with a digest of what the peer has, and has it answer.
fn open(party: &mut Party, number: u32, root: Root) -> Vec<Bytes> {
    let scope = OpenScope::Window(ExpiryRange::ALL);
    let body = ReconBody::Begin { scope, takes_only: false, salt: [6; 16], root };
    party.take(vec![Message::Recon(initiator(number), body).encode()])
}

/// What somebody says who has nothing.
const NOTHING: Root = [0; 16];

/// What somebody says who has something that nobody else has.
const OTHER: Root = [1; 16];

fn exchange(held: usize) -> ReconBody {
    let held = (0..held).map(|n| [u8::try_from(n % 256).unwrap(), u8::try_from(n / 256).unwrap(), 0, 0]).collect();
    ReconBody::Exchange(vec![TreeEntry { node: TreeNode::All, held, gone: vec![] }])
}

#[test]
fn a_peer_that_breaks_the_rules_of_a_session_is_dropped() {
    let good = live(1);
    let unasked = |envelope: Bytes| Message::Item(initiator(1), envelope).encode();
    let recon = |body| Message::Recon(initiator(1), body).encode();
    for (what, messages) in [
        ("an item that wasn't asked for", vec![unasked(live(2))]),
        ("an item that wasn't among the wanted", vec![recon(exchange(1)), unasked(live(2))]),
        ("an item that is no envelope", vec![unasked(good.slice(1..))]),
        ("given without being asked", vec![recon(ReconBody::Given)]),
        ("a page of nothing", vec![recon(ReconBody::Page)]),
        ("an exchange while another is served", vec![recon(exchange(0)), recon(exchange(0))]),
        ("asking while an exchange is served", vec![recon(exchange(0)), recon(ReconBody::Ask(vec![TreeNode::All]))]),
        ("a message of link version 1", vec![recon(ReconBody::Next(Bytes::from_static(b"x")))]),
    ] {
        let mut party = party(2, 1, RECON_MAX_BYTES as u16, [good.clone()]);
        assert_eq!(open(&mut party, 1, OTHER).len(), 1);
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
fn a_responder_that_breaks_the_rules_is_dropped() {
    let recon = |body| Message::Recon(responder(0), body).encode();
    let item = |envelope: &Bytes| Message::Item(responder(0), envelope.clone()).encode();
    let hours = |hours: &[u32]| {
        let children = vec![wire::Children::Hours(hours.iter().map(|hour| (*hour, [1; 5])).collect())];
        recon(ReconBody::Children { proof: [0; 32], count: 9, children })
    };
    let life = hour() + wire::ENVELOPE_LIFE_HOURS;
    let nibbles =
        recon(ReconBody::Children { proof: [0; 32], count: 9, children: vec![wire::Children::Nibbles(vec![])] });
    let (mut one, mut two) = (live(1), live(2));
    if MsgId::of(&one) > MsgId::of(&two) {
        std::mem::swap(&mut one, &mut two);
    }
    for (what, messages) in [
        ("children that aren't the node's", vec![nibbles]),
        (
            "children of more than was asked about",
            vec![recon(ReconBody::Children {
                proof: [0; 32],
                count: 0,
                children: vec![wire::Children::Hours(vec![]), wire::Children::Hours(vec![])],
            })],
        ),
        ("a proof where none is due", vec![recon(ReconBody::Same(Some([7; 32])))]),
        ("an item before any exchange", vec![item(&one)]),
        ("an item of another node", vec![hours(&[life - 1]), item(&one)]),
        ("an item twice", vec![hours(&[life]), item(&one), item(&one)]),
        ("items out of order", vec![hours(&[life]), item(&two), item(&one)]),
        ("wanting what wasn't listed", vec![hours(&[life]), recon(ReconBody::Found(vec![0]))]),
        (
            "more pages than may be under way",
            [vec![hours(&[life])], vec![recon(ReconBody::Page); PAGES_AHEAD as usize + 1]].concat(),
        ),
    ] {
        let mut asker = party(1, 2, RECON_MAX_BYTES as u16, None);
        let start = sync(&mut asker, window());
        asker.settle(start);
        let mut closed = false;
        for message in messages {
            let outputs = asker.hand.input(Input::Batch(LinkId(LINK), message));
            closed |= closes(&outputs, LINK);
            // The store answers a comparison, and never that a page is settled.
            let looked = outputs.into_iter().filter(
                |output| !matches!(output, Output::Look(_, look) if matches!(look.question, Question::Settled)),
            );
            asker.settle(looked.collect());
        }
        assert!(closed, "{what}");
        assert_eq!(asker.hand.count("recon_fault"), 1, "{what}");
    }
}

#[test]
fn comparing_without_end_is_bounded() {
    let mut party = party(2, 1, RECON_MAX_BYTES as u16, (0..100).map(live));
    open(&mut party, 1, OTHER);
    let ask = Message::Recon(initiator(1), ReconBody::Ask(vec![TreeNode::All])).encode();
    for round in 1.. {
        let outputs = party.hand.input(Input::Batch(LinkId(LINK), ask.clone()));
        if closes(&outputs, LINK) {
            assert_eq!(round, ROUNDS_MAX);
            break;
        }
        party.settle(outputs);
        party.pass(1);
    }
    assert_eq!(party.hand.count("recon_fault"), 1);
}

#[test]
fn differences_that_lead_to_nothing_cost_a_few_exchanges_and_then_a_pause() {
    // The responder says of every node that it differs, and serves nothing.
    let own = (0..15_000).map(live);
    let mut asker = party(1, 2, wire::RECON_MIN_BYTES as u16, own);
    let scope = window();
    let outputs = asker.hand.input(Input::Sync { token: 1, scope, link: None });
    let mut to_liar = asker.settle(outputs);
    let (mut exchanges, mut bytes) = (0, 0);
    while let Some(frame) = to_liar.pop() {
        bytes += frame.len();
        let [Message::Recon(_, body)] = &sent(&[Output::Send(LinkId(LINK), frame)], LINK)[..] else { panic!() };
        let of = |node: &TreeNode| match node {
            TreeNode::Ids { .. } => wire::Children::Nibbles((0..16).map(|nibble| (nibble, [9; 5])).collect()),
            _ => wire::Children::Hours(vec![(hour() + wire::ENVELOPE_LIFE_HOURS, [9; 5])]),
        };
        let answer = match body {
            ReconBody::Begin { .. } => {
                ReconBody::Children { proof: [0; 32], count: 15_000, children: vec![of(&TreeNode::All)] }
            }
            ReconBody::Ask(nodes) => {
                ReconBody::Children { proof: [0; 32], count: 15_000, children: nodes.iter().map(of).collect() }
            }
            ReconBody::Exchange(_) => {
                exchanges += 1;
                ReconBody::Found(vec![])
            }
            ReconBody::Done => break,
            other => panic!("{other:?}"),
        };
        to_liar = asker.take(vec![Message::Recon(responder(0), answer).encode()]);
    }
    assert_eq!(exchanges, FRUITLESS_MAX);
    assert!(bytes < 128 << 10, "{bytes}");
    assert_eq!(asker.hand.count("recon_fruitless"), 1);
    let end = EngineEvent::SyncEnded { token: 1, answered: 1, failed: 0, received: 0, missing: 0 };
    assert_eq!(asker.ended.last(), Some(&end));
}

/// Someone with one message and two links, to whom it has just become due to compare; and the link that is asked first.
fn due() -> (Party, LinkId) {
    // Longer than anything that follows.
    let config = EngineConfig { recent_every: 300_000, own: x25519(1), ..config() };
    let mut asker = Party::new(config, [live(1)]);
    asker.hand.ready(LINK, 2, false);
    asker.hand.ready(LINK + 1, 3, false);
    let link = begun_within(&mut asker, 375_000).expect("it becomes due");
    (asker, link)
}

/// The link on which a session begins within that time, in which the peers are alive.
fn begun_within(asker: &mut Party, span: u64) -> Option<LinkId> {
    (0..span / 500).find_map(|_| {
        [LINK, LINK + 1].into_iter().for_each(|link| drop(asker.hand.say(link, &Message::Ping(0))));
        asker.on.clear();
        let frames = asker.pass(500);
        let begins = frames.iter().position(|frame| {
            let messages = sent(&[Output::Send(LinkId(LINK), frame.clone())], LINK);
            matches!(messages[..], [Message::Recon(_, ReconBody::Begin { .. })])
        });
        begins.map(|at| asker.on[at])
    })
}

/// What is said to the session of that number on that link leads to.
fn answered(asker: &mut Party, link: LinkId, number: u32, body: ReconBody) -> Vec<(LinkId, Message)> {
    asker.on.clear();
    let outputs = asker.hand.input(Input::Batch(link, Message::Recon(responder(number), body).encode()));
    let frames = asker.settle(outputs);
    let on = asker.on.iter().copied().zip(frames);
    on.flat_map(|(link, frame)| {
        sent(&[Output::Send(link, frame)], link.0).into_iter().map(move |message| (link, message))
    })
    .collect()
}

/// On which link a session is opened.
fn begun(said: &[(LinkId, Message)]) -> Option<LinkId> {
    said.iter().find_map(|(on, message)| matches!(message, Message::Recon(_, ReconBody::Begin { .. })).then_some(*on))
}

#[test]
fn who_fell_silent_is_asked_once_more_after_all_others() {
    let (mut asker, first) = due();
    let asked: Vec<_> =
        std::iter::successors(Some(first), |_| begun_within(&mut asker, SILENCE_MS + 1_000)).take(10).collect();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked[0] != asked[1] && asked[2] != asked[3], "{asked:?}");
}

#[test]
fn while_one_peer_is_quiet_another_is_asked_and_a_late_answer_is_taken_all_the_same() {
    let (mut asker, first) = due();
    let begun = asker.hand.now.mono;
    let second = begun_within(&mut asker, QUIET_MS + 500).expect("another is asked");
    assert_ne!(first, second);
    assert!((QUIET_MS..=QUIET_MS + 500).contains(&(asker.hand.now.mono - begun)), "not before");
    answered(&mut asker, first, 0, ReconBody::Same(None));
    answered(&mut asker, second, 1, ReconBody::Same(None));
    assert_eq!(["recon_failed", "recon_stray", "recon_fault"].map(|name| asker.hand.count(name)), [0; 3]);
    assert_eq!(begun_within(&mut asker, 2 * SILENCE_MS), None, "both hold the same");
}

#[test]
fn what_a_slow_store_keeps_waiting_is_no_peers_fault() {
    let (mut asker, link) = due();
    let children = wire::Children::Hours(vec![(hour() + wire::ENVELOPE_LIFE_HOURS, [9; 5])]);
    let children = ReconBody::Children { proof: [0; 32], count: 2, children: vec![children] };
    // The store is asked to compare, and isn't heard of for a while.
    asker.hand.input(Input::Batch(link, Message::Recon(responder(0), children).encode()));
    assert_eq!(begun_within(&mut asker, SILENCE_MS - 500), None);
}

#[test]
fn who_brought_something_is_compared_with_again_as_is_everyone_else() {
    let theirs = live(2);
    let (mut asker, link) = due();
    let hours = wire::Children::Hours(vec![(hour() + wire::ENVELOPE_LIFE_HOURS, [9; 5])]);
    answered(&mut asker, link, 0, ReconBody::Children { proof: [0; 32], count: 2, children: vec![hours] });
    asker.hand.input(Input::Batch(link, Message::Item(responder(0), theirs).encode()));
    answered(&mut asker, link, 0, ReconBody::Found(Vec::new()));
    let mut again = Vec::new();
    let mut next = begun_within(&mut asker, 1_000);
    while let Some(link) = next {
        again.push(link);
        let said = answered(&mut asker, link, again.len() as u32, ReconBody::Same(None));
        next = begun(&said).or_else(|| begun_within(&mut asker, 2 * CATCH_UP_EVERY_MS));
    }
    again.sort_unstable();
    assert_eq!(again, [LinkId(LINK), LinkId(LINK + 1)], "once each: nothing came");
}

#[test]
fn who_declined_is_not_asked_again() {
    let (mut asker, mut link) = due();
    let mut asked = vec![link];
    for number in 0..4 {
        match &answered(&mut asker, link, number, ReconBody::Decline)[..] {
            [(on, Message::Recon(_, ReconBody::Begin { .. }))] => {
                asked.push(*on);
                link = *on;
            }
            [] => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(asked[..], [first, second] if first != second), "{asked:?}");
}

#[test]
fn who_takes_and_keeps_its_own_to_itself_is_not_the_last_that_is_asked() {
    for (count, another) in [(0, false), (1, true), (2, true)] {
        let (mut asker, link) = due();
        let hours = wire::Children::Hours(vec![(hour() + wire::ENVELOPE_LIFE_HOURS, [9; 5])]);
        let children = ReconBody::Children { proof: [0; 32], count, children: vec![hours] };
        let said = answered(&mut asker, link, 0, children);
        assert!(matches!(said[..], [(_, Message::Recon(_, ReconBody::Exchange(_)))]), "{said:?}");
        let said = answered(&mut asker, link, 0, ReconBody::Found(vec![0]));
        assert!(said.iter().any(|(_, message)| matches!(message, Message::Item(..))), "{said:?}");
        assert_eq!(begun(&said).is_some_and(|on| on != link), another, "{count}: {said:?}");
    }
}

#[test]
fn claims_that_are_not_served_cost_one_exchange() {
    // The initiator has what it doesn't serve.
    let mut party = party(2, 1, RECON_MAX_BYTES as u16, None);
    open(&mut party, 1, OTHER);
    let found = party.take(vec![Message::Recon(initiator(1), exchange(200)).encode()]);
    assert_eq!(found, [Message::Recon(responder(1), ReconBody::Found((0..200).collect())).encode()]);
    party.take(vec![Message::Recon(initiator(1), ReconBody::Given).encode()]);
    assert_eq!(party.hand.count("item_missing"), 200);
    assert_eq!(party.hand.engine.links().count(), 1);
}

#[test]
fn what_was_evicted_is_neither_sent_again_nor_wanted() {
    let all: Vec<_> = (0..2_000).map(live).collect();
    let mut holder = party(2, 1, RECON_MAX_BYTES as u16, all.clone());
    let mut evictor = party(1, 2, RECON_MAX_BYTES as u16, all[..1_500].to_vec());
    evictor.gone =
        all[1_500..].iter().map(|bytes| (Envelope::parse(bytes).unwrap().expiry(), MsgId::of(bytes))).collect();
    evictor.gone.sort_unstable();
    let start = sync(&mut evictor, window());
    talk(&mut evictor, &mut holder, start);
    assert_eq!((evictor.synced, holder.synced), (0, 0));
    let start = sync(&mut holder, window());
    talk(&mut holder, &mut evictor, start);
    assert_eq!((holder.synced, evictor.synced), (0, 0), "the other way round, too");
    assert_eq!(holder.hand.count("item_sent") + evictor.hand.count("item_sent"), 0);
}

#[test]
fn equal_sets_agree_in_a_hundred_bytes() {
    let mut a = party(1, 2, RECON_MAX_BYTES as u16, (0..3_000).map(live));
    let mut b = party(2, 1, RECON_MAX_BYTES as u16, (0..3_000).map(live));
    let start = sync(&mut a, window());
    let frames = talk(&mut a, &mut b, start);
    assert_eq!(frames, 2);
    assert!(a.sent + b.sent <= 100, "{}", a.sent + b.sent);
}

#[test]
fn a_session_of_link_version_1_is_declined() {
    let mut party = party(2, 1, RECON_MAX_BYTES as u16, [live(1)]);
    let open = ReconBody::Open {
        scope: OpenScope::Window(ExpiryRange::ALL),
        salt: [6; 32],
        message: Bytes::from_static(&[0x61, 0, 0, 2, 0]),
    };
    let answer = party.take(vec![Message::Recon(initiator(1), open).encode()]);
    assert_eq!(answer, [Message::Recon(responder(1), ReconBody::Decline).encode()]);
    assert!(party.take(vec![Message::Get(initiator(1), vec![[0; 32]]).encode()]).is_empty());
}

#[test]
fn with_a_peer_of_an_older_link_version_nothing_is_compared() {
    for version in 1..wire::LINK_VERSION {
        let mut old = Party::new(config(), None);
        old.hand.up(LINK, 2, true);
        let hello = wire::Hello { version_min: 1, version_max: version, ..super::super::tests::hello(2) };
        old.hand.say(LINK, &Message::Hello(hello));
        assert_eq!(old.hand.count("recon_old_peer"), 1);
        let start = sync(&mut old, window());
        old.settle(start);
        let end = EngineEvent::SyncEnded { token: 1, answered: 0, failed: 1, received: 0, missing: 0 };
        assert_eq!(old.ended.last(), Some(&end));
        assert_eq!(open(&mut old, 1, OTHER), [Message::Recon(responder(1), ReconBody::Decline).encode()]);
    }
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
    let [Output::Look(session, ..)] = outputs[..] else { panic!("{outputs:?}") };
    let outputs = asker.hand.input(Input::Found(session, Finding::Failed));
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
        let frames = open(&mut party, number, OTHER);
        answered += usize::from(frames != [Message::Recon(responder(number), ReconBody::Decline).encode()]);
    }
    assert_eq!(answered, 32);
    assert_eq!(party.hand.count("recon_declined"), 100 - 32);
    party.pass(5_000);
    assert_ne!(open(&mut party, 200, OTHER), [Message::Recon(responder(200), ReconBody::Decline).encode()]);
}

#[test]
fn who_has_nothing_and_asks_who_has_nothing_is_answered_same() {
    let mut party = party(2, 1, RECON_MAX_BYTES as u16, None);
    assert_eq!(open(&mut party, 1, NOTHING), [Message::Recon(responder(1), ReconBody::Same(None)).encode()]);
}

#[test]
fn what_has_expired_meanwhile_is_neither_listed_nor_taken_on_the_window() {
    let stale = envelope(hour() - 1, 0, 1, 512).into_bytes();
    let mut holder = party(2, 1, RECON_MAX_BYTES as u16, [stale.clone(), live(2)]);
    let mut asker = party(1, 2, RECON_MAX_BYTES as u16, None);
    let start = sync(&mut asker, window());
    talk(&mut asker, &mut holder, start);
    assert_eq!(asker.store.len(), 1);
    // A holder whose clock is behind would serve it; it isn't asked for.
    let mut holder = party(2, 1, RECON_MAX_BYTES as u16, [stale]);
    holder.hand.now.unix = START_UNIX_MS - 3_600_000;
    let mut asker = party(1, 2, RECON_MAX_BYTES as u16, None);
    let start = sync(&mut asker, window());
    talk(&mut asker, &mut holder, start);
    assert_eq!((asker.store.len(), asker.hand.count("recon_fault")), (0, 0));
}

#[test]
fn messages_of_sessions_that_are_over_are_no_fault() {
    let mut party = party(2, 1, RECON_MAX_BYTES as u16, None);
    for message in [
        Message::Recon(initiator(1), ReconBody::Done),
        Message::Recon(responder(1), ReconBody::Found(vec![])),
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
