//! Records: packing, rekeying, and what isn't accepted.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use rumormill_api::Frame;
use rumormill_api::transport::BATCH_MAX_BYTES;
use tokio::time::{Instant, advance};

use super::keys;
use crate::buffer::{ReadBuffer, WriteBuffer};
use crate::noise::{Keys, LENGTH_BYTES, TAG_BYTES};
use crate::record::{
    FAULT_FORGED, FAULT_REKEY, FAULT_SHORT, FAULT_USED_UP, Fault, Opener, REKEY_AGE_MS, REKEY_RECORDS, Session,
};

/// The two ends of a link.
fn sessions(initiator: &Keys, responder: &Keys) -> (Session, Session) {
    let (mut a, mut b) = (initiator.handshake(true).unwrap(), responder.handshake(false).unwrap());
    for turn in 0..3 {
        let mut frame = Vec::new();
        let (from, to) = if turn % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        from.write(&mut frame).unwrap();
        to.read(&frame[LENGTH_BYTES..]).unwrap();
    }
    (a.finish().unwrap(), b.finish().unwrap())
}

fn two() -> (Session, Session) {
    sessions(&keys(1), &keys(2))
}

fn seal(session: &mut Session, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    session.sealer.seal(&[plain], &mut out, Instant::now()).unwrap();
    out
}

/// Opens a record (without its length). `None` is a rekey record.
fn open(session: &mut Session, record: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut space = record.to_vec();
    let len = session.opener.open(&mut space, 0)?;
    space.truncate(len);
    Ok((len > 0).then_some(space))
}

/// Cuts what was sealed into records, without their lengths.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at(LENGTH_BYTES);
        let (record, rest) = rest.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
        records.push(record.to_vec());
        bytes = rest;
    }
    records
}

/// Reads once.
async fn fill(buffer: &mut ReadBuffer, from: &mut &[u8]) -> usize {
    poll_fn(|context| buffer.poll_fill(context, from)).await.unwrap()
}

/// Everything that a buffer gives out of what comes, batch by batch.
async fn batches(buffer: &mut ReadBuffer, opener: &mut Opener, mut bytes: &[u8]) -> Vec<Bytes> {
    let mut all = Vec::new();
    while fill(buffer, &mut bytes).await > 0 {
        while let Some(batch) = buffer.open(opener).unwrap() {
            all.push(batch);
        }
    }
    all
}

#[tokio::test]
async fn frames_are_packed_whole_into_as_few_records_as_possible() {
    let (mut a, mut b) = two();
    // The second record is filled to the last byte.
    let lens = [BATCH_MAX_BYTES, 1, 30_000, 30_000, 5_518, 1, 7, BATCH_MAX_BYTES, 2];
    let frames: Vec<Frame> = lens.iter().enumerate().map(|(n, len)| vec![n as u8; *len].into()).collect();
    let mut buffer = WriteBuffer::default();
    for _ in 0..2 {
        buffer.pack(&frames, &mut a.sealer).unwrap();
        let mut plains = Vec::new();
        for record in records(buffer.packed()) {
            plains.push(open(&mut b, &record).unwrap().unwrap());
        }
        let packed: Vec<_> = plains.iter().map(Vec::len).collect();
        assert_eq!(packed, [BATCH_MAX_BYTES, BATCH_MAX_BYTES, 1 + 7, BATCH_MAX_BYTES, 2]);
        assert_eq!(plains.concat(), frames.concat());
        buffer.rest();
    }
}

#[tokio::test]
async fn records_are_cut_right_wherever_a_read_ends() {
    let (mut a, mut b) = two();
    let plains: Vec<Vec<u8>> =
        [1, 2, 500, 20_000, BATCH_MAX_BYTES, 3, 60_000, 1].map(|len| vec![len as u8; len]).into();
    let wire = plains.iter().map(|plain| seal(&mut a, plain)).collect::<Vec<_>>().concat();
    let mut opened = Vec::new();
    let mut buffer = ReadBuffer::new();
    for piece in wire.chunks(1_009) {
        opened.extend(batches(&mut buffer, &mut b.opener, piece).await);
    }
    assert_eq!(opened.concat(), plains.concat());
}

