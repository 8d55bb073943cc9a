//! A person's signing key.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::id::PersonId;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// An Ed25519 signing key (RFC 8032): who this node's user is. Erased from memory when dropped, never printed.
pub struct Identity {
    key: SigningKey,
}

impl Identity {
    /// The identity of a 32-byte seed, which should come from a secure random generator.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(seed) }
    }

    /// The public key.
    #[must_use]
    pub fn id(&self) -> PersonId {
        PersonId(self.key.verifying_key().to_bytes())
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.id().fingerprint())
    }
}

/// Whether `signature` is `person`'s of `message`. Strict: keys and nonces of small order and non-canonical scalars
/// don't verify, so a signature can't be turned into a second one that verifies, too.
#[must_use]
pub fn verify(person: &PersonId, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
    VerifyingKey::from_bytes(&person.0)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn signs_as_rfc_8032_says() {
        // RFC 8032, section 7.1, test 2.
        let seed = data_encoding::HEXLOWER
            .decode(b"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
            .unwrap()
            .try_into()
            .unwrap();
        let identity = Identity::from_seed(&seed);
        assert_eq!(identity.id().to_string(), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(
            data_encoding::HEXLOWER.encode(&identity.sign(&[0x72])),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    #[test]
    fn verifies_its_own_and_nothing_else() {
        let (one, two) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let mut signature = one.sign(b"words");
        assert!(verify(&one.id(), b"words", &signature));
        assert!(!verify(&two.id(), b"words", &signature));
        assert!(!verify(&one.id(), b"other words", &signature));
        signature[40] ^= 1;
        assert!(!verify(&one.id(), b"words", &signature));
    }

    #[test]
    fn a_key_of_small_order_signs_nothing() {
        // The identity point, under which a signature of zeros satisfies the equation for every message.
        let mut point = [0; 32];
        point[0] = 1;
        let mut signature = [0; SIGNATURE_BYTES];
        signature[0] = 1;
        assert!(!verify(&PersonId(point), b"anything", &signature));
    }

    #[test]
    fn shows_the_public_half_only() {
        let identity = Identity::from_seed(&[1; 32]);
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.id().fingerprint()));
    }
}
