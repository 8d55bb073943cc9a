//! What the peers' clocks say of the own one.
//!
//! A node signs its address, with the time, anew every ten minutes, and tells its peers: so each of its records, when it
//! comes from itself, shows its wall clock to within that. One peer is never believed: the median of what all linked
//! peers say is, so that a liar needs as many links as all the honest ones together, and then achieves no more than a
//! wrong warning and a pruning put off. The own clock is never set by it. A peer that can't be dialled has no record, and
//! isn't heard.
//!
//! What was heard is kept as the difference to the own *monotonic* clock: so it stays right when the own wall clock
//! jumps, and shows the jump at once.

use std::collections::BTreeMap;

use rumormill_api::{LinkId, Millis};

use super::Now;

/// How far the own clock may be from the peers' and count as right, in milliseconds: twice what the age of a record
/// leaves open, far below the hour that an envelope's expiry leaves.
pub const CLOCK_TOLERANCE_MS: Millis = 10 * 60_000;

/// From how many peers on the median alone decides. Of fewer, all must agree.
pub const CLOCK_MEDIAN_MIN_PEERS: usize = 3;

/// What the peers say of the own clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Opinion {
    /// Nobody says anything, or the few who do don't agree.
    #[default]
    Unknown,
    /// It is right, to within [`CLOCK_TOLERANCE_MS`].
    Right,
    /// It is wrong.
    Wrong {
        /// By how much it is ahead of the peers' (negative: behind), in milliseconds.
        ahead_ms: i64,
        /// How many peers say about so much.
        agree: usize,
        /// Of how many.
        peers: usize,
    },
}

/// What the linked peers said of the time.
#[derive(Clone, Debug, Default)]
pub struct Skew {
    /// By link: their wall clock less the own monotonic one.
    heard: BTreeMap<LinkId, i64>,
}

impl Skew {
    /// A peer says what time it is, in milliseconds since the Unix epoch.
    pub fn hear(&mut self, link: LinkId, theirs: Millis, now: Now) {
        self.heard.insert(link, difference(theirs, now.mono));
    }

    /// A link is gone.
    pub fn forget(&mut self, link: LinkId) {
        self.heard.remove(&link);
    }

    /// What all of them together say of the own clock.
    #[must_use]
    pub fn opinion(&self, now: Now) -> Opinion {
        let own = difference(now.unix, now.mono);
        let mut ahead: Vec<i64> = self.heard.values().map(|theirs| own.saturating_sub(*theirs)).collect();
        ahead.sort_unstable();
        let peers = ahead.len();
        let right = |ahead: i64| ahead.unsigned_abs() <= CLOCK_TOLERANCE_MS;
        let Some(&upper) = ahead.get(peers / 2) else { return Opinion::Unknown };
        // Of an even number the one of the two in the middle that finds less fault.
        let lower = ahead[(peers - 1) / 2];
        let median = if lower.unsigned_abs() < upper.unsigned_abs() { lower } else { upper };
        let agree = ahead.iter().filter(|ahead| ahead.abs_diff(median) <= CLOCK_TOLERANCE_MS).count();
        if peers < CLOCK_MEDIAN_MIN_PEERS && agree < peers {
            Opinion::Unknown
        } else if right(median) {
            Opinion::Right
        } else {
            Opinion::Wrong { ahead_ms: median, agree, peers }
        }
    }
}

