#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use super::super::Body;
use super::super::testing::*;
use super::*;

fn message(from: PersonId, at: u16, seq: u64) -> Opened {
    let number = |at: u16| {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&at.to_be_bytes());
        MsgId(id)
    };
    Opened {
        id: number(at),
        from,
        nick: String::new(),
        seq,
        prev: (seq > 0).then(|| number(at - 1)),
        parents: Vec::new(),
        lamport: NOW_MS + u64::from(at),
        time: NOW_MS,
        expiry: 0,
        bot: false,
        reply_to: None,
        body: Body::Text("x".to_owned()),
    }
}

fn person(at: u16) -> PersonId {
    let mut id = [0xee; 32];
    id[..2].copy_from_slice(&at.to_be_bytes());
    PersonId(id)
}

#[test]
fn a_gap_opens_and_closes() {
    let (room, alice) = (room(1), alice());
    let mut theirs = RoomState::default();
    let sealed: Vec<_> = (0..3).map(|at| seal_one(&room, &alice, &mut theirs, &at.to_string()).opened).collect();
    let mut here = HashSet::new();
    let mut state = RoomState::default();
    let mut note = |at: usize, state: &mut RoomState| {
        let noted = state.note(&sealed[at], NOW_MS, &mut |id| here.contains(id));
        here.insert(sealed[at].id);
        noted
    };

    assert_eq!(note(0, &mut state), Noted::default());
    let gap = note(2, &mut state);
    assert_eq!((gap.missing_now, gap.newly_missing, gap.filled), (1, vec![sealed[1].id], false));
    assert_eq!(state.missing(), 1);
    let late = note(1, &mut state);
    assert_eq!((late.missing_now, late.filled, late.late, late.equivocation), (0, true, true, false));
    assert_eq!(state.missing(), 0);
}

#[test]
fn a_reply_follows_what_was_read_and_the_own_last() {
    let room = room(1);
    let (mut alices, mut bobs) = (RoomState::default(), RoomState::default());
    let first = seal_one(&room, &alice(), &mut alices, "first").opened;
    let own = seal_one(&room, &bob(), &mut bobs, "own").opened;
    bobs.note(&first, NOW_MS, &mut |_| true);
    let reply = seal_one(&room, &bob(), &mut bobs, "reply").opened;
    assert_eq!((reply.seq, reply.prev, &reply.parents), (1, Some(own.id), &vec![first.id]));
    assert!(reply.lamport > first.lamport && reply.lamport > own.lamport);
    // What was followed is no head any more.
    let next = seal_one(&room, &bob(), &mut bobs, "next").opened;
    assert_eq!((next.prev, next.parents), (Some(reply.id), Vec::new()));
}

#[test]
fn two_things_under_one_number_are_told() {
    let mut state = RoomState::default();
    let known = &mut |_: &MsgId| true;
    assert!(!state.note(&message(person(1), 10, 4), NOW_MS, known).equivocation);
    assert!(!state.note(&message(person(2), 11, 4), NOW_MS, known).equivocation, "another sender's number");
    assert!(state.note(&message(person(1), 12, 4), NOW_MS, known).equivocation);
    // The next one says that another came before it than the one that is here.
    let mut forked = message(person(1), 13, 5);
    forked.prev = Some(id(99));
    assert!(state.note(&forked, NOW_MS, known).equivocation);
    assert!(!state.note(&message(person(1), 14, 6), NOW_MS, known).equivocation);
}

#[test]
fn an_equal_text_sent_twice_is_two_messages() {
    let mut state = RoomState::default();
    let room = room(1);
    let (one, two) = (seal_one(&room, &alice(), &mut state, "same"), seal_one(&room, &alice(), &mut state, "same"));
    assert_ne!(one.id, two.id);
    assert_eq!((one.opened.seq, two.opened.seq), (0, 1));
    assert!(two.lamport > one.lamport);
}

