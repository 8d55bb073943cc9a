//! What comes over a link: frames, the messages in them, and the envelopes in those.

use std::sync::LazyLock;

use bytes::Bytes;
use rumormill::api::{ExpiryRange, MsgId, PeerAddr};
use rumormill::proto::PeerRecord;
use rumormill::proto::wire::{
    Batch, ByeReason, Children, ENVELOPE_FLAGS, ENVELOPE_MAX_BYTES, ENVELOPE_SIZES, ENVELOPE_VERSION,
    ENVELOPE_WORK_OFFSET, Envelope, Freshness, Hello, Kind, LINK_VERSION, Message, OpenScope, RECON_MIN_BYTES,
    ReconBody, Role, SessionRef, TreeEntry, TreeNode, WORK_BYTES, frame as link_frame, freshness, link_key_to_x25519,
};

use crate::room;

/// Link messages as a frame holds them, one behind the other.
pub fn frame(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let mut read = 0;
    let mut batch = Batch::new(bytes);
    while let Some(raw) = batch.next() {
        let Ok(raw) = raw else {
            assert!(batch.next().is_none(), "nothing is read behind a fault");
            return;
        };
        assert_eq!(raw.frame, data[read..read + raw.frame.len()], "the messages are slices of the frame");
        read += raw.frame.len();
        if let Ok(message) = Message::decode(&raw) {
            assert_eq!(message.encode(), raw.frame, "one encoding of {:?}", raw.kind);
        }
    }
    assert_eq!(read, data.len(), "all of it was read");
}

/// One link message: the first byte chooses the kind, the rest is the body, so that every input gets to its decoder.
pub fn link_message(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    let kind = Kind::ALL[usize::from(first) % Kind::ALL.len()];
    let framed = link_frame(kind, &body[..body.len().min(kind.max_bytes())]);
    let mut batch = Batch::new(framed.clone());
    let raw = batch.next().expect("there is a message").expect("its frame is right");
    assert!(batch.next().is_none(), "there is one message");
    let Ok(message) = Message::decode(&raw) else { return };
    assert_eq!(message.kind(), kind);
    assert_eq!(message.encode(), framed, "one encoding of {kind:?}");
    match message {
        Message::Hello(hello) => {
            let _ = link_key_to_x25519(&hello.link_key);
            hello.record.iter().for_each(record);
        }
        Message::Peers(records) => records.iter().for_each(record),
        Message::Rumor(envelope) | Message::Item(_, envelope) => drop(Envelope::parse(&envelope)),
        _ => {}
    }
}

fn record(bytes: &Bytes) {
    let Ok(record) = PeerRecord::decode(bytes) else { return };
    assert_eq!(record.encode(), bytes, "one encoding of a record");
    let signed = RECORDS.iter().any(|seed| seed == bytes);
    assert_eq!(record.verify().is_ok(), signed, "only what was signed verifies");
}

/// An envelope, as it is, and with a right length, version, flags and work, so that every input gets to the seal.
pub fn envelope(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let rest = ENVELOPE_WORK_OFFSET..ENVELOPE_WORK_OFFSET + WORK_BYTES;
    let well_formed = ENVELOPE_SIZES.contains(&data.len())
        && data[..2] == [ENVELOPE_VERSION, ENVELOPE_FLAGS]
        && data[rest.clone()] == [0; WORK_BYTES];
    let parsed = Envelope::parse(&bytes);
    assert_eq!(parsed.is_ok(), well_formed);
    if let Ok(envelope) = parsed {
        check(&envelope);
    }

    let mut fitted = data[..data.len().min(ENVELOPE_MAX_BYTES)].to_vec();
    let size = ENVELOPE_SIZES.into_iter().find(|size| fitted.len() <= *size).expect("it was cut to the largest");
    fitted.resize(size, 0);
    fitted[..2].copy_from_slice(&[ENVELOPE_VERSION, ENVELOPE_FLAGS]);
    fitted[rest].fill(0);
    check(&Envelope::parse(&fitted.into()).expect("it is an envelope now"));
}

fn check(envelope: &Envelope) {
    let again = Envelope::assemble(&envelope.header(), &envelope.commitment(), envelope.ciphertext(), &envelope.tag());
    assert_eq!(again.as_ref(), Ok(envelope), "its parts are all of it");
    assert_eq!(envelope.id(), MsgId::of(envelope.bytes()));
    assert_eq!(freshness(envelope.expiry(), 0) == Freshness::Valid, (0..=169).contains(&envelope.expiry()));
    let _ = freshness(envelope.expiry(), u64::MAX);
    room::foreign(envelope.bytes());
}

/// The only records that were signed with this key: no other verifies.
static RECORDS: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    ["tcp:192.0.2.1:4001", "tcp:[2001:db8::1]:4001"].into_iter().map(|text| peer_record(text).encode()).collect()
});

fn peer_record(text: &str) -> PeerRecord {
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    PeerRecord::sign(&key, text.parse().expect("an address"), 1_768_478_400)
}

