//! Between the vault and the event bus: `receive` filters run here, off the flood's and the store's path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::api::{Event, Message, NoticeLevel};
use super::ext::{Hooks, Verdict};
use super::shared::Shared;

/// How many messages may wait for their `receive` filters. Past it they are in the history, but not shown live.
pub(super) const PRESENTER_QUEUE_MAX: usize = 65_536;

/// How long a gap must last before it is shown, in milliseconds: in a live flood a child often overtakes its parent.
pub(super) const GAP_GRACE_MS: u64 = 2_000;

/// What the vault has made durable.
pub(super) enum Shown {
    Sent(Event),
    Message(Message),
    Gap { chat: Arc<str>, missing: usize },
}

/// A chat's gap as it is, and as the user was told.
#[derive(Default)]
struct Gap {
    told: usize,
    now: usize,
    due: Option<Instant>,
}

pub(super) struct Presenter {
    pub(super) shared: Arc<Shared>,
    pub(super) hooks: Arc<dyn Hooks>,
    pub(super) queue: mpsc::Receiver<Shown>,
}

impl Presenter {
    /// Runs until the vault is gone and everything it handed over is shown.
    pub(super) async fn run(mut self) {
        let mut gaps: BTreeMap<Arc<str>, Gap> = BTreeMap::new();
        loop {
            let due = gaps.values().filter_map(|gap| gap.due).min();
            let shown = tokio::select! {
                shown = self.queue.recv() => shown,
                () = wait_until(due) => {
                    self.tell_gaps(&mut gaps);
                    continue;
                }
            };
            match shown {
                Some(Shown::Sent(event)) => self.shared.emit(event),
                Some(Shown::Message(message)) => self.message(message).await,
                Some(Shown::Gap { chat, missing }) => {
                    let gap = gaps.entry(chat).or_default();
                    gap.now = missing;
                    gap.due = (gap.now != gap.told).then(|| deadline(GAP_GRACE_MS));
                }
                None => return,
            }
        }
    }

    async fn message(&self, message: Message) {
        if message.mine {
            self.shared.emit(Event::Message(message));
            return;
        }
        match self.hooks.on_receive(message).await {
            Verdict::Pass(message) => self.shared.emit(Event::Message(message)),
            Verdict::Drop(_) => self.shared.count("filtered"),
        }
    }

    fn tell_gaps(&self, gaps: &mut BTreeMap<Arc<str>, Gap>) {
        let now = Instant::now();
        for (chat, gap) in gaps.iter_mut().filter(|(_, gap)| gap.due.is_some_and(|due| due <= now)) {
            gap.due = None;
            gap.told = gap.now;
            self.shared.emit(Event::Gap { chat: Arc::clone(chat), missing: gap.now });
        }
    }
}

/// The vault's end: never blocks.
#[derive(Clone)]
pub(super) struct ToPresenter {
    pub(super) queue: mpsc::Sender<Shown>,
    pub(super) shared: Arc<Shared>,
}

impl ToPresenter {
    pub(super) fn show(&self, shown: Shown) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(shown) {
            // Told once per backlog, not once per message.
            if self.shared.counters().get("not_shown_live").copied().unwrap_or(0) % 1_000 == 0 {
                self.shared.notice(
                    NoticeLevel::Warning,
                    "node",
                    "messages come faster than scripts can filter them: some are only in the history (show history)",
                );
            }
            self.shared.count("not_shown_live");
        }
    }
}

fn deadline(after_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(after_ms)
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
