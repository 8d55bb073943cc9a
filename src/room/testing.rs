//! What the tests of this folder share: fixed rooms, people, times and randomness.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rumormill_api::cipher::{COMMITMENT_BYTES, NONCE_BYTES, TAG_BYTES};
use rumormill_api::{CipherSuite, EpochKey, Header, Millis, MsgId, OpenError, RoomCipher};

use super::*;

/// 2026-01-15 12:00 UTC: day 20,468.
pub(crate) const NOW_MS: Millis = 20_468 * DAY_MS + DAY_MS / 2;

/// A committing cipher of a few lines, so that these tests need no backend. Not for use: it isn't fast, nor reviewed.
pub(crate) struct Plain;

struct PlainRoom(EpochKey);

impl CipherSuite for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn room(&self, key: &EpochKey) -> Box<dyn RoomCipher> {
        Box::new(PlainRoom(key.clone()))
    }
}

impl PlainRoom {
    fn stream(&self, header: &Header, body: &mut [u8]) {
        let mut stream = vec![0; body.len()];
        blake3::Hasher::new_keyed(&self.0.0).update(b"stream").update(&header.nonce).finalize_xof().fill(&mut stream);
        body.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
    }

    fn tag(&self, header: &Header, commitment: &[u8; COMMITMENT_BYTES], body: &[u8]) -> [u8; TAG_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.0);
        hasher.update(b"tag").update(&header.associated_data(commitment)).update(body);
        *hasher.finalize().as_bytes().first_chunk().unwrap()
    }
}

impl RoomCipher for PlainRoom {
    fn commitment(&self, nonce: &[u8; NONCE_BYTES]) -> [u8; COMMITMENT_BYTES] {
        *blake3::keyed_hash(&self.0.0, nonce).as_bytes()
    }

    fn seal(&self, header: &Header, body: &mut [u8]) -> ([u8; COMMITMENT_BYTES], [u8; TAG_BYTES]) {
        let commitment = self.commitment(&header.nonce);
        self.stream(header, body);
        (commitment, self.tag(header, &commitment, body))
    }

    fn open(
        &self,
        header: &Header,
        commitment: &[u8; COMMITMENT_BYTES],
        body: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), OpenError> {
        if self.commitment(&header.nonce) != *commitment {
            return Err(OpenError::NotMine);
        }
        if self.tag(header, commitment, body) != *tag {
            return Err(OpenError::Broken);
        }
        self.stream(header, body);
        Ok(())
    }
}

pub(crate) fn storage() -> StorageKey {
    StorageKey::new([0xd1; 32])
}

pub(crate) fn secret(byte: u8) -> RoomSecret {
    RoomSecret::new([byte; 32])
}

pub(crate) fn spec(byte: u8) -> RoomSpec {
    RoomSpec {
        name: format!("room-{byte}").into(),
        access: Access::Secret(secret(byte)),
        kind: RoomKind::Archive,
        born_day: day_of(NOW_MS) - 10,
        weak: false,
    }
}

pub(crate) fn room_of(spec: RoomSpec) -> Room {
    Room::new(spec, Arc::new(Plain), &storage())
}

pub(crate) fn room(byte: u8) -> Room {
    room_of(spec(byte))
}

pub(crate) fn alice() -> Identity {
    Identity::from_seed(&[0xa1; 32])
}

pub(crate) fn bob() -> Identity {
    Identity::from_seed(&[0xb0; 32])
}

pub(crate) fn text(text: &str) -> NewMessage {
    NewMessage { nick: "alice".to_owned(), text: text.to_owned(), ..NewMessage::default() }
}

pub(super) fn id(byte: u8) -> MsgId {
    MsgId([byte; 32])
}

/// Random bytes that are the same in every run.
pub(super) fn entropy() -> impl FnMut(&mut [u8]) {
    let mut reader = blake3::Hasher::new().update(b"entropy of the tests").finalize_xof();
    move |out: &mut [u8]| reader.fill(out)
}

/// Seals one text that fits into an envelope.
pub(crate) fn seal_one(room: &Room, identity: &Identity, state: &mut RoomState, words: &str) -> Sealed {
    let mut nonce = 0_u64;
    let seed = state.clone();
    let mut entropy = move |out: &mut [u8]| {
        nonce += 1;
        let seed = format!("{seed:?} {nonce}");
        blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(out);
    };
    let mut sealed = room.seal(identity, state, &text(words), NOW_MS, &mut entropy).unwrap();
    assert_eq!(sealed.len(), 1);
    sealed.remove(0)
}
