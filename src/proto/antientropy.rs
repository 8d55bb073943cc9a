//! Anti-entropy: reconciliation of what two nodes hold (Demers et al. 1987), for repair and for history.
//!
//! Both sides list (expiry hour, id) of a [`Scope`]; range-based set reconciliation (the `negentropy` crate, over ids
//! salted for the session, since its fingerprints are additive and could be collided on purpose) tells the opener what
//! it needs and what it has beyond; then each side asks for what it lacks, a page at a time. What is served because it
//! was asked for is never flooded again.
//!
//! A session costs a bounded amount: so many sessions a link, rounds, ids and bytes a page, and no silence longer than
//! [`SESSION_SILENCE_MAX_MS`]. A peer that claims what it doesn't serve is not asked again for a while; one that sends
//! what wasn't asked for is cut off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use rumormill_api::{Dedup, ExpiryHour, ExpiryRange, LinkId, Millis, MsgId, Shelf};
use subtle::ConstantTimeEq;

use super::counters::Count;
use super::engine::Engine;
use super::envelope::Envelope;
use super::wire::{IDS_MAX, Message, RECON_MAX_BYTES, Recon, SaltedId, WireScope};
use super::{Accepted, EngineEvent, Now, Output, RoomProof, Scope, SessionId};

/// How long a session may make no progress, in milliseconds.
pub const SESSION_SILENCE_MAX_MS: Millis = 30_000;
/// How many sessions a peer may have open with this node on one link.
pub const SESSIONS_PER_LINK_MAX: usize = 2;
/// How many reconciliations wait for their turn on one link.
pub const WAITING_PER_LINK_MAX: usize = 16;
/// How many rounds a comparison may take: 16-way splits reach any set of 2^60 in 15.
pub const ROUNDS_MAX: u32 = 512;
/// How many ids one session fetches; the rest is the next session's.
pub const NEEDED_MAX: usize = 200_000;
/// How many bytes of envelopes one answer to a GET carries.
pub const PAGE_MAX_BYTES: usize = 256 << 10;
/// How many claimed and unserved envelopes end a session.
pub const UNSERVED_MAX: u64 = 64;
/// How long a peer that left that many unserved isn't asked again, in milliseconds.
pub const DISTRUST_MS: Millis = 10 * 60_000;

/// The parts of one session that are the same for both sides.
pub(super) struct Session {
    id: SessionId,
    initiator: bool,
    token: Option<u64>,
    scope: Scope,
    salt: [u8; 32],
    key: [u8; 32],
    /// The first message, until the ids to answer it with are there.
    opening: Option<Bytes>,
    compare: Option<Negentropy<'static, NegentropyStorageVector>>,
    /// What is on this side, by salted id.
    held: Vec<(SaltedId, MsgId)>,
    rounds: u32,
    compared: bool,
    /// To offer to the other side.
    offers: VecDeque<SaltedId>,
    last_offered: bool,
    offer_open: bool,
    /// To ask for.
    needs: VecDeque<SaltedId>,
    page: Vec<SaltedId>,
    outstanding: BTreeSet<SaltedId>,
    /// A Have whose ids aren't all here; its Done is owed.
    owes_done: bool,
    /// A GET that waits for the store.
    serving: Option<Vec<SaltedId>>,
    wanted: u64,
    received: u64,
    missing: u64,
    deadline: Millis,
}

/// A sync that the driver asked for: one link after the other, so that nothing is fetched twice.
pub(super) struct Token {
    scope: Scope,
    links: VecDeque<LinkId>,
    answered: u32,
    failed: u32,
    wanted: u64,
    received: u64,
    missing: u64,
}

/// Everything about reconciliation that an engine keeps.
#[derive(Default)]
pub(super) struct Syncs {
    pub(super) sessions: BTreeMap<(LinkId, u32), Session>,
    places: BTreeMap<SessionId, (LinkId, u32)>,
    waiting: BTreeMap<LinkId, VecDeque<(Scope, Option<u64>)>>,
    tokens: BTreeMap<u64, Token>,
    distrusted: BTreeMap<LinkId, Millis>,
    pub(super) rooms: Vec<RoomProof>,
    next_id: u64,
    next_number: u32,
}

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Failed,
}

