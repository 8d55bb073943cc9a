//! The envelope: all that a relay sees of a message.

use bytes::Bytes;
use rumormill_api::cipher::{COMMITMENT_BYTES, NONCE_BYTES, TAG_BYTES};
use rumormill_api::{ExpiryHour, Header, Millis, MsgId};

/// The envelope format that this build speaks.
pub const ENVELOPE_VERSION: u8 = 1;
/// The flags that version 1 knows: none.
pub const ENVELOPE_FLAGS: u8 = 0;
/// Where the expiry hour stands.
pub const ENVELOPE_EXPIRY_OFFSET: usize = 2;
/// Where the nonce stands.
pub const ENVELOPE_NONCE_OFFSET: usize = 6;
/// Where the commitment stands.
pub const ENVELOPE_COMMITMENT_OFFSET: usize = ENVELOPE_NONCE_OFFSET + NONCE_BYTES;
/// Where the work stands.
pub const ENVELOPE_WORK_OFFSET: usize = ENVELOPE_COMMITMENT_OFFSET + COMMITMENT_BYTES;
/// Bytes of the work. All zero in version 1: any other value would make a second id for one message.
pub const WORK_BYTES: usize = 8;
/// Where the ciphertext begins.
pub const ENVELOPE_BODY_OFFSET: usize = ENVELOPE_WORK_OFFSET + WORK_BYTES;
/// What an envelope adds to the body that is sealed in it.
pub const ENVELOPE_OVERHEAD_BYTES: usize = ENVELOPE_BODY_OFFSET + TAG_BYTES;
/// The sizes that an envelope may have, so that its length tells little.
pub const ENVELOPE_SIZES: [usize; 7] = [512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10];
/// The largest envelope.
pub const ENVELOPE_MAX_BYTES: usize = 32 << 10;
/// An hour, in milliseconds.
pub const HOUR_MS: Millis = 3_600_000;
/// How long an envelope is to live when it is made, in hours.
pub const ENVELOPE_LIFE_HOURS: u32 = 7 * 24;
/// How far two nodes' clocks may be apart without losing an envelope to it, in milliseconds.
pub const ENVELOPE_SKEW_MS: Millis = HOUR_MS;

/// Why bytes are not an envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Its length isn't one of [`ENVELOPE_SIZES`].
    #[error("an envelope has 512, 1024, 2048, 4096, 8192, 16384 or 32768 bytes")]
    BadSize,
    /// Its version isn't [`ENVELOPE_VERSION`].
    #[error("the envelope's version is unknown")]
    UnknownVersion,
    /// Its flags aren't [`ENVELOPE_FLAGS`].
    #[error("the envelope has unknown flags")]
    BadFlags,
    /// Its work isn't zero.
    #[error("the envelope's work field is not zero")]
    BadWork,
}

/// How an expiry stands to a clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Within (now − 1 h, now + 7 d + 1 h].
    Valid,
    /// At or before now − 1 h.
    Expired,
    /// After now + 7 d + 1 h.
    FromFuture,
}

/// How `expiry` stands to `now`, in milliseconds since the Unix epoch.
#[must_use]
pub fn freshness(expiry: ExpiryHour, now: Millis) -> Freshness {
    let expiry = u64::from(expiry) * HOUR_MS;
    if expiry.saturating_add(ENVELOPE_SKEW_MS) <= now {
        Freshness::Expired
    } else if expiry > now.saturating_add(u64::from(ENVELOPE_LIFE_HOURS) * HOUR_MS + ENVELOPE_SKEW_MS) {
        Freshness::FromFuture
    } else {
        Freshness::Valid
    }
}

/// A view of an envelope whose structure was checked. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    bytes: Bytes,
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Envelope({} bytes, expiry hour {})", self.bytes.len(), self.expiry())
    }
}

impl Envelope {
    /// Checks size, version, flags and work. Nothing is copied.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError`], in the order size, version, flags, work.
    pub fn parse(bytes: &Bytes) -> Result<Self, EnvelopeError> {
        Self::check(bytes).map(|()| Self { bytes: bytes.clone() })
    }

    /// As [`Self::parse`], of bytes that nobody may keep.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub fn check(bytes: &[u8]) -> Result<(), EnvelopeError> {
        if !ENVELOPE_SIZES.contains(&bytes.len()) {
            return Err(EnvelopeError::BadSize);
        }
        if bytes[0] != ENVELOPE_VERSION {
            return Err(EnvelopeError::UnknownVersion);
        }
        if bytes[1] != ENVELOPE_FLAGS {
            return Err(EnvelopeError::BadFlags);
        }
        if bytes[ENVELOPE_WORK_OFFSET..ENVELOPE_BODY_OFFSET] != [0; WORK_BYTES] {
            return Err(EnvelopeError::BadWork);
        }
        Ok(())
    }

    /// Lays an envelope out: the header, the commitment, and the sealed body with its tag. The body must have one of
    /// the lengths of [`Self::body_sizes`].
    ///
    /// # Errors
    ///
    /// As [`Self::parse`] would say of the result.
    pub fn assemble(
        header: &Header,
        commitment: &[u8; COMMITMENT_BYTES],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<Self, EnvelopeError> {
        let mut bytes = Vec::with_capacity(ENVELOPE_OVERHEAD_BYTES + ciphertext.len());
        bytes.extend_from_slice(&header.associated_data(commitment));
        bytes.extend_from_slice(&[0; WORK_BYTES]);
        bytes.extend_from_slice(ciphertext);
        bytes.extend_from_slice(tag);
        Self::parse(&bytes.into())
    }

    /// The lengths that a body may have before it is sealed: each of [`ENVELOPE_SIZES`] less the overhead.
    #[must_use]
    pub fn body_sizes() -> [usize; ENVELOPE_SIZES.len()] {
        ENVELOPE_SIZES.map(|size| size - ENVELOPE_OVERHEAD_BYTES)
    }

    /// The header, as the seal is bound to it.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            version: self.bytes[0],
            flags: self.bytes[1],
            expiry_hour: self.expiry(),
            nonce: self.array(ENVELOPE_NONCE_OFFSET),
        }
    }

    /// When it expires.
    #[must_use]
    pub fn expiry(&self) -> ExpiryHour {
        Self::expiry_of(&self.bytes)
    }

    /// When an envelope of these bytes, which were checked, expires.
    pub(crate) fn expiry_of(bytes: &[u8]) -> ExpiryHour {
        let expiry = bytes[ENVELOPE_EXPIRY_OFFSET..].first_chunk().expect("an envelope is longer than its header");
        u32::from_be_bytes(*expiry)
    }

    /// The commitment to the key that it is sealed with.
    #[must_use]
    pub fn commitment(&self) -> [u8; COMMITMENT_BYTES] {
        self.array(ENVELOPE_COMMITMENT_OFFSET)
    }

    /// The sealed body, without its tag.
    #[must_use]
    pub fn ciphertext(&self) -> &[u8] {
        &self.bytes[ENVELOPE_BODY_OFFSET..self.bytes.len() - TAG_BYTES]
    }

    /// The body's tag.
    #[must_use]
    pub fn tag(&self) -> [u8; TAG_BYTES] {
        self.array(self.bytes.len() - TAG_BYTES)
    }

    /// Its id: the BLAKE3 hash of all bytes.
    #[must_use]
    pub fn id(&self) -> MsgId {
        MsgId::of(&self.bytes)
    }

    /// All bytes, shared.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// All bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.bytes[offset..offset + N].try_into().expect("a range of N bytes")
    }
}
