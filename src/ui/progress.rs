//! A bar that shows how far something is.

/// How wide the bar is, in characters.
const BAR_CHARS: u64 = 24;

/// `[######------------------]  25 %`; of an unknown total, only what is done.
#[must_use]
pub fn progress_bar(done: u64, total: u64) -> String {
    if total == 0 {
        return done.to_string();
    }
    let done = done.min(total);
    // Shares of numbers as large as they get.
    let share = |of: u64| u64::try_from(u128::from(done) * u128::from(of) / u128::from(total)).unwrap_or(of);
    let full = usize::try_from(share(BAR_CHARS)).unwrap_or_default();
    let empty = usize::try_from(BAR_CHARS).unwrap_or_default() - full;
    format!("[{}{}] {:3} %", "#".repeat(full), "-".repeat(empty), share(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_from_left_to_right() {
        assert_eq!(progress_bar(0, 7), format!("[{}]   0 %", "-".repeat(24)));
        assert_eq!(progress_bar(1, 4), format!("[{}{}]  25 %", "#".repeat(6), "-".repeat(18)));
        assert_eq!(progress_bar(u64::MAX, u64::MAX), format!("[{}] 100 %", "#".repeat(24)));
        assert_eq!(progress_bar(9, 8), progress_bar(8, 8), "never more than all");
        assert_eq!(progress_bar(12, 0), "12");
    }
}