#[tokio::test]
async fn what_comes_in_one_read_is_one_batch_up_to_the_limit() {
    let (mut a, mut b) = two();
    let mut buffer = ReadBuffer::new();
    let wire = [&b"one"[..], b"two", b"three"].map(|plain| seal(&mut a, plain)).concat();
    assert_eq!(batches(&mut buffer, &mut b.opener, &wire).await, ["onetwothree"]);

    // Exactly the limit is one batch, a byte more is two; the buffer has grown to hold both records.
    for (second, expected) in [(25_519, &[BATCH_MAX_BYTES][..]), (25_520, &[40_000, 25_520])] {
        let grow = [40_000, 40_000, 40_000].map(|len| seal(&mut a, &vec![0; len])).concat();
        batches(&mut buffer, &mut b.opener, &grow).await;
        let wire = [40_000, second].map(|len| seal(&mut a, &vec![len as u8; len])).concat();
        let lens: Vec<_> = batches(&mut buffer, &mut b.opener, &wire).await.iter().map(Bytes::len).collect();
        assert_eq!(lens, expected);
    }
}

#[tokio::test]
async fn what_came_before_a_fault_is_given_out_and_nothing_after_it() {
    let (mut a, mut b) = two();
    let mut wire = [&b"one"[..], b"two", b"bad", b"later"].map(|plain| seal(&mut a, plain));
    wire[2][LENGTH_BYTES] ^= 1;
    let wire = wire.concat();
    let mut buffer = ReadBuffer::new();
    fill(&mut buffer, &mut &wire[..]).await;
    assert_eq!(buffer.open(&mut b.opener).unwrap().unwrap(), "onetwo");
    assert_eq!(buffer.open(&mut b.opener), Err(FAULT_FORGED));
    assert_eq!(buffer.open(&mut b.opener), Err(FAULT_FORGED));
}

#[tokio::test]
async fn a_batch_stays_as_it_is_while_the_buffer_is_used_on() {
    let (mut a, mut b) = two();
    let mut buffer = ReadBuffer::new();
    let mut kept = Vec::new();
    for round in 0..200_u8 {
        let wire = seal(&mut a, &[round; 700]);
        let batch = batches(&mut buffer, &mut b.opener, &wire).await.concat();
        kept.push(Bytes::from(batch));
    }
    for (round, batch) in (0..).zip(&kept) {
        assert_eq!(batch[..], [round; 700]);
    }
}

#[tokio::test]
async fn the_memory_is_used_again_once_the_batches_are_gone() {
    let (mut a, mut b) = two();
    let mut buffer = ReadBuffer::new();
    let mut places = std::collections::BTreeSet::new();
    let mut last = None;
    for round in 0..1_000_u32 {
        let wire = seal(&mut a, &[round as u8; 700]);
        // One batch is always still around.
        let mut got = batches(&mut buffer, &mut b.opener, &wire).await;
        places.insert(got[0].as_ptr() as usize >> 14);
        last = got.pop();
    }
    drop(last);
    assert!(places.len() <= 4, "two buffers of 8 KiB lie in at most four places: {places:x?}");
}

#[tokio::test]
async fn the_buffers_give_back_what_a_burst_took() {
    let (mut a, mut b) = two();
    let (mut reading, mut writing) = (ReadBuffer::new(), WriteBuffer::default());
    let least = reading.capacity();
    let frames: Vec<Frame> = vec![vec![1; 60_000].into(); 8];
    writing.pack(&frames, &mut a.sealer).unwrap();
    assert_eq!(batches(&mut reading, &mut b.opener, writing.packed()).await.concat().len(), 480_000);
    assert!(reading.capacity() > 100_000 && writing.capacity() > 400_000);
    // The first one only notes that there was a burst.
    reading.rest();
    writing.rest();
    assert!(reading.capacity() > 100_000 && writing.capacity() > 400_000);
    let half = seal(&mut a, b"cut in two");
    let (head, tail) = half.split_at(7);
    fill(&mut reading, &mut &head[..]).await;
    reading.rest();
    writing.rest();
    assert!(reading.capacity() <= least && writing.capacity() <= least, "{}", reading.capacity());
    assert_eq!(batches(&mut reading, &mut b.opener, tail).await, ["cut in two"]);
}

