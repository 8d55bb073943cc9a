//! What is inside a seal: a member of the room may have put anything there.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use rumormill::api::cipher::NONCE_BYTES;
use rumormill::api::{Header, RoomCipher};
use rumormill::proto::Envelope;
use rumormill::room::{
    Access, ChainKey, DAY_MS, Identity, Keyring, NewMessage, Room, RoomKind, RoomSecret, RoomSpec, RoomState,
    StorageKey,
};

/// 2026-01-15 12:00 UTC.
const NOW_MS: u64 = 20_468 * DAY_MS + DAY_MS / 2;
/// Every message's nonce here, so that the seeds' signatures hold for the same envelope again.
const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];
/// Bytes of the payload's length, before it.
const LENGTH_BYTES: usize = 2;

struct Fixture {
    keyring: Keyring,
    cipher: Box<dyn RoomCipher>,
    header: Header,
    seeds: Vec<Vec<u8>>,
    envelopes: Vec<Bytes>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let suite = rumormill::plugins::compiled_in().cipher("chacha", ()).expect("the feature cipher-chacha is on");
    let secret = RoomSecret::new([1; 32]);
    let key = ChainKey::start(&secret).epoch_key();
    let born_day = u32::try_from(NOW_MS / DAY_MS).expect("days fit");
    let spec = RoomSpec {
        name: "fuzz".into(),
        access: Access::Secret(secret),
        kind: RoomKind::Archive,
        born_day,
        weak: false,
    };
    let room = Room::new(spec, Arc::clone(&suite), &StorageKey::new([2; 32]));
    let cipher = suite.room(&key);

    let identity = Identity::from_seed(&[3; 32]);
    let mut state = RoomState::default();
    let mut header = Header { version: 1, flags: 0, expiry_hour: 0, nonce: NONCE };
    let (mut seeds, mut envelopes) = (Vec::new(), Vec::new());
    for (number, text) in ["hello", "again", &"long ".repeat(20_000)].into_iter().enumerate() {
        let message = NewMessage { nick: "fuzz".into(), text: text.into(), bot: number == 1, ..NewMessage::default() };
        let sealed = room
            .seal(&identity, &mut state, &message, NOW_MS, &mut |bytes: &mut [u8]| bytes.fill(NONCE[0]))
            .expect("a valid message is sealed");
        header.expiry_hour = sealed[0].expiry;
        seeds.extend(sealed.iter().map(|sealed| unseal(&*cipher, &header, &sealed.envelope)));
        envelopes.extend(sealed.into_iter().map(|sealed| sealed.envelope));
    }
    Fixture { keyring: Keyring::new(vec![room]), cipher, header, seeds, envelopes }
});

/// The payload of an envelope, without its padding.
fn unseal(cipher: &dyn RoomCipher, header: &Header, envelope: &Bytes) -> Vec<u8> {
    let envelope = Envelope::parse(envelope).expect("what was sealed is an envelope");
    let mut body = envelope.ciphertext().to_vec();
    cipher.open(header, &envelope.commitment(), &mut body, &envelope.tag()).expect("what was sealed opens");
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    body[LENGTH_BYTES..LENGTH_BYTES + length].to_vec()
}

/// Envelopes of a text, a bot's text, and the chunks and the manifest of a long one.
pub(crate) fn envelopes() -> Vec<Bytes> {
    FIXTURE.envelopes.clone()
}

/// An envelope that came over a link: it opens if a member sealed it, and is nobody's or refused if not.
pub(crate) fn foreign(envelope: &Bytes) {
    let sealed = FIXTURE.envelopes.contains(envelope);
    match FIXTURE.keyring.open(envelope, NOW_MS) {
        Ok(Some(_)) => assert!(sealed, "nobody sealed this"),
        Ok(None) | Err(_) => assert!(!sealed, "what a member sealed opens"),
    }
}

/// Payloads of a text, a bot's text, and the chunks and the manifest of a long one.
pub(crate) fn payloads() -> Vec<Vec<u8>> {
    FIXTURE.seeds.clone()
}

/// A payload, sealed as a member would, opened as every other member does.
pub fn payload(data: &[u8]) {
    let Fixture { keyring, cipher, header, .. } = &*FIXTURE;
    let Some(size) = Envelope::body_sizes().into_iter().find(|size| LENGTH_BYTES + data.len() <= *size) else { return };
    let mut body = Vec::with_capacity(size);
    body.extend(u16::try_from(data.len()).expect("the largest size is below it").to_be_bytes());
    body.extend(data);
    body.resize(size, 0);
    let (commitment, tag) = cipher.seal(header, &mut body);
    let envelope = Envelope::assemble(header, &commitment, &body, &tag).expect("a body of that size fits");
    let signed = FIXTURE.seeds.iter().any(|seed| seed == data);
    match keyring.open(envelope.bytes(), NOW_MS) {
        Ok(Some((0, opened))) => assert!(signed, "nobody signed this: {opened:?}"),
        Ok(other) => panic!("an envelope under the room's key is the room's: {other:?}"),
        Err(reject) => assert!(!signed, "a member's own message is refused: {reject}"),
    }
}
