//! When to reconcile with whom, and how it ends.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rumormill_api::{Direction, ExpiryHour, ExpiryRange, LinkId, Millis, MsgId, Shelf};

use super::super::core::Core;
use super::super::timers::Alarm;
use super::super::wire::{
    ENVELOPE_LIFE_HOURS, Freshness, HOUR_MS, Message, OpenScope, ReconBody, Role, SALT_BYTES, SessionRef, freshness,
};
use super::super::{EngineEvent, Output, RoomProof, Scope, SessionId};
use super::proof::proofs;
use super::session::{Proofs, Session, Stage, Subject};

/// What the recent part of the window is: envelopes made within so many hours, if they were given a full life.
pub const RECENT_HOURS: u32 = 2;
/// The least time between two repairs with one link, in milliseconds.
pub const CATCH_UP_EVERY_MS: Millis = 10_000;
/// How soon a repair begins at the earliest, in milliseconds.
const CATCH_UP_AFTER_MS: Millis = 500;
/// Silence of the other end after which a session has failed, in milliseconds.
pub const SILENCE_MS: Millis = 20_000;
/// The longest that a session may take, in milliseconds.
pub const SESSION_MAX_MS: Millis = 1_800_000;
/// Sessions of peers that this node takes part in at a time.
pub const SESSIONS_SERVED_MAX: usize = 16;
/// Rooms whose archives this node has, at most.
const ROOMS_MAX: usize = 4_096;

/// What is reconciled without anyone asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Start {
    /// The recent part of the window.
    Recent,
    /// All of the window.
    Full,
}

/// A session that is to be opened.
#[derive(Clone, Copy, Debug)]
struct Job {
    scope: Scope,
    sync: Option<u64>,
}

/// A synchronisation that the driver asked for: one session after the other, so that no envelope comes twice.
#[derive(Debug)]
struct Sync {
    token: u64,
    scope: Scope,
    remaining: VecDeque<LinkId>,
    answered: u32,
    failed: u32,
    received: u64,
    wanted: u64,
    missing: u64,
}

/// The state of anti-entropy.
#[derive(Debug, Default)]
pub(in super::super) struct Recon {
    rooms: Vec<RoomProof>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) by_wire: BTreeMap<(LinkId, Role, u32), SessionId>,
    waiting: BTreeMap<LinkId, VecDeque<Job>>,
    syncs: BTreeMap<u64, Sync>,
    caught_up_at: BTreeMap<LinkId, Millis>,
    next_session: u64,
    next_number: u32,
    next_sync: u64,
    periodic: bool,
}

impl Recon {
    pub(in super::super) fn set_rooms(&mut self, mut rooms: Vec<RoomProof>) {
        rooms.truncate(ROOMS_MAX);
        self.rooms = rooms;
    }

    /// A link takes part in the gossip from now on. Its dialler begins with the whole window.
    pub(in super::super) fn link_ready(&mut self, core: &mut Core, link: LinkId) {
        if !self.periodic {
            self.periodic = true;
            let (recent, full) = (core.config.recent_every, core.config.full_every);
            let (recent, full) = (core.jitter(recent), core.jitter(full));
            core.timers.set(Alarm::Recent, core.now.mono + recent);
            core.timers.set(Alarm::Full, core.now.mono + full);
        }
        let dialled = core.links.get(&link).is_some_and(|link| matches!(link.info.direction, Direction::Outgoing(_)));
        if dialled && core.config.reconcile_on_connect {
            let scope = Scope::Window(window(core, Start::Full));
            self.enqueue(core, link, Job { scope, sync: None });
        }
    }

    /// It is time to reconcile with someone.
    pub(in super::super) fn periodic(&mut self, core: &mut Core, start: Start) {
        let (alarm, every) = match start {
            Start::Recent => (Alarm::Recent, core.config.recent_every),
            Start::Full => (Alarm::Full, core.config.full_every),
        };
        let wait = core.jitter(every).max(1);
        core.timers.set(alarm, core.now.mono + wait);
        let links: Vec<_> = core.ready_links().filter(|(_, link)| !link.behind).map(|(id, _)| id).collect();
        if links.is_empty() {
            return;
        }
        let link = links[core.below(links.len())];
        let scope = Scope::Window(window(core, start));
        self.enqueue(core, link, Job { scope, sync: None });
    }

