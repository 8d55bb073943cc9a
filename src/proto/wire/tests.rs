#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use rumormill_api::transport::BATCH_MAX_BYTES;
use rumormill_api::{ExpiryRange, Header, MsgId};

use super::*;

fn addr() -> impl Strategy<Value = rumormill_api::PeerAddr> {
    "[a-z]{1,5}:[!-~]{1,200}".prop_map(|text| text.parse().unwrap())
}

fn session() -> impl Strategy<Value = SessionRef> {
    (any::<u32>(), any::<bool>()).prop_map(|(number, initiator)| SessionRef {
        number,
        sender: if initiator { Role::Initiator } else { Role::Responder },
    })
}

fn blob(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

fn recon() -> impl Strategy<Value = ReconBody> {
    let message = || vec(any::<u8>(), 1..2_000).prop_map(Bytes::from);
    let scope = prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| OpenScope::Window(ExpiryRange { from: a.min(b), to: a.max(b) })),
        any::<[u8; 32]>().prop_map(OpenScope::Archive),
    ];
    prop_oneof![
        (scope, any::<[u8; 32]>(), message()).prop_map(|(scope, salt, message)| ReconBody::Open {
            scope,
            salt,
            message
        }),
        message().prop_map(ReconBody::Next),
        (any::<[u8; 32]>(), message()).prop_map(|(proof, message)| ReconBody::Answer { proof, message }),
        Just(ReconBody::Decline),
        vec(any::<[u8; 32]>(), 1..=50).prop_map(ReconBody::Have),
        Just(ReconBody::Taken),
        Just(ReconBody::Served),
        Just(ReconBody::Done),
        tree_recon(),
    ]
}

fn node() -> impl Strategy<Value = TreeNode> {
    prop_oneof![
        Just(TreeNode::All),
        (0..1_u32 << 24).prop_map(TreeNode::Block),
        (any::<u32>(), vec(0..16_u8, 0..=TREE_DEPTH_MAX.into())).prop_map(|(hour, nibbles)| {
            nibbles.into_iter().fold(TreeNode::hour(hour), |node, nibble| node.child(nibble).unwrap())
        }),
    ]
}

fn entries<const ID_BYTES: usize>() -> impl Strategy<Value = Vec<TreeEntry<ID_BYTES>>> {
    let ids = || vec(any::<[u8; ID_BYTES]>(), 0..200);
    btree_map(any::<u32>(), (ids(), ids()), 1..5).prop_map(|entries| {
        let entries = entries.into_iter();
        entries.map(|(hour, (held, gone))| TreeEntry { node: TreeNode::hour(hour), held, gone }).collect()
    })
}

fn tree_recon() -> impl Strategy<Value = ReconBody> {
    let scope = prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| OpenScope::Window(ExpiryRange { from: a.min(b), to: a.max(b) })),
        any::<[u8; 32]>().prop_map(OpenScope::Archive),
    ];
    let numbered =
        |most| btree_map(0..=most, any::<[u8; SHORT_BYTES]>(), 0..20).prop_map(|map| map.into_iter().collect());
    let children = prop_oneof![
        numbered(u32::MAX).prop_map(Children::Hours),
        numbered((1 << 24) - 1).prop_map(Children::Blocks),
        btree_map(0..16_u8, any::<[u8; SHORT_BYTES]>(), 0..=16)
            .prop_map(|map| Children::Nibbles(map.into_iter().collect())),
    ];
    prop_oneof![
        (scope, any::<(bool, [u8; TREE_SALT_BYTES], [u8; ROOT_BYTES])>())
            .prop_map(|(scope, (takes_only, salt, root))| ReconBody::Begin { scope, takes_only, salt, root }),
        any::<Option<[u8; 32]>>().prop_map(ReconBody::Same),
        (any::<([u8; 32], u32)>(), vec(children, 1..20)).prop_map(|((proof, count), children)| ReconBody::Children {
            proof,
            count,
            children
        }),
        vec(node(), 1..=ASK_MAX_NODES).prop_map(ReconBody::Ask),
        entries().prop_map(ReconBody::Exchange),
        entries().prop_map(ReconBody::OldExchange),
        btree_set(any::<u16>(), 0..200).prop_map(|positions| ReconBody::Found(positions.into_iter().collect())),
        Just(ReconBody::Page),
        Just(ReconBody::Go),
        Just(ReconBody::Given),
    ]
}

