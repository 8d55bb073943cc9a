//! Adaptive dissemination, one engine driven by hand.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use rumormill_api::{LinkId, MsgId};

use super::super::sim::{ExactDedup, envelope};
use super::super::tests::{Hand, config, hello, hour, live, sent};
use super::super::wire::{Hello, IHAVE_MAX_IDS, Kind, Message, ShortId, frame, short_id};
use super::super::{Dissemination, EAGER, EngineConfig, Input, Output};
use super::*;

/// The key of the peers in these tests.
const KEY: [u8; 16] = [7; 16];

fn adaptive(eager: u8) -> EngineConfig {
    EngineConfig { dissemination: Dissemination::Adaptive { eager }, ..config() }
}

/// A node with links 2, 3, … to as many peers that take announcements.
fn hand(config: EngineConfig, links: u8) -> Hand<ExactDedup> {
    let mut hand = Hand::new(config);
    for number in 2..2 + links {
        hand.ready(number.into(), number, number % 2 == 0);
        hand.say(number.into(), &Message::Salt(KEY));
    }
    hand
}

fn theirs(envelope: &Bytes) -> ShortId {
    short_id(&KEY, &MsgId::of(envelope))
}

fn ours(hand: &Hand<ExactDedup>, envelope: &Bytes) -> ShortId {
    short_id(&hand.engine.announcement_key().unwrap(), &MsgId::of(envelope))
}

/// The links that get an envelope in full.
fn full(outputs: &[Output], envelope: &Bytes) -> Vec<u64> {
    let whole = frame(Kind::Rumor, envelope);
    let links = outputs.iter().filter_map(|output| match output {
        Output::Send(link, frame) if *frame == whole => Some(link.0),
        _ => None,
    });
    links.collect()
}

/// Lets time pass, and returns what is said on a link meanwhile.
fn said(hand: &mut Hand<ExactDedup>, ms: u64, link: u64) -> Vec<Message> {
    sent(&hand.pass(ms), link)
}

/// Has the peer of link `to` prune what comes by link `from`, until it is only announced. Uses up envelopes from
/// `number` times a million.
fn prune(hand: &mut Hand<ExactDedup>, from: u64, to: u64, number: u64) {
    for number in number * 1_000_000.. {
        let envelope = live(number);
        if !full(&hand.rumor(from, &envelope), &envelope).contains(&to) {
            break;
        }
        assert!(number % 1_000_000 < 10, "it is pruned soon");
        let short = ours(hand, &envelope);
        hand.say(to, &Message::Prune(vec![short]));
    }
    hand.pass(2 * REVIEW_AFTER_MS);
}

#[test]
fn a_peer_of_version_2_is_told_the_key_and_one_of_version_1_is_flooded() {
    let mut hand = Hand::new(adaptive(2));
    hand.up(5, 2, false);
    let outputs = hand.say(5, &Message::Hello(hello(2)));
    let ping = Message::Ping(hand.now.mono);
    assert_eq!(sent(&outputs, 5), [Message::Salt(hand.engine.announcement_key().unwrap()), ping]);
    hand.up(6, 3, false);
    let old = Hello { version_min: 1, version_max: 1, ..hello(3) };
    assert_eq!(sent(&hand.say(6, &Message::Hello(old)), 6), []);
    hand.ready(7, 4, false);
    hand.say(7, &Message::Salt(KEY));
    // Whatever it says: without a key it can't be told of anything but by full copies.
    for n in 0..20 {
        hand.rumor(7, &live(n));
        let short = ours(&hand, &live(n));
        hand.say(6, &Message::Prune(vec![short]));
    }
    assert_eq!(full(&hand.rumor(7, &live(20)), &live(20)), [5, 6]);

    let mut hand = Hand::new(config());
    hand.up(5, 2, false);
    assert_eq!(sent(&hand.say(5, &Message::Hello(hello(2))), 5), [], "who floods takes no announcements");
    hand.say(5, &Message::IHave(0, vec![1]));
    assert_eq!(hand.count("unasked_announcement"), 1);
}

