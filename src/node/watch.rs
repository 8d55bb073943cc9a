//! Whether the wall clock can be trusted: what is removed by it is gone for good.
//!
//! Two things speak against it: that it leaves the monotonic clock, and that the peers say otherwise (see
//! [`Skew`]). So a clock that is wrong from the boot on is found as well as one that jumps. Nothing is removed while
//! nobody confirms the time; the quota holds meanwhile, since it needs no clock.

use rumormill_api::{LinkId, Millis};

use super::api::NoticeLevel;
use crate::proto::{CLOCK_TOLERANCE_MS, Now, Opinion, Skew};

/// How far the wall clock may leave the monotonic one before it counts as having jumped, in milliseconds.
const CLOCK_JUMP_MS: u64 = 5 * 60_000;

/// How long nothing is removed after the wall clock jumped, in milliseconds: it may jump back.
const PAUSE_AFTER_JUMP_MS: u64 = 2 * 3_600_000;

/// How long the peers must find the clock wrong until the user is told, in milliseconds: at the start they come one by
/// one.
const TELL_AFTER_MS: u64 = 30_000;

/// How exactly the user is told by how much, in milliseconds: the peers' word is exact to half of it.
const SAY_TO_MS: u64 = 10 * 60_000;

/// The watch over the clock.
#[derive(Default)]
pub(super) struct ClockWatch {
    skew: Skew,
    last: Option<Now>,
    paused_until: Millis,
    /// Since when the peers have found it wrong.
    wrong_since: Option<Millis>,
    /// By how much the user was told that it is ahead.
    told: Option<i64>,
}

/// A line for the user.
pub(super) type Notice = (NoticeLevel, String);

impl ClockWatch {
    pub(super) fn hear(&mut self, link: LinkId, theirs: Millis, now: Now) {
        self.skew.hear(link, theirs, now);
    }

    pub(super) fn forget(&mut self, link: LinkId) {
        self.skew.forget(link);
    }

    /// Whether the clock may decide now about what has expired.
    pub(super) fn trusted(&self, now: Now) -> bool {
        now.mono >= self.paused_until && self.skew.opinion(now) == Opinion::Right
    }

    /// Looks at the clock, from time to time. What the user is to be told.
    pub(super) fn look(&mut self, now: Now) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(last) = self.last.replace(now) {
            let expected = last.unix.saturating_add(now.mono.saturating_sub(last.mono));
            if expected.abs_diff(now.unix) > CLOCK_JUMP_MS {
                self.paused_until = now.mono + PAUSE_AFTER_JUMP_MS;
                let way = if now.unix > expected { "ahead" } else { "back" };
                let by = duration(expected.abs_diff(now.unix));
                let text = format!(
                    "this machine's clock jumped {by} {way}; nothing is removed from the history until it settles"
                );
                notices.push((NoticeLevel::Warning, text));
            }
        }
        match self.skew.opinion(now) {
            Opinion::Wrong { ahead_ms, agree, peers } => {
                let since = *self.wrong_since.get_or_insert(now.mono);
                let news = self.told.is_none_or(|told| told.abs_diff(ahead_ms) > CLOCK_TOLERANCE_MS);
                if news && now.mono >= since + TELL_AFTER_MS {
                    self.told = Some(ahead_ms);
                    let by = duration((ahead_ms.unsigned_abs() + SAY_TO_MS / 2) / SAY_TO_MS * SAY_TO_MS);
                    let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
                    notices.push((
                        NoticeLevel::Warning,
                        format!(
                            "this machine's clock is about {by} {way} what {agree} of {peers} peers say: set it right. Until then \
                             nothing is removed from the history, and some messages, also yours, arrive only after that"
                        ),
                    ));
                }
            }
            Opinion::Right => {
                self.wrong_since = None;
                if self.told.take().is_some() {
                    notices.push((NoticeLevel::Info, "this machine's clock agrees with the peers' again".to_owned()));
                }
            }
            Opinion::Unknown => self.wrong_since = None,
        }
        notices
    }
}

