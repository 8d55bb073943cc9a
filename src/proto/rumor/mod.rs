//! Rumor mongering: the live dissemination.
//!
//! Under [`Dissemination::Flood`] every envelope goes in full to every link. Under [`Dissemination::Adaptive`] this node's own
//! still do; a relayed one goes in full where it is needed, and is announced to the rest (Leitão, Pereira and Rodrigues
//! 2007, "Epidemic Broadcast Trees", whose GRAFT and PRUNE these are, but of each pair of links, not of a tree):
//!
//! - Every node wants `eager` full copies of each envelope. It answers each further one with PRUNE, and the sender then
//!   tells it of the like by IHAVE ([`pairs`]). Copies beyond one are kept so that one silent dropper never decides.
//! - What is announced and doesn't come in the time that copies were seen to take is asked for by IWANT, from one announcer
//!   after the other ([`waits`]). Each IWANT also turns its pair eager again.
//! - A while after an envelope came, whoever had fewer than `eager` copies of it sends GRAFT to an announcer; so does at
//!   once who got the first copy much later than the first announcement.
//! - A node that had to ask for many asks all of its peers for everything, and prunes nothing for a while: it is flooded.
//!
//! Every envelope is sent in full or announced on every link whose peer isn't known to have it. So which pairs are lazy decides
//! about the time that an envelope takes, never about whether it comes.

mod consent;
mod lazy;
mod ledger;
mod pairs;
mod pull;
#[cfg(all(test, feature = "testkit"))]
mod tests;
mod waits;

use std::collections::BTreeMap;

use bytes::Bytes;
use rumormill_api::{Dedup, Frame, Hashed, LinkId, Millis, MsgId, Seen, SourceGroup};

use super::core::Core;
use super::linkset::Slot;
use super::timers::Alarm;
use super::wire::{
    ByeReason, Envelope, EnvelopeError, Freshness, Kind, MESSAGE_HEADER_BYTES, RawMessage, frame, freshness, short_id,
};
use super::{Accepted, Dissemination, Output, SessionId};
use ledger::{ENOUGH, Ledger, Place};
use pairs::Pairs;
use waits::{Came, Waits};

use consent::Consent;
pub use consent::RELAYS_WAITING_MAX;
pub use lazy::{ANNOUNCE_AFTER_MS, ANNOUNCED_MAX};
pub(super) use lazy::{Lazy, flush, flush_link};
pub use ledger::{KEPT_MAX_BYTES, RECENT_MAX_IDS};
#[cfg(all(test, feature = "testkit"))]
use pull::LATE_OVER_MS;
pub use pull::{FLOODED_FOR_MS, LATE_AFTER_MS, REVIEW_AFTER_MS, WANTED_ALL_EVERY_MS};
pub use waits::{ANNOUNCERS_MAX, GRAFT_AFTER_MAX_MS, GRAFT_AFTER_MIN_MS};

/// An envelope that waits for the exact store's answer.
#[derive(Debug)]
struct Pending {
    envelope: Hashed,
    source: SourceGroup,
    /// Whose allowance it uses up.
    link: LinkId,
    /// As a live copy came, if one did: else it came because this node asked.
    live: Option<(LinkId, Frame)>,
    /// The reconciliation that it came by, if it did.
    asked_by: Option<SessionId>,
}

/// The live dissemination's state.
#[derive(Debug)]
pub(super) struct Rumors {
    ledger: Ledger,
    pairs: Pairs,
    waits: Waits,
    pending: BTreeMap<MsgId, Pending>,
    consent: Consent,
    /// The next envelope whose copies are to be counted.
    reviewed: Place,
    /// Live envelopes since it was last looked how many of them had to be asked for.
    came: u32,
    /// Those, and when the first and the last of them came.
    late: u32,
    late_from_to: (Millis, Millis),
    /// Until when this node wants everything.
    flooded_until: Millis,
}

impl Rumors {
    pub(super) fn new(key: [u8; 16], secret: [u8; 16], eager: Option<u8>) -> Self {
        Self {
            ledger: Ledger::new(key, secret),
            pairs: Pairs::new(eager.unwrap_or_default()),
            waits: Waits::new(),
            pending: BTreeMap::new(),
            consent: Consent::default(),
            reviewed: 0,
            came: 0,
            late: 0,
            late_from_to: (0, 0),
            flooded_until: 0,
        }
    }