impl Session {
    fn shelf(&self) -> (Shelf, ExpiryRange) {
        match self.scope {
            Scope::Window(range) => (Shelf::Window, range),
            Scope::Archive(tag) => (Shelf::Archive(tag), ExpiryRange::ALL),
        }
    }

    fn salted(&self, id: &MsgId) -> SaltedId {
        *blake3::keyed_hash(&self.key, id.as_bytes()).as_bytes()
    }

    fn list(&mut self, ids: &[(ExpiryHour, MsgId)]) -> Option<NegentropyStorageVector> {
        let mut storage = NegentropyStorageVector::with_capacity(ids.len());
        self.held = Vec::with_capacity(ids.len());
        for (hour, id) in ids {
            let salted = self.salted(id);
            storage.insert(u64::from(*hour), Id::from_byte_array(salted)).ok()?;
            self.held.push((salted, *id));
        }
        self.held.sort_unstable();
        storage.seal().ok()?;
        Some(storage)
    }

    fn real(&self, salted: &SaltedId) -> Option<MsgId> {
        self.held.binary_search_by(|(held, _)| held.cmp(salted)).ok().map(|at| self.held[at].1)
    }

    fn settled(&self) -> bool {
        self.compared
            && self.needs.is_empty()
            && self.outstanding.is_empty()
            && self.page.is_empty()
            && self.last_offered
            && !self.offer_open
    }
}

impl<D: Dedup> Engine<D> {
    /// Starts a sync of the driver's.
    pub(super) fn sync(&mut self, token: u64, scope: Scope, link: Option<LinkId>, now: Now) {
        let links = match link {
            Some(link) => self.links.get(&link).filter(|link| link.ready()).map(|_| link).into_iter().collect(),
            None => self.ready_links(),
        };
        let state = Token { scope, links, answered: 0, failed: 0, wanted: 0, received: 0, missing: 0 };
        self.syncs.tokens.insert(token, state);
        self.next_of_token(token, now);
    }

    fn next_of_token(&mut self, token: u64, now: Now) {
        let Some(state) = self.syncs.tokens.get_mut(&token) else { return };
        match state.links.pop_front() {
            Some(link) => {
                let scope = state.scope;
                if !self.reconcile(link, scope, Some(token), now)
                    && let Some(state) = self.syncs.tokens.get_mut(&token)
                {
                    state.failed += 1;
                    self.next_of_token(token, now);
                }
            }
            None => {
                let Some(Token { answered, failed, received, missing, .. }) = self.syncs.tokens.remove(&token) else {
                    return;
                };
                self.emit(EngineEvent::SyncEnded { token, answered, failed, received, missing });
            }
        }
    }

