//! What the messages of a session, and the store's answers, lead to.

use bytes::Bytes;
use rumormill_api::{Dedup, LinkId, Shelf};

use super::super::core::Core;
use super::super::rumor::{Rumors, Taken, count_bad};
use super::super::timers::Alarm;
use super::super::wire::{
    ASK_MAX_NODES, ByeReason, Children, Envelope, Freshness, Message, OpenScope, RECON_OVERHEAD_BYTES, ReconBody, Role,
    SessionRef, TreeNode, freshness,
};
use super::super::{Output, SessionId};
use super::driver::{Recon, say};
use super::session::{Ended, Exchange, FRUITLESS_MAX, PAGE_BYTES, PAGES_AHEAD, ROUNDS_MAX, Session, Stage};
use super::tree::{Finding, Look, Page, Place, Question, Step};

/// Envelopes that the store is asked for by id at a time: at most half a mebibyte.
const FETCH_MAX: usize = 16;
/// Bytes of envelopes that the store is asked for at a time.
const SERVE_BYTES: usize = 64 << 10;
/// What answering about one node counts as, in bytes served: reading ids costs as well.
const NODE_COST_BYTES: u64 = 1 << 10;

impl Recon {
    fn find(&self, link: LinkId, reference: SessionRef) -> Option<SessionId> {
        self.by_wire.get(&(link, reference.sender.other(), reference.number)).copied()
    }

    /// RECON came.
    pub(in super::super) fn message(&mut self, core: &mut Core, link: LinkId, reference: SessionRef, body: ReconBody) {
        match body {
            ReconBody::Begin { scope, takes_only, salt, root } => {
                return self.begun(core, link, reference.number, scope, takes_only, salt, root);
            }
            // Of link version 1.
            ReconBody::Open { .. } => return decline(core, link, reference.number),
            _ => {}
        }
        let Some(id) = self.find(link, reference) else {
            core.counters.recon_stray += 1;
            return;
        };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.heard_at = core.now.mono;
        let at = (session.role, session.stage);
        match (body, at) {
            (ReconBody::Same(proof), (Role::Initiator, Stage::Asking)) => {
                if proof.unwrap_or_default() != session.proofs.responder || session.proven {
                    return self.fault(core, id);
                }
                self.end(core, id, Ended::Compared);
            }
            (ReconBody::Children { proof, count, children }, (Role::Initiator, Stage::Asking)) => {
                self.told(core, id, &proof, count, &children);
            }
            (ReconBody::Ask(nodes), (Role::Responder, Stage::Ready)) => self.asked(core, id, nodes),
            (ReconBody::Exchange(entries), (Role::Responder, Stage::Ready)) => {
                session.rounds += 1;
                if session.rounds > ROUNDS_MAX {
                    return self.fault(core, id);
                }
                session.stage = Stage::Exchanging;
                session.exchange = Exchange { entries: entries.into(), place: Some(Place::default()), ..serving() };
                self.serve(core, id);
            }
            (ReconBody::Found(positions), (Role::Initiator, Stage::Exchanging)) => self.found(core, id, &positions),
            (ReconBody::Given, (Role::Responder, Stage::Giving)) => {
                let lacking = (session.exchange.positions.len() as u64).saturating_sub(session.exchange.items);
                session.missing += lacking;
                core.counters.item_missing += lacking;
                session.exchange = Exchange::default();
                session.stage = Stage::Ready;
            }
            (ReconBody::Page, _) if session.takes() => self.paged(core, id),
            (ReconBody::Go, _) if session.serves() => {
                session.exchange.pages = (session.exchange.pages + 1).min(PAGES_AHEAD);
                self.serve(core, id);
            }
            // It crossed with the end of what was served.
            (ReconBody::Go, _) => {}
            (ReconBody::Decline, (Role::Initiator, _)) => {
                core.counters.recon_refused += 1;
                self.end(core, id, Ended::Refused);
            }
            (ReconBody::Done, (Role::Responder, _)) => self.end(core, id, Ended::Compared),
            _ => self.fault(core, id),
        }
    }

    /// The peer did what an honest one doesn't.
    fn fault(&mut self, core: &mut Core, id: SessionId) {
        core.counters.recon_fault += 1;
        if let Some(session) = self.sessions.get(&id) {
            core.close(session.link, ByeReason::Fault);
        }
    }

