//! Conformance of a [`Dedup`].
//!
//! Every case is a function that takes the backend's factory and panics where the contract is broken. A backend runs them
//! all, one `#[test]` a case, by
//!
//! ```ignore
//! rumormill_api::dedup_suite!(open);  // fn open(config: DedupConfig) -> Result<Box<dyn Dedup>>
//! ```
//!
//! or in one test by [`dedup_suite`]. A probabilistic backend is allowed its stated rate everywhere, no more.

#![allow(clippy::unwrap_used, reason = "a conformance suite fails by panicking")]

use crate::dedup::{DEDUP_CAPACITY_MAX_IDS, DEDUP_RATE_MAX, DEDUP_RATE_MIN, Dedup, DedupConfig, Seen};
use crate::error::{ErrorKind, Result};
use crate::ids::{Millis, MsgId};

/// How a backend is made: what it registers.
pub type Factory = dyn Fn(DedupConfig) -> Result<Box<dyn Dedup>>;

/// Runs every case, in order.
pub fn dedup_suite(make: &Factory) {
    CASES.iter().for_each(|(_, case)| case(make));
}

/// Builds the table of the cases and the macro that makes a `#[test]` of each.
macro_rules! cases {
    ($dollar:tt $($case:ident)*) => {
        /// The cases by name.
        pub const CASES: &[(&str, fn(&Factory))] = &[$((stringify!($case), $case)),*];

        /// A `#[test]` for each case of the suite for deduplication.
        #[macro_export]
        macro_rules! dedup_suite {
            ($dollar make:expr) => {
                $(
                    #[test]
                    fn $case() {
                        $dollar crate::testkit::dedup::$case(&$dollar make);
                    }
                )*
            };
        }
    };
}

cases! { $
    a_new_id_is_fresh
    an_inserted_id_is_seen
    check_does_not_insert
    check_agrees_with_inserting
    within_capacity_nothing_is_forgotten
    the_last_ids_of_a_long_stream_are_known
    past_its_capacity_the_oldest_is_forgotten
    past_ten_times_its_capacity_memory_is_bounded
    repeats_use_up_no_capacity
    an_id_that_keeps_coming_stays_known
    an_id_younger_than_the_rotation_is_known
    an_id_older_than_two_rotations_is_fresh
    a_clock_that_stands_still_forgets_nothing
    a_clock_that_goes_back_counts_as_standing
    a_clock_that_leaps_to_its_end_is_survived
    a_capacity_of_one_remembers_the_last
    the_stated_rate_holds
    one_bit_makes_another_id
    equal_seeds_answer_equally
    what_was_never_inserted_is_never_certain
    sizes_outside_their_limits_are_refused
    boxed_it_is_a_dedup
}

const HOUR_MS: Millis = 3_600_000;

/// A rate at which no case expects to meet a single false positive.
const TINY_RATE: f64 = 1e-9;

fn config(capacity: usize) -> DedupConfig {
    DedupConfig { capacity, rotate_after: HOUR_MS, false_positive_rate: TINY_RATE, seed: [7; 32] }
}

fn id(n: u64) -> MsgId {
    MsgId::of(&n.to_le_bytes())
}

/// Inserts, and says whether it had been there.
fn seen(dedup: &mut impl Dedup, n: u64, now: Millis) -> bool {
    dedup.check_and_insert(&id(n), now) != Seen::Fresh
}

fn knows(dedup: &impl Dedup, n: u64) -> bool {
    dedup.check(&id(n)) != Seen::Fresh
}

/// Nothing is known at first.
pub fn a_new_id_is_fresh(make: &Factory) {
    let mut dedup = make(config(100)).unwrap();
    assert_eq!(dedup.check(&id(1)), Seen::Fresh);
    assert_eq!(dedup.check_and_insert(&id(1), 0), Seen::Fresh);
}

/// The second time is not the first.
pub fn an_inserted_id_is_seen(make: &Factory) {
    let mut dedup = make(config(100)).unwrap();
    assert!(!seen(&mut dedup, 1, 0));
    assert!(seen(&mut dedup, 1, 0));
    assert!(seen(&mut dedup, 1, 1));
    assert!(!seen(&mut dedup, 2, 1));
}

/// Asking leaves no trace, however often.
pub fn check_does_not_insert(make: &Factory) {
    let dedup = make(config(100)).unwrap();
    for _ in 0..1_000 {
        assert_eq!(dedup.check(&id(1)), Seen::Fresh);
    }
}

/// Asking and inserting give one answer.
pub fn check_agrees_with_inserting(make: &Factory) {
    let mut dedup = make(DedupConfig { false_positive_rate: 0.1, ..config(500) }).unwrap();
    for n in (0..2_000).map(|n| n * n % 701) {
        // At one and the same time, since `check` has no clock to rotate by.
        let asked = dedup.check(&id(n));
        assert_eq!(dedup.check_and_insert(&id(n), 5), asked, "id {n}");
    }
}