#[tokio::test]
async fn both_ends_rekey_after_the_same_record() {
    let (mut a, mut b) = two();
    let mut other = keys(2);
    other.rekey.records = u32::MAX;
    let (mut c, mut never) = sessions(&keys(1), &other);
    for count in 1..=2 * REKEY_RECORDS + 3 {
        let plain = count.to_be_bytes();
        assert_eq!(open(&mut b, &seal(&mut a, &plain)[LENGTH_BYTES..]).unwrap().unwrap(), plain);
        if count <= REKEY_RECORDS + 1 {
            let opened = open(&mut never, &seal(&mut c, &plain)[LENGTH_BYTES..]);
            assert_eq!(opened.is_ok(), count <= REKEY_RECORDS, "record {count} under the old key");
        }
    }
    let plain = b"and the other direction".to_vec();
    assert_eq!(open(&mut a, &seal(&mut b, &plain)[LENGTH_BYTES..]).unwrap(), Some(plain));
}

#[tokio::test(start_paused = true)]
async fn an_old_key_is_replaced_by_a_rekey_record_before_the_data() {
    let (mut a, mut b) = two();
    advance(Duration::from_millis(REKEY_AGE_MS - 1)).await;
    assert_eq!(open(&mut b, &seal(&mut a, b"old")[LENGTH_BYTES..]).unwrap().unwrap(), b"old");
    advance(Duration::from_millis(1)).await;
    let wire = records(&seal(&mut a, b"new"));
    assert_eq!(wire.iter().map(Vec::len).collect::<Vec<_>>(), [TAG_BYTES, 3 + TAG_BYTES]);
    assert_eq!(open(&mut b, &wire[0]).unwrap(), None);
    assert_eq!(open(&mut b, &wire[1]).unwrap().unwrap(), b"new");
    assert_eq!(records(&seal(&mut a, b"later")).len(), 1, "the new key is young");
}

#[tokio::test(start_paused = true)]
async fn two_rekey_records_in_a_row_are_a_fault() {
    let mut hasty = keys(1);
    hasty.rekey.age = Duration::ZERO;
    let (mut a, mut b) = sessions(&hasty, &keys(2));
    let first = records(&seal(&mut a, b"x"));
    let second = records(&seal(&mut a, b"x"));
    assert_eq!(open(&mut b, &first[0]).unwrap(), None);
    assert_eq!(open(&mut b, &first[1]).unwrap().unwrap(), b"x");
    assert_eq!(open(&mut b, &second[0]).unwrap(), None);

    // A peer that rekeys without any data: nonce and key go on as the rules say, only the data is left out.
    let (mut c, mut d) = sessions(&keys(1), &keys(2));
    let mut empty = || {
        let mut out = Vec::new();
        c.sealer.seal_rekey_record(&mut out, Instant::now()).unwrap();
        out
    };
    assert_eq!(open(&mut d, &empty()[LENGTH_BYTES..]).unwrap(), None);
    assert_eq!(open(&mut d, &empty()[LENGTH_BYTES..]), Err(FAULT_REKEY));
}