#[test]
fn a_trees_nodes_divide_their_keys() {
    let key = (7, MsgId([0xa5; 32]));
    let mut node = TreeNode::hour(7);
    assert!(TreeNode::All.contains(&key) && TreeNode::block_of(7).contains(&key) && node.contains(&key));
    assert!(!TreeNode::Block(1).contains(&key) && TreeNode::Block(1).contains(&(BLOCK_HOURS, key.1)));
    for depth in 0..TREE_DEPTH_MAX {
        let nibble = if depth % 2 == 0 { 0xa } else { 5 };
        for other in (0..16).filter(|other| *other != nibble) {
            assert!(!node.child(other).unwrap().contains(&key));
        }
        node = node.child(nibble).unwrap();
        assert!(node.contains(&key), "{node:?}");
    }
    assert_eq!(node.child(0), None, "at the greatest depth");
}

#[test]
fn malformed_parts_of_trees_are_refused() {
    let recon = |sender: u8, body: &[u8]| {
        let raw = RawMessage { kind: Kind::Recon, frame: frame(Kind::Recon, &[&[0, 0, 0, 1, sender], body].concat()) };
        Message::decode(&raw)
    };
    let ask = |node: &[u8]| recon(0, &[&[11], node].concat());
    assert!(ask(&[0, 0, 0, 0, 7]).is_ok());
    for node in [
        &[][..],
        &[1, 0, 0, 0, 7],
        &[1, 0, 0, 0, 7, 0x51],
        &[17, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xfe, 1, 0, 0, 0],
        &[0xfd],
    ] {
        assert_eq!(ask(node), Err(Fault::Malformed), "{node:?}");
    }
    assert_eq!(ask(&[0xff; ASK_MAX_NODES]).map(|_| ()), Ok(()));
    assert_eq!(ask(&[0xff; ASK_MAX_NODES + 1]), Err(Fault::Malformed));
    let children = |children: &[u8]| recon(1, &[&[10][..], &[0; 36], children].concat());
    assert!(children(&[2, 0, 0]).is_ok());
    for bad in [
        &[][..],
        &[3],
        &[2, 0, 1],
        &[0, 1, 0],
        &[0, 0x80, 0],
        &[0, 0xff, 0xff, 0xff, 0xff, 0xff],
        // A number past the last.
        &[0, 2, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5],
        // A block past the last.
        &[1, 1, 0x80, 0x80, 0x80, 0x08, 1, 2, 3, 4, 5],
    ] {
        assert_eq!(children(bad), Err(Fault::Malformed), "{bad:?}");
    }
    let exchange = |entries: &[u8]| recon(0, &[&[12], entries].concat());
    assert!(exchange(&[0, 0, 0, 0, 7, 0, 0]).is_ok());
    for bad in [
        &[][..],
        &[0, 0, 0, 0, 7, 1, 0, 1, 2, 3, 4],
        // The same twice, one within another, backwards.
        &[0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 7, 0, 0],
        &[0, 0, 0, 0, 7, 0, 0, 1, 0, 0, 0, 7, 0x50, 0, 0],
        &[0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 6, 0, 0],
    ] {
        assert_eq!(exchange(bad), Err(Fault::Malformed), "{bad:?}");
    }
    assert!(recon(1, &[15, 0, 1, 0, 2]).is_ok());
    for bad in [&[15, 0][..], &[15, 0, 1, 0, 1], &[15, 0, 2, 0, 1]] {
        assert_eq!(recon(1, bad), Err(Fault::Malformed), "{bad:?}");
    }
    for (sender, alien) in [(1, 8), (0, 9), (0, 10), (1, 11), (1, 12), (0, 15), (1, 16), (0, 17)] {
        assert_eq!(recon(sender, &[alien]), Err(Fault::Malformed), "{alien}");
    }
}

