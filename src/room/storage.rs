//! The key of what this node writes to its own disk.

use std::fmt;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use rumormill_api::RoomTag;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::keys::RoomId;

/// Fills a slice with random bytes. A node gives it the operating system's, a simulation a seeded generator's.
pub type Entropy<'a> = dyn FnMut(&mut [u8]) + 'a;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Bytes that sealing adds to a state.
pub const STATE_OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

const STATE_CONTEXT: &str = "rumormill 2026 storage state key v1";
const TAG_CONTEXT: &str = "rumormill 2026 storage room tag v1";

/// Why a stored state didn't open. Opaque on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// Altered, cut short, sealed with another key or for another purpose.
    #[error("the stored state was altered, or belongs to another profile")]
    Sealed,
    /// Sealed by us, and yet not a state of this version.
    #[error("the stored state is of a version that this program doesn't read")]
    Version,
    /// Sealed by us, and yet not a state.
    #[error("the stored state isn't one")]
    Malformed,
}

/// The 32-byte key of a node's storage: seals the rooms' states and hides the rooms' ids. Erased when dropped, never
/// printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StorageKey([u8; 32]);

impl StorageKey {
    /// A key of raw bytes, which should come from a secure random generator.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Seals a state: `nonce 24 | ciphertext | tag 16` by XChaCha20-Poly1305 with a random nonce. `purpose` says what it
    /// is (and for which room), so that one state can't be put in another's place.
    #[must_use]
    pub fn seal_state(&self, purpose: &[u8], state: &[u8], entropy: &mut Entropy<'_>) -> Vec<u8> {
        let mut nonce = XNonce::default();
        entropy(&mut nonce);
        let mut out = Vec::with_capacity(STATE_OVERHEAD_BYTES + state.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(state);
        let tag = self
            .cipher()
            .encrypt_inout_detached(&nonce, purpose, (&mut out[NONCE_BYTES..]).into())
            .expect("a state is far below ChaCha20's limit of 256 GiB");
        out.extend_from_slice(&tag);
        out
    }

    /// Opens what [`Self::seal_state`] sealed for the same purpose.
    ///
    /// # Errors
    ///
    /// [`StateError::Sealed`].
    pub fn open_state(&self, purpose: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StateError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(StateError::Sealed)?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(StateError::Sealed)?;
        let mut body = Zeroizing::new(body.to_vec());
        self.cipher()
            .decrypt_inout_detached(&XNonce::from(*nonce), purpose, body.as_mut_slice().into(), &Tag::from(*tag))
            .map_err(|_| StateError::Sealed)?;
        Ok(body)
    }

    /// The room as this node's store knows it.
    #[must_use]
    pub fn room_tag(&self, room: &RoomId) -> RoomTag {
        let key = Zeroizing::new(blake3::derive_key(TAG_CONTEXT, &self.0));
        let hash = blake3::keyed_hash(&key, &room.0);
        RoomTag(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        let key = Zeroizing::new(blake3::derive_key(STATE_CONTEXT, &self.0));
        XChaCha20Poly1305::new((&*key).into())
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> StorageKey {
        StorageKey::new([5; 32])
    }

    fn seal(purpose: &[u8]) -> Vec<u8> {
        key().seal_state(purpose, b"state", &mut |out| out.fill(9))
    }

    #[test]
    fn opens_for_the_same_purpose_only() {
        let sealed = seal(b"room a");
        assert_eq!(key().open_state(b"room a", &sealed).map(|s| s.to_vec()), Ok(b"state".to_vec()));
        assert_eq!(key().open_state(b"room b", &sealed).map(|s| s.to_vec()), Err(StateError::Sealed));
        let other = StorageKey::new([6; 32]);
        assert_eq!(other.open_state(b"room a", &sealed).map(|s| s.to_vec()), Err(StateError::Sealed));
    }

    #[test]
    fn every_alteration_and_every_cut_is_refused() {
        let sealed = seal(b"room a");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 0x80;
            assert!(key().open_state(b"room a", &altered).is_err(), "byte {at}");
            assert!(key().open_state(b"room a", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_tag_is_the_nodes_own() {
        let room = RoomId([1; 32]);
        assert_eq!(key().room_tag(&room), key().room_tag(&room));
        assert_ne!(key().room_tag(&room), key().room_tag(&RoomId([2; 32])));
        assert_ne!(key().room_tag(&room), StorageKey::new([6; 32]).room_tag(&room));
    }

    #[test]
    fn is_not_printed() {
        assert_eq!(format!("{:?}", key()), "StorageKey(…)");
    }
}