#[test]
fn copies_past_the_wanted_ones_are_answered_with_prune_once_each() {
    for eager in [1, EAGER, 3] {
        let mut hand = hand(adaptive(eager), 6);
        for link in 2..=6 {
            hand.rumor(link, &live(1));
        }
        hand.rumor(6, &live(1));
        let outputs = hand.pass(ANNOUNCE_AFTER_MS);
        for link in 2..=7 {
            let surplus = (2 + u64::from(eager)..=6).contains(&link);
            let expected = if surplus { vec![Message::Prune(vec![theirs(&live(1))])] } else { vec![] };
            assert_eq!(sent(&outputs, link), expected, "link {link} of {eager} eager");
        }
    }
}

#[test]
fn a_pruned_pair_announces_and_own_envelopes_go_to_every_link() {
    let mut hand = hand(adaptive(2), 3);
    prune(&mut hand, 2, 3, 1);
    let outputs = hand.rumor(2, &live(2));
    assert_eq!(full(&outputs, &live(2)), [4]);
    assert_eq!(said(&mut hand, ANNOUNCE_AFTER_MS - 1, 3), []);
    assert_eq!(said(&mut hand, 1, 3), [Message::IHave(1, vec![theirs(&live(2))])]);
    assert_eq!(full(&hand.rumor(4, &live(3)), &live(3)), [2, 3], "what comes by another link isn't concerned");
    assert_eq!(full(&hand.input(Input::Publish(live(4))), &live(4)), [2, 3, 4]);
    hand.rumor(2, &live(5));
    hand.rumor(2, &live(6));
    let ids = [5, 6].map(|n| theirs(&live(n))).to_vec();
    assert_eq!(said(&mut hand, ANNOUNCE_AFTER_MS, 3), [Message::IHave(2, ids)], "gathered, and numbered on");
}

#[test]
fn who_is_known_to_have_an_envelope_is_neither_sent_nor_announced_it() {
    let mut hand = hand(adaptive(2), 3);
    let short = ours(&hand, &live(1));
    hand.say(3, &Message::IHave(0, vec![short]));
    assert_eq!(full(&hand.rumor(2, &live(1)), &live(1)), [4]);
    assert_eq!(said(&mut hand, ANNOUNCE_AFTER_MS, 3), []);
}

#[test]
fn a_full_message_of_announcements_goes_out_at_once() {
    let mut hand = hand(EngineConfig { novel_burst_bytes: 1 << 30, ..adaptive(2) }, 2);
    prune(&mut hand, 2, 3, 1);
    for n in 1..IHAVE_MAX_IDS as u64 {
        assert_eq!(sent(&hand.rumor(2, &live(n)), 3), []);
    }
    let outputs = hand.rumor(2, &live(IHAVE_MAX_IDS as u64));
    assert!(matches!(&sent(&outputs, 3)[..], [Message::IHave(1, ids)] if ids.len() == IHAVE_MAX_IDS));
}

#[test]
fn what_was_announced_and_stays_away_is_asked_for_from_one_announcer_after_the_other() {
    let mut hand = hand(adaptive(2), 3);
    let short = ours(&hand, &live(1));
    hand.say(2, &Message::IHave(10, vec![short]));
    hand.say(3, &Message::IHave(20, vec![short ^ 1, short]));
    hand.say(3, &Message::IHave(22, vec![short]));
    let mut asked = Vec::new();
    for _ in 0..100 {
        let outputs = hand.pass(100);
        for link in [2, 3] {
            asked.extend(sent(&outputs, link).into_iter().map(|message| (link, message)));
        }
    }
    let iwant = |link, number| (link, Message::IWant(vec![number]));
    let of_this: Vec<_> = asked.iter().filter(|(_, message)| *message != Message::IWant(vec![20])).cloned().collect();
    assert_eq!(of_this[..2], [iwant(2, 10), iwant(3, 21)]);
    assert_eq!(hand.count("iwant_sent"), 3);
    assert_eq!(hand.count("pull_failed"), 2);
    // Both were left unserved as often; then the one that serves is asked first.
    let outputs = hand.rumor(3, &live(1));
    assert_eq!((full(&outputs, &live(1)), hand.count("accepted")), (vec![2, 4], 1));
}