    /// A link's live flood lost something on the way: repair it soon.
    pub(in super::super) fn catch_up(&mut self, core: &mut Core, link: LinkId) {
        let soon = core.now.mono + CATCH_UP_AFTER_MS;
        let at = self.caught_up_at.get(&link).map_or(soon, |last| soon.max(last + CATCH_UP_EVERY_MS));
        core.timers.set_by(Alarm::CatchUp(link), at);
    }

    pub(in super::super) fn start_catch_up(&mut self, core: &mut Core, link: LinkId) {
        if core.ready(link).is_none_or(|link| link.behind) {
            return;
        }
        self.caught_up_at.insert(link, core.now.mono);
        let scope = Scope::Window(window(core, Start::Recent));
        self.enqueue(core, link, Job { scope, sync: None });
    }

    /// The driver wants a reconciliation.
    pub(in super::super) fn sync(&mut self, core: &mut Core, token: u64, scope: Scope, link: Option<LinkId>) {
        let remaining = match link {
            Some(link) => VecDeque::from([link]),
            None => core.ready_links().map(|(id, _)| id).collect(),
        };
        let key = self.next_sync;
        self.next_sync += 1;
        let sync = Sync { token, scope, remaining, answered: 0, failed: 0, received: 0, wanted: 0, missing: 0 };
        self.syncs.insert(key, sync);
        self.next_of_sync(core, key);
    }

    /// Goes on with the next link of a synchronisation, or ends it.
    fn next_of_sync(&mut self, core: &mut Core, key: u64) {
        let Some(sync) = self.syncs.get_mut(&key) else { return };
        while let Some(link) = sync.remaining.pop_front() {
            if core.ready(link).is_none() {
                sync.failed += 1;
                continue;
            }
            let job = Job { scope: sync.scope, sync: Some(key) };
            self.enqueue(core, link, job);
            return;
        }
        if let Some(sync) = self.syncs.remove(&key) {
            let Sync { token, answered, failed, received, missing, .. } = sync;
            core.event(EngineEvent::SyncEnded { token, answered, failed, received, missing });
        }
    }

    /// Opens a session, or has it wait until the link's present one is over.
    fn enqueue(&mut self, core: &mut Core, link: LinkId, job: Job) {
        if self.opened_on(link) {
            let waiting = self.waiting.entry(link).or_default();
            if job.sync.is_some() || waiting.iter().all(|other| other.sync.is_some()) {
                waiting.push_back(job);
            }
        } else {
            self.open(core, link, job);
        }
    }

    fn opened_on(&self, link: LinkId) -> bool {
        self.by_wire.range((link, Role::Initiator, 0)..=(link, Role::Initiator, u32::MAX)).next().is_some()
    }

    fn open(&mut self, core: &mut Core, link: LinkId, job: Job) {
        let own = core.config.own;
        let salt = core.array();
        let Some(info) = core.ready(link).map(|link| link.info.clone()) else {
            return self.job_failed(core, job);
        };
        let (subject, proofs, shows) = match job.scope {
            Scope::Window(range) => (Subject { shelf: Shelf::Window, range }, Proofs::default(), true),
            Scope::Archive(tag) => {
                let Some(room) = self.rooms.iter().find(|room| room.tag == tag) else {
                    return self.job_failed(core, job);
                };
                let proofs = proofs(&room.key, &info.handshake_hash, &own, &info.peer, &salt);
                (Subject { shelf: Shelf::Archive(tag), range: ExpiryRange::ALL }, proofs, room.serve)
            }
        };
        core.counters.recon_started += 1;
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        let now = core.now.mono;
        let mut session = Session::new(link, Role::Initiator, number, subject, salt, proofs, Bytes::new(), now);
        session.shows = shows;
        session.sync = job.sync;
        self.begin(core, session);
    }

