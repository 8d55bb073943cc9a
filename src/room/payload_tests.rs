#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;
use rumormill_api::CipherSuite;

use super::super::keys::{ChainKey, HOUR_MS, LIFETIME_HOURS, day_of};
use super::super::testing::*;
use super::super::{RoomId, RoomState};
use super::*;
use crate::proto::wire::{ENVELOPE_OVERHEAD_BYTES, ENVELOPE_SIZES};

const ROOM: u8 = 1;

/// The epoch of [`NOW_MS`] in the rooms of the tests.
const EPOCH: u32 = 10;

fn header() -> Header {
    let expiry_hour = u32::try_from(NOW_MS / HOUR_MS).unwrap() + LIFETIME_HOURS;
    Header { version: 1, flags: 0, expiry_hour, nonce: [0x77; 24] }
}

fn place(header: &Header) -> Place<'_> {
    Place { room: RoomId::of(&secret(ROOM)), day: day_of(NOW_MS), epoch: EPOCH, header }
}

/// Seals a plaintext as a member could who doesn't keep to the rules.
fn seal_raw(header: &Header, epoch: u32, mut plaintext: Vec<u8>) -> Bytes {
    let mut chain = ChainKey::start(&secret(ROOM));
    for _ in 0..epoch {
        chain = chain.next();
    }
    let (commitment, tag) = Plain.room(&chain.epoch_key()).seal(header, &mut plaintext);
    Envelope::assemble(header, &commitment, &plaintext, &tag).unwrap().into_bytes()
}

fn seal(payload: &[u8]) -> Bytes {
    seal_raw(&header(), EPOCH, pad(payload).unwrap())
}

fn open(envelope: &Bytes) -> Result<Option<Opened>, Reject> {
    room(ROOM).open(envelope, NOW_MS)
}

fn rejected(payload: &[u8]) -> Reject {
    open(&seal(payload)).unwrap_err()
}

fn message() -> Opened {
    Opened {
        id: id(0),
        from: alice().id(),
        nick: "alice".to_owned(),
        seq: 3,
        prev: Some(id(3)),
        parents: vec![id(1), id(2)],
        lamport: NOW_MS + 1,
        time: NOW_MS,
        expiry: header().expiry_hour,
        bot: true,
        reply_to: Some(id(9)),
        body: Body::Text("words".to_owned()),
    }
}

fn encoded(message: &Opened) -> Vec<u8> {
    encode(message, &place(&header()), &alice())
}

/// A payload of fields that are written by hand, properly signed.
fn signed(count: usize, fields: &[u8]) -> Vec<u8> {
    let signature = alice().sign(&place(&header()).signed(fields));
    let mut out = Writer::default();
    out.map(count).raw(fields).uint(9).bytes(&signature);
    out.finish()
}

/// The fields of [`message`], with what `edit` writes in the place of one.
fn with_field(key: u64, edit: impl Fn(&mut Writer)) -> Vec<u8> {
    let good = message();
    let mut out = Writer::default();
    for at in 0..9 {
        if at == key {
            edit(&mut out);
            continue;
        }
        out.uint(at);
        match at {
            0 => out.bytes(&RoomId::of(&secret(ROOM)).0),
            1 => out.bytes(&good.from.0),
            2 => out.uint(good.seq),
            3 => out.bytes(&id(3).0),
            4 => out.array(2).bytes(&id(1).0).bytes(&id(2).0),
            5 => out.uint(good.lamport),
            6 => out.uint(good.time),
            7 => out.uint(0),
            _ => out.map(4).uint(0).text("alice").uint(1).text("words").uint(2).bool(true).uint(3).bytes(&id(9).0),
        };
    }
    out.finish()
}

#[test]
fn the_hand_written_fields_are_the_encoders() {
    let plain = with_field(99, |_| {});
    assert_eq!(plain, encode_fields(&message(), &RoomId::of(&secret(ROOM))));
    let opened = open(&seal(&signed(10, &plain))).unwrap().unwrap();
    assert_eq!(Opened { id: id(0), ..opened }, message());
}

#[test]
fn a_general_decoder_reads_the_same() {
    let value: ciborium::Value = ciborium::de::from_reader_with_recursion_limit(&encoded(&message())[..], 16).unwrap();
    let map = value.as_map().unwrap();
    let get = |key: u64| map.iter().find(|(k, _)| *k == key.into()).map(|(_, value)| value).unwrap();
    assert_eq!(map.len(), 10);
    assert_eq!(get(1).as_bytes().unwrap()[..], alice().id().0);
    assert_eq!(*get(5), ciborium::Value::from(NOW_MS + 1));
    assert_eq!(get(8).as_map().unwrap()[1].1.as_text(), Some("words"));
    let mut again = Vec::new();
    ciborium::into_writer(&value, &mut again).unwrap();
    assert_eq!(again, encoded(&message()));
}

