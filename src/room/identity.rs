//! A person's signing key.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use curve25519_dalek::traits::Identity as _;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use sha2::{Digest as _, Sha512};

use super::id::PersonId;
use super::locked;
use super::multiples::{BASE, KEY_BITS, Multiples};

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
    Signer::new(person).is_some_and(|signer| signer.verify(message, signature))
}

/// Bytes of a signature's first half, the nonce's point.
const NONCE_POINT_BYTES: usize = 32;

/// The points of small order, as they are encoded: under them, whoever wants finds signatures of many messages at once.
const SMALL_ORDER: [[u8; NONCE_POINT_BYTES]; 8] = {
    const EIGHT: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    const OTHER_EIGHT: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    let mut two = [0xff; 32];
    (two[0], two[31]) = (0xec, 0x7f);
    let mut one = [0; 32];
    one[0] = 1;
    let four = [0; 32];
    [one, two, four, negative(four), EIGHT, negative(EIGHT), OTHER_EIGHT, negative(OTHER_EIGHT)]
};

/// The encoding of the point with the other x.
const fn negative(mut point: [u8; NONCE_POINT_BYTES]) -> [u8; NONCE_POINT_BYTES] {
    point[31] |= 0x80;
    point
}

/// Someone's key, taken out of its bytes: a tenth of checking a signature.
#[derive(Clone)]
struct Signer {
    key: VerifyingKey,
    /// Multiples of the negated key, of who signs much.
    table: Option<Arc<Multiples>>,
}

/// How far a signature is checked.
pub(crate) enum Checked {
    /// Whether it is good.
    Known(bool),
    /// It is good if it begins with this point's encoding. To encode many at once costs a tenth of what one by one does.
    IfNonceIs(EdwardsPoint),
}

/// Whether signatures that are so far checked are good.
pub(crate) fn settle(checked: &[(Checked, [u8; SIGNATURE_BYTES])]) -> Vec<bool> {
    let nonce = |(checked, _): &(Checked, _)| match checked {
        Checked::IfNonceIs(point) => Some(*point),
        Checked::Known(_) => None,
    };
    let nonces: Vec<_> = checked.iter().filter_map(nonce).collect();
    // Also of none it would take an inversion, which is most of what encoding costs.
    let encoded = if nonces.is_empty() { Vec::new() } else { EdwardsPoint::compress_batch_alloc(&nonces) };
    let mut encoded = encoded.iter();
    let good = |(checked, signature): &(Checked, [u8; SIGNATURE_BYTES])| match checked {
        Checked::Known(good) => *good,
        Checked::IfNonceIs(_) => encoded.next().is_some_and(|nonce| signature.starts_with(nonce.as_bytes())),
    };
    checked.iter().map(good).collect()
}

impl Signer {
    /// `None`: nothing is this key's.
    fn new(person: &PersonId) -> Option<Self> {
        let key = VerifyingKey::from_bytes(&person.0).ok().filter(|key| !key.is_weak())?;
        Some(Self { key, table: None })
    }

