//! Between the vault and the event bus: `receive` filters run here, off the flood's and the store's path.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::coop;
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
    queue: ShownQueue,
    /// How many messages the filters are asked about now.
    asked: usize,
}

impl Presenter {
    /// Shows what comes out of the queue.
    pub(super) fn new(shared: Arc<Shared>, hooks: Arc<dyn Hooks>, queue: ShownQueue) -> Self {
        Self { shared, hooks, queue, asked: 0 }
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
        while let Some(shown) = self.queue.try_next() {
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
            // What a turn of the vault brings may be a thousand messages.
            coop::consume_budget().await;
            let shown = tokio::select! {
                shown = self.queue.next() => shown,
                () = wait_until(due) => {
                    self.tell_gaps(&mut gaps);
                    continue;
                }
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
        let others = |shown: &Shown| matches!(shown, Shown::Message(message) if !message.mine);
        while messages.len() < FILTERED_AT_ONCE_MAX
            && let Some(Shown::Message(message)) = self.queue.next_if(others)
        {
            messages.push(message);
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

/// The way from the vault to the presenter: bounded in messages, and handed over turn by turn, so that one turn wakes the
/// presenter once.
pub(super) fn queue(shared: Arc<Shared>) -> (ToPresenter, ShownQueue) {
    let (turns, queue) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let to = ToPresenter { turns, waiting: Arc::clone(&waiting), shared };
    (to, ShownQueue { turns: queue, taken: VecDeque::new(), waiting })
}

/// The vault's end: never blocks.
pub(super) struct ToPresenter {
    turns: mpsc::UnboundedSender<Vec<Shown>>,
    waiting: Arc<AtomicUsize>,
    shared: Arc<Shared>,
}

impl ToPresenter {
    /// Shows what one turn brought, in its order; past the bound nothing, but the history has it.
    pub(super) fn show(&self, mut turn: Vec<Shown>) {
        let mut waiting = self.waiting.load(Ordering::Acquire);
        turn.retain(|shown| {
            let others = matches!(shown, Shown::Message(message) if !message.mine);
            let most = if others { PRESENTER_QUEUE_MAX - PRESENTER_RESERVE } else { PRESENTER_QUEUE_MAX };
            let room = waiting < most;
            if room {
                waiting += 1;
            } else if self.shared.count_up("not_shown_live") % 1_000 == 1 {
                // Told once per backlog, not once per message.
                self.shared.notice(
                    NoticeLevel::Warning,
                    "node",
                    "messages come faster than scripts can filter them: some are only in the history (show history)",
                );
            }
            room
        });
        if !turn.is_empty() {
            self.waiting.fetch_add(turn.len(), Ordering::AcqRel);
            // The presenter is gone only when the node is.
            let _ = self.turns.send(turn);
        }
    }
}

/// The presenter's end.
pub(super) struct ShownQueue {
    turns: mpsc::UnboundedReceiver<Vec<Shown>>,
    taken: VecDeque<Shown>,
    waiting: Arc<AtomicUsize>,
}

impl ShownQueue {
    /// What is next; `None` once the vault is gone and nothing is left. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Shown> {
        loop {
            if let Some(shown) = self.try_next() {
                return Some(shown);
            }
            self.taken = self.turns.recv().await?.into();
        }
    }

    /// What is next, if it is there.
    pub(super) fn try_next(&mut self) -> Option<Shown> {
        self.next_if(|_| true)
    }

    /// What is next, if it is there and wanted.
    fn next_if(&mut self, wanted: impl FnOnce(&Shown) -> bool) -> Option<Shown> {
        if self.taken.is_empty() {
            self.taken = self.turns.try_recv().ok()?.into();
        }
        let shown = self.taken.pop_front_if(|shown| wanted(shown))?;
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(shown)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rumormill_api::MsgId;
    use tokio::sync::broadcast;

    use super::*;
    use crate::node::api::{Me, Person};
    use crate::room::PersonId;

    fn said(number: usize, mine: bool) -> Shown {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(number as u64).to_le_bytes());
        Shown::Message(Message {
            id: MsgId(id),
            chat: "study".into(),
            from: Person { id: PersonId([1; 32]), nick: String::new() },
            text: String::new(),
            time: 0,
            mine,
            bot: false,
            synced: false,
            late: false,
            reply_to: None,
            missing: 0,
        })
    }

    fn said_by(count: usize, mine: bool) -> Vec<Shown> {
        (0..count).map(|number| said(number, mine)).collect()
    }

    #[test]
    fn messages_of_others_have_a_bound_and_what_is_not_theirs_a_reserve() {
        let me = Me { id: PersonId([2; 32]), nick: "bob".into() };
        let shared = Shared::new(me, Vec::new(), broadcast::channel(16).0);
        let (to, mut queue) = queue(Arc::clone(&shared));
        let not_shown = || shared.counters().get("not_shown_live").copied().unwrap_or_default();
        let others = PRESENTER_QUEUE_MAX - PRESENTER_RESERVE;

        to.show(said_by(others, false));
        assert_eq!(not_shown(), 0);
        to.show(said_by(2, false));
        assert_eq!(not_shown(), 2, "past the bound");
        to.show(said_by(PRESENTER_RESERVE, true));
        assert_eq!(not_shown(), 2, "what this node says has its reserve");
        to.show(vec![Shown::Gap { chat: "study".into(), missing: 1 }]);
        assert_eq!(not_shown(), 3, "which ends, too");

        for number in 0..others {
            let Some(Shown::Message(message)) = queue.try_next() else { panic!("{number} is lost") };
            assert_eq!(message.id.0[..8], (number as u64).to_le_bytes(), "in the order in which they came");
        }
        assert!(queue.next_if(|shown| !matches!(shown, Shown::Message(message) if message.mine)).is_none());
        to.show(said_by(others - PRESENTER_RESERVE, false));
        assert_eq!(not_shown(), 3, "there is room again");
        to.show(said_by(1, false));
        assert_eq!(not_shown(), 4);
        assert_eq!(std::iter::from_fn(|| queue.try_next()).count(), others);
    }

    #[tokio::test]
    async fn the_queue_ends_when_all_is_taken_and_nobody_shows_more() {
        let me = Me { id: PersonId([2; 32]), nick: "bob".into() };
        let (to, mut queue) = queue(Shared::new(me, Vec::new(), broadcast::channel(16).0));
        to.show(said_by(2, false));
        to.show(Vec::new());
        to.show(said_by(1, true));
        drop(to);
        let mut taken = 0;
        while queue.next().await.is_some() {
            taken += 1;
        }
        assert_eq!(taken, 3);
    }
}