    /// The key under which this node wants ids to be shortened, if it takes announcements.
    pub(super) fn key(&self, core: &Core) -> Option<[u8; 16]> {
        core.config.dissemination.eager().map(|_| *self.ledger.key())
    }

    /// SALT came: the peer takes announcements from now on. One key a link does.
    pub(super) fn salt(&mut self, core: &mut Core, link: LinkId, key: [u8; 16]) {
        if let Some(link) = core.links.get_mut(&link) {
            link.lazy.key.get_or_insert(key);
        }
    }

    /// A round trip was measured.
    pub(super) fn round_trips(&mut self, core: &Core) {
        if let Some(slowest) = core.ready_links().filter_map(|(_, link)| link.round_trip).max() {
            self.waits.round_trip(slowest);
        }
    }

    /// A link is new.
    pub(super) fn link_up(&mut self, slot: Slot) {
        self.ledger.clear_slot(slot);
        self.pairs.clear_slot(slot);
    }

    /// An envelope of this node's own.
    pub(super) fn publish(&mut self, core: &mut Core, dedup: &mut impl Dedup, bytes: &Bytes) {
        let valid = Envelope::parse(bytes)
            .is_ok_and(|envelope| freshness(envelope.expiry(), core.now.unix) == Freshness::Valid);
        if !valid {
            core.counters.bad_publish += 1;
            return;
        }
        core.counters.published += 1;
        let id = MsgId::of(bytes);
        let _ = dedup.check_and_insert(&id, core.now.mono);
        let place = self.ledger.insert(id, frame(Kind::Rumor, bytes), None, ENOUGH, core.now.mono);
        self.spread(core, None, place);
    }

    /// A RUMOR came.
    pub(super) fn receive(&mut self, core: &mut Core, dedup: &mut impl Dedup, from: LinkId, raw: RawMessage) -> Heard {
        let bytes = &raw.frame[MESSAGE_HEADER_BYTES..];
        if let Err(error) = Envelope::check(bytes) {
            // An honest peer of any link version checks an envelope's structure before it relays it.
            count_bad(core, error);
            core.close(from, ByeReason::Fault);
            return Heard::Nothing;
        }
        match freshness(Envelope::expiry_of(bytes), core.now.unix) {
            Freshness::Valid => {}
            Freshness::Expired => {
                core.counters.expired += 1;
                return Heard::Nothing;
            }
            Freshness::FromFuture => {
                core.counters.from_future += 1;
                return Heard::Nothing;
            }
        }
        if let Some(place) = self.ledger.same(bytes) {
            self.another_copy(core, from, place);
            return Heard::Nothing;
        }
        let hashed = Hashed::of(bytes);
        let id = *hashed.id();
        if let Some(place) = self.ledger.find(&id) {
            self.another_copy(core, from, place);
            return Heard::Nothing;
        }
        let now = core.now.mono;
        let Some(link) = core.links.get_mut(&from) else { return Heard::Nothing };
        let size = raw.frame.len() as u64;
        if !link.novel.has(size, now) {
            // Not inserted: a copy that comes by another link within its rate is to count as new.
            if dedup.check(&id) == Seen::Certain {
                core.counters.duplicate += 1;
                return Heard::Nothing;
            }
            core.counters.over_rate += 1;
            return Heard::PutOff;
        }
        let source = link.source;
        match dedup.check_and_insert(&id, now) {
            Seen::Certain => core.counters.duplicate += 1,
            Seen::Fresh => {
                link.novel.spend(size);
                self.accept_live(core, from, &raw.frame, &hashed, source);
            }
            Seen::Maybe => {
                if let Some(pending) = self.pending.get_mut(&id) {
                    core.counters.duplicate += 1;
                    pending.live.get_or_insert((from, raw.frame));
                    return Heard::Nothing;
                }
                if link.pending >= core.config.pending_max {
                    core.counters.pending_full += 1;
                    return Heard::PutOff;
                }
                link.pending += 1;
                let envelope = hashed.moved(raw.body());
                let pending = Pending { envelope, source, link: from, live: Some((from, raw.frame)), asked_by: None };
                self.pending.insert(id, pending);
                core.counters.asked += 1;
                core.out.push_back(Output::Ask(id));
            }
        }
        Heard::Nothing
    }