    /// Opens a session, or has it wait for the one that is open. `false` when it can't be.
    pub(super) fn reconcile(&mut self, link: LinkId, scope: Scope, token: Option<u64>, now: Now) -> bool {
        if !self.links.get(&link).is_some_and(super::engine::Link::ready)
            || self.syncs.distrusted.get(&link).is_some_and(|until| *until > now.mono)
        {
            return false;
        }
        let busy = self.syncs.sessions.iter().any(|((on, _), session)| *on == link && session.initiator);
        if busy {
            let waiting = self.syncs.waiting.entry(link).or_default();
            let again = token.is_none() && waiting.contains(&(scope, None));
            if !again && waiting.len() < WAITING_PER_LINK_MAX {
                waiting.push_back((scope, token));
                return true;
            }
            return again;
        }
        let number = {
            // The dialler's sessions are odd, the other's even: no two ever meet.
            let odd = u32::from(self.links[&link].outgoing());
            self.syncs.next_number = self.syncs.next_number.wrapping_add(2);
            (self.syncs.next_number & !1) | odd
        };
        let salt = self.random();
        self.open_session(link, number, true, token, scope, salt, None, now);
        true
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a session, given once")]
    fn open_session(
        &mut self,
        link: LinkId,
        number: u32,
        initiator: bool,
        token: Option<u64>,
        scope: Scope,
        salt: [u8; 32],
        opening: Option<Bytes>,
        now: Now,
    ) {
        let mut hasher = blake3::Hasher::new_derive_key("rumormill reconciliation salt v1");
        hasher.update(&salt);
        hasher.update(&self.links[&link].info.handshake_hash);
        let id = SessionId(self.syncs.next_id);
        self.syncs.next_id += 1;
        let session = Session {
            id,
            initiator,
            token,
            scope,
            salt,
            key: *hasher.finalize().as_bytes(),
            opening,
            compare: None,
            held: Vec::new(),
            rounds: 0,
            compared: !initiator,
            offers: VecDeque::new(),
            last_offered: false,
            offer_open: false,
            needs: VecDeque::new(),
            page: Vec::new(),
            outstanding: BTreeSet::new(),
            owes_done: false,
            serving: None,
            wanted: 0,
            received: 0,
            missing: 0,
            deadline: now.mono + SESSION_SILENCE_MAX_MS,
        };
        let (shelf, range) = session.shelf();
        self.syncs.places.insert(id, (link, number));
        self.syncs.sessions.insert((link, number), session);
        self.out.push_back(Output::ListIds(id, shelf, range));
    }

    /// The store listed what this side holds.
    pub(super) fn listed(&mut self, id: SessionId, ids: Option<Vec<(ExpiryHour, MsgId)>>, now: Now) {
        let Some(place) = self.syncs.places.get(&id).copied() else { return };
        let Some(session) = self.syncs.sessions.get_mut(&place) else { return };
        let storage = ids.and_then(|ids| session.list(&ids));
        let compare = storage.and_then(|storage| Negentropy::owned(storage, RECON_MAX_BYTES as u64).ok());
        let Some(mut compare) = compare else {
            self.send_recon(place, Recon::Refuse);
            self.end_session(place, End::Failed, now);
            return;
        };
        session.deadline = now.mono + SESSION_SILENCE_MAX_MS;
        let (scope, salt, initiator) = (session.scope, session.salt, session.initiator);
        let message = match session.opening.take() {
            None => compare.initiate(),
            Some(message) => compare.reconcile(&message),
        };
        session.compare = Some(compare);
        let Ok(message) = message else {
            self.fault(place.0, Count::ReconProtocol, now);
            return;
        };
        let message = Bytes::from(message);
        let proof = self.proof(place, scope, initiator);
        let step = if initiator {
            let scope = match scope {
                Scope::Window(range) => WireScope::Window(range),
                Scope::Archive(_) => WireScope::Archive(proof),
            };
            Recon::Open { scope, salt, message }
        } else {
            Recon::Reply { proof, message }
        };
        self.send_recon(place, step);
    }

    /// What shows that this side knows a room, to who knows it too: bound to the link, the session and the role.
    fn proof(&self, (link, number): (LinkId, u32), scope: Scope, initiator: bool) -> [u8; 32] {
        let Scope::Archive(tag) = scope else { return [0; 32] };
        let room = self.syncs.rooms.iter().find(|room| room.tag == tag);
        room.map_or([0; 32], |room| prove(&room.key, &self.links[&link].info.handshake_hash, number, initiator))
    }

    pub(super) fn recon(&mut self, link: LinkId, number: u32, step: Recon, now: Now) {
        let place = (link, number);
        if let Recon::Open { scope, salt, message } = step {
            self.opened(place, &scope, salt, message, now);
            return;
        }
        let Some(session) = self.syncs.sessions.get_mut(&place) else { return };
        session.deadline = now.mono + SESSION_SILENCE_MAX_MS;
        let initiator = session.initiator;
        match step {
            Recon::Refuse => {
                self.counters.add(Count::ReconRefused);
                self.end_session(place, End::Failed, now);
            }
            Recon::Reply { proof, message } if initiator => self.replied(place, &proof, &message, now),
            Recon::More(message) if !initiator => self.more(place, &message, now),
            Recon::Have { last, ids } if !initiator => self.offered(place, last, ids, now),
            Recon::Served(taken) => self.served(place, usize::from(taken), now),
            Recon::Done if initiator => {
                session.offer_open = false;
                self.offer(place);
                self.settle(place, now);
            }
            Recon::Close if !initiator => self.end_session(place, End::Complete, now),
            _ => self.fault(link, Count::ReconProtocol, now),
        }
    }

    fn opened(&mut self, place: (LinkId, u32), scope: &WireScope, salt: [u8; 32], message: Bytes, now: Now) {
        let (link, number) = place;
        // The peer's own parity, and not one that is in use.
        let odd = number % 2 == 1;
        if odd == self.links[&link].outgoing() || self.syncs.sessions.contains_key(&place) {
            self.fault(link, Count::ReconProtocol, now);
            return;
        }
        let theirs = self.syncs.sessions.iter().filter(|((on, _), session)| *on == link && !session.initiator).count();
        let scope = match scope {
            WireScope::Window(range) => Some(Scope::Window(*range)),
            WireScope::Archive(proof) => self.proven(place, proof),
        };
        match scope {
            Some(scope) if theirs < SESSIONS_PER_LINK_MAX => {
                self.open_session(link, number, false, None, scope, salt, Some(message), now);
            }
            _ => self.send_recon(place, Recon::Refuse),
        }
    }

    /// The room that an opener proved to know, if this node has it and shows it. Every room is tried, found or not.
    fn proven(&self, (link, number): (LinkId, u32), proof: &[u8; 32]) -> Option<Scope> {
        let hash = &self.links[&link].info.handshake_hash;
        let mut found = None;
        for room in &self.syncs.rooms {
            let expected = prove(&room.key, hash, number, true);
            if bool::from(expected.ct_eq(proof)) && room.serve {
                found = Some(Scope::Archive(room.tag));
            }
        }
        found
    }

    fn replied(&mut self, place: (LinkId, u32), proof: &[u8; 32], message: &Bytes, now: Now) {
        let scope = self.syncs.sessions[&place].scope;
        let expected = self.proof(place, scope, false);
        let Some(session) = self.syncs.sessions.get_mut(&place) else { return };
        if !bool::from(expected.ct_eq(proof)) || session.compared {
            self.fault(place.0, Count::ReconProtocol, now);
            return;
        }
        session.rounds += 1;
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = session.compare.as_mut().map(|compare| compare.reconcile_with_ids(message, &mut have, &mut need));
        let Some(Ok(next)) = next else {
            self.fault(place.0, Count::ReconProtocol, now);
            return;
        };
        session.offers.extend(have.iter().map(|id| id.to_bytes()));
        let room = NEEDED_MAX.saturating_sub(session.needs.len());
        session.needs.extend(need.iter().take(room).map(|id| id.to_bytes()));
        session.wanted += need.len().min(room) as u64;
        match next {
            Some(message) if session.rounds < ROUNDS_MAX => self.send_recon(place, Recon::More(message.into())),
            Some(_) => {
                self.counters.add(Count::ReconProtocol);
                self.send_recon(place, Recon::Close);
                self.end_session(place, End::Failed, now);
            }
            None => {
                session.compared = true;
                session.compare = None;
                self.progress(place);
                self.offer(place);
                self.ask(place);
                self.settle(place, now);
            }
        }
    }

    fn more(&mut self, place: (LinkId, u32), message: &Bytes, now: Now) {
        let Some(session) = self.syncs.sessions.get_mut(&place) else { return };
        session.rounds += 1;
        let answer = session.compare.as_mut().filter(|_| session.rounds <= ROUNDS_MAX).map(|c| c.reconcile(message));
        let Some(Ok(answer)) = answer else {
            self.fault(place.0, Count::ReconProtocol, now);
            return;
        };
        let scope = session.scope;
        let proof = self.proof(place, scope, false);
        self.send_recon(place, Recon::Reply { proof, message: answer.into() });
    }

    /// Offers the next page of what the other side lacks.
    fn offer(&mut self, place: (LinkId, u32)) {
        let Some(session) = self.syncs.sessions.get_mut(&place) else { return };
        if session.offer_open || session.last_offered {
            return;
        }
        let page: Vec<_> = session.offers.drain(..session.offers.len().min(IDS_MAX)).collect();
        let last = session.offers.is_empty();
        session.last_offered = last;
        session.offer_open = true;
        self.send_recon(place, Recon::Have { last, ids: page });
    }

    fn offered(&mut self, place: (LinkId, u32), last: bool, ids: Vec<SaltedId>, now: Now) {
        let Some(session) = self.syncs.sessions.get_mut(&place) else { return };
        if session.owes_done || session.last_offered {
            self.fault(place.0, Count::ReconProtocol, now);
            return;
        }
        session.owes_done = true;
        session.last_offered = last;
        // The comparison is over: what it was made of isn't needed any more.
        session.compare = None;
        session.wanted += ids.len() as u64;
        session.needs.extend(ids);
        self.ask(place);
    }

    /// Asks for the next page, or says that there is none left.
    fn ask(&mut self, place: (LinkId, u32)) {
        let Some(session) = self.syncs.sessions.get_mut(&place) else { return };
        if !session.page.is_empty() {
            return;
        }
        if session.needs.is_empty() {
            if std::mem::take(&mut session.owes_done) {
                self.send_recon(place, Recon::Done);
            }
            return;
        }
        session.page = session.needs.drain(..session.needs.len().min(IDS_MAX)).collect();
        session.outstanding = session.page.iter().copied().collect();
        let ids = session.page.clone();
        self.send(place.0, Message::Get { session: place.1, ids }.encode());
    }

    /// The other side asks.
    pub(super) fn get(&mut self, link: LinkId, number: u32, ids: Vec<SaltedId>, now: Now) {
        let place = (link, number);
        let Some(session) = self.syncs.sessions.get_mut(&place) else { return };
        if session.serving.is_some() {
            self.fault(link, Count::ReconProtocol, now);
            return;
        }
        session.deadline = now.mono + SESSION_SILENCE_MAX_MS;
        let real = ids.iter().filter_map(|id| session.real(id)).collect();
        session.serving = Some(ids);
        let (shelf, _) = session.shelf();
        self.out.push_back(Output::Fetch(session.id, shelf, real));
    }

    /// The store answered.
    pub(super) fn fetched(&mut self, id: SessionId, envelopes: Vec<Bytes>, now: Now) {
        let Some(place) = self.syncs.places.get(&id).copied() else { return };
        let Some(session) = self.syncs.sessions.get_mut(&place) else { return };
        let Some(page) = session.serving.take() else { return };
        session.deadline = now.mono + SESSION_SILENCE_MAX_MS;
        let mut taken = page.len();
        let mut bytes = 0;
        let mut items = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            bytes += envelope.len();
            if bytes > PAGE_MAX_BYTES && !items.is_empty() {
                let salted = session.salted(&MsgId::of(&envelope));
                taken = page.iter().position(|id| *id == salted).unwrap_or(0);
                break;
            }
            items.push(Message::Item { session: place.1, envelope }.encode());
        }
        for item in items {
            self.send(place.0, item);
        }
        let taken = u16::try_from(taken).unwrap_or(u16::MAX);
        self.send_recon(place, Recon::Served(taken));
    }

