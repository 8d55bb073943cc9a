//! What peers say of announcements and full copies, and what is done in time about it.

use std::collections::BTreeMap;

use rumormill_api::{LinkId, Millis};

use super::super::core::Core;
use super::super::timers::Alarm;
use super::super::wire::{IHAVE_MAX_IDS, Message, ShortId, short_id};
use super::super::{Dissemination, Output};
use super::{Heard, Rumors, lazy};

/// After how long the copies of an envelope are counted, in milliseconds.
pub const REVIEW_AFTER_MS: Millis = 1_000;
/// How much later than its first announcement a first copy may come until its announcer is asked to send the like in full,
/// in milliseconds: twice what announcements are gathered for.
pub const LATE_AFTER_MS: Millis = 2 * lazy::ANNOUNCE_AFTER_MS;
/// After so many live envelopes it is looked at how many of them were late.
const LATE_OF: u32 = 64;
/// How far apart the first and the last late one must be for trouble, in milliseconds. One pair that turned lazy too soon
/// makes all late that is under way by then: at a high rate that is more than so many envelopes, and over with the first
/// answer.
pub(super) const LATE_OVER_MS: Millis = 2_000;
/// So many late ones of [`LATE_OF`] are trouble.
const LATE_MAX: u32 = 16;
/// How long a node in trouble wants everything in full, in milliseconds.
pub const FLOODED_FOR_MS: Millis = 30_000;
/// How often a peer is heard that wants everything, in milliseconds.
pub const WANTED_ALL_EVERY_MS: Millis = 10_000;

impl Rumors {
    /// IHAVE came.
    pub(in super::super) fn ihave(&mut self, core: &mut Core, link: LinkId, first: u32, ids: &[ShortId]) -> Heard {
        if core.config.dissemination == Dissemination::Flood {
            // It was never told a key.
            core.counters.unasked_announcement += 1;
            return Heard::Nothing;
        }
        let mut heard = Heard::Nothing;
        let Some(state) = core.links.get_mut(&link) else { return heard };
        for (short, number) in ids.iter().zip(0..).map(|(short, at)| (*short, first.wrapping_add(at))) {
            if let Some(entry) = self.ledger.find_short(short).and_then(|place| self.ledger.get_mut(place)) {
                if let Some(slot) = state.slot {
                    entry.had.insert(slot);
                    entry.announcer.get_or_insert(slot);
                }
            } else if state.lazy.waits >= core.config.pending_max {
                core.counters.waits_full += 1;
                heard = Heard::PutOff;
            } else if self.waits.announced(short, link, number, core.now.mono) {
                state.lazy.waits += 1;
            }
        }
        self.arm(core);
        heard
    }

    /// IWANT came: each announcement is served once, within what a link is served.
    pub(in super::super) fn iwant(&mut self, core: &mut Core, link: LinkId, numbers: &[u32]) {
        let now = core.now.mono;
        let Some(state) = core.links.get_mut(&link) else { return };
        let Some(slot) = state.slot else { return };
        for number in numbers {
            let entry = state.lazy.announced(*number).and_then(|place| self.ledger.get_mut(place));
            let Some(entry) = entry.filter(|entry| !entry.frame.is_empty() && !entry.had.contains(slot)) else {
                core.counters.iwant_void += 1;
                continue;
            };
            if let Some(from) = entry.from
                && self.pairs.missed(from, slot)
            {
                core.counters.grafted += 1;
            }
            if state.behind || !state.serve.take(entry.frame.len() as u64, now) {
                core.counters.iwant_limited += 1;
                continue;
            }
            entry.had.insert(slot);
            core.counters.iwant_served += 1;
            core.out.push_back(Output::Send(link, entry.frame.clone()));
        }
    }

    /// GRAFT came.
    pub(in super::super) fn graft(&mut self, core: &mut Core, link: LinkId, ids: &[ShortId]) {
        let now = core.now.mono;
        let Some(state) = core.links.get_mut(&link) else { return };
        let Some(slot) = state.slot else { return };
        if ids.is_empty() {
            if state.lazy.wanted_all_at.is_none_or(|last| last + WANTED_ALL_EVERY_MS <= now) {
                state.lazy.wanted_all_at = Some(now);
                self.pairs.all(slot);
                core.counters.grafted_all += 1;
            }
            return;
        }
        for short in ids {
            let from = self.ledger.find_short(*short).and_then(|place| self.ledger.get(place)?.from);
            if from.is_some_and(|from| self.pairs.lacking(from, slot)) {
                core.counters.grafted += 1;
            }
        }
    }

    /// PRUNE came.
    pub(in super::super) fn prune(&mut self, core: &mut Core, link: LinkId, ids: &[ShortId]) {
        let Some(slot) = core.links.get(&link).and_then(|state| state.slot) else { return };
        for short in ids {
            let Some(entry) = self.ledger.find_short(*short).and_then(|place| self.ledger.get_mut(place)) else {
                continue;
            };
            entry.had.insert(slot);
            if entry.from.is_some_and(|from| self.pairs.surplus(from, slot)) {
                core.counters.pruned += 1;
            }
        }
    }

