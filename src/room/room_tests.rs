#![allow(clippy::unwrap_used)]

use super::super::testing::*;
use super::super::*;
use super::*;
use crate::proto::wire::ENVELOPE_SIZES;

#[test]
fn a_member_reads_what_another_says() {
    let (here, there) = (room(1), room(1));
    let sealed = seal_one(&here, &alice(), &mut RoomState::default(), "Hello, study group");
    assert_eq!(sealed.envelope.len(), 512);
    let opened = there.open(&sealed.envelope, NOW_MS).unwrap().unwrap();
    assert_eq!(opened, sealed.opened);
    assert_eq!(opened.body, Body::Text("Hello, study group".to_owned()));
    assert_eq!(opened.from, alice().id());
}

#[test]
fn a_keyring_says_which_room_it_was() {
    let keyring = Keyring::new(vec![room(1), room(2)]);
    let sealed = seal_one(&room(2), &alice(), &mut RoomState::default(), "second");
    assert_eq!(keyring.open(&sealed.envelope, NOW_MS).unwrap().map(|(index, _)| index), Some(1));
    let foreign = seal_one(&room(3), &alice(), &mut RoomState::default(), "third");
    assert_eq!(keyring.open(&foreign.envelope, NOW_MS), Ok(None));
    assert_eq!(keyring.get("room-2").map(|(index, _)| index), Some(1));
    assert!(keyring.get("room-3").is_none());
}

#[test]
fn a_long_text_comes_in_chunks_and_whole_again() {
    let room = room(1);
    let long = "ħ".repeat(MAX_TEXT_BYTES / 2);
    let sealed = room.seal(&alice(), &mut RoomState::default(), &text(&long), NOW_MS, &mut entropy()).unwrap();
    assert_eq!(sealed.len(), MAX_CHUNKS + 1);
    let opened: Vec<_> = sealed.iter().map(|s| room.open(&s.envelope, NOW_MS).unwrap().unwrap()).collect();
    let (manifest, chunks) = opened.split_last().unwrap();
    let mut find = |id: &MsgId| chunks.iter().find(|chunk| chunk.id == *id).cloned();
    assert_eq!(assemble(manifest, &mut find), Ok(Some(long)));
    let mut lacking = |id: &MsgId| chunks[1..].iter().find(|chunk| chunk.id == *id).cloned();
    assert_eq!(assemble(manifest, &mut lacking), Ok(None));
}

#[test]
fn limits_of_a_message_to_be_said() {
    let room = room(1);
    let seal = |message: NewMessage| {
        let mut state = RoomState::default();
        room.seal(&alice(), &mut state, &message, NOW_MS, &mut entropy()).map(|sealed| sealed.len())
    };
    assert_eq!(seal(text("")), Err(SealError::Empty));
    assert_eq!(seal(text("x")), Ok(1));
    assert_eq!(seal(text(&"x".repeat(MAX_TEXT_BYTES))), Ok(MAX_CHUNKS + 1));
    let bytes = MAX_TEXT_BYTES + 1;
    assert_eq!(seal(text(&"x".repeat(bytes))), Err(SealError::TooLong { bytes }));
    assert_eq!(seal(NewMessage { nick: "n".repeat(MAX_NICK_BYTES), ..text("x") }), Ok(1));
    let bytes = MAX_NICK_BYTES + 1;
    assert_eq!(seal(NewMessage { nick: "n".repeat(bytes), ..text("x") }), Err(SealError::NickTooLong { bytes }));
}

#[test]
fn every_class_carries_a_text_and_the_last_one_gives_way_to_chunks() {
    let room = room(1);
    let mut sizes = std::collections::BTreeSet::new();
    let mut largest = 0;
    for length in (1..600).chain((600..34_000).step_by(257)).chain(32_300..32_600) {
        let words = "w".repeat(length);
        let sealed = room.seal(&alice(), &mut RoomState::default(), &text(&words), NOW_MS, &mut entropy()).unwrap();
        for one in &sealed {
            sizes.insert(one.envelope.len());
            assert_eq!(room.open(&one.envelope, NOW_MS).unwrap().as_ref(), Some(&one.opened));
        }
        if sealed.len() == 1 {
            largest = largest.max(length);
        } else {
            assert!(length > largest, "{length} bytes were cut though {largest} fit");
            assert!(sealed.last().unwrap().opened.body.is_shown());
        }
    }
    assert_eq!(sizes.into_iter().collect::<Vec<_>>(), ENVELOPE_SIZES);
    assert!(largest > CHUNK_BYTES);
}

#[test]
fn a_failed_seal_leaves_the_callers_state() {
    let room = room(1);
    let state = RoomState::default();
    let mut attempt = state.clone();
    let early = room.seal(&alice(), &mut attempt, &text("x"), DAY_MS, &mut entropy());
    assert_eq!(early, Err(SealError::NoKey));
    assert_eq!(attempt, state);
}

#[test]
fn a_clock_within_a_day_makes_no_difference() {
    let (here, there) = (room(1), room(1));
    for (sealed_at, read_at) in [(0, 0), (0, 1), (1, 0), (0, 7), (2, 1)] {
        let (sealed_at, read_at) = (NOW_MS + sealed_at * DAY_MS, NOW_MS + read_at * DAY_MS);
        let mut state = RoomState::default();
        let sealed = here.seal(&alice(), &mut state, &text("x"), sealed_at, &mut entropy()).unwrap();
        assert!(there.open(&sealed[0].envelope, read_at).unwrap().is_some(), "{sealed_at} {read_at}");
    }
    // Two days ahead there is no key yet; when the day has come, there is.
    let sealed =
        here.seal(&alice(), &mut RoomState::default(), &text("x"), NOW_MS + 2 * DAY_MS, &mut entropy()).unwrap();
    assert_eq!(there.open(&sealed[0].envelope, NOW_MS), Ok(None));
    assert!(there.open(&sealed[0].envelope, NOW_MS + DAY_MS).unwrap().is_some());
}