    /// An envelope that came because it was asked for.
    pub(super) fn item(&mut self, link: LinkId, number: u32, bytes: Bytes, now: Now) {
        let place = (link, number);
        let Some(session) = self.syncs.sessions.get_mut(&place) else {
            self.counters.add(Count::ItemLate);
            return;
        };
        let id = MsgId::of(&bytes);
        let salted = session.salted(&id);
        if !session.outstanding.remove(&salted) {
            self.fault(link, Count::ItemUnasked, now);
            return;
        }
        session.deadline = now.mono + SESSION_SILENCE_MAX_MS;
        session.received += 1;
        let archive = matches!(session.scope, Scope::Archive(_));
        let token = session.token;
        let envelope = match Envelope::parse(bytes) {
            Ok(envelope) => envelope,
            Err(fault) => {
                self.fault(link, fault.into(), now);
                return;
            }
        };
        let live = envelope.check_expiry(now.unix);
        match live {
            Err(fault) if !archive => {
                self.counters.add(fault.into());
                return;
            }
            _ => {}
        }
        if live.is_ok() {
            self.note_seen(&id, now);
        }
        self.counters.add(Count::AcceptedSynced);
        let source = self.links[&link].source;
        self.out.push_back(Output::Accept(Accepted {
            id,
            expiry: envelope.expiry(),
            envelope: envelope.bytes().clone(),
            source,
            synced: true,
            window: live.is_ok(),
        }));
        if let Some(token) = token.and_then(|token| self.syncs.tokens.get_mut(&token)) {
            token.received += 1;
        }
    }

