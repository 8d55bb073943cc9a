//! The envelope: all that a relay sees of a message.
//!
//! A fixed layout, so that a relay parses it without allocation and forwards the bytes that it got:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | flags, 0 |
//! | 2 | 4 | expiry, in hours since the Unix epoch, big-endian |
//! | 6 | 24 | nonce |
//! | 30 | 32 | commitment to the key |
//! | 62 | 8 | work: reserved, zero in version 1 |
//! | 70 | … | ciphertext and its 16 bytes of tag, up to the end |
//!
//! The whole has one of the [`SIZES_BYTES`]. Version 1 admits one encoding of a sealed message and no other (flags and
//! work are zero): else one message could come under two ids and be shown twice.

use std::fmt;

use bytes::Bytes;
use rumormill_api::cipher::{COMMITMENT_BYTES, NONCE_BYTES, TAG_BYTES};
use rumormill_api::{ExpiryHour, Header, Millis, MsgId};

/// The format's version.
pub const ENVELOPE_VERSION: u8 = 1;
/// The sizes that an envelope can have, in bytes.
pub const SIZES_BYTES: [usize; 7] = [512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10];
/// The largest envelope, in bytes.
pub const ENVELOPE_MAX_BYTES: usize = SIZES_BYTES[SIZES_BYTES.len() - 1];
/// The smallest envelope, in bytes.
pub const ENVELOPE_MIN_BYTES: usize = SIZES_BYTES[0];
/// What stands before the ciphertext, in bytes.
pub const ENVELOPE_HEADER_BYTES: usize = WORK_AT + WORK_BYTES;
/// What an envelope adds to its padded plaintext, in bytes.
pub const ENVELOPE_OVERHEAD_BYTES: usize = ENVELOPE_HEADER_BYTES + TAG_BYTES;

/// How long an envelope can live, in milliseconds.
pub const LIFETIME_MAX_MS: Millis = 7 * 24 * HOUR_MS;
/// How far two clocks may differ, in milliseconds, before one refuses the other's envelopes.
pub const CLOCK_SLACK_MS: Millis = HOUR_MS;

const HOUR_MS: Millis = 3_600_000;
const NONCE_AT: usize = 6;
const COMMITMENT_AT: usize = NONCE_AT + NONCE_BYTES;
const WORK_AT: usize = COMMITMENT_AT + COMMITMENT_BYTES;
const WORK_BYTES: usize = 8;

/// Why bytes aren't an acceptable envelope.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EnvelopeFault {
    /// Its length is none of the [`SIZES_BYTES`].
    Size,
    /// Its version is unknown.
    Version,
    /// A flag is set that version 1 doesn't know.
    Flags,
    /// `work` isn't zero.
    Work,
    /// It has expired, more than [`CLOCK_SLACK_MS`] ago.
    Expired,
    /// It expires later than any envelope can by now.
    FromFuture,
}

impl EnvelopeFault {
    /// The name that it is counted under.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size => "envelope_bad_size",
            Self::Version => "envelope_unknown_version",
            Self::Flags => "envelope_unknown_flags",
            Self::Work => "envelope_bad_work",
            Self::Expired => "envelope_expired",
            Self::FromFuture => "envelope_from_future",
        }
    }

    /// Whether an honest peer can't have sent it. (That something has expired is no proof: clocks differ.)
    #[must_use]
    pub const fn is_provable(self) -> bool {
        !matches!(self, Self::Expired | Self::FromFuture)
    }
}

impl fmt::Display for EnvelopeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for EnvelopeFault {}

/// A well-formed envelope: a view of shared bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope(Bytes);

impl Envelope {
    /// Checks the structure. Expiry is [`check_expiry`](Self::check_expiry)'s.
    ///
    /// # Errors
    ///
    /// [`EnvelopeFault`].
    pub fn parse(bytes: Bytes) -> Result<Self, EnvelopeFault> {
        if !SIZES_BYTES.contains(&bytes.len()) {
            return Err(EnvelopeFault::Size);
        }
        if bytes[0] != ENVELOPE_VERSION {
            return Err(EnvelopeFault::Version);
        }
        if bytes[1] != 0 {
            return Err(EnvelopeFault::Flags);
        }
        if bytes[WORK_AT..WORK_AT + WORK_BYTES] != [0; WORK_BYTES] {
            return Err(EnvelopeFault::Work);
        }
        Ok(Self(bytes))
    }

