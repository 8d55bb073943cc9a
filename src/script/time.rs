//! The time that scripts live in, and what keeps virtual time from running ahead of their threads.
//!
//! Budgets, deadlines and the hot reload are always in real time. Everything that a script can see or wait for (its
//! timers, its clock, its rates) follows [`Time`], so that a script can be tested in virtual time: on tokio's paused clock,
//! which jumps to the next timer whenever the runtime has nothing to do. The runtime doesn't see the scripts' threads;
//! so while a job waits for one of them or runs there, a blocking task is kept under way, and that is what tokio's clock
//! waits for.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::meter::lock;
use crate::node::{Clock, SystemClock};

/// The clock that scripts see.
pub(super) struct Time {
    clock: Arc<dyn Clock>,
    /// Where the monotonic clock began.
    base: Instant,
}

impl Default for Time {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Time {
    /// By this clock; without one, by the system's.
    pub(super) fn new(clock: Option<Arc<dyn Clock>>) -> Self {
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
        Self { clock, base: Instant::now() }
    }

    /// The monotonic clock: for rates, cool-downs and distances. Not for budgets, which are in real time.
    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.clock.now().mono)
    }

    /// The wall clock, in milliseconds since the Unix epoch.
    pub(super) fn unix_ms(&self) -> u64 {
        self.clock.now().unix
    }
}

/// A call that is made after a while, unless this is dropped before.
pub(super) struct Alarm(tokio::task::AbortHandle);

impl Alarm {
    /// Calls `ring` on the runtime after that time: `ring` is quick and never waits.
    pub(super) fn set(runtime: &tokio::runtime::Handle, after: Duration, ring: impl FnOnce() + Send + 'static) -> Self {
        // Made before it is spawned: virtual time stands still only until this call returns.
        let sleep = {
            let _entered = runtime.enter();
            tokio::time::sleep(after)
        };
        let task = runtime.spawn(async move {
            sleep.await;
            ring();
        });
        Self(task.abort_handle())
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Default)]
struct Count {
    jobs: usize,
    /// Whether a blocking task waits for them to end.
    kept: bool,
}

/// How many jobs wait for scripts or run in them; known only where time is virtual.
#[derive(Default)]
pub(super) struct Activity {
    runtime: OnceLock<tokio::runtime::Handle>,
    count: Mutex<Count>,
    idle: Condvar,
}

impl Activity {
    /// From now on virtual time stands still on this runtime while scripts have something to do.
    pub(super) fn hold_time_of(&self, runtime: tokio::runtime::Handle) {
        let _ = self.runtime.set(runtime);
    }

    /// One job more, until the guard is dropped. Called on the runtime, or while something else keeps time still; else
    /// time may have passed already.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let Some(runtime) = self.runtime.get() else { return Busy(None) };
        let mut count = lock(&self.count);
        count.jobs += 1;
        if !count.kept {
            count.kept = true;
            let activity = Arc::clone(self);
            runtime.spawn_blocking(move || activity.wait());
        }
        drop(count);
        Busy(Some(Arc::clone(self)))
    }

    /// Blocks until nothing is under way.
    fn wait(&self) {
        let mut count = lock(&self.count);
        while count.jobs > 0 {
            count = self.idle.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
        count.kept = false;
    }
}

/// A job that waits for a script or runs in it.
pub(super) struct Busy(Option<Arc<Activity>>);

impl Drop for Busy {
    fn drop(&mut self) {
        let Some(activity) = &self.0 else { return };
        let mut count = lock(&activity.count);
        count.jobs -= 1;
        if count.jobs == 0 {
            activity.idle.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn virtual_time_waits_for_a_job_on_another_thread() {
        let activity = Arc::<Activity>::default();
        activity.hold_time_of(tokio::runtime::Handle::current());
        let start = tokio::time::Instant::now();
        let (jobs, inbox) = channel::<(Busy, tokio::sync::oneshot::Sender<tokio::time::Instant>)>();
        let thread = std::thread::spawn(move || {
            while let Ok((busy, answer)) = inbox.recv() {
                // Far longer than the runtime needs to find that it has nothing to do.
                let mut work = 0_u64;
                for n in 0..20_000_000_u64 {
                    work = std::hint::black_box(work.wrapping_add(n));
                }
                let _ = answer.send(tokio::time::Instant::now());
                drop(busy);
            }
        });
        for _ in 0..3 {
            let (answer, seen) = tokio::sync::oneshot::channel();
            jobs.send((activity.begin(), answer)).expect("the thread runs");
            let hour = tokio::time::sleep(Duration::from_secs(3_600));
            tokio::select! {
                biased;
                answer = seen => drop(answer.expect("it answers")),
                () = hour => panic!("time ran ahead of the job"),
            }
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        // Without a job it passes at once.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3_600));
        drop(jobs);
        assert!(thread.join().is_ok());
    }
}
