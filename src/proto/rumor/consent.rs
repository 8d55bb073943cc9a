//! Whether an envelope may be passed on, where this node's user has somebody decide on that (a `relay` filter).
//!
//! The question is put for every live envelope alike and before anybody has tried to read it. While one waits for its
//! answer, the others go their way. What is refused is kept and shown to peers like everything else: a filter can make
//! this node one that drops, which the rest of the network makes up for, and can do no more.

use std::collections::BTreeMap;

use rumormill_api::{LinkId, MsgId};

use super::super::Output;
use super::super::core::Core;
use super::Rumors;
use super::ledger::Place;

/// How many envelopes wait for an answer at once; what comes on top is passed on unasked.
pub const RELAYS_WAITING_MAX: usize = 256;

/// Whom to ask, and what waits for the answer.
#[derive(Debug, Default)]
pub(super) struct Consent {
    ask: bool,
    waiting: BTreeMap<MsgId, (LinkId, Place)>,
}

impl Rumors {
    /// Whether somebody is to be asked from now on.
    pub(in crate::proto) fn ask_relays(&mut self, core: &mut Core, ask: bool) {
        self.consent.ask = ask;
        if !ask {
            for (_, (from, place)) in std::mem::take(&mut self.consent.waiting) {
                self.spread_late(core, from, place);
            }
        }
    }

    /// The answer.
    pub(in crate::proto) fn may_relay(&mut self, core: &mut Core, id: MsgId, pass: bool) {
        let Some((from, place)) = self.consent.waiting.remove(&id) else { return };
        if pass {
            self.spread_late(core, from, place);
        } else {
            core.counters.relay_refused += 1;
        }
    }

    /// Passes on what has waited, unless so much came meanwhile that its bytes are gone: then repair brings it to others.
    fn spread_late(&mut self, core: &mut Core, from: LinkId, place: Place) {
        if self.ledger.get(place).is_some_and(|entry| entry.envelope_bytes() > 0) {
            self.spread(core, Some(from), place);
        }
    }

    /// A live envelope is passed on, at once or once it may be.
    pub(super) fn relay(&mut self, core: &mut Core, from: LinkId, place: Place) {
        let entry = if self.consent.ask { self.ledger.get(place) } else { None };
        let Some(entry) = entry else { return self.spread(core, Some(from), place) };
        if self.consent.waiting.len() >= RELAYS_WAITING_MAX {
            core.counters.relay_unasked += 1;
            return self.spread(core, Some(from), place);
        }
        let (id, size) = (entry.id, entry.envelope_bytes());
        self.consent.waiting.insert(id, (from, place));
        core.out.push_back(Output::MayRelay { id, size, link: from });
    }
}