/// `a - b`, of times that may be anything a peer says.
fn difference(a: Millis, b: Millis) -> i64 {
    let signed = |ms| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(a).saturating_sub(signed(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;

    /// The time at a node whose clock is ahead by so much.
    fn at(mono: u64, ahead: i64) -> Now {
        Now { mono, unix: (START + mono).checked_add_signed(ahead).expect("a time after 1970") }
    }

    /// A node that is ahead by so much, and hears these peers.
    fn opinion(ahead: i64, peers: &[i64]) -> Opinion {
        let mut skew = Skew::default();
        for (link, peer) in (0..).zip(peers) {
            skew.hear(LinkId(link), at(500, *peer).unix, at(500, ahead));
        }
        skew.opinion(at(90_000, ahead))
    }

    #[test]
    fn nobody_or_few_who_disagree_say_nothing() {
        assert_eq!(opinion(0, &[]), Opinion::Unknown);
        assert_eq!(opinion(0, &[0, 5 * HOUR]), Opinion::Unknown);
        assert_eq!(opinion(24 * HOUR, &[0, 24 * HOUR]), Opinion::Unknown, "one confirms a wrong clock: not enough");
        assert_eq!(opinion(0, &[0]), Opinion::Right);
        assert_eq!(opinion(0, &[1_000, -1_000]), Opinion::Right);
        assert_eq!(opinion(HOUR, &[0]), Opinion::Wrong { ahead_ms: HOUR, agree: 1, peers: 1 });
    }

    #[test]
    fn the_tolerance_holds_from_both_sides() {
        let tolerance = CLOCK_TOLERANCE_MS.cast_signed();
        for sign in [1, -1] {
            assert_eq!(opinion(sign * tolerance, &[0, 0, 0]), Opinion::Right);
            let wrong = Opinion::Wrong { ahead_ms: sign * (tolerance + 1), agree: 3, peers: 3 };
            assert_eq!(opinion(sign * (tolerance + 1), &[0, 0, 0]), wrong);
        }
    }

    #[test]
    fn liars_below_half_change_nothing() {
        for wrong in [HOUR, -HOUR, 24 * HOUR, -24 * HOUR, 300_000 * HOUR] {
            for honest in 2..6 {
                for lies in [wrong, wrong.saturating_neg(), 7 * wrong] {
                    let mut peers = vec![0; honest];
                    peers.extend(std::iter::repeat_n(lies, honest - 1));
                    // They can neither make a right clock look wrong …
                    assert_eq!(opinion(0, &peers), Opinion::Right, "{peers:?}");
                    // … nor a wrong one right, nor shift by how much it is wrong.
                    let said = opinion(wrong, &peers);
                    assert!(matches!(said, Opinion::Wrong { ahead_ms, .. } if ahead_ms == wrong), "{wrong}: {said:?}");
                }
            }
        }
    }

    #[test]
    fn of_an_even_number_half_liars_make_no_fault() {
        assert_eq!(opinion(0, &[0, 0, HOUR, HOUR]), Opinion::Right);
        assert_eq!(opinion(0, &[0, 0, -HOUR, -HOUR]), Opinion::Right);
    }

    #[test]
    fn a_jump_shows_at_once_and_a_correction_too() {
        let mut skew = Skew::default();
        for link in 0..3 {
            skew.hear(LinkId(link), at(0, 0).unix, at(0, 0));
        }
        assert_eq!(skew.opinion(at(1_000, 0)), Opinion::Right);
        let jumped = skew.opinion(at(2_000, -24 * HOUR));
        assert_eq!(jumped, Opinion::Wrong { ahead_ms: -24 * HOUR, agree: 3, peers: 3 });
        assert_eq!(skew.opinion(at(3_000, 0)), Opinion::Right);
        for link in 0..3 {
            skew.forget(LinkId(link));
        }
        assert_eq!(skew.opinion(at(3_000, 0)), Opinion::Unknown);
    }

    #[test]
    fn absurd_times_are_only_wrong() {
        assert_eq!(opinion(0, &[0, 0, 0]), Opinion::Right);
        let mut skew = Skew::default();
        for (link, theirs) in [(0, 0), (1, u64::MAX), (2, u64::MAX)] {
            skew.hear(LinkId(link), theirs, at(0, 0));
        }
        assert!(matches!(skew.opinion(at(0, 0)), Opinion::Wrong { .. }));
    }
}
