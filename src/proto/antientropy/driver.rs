//! When to reconcile with whom, and how it ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rumormill_api::{Direction, ExpiryHour, ExpiryRange, LinkId, Millis, Shelf};

use super::super::core::{Core, Link};
use super::super::timers::Alarm;
use super::super::wire::{
    ENVELOPE_LIFE_HOURS, HOUR_MS, Message, OpenScope, ReconBody, Role, Root, SessionRef, TREE_SALT_BYTES,
};
use super::super::{EngineEvent, RoomProof, Scope, SessionId};
use super::exchange::{decline, look};
use super::proof::proofs;
use super::session::{Ended, ITEMS_MAX, Proofs, Session, Subject};
use super::tree::Question;

/// What the recent part of the window is: envelopes made within so many hours, if they were given a full life.
pub const RECENT_HOURS: u32 = 2;
/// The first link version whose sessions compare trees, and list ids of four bytes.
pub const TREE_LINK_VERSION: u8 = 3;
/// The least time between two repairs with one link, in milliseconds.
pub const CATCH_UP_EVERY_MS: Millis = 10_000;
/// How soon a repair begins at the earliest, in milliseconds.
const CATCH_UP_AFTER_MS: Millis = 500;
/// Silence of the other end after which a session has failed, in milliseconds.
pub const SILENCE_MS: Millis = 20_000;
/// Silence of the other end after which another peer is asked as well, in milliseconds: so that one question that was lost, or
/// one slow peer, doesn't take up a round. An answer that comes later is taken all the same.
pub const QUIET_MS: Millis = 5_000;
/// The longest that a session may take, in milliseconds.
pub const SESSION_MAX_MS: Millis = 1_800_000;
/// Sessions of peers that this node takes part in at a time.
pub const SESSIONS_SERVED_MAX: usize = 16;
/// Rooms whose archives this node has, at most.
const ROOMS_MAX: usize = 4_096;
/// What waits for its turn, at most.
const QUEUE_MAX: usize = 1_024;
/// How long a session about the window has the others wait, in milliseconds …
const TURN_MS: Millis = 10_000;
/// … and longer while it brings so many envelopes a second.
const TURN_ITEMS_PER_S: u64 = 64;
/// How often a node looks whether what waits may begin, in milliseconds.
const TURN_EVERY_MS: Millis = 1_000;
/// How many peers in a row may not serve what they have, or not answer, before a node waits until comparing is due again.
const IN_VAIN_MAX: usize = 8;
/// How long a peer with which comparing led to nothing isn't compared with, in milliseconds; unless the user asks.
pub const FRUITLESS_PAUSE_MS: Millis = 3_600_000;

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
    link: LinkId,
    scope: Scope,
    sync: Option<u64>,
}

/// A synchronisation that the driver asked for: one session after the other, so that no envelope comes twice.
#[derive(Debug)]
struct Sync {
    token: u64,
    scope: Scope,
    /// How many envelopes it may bring.
    limit: Option<u64>,
    remaining: VecDeque<LinkId>,
    answered: u32,
    failed: u32,
    received: u64,
    wanted: u64,
    missing: u64,
}

impl Sync {
    /// Whether it has brought all that it may.
    fn full(&self) -> bool {
        self.limit.is_some_and(|limit| self.received >= limit)
    }
}

