//! The records after the handshake: each direction of a link has its own key, its own count and no lock.
//!
//! The Noise library takes plaintext and ciphertext in two buffers. A link that relays everything can't afford that copy,
//! so the cipher is used here directly, in place: the frames are gathered where they are sealed, and a record is opened
//! where it was read. What is on the wire stays what the Noise Protocol Framework says: no associated data, the nonce of
//! section 12.3 (32 zero bits and the count, little-endian), REKEY of section 4.2.
//!
//! `ring` erases no keys. The session's keys lie in its key objects for as long as the link lives; the copies that pass
//! through this module are erased.

use std::time::Duration;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rumormill_api::transport::{BATCH_MAX_BYTES, FRAME_MAX_BYTES};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::noise::{LENGTH_BYTES, TAG_BYTES};

/// How many records are sealed under one key.
pub(crate) const REKEY_RECORDS: u32 = 1 << 16;
/// How old a key may be when it seals, in milliseconds.
pub(crate) const REKEY_AGE_MS: u64 = 10 * 60 * 1000;
/// Length of a direction's key, in bytes.
pub(crate) const KEY_BYTES: usize = 32;
/// The nonce that Noise keeps for REKEY; counting ends before it.
const REKEY_NONCE: u64 = u64::MAX;

/// When to replace a key. A parameter for the tests' sake: both ends must have the same number of records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RekeyRule {
    pub(crate) records: u32,
    pub(crate) age: Duration,
}

impl Default for RekeyRule {
    fn default() -> Self {
        Self { records: REKEY_RECORDS, age: Duration::from_millis(REKEY_AGE_MS) }
    }
}

/// Why a record wasn't accepted (a fault of the other end), or wasn't made.
pub(crate) type Fault = &'static str;

/// A record shorter than its own tag.
pub(crate) const FAULT_SHORT: Fault = "a record shorter than its tag";
/// A forged, altered, replayed, reordered or missing record.
pub(crate) const FAULT_FORGED: Fault = "a record that doesn't authenticate";
/// Two rekey records in a row.
pub(crate) const FAULT_REKEY: Fault = "two rekey records in a row";
/// 2^64 - 1 records in one direction.
pub(crate) const FAULT_USED_UP: Fault = "a link that has used up its nonces";

/// An established link's keys, and what its handshake proved.
pub(crate) struct Session {
    pub(crate) peer: [u8; 32],
    pub(crate) handshake_hash: [u8; 32],
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
}

/// A key and its count.
struct DirectionKey {
    key: LessSafeKey,
    nonce: u64,
}

impl DirectionKey {
    fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self { key: less_safe(key), nonce: 0 }
    }

    /// Every nonce is given out once: for another one's record the count would have to be guessed.
    fn next_nonce(&mut self) -> Result<Nonce, Fault> {
        let nonce = self.nonce;
        self.nonce = nonce.checked_add(1).ok_or(FAULT_USED_UP)?;
        Ok(nonce_of(nonce))
    }

    /// REKEY: the new key is the encryption of zeros under the last nonce. The count goes on.
    fn rekey(&mut self) {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        // The tag is cut off, says section 4.2.
        let _tag = self
            .key
            .seal_in_place_separate_tag(nonce_of(REKEY_NONCE), Aad::empty(), &mut *key)
            .expect("32 bytes are far below the cipher's limit of 256 GiB");
        self.key = less_safe(&key);
    }
}

fn less_safe(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the cipher's length"))
}

