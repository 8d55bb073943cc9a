//! Rumor mongering: the live flood.
//!
//! Who gets the full copy is decided in [`Dissemination`] alone; what is checked, counted and asked stays the same whatever it
//! decides.

use std::collections::BTreeMap;

use bytes::Bytes;
use rumormill_api::{Dedup, Frame, LinkId, MsgId, Seen, SourceGroup};

use super::core::Core;
use super::recent::Recent;
use super::wire::{ByeReason, Envelope, EnvelopeError, Freshness, Kind, RawMessage, frame, freshness};
use super::{Accepted, Output, SessionId};

/// Who gets the full copy of an envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Dissemination {
    /// Every link that isn't behind: the safe mode.
    #[default]
    Flood,
}

impl Dissemination {
    /// The links that get a full copy of an envelope that came from `source` (`None`: this node's own), in order.
    fn full_copies(self, core: &mut Core, source: Option<LinkId>, targets: &mut Vec<LinkId>) {
        let Self::Flood = self;
        let mut held_back = 0;
        targets.clear();
        for (id, link) in core.ready_links().filter(|(id, _)| Some(*id) != source) {
            if link.behind {
                held_back += 1;
            } else {
                targets.push(id);
            }
        }
        core.counters.held_back += held_back;
    }
}

/// An envelope that waits for the exact store's answer.
#[derive(Debug)]
struct Pending {
    envelope: Envelope,
    source: SourceGroup,
    /// Whose allowance it uses up.
    link: LinkId,
    /// As a live copy came, if one did: else it came because this node asked.
    live: Option<(LinkId, Frame)>,
    /// The reconciliation that it came by, if it did.
    asked_by: Option<SessionId>,
}

/// The live flood's state.
#[derive(Debug)]
pub(super) struct Rumors {
    dissemination: Dissemination,
    recent: Recent,
    pending: BTreeMap<MsgId, Pending>,
    targets: Vec<LinkId>,
}

impl Rumors {
    pub(super) fn new(secret: u64) -> Self {
        Self {
            dissemination: Dissemination::default(),
            recent: Recent::new(secret),
            pending: BTreeMap::new(),
            targets: Vec::new(),
        }
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
        self.recent.insert(id);
        let frame = frame(Kind::Rumor, bytes);
        self.spread(core, None, &frame);
    }

    /// A RUMOR came.
    pub(super) fn receive(&mut self, core: &mut Core, dedup: &mut impl Dedup, from: LinkId, raw: RawMessage) -> Heard {
        let envelope = match Envelope::parse(&raw.body()) {
            Ok(envelope) => envelope,
            Err(error) => {
                // An honest peer of this link version checks an envelope's structure before it relays it.
                count_bad(core, error);
                core.close(from, ByeReason::Fault);
                return Heard::Nothing;
            }
        };
        match freshness(envelope.expiry(), core.now.unix) {
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
        let id = envelope.id();
        if self.recent.contains(&id) {
            core.counters.duplicate += 1;
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
                self.accept_live(core, from, &raw.frame, id, envelope, source);
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
        let id = envelope.id();
        let seen = dedup.check_and_insert(&id, core.now.mono);
        if always || seen == Seen::Fresh {
            accept_synced(core, id, envelope, source);
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
            self.recent.insert(id);
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
                self.accept_live(core, from, &frame, id, pending.envelope, pending.source);
            }
            None => accept_synced(core, id, pending.envelope, pending.source),
        }
        pending.asked_by
    }

    fn accept_live(
        &mut self,
        core: &mut Core,
        from: LinkId,
        frame: &Frame,
        id: MsgId,
        envelope: Envelope,
        source: SourceGroup,
    ) {
        core.counters.accepted += 1;
        self.recent.insert(id);
        self.spread(core, Some(from), frame);
        let expiry = envelope.expiry();
        let envelope = envelope.into_bytes();
        core.out.push_back(Output::Accept(Accepted { id, expiry, envelope, source, synced: false, window: true }));
    }

    fn spread(&mut self, core: &mut Core, source: Option<LinkId>, frame: &Frame) {
        self.dissemination.full_copies(core, source, &mut self.targets);
        if source.is_some() {
            core.counters.relayed += self.targets.len() as u64;
        }
        for link in &self.targets {
            core.out.push_back(Output::Send(*link, frame.clone()));
        }
    }
}

/// What a RUMOR leads to beyond the flood.
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

fn accept_synced(core: &mut Core, id: MsgId, envelope: Envelope, source: SourceGroup) {
    core.counters.item_accepted += 1;
    let expiry = envelope.expiry();
    let window = freshness(expiry, core.now.unix) == Freshness::Valid;
    let envelope = envelope.into_bytes();
    core.out.push_back(Output::Accept(Accepted { id, expiry, envelope, source, synced: true, window }));
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
