//! Sealing and opening with a room's key.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The key of one epoch of one room, 32 bytes. Erased from memory when dropped; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct EpochKey(pub [u8; 32]);

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochKey(…)")
    }
}

/// Bytes of a nonce in an envelope.
pub const NONCE_BYTES: usize = 24;
/// Bytes of a key commitment in an envelope.
pub const COMMITMENT_BYTES: usize = 32;
/// Bytes that sealing adds to a plaintext.
pub const TAG_BYTES: usize = 16;

/// What the seal is bound to beside the body: the envelope's first fields, which every relay sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The envelope's format version.
    pub version: u8,
    /// The envelope's flags.
    pub flags: u8,
    /// When the envelope expires, in hours since the Unix epoch.
    pub expiry_hour: u32,
    /// Random for each envelope; nothing else makes two seals of one text differ.
    pub nonce: [u8; NONCE_BYTES],
}

impl Header {
    /// The associated data: `version 1 | flags 1 | expiry_hour u32 big-endian | nonce 24 | commitment 32`.
    #[must_use]
    pub fn associated_data(&self, commitment: &[u8; COMMITMENT_BYTES]) -> [u8; 6 + NONCE_BYTES + COMMITMENT_BYTES] {
        let mut out = [0; 6 + NONCE_BYTES + COMMITMENT_BYTES];
        out[0] = self.version;
        out[1] = self.flags;
        out[2..6].copy_from_slice(&self.expiry_hour.to_be_bytes());
        out[6..6 + NONCE_BYTES].copy_from_slice(&self.nonce);
        out[6 + NONCE_BYTES..].copy_from_slice(commitment);
        out
    }
}

/// Why an envelope didn't open. Opaque on purpose: neither variant says more than a caller needs to count it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The commitment isn't this key's: the envelope belongs to another room or epoch. The usual case.
    NotMine,
    /// The commitment is this key's, but the body was altered.
    Broken,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMine => "the envelope isn't sealed with this key",
            Self::Broken => "the envelope was altered",
        })
    }
}

impl std::error::Error for OpenError {}

/// A way to seal envelopes. It must commit to the key: no envelope opens under two keys.
pub trait CipherSuite: Send + Sync {
    /// The name that a config selects it by.
    fn name(&self) -> &'static str;

    /// The cipher of one epoch of one room.
    fn room(&self, key: &EpochKey) -> Box<dyn RoomCipher>;
}

/// Seals and opens with the key of one epoch of one room. Erases its key when dropped.
pub trait RoomCipher: Send + Sync {
    /// The commitment to this key under `nonce`. Comparing it (in constant time) is what a trial costs.
    fn commitment(&self, nonce: &[u8; NONCE_BYTES]) -> [u8; COMMITMENT_BYTES];

    /// Seals `body` in place and returns the commitment and the tag. `header.nonce` must be fresh.
    fn seal(&self, header: &Header, body: &mut [u8]) -> ([u8; COMMITMENT_BYTES], [u8; TAG_BYTES]);

    /// Opens `body` in place. On an error, `body` is unspecified and must not be used.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotMine`] when the commitment isn't this key's, [`OpenError::Broken`] when anything was altered.
    fn open(
        &self,
        header: &Header,
        commitment: &[u8; COMMITMENT_BYTES],
        body: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), OpenError>;
}