#[test]
fn each_fault_has_its_name() {
    let field = |key, edit: &dyn Fn(&mut Writer)| signed(10, &with_field(key, edit));
    let plain = with_field(99, |_| {});
    let mut deep = vec![0x81; 40];
    deep.push(0);
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("unknown_field", {
            let mut out = Writer::default();
            out.map(11).raw(&encoded(&message())[1..]).uint(10).uint(0);
            out.finish()
        }),
        (
            "unknown_field",
            field(8, &|out| {
                out.uint(8).map(3).uint(0).text("a").uint(1).text("b").uint(7).uint(0);
            }),
        ),
        (
            "unknown_field",
            field(8, &|out| {
                // A chunk's nick, and a manifest's list in a text.
                out.uint(8).map(3).uint(0).text("a").uint(1).text("b").uint(4).array(0);
            }),
        ),
        (
            "duplicate_field",
            signed(
                11,
                &with_field(2, |out| {
                    out.uint(2).uint(3).uint(2).uint(3);
                }),
            ),
        ),
        ("missing_field", signed(9, &with_field(5, |_| {}))),
        ("missing_field", {
            let mut out = Writer::default();
            out.map(9).raw(&plain);
            out.finish()
        }),
        (
            "too_deep",
            field(8, &|out| {
                out.uint(8).raw(&deep);
            }),
        ),
        ("trailing_bytes", [encoded(&message()), vec![0]].concat()),
        (
            "non_canonical",
            field(2, &|out| {
                // 3 in two bytes.
                out.uint(2).raw(&[0x18, 3]);
            }),
        ),
        (
            "non_canonical",
            field(8, &|out| {
                // A map of indefinite length.
                out.uint(8).raw(&[0xbf, 0, 0x61, b'a', 1, 0x61, b'b', 0xff]);
            }),
        ),
        (
            "non_canonical",
            signed(
                10,
                &with_field(5, |out| {
                    // Fields in another order.
                    out.uint(6).uint(NOW_MS).uint(5).uint(NOW_MS);
                }),
            ),
        ),
        (
            "non_canonical",
            field(4, &|out| {
                out.uint(4).array(2).bytes(&id(2).0).bytes(&id(1).0);
            }),
        ),
        (
            "non_canonical",
            field(4, &|out| {
                out.uint(4).array(2).bytes(&id(1).0).bytes(&id(1).0);
            }),
        ),
        (
            "non_canonical",
            field(4, &|out| {
                out.uint(4).array(0);
            }),
        ),
        (
            "non_canonical",
            field(4, &|out| {
                // The previous message is a parent already.
                out.uint(4).array(1).bytes(&id(3).0);
            }),
        ),
        (
            "non_canonical",
            field(8, &|out| {
                out.uint(8).map(3).uint(0).text("a").uint(1).text("b").uint(2).bool(false);
            }),
        ),
        (
            "too_many_parents",
            field(4, &|out| {
                out.uint(4).array(3).bytes(&id(1).0).bytes(&id(2).0).bytes(&id(4).0);
            }),
        ),
        (
            "bad_payload",
            field(2, &|out| {
                out.uint(2).text("3");
            }),
        ),
        (
            "bad_payload",
            field(2, &|out| {
                // A tag, a float, null.
                out.uint(2).raw(&[0xc1, 3]);
            }),
        ),
        (
            "bad_payload",
            field(2, &|out| {
                out.uint(2).raw(&[0xf9, 0x3c, 0x00]);
            }),
        ),
        (
            "bad_payload",
            field(2, &|out| {
                out.uint(2).raw(&[0xf6]);
            }),
        ),
        (
            "bad_payload",
            field(3, &|out| {
                out.uint(3).bytes(&[3; 31]);
            }),
        ),
        ("bad_payload", signed(9, &with_field(3, |_| {}))),
        (
            "bad_payload",
            field(2, &|out| {
                out.uint(2).uint(0);
            }),
        ),
        (
            "bad_payload",
            field(7, &|out| {
                out.uint(7).uint(3);
            }),
        ),
        (
            "bad_payload",
            field(8, &|out| {
                out.uint(8).map(2).uint(0).text("a").uint(1).text("");
            }),
        ),
        (
            "bad_payload",
            field(8, &|out| {
                out.uint(8).map(2).uint(0).text("a").uint(1).raw(&[0x62, 0xc3, 0x28]);
            }),
        ),
        ("bad_payload", encoded(&message())[..200].to_vec()),
        ("bad_payload", Vec::new()),
        (
            "foreign_room",
            field(0, &|out| {
                out.uint(0).bytes(&RoomId::of(&secret(2)).0);
            }),
        ),
        ("bad_signature", {
            let mut payload = encoded(&message());
            *payload.last_mut().unwrap() ^= 1;
            payload
        }),
        (
            "bad_signature",
            field(1, &|out| {
                out.uint(1).bytes(&bob().id().0);
            }),
        ),
        (
            "expired_epoch",
            field(6, &|out| {
                out.uint(6).uint(NOW_MS - 3 * DAY_MS);
            }),
        ),
        (
            "expired_epoch",
            field(5, &|out| {
                out.uint(5).uint(u64::MAX);
            }),
        ),
    ];
    for (at, (name, payload)) in table.iter().enumerate() {
        assert_eq!(rejected(payload).name(), *name, "row {at}");
    }
}

