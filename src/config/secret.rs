//! Secrets as the config holds them: erased when dropped, never printed.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of a secret, in bytes.
pub const SECRET_BYTES: usize = 32;

/// 32 secret bytes. Erased when dropped; compared in constant time; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// Takes over the bytes.
    #[must_use]
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for key derivation alone.
    #[must_use]
    pub const fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// The url-safe base64 (RFC 4648, section 5) of the bytes, without padding: what a config holds.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64URL_NOPAD.encode(&self.0))
    }

    /// Reads 32 bytes of url-safe base64, with or without padding.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong, without any part of the text.
    pub fn from_base64(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains(['+', '/']) {
            return Err("is not url-safe base64: it holds '+' or '/'; write '-' for '+' and '_' for '/'".to_owned());
        }
        let bytes = BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes()).map(Zeroizing::new).map_err(|_| {
            format!("is not url-safe base64 (A–Z, a–z, 0–9, '-' and '_', no spaces); {SECRET_BYTES} bytes are 43 characters")
        })?;
        let mut secret = Self([0; SECRET_BYTES]);
        if bytes.len() != SECRET_BYTES {
            return Err(format!("must be {SECRET_BYTES} bytes in url-safe base64, got {}", bytes.len()));
        }
        secret.0.copy_from_slice(&bytes);
        Ok(secret)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret text: a passphrase, or an invite. Erased when dropped; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    /// Takes over the text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretText {}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_url_safe_base64_with_and_without_padding() {
        let secret = Secret::new([0xfb; 32]);
        let text = secret.to_base64();
        assert_eq!(text.len(), 43);
        assert_eq!(Secret::from_base64(&text), Ok(secret.clone()));
        assert_eq!(Secret::from_base64(&format!(" {}=\n", *text)), Ok(secret));
    }

    #[test]
    fn says_what_is_wrong_without_repeating_the_secret() {
        let short = BASE64URL_NOPAD.encode(&[7; 31]);
        assert_eq!(Secret::from_base64(&short), Err("must be 32 bytes in url-safe base64, got 31".to_owned()));
        let long = BASE64URL_NOPAD.encode(&[7; 33]);
        assert_eq!(Secret::from_base64(&long), Err("must be 32 bytes in url-safe base64, got 33".to_owned()));
        for text in ["+++/", "not base64!", "ü"] {
            let error = Secret::from_base64(text).expect_err("it is malformed");
            assert!(!error.contains(text), "{error}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new([1; 32])), "Secret(…)");
        assert_eq!(format!("{:?}", SecretText::new("hunter2".to_owned())), "SecretText(…)");
    }
}