fn message() -> impl Strategy<Value = Message> {
    let hello = (any::<(u8, u8, bool, [u8; 32])>(), addr(), RECON_MIN_BYTES as u16.., blob(PEER_RECORD_MAX_BYTES))
        .prop_map(|((a, b, probe, link_key), seen_as, recon_max, record)| Hello {
            version_min: a.min(b),
            version_max: a.max(b),
            probe,
            recon_max,
            link_key,
            seen_as,
            record: (!record.is_empty()).then_some(record),
        });
    prop_oneof![
        hello.prop_map(Message::Hello),
        blob(ENVELOPE_MAX_BYTES).prop_map(Message::Rumor),
        vec(any::<[u8; 32]>().prop_map(MsgId), 0..=20).prop_map(Message::IHaveWhole),
        (session(), vec(any::<[u8; 32]>(), 1..=20)).prop_map(|(session, ids)| Message::Get(session, ids)),
        Just(Message::PruneAll),
        any::<[u8; SALT_KEY_BYTES]>().prop_map(Message::Salt),
        (any::<u32>(), vec(any::<ShortId>(), 1..=20)).prop_map(|(first, ids)| Message::IHave(first, ids)),
        vec(any::<u32>(), 1..=20).prop_map(Message::IWant),
        vec(any::<ShortId>(), 0..=20).prop_map(Message::Graft),
        vec(any::<ShortId>(), 1..=20).prop_map(Message::Prune),
        vec(blob(PEER_RECORD_MAX_BYTES), 0..=PEERS_MAX_RECORDS).prop_map(Message::Peers),
        (session(), recon()).prop_map(|(mut session, body)| {
            session.sender = body.sender().unwrap_or(session.sender);
            Message::Recon(session, body)
        }),
        (session(), blob(ENVELOPE_MAX_BYTES)).prop_map(|(session, envelope)| Message::Item(session, envelope)),
        any::<u64>().prop_map(Message::Ping),
        any::<u64>().prop_map(Message::Pong),
        blob(CHAFF_MAX_BYTES).prop_map(Message::Chaff),
        (5_u8..).prop_map(|code| Message::Bye(ByeReason::Other(code))),
        Just(Message::Bye(ByeReason::Duplicate)),
    ]
}

