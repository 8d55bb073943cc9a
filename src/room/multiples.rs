//! Multiples of a point at hand, by which it is multiplied in a few additions and no doubling.
//!
//! For what everybody may know, such as a signature's two halves: what it takes depends on the scalar. The library's own tables
//! are for secrets, and read all of a row to hide which entry is meant; that is a quarter of checking a signature.

use std::sync::LazyLock;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::{EdwardsPoint, Scalar};

/// Bits of a scalar that an entry of a key's table stands for: 52 rows of 16 points, 130 KiB.
pub(super) const KEY_BITS: u32 = 5;
/// The same of the base point's table: 32 rows of 128 points, 640 KiB once.
const BASE_BITS: u32 = 8;

/// Bits of a scalar that is reduced, with room for a carry.
const SCALAR_BITS: u32 = 256;

/// The multiples 1 to 2^(bits - 1) of 2^(bits · row) · P, row by row.
pub(super) struct Multiples {
    bits: u32,
    points: Vec<EdwardsPoint>,
}

/// The base point's.
pub(super) static BASE: LazyLock<Multiples> = LazyLock::new(|| Multiples::of(ED25519_BASEPOINT_POINT, BASE_BITS));

impl Multiples {
    /// A point's, of so many bits a row: 2 to 8.
    pub(super) fn of(point: EdwardsPoint, bits: u32) -> Self {
        let (rows, entries) = (SCALAR_BITS.div_ceil(bits), 1_usize << (bits - 1));
        let mut points = Vec::with_capacity(rows as usize * entries);
        let mut first = point;
        for _ in 0..rows {
            let mut multiple = first;
            points.push(multiple);
            for _ in 1..entries {
                multiple += first;
                points.push(multiple);
            }
            first = multiple + multiple;
        }
        Self { bits, points }
    }

    /// Adds the point's multiple by a scalar, which isn't hidden.
    pub(super) fn add_to(&self, mut sum: EdwardsPoint, scalar: &Scalar) -> EdwardsPoint {
        let row = 1_usize << (self.bits - 1);
        for (digit, multiples) in signed_digits(scalar, self.bits).zip(self.points.chunks_exact(row)) {
            let entry = (digit.unsigned_abs() as usize).checked_sub(1).map(|at| &multiples[at]);
            match entry {
                Some(multiple) if digit > 0 => sum += multiple,
                Some(multiple) => sum -= multiple,
                None => {}
            }
        }
        sum
    }
}

/// A scalar's digits to the base 2^bits, the lowest first, each from -2^(bits - 1) + 1 to 2^(bits - 1).
fn signed_digits(scalar: &Scalar, bits: u32) -> impl Iterator<Item = i32> {
    let bytes = scalar.to_bytes();
    let mut carry = 0;
    (0..SCALAR_BITS.div_ceil(bits)).map(move |row| {
        let (byte, shift) = ((row * bits / 8) as usize, row * bits % 8);
        let low = u32::from(bytes[byte]);
        let high = u32::from(bytes.get(byte + 1).copied().unwrap_or(0));
        let digit = ((low | high << 8) >> shift & ((1 << bits) - 1)).cast_signed() + carry;
        carry = i32::from(digit > 1 << (bits - 1));
        digit - (carry << bits)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::traits::Identity;
    use proptest::prelude::*;

    use super::*;

    /// Scalars at the edges: none, the smallest, the largest, digits that carry all along.
    fn edges() -> Vec<Scalar> {
        let half = Scalar::from(2_u8).invert();
        let carrying = [0x84, 0x10, 0x42, 0x08, 0x21].into_iter().cycle().take(31).chain([0x08]);
        let carrying = Scalar::from_canonical_bytes(carrying.collect::<Vec<_>>().try_into().unwrap()).unwrap();
        vec![Scalar::ZERO, Scalar::ONE, -Scalar::ONE, half, -half, carrying, -carrying, Scalar::from(u64::MAX)]
    }

    fn agrees(point: EdwardsPoint, scalar: &Scalar) {
        let expected = point + point * scalar;
        for bits in 2..=8 {
            assert_eq!(Multiples::of(point, bits).add_to(point, scalar), expected, "{bits} bits of {scalar:?}");
        }
    }

    #[test]
    fn a_multiple_is_the_librarys_at_the_edges() {
        for scalar in edges() {
            agrees(ED25519_BASEPOINT_POINT, &scalar);
            agrees(EdwardsPoint::identity(), &scalar);
            // Points with a part of small order, which has to be kept.
            EIGHT_TORSION.iter().for_each(|small| agrees(ED25519_BASEPOINT_POINT + small, &scalar));
            let by_base = BASE.add_to(EdwardsPoint::identity(), &scalar);
            assert_eq!(by_base, EdwardsPoint::mul_base(&scalar));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_multiple_is_the_librarys(scalar: [u8; 32], of: [u8; 32]) {
            let point = EdwardsPoint::mul_base(&Scalar::from_bytes_mod_order(of));
            agrees(point, &Scalar::from_bytes_mod_order(scalar));
        }

        #[test]
        fn digits_are_small_and_add_up(scalar: [u8; 32], bits in 2_u32..=8) {
            let scalar = Scalar::from_bytes_mod_order(scalar);
            let half = 1 << (bits - 1);
            let digits: Vec<_> = signed_digits(&scalar, bits).collect();
            prop_assert!(digits.iter().all(|digit| -half < *digit && *digit <= half));
            let base = Scalar::from(1_u32 << bits);
            let sum = digits.iter().rev().fold(Scalar::ZERO, |sum, digit| {
                let size = Scalar::from(digit.unsigned_abs());
                sum * base + if *digit < 0 { -size } else { size }
            });
            prop_assert_eq!(sum, scalar);
        }
    }
}
