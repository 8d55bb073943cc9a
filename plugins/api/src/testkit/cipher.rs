//! The conformance suite of [`CipherSuite`]: run it with [`cipher_suite!`](crate::cipher_suite).

use crate::cipher::{COMMITMENT_BYTES, NONCE_BYTES};
use crate::{CipherSuite, EpochKey, Header, OpenError};

/// A test per case, for the suite that `$make` (a closure or function without arguments) returns in an `Arc` or `Box`.
#[macro_export]
macro_rules! cipher_suite {
    ($make:expr) => {
        $crate::cipher_suite!(@cases $make;
            opens_what_it_sealed,
            seals_every_size_without_growing,
            is_a_function_of_key_header_and_body,
            hides_the_body,
            another_nonce_changes_everything,
            another_key_is_not_mine,
            commitment_is_the_sealed_one,
            altered_commitment_is_not_mine,
            altered_nonce_is_not_mine,
            altered_body_is_broken,
            altered_tag_is_broken,
            altered_header_is_broken,
            shortened_body_is_broken,
            ciphers_of_one_key_agree,
            name_is_fit_for_a_config,
        );
    };
    (@cases $make:expr; $($case:ident,)*) => {
        /// The conformance suite of the contract's crate.
        mod conformance {
            $(
                #[test]
                fn $case() {
                    let make = $make;
                    $crate::testkit::cipher::$case(&*make());
                }
            )*
        }
    };
}

const KEY: EpochKey = EpochKey([0x42; 32]);
const OTHER_KEY: EpochKey = EpochKey([0x43; 32]);
const HEADER: Header = Header { version: 1, flags: 0, expiry_hour: 482_400, nonce: [0x17; NONCE_BYTES] };
const BODY: &[u8] = b"the quick brown fox jumps over the lazy dog";

struct Sealed {
    commitment: [u8; COMMITMENT_BYTES],
    body: Vec<u8>,
    tag: [u8; 16],
}

fn seal(suite: &dyn CipherSuite, key: &EpochKey, header: &Header, body: &[u8]) -> Sealed {
    let mut body = body.to_vec();
    let (commitment, tag) = suite.room(key).seal(header, &mut body);
    Sealed { commitment, body, tag }
}

fn open(suite: &dyn CipherSuite, key: &EpochKey, header: &Header, sealed: &Sealed) -> Result<Vec<u8>, OpenError> {
    let mut body = sealed.body.clone();
    suite.room(key).open(header, &sealed.commitment, &mut body, &sealed.tag)?;
    Ok(body)
}

/// What was sealed opens to the same body.
pub fn opens_what_it_sealed(suite: &dyn CipherSuite) {
    let sealed = seal(suite, &KEY, &HEADER, BODY);
    assert_eq!(open(suite, &KEY, &HEADER, &sealed).as_deref(), Ok(BODY));
}

/// Bodies of every size, the empty one and the largest envelope's included, keep their size.
pub fn seals_every_size_without_growing(suite: &dyn CipherSuite) {
    for size in [0, 1, 15, 16, 17, 63, 64, 65, 426, 4_010, 32_682] {
        let body: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let sealed = seal(suite, &KEY, &HEADER, &body);
        assert_eq!(sealed.body.len(), size);
        assert_eq!(open(suite, &KEY, &HEADER, &sealed), Ok(body), "{size} bytes");
    }
}

/// Nothing random goes into a seal beside the header's nonce.
pub fn is_a_function_of_key_header_and_body(suite: &dyn CipherSuite) {
    let (one, two) = (seal(suite, &KEY, &HEADER, BODY), seal(suite, &KEY, &HEADER, BODY));
    assert_eq!((one.commitment, one.body, one.tag), (two.commitment, two.body, two.tag));
}

/// A body of zeros doesn't come out as zeros, and no 8 bytes of it repeat.
pub fn hides_the_body(suite: &dyn CipherSuite) {
    let sealed = seal(suite, &KEY, &HEADER, &[0; 4_096]);
    let mut blocks: Vec<_> = sealed.body.chunks(8).collect();
    assert!(!blocks.contains(&&[0; 8][..]));
    blocks.sort_unstable();
    blocks.dedup();
    assert_eq!(blocks.len(), 512);
}

/// Two seals of one text have nothing in common.
pub fn another_nonce_changes_everything(suite: &dyn CipherSuite) {
    let one = seal(suite, &KEY, &HEADER, BODY);
    let two = seal(suite, &KEY, &Header { nonce: [0x18; NONCE_BYTES], ..HEADER }, BODY);
    assert_ne!(one.commitment, two.commitment);
    assert_ne!(one.body, two.body);
    assert_ne!(one.tag, two.tag);
}

