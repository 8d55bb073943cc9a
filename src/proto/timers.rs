//! Deadlines. Many inside, one at a time outside.

use std::collections::{BTreeMap, BTreeSet};

use rumormill_api::{LinkId, Millis};

use super::{SessionId, Timer};

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Alarm {
    /// Look after a link: HELLO, PING, silence.
    Link(LinkId),
    /// Look after the outgoing links and the address book.
    Peers,
    /// Reconcile the recent window with someone.
    Recent,
    /// Reconcile the whole window with someone.
    Full,
    /// Reconcile the recent window with this link, which was behind.
    CatchUp(LinkId),
    /// Look whether a reconciliation has fallen silent.
    Session(SessionId),
    /// Go on with a reconciliation that had used up its rate.
    Paced(SessionId),
    /// Look whether a reconciliation that waits may begin.
    Turn,
    /// Send what was gathered to be announced.
    Announce,
    /// Ask for what was announced and didn't come.
    Pull,
    /// Count the copies of what came a while ago.
    Review,
}

/// A deadline for each alarm at most, in the order in which they are due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Millis, Alarm)>,
    at: BTreeMap<Alarm, Millis>,
    armed: Option<(Timer, Millis)>,
    next: u64,
}

impl Timers {
    /// Sets an alarm, in place of an earlier setting of it.
    pub(super) fn set(&mut self, alarm: Alarm, at: Millis) {
        if let Some(old) = self.at.insert(alarm, at) {
            self.queue.remove(&(old, alarm));
        }
        self.queue.insert((at, alarm));
    }

    /// Sets an alarm unless it goes off earlier anyway.
    pub(super) fn set_by(&mut self, alarm: Alarm, at: Millis) {
        if self.at.get(&alarm).is_none_or(|old| *old > at) {
            self.set(alarm, at);
        }
    }

    pub(super) fn clear(&mut self, alarm: Alarm) {
        if let Some(old) = self.at.remove(&alarm) {
            self.queue.remove(&(old, alarm));
        }
    }

    /// The next alarm that is due.
    pub(super) fn due(&mut self, now: Millis) -> Option<Alarm> {
        let &(at, alarm) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.clear(alarm);
        Some(alarm)
    }

    /// The driver says that a timer is due.
    pub(super) fn fired(&mut self, timer: Timer) {
        if self.armed.is_some_and(|(armed, _)| armed == timer) {
            self.armed = None;
        }
    }

    /// What the driver has to set, if what it has set doesn't suffice.
    pub(super) fn arm(&mut self) -> Option<(Timer, Millis)> {
        let &(at, _) = self.queue.first()?;
        if self.armed.is_some_and(|(_, armed)| armed <= at) {
            return None;
        }
        let timer = Timer(self.next);
        self.next += 1;
        self.armed = Some((timer, at));
        self.armed
    }
}
