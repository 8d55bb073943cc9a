//! One thread that looks after all scripts' threads: it sets the flag that stops a call, so that the interrupt needs no
//! clock. It sleeps while no script runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::meter::lock;
use super::shared::Shared;

/// How often it looks while a script runs, in milliseconds.
pub(super) const WATCHDOG_TICK_MS: u64 = 5;
/// How long it sleeps at most while none does, in milliseconds.
const WATCHDOG_NAP_MS: u64 = 5_000;

/// The thread's control.
#[derive(Default)]
pub(super) struct Watchdog {
    scripts: Mutex<Vec<Weak<Shared>>>,
    napping: AtomicBool,
    /// Whether something has run since the last look. As long as that goes on it looks at every tick: to nap between two
    /// short calls, each of them would have to wake it.
    called: AtomicBool,
    stopped: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Watchdog {
    /// Starts it.
    pub(super) fn start() -> std::io::Result<Arc<Self>> {
        let dog = Arc::new(Self::default());
        let own = Arc::downgrade(&dog);
        let handle = thread::Builder::new().name("lua-watchdog".into()).spawn(move || {
            while let Some(dog) = own.upgrade() {
                if !dog.round() {
                    break;
                }
            }
        })?;
        let _ = dog.thread.set(handle.thread().clone());
        Ok(dog)
    }

    /// Looks after this one from now on.
    pub(super) fn watch(&self, script: &Arc<Shared>) {
        lock(&self.scripts).push(Arc::downgrade(script));
    }

    /// Something runs now.
    pub(super) fn wake(&self) {
        self.called.store(true, Ordering::SeqCst);
        if self.napping.load(Ordering::SeqCst)
            && self.napping.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Ends it.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn round(&self) -> bool {
        if self.stopped.load(Ordering::SeqCst) {
            return false;
        }
        let called = self.called.swap(false, Ordering::SeqCst);
        // Set before looking: who begins after the look sees it and wakes this thread.
        self.napping.store(!called, Ordering::SeqCst);
        let now = Instant::now();
        let scripts: Vec<_> = {
            let mut scripts = lock(&self.scripts);
            scripts.retain(|script| script.strong_count() > 0);
            scripts.iter().filter_map(Weak::upgrade).collect()
        };
        let busy = scripts.iter().filter(|script| script.look(now)).count();
        drop(scripts);
        if called || busy > 0 {
            self.napping.store(false, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(WATCHDOG_TICK_MS));
        } else {
            thread::park_timeout(Duration::from_millis(WATCHDOG_NAP_MS));
        }
        true
    }
}
