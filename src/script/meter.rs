//! How long a script's thread has been running the present call, and the flag that stops it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A call that got no processor is given this much longer than its budget, in milliseconds.
pub(super) const WALL_GRACE_MS: u64 = 150;

/// Locks, whatever a panicking holder left: the data is valid at every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the watchdog found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// No call runs.
    Idle,
    /// A call runs.
    Busy,
    /// A killed call didn't stop: it is stuck in native code.
    Stuck,
}

#[derive(Debug)]
struct Call {
    started: Instant,
    budget: Duration,
    /// The thread's processor time when the watchdog first saw this call.
    cpu_base: Option<Duration>,
    killed: Option<Instant>,
}

/// One script thread's meter.
#[derive(Debug, Default)]
pub(super) struct Meter {
    kill: AtomicBool,
    call: Mutex<Option<Call>>,
    /// Where Linux tells the thread's processor time.
    schedstat: OnceLock<PathBuf>,
}

impl Meter {
    /// Says which thread is measured: the calling one. Without Linux's `/proc` the wall clock decides alone.
    pub(super) fn measure_this_thread(&self) {
        if let Ok(thread) = std::fs::read_link("/proc/thread-self") {
            let path = PathBuf::from("/proc").join(thread).join("schedstat");
            if read_cpu(&path).is_some() {
                let _ = self.schedstat.set(path);
            }
        }
    }

    /// The processor time of the thread so far, where the system tells it.
    pub(super) fn cpu(&self) -> Option<Duration> {
        self.schedstat.get().and_then(|path| read_cpu(path))
    }

    /// Whether the present call must stop.
    pub(super) fn killed(&self) -> bool {
        self.kill.load(Ordering::Relaxed)
    }

    /// A call begins.
    pub(super) fn begin(&self, budget: Duration) {
        let mut call = lock(&self.call);
        *call = Some(Call { started: Instant::now(), budget, cpu_base: None, killed: None });
        self.kill.store(false, Ordering::Relaxed);
    }

    /// The call is over: how long it ran, and whether it was killed.
    pub(super) fn end(&self) -> (Duration, bool) {
        let call = lock(&self.call).take();
        self.kill.store(false, Ordering::Relaxed);
        call.map_or((Duration::ZERO, false), |call| (call.started.elapsed(), call.killed.is_some()))
    }

    /// The watchdog looks, and kills what is past its budget.
    pub(super) fn look(&self, now: Instant, stuck: Duration) -> Found {
        let mut guard = lock(&self.call);
        let Some(call) = guard.as_mut() else { return Found::Idle };
        if let Some(killed) = call.killed {
            return if now.saturating_duration_since(killed) >= stuck { Found::Stuck } else { Found::Busy };
        }
        let cpu = self.schedstat.get().and_then(|path| read_cpu(path));
        let base = *call.cpu_base.get_or_insert(cpu.unwrap_or_default());
        let wall = now.saturating_duration_since(call.started);
        let spent = cpu.map_or(wall, |cpu| cpu.saturating_sub(base));
        if spent >= call.budget || wall >= call.budget + Duration::from_millis(WALL_GRACE_MS) {
            call.killed = Some(now);
            self.kill.store(true, Ordering::Relaxed);
        }
        Found::Busy
    }
}

/// A thread's processor time: the first number of its `schedstat`, in nanoseconds.
fn read_cpu(path: &std::path::Path) -> Option<Duration> {
    let text = std::fs::read_to_string(path).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_past_the_budget_and_finds_stuck_calls() {
        let meter = Meter::default();
        let budget = Duration::from_millis(20);
        let stuck = Duration::from_secs(2);
        assert_eq!(meter.look(Instant::now(), stuck), Found::Idle);
        meter.begin(budget);
        let start = Instant::now();
        assert_eq!(meter.look(start, stuck), Found::Busy);
        assert!(!meter.killed());
        let late = start + Duration::from_secs(1);
        assert_eq!(meter.look(late, stuck), Found::Busy);
        assert!(meter.killed());
        assert_eq!(meter.look(late + Duration::from_millis(1_999), stuck), Found::Busy);
        assert_eq!(meter.look(late + stuck, stuck), Found::Stuck);
        assert!(meter.end().1);
        assert!(!meter.killed());
    }
}
