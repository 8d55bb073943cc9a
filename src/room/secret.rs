//! Room secrets: given as bytes, or made out of a passphrase.

use std::fmt;
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::{BASE64URL, BASE64URL_NOPAD};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a room's secret.
pub const SECRET_BYTES: usize = 32;
/// Shortest passphrase that is accepted, in characters.
pub const PASSPHRASE_MIN_CHARS: usize = 8;
/// Memory that Argon2id fills for a passphrase, in KiB.
pub const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
/// Passes of Argon2id over its memory (RFC 9106 recommends 3 with 64 MiB).
pub const ARGON2_PASSES: u32 = 3;
/// Lanes of Argon2id.
pub const ARGON2_LANES: u32 = 1;

/// A room's secret: who knows it reads the room, all of its history and all that is to come. Erased from memory when
/// dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RoomSecret([u8; SECRET_BYTES]);

/// Why a secret wasn't accepted. Never shows any of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Not url-safe base64.
    #[error(
        "a room's secret is 32 bytes in url-safe base64 (43 characters of A-Z, a-z, 0-9, - and _, perhaps a final =); \
         this holds something else at character {at}"
    )]
    Encoding {
        /// Where, counted from 1.
        at: usize,
    },
    /// The wrong number of characters.
    #[error("a room's secret is 32 bytes in url-safe base64, 43 characters without padding; this has {characters}")]
    Length {
        /// How many it has, padding not counted.
        characters: usize,
    },
    /// A passphrase that anyone would guess.
    #[error("a passphrase has at least {PASSPHRASE_MIN_CHARS} characters; this has {characters}")]
    TooShort {
        /// How many it has.
        characters: usize,
    },
    /// The system refused the memory that hashing a passphrase takes.
    #[error("hashing a passphrase takes {ARGON2_MEMORY_KIB} KiB of memory, which the system refused")]
    Memory,
}

impl RoomSecret {
    /// A secret of raw bytes. They should come from a secure random generator.
    #[must_use]
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The raw bytes: for deriving keys and for writing an invite.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// Runs a passphrase through Argon2id (RFC 9106; 64 MiB, 3 passes). `label` is the room's label that all members
    /// agree on, so that equal passphrases of different rooms give different secrets. Takes some 0.2 s; the room is weak
    /// all the same: whoever records the traffic can guess at leisure.
    ///
    /// # Errors
    ///
    /// [`SecretError::TooShort`], or [`SecretError::Memory`].
    pub fn from_passphrase(passphrase: &str, label: &str) -> Result<Self, SecretError> {
        let characters = passphrase.chars().count();
        if characters < PASSPHRASE_MIN_CHARS {
            return Err(SecretError::TooShort { characters });
        }
        let salt = blake3::derive_key("rumormill 2026 passphrase salt v1", label.as_bytes());
        let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, Some(SECRET_BYTES))
            .expect("the constants are within Argon2's limits");
        let mut secret = Self([0; SECRET_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut secret.0)
            .map_err(|_| SecretError::Memory)?;
        Ok(secret)
    }

    /// The secret in url-safe base64 without padding: what a config holds.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64URL_NOPAD.encode(&self.0))
    }
}

impl FromStr for RoomSecret {
    type Err = SecretError;

    /// Reads url-safe base64, with or without padding.
    fn from_str(text: &str) -> Result<Self, SecretError> {
        let bare = text.trim_end_matches('=');
        if let Some(at) = bare.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'-' || b == b'_')) {
            return Err(SecretError::Encoding { at: at + 1 });
        }
        let length = SecretError::Length { characters: bare.len() };
        let decoded = if bare.len() == text.len() {
            BASE64URL_NOPAD.decode(text.as_bytes())
        } else {
            BASE64URL.decode(text.as_bytes())
        };
        // The alphabet is right by now: what is left are a wrong length and bits after the last byte.
        let bytes = Zeroizing::new(decoded.map_err(|error| match error.kind {
            data_encoding::DecodeKind::Trailing => SecretError::Encoding { at: bare.len() },
            _ => length,
        })?);
        Ok(Self(bytes.as_slice().try_into().map_err(|_| length)?))
    }
}

impl fmt::Debug for RoomSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomSecret(…)")
    }
}