    /// An envelope came over `link` because `session` asked for it. `always`: it is accepted even if it has been here (a
    /// room's archive may lack what the window has).
    pub(super) fn receive_asked(
        &mut self,
        core: &mut Core,
        dedup: &mut impl Dedup,
        link: LinkId,
        envelope: Envelope,
        session: SessionId,
        always: bool,
    ) -> Taken {
        let source = core.links.get(&link).map_or(0, |link| link.source);
        let envelope = Hashed::of(envelope.into_bytes());
        let id = *envelope.id();
        let seen = dedup.check_and_insert(&id, core.now.mono);
        if always || seen == Seen::Fresh {
            self.accept_synced(core, envelope, source);
            return Taken::New;
        }
        // Even `Certain` is asked about: the store may have lost to damage what passed here before.
        if self.pending.contains_key(&id) {
            core.counters.item_known += 1;
            return Taken::Known;
        }
        self.pending.insert(id, Pending { envelope, source, link, live: None, asked_by: Some(session) });
        core.counters.asked += 1;
        core.out.push_back(Output::Ask(id));
        Taken::Waits
    }

    /// The exact store's answer. Returns the reconciliation that waited for it, if one did.
    pub(super) fn known(&mut self, core: &mut Core, id: MsgId, known: bool) -> Option<SessionId> {
        let pending = self.pending.remove(&id)?;
        if pending.asked_by.is_none()
            && let Some(link) = core.links.get_mut(&pending.link)
        {
            link.pending -= 1;
        }
        if known {
            self.here_already(core, id);
            if pending.asked_by.is_some() {
                core.counters.item_known += 1;
            } else {
                core.counters.asked_known += 1;
                core.counters.duplicate += 1;
                // The question wasn't free: a peer that replays old envelopes pays for it with its rate.
                if let Some(link) = core.links.get_mut(&pending.link) {
                    link.novel.spend(pending.envelope.bytes().len() as u64);
                }
            }
            return pending.asked_by;
        }
        match pending.live {
            Some((from, frame)) => {
                if let Some(link) = core.links.get_mut(&from) {
                    link.novel.spend(frame.len() as u64);
                }
                let envelope = pending.envelope.moved(&frame[MESSAGE_HEADER_BYTES..]);
                self.accept_live(core, from, &frame, &envelope, pending.source);
            }
            None => self.accept_synced(core, pending.envelope, pending.source),
        }
        pending.asked_by
    }

    fn accept_live(
        &mut self,
        core: &mut Core,
        from: LinkId,
        frame: &Frame,
        hashed: &Hashed<&[u8]>,
        source: SourceGroup,
    ) {
        core.counters.accepted += 1;
        // What comes in is a slice of all that came in with it. What is queued on slow links, and kept, must not hold on to
        // that: the one copy on an envelope's way, and only of new ones, bounds what a link's queue can cost.
        let frame = if core.config.share_input { frame.clone() } else { Frame::copy_from_slice(frame) };
        let slot = core.links.get(&from).and_then(|link| link.slot);
        let envelope = hashed.moved(frame.slice(MESSAGE_HEADER_BYTES..));
        let expiry = Envelope::expiry_of(envelope.bytes());
        let place = self.ledger.insert(*envelope.id(), frame, slot, 1, core.now.mono);
        if let Some((entry, slot)) = self.ledger.get_mut(place).zip(slot) {
            entry.had.insert(slot);
            entry.gave.insert(slot);
        }
        self.arrived(core, from, place);
        self.relay(core, from, place);
        core.out.push_back(Output::Accept(Accepted { envelope, expiry, source, synced: false, window: true }));
    }

    fn accept_synced(&mut self, core: &mut Core, envelope: Hashed, source: SourceGroup) {
        core.counters.item_accepted += 1;
        self.here_already(core, *envelope.id());
        let expiry = Envelope::expiry_of(envelope.bytes());
        let window = freshness(expiry, core.now.unix) == Freshness::Valid;
        core.out.push_back(Output::Accept(Accepted { envelope, expiry, source, synced: true, window }));
    }

    /// An envelope that needs no announcement any more.
    fn here_already(&mut self, core: &mut Core, id: MsgId) {
        self.ledger.insert_known(id, core.now.mono);
        let short = self.ledger.short(&id);
        self.no_longer_waited_for(core, short);
    }