#[test]
fn names_of_rejects_differ() {
    let names: std::collections::BTreeSet<_> = Reject::ALL.iter().map(|reject| reject.name()).collect();
    assert_eq!(names.len(), Reject::ALL.len());
}

#[test]
fn a_right_commitment_with_a_broken_tag() {
    let good = seal(&encoded(&message()));
    for at in [70, 300, 495, 496, 511] {
        let mut altered = good.to_vec();
        altered[at] ^= 1;
        assert_eq!(open(&altered.into()), Err(Reject::BrokenTag), "byte {at}");
    }
    let mut altered = good.to_vec();
    altered[40] ^= 1;
    assert_eq!(open(&altered.into()), Ok(None), "another commitment is another room's");
}

#[test]
fn what_is_no_envelope() {
    let good = seal(&encoded(&message()));
    for (at, value) in [(0, 0), (0, 2), (1, 1), (62, 1), (69, 1)] {
        let mut altered = good.to_vec();
        altered[at] = value;
        assert_eq!(open(&altered.into()), Err(Reject::BadEnvelope), "byte {at}");
    }
    for size in [0, 1, 511, 513, 768] {
        let mut other = good.to_vec();
        other.resize(size, 0);
        assert_eq!(open(&other.into()), Err(Reject::BadEnvelope), "{size} bytes");
    }
}

#[test]
fn padding_is_the_smallest_and_zero() {
    let payload = encoded(&message());
    let padded = pad(&payload).unwrap();
    let reject = |plaintext: Vec<u8>| open(&seal_raw(&header(), EPOCH, plaintext)).unwrap_err();

    let mut dirty = padded.clone();
    *dirty.last_mut().unwrap() = 1;
    assert_eq!(reject(dirty), Reject::BadPadding);
    let mut larger = padded.clone();
    larger.resize(1_024 - ENVELOPE_OVERHEAD_BYTES, 0);
    assert_eq!(reject(larger), Reject::BadPadding);
    let mut overlong = padded;
    overlong[..2].copy_from_slice(&u16::MAX.to_be_bytes());
    assert_eq!(reject(overlong), Reject::BadPadding);
}

#[test]
fn every_class_is_used_to_its_last_byte() {
    for size in ENVELOPE_SIZES {
        let most = size - ENVELOPE_OVERHEAD_BYTES - LENGTH_BYTES;
        assert_eq!(pad(&vec![7; most]).unwrap().len(), size - ENVELOPE_OVERHEAD_BYTES);
        let next = ENVELOPE_SIZES.iter().find(|&&next| next > size).map(|next| next - ENVELOPE_OVERHEAD_BYTES);
        assert_eq!(pad(&vec![7; most + 1]).map(|padded| padded.len()), next);
    }
    assert_eq!(unpad(&[]), Err(Reject::BadPadding));
    assert_eq!(unpad(&[0]), Err(Reject::BadPadding));
}

#[test]
fn words_can_not_be_moved() {
    let payload = encoded(&message());
    let plaintext = pad(&payload).unwrap();
    let good = header();
    assert!(open(&seal_raw(&good, EPOCH, plaintext.clone())).unwrap().is_some());
    let moved = [
        ("nonce", Header { nonce: [0x78; 24], ..good }, EPOCH),
        ("expiry", Header { expiry_hour: good.expiry_hour + 1, ..good }, EPOCH),
        ("epoch", good, EPOCH + 1),
        ("epoch", good, EPOCH - 1),
    ];
    for (what, header, epoch) in moved {
        let envelope = seal_raw(&header, epoch, plaintext.clone());
        assert_eq!(open(&envelope), Err(Reject::BadSignature), "another {what}");
    }
}