/// A duration for people, to the minute.
fn duration(ms: Millis) -> String {
    let minutes = (ms + 30_000) / 60_000;
    match (minutes / (24 * 60), minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;

    fn at(mono: u64, ahead: i64) -> Now {
        Now { mono, unix: (START + mono).checked_add_signed(ahead).expect("a time after 1970") }
    }

    fn texts(notices: Vec<Notice>) -> Vec<String> {
        notices.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_clock_that_is_wrong_from_the_boot_on_is_told_once_and_never_trusted() {
        for ahead in [HOUR, -HOUR, 24 * HOUR, -24 * HOUR] {
            let mut watch = ClockWatch::default();
            assert!(!watch.trusted(at(0, ahead)), "nobody confirms it");
            for link in 0..3 {
                watch.hear(LinkId(link), at(0, 0).unix, at(0, ahead));
            }
            assert_eq!(texts(watch.look(at(0, ahead))), [""; 0]);
            let told = texts(watch.look(at(TELL_AFTER_MS, ahead)));
            let by = if ahead.abs() == HOUR { "1 h" } else { "1 d" };
            let way = if ahead > 0 { "ahead of" } else { "behind" };
            assert!(
                told.len() == 1 && told[0].contains(&format!("is about {by} {way} what 3 of 3 peers say")),
                "{told:?}"
            );
            for minute in 1..600 {
                assert_eq!(texts(watch.look(at(minute * 60_000, ahead))), [""; 0], "told once");
                assert!(!watch.trusted(at(minute * 60_000, ahead)));
            }
            // Set right, it jumps: it is trusted once that has settled.
            let now = 600 * 60_000;
            let told = texts(watch.look(at(now, 0)));
            assert!(told.len() == 2 && told[0].contains("jumped") && told[1].contains("agrees"), "{told:?}");
            assert!(!watch.trusted(at(now + PAUSE_AFTER_JUMP_MS - 1, 0)));
            assert!(watch.trusted(at(now + PAUSE_AFTER_JUMP_MS, 0)));
        }
    }

    #[test]
    fn a_jump_is_told_and_pauses_what_removes() {
        let mut watch = ClockWatch::default();
        for link in 0..3 {
            watch.hear(LinkId(link), at(0, 0).unix, at(0, 0));
        }
        assert_eq!(texts(watch.look(at(0, 0))), [""; 0]);
        assert!(watch.trusted(at(0, 0)));
        assert_eq!(texts(watch.look(at(5_000, CLOCK_JUMP_MS.cast_signed()))), [""; 0], "at the limit it is no jump");
        let told = texts(watch.look(at(10_000, -3 * HOUR)));
        assert!(told[0].contains("jumped 3 h 5 min back"), "{told:?}");
        assert!(!watch.trusted(at(10_000, -3 * HOUR)));
    }

    #[test]
    fn peers_that_come_one_by_one_are_heard_before_anything_is_told() {
        let mut watch = ClockWatch::default();
        watch.hear(LinkId(0), at(0, 5 * HOUR).unix, at(0, 0));
        assert_eq!(texts(watch.look(at(0, 0))), [""; 0]);
        watch.hear(LinkId(1), at(5_000, 0).unix, at(5_000, 0));
        watch.hear(LinkId(2), at(5_000, 0).unix, at(5_000, 0));
        assert_eq!(texts(watch.look(at(TELL_AFTER_MS, 0))), [""; 0], "it was one who lied");
        assert!(watch.trusted(at(TELL_AFTER_MS, 0)));
        watch.forget(LinkId(1));
        watch.forget(LinkId(2));
        watch.forget(LinkId(0));
        assert!(!watch.trusted(at(TELL_AFTER_MS, 0)), "nobody confirms it any more");
    }
}