fn decode_all(bytes: Bytes) -> Result<Vec<Message>, Fault> {
    Batch::new(bytes).map(|raw| raw.and_then(|raw| Message::decode(&raw))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn messages_come_out_as_they_went_in(messages in vec(message(), 0..6)) {
        let frames: Vec<_> = messages.iter().map(Message::encode).collect();
        for (frame, message) in frames.iter().zip(&messages) {
            prop_assert!(frame.len() <= BATCH_MAX_BYTES);
            prop_assert!(frame.len() - MESSAGE_HEADER_BYTES <= message.kind().max_bytes());
        }
        prop_assert_eq!(decode_all(frames.concat().into()), Ok(messages));
    }

    #[test]
    fn there_is_one_encoding_of_every_message(message in message(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = message.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let bytes = Bytes::from(bytes);
        if let Ok(messages) = decode_all(bytes.clone()) {
            let again: Vec<_> = messages.iter().map(Message::encode).collect();
            prop_assert_eq!(Bytes::from(again.concat()), bytes);
        }
    }

    #[test]
    fn a_message_cut_short_is_malformed(message in message(), at in any::<prop::sample::Index>()) {
        let bytes = message.encode();
        let at = at.index(bytes.len());
        if at > 0 {
            prop_assert_eq!(decode_all(bytes.slice(..at)), Err(Fault::Malformed));
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in blob(4_096)) {
        let _ = decode_all(bytes.clone());
        let _ = Envelope::parse(&bytes);
        let _ = PeerRecord::decode(&bytes);
        for kind in Kind::ALL {
            if bytes.len() <= kind.max_bytes() {
                let _ = decode_all(frame(*kind, &bytes));
            }
        }
    }

    #[test]
    fn envelopes_keep_their_fields(
        expiry_hour: u32, nonce: [u8; 24], commitment: [u8; 32], tag: [u8; 16], class in 0..ENVELOPE_SIZES.len(), fill: u8,
    ) {
        let header = Header { version: ENVELOPE_VERSION, flags: ENVELOPE_FLAGS, expiry_hour, nonce };
        let body = vec![fill; Envelope::body_sizes()[class]];
        let envelope = Envelope::assemble(&header, &commitment, &body, &tag).unwrap();
        prop_assert_eq!(envelope.bytes().len(), ENVELOPE_SIZES[class]);
        let envelope = Envelope::parse(envelope.bytes()).unwrap();
        prop_assert_eq!(envelope.header(), header);
        prop_assert_eq!(envelope.commitment(), commitment);
        prop_assert_eq!(envelope.ciphertext(), body);
        prop_assert_eq!(envelope.tag(), tag);
        prop_assert_eq!(envelope.id(), MsgId::of(envelope.bytes()));
    }

    #[test]
    fn a_record_with_any_bit_flipped_is_refused(at in 0..1_000_usize, bit in 0..8) {
        let key = SigningKey::from_bytes(&[3; 32]);
        let good = PeerRecord::sign(&key, "tcp:8.8.8.8:4000".parse().unwrap(), 1_700_000_000).encode();
        let mut bytes = good.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        let refused = PeerRecord::decode(&bytes.into()).and_then(|record| record.verify());
        prop_assert!(refused.is_err());
    }
}

#[test]
fn envelopes_are_judged_in_order() {
    let good = crate::proto::wire::Envelope::assemble(
        &Header { version: 1, flags: 0, expiry_hour: 1, nonce: [0; 24] },
        &[0; 32],
        &[0; 512 - ENVELOPE_OVERHEAD_BYTES],
        &[0; 16],
    )
    .unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.bytes().to_vec();
        change(&mut bytes);
        Envelope::parse(&bytes.into()).map(|_| ())
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|bytes| bytes.push(0)), Err(EnvelopeError::BadSize));
    assert_eq!(with(&|bytes| bytes.truncate(511)), Err(EnvelopeError::BadSize));
    assert_eq!(with(&|bytes| bytes.clear()), Err(EnvelopeError::BadSize));
    assert_eq!(with(&|bytes| bytes.resize(64 << 10, 0)), Err(EnvelopeError::BadSize));
    assert_eq!(with(&|bytes| bytes[0] = 0), Err(EnvelopeError::UnknownVersion));
    assert_eq!(with(&|bytes| bytes[0] = 2), Err(EnvelopeError::UnknownVersion));
    assert_eq!(with(&|bytes| bytes[1] = 1), Err(EnvelopeError::BadFlags));
    assert_eq!(with(&|bytes| bytes[ENVELOPE_WORK_OFFSET] = 1), Err(EnvelopeError::BadWork));
    assert_eq!(with(&|bytes| bytes[ENVELOPE_BODY_OFFSET - 1] = 1), Err(EnvelopeError::BadWork));
    for size in ENVELOPE_SIZES {
        assert_eq!(with(&|bytes| bytes.resize(size, 0)), Ok(()));
    }
}

#[test]
fn expiry_is_judged_to_the_millisecond() {
    let expiry = 500_000;
    let at = u64::from(expiry) * HOUR_MS;
    let life = u64::from(ENVELOPE_LIFE_HOURS) * HOUR_MS;
    assert_eq!(freshness(expiry, at + HOUR_MS - 1), Freshness::Valid);
    assert_eq!(freshness(expiry, at + HOUR_MS), Freshness::Expired);
    assert_eq!(freshness(expiry, at - life - HOUR_MS), Freshness::Valid);
    assert_eq!(freshness(expiry, at - life - HOUR_MS - 1), Freshness::FromFuture);
    assert_eq!(freshness(u32::MAX, u64::MAX), Freshness::Expired);
    assert_eq!(freshness(u32::MAX, 0), Freshness::FromFuture);
}

#[test]
fn a_rumor_is_forwarded_as_the_slice_that_came() {
    let frame = frame(Kind::Rumor, &[7; 512]);
    let batch = Bytes::from([Message::Ping(1).encode(), frame.clone()].concat());
    let raw = Batch::new(batch.clone()).nth(1).unwrap().unwrap();
    assert_eq!(raw.frame, frame);
    assert_eq!(raw.frame.as_ptr(), batch[batch.len() - frame.len()..].as_ptr(), "not a copy");
}

#[test]
fn link_messages_are_bounded_on_both_sides() {
    for kind in Kind::ALL {
        let header = |len: usize| {
            let len = u16::try_from(len).unwrap().to_be_bytes();
            [&[*kind as u8], &len[..]].concat()
        };
        let mut over = header(kind.max_bytes() + 1);
        assert_eq!(Batch::new(over.clone().into()).next(), Some(Err(Fault::Oversized)), "{kind:?}");
        over = header(kind.max_bytes());
        over.resize(MESSAGE_HEADER_BYTES + kind.max_bytes(), 0);
        assert!(matches!(Batch::new(over.into()).next(), Some(Ok(_))), "{kind:?}");
    }
    for code in [0, 18, 255] {
        assert_eq!(Batch::new(vec![code, 0, 0].into()).next(), Some(Err(Fault::UnknownKind)));
    }
    let mut batch = Batch::new(vec![99, 0, 0, Kind::PruneAll as u8, 0, 0].into());
    assert!(batch.next().unwrap().is_err() && batch.next().is_none(), "nothing after a fault");
}

#[test]
fn bodies_that_make_no_sense_are_malformed() {
    let bad = |kind: Kind, body: &[u8]| {
        assert_eq!(decode_all(frame(kind, body)), Err(Fault::Malformed), "{kind:?} {body:?}");
    };
    bad(Kind::Ping, &[0; 7]);
    bad(Kind::Bye, &[]);
    bad(Kind::IHaveWhole, &[0; 33]);
    bad(Kind::Salt, &[0; 15]);
    bad(Kind::IHave, &[0; 4]);
    bad(Kind::IHave, &[0; 13]);
    bad(Kind::IWant, &[]);
    bad(Kind::IWant, &[0; 5]);
    bad(Kind::Graft, &[0; 9]);
    bad(Kind::Prune, &[]);
    bad(Kind::Prune, &[0; 7]);
    bad(Kind::Get, &[0, 0, 0, 1, 0]);
    bad(Kind::Get, &[&[0, 0, 0, 1, 2][..], &[0; 32]].concat());
    bad(Kind::Recon, &[0, 0, 0, 1, 0, 8]);
    bad(Kind::Recon, &[0, 0, 0, 1, 0, 2]);
    // A responder's message from an initiator, and the other way round.
    bad(Kind::Recon, &[0, 0, 0, 1, 0, 3]);
    bad(Kind::Recon, &[0, 0, 0, 1, 1, 7]);
    // OPEN of a range whose end comes first, and one without a message.
    bad(Kind::Recon, &[&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1][..], &[0; 33]].concat());
    bad(Kind::Recon, &[&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1][..], &[0; 32]].concat());
    bad(Kind::Peers, &[0, 5, 1]);
    bad(Kind::Peers, &[0; 2 * (PEERS_MAX_RECORDS + 1)]);
    let hello = |change: &dyn Fn(&mut Hello)| {
        let mut hello = Hello {
            version_min: 1,
            version_max: 1,
            probe: false,
            recon_max: 4_096,
            link_key: [0; 32],
            seen_as: "tcp:a:1".parse().unwrap(),
            record: None,
        };
        change(&mut hello);
        decode_all(Message::Hello(hello).encode()).map(|_| ())
    };
    assert_eq!(hello(&|_| {}), Ok(()));
    assert_eq!(hello(&|hello| hello.version_min = 2), Err(Fault::Malformed));
    assert_eq!(hello(&|hello| hello.recon_max = 4_095), Err(Fault::Malformed));
}

#[test]
fn records_prove_their_link_key() {
    let key = SigningKey::from_bytes(&[3; 32]);
    let record = PeerRecord::sign(&key, "tcp:8.8.8.8:4000".parse().unwrap(), 1_700_000_000);
    assert_eq!(record.verify(), Ok(()));
    assert_eq!(PeerRecord::decode(&record.encode()), Ok(record.clone()));
    let longer: Bytes = [&record.encode()[..], &[0]].concat().into();
    assert_eq!(PeerRecord::decode(&longer), Err(RecordError::Malformed));
    let other = SigningKey::from_bytes(&[4; 32]).verifying_key().to_bytes();
    assert_eq!(PeerRecord { link_key: other, ..record }.verify(), Err(RecordError::Forged));
    assert_eq!(link_key_to_x25519(&key.verifying_key().to_bytes()), Some(key.verifying_key().to_montgomery().0));
    // The identity, a point of small order.
    let mut weak = [0; 32];
    weak[0] = 1;
    assert_eq!(link_key_to_x25519(&weak), None);
}