#[test]
fn history_opens_years_later() {
    let sealed = seal_one(&room(1), &alice(), &mut RoomState::default(), "long ago");
    let opened = room(1).open(&sealed.envelope, NOW_MS + 3_650 * DAY_MS);
    assert_eq!(opened, Ok(Some(sealed.opened)));
}

#[test]
fn an_invite_from_now_on_shows_nothing_before() {
    let whole = room(1);
    let tomorrow = NOW_MS + DAY_MS;
    let before = seal_one(&whole, &alice(), &mut RoomState::default(), "before");
    let from = whole.from_now_on(tomorrow).unwrap();
    let newcomer = room_of(RoomSpec { access: Access::From(from), ..spec(1) });
    assert_eq!(newcomer.open(&before.envelope, tomorrow), Ok(None));
    let after = whole.seal(&alice(), &mut RoomState::default(), &text("after"), tomorrow, &mut entropy()).unwrap();
    assert_eq!(newcomer.open(&after[0].envelope, tomorrow), Ok(Some(after[0].opened.clone())));
    assert_eq!((newcomer.room_id(), newcomer.tag()), (whole.room_id(), whole.tag()));
    assert!(whole.proof_key().is_some() && newcomer.proof_key().is_none());
    let answer = newcomer.seal(&bob(), &mut RoomState::default(), &text("here"), tomorrow, &mut entropy()).unwrap();
    assert!(whole.open(&answer[0].envelope, tomorrow).unwrap().is_some());
}

#[test]
fn who_reads_from_now_on_has_no_gap_before_the_first_day() {
    let whole = room(1);
    let mut theirs = RoomState::default();
    seal_one(&whole, &alice(), &mut theirs, "before");
    let mut say = |at| whole.seal(&alice(), &mut theirs, &text("x"), at, &mut entropy()).unwrap()[0].opened.clone();
    let (tomorrow, later) = (NOW_MS + DAY_MS, NOW_MS + 2 * DAY_MS);
    let (first, missed, last) = (say(tomorrow), say(later), say(later));
    let newcomer = room_of(RoomSpec { access: Access::From(whole.from_now_on(tomorrow).unwrap()), ..spec(1) });
    let mut state = RoomState::default();
    // It follows one of the day before, which the newcomer can't read.
    assert_eq!(newcomer.note(&mut state, &first, tomorrow, &mut |_| false).missing_now, 0);
    assert_eq!(whole.note(&mut RoomState::default(), &first, tomorrow, &mut |_| false).missing_now, 1);
    // Of what came later there are gaps as everywhere.
    let mut here = |id: &MsgId| *id != missed.id;
    assert_eq!(newcomer.note(&mut state, &last, later, &mut here).missing_now, 1);
    assert_eq!(state.missing(), 1);
}

#[test]
fn an_ephemeral_room_forgets_and_an_archive_does_not() {
    let ephemeral = room_of(RoomSpec { kind: RoomKind::Ephemeral, born_day: 0, ..spec(1) });
    let archive = room_of(RoomSpec { born_day: 0, ..spec(1) });
    let old = seal_one(&archive, &alice(), &mut RoomState::default(), "old");
    let window = u64::from(EPHEMERAL_WINDOW_DAYS) * DAY_MS;

    assert!(ephemeral.open(&old.envelope, NOW_MS).unwrap().is_some());
    let last_day = ephemeral.ratchet(NOW_MS + window).unwrap();
    assert_eq!(last_day.epoch, day_of(NOW_MS));
    assert!(ephemeral.open(&old.envelope, NOW_MS + window).unwrap().is_some(), "still within the window");
    assert!(ephemeral.ratchet(NOW_MS + window).is_none(), "nothing older is left");

    let later = NOW_MS + window + DAY_MS;
    let state = ephemeral.ratchet(later).unwrap();
    assert_eq!(ephemeral.open(&old.envelope, later), Ok(None));
    assert!(archive.ratchet(later).is_none());
    assert!(archive.open(&old.envelope, later).unwrap().is_some());

    // What is stored in the secret's stead reads on after a restart, and proves the room.
    let stored = state.encode("room-1", &storage(), &mut entropy());
    let read = Ratchet::decode(&stored, "room-1", &storage()).unwrap();
    assert!(read == state);
    assert_eq!(Ratchet::decode(&stored, "room-2", &storage()).unwrap_err(), StateError::Sealed);
    let again = room_of(RoomSpec { access: Access::From(read), kind: RoomKind::Ephemeral, ..spec(1) });
    let new = archive.seal(&alice(), &mut RoomState::default(), &text("new"), later, &mut entropy()).unwrap();
    assert!(again.open(&new[0].envelope, later).unwrap().is_some());
    assert_eq!(again.open(&old.envelope, later), Ok(None));
    assert_eq!(again.proof_key(), archive.proof_key());
}

#[test]
fn nothing_prints_a_key() {
    let from = room(1).from_now_on(NOW_MS).unwrap();
    assert_eq!(format!("{:?}", Access::Secret(secret(1))), "Access::Secret(…)");
    assert_eq!(format!("{from:?}"), format!("Ratchet {{ epoch: 10, born_day: {}, .. }}", from.born_day));
    let spec = format!("{:?} {:?}", spec(1), room(1));
    assert!(spec.contains("Access::Secret(…)") && !spec.contains("1, 1, 1"), "{spec}");
}