/// A key that isn't the envelope's says so, and no more.
pub fn another_key_is_not_mine(suite: &dyn CipherSuite) {
    let sealed = seal(suite, &KEY, &HEADER, BODY);
    assert_eq!(open(suite, &OTHER_KEY, &HEADER, &sealed), Err(OpenError::NotMine));
}

/// What a trial compares is what sealing put into the envelope.
pub fn commitment_is_the_sealed_one(suite: &dyn CipherSuite) {
    let sealed = seal(suite, &KEY, &HEADER, BODY);
    assert_eq!(suite.room(&KEY).commitment(&HEADER.nonce), sealed.commitment);
    assert_ne!(suite.room(&OTHER_KEY).commitment(&HEADER.nonce), sealed.commitment);
}

/// Every bit of the commitment counts.
pub fn altered_commitment_is_not_mine(suite: &dyn CipherSuite) {
    for bit in 0..COMMITMENT_BYTES * 8 {
        let mut sealed = seal(suite, &KEY, &HEADER, BODY);
        sealed.commitment[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(suite, &KEY, &HEADER, &sealed), Err(OpenError::NotMine), "bit {bit}");
    }
}

/// The commitment is to the nonce, too: another nonce's doesn't fit.
pub fn altered_nonce_is_not_mine(suite: &dyn CipherSuite) {
    let sealed = seal(suite, &KEY, &HEADER, BODY);
    for byte in 0..NONCE_BYTES {
        let mut header = HEADER;
        header.nonce[byte] ^= 1;
        assert_eq!(open(suite, &KEY, &header, &sealed), Err(OpenError::NotMine), "byte {byte}");
    }
}

/// Every bit of the body counts.
pub fn altered_body_is_broken(suite: &dyn CipherSuite) {
    for bit in 0..BODY.len() * 8 {
        let mut sealed = seal(suite, &KEY, &HEADER, BODY);
        sealed.body[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(suite, &KEY, &HEADER, &sealed), Err(OpenError::Broken), "bit {bit}");
    }
}

/// Every bit of the tag counts.
pub fn altered_tag_is_broken(suite: &dyn CipherSuite) {
    for bit in 0..128 {
        let mut sealed = seal(suite, &KEY, &HEADER, BODY);
        sealed.tag[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(suite, &KEY, &HEADER, &sealed), Err(OpenError::Broken), "bit {bit}");
    }
}

/// The seal is bound to version, flags and expiry, none of which the commitment covers.
pub fn altered_header_is_broken(suite: &dyn CipherSuite) {
    let sealed = seal(suite, &KEY, &HEADER, BODY);
    for header in [
        Header { version: 2, ..HEADER },
        Header { flags: 1, ..HEADER },
        Header { expiry_hour: HEADER.expiry_hour + 1, ..HEADER },
    ] {
        assert_eq!(open(suite, &KEY, &header, &sealed), Err(OpenError::Broken), "{header:?}");
    }
}

/// A body cut short, or lengthened, doesn't open.
pub fn shortened_body_is_broken(suite: &dyn CipherSuite) {
    let mut sealed = seal(suite, &KEY, &HEADER, BODY);
    sealed.body.push(0);
    assert_eq!(open(suite, &KEY, &HEADER, &sealed), Err(OpenError::Broken));
    sealed.body.truncate(BODY.len() - 1);
    assert_eq!(open(suite, &KEY, &HEADER, &sealed), Err(OpenError::Broken));
    sealed.body.clear();
    assert_eq!(open(suite, &KEY, &HEADER, &sealed), Err(OpenError::Broken));
}

/// A cipher has no memory: what one sealed another of the same key opens, in any order and more than once.
pub fn ciphers_of_one_key_agree(suite: &dyn CipherSuite) {
    let (one, two) = (suite.room(&KEY), suite.room(&KEY));
    let headers: Vec<_> = (0..8).map(|i| Header { nonce: [i; NONCE_BYTES], ..HEADER }).collect();
    let sealed: Vec<_> = headers.iter().map(|header| (header, seal(suite, &KEY, header, BODY))).collect();
    for (header, sealed) in sealed.iter().rev().chain(&sealed) {
        for cipher in [&one, &two] {
            let mut body = sealed.body.clone();
            assert_eq!(cipher.open(header, &sealed.commitment, &mut body, &sealed.tag), Ok(()));
            assert_eq!(body, BODY);
        }
    }
}

/// The name is short lower-case ASCII, as a config writes it.
pub fn name_is_fit_for_a_config(suite: &dyn CipherSuite) {
    let name = suite.name();
    assert!(!name.is_empty() && name.len() <= 32);
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name:?}");
}
