//! Where the node gets the time and its randomness: the one place that asks the system for either.

use std::fmt;
use std::time::UNIX_EPOCH;

use tokio::time::Instant;

use crate::proto::Now;

/// The node's clock.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Now;
}

/// The system's clocks: a monotonic one (tokio's, which tests can pause) and the wall clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where the node reads the clock")]
    fn now(&self) -> Now {
        let unix = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: millis(self.start.elapsed()), unix: millis(unix) }
    }
}

/// A wall clock that follows tokio's time from a chosen point on: virtual time for whole nodes.
#[derive(Debug)]
pub struct VirtualClock {
    start: Instant,
    unix: u64,
}

impl VirtualClock {
    /// A clock that shows `unix` (milliseconds since the Unix epoch) now.
    #[must_use]
    pub fn starting_at(unix: u64) -> Self {
        Self { start: Instant::now(), unix }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        let mono = millis(self.start.elapsed());
        Now { mono, unix: self.unix + mono }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where random bytes come from: fills the slice.
pub(crate) type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

/// The system's random bytes.
///
/// # Panics
///
/// When the system can't give any: nothing secret can be made then.
#[expect(clippy::disallowed_methods, reason = "this is where the node asks for randomness")]
pub(super) fn system_entropy() -> Entropy {
    Box::new(|out| getrandom::fill(out).expect("the system gives random bytes"))
}

impl fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