    /// Accepts exactly what [`VerifyingKey::verify_strict`] does, for a tenth less. That takes the nonce's point out of its bytes to
    /// see whether its order is small. But a signature is good only if those bytes are the encoding of the point that
    /// is computed, and of small order there are eight encodings: to compare them is enough.
    ///
    /// Not in batches: these accept, by chance, signatures whose nonce has a part of small order, and nodes would disagree
    /// about which messages there are.
    fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        settle(&[(self.check(message, signature), *signature)]) == [true]
    }

    /// The first part of it, which is nearly all.
    fn check(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> Checked {
        if signature.first_chunk().is_some_and(|nonce| SMALL_ORDER.contains(nonce)) {
            return Checked::Known(false);
        }
        match &self.table {
            Some(table) => {
                self.nonce_by_table(table, message, signature).map_or(Checked::Known(false), Checked::IfNonceIs)
            }
            None => Checked::Known(self.key.verify(message, &Signature::from_bytes(signature)).is_ok()),
        }
    }

    /// The nonce's point as it has to be, *s·B − k·A* (RFC 8032, section 5.1.7, without the cofactor): the library's own computation
    /// with multiples of *B* and of *−A*, for less than half of the time. `None` for a scalar that isn't canonical.
    fn nonce_by_table(
        &self,
        table: &Multiples,
        message: &[u8],
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Option<EdwardsPoint> {
        let (nonce, scalar) = signature.split_first_chunk::<NONCE_POINT_BYTES>()?;
        let scalar = Option::<Scalar>::from(Scalar::from_canonical_bytes(scalar.try_into().ok()?))?;
        let hash = Sha512::new().chain_update(nonce).chain_update(self.key.as_bytes()).chain_update(message).finalize();
        let challenge = Scalar::from_bytes_mod_order_wide(&hash.into());
        Some(table.add_to(BASE.add_to(EdwardsPoint::identity(), &scalar), &challenge))
    }

    fn make_table(&mut self) {
        self.table = Some(Arc::new(Multiples::of(-self.key.to_edwards(), KEY_BITS)));
    }
}

/// How many people's keys are kept at hand, some 250 bytes each.
const SIGNERS_MAX: usize = 1_024;

/// After how many signatures a table of multiples is made of a key, which takes as long as a few signatures' checks.
const TABLE_AFTER: u32 = 16;

/// How many keys have such a table, of 130 KiB each.
const TABLES_MAX: usize = 32;

/// The keys of those who speak, at hand.
#[derive(Default)]
pub(crate) struct Signers {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// With how many signatures of theirs were checked without a table.
    signers: HashMap<PersonId, (Signer, u32)>,
    tables: usize,
}

impl fmt::Debug for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signers")
    }
}