    /// The answer to a GET is complete.
    fn served(&mut self, place: (LinkId, u32), taken: usize, now: Now) {
        let Some(session) = self.syncs.sessions.get_mut(&place) else { return };
        let page = std::mem::take(&mut session.page);
        if page.is_empty() || taken > page.len() {
            self.fault(place.0, Count::ReconProtocol, now);
            return;
        }
        let outstanding = std::mem::take(&mut session.outstanding);
        // One that takes nothing of a page would be asked for ever.
        let looked_up = if taken == 0 { page.len() } else { taken };
        let unserved = page[..looked_up].iter().filter(|id| outstanding.contains(*id)).count() as u64;
        for id in page[looked_up..].iter().rev().filter(|id| outstanding.contains(*id)) {
            session.needs.push_front(*id);
        }
        session.missing += unserved;
        self.counters.add_many(Count::ReconUnserved, unserved);
        if session.missing > UNSERVED_MAX {
            self.syncs.distrusted.insert(place.0, now.mono + DISTRUST_MS);
            self.send_recon(place, Recon::Refuse);
            self.end_session(place, End::Failed, now);
            return;
        }
        self.progress(place);
        self.ask(place);
        self.settle(place, now);
    }

    fn progress(&mut self, place: (LinkId, u32)) {
        let Some(session) = self.syncs.sessions.get(&place) else { return };
        let Some(token) = session.token else { return };
        let wanted = session.wanted;
        let Some(state) = self.syncs.tokens.get(&token) else { return };
        let event = EngineEvent::SyncProgress { token, received: state.received, wanted: state.wanted + wanted };
        if wanted > 0 {
            self.emit(event);
        }
    }