    fn job_failed(&mut self, core: &mut Core, job: Job) {
        if let Some(sync) = job.sync.and_then(|key| self.syncs.get_mut(&key)) {
            sync.failed += 1;
        }
        if let Some(key) = job.sync {
            self.next_of_sync(core, key);
        }
    }

    fn begin(&mut self, core: &mut Core, session: Session) {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        core.out.push_back(Output::ListIds(id, session.subject.shelf, session.subject.range));
        core.timers.set(Alarm::Session(id), core.now.mono + SILENCE_MS);
        self.by_wire.insert((session.link, session.role, session.number), id);
        self.sessions.insert(id, session);
    }

    /// A peer opens a session.
    pub(super) fn opened(
        &mut self,
        core: &mut Core,
        link: LinkId,
        number: u32,
        scope: OpenScope,
        salt: [u8; SALT_BYTES],
        message: Bytes,
    ) {
        let old: Vec<_> = self
            .by_wire
            .range((link, Role::Responder, 0)..=(link, Role::Responder, u32::MAX))
            .map(|(_, session)| *session)
            .collect();
        for session in old {
            // Its initiator has given it up, since it opens another.
            self.end(core, session, false);
        }
        let own = core.config.own;
        let now = core.now.mono;
        let served = self.sessions.values().filter(|session| session.role == Role::Responder).count();
        let Some(state) = core.ready(link) else { return };
        let info = state.info.clone();
        let may = state.opens.take(1, now) && served < SESSIONS_SERVED_MAX;
        let taken = match scope {
            OpenScope::Window(range) => Some((Subject { shelf: Shelf::Window, range }, Proofs::default())),
            OpenScope::Archive(proof) => self.proven(&info.handshake_hash, &info.peer, &own, &salt, &proof),
        };
        let Some((subject, proofs)) = taken.filter(|_| may) else {
            core.counters.recon_declined += 1;
            let session = SessionRef { number, sender: Role::Responder };
            return core.say(link, &Message::Recon(session, ReconBody::Decline));
        };
        core.counters.recon_served += 1;
        let session = Session::new(link, Role::Responder, number, subject, salt, proofs, message, now);
        self.begin(core, session);
    }

    /// The room that a proof shows knowledge of, if this node serves it. Looks at every room whatever the outcome.
    fn proven(
        &self,
        handshake_hash: &[u8; 32],
        initiator: &[u8; 32],
        responder: &[u8; 32],
        salt: &[u8; SALT_BYTES],
        proof: &[u8; 32],
    ) -> Option<(Subject, Proofs)> {
        let mut found = None;
        for room in &self.rooms {
            let proofs = proofs(&room.key, handshake_hash, initiator, responder, salt);
            // A `blake3::Hash` compares in constant time.
            if blake3::Hash::from(proofs.initiator) == *proof && room.serve {
                found = Some((Subject { shelf: Shelf::Archive(room.tag), range: ExpiryRange::ALL }, proofs));
            }
        }
        found
    }

    /// The store has listed the ids.
    pub(in super::super) fn ids(&mut self, core: &mut Core, id: SessionId, ids: Option<Vec<(ExpiryHour, MsgId)>>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Stage::Listing(first) = &session.stage else { return };
        let first = first.clone();
        session.heard_at = core.now.mono;
        let Some(mut ids) = ids else { return self.fail(core, id) };
        if session.subject.shelf == Shelf::Window {
            ids.retain(|(expiry, _)| freshness(*expiry, core.now.unix) == Freshness::Valid);
        }
        let frame_max = core
            .links
            .get(&session.link)
            .and_then(|link| link.hello.as_ref())
            .map_or(core.config.recon_max_bytes, |hello| hello.recon_max.min(core.config.recon_max_bytes));
        if session.load(ids, frame_max.into()).is_err() {
            return self.fail(core, id);
        }
        match session.role {
            Role::Initiator => self.first_message(core, id),
            Role::Responder => self.answer(core, id, &first),
        }
    }

    fn first_message(&mut self, core: &mut Core, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Stage::Comparing(set) = &mut session.stage else { return };
        let Ok(message) = set.initiate() else { return self.fail(core, id) };
        let scope = match session.subject.shelf {
            Shelf::Window => OpenScope::Window(session.subject.range),
            Shelf::Archive(_) => OpenScope::Archive(session.proofs.initiator),
        };
        let body = ReconBody::Open { scope, salt: session.salt, message: message.into() };
        say(core, session, body);
    }