    /// Gives a new envelope to whoever needs it: in full, or by an announcement.
    fn spread(&mut self, core: &mut Core, source: Option<LinkId>, place: Place) {
        let Some(entry) = self.ledger.get(place) else { return };
        let adaptive = core.config.dissemination != Dissemination::Flood;
        let (mut relayed, mut held_back) = (0, 0);
        let (mut queued, mut filled) = (false, false);
        for (id, link) in &mut core.links {
            if !link.ready() || Some(*id) == source || link.slot.is_some_and(|slot| entry.had.contains(slot)) {
                continue;
            }
            // What can be announced: to a peer that takes announcements.
            let lazy = if adaptive { link.slot.zip(link.lazy.key) } else { None };
            let full = match (lazy, entry.from) {
                _ if link.behind => false,
                (Some((to, _)), Some(from)) => !self.pairs.is_lazy(from, to),
                _ => true,
            };
            if full {
                relayed += 1;
                core.out.push_back(Output::Send(*id, entry.frame.clone()));
            } else if let Some((_, key)) = lazy {
                filled |= link.lazy.announce(place, short_id(&key, &entry.id));
                queued = true;
            } else {
                held_back += 1;
            }
        }
        core.counters.held_back += held_back;
        if source.is_some() {
            core.counters.relayed += relayed;
        }
        if queued {
            lazy::queued(core, filled);
        }
    }

    /// A copy of an envelope that is here already.
    fn another_copy(&mut self, core: &mut Core, from: LinkId, place: Place) {
        core.counters.duplicate += 1;
        let Some(eager) = core.config.dissemination.eager() else { return };
        let Some(entry) = self.ledger.get_mut(place) else { return };
        let Some(link) = core.links.get_mut(&from) else { return };
        let Some(slot) = link.slot else { return };
        entry.had.insert(slot);
        entry.gave.insert(slot);
        entry.copies = entry.copies.saturating_add(1);
        let surplus = entry.copies > eager && core.now.mono >= self.flooded_until;
        if let Some(key) = link.lazy.key.filter(|_| surplus && !entry.told.contains(slot)) {
            entry.told.insert(slot);
            let filled = link.lazy.prune(short_id(&key, &entry.id));
            lazy::queued(core, filled);
        }
    }

    /// A live envelope is here: ends its wait, and counts whether it had to be asked for.
    fn arrived(&mut self, core: &mut Core, from: LinkId, place: Place) {
        if core.config.dissemination == Dissemination::Flood {
            return;
        }
        self.to_review(core);
        self.came += 1;
        if self.waits.is_empty() {
            return;
        }
        let Some(entry) = self.ledger.get_mut(place) else { return };
        let Some((wait, came)) = self.waits.arrived(entry.short(), from, core.now.mono) else { return };
        for (by, _) in &wait.by {
            let Some(link) = core.links.get_mut(by) else { continue };
            link.lazy.waits -= 1;
            if let Some(slot) = link.slot {
                entry.had.insert(slot);
                entry.announcer.get_or_insert(slot);
            }
        }
        // The first announcer's full copy would have been much sooner: it is on a shorter way.
        if came == Came::Alone
            && core.now.mono.saturating_sub(wait.since) >= LATE_AFTER_MS
            && let Some((by, _)) = wait.by.first()
            && let Some(link) = core.ready(*by)
            && let Some(key) = link.lazy.key
        {
            entry.announcer = None;
            let filled = link.lazy.graft(short_id(&key, &entry.id));
            lazy::queued(core, filled);
        }
        if came == Came::Asked {
            core.counters.pulled += 1;
            let now = core.now.mono;
            self.late_from_to = if self.late == 0 { (now, now) } else { (self.late_from_to.0, now) };
            self.late += 1;
            if let Some(link) = core.links.get_mut(&from) {
                link.lazy.unserved = 0;
            }
        }
    }

    /// Has the newest envelope's copies counted in a while.
    fn to_review(&self, core: &mut Core) {
        core.timers.set_by(Alarm::Review, core.now.mono + REVIEW_AFTER_MS);
    }
}

/// What a RUMOR leads to beyond the dissemination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// Nothing.
    Nothing,
    /// It was put off: the link is to be reconciled with.
    PutOff,
}

/// What became of an envelope that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// Accepted.
    New,
    /// The exact store is asked.
    Waits,
    /// It is here already, waiting for the exact store as a live copy.
    Known,
}

/// Counts an envelope that isn't one.
pub(super) fn count_bad(core: &mut Core, error: EnvelopeError) {
    *match error {
        EnvelopeError::BadSize => &mut core.counters.bad_size,
        EnvelopeError::UnknownVersion => &mut core.counters.unknown_version,
        EnvelopeError::BadFlags => &mut core.counters.bad_flags,
        EnvelopeError::BadWork => &mut core.counters.bad_work,
    } += 1;
}
