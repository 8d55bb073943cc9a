//! Between the vault and the event bus: `receive` filters run here, off the flood's and the store's path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::api::{Event, Message, NoticeLevel};
use super::ext::{Hooks, Verdict};
use super::shared::Shared;

/// How many messages may wait for their `receive` filters. Past it they are in the history, but not shown live.
pub(super) const PRESENTER_QUEUE_MAX: usize = 65_536;

/// How many of its places are kept for what isn't a message of others'.
const PRESENTER_RESERVE: usize = 4_096;

/// How many messages that wait are filtered together. The first of them is shown after the last was looked at.
const FILTERED_AT_ONCE_MAX: usize = 16;

/// How long messages are still filtered and shown once the node has stopped, in milliseconds. Past it they are in the
/// history, but not shown live.
const PRESENT_AFTER_STOP_MS: u64 = 2_000;

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
    shared: Arc<Shared>,
    hooks: Arc<dyn Hooks>,
    queue: mpsc::Receiver<Shown>,
    /// How many messages the filters are asked about now.
    asked: usize,
    /// What was taken from the queue behind these.
    behind: Option<Shown>,
}

impl Presenter {
    /// Shows what comes out of the queue.
    pub(super) fn new(shared: Arc<Shared>, hooks: Arc<dyn Hooks>, queue: mpsc::Receiver<Shown>) -> Self {
        Self { shared, hooks, queue, asked: 0, behind: None }
    }

    /// Runs until the vault is gone and everything it handed over is shown, or until `vault_gone` and a while more: a
    /// filter that takes its time can't keep a node from stopping.
    pub(super) async fn run(mut self, vault_gone: oneshot::Receiver<()>) {
        let patience = async {
            let _ = vault_gone.await;
            tokio::time::sleep(Duration::from_millis(PRESENT_AFTER_STOP_MS)).await;
        };
        let shared = Arc::clone(&self.shared);
        let in_time = tokio::select! {
            () = self.present() => true,
            () = patience => false,
        };
        if in_time {
            return;
        }
        for _ in 0..self.asked {
            shared.count("not_shown_live");
        }
        while let Some(shown) = self.behind.take().or_else(|| self.queue.try_recv().ok()) {
            match shown {
                Shown::Sent(event) => shared.emit(event),
                Shown::Message(message) if message.mine => shared.emit(Event::Message(message)),
                Shown::Message(_) => shared.count("not_shown_live"),
                Shown::Gap { .. } => {}
            }
        }
    }

    async fn present(&mut self) {
        let mut gaps: BTreeMap<Arc<str>, Gap> = BTreeMap::new();
        loop {
            let due = gaps.values().filter_map(|gap| gap.due).min();
            let shown = match self.behind.take() {
                Some(shown) => Some(shown),
                None => tokio::select! {
                    shown = self.queue.recv() => shown,
                    () = wait_until(due) => {
                        self.tell_gaps(&mut gaps);
                        continue;
                    }
                },
            };
            match shown {
                Some(Shown::Sent(event)) => self.shared.emit(event),
                Some(Shown::Message(message)) if message.mine => self.shared.emit(Event::Message(message)),
                Some(Shown::Message(message)) => {
                    let messages = self.those_that_wait_with(message);
                    self.filtered(messages).await;
                }
                Some(Shown::Gap { chat, missing }) => {
                    let gap = gaps.entry(chat).or_default();
                    gap.now = missing;
                    gap.due = (gap.now != gap.told).then(|| deadline(GAP_GRACE_MS));
                }
                None => return,
            }
        }
    }

    /// The message, and those of others that wait right behind it.
    fn those_that_wait_with(&mut self, message: Message) -> Vec<Message> {
        let mut messages = vec![message];
        while messages.len() < FILTERED_AT_ONCE_MAX
            && let Ok(shown) = self.queue.try_recv()
        {
            match shown {
                Shown::Message(message) if !message.mine => messages.push(message),
                other => {
                    self.behind = Some(other);
                    break;
                }
            }
        }
        messages
    }

    /// Shows what passes the filters.
    async fn filtered(&mut self, messages: Vec<Message>) {
        self.asked = messages.len();
        let verdicts = self.hooks.on_receive_all(messages).await;
        self.asked = 0;
        for verdict in verdicts {
            match verdict {
                Verdict::Pass(message) => self.shared.emit(Event::Message(message)),
                Verdict::Drop(_) => self.shared.count("filtered"),
            }
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
        let others = matches!(&shown, Shown::Message(message) if !message.mine);
        if others && self.queue.capacity() <= PRESENTER_RESERVE || self.queue.try_send(shown).is_err() {
            // Told once per backlog, not once per message.
            if self.shared.count_up("not_shown_live") % 1_000 == 1 {
                self.shared.notice(
                    NoticeLevel::Warning,
                    "node",
                    "messages come faster than scripts can filter them: some are only in the history (show history)",
                );
            }
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
