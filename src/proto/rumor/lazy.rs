//! What a link from version 2 on has beside full copies: announcements, and what is said about full copies.

use std::collections::VecDeque;

use rumormill_api::{LinkId, Millis};

use super::super::core::Core;
use super::super::timers::Alarm;
use super::super::wire::{IHAVE_MAX_IDS, Message, SALT_KEY_BYTES, ShortId};
use super::ledger::Place;

/// How long announcements are gathered, in milliseconds.
pub const ANNOUNCE_AFTER_MS: Millis = 10;
/// How many of its announcements a link may still be asked about.
pub const ANNOUNCED_MAX: usize = 4_096;

/// The lazy side of one link.
#[derive(Debug, Default)]
pub(in super::super) struct Lazy {
    /// The peer's key; with it, the peer takes announcements.
    pub(super) key: Option<[u8; SALT_KEY_BYTES]>,
    /// The last announcements by their numbers: the last one has the number before `next`.
    announced: VecDeque<Place>,
    next: u32,
    /// Announcements that wait to be sent: the last of `announced`.
    ids: Vec<ShortId>,
    prunes: Vec<ShortId>,
    grafts: Vec<ShortId>,
    /// Announced by the peer, and neither here nor given up.
    pub(super) waits: usize,
    /// Asked of the peer in a row, and not served.
    pub(super) unserved: u32,
    /// When the peer last wanted everything.
    pub(super) wanted_all_at: Option<Millis>,
}

impl Lazy {
    /// Announces an envelope, soon. Whether that fills a message.
    pub(super) fn announce(&mut self, place: Place, short: ShortId) -> bool {
        if self.announced.len() == ANNOUNCED_MAX {
            self.announced.pop_front();
        }
        self.announced.push_back(place);
        self.next = self.next.wrapping_add(1);
        self.ids.push(short);
        self.full()
    }

    /// Which envelope a number was.
    pub(super) fn announced(&self, number: u32) -> Option<Place> {
        let back = usize::try_from(self.next.wrapping_sub(number)).ok()?;
        let at = self.announced.len().checked_sub(back)?;
        // What waits to be sent can't be known yet.
        (back > self.ids.len()).then(|| self.announced.get(at).copied()).flatten()
    }

    /// Says, soon, that a full copy was too many. Whether that fills a message.
    pub(super) fn prune(&mut self, short: ShortId) -> bool {
        self.prunes.push(short);
        self.full()
    }

    /// Says, soon, that a full copy was lacking. Whether that fills a message.
    pub(super) fn graft(&mut self, short: ShortId) -> bool {
        self.grafts.push(short);
        self.full()
    }

    fn idle(&self) -> bool {
        self.ids.is_empty() && self.prunes.is_empty() && self.grafts.is_empty()
    }

    /// What waits, as messages: no list is longer than one message holds, since it is sent once it is full.
    fn take(&mut self) -> impl Iterator<Item = Message> {
        let first = self.next.wrapping_sub(u32::try_from(self.ids.len()).expect("so many ids fit a message"));
        let ids = std::mem::take(&mut self.ids);
        let (grafts, prunes) = (std::mem::take(&mut self.grafts), std::mem::take(&mut self.prunes));
        let ihave = (!ids.is_empty()).then(|| Message::IHave(first, ids));
        let graft = (!grafts.is_empty()).then(|| Message::Graft(grafts));
        let prune = (!prunes.is_empty()).then(|| Message::Prune(prunes));
        [ihave, graft, prune].into_iter().flatten()
    }

    fn full(&self) -> bool {
        [&self.ids, &self.prunes, &self.grafts].iter().any(|list| list.len() >= IHAVE_MAX_IDS)
    }
}

/// Something was put among what links have to say: it goes out soon, or at once if it fills a message.
pub(super) fn queued(core: &mut Core, full: bool) {
    if full {
        flush(core);
    } else {
        core.timers.set_by(Alarm::Announce, core.now.mono + ANNOUNCE_AFTER_MS);
    }
}

/// Sends what all links have to say.
pub(in super::super) fn flush(core: &mut Core) {
    let busy = core.ready_links().filter(|(_, link)| !link.lazy.idle()).map(|(id, _)| id);
    for link in busy.collect::<Vec<_>>() {
        flush_link(core, link);
    }
}

/// Sends what a link has to say. A link that is behind is left alone until it has drained, as long as one message of each
/// kind can hold what waits; past that it is forgotten, and repair brings it.
pub(in super::super) fn flush_link(core: &mut Core, link: LinkId) {
    let Some(state) = core.links.get_mut(&link) else { return };
    if state.behind {
        if state.lazy.full() {
            core.counters.held_back += state.lazy.ids.len() as u64;
            let _ = state.lazy.take().count();
        }
        return;
    }
    for message in state.lazy.take().collect::<Vec<_>>() {
        match &message {
            Message::IHave(_, ids) => core.counters.announced += ids.len() as u64,
            Message::Prune(ids) => core.counters.prunes_sent += ids.len() as u64,
            Message::Graft(ids) => core.counters.grafts_sent += ids.len() as u64,
            _ => {}
        }
        core.say(link, &message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_over_their_wrap_and_only_what_was_sent_is_known() {
        let mut lazy = Lazy { next: u32::MAX, ..Lazy::default() };
        lazy.announce(10, 1);
        lazy.announce(11, 2);
        assert_eq!(lazy.announced(u32::MAX), None, "not sent yet");
        let messages: Vec<_> = lazy.take().collect();
        assert_eq!(messages, [Message::IHave(u32::MAX, vec![1, 2])]);
        assert_eq!((lazy.announced(u32::MAX), lazy.announced(0), lazy.announced(1)), (Some(10), Some(11), None));
        assert!(lazy.idle() && lazy.take().next().is_none());
    }

    #[test]
    fn so_many_announcements_may_be_asked_about() {
        let mut lazy = Lazy::default();
        for n in 0..=ANNOUNCED_MAX as u64 {
            lazy.announce(n, n);
        }
        let _ = lazy.take().count();
        assert_eq!((lazy.announced(0), lazy.announced(1)), (None, Some(1)));
        assert_eq!(lazy.announced(ANNOUNCED_MAX as u32), Some(ANNOUNCED_MAX as u64));
    }
}
