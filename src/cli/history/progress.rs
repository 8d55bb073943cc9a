//! How far a long command is, on standard error if that is a terminal: what it prints stays clean.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use rumormill::ui::progress_bar;

/// How often the bar is drawn, in milliseconds.
const DRAW_EVERY_MS: u64 = 100;

/// A bar that is drawn again and again on one line, and wiped at the end.
pub(super) struct Progress {
    what: &'static str,
    terminal: bool,
    drawn: Option<Instant>,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, terminal: io::stderr().is_terminal(), drawn: None }
    }

    /// Shows how far it is.
    #[allow(clippy::disallowed_methods, reason = "how often a person is told")]
    pub(super) fn at(&mut self, done: u64, total: u64) {
        let due = self.drawn.is_none_or(|last| last.elapsed() >= Duration::from_millis(DRAW_EVERY_MS));
        if self.terminal && due {
            self.drawn = Some(Instant::now());
            // Whoever looks away misses nothing.
            let _ = write!(io::stderr(), "\r\u{1b}[2K{} {}", self.what, progress_bar(done, total));
            let _ = io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[2K");
            let _ = io::stderr().flush();
        }
    }
}
