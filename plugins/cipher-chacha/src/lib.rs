//! The committing ChaCha20-Poly1305 room cipher, under the name `chacha`.
//!
//! `commitment ‖ K` are the first 64 bytes of BLAKE3's keyed output stream under the epoch key, over
//! [`CONTEXT`] and the envelope's nonce. The body is sealed with ChaCha20-Poly1305 (RFC 8439) under `K` and the zero
//! nonce: `K` is fresh for each envelope, so the pair never repeats. The associated data are the header's.
//!
//! Poly1305 doesn't commit to its key: one ciphertext can be made to open under many keys, and then a reply tells which
//! of them a node holds (Len, Grubbs, Ristenpart: *Partitioning Oracle Attacks*, USENIX Security 2021). Comparing the
//! commitment first closes that, and makes a failing trial cost one compression of BLAKE3.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use rumormill_api::cipher::{COMMITMENT_BYTES, NONCE_BYTES, TAG_BYTES};
use rumormill_api::{CipherSuite, EpochKey, Header, OpenError, Registry, RoomCipher};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// What the derivation of commitment and key is bound to.
pub const CONTEXT: &[u8; 26] = b"rumormill envelope key v1\0";

const KEY_BYTES: usize = 32;

/// Registers this backend.
pub fn register(registry: &mut Registry) {
    registry.add_cipher("chacha", |()| Ok(Arc::new(ChaCha)));
}

/// The suite. Holds no key.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChaCha;

impl CipherSuite for ChaCha {
    fn name(&self) -> &'static str {
        "chacha"
    }

    fn room(&self, key: &EpochKey) -> Box<dyn RoomCipher> {
        Box::new(ChaChaRoom { key: key.clone() })
    }
}

/// What sealing derives from an epoch key and a nonce: for test vectors.
pub struct Derived {
    /// The commitment, which the envelope carries.
    pub commitment: [u8; COMMITMENT_BYTES],
    /// The key of the body, which nothing carries.
    pub key: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derived(…)")
    }
}

/// Derives the commitment and the body's key of one envelope.
#[must_use]
pub fn derive(key: &EpochKey, nonce: &[u8; NONCE_BYTES]) -> Derived {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    hasher.update(&input(nonce));
    let mut reader = hasher.finalize_xof();
    let mut derived = Derived { commitment: [0; COMMITMENT_BYTES], key: Zeroizing::new([0; KEY_BYTES]) };
    reader.fill(&mut derived.commitment);
    reader.fill(&mut *derived.key);
    reader.zeroize();
    hasher.zeroize();
    derived
}

/// One block of BLAKE3 at most, so that a trial is a single compression.
fn input(nonce: &[u8; NONCE_BYTES]) -> [u8; CONTEXT.len() + NONCE_BYTES] {
    let mut input = [0; CONTEXT.len() + NONCE_BYTES];
    input[..CONTEXT.len()].copy_from_slice(CONTEXT);
    input[CONTEXT.len()..].copy_from_slice(nonce);
    input
}

struct ChaChaRoom {
    key: EpochKey,
}

impl RoomCipher for ChaChaRoom {
    fn commitment(&self, nonce: &[u8; NONCE_BYTES]) -> [u8; COMMITMENT_BYTES] {
        // The hash is the first 32 bytes of the output stream, and the one-shot function is several times faster.
        *blake3::keyed_hash(&self.key.0, &input(nonce)).as_bytes()
    }

    fn seal(&self, header: &Header, body: &mut [u8]) -> ([u8; COMMITMENT_BYTES], [u8; TAG_BYTES]) {
        let derived = derive(&self.key, &header.nonce);
        let tag = ChaCha20Poly1305::new((&*derived.key).into())
            .encrypt_inout_detached(&Nonce::default(), &header.associated_data(&derived.commitment), body.into())
            .expect("a body is far below ChaCha20's limit of 256 GiB");
        (derived.commitment, tag.into())
    }

    fn open(
        &self,
        header: &Header,
        commitment: &[u8; COMMITMENT_BYTES],
        body: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), OpenError> {
        if !bool::from(self.commitment(&header.nonce).ct_eq(commitment)) {
            return Err(OpenError::NotMine);
        }
        let derived = derive(&self.key, &header.nonce);
        ChaCha20Poly1305::new((&*derived.key).into())
            .decrypt_inout_detached(&Nonce::default(), &header.associated_data(commitment), body.into(), tag.into())
            .map_err(|_| OpenError::Broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    rumormill_api::cipher_suite!(|| std::sync::Arc::new(super::ChaCha));

    #[test]
    fn registers_under_its_name() {
        let mut registry = Registry::default();
        register(&mut registry);
        assert_eq!(registry.cipher_names(), ["chacha"]);
        assert_eq!(registry.cipher("chacha", ()).map(|suite| suite.name()).ok(), Some("chacha"));
    }

    #[test]
    fn the_short_cut_equals_the_stream() {
        let key = EpochKey([7; 32]);
        let nonce = [9; NONCE_BYTES];
        assert_eq!(ChaCha.room(&key).commitment(&nonce), derive(&key, &nonce).commitment);
    }

    #[test]
    fn nothing_prints_a_key() {
        let shown = format!("{:?}", derive(&EpochKey([7; 32]), &[9; NONCE_BYTES]));
        assert_eq!(shown, "Derived(…)");
    }
}
