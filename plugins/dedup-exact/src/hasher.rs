//! A keyed hash of ids for the tables.
//!
//! Ids are hashes, but whoever makes an envelope picks among them: without a key, ids that share a bucket could be made on
//! purpose. The multilinear family over 64-bit words with 128-bit keys is strongly universal in its upper half
//! (Lemire and Kaser, "Strongly universal string hashing is fast", The Computer Journal 57(11), 2014), and for
//! 32 bytes costs four multiplications.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

use rumormill_api::MsgId;

/// Words of 8 bytes in an id.
const WORDS: usize = 4;

/// The key: one summand, and a factor for each word.
#[derive(Clone)]
pub(crate) struct Keyed {
    summand: u128,
    factors: [u128; WORDS],
}

/// Shows nothing of the key.
impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed")
    }
}

impl Keyed {
    /// The same key for the same seed.
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let part = |n: u8| {
            let mut input = [n; 33];
            input[..32].copy_from_slice(seed);
            let mut part = [0; 16];
            part.copy_from_slice(&MsgId::of(&input).as_bytes()[..16]);
            u128::from_le_bytes(part)
        };
        Self { summand: part(0), factors: [part(1), part(2), part(3), part(4)] }
    }
}

impl BuildHasher for Keyed {
    type Hasher = Sum;

    fn build_hasher(&self) -> Sum {
        Sum { sum: self.summand, factors: self.factors, word: 0 }
    }
}

/// The sum so far. Made for ids: what comes past their words goes round the factors again, correct but with no claim.
pub(crate) struct Sum {
    sum: u128,
    factors: [u128; WORDS],
    word: usize,
}

impl Sum {
    fn add(&mut self, word: u64) {
        self.sum = self.sum.wrapping_add(self.factors[self.word % WORDS].wrapping_mul(u128::from(word)));
        self.word += 1;
    }
}

impl Hasher for Sum {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    /// The length that goes before an id's bytes is the same for all: it would only use up a factor.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        (self.sum >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_whole_seed_count() {
        let keyed = Keyed::new(&[7; 32]);
        let id = MsgId::of(b"id");
        let hash = keyed.hash_one(id);
        for bit in 0..256 {
            let mut other = id;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(keyed.hash_one(other), hash, "bit {bit}");
        }
        assert_eq!(Keyed::new(&[7; 32]).hash_one(id), hash);
        let mut seed = [7; 32];
        seed[31] = 8;
        assert_ne!(Keyed::new(&seed).hash_one(id), hash);
    }

    #[test]
    fn low_and_high_bits_spread_evenly() {
        let keyed = Keyed::new(&[1; 32]);
        let (mut low, mut high) = ([0u32; 128], [0u32; 128]);
        for n in 0..128_000u32 {
            let mut id = MsgId([0; 32]);
            id.0[..4].copy_from_slice(&n.to_le_bytes());
            let hash = keyed.hash_one(id);
            low[(hash % 128) as usize] += 1;
            high[(hash >> 57) as usize] += 1;
        }
        for count in low.into_iter().chain(high) {
            assert!((500..2_000).contains(&count), "{count} of an expected 1,000 in one bucket");
        }
    }
}
