//! Whether envelopes may be passed on: the driver's way to the hooks' filter, which it never waits for.

use std::sync::Arc;
use std::time::Duration;

use rumormill_api::MsgId;
use tokio::sync::mpsc;

use super::ext::{Hooks, Passing};

/// How long an envelope waits for the filter's word, in milliseconds: past it, it is passed on. Other envelopes don't wait
/// with it.
pub(super) const RELAY_WAIT_MAX_MS: u64 = 25;

/// The filter, and what it has said.
pub(super) struct Relays {
    hooks: Arc<dyn Hooks>,
    /// Whether the engine asks.
    pub(super) asking: bool,
    said: mpsc::UnboundedSender<(MsgId, bool)>,
    /// As many as the engine has wait for an answer at most.
    answers: mpsc::UnboundedReceiver<(MsgId, bool)>,
}

impl Relays {
    pub(super) fn new(hooks: Arc<dyn Hooks>) -> Self {
        let (said, answers) = mpsc::unbounded_channel();
        Self { hooks, asking: false, said, answers }
    }

    /// Whether the engine is to be told something else than before.
    pub(super) fn changed(&mut self) -> Option<bool> {
        let asking = self.hooks.filters_relays();
        (asking != std::mem::replace(&mut self.asking, asking)).then_some(asking)
    }

    /// Has the filter asked.
    pub(super) fn ask(&self, passing: Passing) {
        let (hooks, said) = (Arc::clone(&self.hooks), self.said.clone());
        tokio::spawn(async move {
            let id = passing.id;
            let answer = tokio::time::timeout(Duration::from_millis(RELAY_WAIT_MAX_MS), hooks.on_relay(passing));
            let _ = said.send((id, answer.await.unwrap_or(true)));
        });
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> Option<(MsgId, bool)> {
        self.answers.recv().await
    }

    /// An answer that is there already.
    pub(super) fn answered(&mut self) -> Option<(MsgId, bool)> {
        self.answers.try_recv().ok()
    }
}