#[test]
fn nobody_pulls_the_clock_further_than_allowed() {
    let mut state = RoomState::default();
    let mut ahead = message(person(1), 1, 0);
    ahead.lamport = NOW_MS + 5 * MAX_PULL_MS;
    state.note(&ahead, NOW_MS, &mut |_| true);
    assert_eq!(state.next(&person(9), NOW_MS).lamport, NOW_MS + MAX_PULL_MS);
    let mut near = RoomState::default();
    ahead.lamport = NOW_MS + MAX_PULL_MS - 1;
    near.note(&ahead, NOW_MS, &mut |_| true);
    assert_eq!(near.next(&person(9), NOW_MS).lamport, NOW_MS + MAX_PULL_MS);
    // The own clock goes on: the time is the clock again.
    assert_eq!(near.next(&person(9), NOW_MS + 2 * MAX_PULL_MS).lamport, NOW_MS + 2 * MAX_PULL_MS);
    // Set back by a day, it isn't held at what it was.
    assert_eq!(near.next(&person(9), NOW_MS - 86_400_000).lamport, NOW_MS - 86_400_000 + MAX_PULL_MS);
}

#[test]
fn after_a_restored_backup_the_own_numbers_go_on() {
    let me = alice().id();
    let mut state = RoomState::default();
    state.note(&message(me, 7, 5), NOW_MS, &mut |_| true);
    let next = state.next(&me, NOW_MS);
    assert_eq!((next.seq, next.prev), (6, Some(message(me, 7, 5).id)));
    assert!(next.parents.is_empty());
}

#[test]
fn all_tables_are_bounded() {
    let mut state = RoomState::default();
    for at in 1..=2_000_u16 {
        let noted = state.note(&message(person(at), at * 2, 1), NOW_MS, &mut |_| false);
        assert_eq!(noted.missing_now, 1);
        assert_eq!(noted.newly_missing.len(), usize::from(usize::from(at) <= MAX_MISSING));
    }
    assert_eq!(state.missing(), MAX_MISSING);
    assert_eq!(state.heads.len(), MAX_HEADS);
    assert_eq!(state.senders.len(), MAX_SENDERS);
    assert!(state.senders.contains_key(&person(2_000)) && !state.senders.contains_key(&person(1)));
    // The fullest state there is comes back as it was.
    let (tag, key) = (room(1).tag(), storage());
    let stored = state.encode(&tag, &key, &mut entropy());
    assert!(stored.len() < 64 * 1_024, "{} bytes", stored.len());
    assert_eq!(RoomState::decode(&stored, &tag, &key), Ok(state));
}

#[test]
fn a_stored_state_comes_back_and_shows_nothing() {
    let (room, key) = (room(1), storage());
    let mut state = RoomState::default();
    seal_one(&room, &alice(), &mut state, "words");
    let stored = state.encode(&room.tag(), &key, &mut entropy());
    assert_eq!(RoomState::decode(&stored, &room.tag(), &key).as_ref(), Ok(&state));
    let me = alice().id().0;
    assert!(!stored.windows(8).any(|window| me.starts_with(window)));
    assert_eq!(RoomState::decode(&stored, &super::super::testing::room(2).tag(), &key), Err(StateError::Sealed));
    assert_eq!(RoomState::decode(&[], &room.tag(), &key), Err(StateError::Sealed));
}

#[test]
fn another_version_or_form_is_refused() {
    let (tag, key) = (room(1).tag(), storage());
    let decode = |write: &dyn Fn(&mut Writer)| {
        let mut out = Writer::default();
        write(&mut out);
        let stored = key.seal_state(&purpose(&tag), &out.finish(), &mut entropy());
        RoomState::decode(&stored, &tag, &key)
    };
    let write = |out: &mut Writer, heads: usize| {
        out.array(heads);
        for at in 0..heads {
            write_rank(out, &(at as u64, id(1)));
        }
        out.array(0).array(0).array(0);
    };
    let good = |heads: usize| {
        decode(&|out| {
            out.array(8).uint(1).uint(0).uint(0).array(0);
            write(out, heads);
        })
    };
    assert!(good(0).is_ok() && good(MAX_HEADS).is_ok());
    assert_eq!(good(MAX_HEADS + 1), Err(StateError::Malformed));
    let short = |version: u64| {
        decode(&|out| {
            out.array(1).uint(version);
        })
    };
    assert_eq!(short(2), Err(StateError::Version));
    assert_eq!(short(1), Err(StateError::Malformed));
    assert_eq!(decode(&|_| ()), Err(StateError::Malformed));
}

#[test]
fn the_highest_sequence_is_no_overflow() {
    let mut state = RoomState::default();
    state.note(&message(person(1), 1, u64::MAX), NOW_MS, &mut |_| true);
    let noted = state.note(&message(person(1), 3, 5), NOW_MS, &mut |_| true);
    assert!(!noted.equivocation, "an earlier message that comes late");
}