/// A full generation knows all that went in.
pub fn within_capacity_nothing_is_forgotten(make: &Factory) {
    for capacity in [1, 2, 63, 64, 65, 10_000] {
        let mut dedup = make(config(capacity)).unwrap();
        for n in 0..capacity as u64 {
            assert!(!seen(&mut dedup, n, n));
        }
        for n in 0..capacity as u64 {
            assert!(knows(&dedup, n), "id {n} of {capacity}");
        }
    }
}

/// At every point of a stream, the last `capacity` ids are known.
pub fn the_last_ids_of_a_long_stream_are_known(make: &Factory) {
    const CAPACITY: u64 = 100;
    let mut dedup = make(config(CAPACITY as usize)).unwrap();
    for n in 0..10 * CAPACITY {
        seen(&mut dedup, n, n);
        for old in (n + 1).saturating_sub(CAPACITY)..=n {
            assert!(knows(&dedup, old), "id {old} after id {n}");
        }
    }
}

/// What lies two generations back is forgotten.
pub fn past_its_capacity_the_oldest_is_forgotten(make: &Factory) {
    const CAPACITY: u64 = 1_000;
    let mut dedup = make(config(CAPACITY as usize)).unwrap();
    for n in 0..=2 * CAPACITY {
        seen(&mut dedup, n, 0);
    }
    assert!((0..CAPACITY).all(|n| !knows(&dedup, n)));
}

/// After 20 times its capacity, at most two generations are remembered.
pub fn past_ten_times_its_capacity_memory_is_bounded(make: &Factory) {
    const CAPACITY: u64 = 1_000;
    let mut dedup = make(config(CAPACITY as usize)).unwrap();
    for n in 0..20 * CAPACITY {
        seen(&mut dedup, n, 0);
    }
    let known = (0..20 * CAPACITY).filter(|n| knows(&dedup, *n)).count() as u64;
    assert!((CAPACITY..=2 * CAPACITY).contains(&known), "{known} ids are remembered");
}

/// A flood of one id pushes nothing out.
pub fn repeats_use_up_no_capacity(make: &Factory) {
    let mut dedup = make(config(10)).unwrap();
    for n in 0..10 {
        seen(&mut dedup, n, 0);
    }
    for _ in 0..1_000 {
        assert!(seen(&mut dedup, 3, 0));
    }
    assert!((0..10).all(|n| knows(&dedup, n)));
}

/// An id that comes again is young again.
pub fn an_id_that_keeps_coming_stays_known(make: &Factory) {
    const CAPACITY: u64 = 100;
    let mut dedup = make(config(CAPACITY as usize)).unwrap();
    seen(&mut dedup, u64::MAX, 0);
    for n in 0..20 * CAPACITY {
        seen(&mut dedup, n, 0);
        if n % (CAPACITY / 2) == 0 {
            assert!(seen(&mut dedup, u64::MAX, 0), "after id {n}");
        }
    }
    for step in 1..20 {
        assert!(seen(&mut dedup, u64::MAX, step * (HOUR_MS / 2)), "at half hour {step}");
    }
}

/// Whenever an id came, it is known until it is as old as a rotation.
pub fn an_id_younger_than_the_rotation_is_known(make: &Factory) {
    const STEPS: u64 = 10;
    let mut dedup = make(config(1_000)).unwrap();
    for n in 0..20 * STEPS {
        seen(&mut dedup, n, n * HOUR_MS / STEPS);
        for old in (n + 1).saturating_sub(STEPS)..=n {
            assert!(knows(&dedup, old), "id {old}, {} minutes old", (n - old) * 60 / STEPS);
        }
    }
}

/// Time forgets as well, with hardly a message and with none at all.
pub fn an_id_older_than_two_rotations_is_fresh(make: &Factory) {
    let mut dedup = make(config(1_000)).unwrap();
    seen(&mut dedup, 1, 10);
    for n in 1..=4 {
        seen(&mut dedup, 100 + n, 10 + n * HOUR_MS / 2);
    }
    assert!(!seen(&mut dedup, 1, 10 + 2 * HOUR_MS));

    let mut idle = make(config(1_000)).unwrap();
    seen(&mut idle, 1, 10);
    assert!(!seen(&mut idle, 1, 10 + 2 * HOUR_MS));
}

/// Without time passing, only the count rotates.
pub fn a_clock_that_stands_still_forgets_nothing(make: &Factory) {
    let mut dedup = make(config(1_000)).unwrap();
    for n in 0..1_000 {
        seen(&mut dedup, n, 42);
    }
    assert!((0..1_000).all(|n| seen(&mut dedup, n, 42)));
}

/// A clock that goes back neither forgets nor prolongs.
pub fn a_clock_that_goes_back_counts_as_standing(make: &Factory) {
    let mut dedup = make(config(1_000)).unwrap();
    let noon = 12 * HOUR_MS;
    seen(&mut dedup, 1, noon);
    for now in [noon - 1, 5 * HOUR_MS, 0] {
        assert!(seen(&mut dedup, 1, now));
    }
    seen(&mut dedup, 2, 0);
    assert!(seen(&mut dedup, 2, noon + HOUR_MS - 1), "an id that came in the past counts from the present");
    assert!(!seen(&mut dedup, 3, 0));
    assert!(!seen(&mut dedup, 1, noon + 4 * HOUR_MS), "the clock went on from where it had been");
}