#[test]
fn times_a_day_from_the_epochs_are_taken_and_no_others() {
    let start = u64::from(day_of(NOW_MS)) * DAY_MS;
    let (first, last) = (start - DAY_MS, start + 2 * DAY_MS - 1);
    for (time, taken) in [(first - 1, false), (first, true), (last, true), (last + 1, false)] {
        let at = Opened { time, ..message() };
        assert_eq!(open(&seal(&encoded(&at))).is_ok(), taken, "time {time}");
        let at = Opened { lamport: time, ..message() };
        assert_eq!(open(&seal(&encoded(&at))).is_ok(), taken, "Lamport {time}");
    }
}

#[test]
fn limits_of_the_fields() {
    let taken = |message: Opened| open(&seal(&encoded(&message))).is_ok();
    assert!(taken(Opened { nick: "n".repeat(MAX_NICK_BYTES), ..message() }));
    assert!(!taken(Opened { nick: "n".repeat(MAX_NICK_BYTES + 1), ..message() }));

    let plain = || Opened { nick: String::new(), bot: false, reply_to: None, ..message() };
    let chunk = |index, size| Opened { body: Body::Chunk { index, bytes: vec![1; size] }, ..plain() };
    let max = u32::try_from(MAX_CHUNKS).unwrap();
    assert!(taken(chunk(max - 1, CHUNK_BYTES)));
    assert!(!taken(chunk(max, 1)));
    assert!(!taken(chunk(0, CHUNK_BYTES + 1)));
    assert!(!taken(chunk(0, 0)));

    let manifest = |chunks, bytes: usize| {
        let bytes = u32::try_from(bytes).unwrap();
        Opened { body: Body::Manifest { chunks: vec![id(1); chunks], bytes, hash: [0; 32] }, ..plain() }
    };
    assert!(taken(manifest(MAX_CHUNKS, MAX_TEXT_BYTES)));
    assert!(!taken(manifest(MAX_CHUNKS, MAX_TEXT_BYTES + 1)));
    assert!(!taken(manifest(MAX_CHUNKS + 1, MAX_CHUNKS * CHUNK_BYTES + 1)));
    assert!(taken(manifest(2, CHUNK_BYTES + 1)));
    assert!(!taken(manifest(2, CHUNK_BYTES)));
    assert!(!taken(manifest(0, 0)));
}

#[test]
fn chunks_must_be_what_the_manifest_says() {
    let room = room(ROOM);
    let long = "x".repeat(CHUNK_BYTES + 1_000);
    let sealed = room.seal(&alice(), &mut RoomState::default(), &text(&long), NOW_MS, &mut entropy()).unwrap();
    let opened: Vec<_> = sealed.into_iter().map(|sealed| sealed.opened).collect();
    let assembled = |edit: &dyn Fn(&mut Opened)| {
        let mut find = |id: &MsgId| {
            let mut part = opened.iter().find(|part| part.id == *id).cloned()?;
            edit(&mut part);
            Some(part)
        };
        assemble(&opened[2], &mut find)
    };
    assert_eq!(assembled(&|_| {}), Ok(Some(long)));
    assert_eq!(assembled(&|part| part.from = bob().id()), Err(Reject::BadChunks));
    assert_eq!(assembled(&|part| part.body = Body::Text("no chunk".to_owned())), Err(Reject::BadChunks));
    let edit = |part: &mut Opened, by: u32, cut: usize, flip: u8| {
        if let Body::Chunk { index, bytes } = &mut part.body {
            *index += by;
            bytes.truncate(bytes.len() - cut);
            bytes[0] ^= flip;
        }
    };
    assert_eq!(assembled(&|part| edit(part, 1, 0, 0)), Err(Reject::BadChunks));
    assert_eq!(assembled(&|part| edit(part, 0, 1, 0)), Err(Reject::BadChunks));
    assert_eq!(assembled(&|part| edit(part, 0, 0, 1)), Err(Reject::BadChunks));
    assert_eq!(assemble(&opened[0], &mut |_| None), Err(Reject::BadPayload));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes, &place(&header()), id(0));
        let _ = unpad(&bytes);
    }

    #[test]
    fn any_alteration_of_a_payload_is_refused(at in 0_usize..350, flip in 1_u8..) {
        let mut payload = encoded(&message());
        let at = at % payload.len();
        payload[at] ^= flip;
        let signers = Signers::default();
        let opened = decode(&payload, &place(&header()), id(0))
            .and_then(|claimed| verify_all(vec![claimed], &signers).next().unwrap());
        prop_assert!(opened.is_err());
    }
}