impl Signers {
    /// The same as [`verify`], up to its [last part](settle).
    pub(crate) fn check(&self, person: &PersonId, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> Checked {
        self.get(person).map_or(Checked::Known(false), |signer| signer.check(message, signature))
    }

    #[cfg(test)]
    fn verify(&self, person: &PersonId, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        settle(&[(self.check(person, message, signature), *signature)]) == [true]
    }

    fn get(&self, person: &PersonId) -> Option<Signer> {
        let mut known = locked(&self.known);
        let Known { signers, tables } = &mut *known;
        if let Some((signer, checked)) = signers.get_mut(person) {
            if signer.table.is_none() {
                *checked = checked.saturating_add(1);
                if *checked >= TABLE_AFTER && *tables < TABLES_MAX {
                    signer.make_table();
                    *tables += 1;
                }
            }
            return Some(signer.clone());
        }
        drop(known);
        let signer = Signer::new(person)?;
        let mut known = locked(&self.known);
        if known.signers.len() >= SIGNERS_MAX {
            // Who still speaks is back with the next message.
            *known = Known::default();
        }
        known.signers.insert(*person, (signer.clone(), 1));
        Some(signer)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        locked(&self.known).signers.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use curve25519_dalek::constants::EIGHT_TORSION;
    use proptest::prelude::*;

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

    /// [`verify`], which the same says whoever has a table of the key.
    fn verify(person: &PersonId, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let verified = super::verify(person, message, signature);
        if let Some(mut signer) = Signer::new(person) {
            signer.make_table();
            assert_eq!(signer.verify(message, signature), verified, "{person} {signature:?}");
        }
        verified
    }

    /// What [`verify`] must agree with.
    fn strictly(person: &PersonId, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        VerifyingKey::from_bytes(&person.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    #[test]
    fn of_small_order_are_the_eight() {
        let encoded: BTreeSet<_> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
        assert_eq!(SMALL_ORDER.into_iter().collect::<BTreeSet<_>>(), encoded);
    }

    /// A signature of whoever knows `secret`, with something of small order added to the key and to the nonce, and whatever follows
    /// from it right.
    fn crafted(secret: u64, nonce: u64, to_key: usize, to_nonce: usize, message: &[u8]) -> (PersonId, [u8; 64]) {
        let (secret, nonce) = (Scalar::from(secret), Scalar::from(nonce));
        let key = (EdwardsPoint::mul_base(&secret) + EIGHT_TORSION[to_key]).compress();
        let point = (EdwardsPoint::mul_base(&nonce) + EIGHT_TORSION[to_nonce]).compress();
        let mut hash = ring::digest::Context::new(&ring::digest::SHA512);
        [point.as_bytes(), key.as_bytes(), message].into_iter().for_each(|part| hash.update(part));
        let challenge = Scalar::from_bytes_mod_order_wide(hash.finish().as_ref().try_into().unwrap());
        let scalar = nonce + challenge * secret;
        let mut signature = [0; SIGNATURE_BYTES];
        signature[..32].copy_from_slice(point.as_bytes());
        signature[32..].copy_from_slice(scalar.as_bytes());
        (PersonId(key.to_bytes()), signature)
    }

    #[test]
    fn accepts_what_the_strict_check_does_where_points_of_small_order_are_mixed_in() {
        let (mut accepted, mut refused) = (0, 0);
        for (to_key, to_nonce) in (0..8).flat_map(|key| (0..8).map(move |nonce| (key, nonce))) {
            // Secret or nonce 0 leave nothing but what is of small order.
            for (secret, nonce, message) in [(7, 9, 0_u8), (7, 9, 1), (7, 9, 2), (0, 9, 3), (7, 0, 4), (0, 0, 5)] {
                let (person, signature) = crafted(secret, nonce, to_key, to_nonce, &[message]);
                let strictly = strictly(&person, &[message], &signature);
                assert_eq!(verify(&person, &[message], &signature), strictly, "{to_key} {to_nonce} {message}");
                *(if strictly { &mut accepted } else { &mut refused }) += 1;
            }
        }
        assert!(accepted > 10 && refused > 200, "{accepted} {refused}");
    }

    proptest! {
        #[test]
        fn accepts_what_the_strict_check_does(seed: [u8; 32], at in 0_usize..96, to: u8, message: Vec<u8>) {
            let identity = Identity::from_seed(&seed);
            let (mut person, mut signature) = (identity.id(), identity.sign(&message));
            match at.checked_sub(32) {
                None => person.0[at] = to,
                Some(at) => signature[at] = to,
            }
            prop_assert_eq!(verify(&person, &message, &signature), strictly(&person, &message, &signature));
        }

        /// Also encodings that aren't canonical: of the prime up, and with the sign of 0.
        #[test]
        fn accepts_what_the_strict_check_does_at_the_edges(low in 0_u8..=255, high: bool, key: bool, message: [u8; 4]) {
            let mut edge = [0xff; 32];
            (edge[0], edge[31]) = (low, if high { 0xff } else { 0x7f });
            let identity = Identity::from_seed(&[3; 32]);
            let (mut person, mut signature) = (identity.id(), identity.sign(&message));
            if key {
                person.0 = edge;
            } else {
                signature[..32].copy_from_slice(&edge);
            }
            prop_assert_eq!(verify(&person, &message, &signature), strictly(&person, &message, &signature));
            signature[32..].fill(0);
            prop_assert_eq!(verify(&person, &message, &signature), strictly(&person, &message, &signature));
        }
    }

    #[test]
    fn keeps_no_more_keys_than_its_bound() {
        let signers = Signers::default();
        for n in 0..SIGNERS_MAX + 1 {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
            let identity = Identity::from_seed(&seed);
            assert!(signers.verify(&identity.id(), b"words", &identity.sign(b"words")));
            assert!(!signers.verify(&identity.id(), b"other", &identity.sign(b"words")), "known by now");
            assert_eq!(signers.len(), if n < SIGNERS_MAX { n + 1 } else { 1 });
        }
        assert!(!signers.verify(&PersonId([0; 32]), b"words", &[0; SIGNATURE_BYTES]), "of small order");
        assert_eq!(signers.len(), 1, "what can't sign isn't kept");
    }

    #[test]
    fn who_signs_much_gets_a_table_and_no_more_than_its_bound_do() {
        let signers = Signers::default();
        let tables = || locked(&signers.known).signers.values().filter(|(signer, _)| signer.table.is_some()).count();
        for n in 0..=TABLES_MAX {
            let identity = Identity::from_seed(&[n as u8; 32]);
            for round in 0..TABLE_AFTER + 3 {
                assert_eq!(tables(), n + usize::from(round >= TABLE_AFTER && n < TABLES_MAX), "{n}, {round}");
                let message = round.to_le_bytes();
                assert!(signers.verify(&identity.id(), &message, &identity.sign(&message)));
                assert!(!super::verify(&identity.id(), &message, &identity.sign(b"other")));
            }
        }
        assert_eq!(tables(), TABLES_MAX);
    }

    #[test]
    fn shows_the_public_half_only() {
        let identity = Identity::from_seed(&[1; 32]);
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.id().fingerprint()));
    }
}