    /// The store has answered.
    pub(in super::super) fn finding(&mut self, core: &mut Core, id: SessionId, finding: Finding) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.heard_at = core.now.mono;
        let at = (session.role, session.stage);
        match (finding, at) {
            (Finding::Failed, _) => self.fail(core, id),
            (Finding::Root(root, count), (Role::Initiator, Stage::Rooting)) => {
                session.count = count;
                session.stage = Stage::Asking;
                session.asked = vec![TreeNode::All];
                let scope = match session.subject.shelf {
                    Shelf::Window => OpenScope::Window(session.subject.range),
                    Shelf::Archive(_) => OpenScope::Archive(session.proofs.initiator),
                };
                let body = ReconBody::Begin { scope, takes_only: !session.shows, salt: session.salt, root };
                say(core, session, body);
            }
            (Finding::Root(root, count), (Role::Responder, Stage::Rooting)) => {
                session.count = count;
                if root == session.root {
                    let proof = session.is_archive().then_some(session.proofs.responder);
                    say(core, session, ReconBody::Same(proof));
                    return self.end(core, id, Ended::Compared);
                }
                session.stage = Stage::Ready;
                self.asked(core, id, vec![TreeNode::All]);
            }
            (Finding::Children(children), (Role::Responder, Stage::Looking)) => {
                session.stage = Stage::Ready;
                let proof = if session.proven { [0; 32] } else { session.proofs.responder };
                session.proven = true;
                let count = u32::try_from(session.count).unwrap_or(u32::MAX);
                say(core, session, ReconBody::Children { proof, count, children });
            }
            (Finding::Steps(steps), (Role::Initiator, Stage::Looking)) => {
                for step in steps {
                    match step {
                        Step::Ask(node) => session.asks.push(node),
                        Step::Split(node) => session.splits.push(node),
                        Step::Exchange(entry, ids) => session.entries.push_back((entry, ids)),
                    }
                }
                self.advance(core, id);
            }
            (Finding::Page(page), _) if session.serves() => self.page(core, id, page),
            (Finding::Settled, _) if session.takes() && session.exchange.pages > 0 => {
                let now = core.now.mono;
                let Some(link) = core.links.get_mut(&session.link) else { return };
                if !session.is_archive() && !link.pull.has(1, now) {
                    session.exchange.unpaced += 1;
                    core.timers.set_by(Alarm::Paced(id), now + link.pull.wait(1));
                    return;
                }
                session.exchange.pages -= 1;
                say(core, session, ReconBody::Go);
            }
            _ => {}
        }
    }

    /// The link's rate allows more again.
    pub(in super::super) fn paced(&mut self, core: &mut Core, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.serves() {
            self.serve(core, id);
        } else if session.takes() {
            for _ in 0..std::mem::take(&mut session.exchange.unpaced) {
                self.finding(core, id, Finding::Settled);
            }
        } else if (session.role, session.stage) == (Role::Responder, Stage::Looking) {
            self.look_up(core, id);
        }
    }

    /// The responder is asked about nodes.
    fn asked(&mut self, core: &mut Core, id: SessionId, nodes: Vec<TreeNode>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.rounds += 1;
        if session.rounds > ROUNDS_MAX {
            return self.fault(core, id);
        }
        session.stage = Stage::Looking;
        session.asked = nodes;
        self.look_up(core, id);
    }

    fn look_up(&mut self, core: &mut Core, id: SessionId) {
        let now = core.now.mono;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(link) = core.links.get_mut(&session.link) else { return };
        if !link.serve.has(1, now) {
            core.timers.set_by(Alarm::Paced(id), now + link.serve.wait(1));
            return;
        }
        link.serve.spend(session.asked.len() as u64 * NODE_COST_BYTES);
        let max_bytes = room(core, session);
        let nodes = std::mem::take(&mut session.asked);
        look(core, id, session, Question::Children { nodes, max_bytes });
    }

    /// The initiator is told children.
    fn told(&mut self, core: &mut Core, id: SessionId, proof: &[u8; 32], count: u32, children: &[Children]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.rounds += 1;
        let expected = if session.proven { [0; 32] } else { session.proofs.responder };
        // A `blake3::Hash` compares in constant time.
        if blake3::Hash::from(expected) != *proof || session.rounds > ROUNDS_MAX || children.len() > session.asked.len()
        {
            return self.fault(core, id);
        }
        session.proven = true;
        session.told = u64::from(count);
        session.wanted = session.wanted.max(session.told.saturating_sub(session.count));
        let rest = session.asked.split_off(children.len());
        let asked = std::mem::take(&mut session.asked);
        let peers = asked.into_iter().zip(children).map(|(node, children)| Some((node, children.of(node)?)));
        let Some(peers) = peers.collect::<Option<Vec<_>>>() else { return self.fault(core, id) };
        // The first of them is to be asked about next.
        session.asks.extend(rest.into_iter().rev());
        session.stage = Stage::Looking;
        look(core, id, session, Question::Compare(peers));
    }

    /// The initiator's next step.
    fn advance(&mut self, core: &mut Core, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.full() || session.fruitless >= FRUITLESS_MAX {
            session.asks.clear();
            session.splits.clear();
            session.entries.clear();
        }
        let max_bytes = room(core, session);
        let ready: usize = session.entries.iter().map(|(entry, _)| entry.encoded_max_bytes()).sum();
        if ready < max_bytes && !session.splits.is_empty() {
            let from = session.splits.len().saturating_sub(ASK_MAX_NODES);
            let nodes = session.splits.split_off(from).into_iter().map(|node| (node, Vec::new())).collect();
            session.stage = Stage::Looking;
            return look(core, id, session, Question::Compare(nodes));
        }
        if ready < max_bytes && !session.asks.is_empty() {
            let most =
                ASK_MAX_NODES.min(max_bytes / TreeNode::hour(0).child(0).map_or(16, TreeNode::encoded_bytes) / 2);
            let from = session.asks.len().saturating_sub(most);
            let nodes = session.asks.split_off(from);
            session.asked.clone_from(&nodes);
            session.stage = Stage::Asking;
            return say(core, session, ReconBody::Ask(nodes));
        }
        if !session.entries.is_empty() {
            if !session.is_archive() && self.brings_elsewhere(core.now.mono, id) {
                // What comes there would come here as well.
                return self.put_off(core, id);
            }
            let Some(session) = self.sessions.get_mut(&id) else { return };
            let entries = session.next_exchange(max_bytes);
            session.stage = Stage::Exchanging;
            return say(core, session, ReconBody::Exchange(entries));
        }
        if session.waiting == 0 {
            say(core, session, ReconBody::Done);
            self.end(core, id, Ended::Compared);
        } else {
            session.stage = Stage::Ready;
        }
    }

    /// All of the last exchange is served; the responder wants some of what it hasn't.
    fn found(&mut self, core: &mut Core, id: SessionId, positions: &[u16]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let ids: Option<Vec<_>> =
            positions.iter().map(|position| session.exchange.ids.get(usize::from(*position)).copied()).collect();
        let Some(ids) = ids else { return self.fault(core, id) };
        let nothing = ids.is_empty() && session.exchange.items == 0;
        session.fruitless = if nothing { session.fruitless + 1 } else { 0 };
        let wants = if session.shows { ids.into() } else { Default::default() };
        session.exchange = Exchange { wants, ..serving() };
        self.progress(core, id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if positions.is_empty() {
            return self.advance(core, id);
        }
        session.stage = Stage::Giving;
        self.serve(core, id);
    }

    /// A page of what is taken is over: the next may come when it is durable, so that nobody's store falls behind.
    fn paged(&mut self, core: &mut Core, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.exchange.pages += 1;
        if session.exchange.pages > PAGES_AHEAD {
            return self.fault(core, id);
        }
        look(core, id, session, Question::Settled);
        self.progress(core, id);
    }

    /// Serves the next part of an exchange, as fast as the link's rate and the peer allow.
    fn serve(&mut self, core: &mut Core, id: SessionId) {
        let now = core.now.mono;
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.serves()) else { return };
        let exchange = &mut session.exchange;
        if exchange.reading {
            return;
        }
        let over = match session.role {
            Role::Initiator => exchange.wants.is_empty(),
            Role::Responder => exchange.place.is_none(),
        };
        if over {
            return self.served(core, id);
        }
        if exchange.pages == 0 {
            return;
        }
        let Some(link) = core.links.get_mut(&session.link) else { return };
        if !link.serve.has(1, now) {
            core.timers.set_by(Alarm::Paced(id), now + link.serve.wait(1));
            return;
        }
        exchange.reading = true;
        match (session.role, exchange.place) {
            (Role::Responder, Some(from)) => {
                let entries = exchange.entries.clone();
                look(core, id, session, Question::Serve { entries, from, max_bytes: SERVE_BYTES });
            }
            _ => {
                let part = exchange.wants.len().min(FETCH_MAX);
                let part = exchange.wants.drain(..part).collect();
                core.out.push_back(Output::Fetch(id, session.subject.shelf, part));
            }
        }
    }

    /// All that the other end lacks and this one can serve has been.
    fn served(&mut self, core: &mut Core, id: SessionId) {
        let may_take = self.sessions.get(&id).is_some_and(|session| {
            session.shows && !session.takes_only && (session.is_archive() || !self.brings_elsewhere(core.now.mono, id))
        });
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.role == Role::Initiator {
            say(core, session, ReconBody::Given);
            return self.advance(core, id);
        }
        let may_take = may_take && !session.full();
        let exchange = &mut session.exchange;
        exchange.positions.sort_unstable();
        // What lies outside of this end's own hours it wouldn't take: the two's clocks differ.
        let range = session.subject.range;
        let within = exchange.entries.iter().flat_map(|entry| {
            let (first, last) = entry.node.range();
            std::iter::repeat_n(first.0 <= range.to && range.from <= last.0, entry.held.len())
        });
        let wanted: Vec<u16> = match may_take {
            true => (0..=u16::MAX)
                .zip(within)
                .filter(|(position, within)| *within && exchange.positions.binary_search(position).is_err())
                .map(|(position, _)| position)
                .collect(),
            false => Vec::new(),
        };
        if wanted.is_empty() {
            session.exchange = Exchange::default();
            session.stage = Stage::Ready;
        } else {
            session.exchange =
                Exchange { entries: exchange.entries.clone(), positions: wanted.clone(), ..Exchange::default() };
            session.wanted += wanted.len() as u64;
            session.stage = Stage::Giving;
        }
        say(core, session, ReconBody::Found(wanted));
    }

    /// The store has read what is to be served.
    fn page(&mut self, core: &mut Core, id: SessionId, page: Page) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.exchange.reading) else { return };
        session.exchange.place = page.next;
        session.exchange.positions.extend(page.known);
        self.hand_over(core, id, page.envelopes);
    }

    /// The store has fetched.
    pub(in super::super) fn fetched(&mut self, core: &mut Core, id: SessionId, envelopes: Vec<Bytes>) {
        if self.sessions.get(&id).is_some_and(|session| session.serves() && session.exchange.reading) {
            self.hand_over(core, id, envelopes);
        }
    }

    fn hand_over(&mut self, core: &mut Core, id: SessionId, envelopes: Vec<Bytes>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.exchange.reading = false;
        session.heard_at = core.now.mono;
        let reference = SessionRef { number: session.number, sender: session.role };
        let link = session.link;
        let mut bytes = 0;
        for envelope in envelopes {
            bytes += envelope.len();
            core.counters.item_sent += 1;
            session.given += 1;
            core.say(link, &Message::Item(reference, envelope));
        }
        if let Some(state) = core.links.get_mut(&link) {
            state.serve.spend(bytes as u64 + NODE_COST_BYTES);
        }
        session.exchange.page_left = session.exchange.page_left.saturating_sub(bytes);
        if session.exchange.page_left == 0 {
            session.exchange.page_left = PAGE_BYTES;
            session.exchange.pages -= 1;
            say(core, session, ReconBody::Page);
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
        if !session.takes() || !session.expects(&(envelope.expiry(), envelope.id())) {
            return self.fault(core, id);
        }
        let archive = session.is_archive();
        if let Some(state) = core.links.get_mut(&link) {
            state.pull.spend(bytes.len() as u64);
        }
        match freshness(envelope.expiry(), core.now.unix) {
            Freshness::Valid => {}
            Freshness::Expired if archive => {}
            Freshness::Expired | Freshness::FromFuture => {
                core.counters.item_expired += 1;
                return;
            }
        }
        session.served = true;
        match rumors.receive_asked(core, dedup, link, envelope, id, archive) {
            Taken::New => session.received += 1,
            Taken::Waits => session.waiting += 1,
            Taken::Known => {}
        }
        if session.limit.is_some() && session.full() {
            // What is on its way still is passed over.
            self.progress(core, id);
            if let Some(session) = self.sessions.get(&id) {
                say(core, session, ReconBody::Done);
            }
            self.end(core, id, Ended::Compared);
        }
    }

    /// The exact store has decided about an envelope of a session.
    pub(in super::super) fn decided(&mut self, core: &mut Core, id: SessionId, new: bool) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.waiting = session.waiting.saturating_sub(1);
        session.received += u64::from(new);
        if (session.role, session.stage, session.waiting) == (Role::Initiator, Stage::Ready, 0) {
            self.advance(core, id);
        }
    }
}

/// The beginning of serving.
fn serving() -> Exchange {
    Exchange { pages: PAGES_AHEAD, page_left: PAGE_BYTES, ..Exchange::default() }
}

/// Asks the store something for a session.
pub(super) fn look(core: &mut Core, id: SessionId, session: &Session, question: Question) {
    let (shelf, range, key) = (session.subject.shelf, session.subject.range, session.key);
    core.out.push_back(Output::Look(id, Box::new(Look { shelf, range, key, question })));
}

/// How many bytes a message of a session may take besides what every one does.
fn room(core: &Core, session: &Session) -> usize {
    let own = core.config.recon_max_bytes;
    let hello = core.links.get(&session.link).and_then(|link| link.hello.as_ref());
    let most = hello.map_or(own, |hello| hello.recon_max.min(own));
    usize::from(most) - RECON_OVERHEAD_BYTES
}

/// This node doesn't take part in what a peer opens.
pub(super) fn decline(core: &mut Core, link: LinkId, number: u32) {
    core.counters.recon_declined += 1;
    let session = SessionRef { number, sender: Role::Responder };
    core.say(link, &Message::Recon(session, ReconBody::Decline));
}