/// The largest time there is forgets everything and breaks nothing.
pub fn a_clock_that_leaps_to_its_end_is_survived(make: &Factory) {
    for rotate_after in [1, HOUR_MS, Millis::MAX / 2, Millis::MAX] {
        let mut dedup = make(DedupConfig { rotate_after, ..config(10) }).unwrap();
        seen(&mut dedup, 1, 0);
        assert_eq!(seen(&mut dedup, 1, Millis::MAX), rotate_after > Millis::MAX / 2, "rotated after {rotate_after}");
        assert!(seen(&mut dedup, 1, Millis::MAX));
    }
}

/// The smallest capacity works.
pub fn a_capacity_of_one_remembers_the_last(make: &Factory) {
    let mut dedup = make(config(1)).unwrap();
    for n in 0..100 {
        assert!(!seen(&mut dedup, n, 0));
        assert!(knows(&dedup, n));
        assert!(n < 2 || !knows(&dedup, n - 2));
    }
}

/// With both generations as full as they get, wrong answers are no more than stated.
pub fn the_stated_rate_holds(make: &Factory) {
    const CAPACITY: u64 = 20_000;
    const PROBES: u64 = 200_000;
    for rate in [0.1, 1e-2, 1e-3] {
        let mut dedup = make(DedupConfig { false_positive_rate: rate, ..config(CAPACITY as usize) }).unwrap();
        // A false positive isn't inserted, so the last few places are filled by trying on.
        for n in 0..2 * CAPACITY {
            seen(&mut dedup, n, 0);
        }
        let wrong = (0..PROBES).filter(|n| knows(&dedup, (1 << 40) + n)).count() as f64;
        let expected = rate * PROBES as f64;
        // Four standard deviations of a binomial count: the seed is fixed, so this passes always or never.
        assert!(wrong <= expected + 4.0 * expected.sqrt(), "{wrong} wrong answers of {PROBES} at a rate of {rate}");
    }
}

/// Ids next to each other are not mixed up.
pub fn one_bit_makes_another_id(make: &Factory) {
    let mut dedup = make(config(1_000)).unwrap();
    let base = id(1);
    dedup.check_and_insert(&base, 0);
    for bit in 0..256 {
        let mut other = base;
        other.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(dedup.check_and_insert(&other, 0), Seen::Fresh, "bit {bit}");
    }
}

/// A simulation repeats itself exactly: same seed, same answers, wrong ones included.
pub fn equal_seeds_answer_equally(make: &Factory) {
    let config = DedupConfig { false_positive_rate: DEDUP_RATE_MAX, ..config(50) };
    let (mut one, mut other) = (make(config.clone()).unwrap(), make(config).unwrap());
    for n in 0..2_000 {
        let (id, now) = (id(n * n % 997), n * HOUR_MS / 300);
        assert_eq!(one.check_and_insert(&id, now), other.check_and_insert(&id, now), "step {n}");
    }
}

/// A backend that can be wrong never says that it is certain.
pub fn what_was_never_inserted_is_never_certain(make: &Factory) {
    let mut dedup = make(DedupConfig { false_positive_rate: DEDUP_RATE_MAX, ..config(1_000) }).unwrap();
    for n in 0..2_000 {
        seen(&mut dedup, n, 0);
    }
    assert!((10_000..60_000).all(|n| dedup.check(&id(n)) != Seen::Certain));
}

/// The limits hold from both sides.
pub fn sizes_outside_their_limits_are_refused(make: &Factory) {
    let refused = [
        config(0),
        config(DEDUP_CAPACITY_MAX_IDS + 1),
        config(usize::MAX),
        DedupConfig { rotate_after: 0, ..config(1) },
        DedupConfig { false_positive_rate: 0.0, ..config(1) },
        DedupConfig { false_positive_rate: DEDUP_RATE_MIN / 2.0, ..config(1) },
        DedupConfig { false_positive_rate: DEDUP_RATE_MAX + 0.01, ..config(1) },
        DedupConfig { false_positive_rate: -1.0, ..config(1) },
        DedupConfig { false_positive_rate: f64::NAN, ..config(1) },
    ];
    for config in refused {
        let error = make(config.clone()).err().unwrap_or_else(|| panic!("{config:?} was taken"));
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    for false_positive_rate in [DEDUP_RATE_MIN, DEDUP_RATE_MAX] {
        make(DedupConfig { false_positive_rate, rotate_after: 1, ..config(1) }).unwrap();
    }
}

/// What the registry hands out serves where the engine is generic.
pub fn boxed_it_is_a_dedup(make: &Factory) {
    fn twice<D: Dedup>(mut dedup: D) -> (Seen, bool) {
        (dedup.check_and_insert(&id(1), 0), dedup.check(&id(1)) != Seen::Fresh)
    }
    assert_eq!(twice(make(DedupConfig::default()).unwrap()), (Seen::Fresh, true));
}
