//! Mutations of seeds by a fixed random sequence: blind, quick, and the same on every machine.

/// The largest input made, in bytes.
const INPUT_MAX_BYTES: usize = 65_536;
/// Mutations stacked on one seed, at most.
const STEPS_MAX: u64 = 6;
/// Bytes that lengths, counts and tags tend to go wrong at.
const EDGES: &[u8] =
    &[0x00, 0x01, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1f, 0x3f, 0x5f, 0x7f, 0x80, 0x9f, 0xbf, 0xf6, 0xfe, 0xff];

/// Makes inputs out of seeds.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// The same `seed` makes the same inputs.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`; 0 for a bound of 0.
    #[allow(clippy::cast_possible_truncation, reason = "the remainder is below a usize")]
    const fn below(&mut self, bound: usize) -> usize {
        let next = self.next();
        if bound == 0 { 0 } else { (next % bound as u64) as usize }
    }

    /// The next input: a seed with one to six mutations.
    pub fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut data = seeds.get(self.below(seeds.len())).cloned().unwrap_or_default();
        for _ in 0..=self.next() % STEPS_MAX {
            self.step(&mut data, seeds);
        }
        data.truncate(INPUT_MAX_BYTES);
        data
    }

    fn step(&mut self, data: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(data.len());
        let len = 1 + self.below(16.min(data.len().saturating_sub(at + 1)));
        let end = (at + len).min(data.len());
        match self.next() % 9 {
            0 if !data.is_empty() => data[at] ^= 1 << (self.next() % 8),
            1 if !data.is_empty() => data[at] = EDGES[self.below(EDGES.len())],
            2 if !data.is_empty() => data[at] = data[at].wrapping_add(if self.next() & 1 == 0 { 1 } else { 255 }),
            3 => data.truncate(at),
            4 => drop(data.drain(at..end)),
            5 => {
                let copy = data[at..end].to_vec();
                let to = self.below(data.len() + 1);
                data.splice(to..to, copy.repeat(1 + self.below(40)));
            }
            6 => {
                let word = self.next().to_be_bytes();
                data.splice(at..at, word);
            }
            7 => {
                let other = seeds.get(self.below(seeds.len())).map_or(&[][..], Vec::as_slice);
                let from = self.below(other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            _ => data.insert(at, EDGES[self.below(EDGES.len())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_repeat_with_the_seed_and_differ_without() {
        let seeds = [b"hello, world".to_vec(), Vec::new()];
        let run = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..1_000).map(|_| mutator.input(&seeds)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn inputs_are_bounded_and_no_seed_is_too_odd() {
        let seeds = [Vec::new(), vec![0], vec![7; INPUT_MAX_BYTES]];
        let mut mutator = Mutator::new(3);
        let lengths: Vec<usize> = (0..2_000).map(|_| mutator.input(&seeds).len()).collect();
        assert!(lengths.iter().all(|len| *len <= INPUT_MAX_BYTES));
        assert!(lengths.iter().any(|len| *len < 100) && lengths.contains(&INPUT_MAX_BYTES));
        assert!(!mutator.input(&[]).is_empty() || mutator.input(&[]).len() <= INPUT_MAX_BYTES);
    }
}
