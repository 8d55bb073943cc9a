//! Signed addresses: "the node of this link key can be dialled there".

use bytes::{BufMut, Bytes, BytesMut};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rumormill_api::PeerAddr;
use rumormill_api::ids::PEER_ADDR_MAX_BYTES;

use super::wire::{Reader, put_text8};

/// The longest record, in bytes.
pub const RECORD_MAX_BYTES: usize = 32 + 8 + 1 + PEER_ADDR_MAX_BYTES + 64;
/// How old a record may be, in seconds.
pub const RECORD_AGE_MAX_S: u64 = 7 * 24 * 3_600;
/// How far in the future a record may be issued, in seconds: clocks differ.
pub const RECORD_FUTURE_MAX_S: u64 = 25 * 3_600;

const CONTEXT: &[u8] = b"rumormill peer record v1";

/// An address, signed by the link key of the node that is reached there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerRecord {
    /// The node's link key (Ed25519).
    pub link_key: [u8; 32],
    /// When it was signed, in seconds since the Unix epoch.
    pub issued_at: u64,
    /// Where the node can be dialled.
    pub addr: PeerAddr,
    signature: [u8; 64],
}

impl PeerRecord {
    /// Signs an address at `unix_s` (seconds since the Unix epoch).
    #[must_use]
    pub fn sign(key: &SigningKey, addr: PeerAddr, unix_s: u64) -> Self {
        let mut record = Self { link_key: key.verifying_key().to_bytes(), issued_at: unix_s, addr, signature: [0; 64] };
        record.signature = key.sign(&record.signed()).to_bytes();
        record
    }

    fn signed(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(CONTEXT.len() + RECORD_MAX_BYTES);
        out.put_slice(CONTEXT);
        self.put_unsigned(&mut out);
        out.freeze()
    }

    fn put_unsigned(&self, out: &mut BytesMut) {
        out.put_slice(&self.link_key);
        out.put_u64(self.issued_at);
        put_text8(out, self.addr.as_str());
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        self.put_unsigned(out);
        out.put_slice(&self.signature);
    }

    pub(super) fn read(body: &mut Reader) -> Option<Self> {
        Some(Self {
            link_key: body.array()?,
            issued_at: u64::from_be_bytes(body.array()?),
            addr: std::str::from_utf8(&body.text8()?).ok()?.parse().ok()?,
            signature: body.array()?,
        })
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(RECORD_MAX_BYTES);
        self.put(&mut out);
        out.freeze()
    }

    /// Reads what [`encode`](Self::encode) wrote; nothing may follow.
    #[must_use]
    pub fn decode(bytes: Bytes) -> Option<Self> {
        let mut body = Reader(bytes);
        let record = Self::read(&mut body)?;
        body.0.is_empty().then_some(record)
    }

    /// Whether the signature is its key's and the time of signing is plausible at `unix_s`.
    #[must_use]
    pub fn verify(&self, unix_s: u64) -> bool {
        let timely = self.issued_at <= unix_s.saturating_add(RECORD_FUTURE_MAX_S)
            && unix_s <= self.issued_at.saturating_add(RECORD_AGE_MAX_S);
        timely
            && VerifyingKey::from_bytes(&self.link_key)
                .is_ok_and(|key| key.verify_strict(&self.signed(), &Signature::from_bytes(&self.signature)).is_ok())
    }

    /// The X25519 key that the handshake with this node shows.
    #[must_use]
    pub fn handshake_key(&self) -> Option<[u8; 32]> {
        handshake_key(&self.link_key)
    }
}

/// The X25519 public key that belongs to an Ed25519 link key, if it is one.
#[must_use]
pub fn handshake_key(link_key: &[u8; 32]) -> Option<[u8; 32]> {
    VerifyingKey::from_bytes(link_key).ok().map(|key| key.to_montgomery().to_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_record_verifies_within_its_time_and_unaltered() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let now = 1_000_000_000;
        let record = PeerRecord::sign(&key, "tcp:192.0.2.1:4001".parse().unwrap(), now);
        assert!(record.verify(now));
        assert!(record.verify(now + RECORD_AGE_MAX_S));
        assert!(!record.verify(now + RECORD_AGE_MAX_S + 1));
        assert!(record.verify(now - RECORD_FUTURE_MAX_S));
        assert!(!record.verify(now - RECORD_FUTURE_MAX_S - 1));
        assert_eq!(PeerRecord::decode(record.encode()), Some(record.clone()));
        let other = PeerRecord { addr: "tcp:192.0.2.2:4001".parse().unwrap(), ..record.clone() };
        assert!(!other.verify(now));
        let other = PeerRecord { issued_at: now + 1, ..record };
        assert!(!other.verify(now));
    }

    #[test]
    fn the_longest_address_fits() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let addr = PeerAddr::new("tcp", &"a".repeat(PEER_ADDR_MAX_BYTES - 4)).unwrap();
        let record = PeerRecord::sign(&key, addr, 7);
        assert_eq!(record.encode().len(), RECORD_MAX_BYTES);
        assert_eq!(PeerRecord::decode(record.encode()), Some(record));
    }
}
