//! Asking filters: each script once for all messages that wait and all of its filters that follow each other, so that its
//! thread is woken once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::host::Core;
use super::job::{Answer, FilterAnswer, Job, Slot, Subject};
use super::meter::WALL_GRACE_MS;
use super::shared::{EventKind, HandlerSpec, Shared};
use crate::node::{Message, Verdict};

/// A filter and its script.
pub(super) type Filter = (Arc<Shared>, HandlerSpec);

impl Core {
    /// The filters of an event, in the order that they run; of what happens in a chat, those that see it.
    pub(super) fn filters(&self, event: EventKind, chat: Option<&str>) -> Vec<Filter> {
        let mut filters = Vec::new();
        for script in self.running() {
            if chat.is_some_and(|chat| !script.grants.sees(chat)) {
                continue;
            }
            let registered = script.registered();
            for spec in registered.handlers.iter().filter(|spec| spec.wants(event, chat)) {
                filters.push((Arc::clone(&script), spec.clone()));
            }
        }
        filters.sort_by(|(a, x), (b, y)| {
            y.priority.total_cmp(&x.priority).then_with(|| a.label.cmp(&b.label)).then(x.id.cmp(&y.id))
        });
        filters
    }

    /// The filters of one script on each of these, or what counts as their word when it is late.
    pub(super) async fn ask(&self, filters: &[Filter], subjects: Vec<Subject>) -> Vec<FilterAnswer> {
        let Some((script, _)) = filters.first() else { return Vec::new() };
        let (slot, answer) = Slot::awaited();
        let (asked, budgets) = (subjects.len(), &script.budgets);
        let calls = u64::try_from(asked * filters.len()).unwrap_or(u64::MAX);
        let before = match subjects.first() {
            // The network's traffic waits for no handler that may be running before it.
            Some(Subject::Relay(_)) => 0,
            // One handler may be.
            _ => budgets.handler_ms + WALL_GRACE_MS,
        };
        let patience = Duration::from_millis(budgets.filter_ms.saturating_mul(calls).saturating_add(before));
        // Who waits for its share of the processor is late whatever it would say.
        let waits = script.waits.load(Ordering::Relaxed);
        if !waits {
            script.expect(&slot, Some(Instant::now() + patience));
        }
        let ids = filters.iter().map(|(_, spec)| spec.id).collect();
        if waits || !script.inbox.push_filter(Job::Filter { ids, subjects, slot: slot.clone() }) {
            slot.answer(Answer::Late);
        }
        drop(slot);
        let mut answers = match answer.await {
            Ok(Answer::Filter(answers)) => answers,
            _ => Vec::new(),
        };
        let late = match filters.iter().any(|(_, spec)| spec.drop_on_error) {
            true => FilterAnswer::Drop(format!("the filter {} did not answer in time", script.name)),
            false => FilterAnswer::Pass,
        };
        answers.resize(asked, late);
        answers
    }

    /// What the filters say of messages of one chat.
    pub(super) async fn receive(&self, messages: Vec<Message>) -> Vec<Verdict<Message>> {
        let chat = messages.first().map(|message| Arc::clone(&message.chat));
        let filters = self.filters(EventKind::Receive, chat.as_deref());
        let parts: Vec<_> = by_script(&filters).collect();
        let mut verdicts: Vec<_> = messages.into_iter().map(Verdict::Pass).collect();
        // A script whose filters run before and after another's is through with one message before it sees the next.
        let again = |(n, part): (usize, &&[Filter])| parts[..n].iter().any(|before| is_same(&before[0], &part[0]));
        let at_once = if parts.iter().enumerate().any(again) { 1 } else { verdicts.len().max(1) };
        for verdicts in verdicts.chunks_mut(at_once) {
            for part in &parts {
                self.judge(part, verdicts).await;
            }
        }
        verdicts
    }

    /// What filters of one script say of what has passed so far.
    async fn judge(&self, filters: &[Filter], verdicts: &mut [Verdict<Message>]) {
        let passed = |verdict: &Verdict<Message>| match verdict {
            Verdict::Pass(message) => Some(Subject::Receive(message.clone())),
            Verdict::Drop(_) => None,
        };
        let subjects: Vec<_> = verdicts.iter().filter_map(passed).collect();
        if subjects.is_empty() {
            return;
        }
        let mut answers = self.ask(filters, subjects).await.into_iter();
        for verdict in verdicts {
            let Verdict::Pass(message) = verdict else { continue };
            match answers.next() {
                Some(FilterAnswer::Replace(text)) => message.text = text,
                Some(FilterAnswer::Drop(reason)) => *verdict = Verdict::Drop(reason),
                Some(FilterAnswer::Pass) | None => {}
            }
        }
    }
}

/// Filters in the order that they run, those together that one script runs one after the other.
pub(super) fn by_script(filters: &[Filter]) -> impl Iterator<Item = &[Filter]> {
    filters.chunk_by(is_same)
}

fn is_same((a, _): &Filter, (b, _): &Filter) -> bool {
    Arc::ptr_eq(a, b)
}
