#![allow(clippy::unwrap_used)]

use super::super::testing::*;
use super::super::*;
use super::*;

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