    /// Lays an envelope out. `body` is the ciphertext without its tag.
    ///
    /// # Errors
    ///
    /// [`EnvelopeFault::Size`] when the parts don't add up to one of the sizes.
    pub fn assemble(
        header: &Header,
        commitment: &[u8; COMMITMENT_BYTES],
        body: &[u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<Self, EnvelopeFault> {
        let mut bytes = Vec::with_capacity(ENVELOPE_OVERHEAD_BYTES + body.len());
        bytes.extend_from_slice(&header.associated_data(commitment));
        bytes.extend_from_slice(&[0; WORK_BYTES]);
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(tag);
        Self::parse(bytes.into())
    }

    /// Whether it is acceptable at `unix` (milliseconds since the Unix epoch): its expiry lies within
    /// (now − 1 h, now + 7 d + 1 h].
    ///
    /// # Errors
    ///
    /// [`EnvelopeFault::Expired`] or [`EnvelopeFault::FromFuture`].
    pub fn check_expiry(&self, unix: Millis) -> Result<(), EnvelopeFault> {
        let expiry = Millis::from(self.expiry()) * HOUR_MS;
        if expiry + CLOCK_SLACK_MS <= unix {
            Err(EnvelopeFault::Expired)
        } else if expiry > unix.saturating_add(LIFETIME_MAX_MS + CLOCK_SLACK_MS) {
            Err(EnvelopeFault::FromFuture)
        } else {
            Ok(())
        }
    }

    /// Its id: BLAKE3 of all its bytes.
    #[must_use]
    pub fn id(&self) -> MsgId {
        MsgId::of(&self.0)
    }

    /// When it expires.
    #[must_use]
    pub fn expiry(&self) -> ExpiryHour {
        ExpiryHour::from_be_bytes(self.array(2))
    }

    /// What its seal is bound to.
    #[must_use]
    pub fn header(&self) -> Header {
        Header { version: self.0[0], flags: self.0[1], expiry_hour: self.expiry(), nonce: self.array(NONCE_AT) }
    }

    /// The commitment to its key.
    #[must_use]
    pub fn commitment(&self) -> [u8; COMMITMENT_BYTES] {
        self.array(COMMITMENT_AT)
    }

    /// The ciphertext, without its tag.
    #[must_use]
    pub fn ciphertext(&self) -> &[u8] {
        &self.0[ENVELOPE_HEADER_BYTES..self.0.len() - TAG_BYTES]
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> [u8; TAG_BYTES] {
        self.array(self.0.len() - TAG_BYTES)
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("a parsed envelope is longer than its header and tag")
    }
}

/// The expiry of an envelope that is sealed at `unix` (milliseconds since the Unix epoch) for the longest life: the
/// whole hour before, so that it says no more than the hour.
#[must_use]
pub fn expiry_of(unix: Millis) -> ExpiryHour {
    ExpiryHour::try_from((unix + LIFETIME_MAX_MS) / HOUR_MS).unwrap_or(ExpiryHour::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn raw(size: usize) -> Vec<u8> {
        let mut bytes = vec![7; size];
        bytes[0] = ENVELOPE_VERSION;
        bytes[1] = 0;
        bytes[2..6].copy_from_slice(&1_000u32.to_be_bytes());
        bytes[WORK_AT..WORK_AT + WORK_BYTES].fill(0);
        bytes
    }

    fn fault(bytes: Vec<u8>) -> EnvelopeFault {
        Envelope::parse(bytes.into()).unwrap_err()
    }

    #[test]
    fn every_size_class_and_no_other() {
        for size in SIZES_BYTES {
            let parsed = Envelope::parse(raw(size).into()).unwrap();
            assert_eq!(parsed.ciphertext().len(), size - ENVELOPE_OVERHEAD_BYTES);
            assert_eq!(fault(raw(size + 1)), EnvelopeFault::Size);
            assert_eq!(fault(raw(size - 1)), EnvelopeFault::Size);
        }
        assert_eq!(fault(Vec::new()), EnvelopeFault::Size);
        assert_eq!(fault(raw(ENVELOPE_MAX_BYTES * 2)), EnvelopeFault::Size);
    }

    #[test]
    fn each_fixed_field_has_its_own_fault() {
        for (at, expected) in [
            (0, EnvelopeFault::Version),
            (1, EnvelopeFault::Flags),
            (WORK_AT, EnvelopeFault::Work),
            (WORK_AT + 7, EnvelopeFault::Work),
        ] {
            let mut bytes = raw(512);
            bytes[at] ^= 0x80;
            assert_eq!(fault(bytes), expected, "offset {at}");
        }
    }

    #[test]
    fn expiry_is_accepted_within_its_bounds() {
        let envelope = Envelope::parse(raw(512).into()).unwrap();
        let expiry = 1_000 * HOUR_MS;
        assert_eq!(envelope.check_expiry(expiry + CLOCK_SLACK_MS - 1), Ok(()));
        assert_eq!(envelope.check_expiry(expiry + CLOCK_SLACK_MS), Err(EnvelopeFault::Expired));
        let earliest = expiry - LIFETIME_MAX_MS - CLOCK_SLACK_MS;
        assert_eq!(envelope.check_expiry(earliest), Ok(()));
        assert_eq!(envelope.check_expiry(earliest - 1), Err(EnvelopeFault::FromFuture));
        assert_eq!(envelope.check_expiry(u64::MAX), Err(EnvelopeFault::Expired));
    }

    #[test]
    fn the_parts_come_back() {
        let header = Header { version: 1, flags: 0, expiry_hour: 77, nonce: [3; NONCE_BYTES] };
        let body = vec![9; 512 - ENVELOPE_OVERHEAD_BYTES];
        let envelope = Envelope::assemble(&header, &[4; COMMITMENT_BYTES], &body, &[5; TAG_BYTES]).unwrap();
        assert_eq!(envelope.header(), header);
        assert_eq!(envelope.commitment(), [4; COMMITMENT_BYTES]);
        assert_eq!(envelope.ciphertext(), body);
        assert_eq!(envelope.tag(), [5; TAG_BYTES]);
        assert_eq!(envelope.id(), MsgId::of(envelope.bytes()));
        assert_eq!(Envelope::assemble(&header, &[4; 32], &body[1..], &[5; 16]), Err(EnvelopeFault::Size));
    }

    #[test]
    fn an_expiry_says_the_hour_only() {
        assert_eq!(expiry_of(0), 7 * 24);
        assert_eq!(expiry_of(HOUR_MS - 1), 7 * 24);
        assert_eq!(expiry_of(HOUR_MS), 7 * 24 + 1);
    }
}
