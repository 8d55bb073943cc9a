//! The pinned handshake: what version 1 of the link says, byte by byte, for fixed keys.

use std::collections::BTreeMap;
use std::fmt::Write;

use rumormill_api::LinkSecret;
use tokio::time::Instant;

use crate::noise::{Keys, LENGTH_BYTES, LINK_VERSION, MAGIC, PATTERN};
use crate::record::Session;

const PINNED: &str = include_str!("../../tests/vectors/link-v1.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn run() -> BTreeMap<&'static str, String> {
    let mut vector = BTreeMap::new();
    let end = |secret: u8, ephemeral: u8| {
        let mut keys = Keys::new(LinkSecret([secret; 32]), LinkSecret([0x33; 32]));
        keys.ephemeral = Some([ephemeral; 32]);
        keys
    };
    let (initiator, responder) = (end(0x11, 0x44), end(0x22, 0x55));
    vector.insert("pattern", PATTERN.to_owned());
    vector.insert("prologue", hex(&[MAGIC, &[LINK_VERSION]].concat()));
    vector.insert("network key", hex(&[0x33; 32]));
    vector.insert("initiator secret", hex(&[0x11; 32]));
    vector.insert("initiator ephemeral", hex(&[0x44; 32]));
    vector.insert("initiator public", hex(initiator.public()));
    vector.insert("responder secret", hex(&[0x22; 32]));
    vector.insert("responder ephemeral", hex(&[0x55; 32]));
    vector.insert("responder public", hex(responder.public()));

    let (mut a, mut b) = (initiator.handshake(true).unwrap(), responder.handshake(false).unwrap());
    for (turn, name) in ["frame 1", "frame 2", "frame 3"].into_iter().enumerate() {
        let mut frame = Vec::new();
        let (from, to) = if turn == 1 { (&mut b, &mut a) } else { (&mut a, &mut b) };
        from.write(&mut frame).unwrap();
        to.read(&frame[LENGTH_BYTES..]).unwrap();
        vector.insert(name, hex(&frame));
    }
    let (mut a, mut b) = (a.finish().unwrap(), b.finish().unwrap());
    assert_eq!(a.handshake_hash, b.handshake_hash);
    assert_eq!((&a.peer, &b.peer), (responder.public(), initiator.public()));
    vector.insert("handshake hash", hex(&a.handshake_hash));

    let seal = |session: &mut Session, plain: &[u8]| {
        let mut out = Vec::new();
        session.sealer.seal(&[plain], &mut out, Instant::now()).unwrap();
        hex(&out)
    };
    vector.insert("initiator's record of 'hello'", seal(&mut a, b"hello"));
    vector.insert("responder's record of 'hello'", seal(&mut b, b"hello"));
    let mut rekey = Vec::new();
    a.sealer.seal_rekey_record(&mut rekey, Instant::now()).unwrap();
    vector.insert("initiator's rekey record", hex(&rekey));
    vector.insert("initiator's record of 'hello' after it", seal(&mut a, b"hello"));
    vector
}

#[test]
fn the_handshake_is_the_pinned_one() {
    let pinned: BTreeMap<_, _> = PINNED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" = ").expect("NAME = VALUE"))
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    let now = run();
    let text = now.iter().fold(String::new(), |mut text, (name, value)| {
        writeln!(text, "{name} = {value}").unwrap();
        text
    });
    assert_eq!(pinned, now, "version {LINK_VERSION} of the link changed; it now says\n{text}");
}
