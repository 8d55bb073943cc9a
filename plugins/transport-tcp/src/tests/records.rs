//! Records: packing, rekeying, and what isn't accepted.

use std::time::Duration;

use rumormill_api::Frame;
use rumormill_api::transport::BATCH_MAX_BYTES;
use tokio::time::{Instant, advance};

use super::keys;
use crate::buffer::{ReadBuffer, WriteBuffer};
use crate::noise::{
    FAULT_FORGED, FAULT_REKEY, FAULT_SHORT, Keys, LENGTH_BYTES, REKEY_AGE_MS, REKEY_RECORDS, Session, TAG_BYTES,
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
    let mut out = vec![0; plain.len() + Session::OVERHEAD_BYTES];
    let len = session.seal(plain, &mut out, Instant::now()).unwrap();
    out.truncate(len);
    out
}

/// Cuts what was sealed into records.
async fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut buffer, mut records) = (ReadBuffer::new(), Vec::new());
    while buffer.fill(&mut bytes).await.unwrap() > 0 {
        while let Some(record) = buffer.record() {
            records.push(record.to_vec());
        }
    }
    records
}

#[tokio::test]
async fn frames_are_packed_whole_into_as_few_records_as_possible() {
    let (mut a, mut b) = two();
    // The second record is filled to the last byte.
    let lens = [BATCH_MAX_BYTES, 1, 30_000, 30_000, 5_518, 1, 7, BATCH_MAX_BYTES, 2];
    let frames: Vec<Frame> = lens.iter().enumerate().map(|(n, len)| vec![n as u8; *len].into()).collect();
    let mut buffer = WriteBuffer::new();
    for _ in 0..2 {
        buffer.pack(&frames, &mut a).unwrap();
        let mut plains = Vec::new();
        for record in records(buffer.packed()).await {
            plains.push(b.open(&record).unwrap().unwrap());
        }
        let packed: Vec<_> = plains.iter().map(Vec::len).collect();
        assert_eq!(packed, [BATCH_MAX_BYTES, BATCH_MAX_BYTES, 1 + 7, BATCH_MAX_BYTES, 2]);
        assert_eq!(plains.concat(), frames.concat());
        buffer.shrink();
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
    for mut piece in wire.chunks(1_009) {
        while buffer.fill(&mut piece).await.unwrap() > 0 {
            while let Some(record) = buffer.record() {
                let record = record.to_vec();
                opened.push(b.open(&record).unwrap().unwrap());
            }
        }
    }
    assert_eq!(opened, plains);
}

#[tokio::test]
async fn both_ends_rekey_after_the_same_record() {
    let (mut a, mut b) = two();
    let mut other = keys(2);
    other.rekey.records = u32::MAX;
    let (mut c, mut never) = sessions(&keys(1), &other);
    for count in 1..=2 * REKEY_RECORDS + 3 {
        let plain = count.to_be_bytes();
        assert_eq!(b.open(&seal(&mut a, &plain)[LENGTH_BYTES..]).unwrap().unwrap(), plain);
        if count <= REKEY_RECORDS + 1 {
            let opened = never.open(&seal(&mut c, &plain)[LENGTH_BYTES..]);
            assert_eq!(opened.is_ok(), count <= REKEY_RECORDS, "record {count} under the old key");
        }
    }
    let plain = b"and the other direction".to_vec();
    assert_eq!(a.open(&seal(&mut b, &plain)[LENGTH_BYTES..]).unwrap(), Some(plain));
}

#[tokio::test(start_paused = true)]
async fn an_old_key_is_replaced_by_a_rekey_record_before_the_data() {
    let (mut a, mut b) = two();
    advance(Duration::from_millis(REKEY_AGE_MS - 1)).await;
    assert_eq!(b.open(&seal(&mut a, b"old")[LENGTH_BYTES..]).unwrap().unwrap(), b"old");
    advance(Duration::from_millis(1)).await;
    let wire = records(&seal(&mut a, b"new")).await;
    assert_eq!(wire.iter().map(Vec::len).collect::<Vec<_>>(), [TAG_BYTES, 3 + TAG_BYTES]);
    assert_eq!(b.open(&wire[0]).unwrap(), None);
    assert_eq!(b.open(&wire[1]).unwrap().unwrap(), b"new");
    assert_eq!(records(&seal(&mut a, b"later")).await.len(), 1, "the new key is young");
}

#[tokio::test(start_paused = true)]
async fn two_rekey_records_in_a_row_are_a_fault() {
    let mut hasty = keys(1);
    hasty.rekey.age = Duration::ZERO;
    let (mut a, mut b) = sessions(&hasty, &keys(2));
    let first = records(&seal(&mut a, b"x")).await;
    let second = records(&seal(&mut a, b"x")).await;
    assert_eq!(b.open(&first[0]).unwrap(), None);
    assert_eq!(b.open(&first[1]).unwrap().unwrap(), b"x");
    assert_eq!(b.open(&second[0]).unwrap(), None);

    // A peer that rekeys without any data: nonce and key go on as the rules say, only the data is left out.
    let (mut c, mut d) = sessions(&keys(1), &keys(2));
    let mut empty = || {
        let mut out = [0; LENGTH_BYTES + TAG_BYTES];
        c.seal_rekey_record(&mut out, Instant::now()).unwrap();
        out
    };
    assert_eq!(d.open(&empty()[LENGTH_BYTES..]).unwrap(), None);
    assert_eq!(d.open(&empty()[LENGTH_BYTES..]), Err(FAULT_REKEY));
}

#[tokio::test]
async fn what_was_altered_replayed_left_out_or_cut_is_a_fault() {
    for byte in [0, 4, 4 + TAG_BYTES - 1] {
        let (mut a, mut b) = two();
        let mut record = seal(&mut a, b"data").split_off(LENGTH_BYTES);
        record[byte] ^= 1;
        assert_eq!(b.open(&record), Err(FAULT_FORGED), "byte {byte}");
    }

    let (mut a, mut b) = two();
    let first = seal(&mut a, b"first");
    assert!(b.open(&first[LENGTH_BYTES..]).is_ok());
    assert_eq!(b.open(&first[LENGTH_BYTES..]), Err(FAULT_FORGED), "replayed");

    let (mut a, mut b) = two();
    let _left_out = seal(&mut a, b"first");
    assert_eq!(b.open(&seal(&mut a, b"second")[LENGTH_BYTES..]), Err(FAULT_FORGED), "left out");

    let (mut a, mut b) = two();
    let record = seal(&mut a, b"data").split_off(LENGTH_BYTES);
    assert_eq!(b.open(&record[..TAG_BYTES - 1]), Err(FAULT_SHORT));
    assert_eq!(b.open(&record[..TAG_BYTES]), Err(FAULT_FORGED));
    assert_eq!(b.open(&[]), Err(FAULT_SHORT));

    let (mut a, _) = two();
    let own = seal(&mut a, b"mine");
    assert_eq!(a.open(&own[LENGTH_BYTES..]), Err(FAULT_FORGED), "reflected");
}