/// A message of every kind and type.
pub(crate) fn messages() -> Vec<Message> {
    let ours = SessionRef { number: 1, sender: Role::Initiator };
    let theirs = SessionRef { number: 2, sender: Role::Responder };
    let seen_as: PeerAddr = "tcp:192.0.2.7:4001".parse().expect("an address");
    let hello = |record| {
        Message::Hello(Hello {
            version_min: LINK_VERSION,
            version_max: LINK_VERSION,
            probe: false,
            recon_max: u16::try_from(RECON_MIN_BYTES).expect("a message fits a frame"),
            link_key: peer_record("tcp:192.0.2.1:4001").link_key,
            seen_as: seen_as.clone(),
            record,
        })
    };
    let envelope = envelopes().swap_remove(0);
    let window = OpenScope::Window(ExpiryRange { from: 491_000, to: 491_200 });
    let message = Bytes::from_static(&[0x61, 0, 0, 2, 0]);
    let children = |children| ReconBody::Children { proof: [0; 32], count: 9, children: vec![children] };
    let nibbles = TreeNode::hour(497_000).child(7).and_then(|node| node.child(9)).expect("the tree is deeper");
    let open = |scope| ReconBody::Open { scope, salt: [1; 32], message: message.clone() };
    vec![
        hello(None),
        hello(Some(RECORDS[0].clone())),
        Message::Rumor(envelope.clone()),
        Message::IHaveWhole(vec![MsgId([1; 32]), MsgId([2; 32])]),
        Message::Get(ours, vec![[3; 32]]),
        Message::PruneAll,
        Message::Salt([8; 16]),
        Message::IHave(7, vec![1, 2]),
        Message::IWant(vec![7, 8]),
        Message::Graft(vec![1]),
        Message::Prune(vec![2]),
        Message::Peers(RECORDS.clone()),
        Message::Recon(ours, open(window)),
        Message::Recon(ours, open(OpenScope::Archive([4; 32]))),
        Message::Recon(ours, ReconBody::Next(message.clone())),
        Message::Recon(theirs, ReconBody::Answer { proof: [0; 32], message: message.clone() }),
        Message::Recon(theirs, ReconBody::Decline),
        Message::Recon(ours, ReconBody::Have(vec![[5; 32], [6; 32]])),
        Message::Recon(theirs, ReconBody::Taken),
        Message::Recon(ours, ReconBody::Served),
        Message::Recon(ours, ReconBody::Done),
        Message::Recon(
            ours,
            ReconBody::Begin { scope: OpenScope::Archive([4; 32]), takes_only: true, salt: [1; 16], root: [2; 16] },
        ),
        Message::Recon(theirs, ReconBody::Same(Some([3; 32]))),
        Message::Recon(theirs, children(Children::Hours(vec![(497_000, [1; 5]), (497_001, [2; 5])]))),
        Message::Recon(theirs, children(Children::Blocks(vec![(1_900, [3; 5])]))),
        Message::Recon(theirs, children(Children::Nibbles(vec![(0, [4; 5]), (15, [5; 5])]))),
        Message::Recon(ours, ReconBody::Ask(vec![TreeNode::All, TreeNode::Block(1_900), nibbles])),
        Message::Recon(
            ours,
            ReconBody::Exchange(vec![TreeEntry { node: nibbles, held: vec![[6; 4], [7; 4]], gone: vec![[8; 4]] }]),
        ),
        Message::Recon(theirs, ReconBody::Found(vec![0, 7])),
        Message::Recon(theirs, ReconBody::Page),
        Message::Recon(ours, ReconBody::Go),
        Message::Recon(ours, ReconBody::Given),
        Message::Item(theirs, envelope),
        Message::Ping(7),
        Message::Pong(7),
        Message::Chaff(Bytes::from_static(&[0; 64])),
        Message::Bye(ByeReason::Stopping),
    ]
}

/// Frames: of one message each, and of all of them.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<_> = messages().iter().map(|message| message.encode().to_vec()).collect();
    frames.push(frames.concat());
    frames
}

/// Inputs of [`link_message`].
pub(crate) fn link_messages() -> Vec<Vec<u8>> {
    let chosen = |message: &Message| {
        let kind = Kind::ALL.iter().position(|kind| *kind == message.kind()).expect("all kinds are there");
        let mut input = vec![u8::try_from(kind).expect("there are a few kinds")];
        input.extend_from_slice(&message.encode()[rumormill::proto::wire::MESSAGE_HEADER_BYTES..]);
        input
    };
    messages().iter().map(chosen).collect()
}

/// The test vector's envelope, and those of the rooms' target.
pub(crate) fn envelopes() -> Vec<Bytes> {
    let mut envelopes = vec![crate::seeds::vector("seal.json", "envelope").into()];
    envelopes.extend(room::envelopes());
    envelopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_valid_and_of_every_kind() {
        for frame in frames() {
            assert!(Batch::new(frame.into()).all(|raw| Message::decode(&raw.expect("a message")).is_ok()));
        }
        for kind in Kind::ALL {
            assert!(messages().iter().any(|message| message.kind() == *kind), "{kind:?}");
        }
        assert!(envelopes().iter().all(|envelope| Envelope::parse(envelope).is_ok()));
        assert!(RECORDS.iter().all(|record| PeerRecord::decode(record).is_ok_and(|record| record.verify().is_ok())));
    }
}
