//! Counts and times deliveries. A delivery is one node that has got one message of another node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Shared by the nodes, which report, and the generator, which waits.
pub struct Recorder {
    epoch: Instant,
    deliveries: AtomicU64,
    /// At how many deliveries the generator is woken.
    wake_at: AtomicU64,
    progress: Notify,
    timing: AtomicBool,
    /// When each message was handed to its author's node, in ns since the epoch.
    sent: Vec<AtomicU64>,
    /// How often each message was delivered.
    copies: Vec<AtomicU64>,
    /// How often each message was read by a member.
    reads: AtomicU64,
    delivered: Series,
    read: Series,
}

/// Delays in ns, one list per node, so that nodes don't wait for each other.
struct Series(Vec<Mutex<Vec<u64>>>);

impl Series {
    fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| Mutex::default()).collect())
    }

    fn push(&self, node: usize, delay: u64) {
        lock(&self.0[node]).push(delay);
    }

    fn take(&self) -> Vec<u64> {
        self.0.iter().flat_map(|node| std::mem::take(&mut *lock(node))).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// For so many nodes, and so many messages in all.
    #[must_use]
    pub fn new(nodes: usize, messages: usize) -> Self {
        let zeros = || (0..messages).map(|_| AtomicU64::new(0)).collect();
        Self {
            epoch: Instant::now(),
            deliveries: AtomicU64::new(0),
            wake_at: AtomicU64::new(u64::MAX),
            progress: Notify::new(),
            timing: AtomicBool::new(false),
            sent: zeros(),
            copies: zeros(),
            reads: AtomicU64::new(0),
            delivered: Series::new(nodes),
            read: Series::new(nodes),
        }
    }

    /// Nanoseconds since the run's beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether delays are recorded.
    #[must_use]
    pub fn timing(&self) -> bool {
        self.timing.load(Ordering::Relaxed)
    }

    /// Records delays from now on, or no longer.
    pub fn set_timing(&self, on: bool) {
        self.timing.store(on, Ordering::Relaxed);
    }

    /// A message is handed to its author's node.
    pub fn sending(&self, message: usize) {
        self.sent[message].store(self.now(), Ordering::Relaxed);
    }

    /// When that was, in ns since the run's beginning.
    #[must_use]
    pub fn sent_at(&self, message: usize) -> u64 {
        self.sent[message].load(Ordering::Relaxed)
    }

    /// So many deliveries, of whatever messages.
    pub fn count(&self, deliveries: u64) {
        let now = self.deliveries.fetch_add(deliveries, Ordering::AcqRel) + deliveries;
        if now >= self.wake_at.load(Ordering::Acquire) {
            self.progress.notify_one();
        }
    }

    /// The node's application has got a message that begins with its number.
    pub fn delivered(&self, node: usize, text: &[u8]) {
        let Some(message) = message_number(text).filter(|number| *number < self.copies.len()) else { return };
        self.copies[message].fetch_add(1, Ordering::Relaxed);
        if self.timing() {
            self.delivered.push(node, self.now().saturating_sub(self.sent_at(message)));
        }
        self.count(1);
    }

    /// A delay that the system found out on its own, in ns.
    pub fn delay(&self, node: usize, delay: u64) {
        self.delivered.push(node, delay);
    }

    /// A member has opened, verified and shown a message that begins with its number. For systems in which not
    /// everyone who gets a message can read it.
    pub fn read(&self, node: usize, text: &[u8]) {
        let Some(message) = message_number(text).filter(|number| *number < self.copies.len()) else { return };
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.timing() {
            self.read.push(node, self.now().saturating_sub(self.sent_at(message)));
        }
    }

    /// How many deliveries there were.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Acquire)
    }

    /// How many messages were read by members.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Deliveries past the one per node and message that there should be, among the messages of that range.
    #[must_use]
    pub fn repeated(&self, messages: std::ops::Range<usize>, others: u64) -> u64 {
        self.copies[messages].iter().map(|copies| copies.load(Ordering::Relaxed).saturating_sub(others)).sum()
    }

    /// The delays recorded: until the node had got it, and until a member had read it. They are forgotten.
    #[must_use]
    pub fn take_delays(&self) -> (Vec<u64>, Vec<u64>) {
        (self.delivered.take(), self.read.take())
    }

    /// Waits until there were so many deliveries, in all.
    pub async fn reach(&self, deliveries: u64) {
        while self.deliveries() < deliveries {
            self.wake_at.store(deliveries, Ordering::Release);
            // One that came between the look and the store has left its permit with nobody, so look again.
            if self.deliveries() >= deliveries {
                break;
            }
            self.progress.notified().await;
        }
        self.wake_at.store(u64::MAX, Ordering::Release);
    }
}

/// How many digits a message's number has.
const NUMBER_DIGITS: usize = 10;

/// A message of that many bytes that begins with its number.
#[must_use]
pub fn message_text(number: usize, bytes: usize) -> String {
    format!("{number:0NUMBER_DIGITS$}{:x<1$}", "", bytes.saturating_sub(NUMBER_DIGITS))
}

fn message_number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text.get(..NUMBER_DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_its_number() {
        let text = message_text(4_711, 256);
        assert_eq!((text.len(), message_number(text.as_bytes())), (256, Some(4_711)));
        assert_eq!(message_number(b"short"), None);
        assert_eq!(message_number(b"no number here"), None);
    }

    #[test]
    fn what_comes_twice_is_noticed() {
        let recorder = Recorder::new(3, 2);
        for (node, message) in [(0, 1), (2, 1), (2, 1)] {
            recorder.delivered(node, message_text(message, 20).as_bytes());
        }
        assert_eq!((recorder.deliveries(), recorder.repeated(0..2, 2)), (3, 1));
    }

    #[tokio::test]
    async fn the_generator_is_woken_at_its_mark() {
        let recorder = std::sync::Arc::new(Recorder::new(2, 100));
        let waiting = tokio::spawn({
            let recorder = std::sync::Arc::clone(&recorder);
            async move { recorder.reach(100).await }
        });
        for _ in 0..50 {
            recorder.count(2);
            tokio::task::yield_now().await;
        }
        waiting.await.unwrap();
    }
}