fn nonce_of(count: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&count.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// The outgoing direction.
pub(crate) struct Sealer {
    key: DirectionKey,
    rule: RekeyRule,
    sent: u32,
    since: Instant,
}

impl Sealer {
    /// Room that one record needs in the output beside its plaintext, in bytes: its length and tag, and those of a rekey
    /// record before it.
    pub(crate) const OVERHEAD_BYTES: usize = 2 * (LENGTH_BYTES + TAG_BYTES);

    pub(crate) fn new(key: &[u8; KEY_BYTES], rule: RekeyRule, now: Instant) -> Self {
        Self { key: DirectionKey::new(key), rule, sent: 0, since: now }
    }

    /// Appends the pieces to `out` as one sealed record with its length: 1 to [`BATCH_MAX_BYTES`] bytes together. Before
    /// it comes a rekey record when the key is too old.
    pub(crate) fn seal<T: AsRef<[u8]>>(&mut self, pieces: &[T], out: &mut Vec<u8>, now: Instant) -> Result<(), Fault> {
        if now.saturating_duration_since(self.since) >= self.rule.age {
            self.seal_rekey_record(out, now)?;
        }
        self.seal_record(pieces, out)?;
        if self.sent >= self.rule.records {
            self.rekey(now);
        }
        Ok(())
    }

    /// Appends a rekey record, and rekeys.
    pub(crate) fn seal_rekey_record(&mut self, out: &mut Vec<u8>, now: Instant) -> Result<(), Fault> {
        self.seal_record::<&[u8]>(&[], out)?;
        self.rekey(now);
        Ok(())
    }

    fn seal_record<T: AsRef<[u8]>>(&mut self, pieces: &[T], out: &mut Vec<u8>) -> Result<(), Fault> {
        let nonce = self.key.next_nonce()?;
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        for piece in pieces {
            out.extend_from_slice(piece.as_ref());
        }
        let plain = start + LENGTH_BYTES;
        let len = out.len() - plain;
        debug_assert!(len <= BATCH_MAX_BYTES, "the caller splits by BATCH_MAX_BYTES");
        let tag = self
            .key
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut out[plain..])
            .expect("a record is far below the cipher's limit of 256 GiB");
        out.extend_from_slice(tag.as_ref());
        let length = u16::try_from(len + TAG_BYTES).expect("BATCH_MAX_BYTES and a tag are FRAME_MAX_BYTES");
        out[start..plain].copy_from_slice(&length.to_be_bytes());
        self.sent += 1;
        Ok(())
    }

    fn rekey(&mut self, now: Instant) {
        self.key.rekey();
        self.sent = 0;
        self.since = now;
    }

    /// So that the end of the count can be tested.
    #[cfg(test)]
    pub(crate) const fn set_nonce(&mut self, nonce: u64) {
        self.key.nonce = nonce;
    }
}

/// The incoming direction.
pub(crate) struct Opener {
    key: DirectionKey,
    rule: RekeyRule,
    received: u32,
    received_empty: bool,
}

impl Opener {
    pub(crate) fn new(key: &[u8; KEY_BYTES], rule: RekeyRule) -> Self {
        Self { key: DirectionKey::new(key), rule, received: 0, received_empty: false }
    }

    /// Opens the record that begins at `from` in `space` and ends with it (its length not being part of it). The plaintext
    /// is put at the start of `space`; returns how long it is. Zero is a rekey record.
    pub(crate) fn open(&mut self, space: &mut [u8], from: usize) -> Result<usize, Fault> {
        debug_assert!(space.len() - from <= FRAME_MAX_BYTES);
        if space.len() - from < TAG_BYTES {
            return Err(FAULT_SHORT);
        }
        let nonce = self.key.next_nonce()?;
        let opened = self.key.key.open_within(nonce, Aad::empty(), space, from..);
        let len = opened.map_err(|_| FAULT_FORGED)?.len();
        let empty = len == 0;
        if empty && self.received_empty {
            return Err(FAULT_REKEY);
        }
        self.received_empty = empty;
        self.received += 1;
        if empty || self.received >= self.rule.records {
            self.key.rekey();
            self.received = 0;
        }
        Ok(len)
    }

    /// So that the end of the count can be tested.
    #[cfg(test)]
    pub(crate) const fn set_nonce(&mut self, nonce: u64) {
        self.key.nonce = nonce;
    }
}