    /// A session failed on this node's side, or by the peer's silence.
    pub(super) fn fail(&mut self, core: &mut Core, id: SessionId) {
        core.counters.recon_failed += 1;
        if let Some(session) = self.sessions.get_mut(&id) {
            core.counters.item_missing += session.give_up();
            let body = match session.role {
                Role::Initiator => ReconBody::Done,
                Role::Responder => ReconBody::Decline,
            };
            say(core, session, body);
        }
        self.end(core, id, false);
    }

    /// Looks whether a session has fallen silent.
    pub(in super::super) fn silence(&mut self, core: &mut Core, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let now = core.now.mono;
        if session.heard_at + SILENCE_MS <= now || session.begun_at + SESSION_MAX_MS <= now {
            self.fail(core, id);
        } else {
            core.timers.set(Alarm::Session(id), session.heard_at + SILENCE_MS);
        }
    }

    /// Forgets a session, whose peer has been told or is gone, and goes on with what waited for its end.
    pub(super) fn end(&mut self, core: &mut Core, id: SessionId, answered: bool) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.by_wire.remove(&(session.link, session.role, session.number));
        core.timers.clear(Alarm::Session(id));
        core.timers.clear(Alarm::Paced(id));
        if session.role == Role::Responder {
            return;
        }
        if let Some(key) = session.sync
            && let Some(sync) = self.syncs.get_mut(&key)
        {
            sync.received += session.received;
            sync.wanted += session.wanted;
            sync.missing += session.missing;
            if answered && session.cut_short && session.received > 0 {
                sync.remaining.push_front(session.link);
            } else if answered {
                sync.answered += 1;
            } else {
                sync.failed += 1;
            }
            self.next_of_sync(core, key);
        }
        self.next_on_link(core, session.link);
    }

    fn next_on_link(&mut self, core: &mut Core, link: LinkId) {
        while !self.opened_on(link) {
            let Some(job) = self.waiting.get_mut(&link).and_then(VecDeque::pop_front) else {
                self.waiting.remove(&link);
                return;
            };
            self.open(core, link, job);
        }
    }

    /// A link is closed or gone.
    pub(in super::super) fn link_closed(&mut self, core: &mut Core, link: LinkId) {
        self.caught_up_at.remove(&link);
        let waiting = self.waiting.remove(&link).unwrap_or_default();
        let sessions: Vec<_> =
            self.sessions.iter().filter(|(_, session)| session.link == link).map(|(id, _)| *id).collect();
        for id in sessions {
            core.counters.recon_failed += 1;
            if let Some(session) = self.sessions.get_mut(&id) {
                core.counters.item_missing += session.give_up();
            }
            self.end(core, id, false);
        }
        for job in waiting {
            self.job_failed(core, job);
        }
    }

    /// Tells how far a synchronisation is.
    pub(super) fn progress(&self, core: &mut Core, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        if let Some(sync) = session.sync.and_then(|key| self.syncs.get(&key)) {
            core.event(EngineEvent::SyncProgress {
                token: sync.token,
                received: sync.received + session.received,
                wanted: sync.wanted + session.wanted,
            });
        }
    }
}

/// Sends a message of a session.
pub(super) fn say(core: &mut Core, session: &Session, body: ReconBody) {
    let reference = SessionRef { number: session.number, sender: session.role };
    core.say(session.link, &Message::Recon(reference, body));
}

/// The expiry hours of the window, or of its recent part.
fn window(core: &Core, start: Start) -> ExpiryRange {
    let hour = ExpiryHour::try_from(core.now.unix / HOUR_MS).unwrap_or(ExpiryHour::MAX);
    let from = match start {
        Start::Full => hour.saturating_sub(1),
        Start::Recent => hour.saturating_add(ENVELOPE_LIFE_HOURS - RECENT_HOURS),
    };
    ExpiryRange { from, to: hour.saturating_add(ENVELOPE_LIFE_HOURS + 2) }
}