#[test]
fn what_is_asked_for_and_comes_was_late_and_is_relayed() {
    let mut hand = hand(adaptive(2), 3);
    let short = ours(&hand, &live(1));
    hand.say(2, &Message::IHave(10, vec![short]));
    hand.say(4, &Message::IHave(3, vec![short]));
    assert_eq!(said(&mut hand, 300, 2), [Message::IWant(vec![10])]);
    assert_eq!(hand.count("iwant_sent"), 1);
    assert_eq!(full(&hand.rumor(2, &live(1)), &live(1)), [3], "not to the other announcer");
    assert_eq!(hand.count("pulled"), 1);
    hand.pass(10_000);
    assert_eq!(hand.count("iwant_sent"), 1, "nobody else is asked");
}

#[test]
fn an_announcement_is_served_once_and_turns_its_pair_eager() {
    let mut hand = hand(adaptive(2), 3);
    prune(&mut hand, 2, 3, 1);
    hand.rumor(2, &live(2));
    hand.say(3, &Message::IWant(vec![1]));
    assert_eq!(hand.count("iwant_void"), 1, "it isn't told of yet");
    hand.pass(ANNOUNCE_AFTER_MS);
    assert_eq!(full(&hand.say(3, &Message::IWant(vec![1, 2, 1])), &live(2)), [3]);
    assert_eq!((hand.count("iwant_served"), hand.count("iwant_void"), hand.count("grafted")), (1, 3, 1));
    assert_eq!(full(&hand.say(4, &Message::IWant(vec![1])), &live(2)), [0; 0], "it was another's announcement");
    assert_eq!(full(&hand.rumor(2, &live(3)), &live(3)), [3, 4]);
}

#[test]
fn what_a_link_is_served_has_a_rate() {
    let mut hand = hand(EngineConfig { novel_burst_bytes: 1 << 30, ..adaptive(2) }, 2);
    prune(&mut hand, 2, 3, 1);
    let numbers: Vec<_> = (1..=1_000).collect();
    for n in &numbers {
        hand.rumor(2, &envelope(hour() + 100, 0, (*n).into(), 4_096).into_bytes());
    }
    hand.pass(ANNOUNCE_AFTER_MS);
    let served = hand.say(3, &Message::IWant(numbers.clone())).len();
    assert!((100..200).contains(&served), "{served}: half a mebibyte at once");
    assert_eq!(hand.count("iwant_limited"), 1_000 - served as u64);
    hand.pass(1_000);
    assert!(!hand.say(3, &Message::IWant(numbers)).is_empty(), "what was put off can be asked for again");
}

#[test]
fn graft_of_one_and_of_all() {
    let mut hand = hand(adaptive(2), 4);
    for from in [2, 4, 5] {
        prune(&mut hand, from, 3, from);
        assert!(!full(&hand.rumor(from, &live(10 + from)), &live(10 + from)).contains(&3));
    }
    // Of those that came by link 2, most were lacking: that is enough.
    let mut shorts = vec![99];
    for n in 20..30 {
        hand.rumor(2, &live(n));
        shorts.push(ours(&hand, &live(n)));
    }
    hand.say(3, &Message::Graft(shorts));
    assert!(full(&hand.rumor(2, &live(40)), &live(40)).contains(&3));
    assert!(!full(&hand.rumor(4, &live(41)), &live(41)).contains(&3));
    hand.say(3, &Message::Graft(vec![]));
    assert!(full(&hand.rumor(4, &live(42)), &live(42)).contains(&3));
    assert_eq!((hand.count("grafted"), hand.count("grafted_all")), (1, 1));
    hand.pass(WANTED_ALL_EVERY_MS - 1);
    hand.say(3, &Message::Graft(vec![]));
    assert_eq!(hand.count("grafted_all"), 1, "not so often");
    hand.pass(1);
    hand.say(3, &Message::Graft(vec![]));
    assert_eq!(hand.count("grafted_all"), 2);
}

