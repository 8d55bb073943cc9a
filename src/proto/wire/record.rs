//! Peer records: an address, signed by the link key of the node that can be reached there.

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rumormill_api::PeerAddr;
use rumormill_api::ids::PEER_ADDR_MAX_BYTES;

use super::codec::{Reader, put_short_blob};
use super::link::Fault;

/// What the signature covers, before the record's fields.
const CONTEXT: &[u8] = b"rumormill peer record v1\0";
const SIGNATURE_BYTES: usize = 64;
/// The longest record.
pub const PEER_RECORD_MAX_BYTES: usize = 32 + 8 + 1 + PEER_ADDR_MAX_BYTES + SIGNATURE_BYTES;

/// Why a record isn't believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// Its bytes aren't a record.
    #[error("the peer record is malformed")]
    Malformed,
    /// Its signature isn't its link key's.
    #[error("the peer record's signature is wrong")]
    Forged,
}

/// An address and the link key that answers there, signed by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerRecord {
    /// The Ed25519 form of the node's link key.
    pub link_key: [u8; 32],
    /// Where it can be dialled.
    pub addr: PeerAddr,
    /// When the record was made, in seconds since the Unix epoch.
    pub issued_at: u64,
    /// Over all of the above.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl PeerRecord {
    /// Makes this node's record. `unix_s` is the time in seconds since the Unix epoch.
    #[must_use]
    pub fn sign(key: &SigningKey, addr: PeerAddr, unix_s: u64) -> Self {
        let link_key = key.verifying_key().to_bytes();
        let signature = key.sign(&signed_bytes(&link_key, unix_s, &addr)).to_bytes();
        Self { link_key, addr, issued_at: unix_s, signature }
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(PEER_RECORD_MAX_BYTES);
        put_fields(&mut out, &self.link_key, self.issued_at, &self.addr);
        out.extend_from_slice(&self.signature);
        out.into()
    }

    /// Reads a record without checking its signature, which costs far more: see [`Self::verify`].
    ///
    /// # Errors
    ///
    /// [`RecordError::Malformed`] when the bytes are anything but one record.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        Self::read(bytes).map_err(|_| RecordError::Malformed)
    }

    fn read(bytes: &Bytes) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes.clone());
        let link_key = reader.array()?;
        let issued_at = reader.u64()?;
        let addr = parse_addr(&reader.short_blob()?)?;
        let signature = reader.array()?;
        reader.finish()?;
        Ok(Self { link_key, addr, issued_at, signature })
    }

    /// Checks the signature, strictly (no small-order keys, canonical encodings only).
    ///
    /// # Errors
    ///
    /// [`RecordError::Forged`].
    pub fn verify(&self) -> Result<(), RecordError> {
        let key = VerifyingKey::from_bytes(&self.link_key).map_err(|_| RecordError::Forged)?;
        key.verify_strict(
            &signed_bytes(&self.link_key, self.issued_at, &self.addr),
            &Signature::from_bytes(&self.signature),
        )
        .map_err(|_| RecordError::Forged)
    }
}

/// The X25519 form of an Ed25519 link key, as the handshake proves it; `None` for bytes that are no key or a weak one.
#[must_use]
pub fn link_key_to_x25519(link_key: &[u8; 32]) -> Option<[u8; 32]> {
    let key = VerifyingKey::from_bytes(link_key).ok()?;
    (!key.is_weak()).then(|| key.to_montgomery().to_bytes())
}

pub(super) fn parse_addr(bytes: &[u8]) -> Result<PeerAddr, Fault> {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or(Fault::Malformed)
}

fn put_fields(out: &mut Vec<u8>, link_key: &[u8; 32], issued_at: u64, addr: &PeerAddr) {
    out.extend_from_slice(link_key);
    out.extend_from_slice(&issued_at.to_be_bytes());
    put_short_blob(out, addr.as_str().as_bytes());
}

fn signed_bytes(link_key: &[u8; 32], issued_at: u64, addr: &PeerAddr) -> Vec<u8> {
    let mut out = CONTEXT.to_vec();
    put_fields(&mut out, link_key, issued_at, addr);
    out
}