/// The state of anti-entropy.
#[derive(Debug, Default)]
pub(in super::super) struct Recon {
    rooms: Vec<RoomProof>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) by_wire: BTreeMap<(LinkId, Role, u32), SessionId>,
    queue: VecDeque<Job>,
    syncs: BTreeMap<u64, Sync>,
    caught_up_at: BTreeMap<LinkId, Millis>,
    /// Links with which comparing led to nothing, and until when they are left alone.
    fruitless_until: BTreeMap<LinkId, Millis>,
    /// With whom comparing led to nothing since the last time that it was due: another peer is asked at once.
    in_vain: BTreeSet<LinkId>,
    /// With whom it only seems so since then, as a frame may have been lost: once all others were asked, they are asked
    /// again.
    unsure: BTreeSet<LinkId>,
    /// How often it led to nothing since then.
    vain: usize,
    /// Who was compared with since everyone else was: the others come first. A peer that keeps things to itself and says that
    /// both hold the same can't be told from one that does; so that it costs one turn, and not every second one.
    had_turn: BTreeSet<LinkId>,
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
        let Some(state) = core.links.get(&link) else { return };
        if !compares(state) {
            core.counters.recon_old_peer += 1;
        } else if matches!(state.info.direction, Direction::Outgoing(_)) && core.config.reconcile_on_connect {
            self.enqueue_window(core, link, Start::Full);
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
        self.in_vain.clear();
        self.unsure.clear();
        self.vain = 0;
        self.with_anyone(core, start);
    }

    /// Compares with a peer chosen at random: with none again with which that has just led to nothing, nor with one that has had
    /// its turn while another hasn't.
    fn with_anyone(&mut self, core: &mut Core, start: Start) {
        let now = core.now.mono;
        self.fruitless_until.retain(|_, until| *until > now);
        let comparable =
            core.ready_links().filter(|(id, link)| compares(link) && !link.behind && !self.in_vain.contains(id));
        let (left_alone, links): (Vec<_>, Vec<_>) =
            comparable.map(|(id, _)| id).partition(|link| self.vain > 0 && self.fruitless_until.contains_key(link));
        let links = if links.is_empty() { left_alone } else { links };
        let heard: Vec<_> = links.iter().copied().filter(|link| !self.unsure.contains(link)).collect();
        let links = if heard.is_empty() { links } else { heard };
        let waiting: Vec<_> = links.iter().copied().filter(|link| !self.had_turn.contains(link)).collect();
        let links = if waiting.is_empty() {
            self.had_turn.retain(|link| !links.contains(link));
            links
        } else {
            waiting
        };
        if !links.is_empty() {
            let link = links[core.below(links.len())];
            self.had_turn.insert(link);
            // Everyone else was asked: what isn't answered is asked anew.
            let quiet = self.opened_on(link).filter(|id| self.sessions.get(id).is_some_and(|open| open.quiet(now)));
            if let Some(id) = quiet.filter(|_| self.unsure.contains(&link)) {
                self.fail(core, id);
            }
            self.enqueue_window(core, link, start);
        }
    }

    /// Comparing with a peer led to nothing: asks another one. If it is `unsure` whether the peer is to blame, it is asked again
    /// after all others, once.
    fn ask_another(&mut self, core: &mut Core, link: LinkId, unsure: bool) {
        if self.vain >= IN_VAIN_MAX {
            return;
        }
        self.vain += 1;
        if !unsure || !self.unsure.insert(link) {
            self.in_vain.insert(link);
        }
        self.with_anyone(core, Start::Full);
    }

    /// A link's live flood lost something on the way: repair it soon.
    pub(in super::super) fn catch_up(&mut self, core: &mut Core, link: LinkId) {
        let soon = core.now.mono + CATCH_UP_AFTER_MS;
        let at = self.caught_up_at.get(&link).map_or(soon, |last| soon.max(last + CATCH_UP_EVERY_MS));
        core.timers.set_by(Alarm::CatchUp(link), at);
    }

    pub(in super::super) fn start_catch_up(&mut self, core: &mut Core, link: LinkId) {
        if core.ready(link).is_none_or(|link| link.behind || !compares(link)) {
            return;
        }
        self.caught_up_at.insert(link, core.now.mono);
        self.enqueue_window(core, link, Start::Recent);
    }

    /// Compares the window. All of it, since equal hours cost a few bytes, and what was made for a short life isn't in its
    /// recent part; but the recent part alone with a peer that, say by evictions, differs in what neither can mend.
    fn enqueue_window(&mut self, core: &mut Core, link: LinkId, start: Start) {
        let mut range = all_valid(core);
        if start == Start::Recent && self.fruitless_until.contains_key(&link) {
            range.from = range.to - 1 - RECENT_HOURS;
        }
        self.enqueue(core, Job { link, scope: Scope::Window(range), sync: None });
    }

    /// The driver wants a reconciliation.
    pub(in super::super) fn sync(
        &mut self,
        core: &mut Core,
        token: u64,
        scope: Scope,
        link: Option<LinkId>,
        limit: Option<u64>,
    ) {
        let remaining = match link {
            Some(link) => VecDeque::from([link]),
            None => core.ready_links().map(|(id, _)| id).collect(),
        };
        let key = self.next_sync;
        self.next_sync += 1;
        let sync = Sync { token, scope, limit, remaining, answered: 0, failed: 0, received: 0, wanted: 0, missing: 0 };
        self.syncs.insert(key, sync);
        self.next_of_sync(core, key);
    }

    /// Goes on with the next link of a synchronisation, or ends it.
    fn next_of_sync(&mut self, core: &mut Core, key: u64) {
        let Some(sync) = self.syncs.get_mut(&key) else { return };
        if sync.full() {
            sync.remaining.clear();
        }
        while let Some(link) = sync.remaining.pop_front() {
            if core.ready(link).is_none_or(|link| !compares(link)) {
                sync.failed += 1;
                continue;
            }
            let job = Job { link, scope: sync.scope, sync: Some(key) };
            self.enqueue(core, job);
            return;
        }
        if let Some(sync) = self.syncs.remove(&key) {
            let Sync { token, answered, failed, received, missing, .. } = sync;
            core.event(EngineEvent::SyncEnded { token, answered, failed, received, missing });
        }
    }

    /// Opens a session, now or when it is its turn.
    fn enqueue(&mut self, core: &mut Core, job: Job) {
        let same = |other: &Job| other.link == job.link && other.sync.is_none();
        if job.sync.is_none() && (self.queue.len() >= QUEUE_MAX || self.queue.iter().any(same)) {
            return;
        }
        self.queue.push_back(job);
        self.take_turns(core);
    }

    /// Opens what may be opened: one session on a link, and of those about the window one at a time, since two would bring the
    /// same envelopes twice. One that is slow doesn't hold the others up for long.
    pub(in super::super) fn take_turns(&mut self, core: &mut Core) {
        let mut at = 0;
        while let Some(job) = self.queue.get(at).copied() {
            let window = matches!(job.scope, Scope::Window(_));
            if self.opened_on(job.link).is_some() || window && self.brings(core.now.mono, None) {
                at += 1;
                continue;
            }
            self.queue.remove(at);
            self.open(core, job);
        }
        if !self.queue.is_empty() {
            core.timers.set_by(Alarm::Turn, core.now.mono + TURN_EVERY_MS);
        }
    }

    fn opened_on(&self, link: LinkId) -> Option<SessionId> {
        self.by_wire.range((link, Role::Initiator, 0)..=(link, Role::Initiator, u32::MAX)).next().map(|(_, id)| *id)
    }

    /// Whether another session than `but` is about to bring, or brings, what the window lacks.
    fn brings(&self, now: Millis, but: Option<SessionId>) -> bool {
        self.sessions.iter().any(|(id, session)| {
            let age = now.saturating_sub(session.begun_at);
            Some(*id) != but
                && !session.is_archive()
                && (session.role == Role::Initiator || session.takes())
                && !session.quiet(now)
                && (age < TURN_MS || session.received > age * TURN_ITEMS_PER_S / 1_000)
        })
    }

    /// Whether another session brings what the window lacks now.
    pub(super) fn brings_elsewhere(&self, now: Millis, but: SessionId) -> bool {
        self.sessions.iter().any(|(id, session)| {
            let age = now.saturating_sub(session.begun_at);
            *id != but
                && !session.is_archive()
                && session.takes()
                && !session.quiet(now)
                && (age < TURN_MS || session.received > age * TURN_ITEMS_PER_S / 1_000)
        })
    }

    /// Ends an own session to begin it anew when what comes by another has come.
    pub(super) fn put_off(&mut self, core: &mut Core, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let scope = match session.subject.shelf {
            Shelf::Window => Scope::Window(session.subject.range),
            Shelf::Archive(tag) => Scope::Archive(tag),
        };
        let job = Job { link: session.link, scope, sync: session.sync.take() };
        if let Some(sync) = job.sync.and_then(|key| self.syncs.get_mut(&key)) {
            sync.received += session.received;
            sync.missing += session.missing;
        }
        say(core, session, ReconBody::Done);
        self.queue.push_back(job);
        self.end(core, id, Ended::PutOff);
    }

    fn open(&mut self, core: &mut Core, job: Job) {
        let own = core.config.own;
        let mut salt = [0; TREE_SALT_BYTES];
        salt.copy_from_slice(&core.array()[..TREE_SALT_BYTES]);
        let Some(info) = core.ready(job.link).filter(|link| compares(link)).map(|link| link.info.clone()) else {
            return self.job_failed(core, job);
        };
        let (subject, proofs, shows) = match job.scope {
            Scope::Window(range) => {
                (Subject { shelf: Shelf::Window, range: valid(core, range) }, Proofs::default(), true)
            }
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
        let mut session = Session::new(job.link, Role::Initiator, number, subject, salt, proofs, core.now.mono);
        session.shows = shows;
        session.sync = job.sync;
        let sync = job.sync.and_then(|key| self.syncs.get(&key));
        session.limit = sync.and_then(|sync| Some(sync.limit?.saturating_sub(sync.received)));
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
        look(core, id, &session, Question::Root);
        core.timers.set(Alarm::Session(id), core.now.mono + QUIET_MS);
        self.by_wire.insert((session.link, session.role, session.number), id);
        self.sessions.insert(id, session);
    }

    /// A peer opens a session.
    #[expect(clippy::too_many_arguments, reason = "each argument is a field of BEGIN")]
    pub(super) fn begun(
        &mut self,
        core: &mut Core,
        link: LinkId,
        number: u32,
        scope: OpenScope,
        takes_only: bool,
        salt: [u8; TREE_SALT_BYTES],
        root: Root,
    ) {
        let old: Vec<_> = self
            .by_wire
            .range((link, Role::Responder, 0)..=(link, Role::Responder, u32::MAX))
            .map(|(_, session)| *session)
            .collect();
        for session in old {
            // Its initiator has given it up, since it opens another.
            self.end(core, session, Ended::Refused);
        }
        let own = core.config.own;
        let now = core.now.mono;
        let served = self.sessions.values().filter(|session| session.role == Role::Responder).count();
        let Some(state) = core.ready(link) else { return };
        let info = state.info.clone();
        let may = compares(state) && state.opens.take(1, now) && served < SESSIONS_SERVED_MAX;
        let taken = match scope {
            OpenScope::Window(range) => {
                Some((Subject { shelf: Shelf::Window, range: valid(core, range) }, Proofs::default()))
            }
            OpenScope::Archive(proof) => self.proven(&info.handshake_hash, &info.peer, &own, &salt, &proof),
        };
        let Some((subject, proofs)) = taken.filter(|_| may) else { return decline(core, link, number) };
        core.counters.recon_served += 1;
        let mut session = Session::new(link, Role::Responder, number, subject, salt, proofs, now);
        session.root = root;
        session.takes_only = takes_only;
        self.begin(core, session);
    }

    /// The room that a proof shows knowledge of, if this node serves it. Looks at every room whatever the outcome.
    fn proven(
        &self,
        handshake_hash: &[u8; 32],
        initiator: &[u8; 32],
        responder: &[u8; 32],
        salt: &[u8; TREE_SALT_BYTES],
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

    /// A session failed on this node's side, or by the peer's silence.
    pub(super) fn fail(&mut self, core: &mut Core, id: SessionId) {
        core.counters.recon_failed += 1;
        if let Some(session) = self.sessions.get_mut(&id) {
            let body = match session.role {
                Role::Initiator => ReconBody::Done,
                Role::Responder => ReconBody::Decline,
            };
            say(core, session, body);
        }
        self.end(core, id, Ended::Failed);
    }

    /// Looks whether a session has fallen silent.
    pub(in super::super) fn silence(&mut self, core: &mut Core, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let now = core.now.mono;
        if session.heard_at + SILENCE_MS <= now || session.begun_at + SESSION_MAX_MS <= now {
            return self.fail(core, id);
        }
        let silent = session.heard_at + SILENCE_MS;
        let quiet = session.heard_at + QUIET_MS;
        core.timers.set(Alarm::Session(id), if quiet > now { quiet } else { silent.min(now + QUIET_MS) });
        if !session.quiet(now) || session.is_archive() || session.passed_over {
            return;
        }
        session.passed_over = true;
        let (link, own) = (session.link, session.role == Role::Initiator && session.sync.is_none());
        self.take_turns(core);
        if own {
            self.ask_another(core, link, true);
        }
    }

    /// Forgets a session, whose peer has been told or is gone, and goes on with what waited for its end.
    pub(super) fn end(&mut self, core: &mut Core, id: SessionId, ended: Ended) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.by_wire.remove(&(session.link, session.role, session.number));
        core.timers.clear(Alarm::Session(id));
        core.timers.clear(Alarm::Paced(id));
        let answered = ended.answered();
        if let Some(key) = session.sync
            && let Some(sync) = self.syncs.get_mut(&key)
        {
            sync.received += session.received;
            sync.wanted += session.wanted.max(session.received);
            sync.missing += session.missing;
            if answered && session.received >= ITEMS_MAX && !sync.full() {
                sync.remaining.push_front(session.link);
            } else if answered {
                sync.answered += 1;
            } else {
                sync.failed += 1;
            }
            self.next_of_sync(core, key);
        }
        if !session.is_archive() {
            self.learn_from(core, &session, ended);
        }
        self.take_turns(core);
    }

    /// What the end of a session about the window says about whom to compare with next.
    fn learn_from(&mut self, core: &mut Core, session: &Session, ended: Ended) {
        if session.received > 0 || session.waiting > 0 {
            // What comes by repair isn't flooded, so the other links may lack it. Without this each hop would wait for its
            // minute; where nothing is lacking it costs a few dozen bytes a link, and at most once in CATCH_UP_EVERY_MS. Who
            // brought it may have more: of what it sent something may have been lost.
            let links: Vec<_> = core.ready_links().map(|(id, _)| id).collect();
            for link in links {
                self.catch_up(core, link);
            }
        }
        // Who failed and was passed over has been counted already.
        let in_vain = if ended.answered() { session.withheld() } else { !session.passed_over };
        if session.role == Role::Responder || ended == Ended::PutOff || !in_vain {
            return;
        }
        core.counters.recon_fruitless += u64::from(ended.answered());
        if session.fruitless > 1 {
            self.fruitless_until.insert(session.link, core.now.mono + FRUITLESS_PAUSE_MS);
        }
        if session.sync.is_none() {
            // A frame was lost, perhaps; or the two ends counted at different times.
            let unsure = ended == Ended::Failed || ended.answered() && session.given > 0;
            self.ask_another(core, session.link, unsure);
        }
    }

    /// A link is closed or gone.
    pub(in super::super) fn link_closed(&mut self, core: &mut Core, link: LinkId) {
        self.caught_up_at.remove(&link);
        self.fruitless_until.remove(&link);
        let (waiting, queue): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(|job| job.link == link);
        self.queue = queue.into();
        let sessions: Vec<_> =
            self.sessions.iter().filter(|(_, session)| session.link == link).map(|(id, _)| *id).collect();
        for id in sessions {
            core.counters.recon_failed += 1;
            self.end(core, id, Ended::Refused);
        }
        for job in waiting {
            self.job_failed(core, job);
        }
        // What its sessions' ends led to is forgotten as well.
        self.in_vain.remove(&link);
        self.unsure.remove(&link);
        self.had_turn.remove(&link);
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

/// Whether sessions can be had with a link.
fn compares(link: &Link) -> bool {
    link.hello.as_ref().is_some_and(|hello| hello.version_max >= TREE_LINK_VERSION)
}

/// The expiry hours of what is valid now.
fn all_valid(core: &Core) -> ExpiryRange {
    let hour = ExpiryHour::try_from(core.now.unix / HOUR_MS).unwrap_or(ExpiryHour::MAX);
    ExpiryRange { from: hour, to: hour.saturating_add(ENVELOPE_LIFE_HOURS + 1) }
}

/// What of a range is valid now: what has expired is neither listed nor wanted.
fn valid(core: &Core, range: ExpiryRange) -> ExpiryRange {
    let valid = all_valid(core);
    ExpiryRange { from: range.from.max(valid.from), to: range.to.min(valid.to) }
}
