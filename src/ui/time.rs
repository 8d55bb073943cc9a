//! Times for people, in UTC: the zone of a terminal isn't known without a zone database, and UTC is the same at every
//! member.

use rumormill_api::Millis;

const DAY_MS: Millis = 24 * 3_600_000;

/// `2026-11-23T20:04:05.678Z` (RFC 3339).
pub(super) fn rfc3339(unix: Millis) -> String {
    let (year, month, day) = civil(unix / DAY_MS);
    let (hour, minute, second, milli) = (unix / 3_600_000 % 24, unix / 60_000 % 60, unix / 1_000 % 60, unix % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// `2026-11-23`.
#[must_use]
pub fn date(unix: Millis) -> String {
    let (year, month, day) = civil(unix / DAY_MS);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `20:04`.
#[must_use]
pub fn time_of_day(unix: Millis) -> String {
    format!("{:02}:{:02}", unix / 3_600_000 % 24, unix / 60_000 % 60)
}

/// `20:04`, or `2026-11-22 20:04` on another day than `now`.
pub(super) fn short(unix: Millis, now: Millis) -> String {
    let clock = time_of_day(unix);
    if unix / DAY_MS == now / DAY_MS { clock } else { format!("{} {clock}", date(unix)) }
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Count from 0000-03-01, so that a leap day is the last of its year; 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        let _ = rfc3339(u64::MAX);
    }

    #[test]
    fn the_day_is_shown_when_it_is_another() {
        assert_eq!(short(3_600_000, 0), "01:00");
        assert_eq!(short(DAY_MS - 1, DAY_MS), "1970-01-01 23:59");
    }
}
