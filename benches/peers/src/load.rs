//! The generators of load: every node speaks in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::recorder::Recorder;
use crate::systems::Network;

/// How long nothing may be delivered before what is missing counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether anything was delivered, while less comes than is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The generator, and where it stands.
pub struct Load {
    network: Arc<dyn Network>,
    recorder: Arc<Recorder>,
    nodes: usize,
    /// The next message's number.
    next: usize,
    refused: Arc<AtomicU64>,
}

/// How a load ended.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The number of its first message.
    pub first: usize,
    /// How many messages were sent.
    pub messages: usize,
    /// How many deliveries there were.
    pub deliveries: u64,
    /// How many should have been there and weren't.
    pub lost: u64,
    /// Messages that the author's node didn't take. Their deliveries are among the lost.
    pub refused: u64,
    /// From the first message to the last delivery.
    pub time: Duration,
    /// How long after its time the last message was sent (open loop).
    pub late: Duration,
    /// From the last message sent to the last delivery.
    pub drain: Duration,
}

impl Load {
    /// A generator of load on a network.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, recorder: Arc<Recorder>, nodes: usize) -> Self {
        Self { network, recorder, nodes, next: 0, refused: Arc::default() }
    }

    const fn others(&self) -> u64 {
        self.nodes as u64 - 1
    }

    /// The next node says the next message. That it was taken (acknowledged, where the system acknowledges) isn't
    /// waited for.
    fn speak(&mut self) {
        let message = self.next;
        self.next += 1;
        let (network, recorder, refused) =
            (Arc::clone(&self.network), Arc::clone(&self.recorder), Arc::clone(&self.refused));
        let from = message % self.nodes;
        tokio::spawn(async move {
            recorder.sending(message);
            if let Err(reason) = network.publish(from, message).await
                && refused.fetch_add(1, Ordering::Relaxed) == 0
            {
                eprintln!("peers: message {message} was refused: {reason}");
            }
        });
    }

    /// A closed loop: at most `window` messages under way, `messages` in all, none sent after `limit`. So many are
    /// under way as the deliveries that are missing make up.
    pub async fn closed(&mut self, messages: usize, window: usize, limit: Duration) -> Done {
        let others = self.others();
        let before = self.recorder.deliveries();
        let first = self.next;
        let start = Instant::now();
        let mut last_sent = start;
        loop {
            let arrived = self.recorder.deliveries() - before;
            let complete = usize::try_from(arrived / others).unwrap_or(usize::MAX);
            while self.next - first < messages
                && self.next - first < complete.saturating_add(window)
                && start.elapsed() < limit
            {
                self.speak();
                last_sent = Instant::now();
            }
            let sent = self.next - first;
            if sent == messages || start.elapsed() >= limit {
                break;
            }
            if self.reach(before + others * (complete as u64 + 1)).await.is_err() {
                break;
            }
        }
        self.finish(first, before, start, last_sent, Duration::ZERO).await
    }

    /// An open loop: `rate` messages a second for `time`.
    pub async fn open(&mut self, rate: u64, time: Duration) -> Done {
        let before = self.recorder.deliveries();
        let first = self.next;
        let messages = open_messages(rate, time);
        let due = |n: usize| Duration::from_secs_f64(n as f64 / rate as f64);
        let start = Instant::now();
        while self.next - first < messages {
            while self.next - first < messages && due(self.next - first) <= start.elapsed() {
                self.speak();
            }
            let next = start + due(self.next - first);
            tokio::time::sleep_until(next.into()).await;
        }
        let last_sent = Instant::now();
        let late = start.elapsed().saturating_sub(due(messages));
        self.finish(first, before, start, last_sent, late).await
    }

    /// Waits for what is under way.
    async fn finish(&self, first: usize, before: u64, start: Instant, last_sent: Instant, late: Duration) -> Done {
        let messages = self.next - first;
        let wanted = messages as u64 * self.others();
        let (Ok(end) | Err(end)) = self.reach(before + wanted).await;
        let deliveries = self.recorder.deliveries() - before;
        Done {
            first,
            messages,
            deliveries,
            lost: wanted.saturating_sub(deliveries),
            refused: self.refused.swap(0, Ordering::Relaxed),
            time: end.saturating_duration_since(start),
            late,
            drain: end.saturating_duration_since(last_sent),
        }
    }

    /// Waits for so many deliveries. `Ok`: when they were there. `Err`: nothing came any more, and when the last came.
    async fn reach(&self, deliveries: u64) -> Result<Instant, Instant> {
        let mut seen = self.recorder.deliveries();
        let mut last = Instant::now();
        while tokio::time::timeout(LOOK_EVERY, self.recorder.reach(deliveries)).await.is_err() {
            let now = self.recorder.deliveries();
            if now > seen {
                (seen, last) = (now, Instant::now());
            } else if last.elapsed() > PATIENCE {
                return Err(last);
            }
        }
        Ok(Instant::now())
    }
}

/// How many messages an open loop sends.
#[must_use]
pub fn open_messages(rate: u64, time: Duration) -> usize {
    (rate as f64 * time.as_secs_f64()).round() as usize
}