#[tokio::test]
async fn what_was_altered_replayed_left_out_or_cut_is_a_fault() {
    for byte in [0, 4, 4 + TAG_BYTES - 1] {
        let (mut a, mut b) = two();
        let mut record = seal(&mut a, b"data").split_off(LENGTH_BYTES);
        record[byte] ^= 1;
        assert_eq!(open(&mut b, &record), Err(FAULT_FORGED), "byte {byte}");
    }

    let (mut a, mut b) = two();
    let first = seal(&mut a, b"first");
    assert!(open(&mut b, &first[LENGTH_BYTES..]).is_ok());
    assert_eq!(open(&mut b, &first[LENGTH_BYTES..]), Err(FAULT_FORGED), "replayed");

    let (mut a, mut b) = two();
    let _left_out = seal(&mut a, b"first");
    assert_eq!(open(&mut b, &seal(&mut a, b"second")[LENGTH_BYTES..]), Err(FAULT_FORGED), "left out");

    let (mut a, mut b) = two();
    let record = seal(&mut a, b"data").split_off(LENGTH_BYTES);
    assert_eq!(open(&mut b, &record[..TAG_BYTES - 1]), Err(FAULT_SHORT));
    assert_eq!(open(&mut b, &record[..TAG_BYTES]), Err(FAULT_FORGED));
    assert_eq!(open(&mut b, &[]), Err(FAULT_SHORT));

    let (mut a, _) = two();
    let own = seal(&mut a, b"mine");
    assert_eq!(open(&mut a, &own[LENGTH_BYTES..]), Err(FAULT_FORGED), "reflected");
}

#[tokio::test]
async fn the_nonces_of_a_direction_can_be_used_up_and_never_wrap() {
    let (mut a, mut b) = two();
    a.sealer.set_nonce(u64::MAX - 1);
    b.opener.set_nonce(u64::MAX - 1);
    assert_eq!(open(&mut b, &seal(&mut a, b"last")[LENGTH_BYTES..]).unwrap().unwrap(), b"last");
    let mut out = Vec::new();
    assert_eq!(a.sealer.seal(&[b"one too many"], &mut out, Instant::now()), Err(FAULT_USED_UP));
    assert!(out.is_empty(), "nothing was written");
    assert_eq!(open(&mut b, &[0; 20]), Err(FAULT_USED_UP));
}

/// The Noise library's own records against this crate's, both ways, over every kind of rekeying.
#[tokio::test(start_paused = true)]
async fn the_records_are_those_of_the_noise_library() {
    const RULE: u32 = 5;
    for initiator in [true, false] {
        let rule = |secret| {
            let mut keys = keys(secret);
            keys.rekey.records = RULE;
            keys
        };
        let (mut own, mut other) = (rule(1).handshake(initiator).unwrap(), rule(2).handshake(!initiator).unwrap());
        for turn in 0..3 {
            let mut frame = Vec::new();
            let (from, to) = if (turn % 2 == 0) == initiator { (&mut own, &mut other) } else { (&mut other, &mut own) };
            from.write(&mut frame).unwrap();
            to.read(&frame[LENGTH_BYTES..]).unwrap();
        }
        let (mut own, mut snow) = (own.finish().unwrap(), other.finish_with_snow().unwrap());
        let mut space = vec![0; 65_535];
        let (mut sent, mut received) = (0, 0);
        for round in 0..4 * RULE {
            let plain = vec![round as u8; 1 + 4_000 * round as usize % 60_000];
            if round % 7 == 6 {
                advance(Duration::from_millis(REKEY_AGE_MS)).await;
            }
            for record in records(&seal(&mut own, &plain)) {
                let len = snow.read_message(&record, &mut space).unwrap();
                sent += 1;
                if len == 0 || sent == RULE {
                    snow.rekey_incoming();
                    sent = 0;
                }
                assert!(len == 0 || space[..len] == plain);
            }
            let empty = round % 6 == 5;
            let len = snow.write_message(if empty { &[] } else { &plain }, &mut space).unwrap();
            received += 1;
            if empty || received == RULE {
                snow.rekey_outgoing();
                received = 0;
            }
            assert_eq!(open(&mut own, &space[..len]).unwrap(), (!empty).then_some(plain));
        }
    }
}
