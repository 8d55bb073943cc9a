//! What the messages of a session lead to.

use bytes::Bytes;
use rumormill_api::{Dedup, LinkId};

use super::super::core::Core;
use super::super::rumor::{Rumors, Taken, count_bad};
use super::super::timers::Alarm;
use super::super::wire::{
    ByeReason, Envelope, Freshness, GET_MAX_IDS, HAVE_MAX_IDS, Message, ReconBody, Role, SaltedId, SessionRef,
    freshness,
};
use super::super::{Output, SessionId};
use super::driver::{Recon, say};
use super::session::{NEED_MAX_IDS, ROUNDS_MAX, Stage};

/// Envelopes that the store is asked for at a time: at most half a mebibyte.
const FETCH_MAX: usize = 16;

impl Recon {
    fn find(&self, link: LinkId, reference: SessionRef) -> Option<SessionId> {
        self.by_wire.get(&(link, reference.sender.other(), reference.number)).copied()
    }

    /// RECON came.
    pub(in super::super) fn message(&mut self, core: &mut Core, link: LinkId, reference: SessionRef, body: ReconBody) {
        if let ReconBody::Open { scope, salt, message } = body {
            return self.opened(core, link, reference.number, scope, salt, message);
        }
        let Some(id) = self.find(link, reference) else {
            core.counters.recon_stray += 1;
            return;
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.heard_at = core.now.mono;
        }
        match body {
            ReconBody::Open { .. } => {}
            ReconBody::Next(message) => self.answer(core, id, &message),
            ReconBody::Answer { proof, message } => self.answered(core, id, &proof, &message),
            ReconBody::Decline => {
                core.counters.recon_refused += 1;
                if let Some(session) = self.sessions.get_mut(&id) {
                    core.counters.item_missing += session.give_up();
                }
                self.end(core, id, false);
            }
            ReconBody::Have(ids) => self.announced(core, id, ids),
            ReconBody::Taken => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.having = false;
                }
                self.go_on(core, id);
            }
            ReconBody::Served => self.served(core, id),
            ReconBody::Done => self.end(core, id, true),
        }
    }

    /// The peer did what an honest one doesn't.
    fn fault(&mut self, core: &mut Core, id: SessionId) {
        core.counters.recon_fault += 1;
        if let Some(session) = self.sessions.get(&id) {
            core.close(session.link, ByeReason::Fault);
        }
    }

    /// Answers a reconciliation message as the responder.
    pub(super) fn answer(&mut self, core: &mut Core, id: SessionId, message: &[u8]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.rounds += 1;
        let Stage::Comparing(set) = &mut session.stage else { return self.fault(core, id) };
        match set.reconcile(message) {
            Ok(answer) if session.rounds <= ROUNDS_MAX => {
                let body = ReconBody::Answer { proof: session.proofs.responder, message: answer.into() };
                say(core, session, body);
            }
            _ => self.fault(core, id),
        }
    }

    /// The responder has answered.
    fn answered(&mut self, core: &mut Core, id: SessionId, proof: &[u8; 32], message: &[u8]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.rounds += 1;
        let comparing = matches!(session.stage, Stage::Comparing(_));
        if !comparing || session.rounds > ROUNDS_MAX || blake3::Hash::from(session.proofs.responder) != *proof {
            return self.fault(core, id);
        }
        match session.compare(message) {
            Ok(Some(next)) => say(core, session, ReconBody::Next(next)),
            Ok(None) => {
                session.stage = Stage::Exchanging;
                self.progress(core, id);
                self.go_on(core, id);
            }
            Err(_) => self.fault(core, id),
        }
    }

    /// HAVE came.
    fn announced(&mut self, core: &mut Core, id: SessionId, ids: Vec<SaltedId>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.wanted += ids.len() as u64;
        if matches!(session.stage, Stage::Listing(_)) || session.having || session.wanted > NEED_MAX_IDS as u64 {
            return self.fault(core, id);
        }
        session.stage = Stage::Exchanging;
        session.having = true;
        let lacking: Vec<_> = ids.into_iter().filter(|salted| session.unsalt(salted).is_none()).collect();
        session.need.extend(lacking);
        self.go_on(core, id);
    }

    /// Does the next thing that is to be done: serve, ask, announce, or end.
    pub(in super::super) fn go_on(&mut self, core: &mut Core, id: SessionId) {
        self.serve(core, id);
        let now = core.now.mono;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !matches!(session.stage, Stage::Exchanging) || session.getting {
            return;
        }
        if !session.need.is_empty() {
            let Some(link) = core.links.get_mut(&session.link) else { return };
            if !session.is_archive() && !link.pull.has(1, now) {
                core.timers.set_by(Alarm::Paced(id), now + link.pull.wait(1));
                return;
            }
            let mut page = Vec::new();
            while page.len() < GET_MAX_IDS
                && let Some(salted) = session.need.pop_first()
            {
                session.outstanding.insert(salted);
                page.push(salted);
            }
            session.getting = true;
            session.got_any = false;
            let reference = SessionRef { number: session.number, sender: session.role };
            core.say(session.link, &Message::Get(reference, page));
            return;
        }
        if session.waiting > 0 {
            return;
        }
        match session.role {
            Role::Responder if session.having => {
                session.having = false;
                say(core, session, ReconBody::Taken);
            }
            Role::Responder => {}
            Role::Initiator if session.having => {}
            Role::Initiator if !session.have.is_empty() => {
                let mut page = Vec::new();
                while page.len() < HAVE_MAX_IDS
                    && let Some(salted) = session.have.pop_first()
                {
                    page.push(salted);
                }
                session.having = true;
                say(core, session, ReconBody::Have(page));
            }
            Role::Initiator => {
                say(core, session, ReconBody::Done);
                self.end(core, id, true);
            }
        }
    }

    /// GET came.
    pub(in super::super) fn get(&mut self, core: &mut Core, link: LinkId, reference: SessionRef, ids: Vec<SaltedId>) {
        let Some(id) = self.find(link, reference) else {
            core.counters.recon_stray += 1;
            return;
        };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.heard_at = core.now.mono;
        let early = match session.role {
            // Before all is compared the responder hasn't been told of anything, nor, about a room, proven it.
            Role::Initiator => !matches!(session.stage, Stage::Exchanging),
            Role::Responder => matches!(session.stage, Stage::Listing(_)),
        };
        if early || session.serves {
            return self.fault(core, id);
        }
        if session.role == Role::Responder {
            session.stage = Stage::Exchanging;
        }
        let shown = ids.iter().filter(|_| session.shows);
        let known: Vec<_> = shown.filter_map(|salted| session.unsalt(salted)).collect();
        session.serving.extend(known);
        session.serves = true;
        self.serve(core, id);
    }

    /// Serves the next part of a GET, as fast as the link's rate allows.
    fn serve(&mut self, core: &mut Core, id: SessionId) {
        let now = core.now.mono;
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.serves && !session.fetching) else {
            return;
        };
        if session.serving.is_empty() {
            session.serves = false;
            return say(core, session, ReconBody::Served);
        }
        let Some(link) = core.links.get_mut(&session.link) else { return };
        if !link.serve.has(1, now) {
            core.timers.set_by(Alarm::Paced(id), now + link.serve.wait(1));
            return;
        }
        let part = session.serving.len().min(FETCH_MAX);
        let part = session.serving.drain(..part).collect();
        session.fetching = true;
        core.out.push_back(Output::Fetch(id, session.subject.shelf, part));
    }

    /// The store has fetched.
    pub(in super::super) fn fetched(&mut self, core: &mut Core, id: SessionId, envelopes: Vec<Bytes>) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.fetching) else { return };
        session.fetching = false;
        session.heard_at = core.now.mono;
        let reference = SessionRef { number: session.number, sender: session.role };
        let link = session.link;
        if core.ready(link).is_none_or(|link| link.behind) {
            // Its queue is full: whatever is sent now is lost, and the peer would wait for it in vain.
            return self.fail(core, id);
        }
        for envelope in envelopes {
            if let Some(state) = core.links.get_mut(&link) {
                state.serve.spend(envelope.len() as u64);
            }
            core.counters.item_sent += 1;
            core.say(link, &Message::Item(reference, envelope));
        }
        self.serve(core, id);
    }

    /// ITEM came.
    pub(in super::super) fn item(
        &mut self,
        core: &mut Core,
        rumors: &mut Rumors,
        dedup: &mut impl Dedup,
        link: LinkId,
        reference: SessionRef,
        bytes: &Bytes,
    ) {
        let Some(id) = self.find(link, reference) else {
            core.counters.recon_stray += 1;
            return;
        };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.heard_at = core.now.mono;
        let envelope = match Envelope::parse(bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                count_bad(core, error);
                return self.fault(core, id);
            }
        };
        let salted = session.salted(&envelope.id());
        if !session.outstanding.remove(&salted) {
            return self.fault(core, id);
        }
        session.got_any = true;
        if let Some(state) = core.links.get_mut(&link) {
            state.pull.spend(bytes.len() as u64);
        }
        let archive = session.is_archive();
        match freshness(envelope.expiry(), core.now.unix) {
            Freshness::Valid => {}
            Freshness::Expired if archive => {}
            Freshness::Expired | Freshness::FromFuture => {
                core.counters.item_expired += 1;
                return;
            }
        }
        match rumors.receive_asked(core, dedup, link, envelope, id, archive) {
            Taken::New => session.received += 1,
            Taken::Waits => session.waiting += 1,
            Taken::Known => {}
        }
    }

    /// The exact store has decided about an envelope of a session.
    pub(in super::super) fn decided(&mut self, core: &mut Core, id: SessionId, new: bool) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.waiting = session.waiting.saturating_sub(1);
        session.received += u64::from(new);
        self.go_on(core, id);
    }

    /// SERVED came: the GET under way is over.
    fn served(&mut self, core: &mut Core, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !std::mem::take(&mut session.getting) {
            return self.fault(core, id);
        }
        let lost = if session.got_any {
            let lost = session.outstanding.len() as u64;
            session.outstanding.clear();
            session.missing += lost;
            lost
        } else {
            // Not one of a whole page: it claims what it doesn't have.
            session.give_up()
        };
        core.counters.item_missing += lost;
        self.progress(core, id);
        self.go_on(core, id);
    }
}