    fn settle(&mut self, place: (LinkId, u32), now: Now) {
        let done = self.syncs.sessions.get(&place).is_some_and(|session| session.initiator && session.settled());
        if done {
            self.send_recon(place, Recon::Close);
            self.end_session(place, End::Complete, now);
        }
    }

    fn end_session(&mut self, place: (LinkId, u32), end: End, now: Now) {
        let Some(session) = self.syncs.sessions.remove(&place) else { return };
        self.syncs.places.remove(&session.id);
        if let Some(token) = session.token {
            if let Some(state) = self.syncs.tokens.get_mut(&token) {
                match end {
                    End::Complete => state.answered += 1,
                    End::Failed => state.failed += 1,
                }
                state.wanted += session.wanted;
                state.missing += session.missing;
            }
            self.next_of_token(token, now);
        }
        if session.initiator {
            self.next_waiting(place.0, now);
        }
    }

    fn next_waiting(&mut self, link: LinkId, now: Now) {
        let Some((scope, token)) = self.syncs.waiting.get_mut(&link).and_then(VecDeque::pop_front) else { return };
        if !self.reconcile(link, scope, token, now)
            && let Some(token) = token
        {
            if let Some(state) = self.syncs.tokens.get_mut(&token) {
                state.failed += 1;
            }
            self.next_of_token(token, now);
        }
    }

    /// A link is gone: so are its sessions.
    pub(super) fn end_sessions_of(&mut self, link: LinkId, now: Now) {
        let places: Vec<_> = self.syncs.sessions.keys().filter(|(on, _)| *on == link).copied().collect();
        let waiting = self.syncs.waiting.remove(&link).unwrap_or_default();
        self.syncs.distrusted.remove(&link);
        for place in places {
            self.end_session(place, End::Failed, now);
        }
        for token in waiting.into_iter().filter_map(|(_, token)| token) {
            if let Some(state) = self.syncs.tokens.get_mut(&token) {
                state.failed += 1;
            }
            self.next_of_token(token, now);
        }
    }

    /// Ends what has fallen silent.
    pub(super) fn tick_sessions(&mut self, now: Now) {
        let late: Vec<_> = self
            .syncs
            .sessions
            .iter()
            .filter(|(_, session)| session.deadline <= now.mono)
            .map(|(place, _)| *place)
            .collect();
        for place in late {
            self.counters.add(Count::ReconTimeout);
            self.send_recon(place, Recon::Refuse);
            self.end_session(place, End::Failed, now);
        }
    }

    fn send_recon(&mut self, (link, session): (LinkId, u32), step: Recon) {
        self.send(link, Message::Recon { session, step }.encode());
    }
}

fn prove(key: &[u8; 32], handshake_hash: &[u8; 32], session: u32, initiator: bool) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(b"rumormill archive proof v1");
    hasher.update(handshake_hash);
    hasher.update(&session.to_be_bytes());
    hasher.update(&[u8::from(initiator)]);
    *hasher.finalize().as_bytes()
}