    /// Asks for what was announced and didn't come. Returns the links that announced what nobody serves.
    pub(in super::super) fn pull(&mut self, core: &mut Core) -> Vec<LinkId> {
        let now = core.now.mono;
        let mut wants: BTreeMap<LinkId, Vec<u32>> = BTreeMap::new();
        let mut given_up = Vec::new();
        while let Some(short) = self.waits.due(now) {
            let Some(wait) = self.waits.get_mut(short) else { break };
            if let Some((link, _)) = wait.asked.checked_sub(1).and_then(|last| wait.by.get(last))
                && let Some(state) = core.links.get_mut(link)
            {
                state.lazy.unserved = state.lazy.unserved.saturating_add(1);
            }
            let mut next = None;
            while next.is_none() && wait.asked < wait.by.len() {
                // Who has left fewest requests unserved comes first, of equals who announced it first.
                let rest = &wait.by[wait.asked..];
                let unserved = |link: &LinkId| core.links.get(link).map_or(u32::MAX, |state| state.lazy.unserved);
                let best = rest.iter().enumerate().min_by_key(|(_, (link, _))| unserved(link)).map_or(0, |(at, _)| at);
                wait.by[wait.asked..=wait.asked + best].rotate_right(1);
                let (link, number) = wait.by[wait.asked];
                wait.asked += 1;
                if core.ready(link).is_some_and(|state| state.novel.has(1, now)) {
                    next = Some((link, number));
                }
            }
            match next {
                Some((link, number)) => {
                    wants.entry(link).or_default().push(number);
                    self.waits.asked(short, now);
                }
                None => {
                    core.counters.pull_failed += 1;
                    given_up.extend(wait.by.first().map(|(link, _)| *link));
                    self.no_longer_waited_for(core, short);
                }
            }
        }
        for (link, numbers) in wants {
            core.counters.iwant_sent += numbers.len() as u64;
            for part in numbers.chunks(IHAVE_MAX_IDS) {
                core.say(link, &Message::IWant(part.to_vec()));
            }
        }
        self.arm(core);
        given_up
    }

    /// Ends a wait that came to nothing, or that is no longer needed.
    pub(super) fn no_longer_waited_for(&mut self, core: &mut Core, short: ShortId) {
        for (by, _) in self.waits.remove(short).into_iter().flat_map(|wait| wait.by) {
            if let Some(link) = core.links.get_mut(&by) {
                link.lazy.waits -= 1;
            }
        }
    }

    fn arm(&self, core: &mut Core) {
        if let Some(next) = self.waits.next() {
            core.timers.set_by(Alarm::Pull, next);
        }
    }

    /// Counts the copies of what came a while ago: who announced an envelope of which there were too few is to send the
    /// like in full. Looks whether there is trouble.
    pub(in super::super) fn review(&mut self, core: &mut Core) {
        let Some(eager) = core.config.dissemination.eager() else { return };
        let now = core.now.mono;
        self.reviewed = self.reviewed.max(self.ledger.start());
        while let Some(entry) = self.ledger.get_mut(self.reviewed) {
            if entry.at + REVIEW_AFTER_MS > now {
                core.timers.set_by(Alarm::Review, entry.at + REVIEW_AFTER_MS);
                break;
            }
            self.reviewed += 1;
            if entry.copies >= eager {
                continue;
            }
            // The first announcer's full copy would have come first.
            let Some(slot) = entry.announcer.filter(|slot| !entry.gave.contains(*slot)) else { continue };
            let Some(link) = core.slots.link(slot) else { continue };
            let Some(state) = core.ready(link) else { continue };
            let Some(key) = state.lazy.key else { continue };
            let filled = state.lazy.graft(short_id(&key, &entry.id));
            lazy::queued(core, filled);
        }
        let (first, last) = self.late_from_to;
        let many = u64::from(self.late) * u64::from(LATE_OF) >= u64::from(LATE_MAX) * u64::from(self.came);
        // Many late ones within a short time: whether it goes on, the next show.
        let may_go_on = many && last < first + LATE_OVER_MS && now < first + LATE_OVER_MS + REVIEW_AFTER_MS;
        if self.came >= LATE_OF && !may_go_on {
            let trouble = many && last >= first + LATE_OVER_MS;
            (self.came, self.late) = (0, 0);
            if trouble && now >= self.flooded_until {
                self.flooded_until = now + FLOODED_FOR_MS;
                core.counters.fell_back += 1;
                let links: Vec<_> =
                    core.ready_links().filter(|(_, link)| link.lazy.key.is_some()).map(|(id, _)| id).collect();
                for link in links {
                    core.say(link, &Message::Graft(Vec::new()));
                }
            }
        }
    }
}