#[test]
fn whoever_had_too_few_copies_asks_an_announcer_for_full_ones() {
    let mut hand = hand(adaptive(2), 3);
    hand.rumor(2, &live(1));
    hand.rumor(2, &live(2));
    hand.rumor(3, &live(2));
    hand.rumor(2, &live(3));
    let short = [1, 2].map(|n| ours(&hand, &live(n)));
    hand.say(4, &Message::IHave(0, short.to_vec()));
    let grafts = |outputs: &[Output], link| {
        let grafts = sent(outputs, link).into_iter().filter(|message| matches!(message, Message::Graft(_)));
        grafts.collect::<Vec<_>>()
    };
    assert_eq!(grafts(&hand.pass(REVIEW_AFTER_MS - 1), 4), []);
    let outputs = hand.pass(1 + ANNOUNCE_AFTER_MS);
    assert_eq!(grafts(&outputs, 4), [Message::Graft(vec![theirs(&live(1))])]);
    assert_eq!((grafts(&outputs, 2), grafts(&outputs, 3)), (vec![], vec![]));
    assert_eq!(hand.count("grafts_sent"), 1);
}

#[test]
fn a_first_copy_that_is_much_later_than_an_announcement_asks_its_announcer_for_full_ones() {
    for (late_by, asked) in [(LATE_AFTER_MS - 1, false), (LATE_AFTER_MS, true)] {
        let mut hand = hand(adaptive(2), 3);
        let short = ours(&hand, &live(1));
        hand.say(4, &Message::IHave(0, vec![short]));
        hand.pass(late_by);
        hand.rumor(2, &live(1));
        hand.rumor(3, &live(1));
        let graft = Message::Graft(vec![theirs(&live(1))]);
        let said = said(&mut hand, 2 * REVIEW_AFTER_MS, 4);
        assert_eq!(said.iter().filter(|message| **message == graft).count(), usize::from(asked), "{said:?}");
    }
}

#[test]
fn a_node_that_had_to_ask_for_many_wants_everything_and_prunes_nothing_for_a_while() {
    for (late, trouble) in [(15, false), (16, true)] {
        let mut hand = hand(adaptive(2), 4);
        for n in 0..late {
            let short = ours(&hand, &live(n));
            hand.say(2, &Message::IHave(u32::try_from(n).unwrap(), vec![short]));
            hand.pass(300);
            hand.rumor(2, &live(n));
        }
        assert_eq!(hand.count("pulled"), late);
        for n in late..64 {
            hand.rumor(3, &live(n));
        }
        let outputs = hand.pass(REVIEW_AFTER_MS);
        let everything = |link| sent(&outputs, link).contains(&Message::Graft(vec![]));
        assert_eq!((2..=5).map(everything).collect::<Vec<_>>(), [trouble; 4], "{late} late");
        assert_eq!(hand.count("fell_back"), u64::from(trouble));
        let pruned = |hand: &mut Hand<ExactDedup>, n| {
            (2..=4).for_each(|link| drop(hand.rumor(link, &live(n))));
            said(hand, ANNOUNCE_AFTER_MS, 4).iter().any(|message| matches!(message, Message::Prune(_)))
        };
        assert_eq!(pruned(&mut hand, 1_000), !trouble);
        hand.pass(FLOODED_FOR_MS);
        assert!(pruned(&mut hand, 1_001), "then it learns again");
    }
}

#[test]
fn a_burst_of_late_ones_is_trouble_only_if_it_goes_on() {
    // When the last of the late ones comes after the first, if it is one.
    for (apart, trouble) in [(Some(LATE_OVER_MS - 1), false), (Some(LATE_OVER_MS), true), (None, false)] {
        let mut hand = hand(adaptive(2), 4);
        for n in 0..65 {
            let short = ours(&hand, &live(n));
            hand.say(2, &Message::IHave(u32::try_from(n).unwrap(), vec![short]));
        }
        hand.pass(300);
        (0..64).for_each(|n| drop(hand.rumor(2, &live(n))));
        hand.pass(apart.unwrap_or(LATE_OVER_MS));
        if apart.is_some() {
            hand.rumor(2, &live(64));
        }
        hand.rumor(3, &live(1_000));
        assert_eq!(hand.count("pulled"), 64 + u64::from(apart.is_some()));
        hand.pass(REVIEW_AFTER_MS);
        assert_eq!(hand.count("fell_back"), u64::from(trouble), "{apart:?} apart");
    }
}

#[test]
fn who_has_measured_nothing_waits_by_the_slowest_links_round_trip() {
    // When the PONGs of 2 and 3 come.
    for (spans, wait) in [([1, 2], 20), ([2, 10], 30), ([83, 100], 250), ([5, 84], 250)] {
        let mut hand = hand(adaptive(2), 3);
        let pinged = hand.now.mono;
        for (link, span) in (2..).zip(spans) {
            hand.pass(pinged + span - hand.now.mono);
            hand.say(link, &Message::Pong(pinged));
        }
        // None of these answers a PING.
        for (link, number) in [(2, pinged), (2, hand.now.mono), (4, pinged + 1), (4, 0), (4, u64::MAX)] {
            hand.say(link, &Message::Pong(number));
        }
        hand.say(4, &Message::IHave(0, vec![1]));
        assert_eq!(said(&mut hand, wait - 1, 4), [], "{spans:?}");
        assert_eq!(said(&mut hand, 1, 4), [Message::IWant(vec![0])], "{spans:?}");
    }
}

#[test]
fn announcements_are_waited_for_up_to_a_bound_for_each_link() {
    let mut hand = hand(EngineConfig { pending_max: 3, ..adaptive(2) }, 3);
    hand.say(2, &Message::IHave(0, vec![1, 2, 3]));
    assert_eq!(hand.count("waits_full"), 0);
    hand.say(2, &Message::IHave(3, vec![4]));
    assert_eq!(hand.count("waits_full"), 1);
    hand.say(3, &Message::IHave(0, vec![4]));
    assert_eq!(hand.count("waits_full"), 1, "another link's bound is its own");
    hand.pass(20_000);
    assert_eq!(hand.count("pull_failed"), 4);
    hand.say(2, &Message::IHave(4, vec![5, 6, 7]));
    assert_eq!(hand.count("waits_full"), 1, "what was given up makes room");
}

#[test]
fn a_link_that_is_behind_is_told_of_what_it_missed_once_it_has_drained() {
    let mut hand = hand(adaptive(2), 2);
    hand.input(Input::LinkFull(LinkId(3)));
    assert_eq!(full(&hand.rumor(2, &live(1)), &live(1)), [0; 0]);
    assert_eq!(said(&mut hand, 1_000, 3), []);
    let outputs = hand.input(Input::LinkDrained(LinkId(3)));
    assert_eq!(sent(&outputs, 3), [Message::IHave(0, vec![theirs(&live(1))])]);
    assert_eq!(full(&hand.say(3, &Message::IWant(vec![0])), &live(1)), [3]);
    // More than a message holds is left to repair.
    hand.input(Input::LinkFull(LinkId(3)));
    let many = IHAVE_MAX_IDS as u64 + 1;
    (0..many).for_each(|n| drop(hand.rumor(2, &live(100 + n))));
    assert_eq!(hand.count("held_back"), many - 1);
    let outputs = hand.input(Input::LinkDrained(LinkId(3)));
    assert!(matches!(&sent(&outputs, 3)[..], [Message::IHave(_, ids)] if ids.len() == 1));
}

#[test]
fn a_link_in_the_place_of_an_earlier_one_inherits_nothing() {
    let mut hand = hand(adaptive(2), 3);
    prune(&mut hand, 2, 3, 1);
    let short = ours(&hand, &live(2));
    hand.say(3, &Message::IHave(0, vec![short]));
    hand.input(Input::LinkDown(LinkId(3)));
    hand.ready(9, 9, false);
    hand.say(9, &Message::Salt(KEY));
    assert_eq!(full(&hand.rumor(2, &live(2)), &live(2)), [4, 9]);
    assert_eq!(hand.count("iwant_sent"), 0);
    hand.pass(10_000);
    assert_eq!(hand.count("pull_failed"), 0, "it came");
}
