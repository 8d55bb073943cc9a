//! The driver: feeds the engine what the links, the vault, the timers and the handle say, and carries out what it
//! answers. One task owns the engine; no lock is held across an await.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data_encoding::HEXLOWER;
use rumormill_api::{
    Dedup, Direction, ExpiryHour, ExpiryRange, Frame, LinkEvent, LinkId, LinkInfo, Links, MsgId, PeerAddr, SendError,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::announce::Announcer;
use super::api::{Event, LoadReport, NoticeLevel, PeerInfo};
use super::clock::Clock;
use super::ext::Passing;
use super::outbox::Outbox;
use super::relays::Relays;
use super::shared::Shared;
use super::vault::{Command, Reply, Standing, ToVault};
use super::watch::ClockWatch;
use crate::proto::wire;
use crate::proto::{Engine, EngineEvent, Input, Now, Output, Scope, Timer};

/// How many link events wait for the driver: past it, transports stop reading. Each can be a batch of 64 KiB, and a link
/// waits with its next one until there is room.
pub(crate) const LINK_EVENTS_MAX: usize = 64;

/// How many link events one turn takes in before its outputs are carried out.
const TURN_EVENTS_MAX: usize = 64;

/// A turn so soon after the one before lets others go first, in milliseconds. After a pause nothing waits.
const BUSY_WITHIN_MS: u64 = 1;

/// After how many turns in a row without a pause the engine's counters are shown all the same.
const TURNS_PER_COUNT: u32 = 64;

/// How often the driver looks after the store and its own record, in milliseconds.
const HOUSEKEEPING_MS: u64 = 5_000;

/// How long after the start a node without any peer says so, in milliseconds.
const LONELY_AFTER_MS: u64 = 10_000;

/// How often what has expired is removed, in milliseconds.
const PRUNE_INTERVAL_MS: u64 = 10 * 60_000;

/// How often the addresses of peers are kept, in milliseconds.
const SAVE_ADDRESSES_INTERVAL_MS: u64 = 10 * 60_000;

/// How long the links may take at the end to write what they have to write, in milliseconds: a little more than a
/// transport gives a link that is closed.
const STOP_FLUSH_MAX_MS: u64 = 1_500;

/// What the handle asks of the driver.
pub(super) enum Request {
    /// Load a chat's history.
    Load { room: usize, chat: Arc<str>, limit: Option<u64>, reply: oneshot::Sender<LoadReport> },
    /// Stop.
    Stop,
}

/// A history that is being loaded.
struct Load {
    chat: Arc<str>,
    room: usize,
    /// How many envelopes may be taken out of archives.
    limit: Option<u64>,
    /// The archive that is asked for when the window has been compared.
    then: Option<rumormill_api::RoomTag>,
    /// The syncs that haven't ended.
    open: usize,
    report: LoadReport,
    new_before: u64,
    reply: Option<oneshot::Sender<LoadReport>>,
    received: BTreeMap<u64, (u64, u64)>,
}

/// When what is done from time to time is to be done again.
struct Watch {
    prune_at: u64,
    save_at: u64,
}

pub(super) struct Driver {
    pub(super) engine: Engine<Box<dyn Dedup>>,
    pub(super) links: BTreeMap<&'static str, Box<dyn Links>>,
    pub(super) events: mpsc::Receiver<LinkEvent>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) vault: ToVault,
    pub(super) replies: mpsc::UnboundedReceiver<Reply>,
    pub(super) retry_wanted: Arc<AtomicBool>,
    pub(super) announcer: Announcer,
    /// The peers that the config names.
    pub(super) named: Vec<PeerAddr>,
    /// The archive's tag of each room that this node can prove, by the room's place in the config.
    pub(super) archives: Vec<Option<rumormill_api::RoomTag>>,
    pub(super) clock: Arc<dyn Clock>,
    /// The time of this turn.
    pub(super) now: Now,
    pub(super) relays: Relays,
    pub(super) shared: Arc<Shared>,
    pub(super) state: DriverState,
}

/// A part of an archive that is to be read: the room, the load, and behind which message.
type VerifyPart = (usize, u64, Option<(ExpiryHour, MsgId)>);

/// What the driver keeps for itself.
#[derive(Default)]
pub(super) struct DriverState {
    outbox: Outbox,
    /// Turns since the counters were shown.
    uncounted: u32,
    timers: BTreeMap<(u64, u64), Timer>,
    timers_set: u64,
    schemes: HashMap<LinkId, &'static str>,
    loads: BTreeMap<u64, Load>,
    /// Which load a sync's token belongs to.
    tokens: BTreeMap<u64, u64>,
    next_token: u64,
    /// Parts of archives that are to be read for a load.
    verify_due: VecDeque<VerifyPart>,
    watch: Option<Watch>,
    clock: ClockWatch,
    /// Why the peers that the config names weren't reached, until that is told.
    unreached: BTreeMap<PeerAddr, String>,
    told_lonely: bool,
    started: Option<u64>,
}

impl DriverState {
    /// The token of a further sync of a load.
    fn token_of(&mut self, load: u64) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.tokens.insert(token, load);
        token
    }
}

/// Why the driver woke up.
enum Wake {
    Links,
    Reply(Reply),
    Relay(MsgId, bool),
    Request(Request),
    Timers,
    Housekeeping,
}

impl Driver {
    /// Runs until asked to stop; then everything that was accepted is durable and every link is closed.
    pub(super) async fn run(mut self) {
        let mut housekeeping = tokio::time::interval(Duration::from_millis(HOUSEKEEPING_MS));
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut events = Vec::with_capacity(TURN_EVENTS_MAX);
        let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
        let mut armed = None;
        self.now = self.clock.now();
        self.carry_out().await;
        self.go_on_reading().await;
        loop {
            let due = self.state.timers.keys().next().map(|(at, _)| *at);
            if let Some(at) = due.filter(|_| due != armed) {
                let wait = at.saturating_sub(self.clock.now().mono);
                alarm.as_mut().reset(Instant::now() + Duration::from_millis(wait));
            }
            armed = due;
            let wake = tokio::select! {
                // Whatever else waits shares this turn's outputs: one write per link for all of it.
                1.. = self.events.recv_many(&mut events, TURN_EVENTS_MAX) => Wake::Links,
                Some(reply) = self.replies.recv() => Wake::Reply(reply),
                Some((id, pass)) = self.relays.answer() => Wake::Relay(id, pass),
                Some(request) = self.requests.recv() => Wake::Request(request),
                () = &mut alarm, if due.is_some() => Wake::Timers,
                _ = housekeeping.tick() => Wake::Housekeeping,
            };
            let before = std::mem::replace(&mut self.now, self.clock.now());
            if matches!(wake, Wake::Links) && self.now.mono <= before.mono + BUSY_WITHIN_MS {
                self.gather(&mut events).await;
            }
            if let Some(ask) = self.relays.changed() {
                self.feed(Input::AskRelays(ask));
            }
            match wake {
                Wake::Links => events.drain(..).for_each(|event| self.link_event(event)),
                Wake::Reply(reply) => {
                    self.reply(reply);
                    while let Ok(reply) = self.replies.try_recv() {
                        self.reply(reply);
                    }
                }
                Wake::Relay(id, pass) => {
                    self.feed(Input::Relay { id, pass });
                    while let Some((id, pass)) = self.relays.answered() {
                        self.feed(Input::Relay { id, pass });
                    }
                }
                Wake::Request(Request::Load { room, chat, limit, reply }) => self.load(room, chat, limit, reply).await,
                Wake::Request(Request::Stop) => break,
                Wake::Timers => {
                    armed = None;
                    self.fire_timers();
                }
                Wake::Housekeeping => self.keep_house().await,
            }
            self.carry_out().await;
            self.go_on_reading().await;
            self.show_counters();
            // The request to stop finds no place in a full queue; that there is one is seen here.
            if self.shared.stopping() {
                break;
            }
        }
        self.stop().await;
    }

    /// Lets whoever is ready to run go first, links with something to read among them, and takes in what they bring: the fewer
    /// turns, the fewer wake-ups and writes.
    async fn gather(&mut self, events: &mut Vec<LinkEvent>) {
        tokio::task::yield_now().await;
        while events.len() < TURN_EVENTS_MAX
            && let Ok(event) = self.events.try_recv()
        {
            events.push(event);
        }
    }

    fn feed(&mut self, input: Input) {
        self.engine.handle(input, self.now);
    }

    /// Shows the engine's counters as they stand, before a pause or after many turns without one.
    fn show_counters(&mut self) {
        self.state.uncounted += 1;
        if self.events.is_empty() || self.state.uncounted >= TURNS_PER_COUNT {
            self.state.uncounted = 0;
            self.shared.set_engine_counters(self.engine.counters());
        }
    }

    fn link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Listening(addr) => self.announcer.listening(addr),
            LinkEvent::Up(link, info) => {
                let scheme = self.links.keys().find(|scheme| **scheme == info.remote.scheme());
                if let Some(scheme) = scheme {
                    self.state.schemes.insert(link, scheme);
                    self.feed(Input::LinkUp(link, info));
                }
            }
            LinkEvent::Batch(link, batch) => self.feed(Input::Batch(link, batch)),
            LinkEvent::Drained(link) => self.feed(Input::LinkDrained(link)),
            LinkEvent::Down(link, reason) => {
                tracing::debug!(%link, ?reason, "link down");
                self.state.schemes.remove(&link);
                self.state.outbox.forget(link);
                self.state.clock.forget(link);
                self.feed(Input::LinkDown(link));
                self.shared.peer_down(link);
            }
            LinkEvent::DialFailed(addr, reason) => {
                tracing::debug!(%addr, %reason, "dialling failed");
                if self.named.contains(&addr) && !self.state.told_lonely {
                    self.state.unreached.insert(addr.clone(), reason);
                }
                self.feed(Input::DialFailed(addr));
            }
        }
    }

    fn reply(&mut self, reply: Reply) {
        match reply {
            Reply::Publish(envelopes) => {
                for envelope in envelopes {
                    self.feed(Input::Publish(envelope));
                }
            }
            Reply::Known(id, known) => self.feed(Input::Known { id, known }),
            Reply::Found(session, finding) => self.feed(Input::Found(session, finding)),
            Reply::Fetched(session, envelopes) => self.feed(Input::Fetched(session, envelopes)),
            Reply::Verified(load, next) => self.verified(load, next),
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now;
        while let Some(entry) = self.state.timers.first_entry()
            && entry.key().0 <= now.mono
        {
            let timer = entry.remove();
            self.engine.handle(Input::Timer(timer), now);
        }
    }

    /// Carries out the engine's outputs, relaying first: every link gets its frames together, then the vault what was
    /// accepted and asked, in order. Only the vault is waited for, when its queue is full.
    async fn carry_out(&mut self) {
        loop {
            let mut outputs = std::mem::take(&mut self.state.outbox.outputs);
            outputs.extend(self.engine.outputs());
            let done = outputs.is_empty();
            for output in outputs.drain(..) {
                match output {
                    Output::Send(link, frame) if wire::is_bulk(&frame) => self.state.outbox.bulk.push(link, frame),
                    Output::Send(link, frame) => self.state.outbox.frames.push(link, frame),
                    Output::Dial(addr) => self.dial(&addr),
                    Output::Close(link) => self.close(link),
                    Output::Accept(one) => self.state.outbox.accepted.push(one),
                    Output::MayRelay { id, size, link } => self.ask_to_relay(id, size, link),
                    Output::SetTimer(timer, at) => {
                        self.state.timers_set += 1;
                        self.state.timers.insert((at, self.state.timers_set), timer);
                    }
                    Output::Event(event) => self.engine_event(event).await,
                    Output::Ask(id) => self.ask(Command::Ask(id)),
                    Output::Look(session, look) => self.ask(Command::Look(session, look)),
                    Output::Fetch(session, shelf, ids) => self.ask(Command::Fetch(session, shelf, ids)),
                }
            }
            self.state.outbox.give_back(outputs);
            if done {
                break;
            }
            self.flush();
        }
        self.hand_over().await;
    }

    /// Asks the hooks' filter; a link that is gone already was nobody's to judge by.
    fn ask_to_relay(&mut self, id: MsgId, size: usize, link: LinkId) {
        match self.shared.peer(link) {
            Some(link) => self.relays.ask(Passing { id, size, link }),
            None => self.feed(Input::Relay { id, pass: true }),
        }
    }

    /// A question to the vault comes after what was accepted before it, so that the answer counts that in.
    fn ask(&mut self, command: Command) {
        let outbox = &mut self.state.outbox;
        if !outbox.accepted.is_empty() {
            outbox.commands.push(Command::accept(std::mem::take(&mut outbox.accepted)));
        }
        outbox.commands.push(command);
    }

    /// Hands every link what it is to send, and then what can wait.
    fn flush(&mut self) {
        let Self { links, shared, engine, state, now, .. } = self;
        let DriverState { outbox, schemes, .. } = state;
        let links_of = |link: LinkId| schemes.get(&link).and_then(|scheme| links.get(scheme));
        outbox.frames.flush(|link, frames| {
            let Some(links) = links_of(link) else { return };
            if hand_on(link, frames, shared, |frames| links.try_send_all(link, frames)) == Err(SendError::Full) {
                engine.handle(Input::LinkFull(link), *now);
            }
        });
        outbox.bulk.flush(|link, frames| {
            let Some(links) = links_of(link) else { return };
            if hand_on(link, frames, shared, |frames| links.try_send_bulk(link, frames)) == Err(SendError::Full) {
                // The session misses it, fails, and another brings what this one didn't.
                shared.count("bulk_full");
            }
        });
    }

    fn close(&mut self, link: LinkId) {
        let mut last_words = self.state.outbox.frames.take(link);
        if let Some(links) = self.links_of(link) {
            // A link that can't take them is closed without.
            let _ = links.try_send_all(link, &mut last_words);
            links.close(link);
        }
    }

    /// Hands the vault what this turn has for it, waiting while it has too much already.
    async fn hand_over(&mut self) {
        for command in self.state.outbox.commands.drain(..) {
            self.vault.send(command).await;
        }
        if !self.state.outbox.accepted.is_empty() {
            self.vault.send(Command::accept(std::mem::take(&mut self.state.outbox.accepted))).await;
        }
    }

    fn links_of(&self, link: LinkId) -> Option<&dyn Links> {
        let scheme = self.state.schemes.get(&link)?;
        self.links.get(scheme).map(|links| &**links)
    }

    fn dial(&mut self, addr: &PeerAddr) {
        match self.links.get(addr.scheme()) {
            Some(links) => links.dial(addr),
            None => self.feed(Input::DialFailed(addr.clone())),
        }
    }

    async fn engine_event(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::PeerUp(link, info) => self.shared.peer_up(link, peer_info(&info)),
            EngineEvent::PeerDown(link) => self.shared.peer_down(link),
            EngineEvent::PeerClock(link, theirs) => self.state.clock.hear(link, theirs, self.now),
            EngineEvent::SeenAs(addr) => {
                if let Some(record) = self.announcer.seen_as(&addr, self.now.unix) {
                    self.feed(Input::OwnRecord(Some(record)));
                }
            }
            EngineEvent::SyncProgress { token, received, wanted } => self.progress(token, received, wanted),
            EngineEvent::SyncEnded { token, answered, failed, received, missing } => {
                // The vault's answer is waited for; the links aren't to.
                self.flush();
                self.hand_over().await;
                self.sync_ended(token, answered, failed, received, missing).await;
            }
        }
    }

    async fn load(&mut self, room: usize, chat: Arc<str>, limit: Option<u64>, reply: oneshot::Sender<LoadReport>) {
        let new_before = self.standing(room).await.new;
        let load_id = self.state.next_token;
        self.state.next_token += 1;
        let load = Load {
            chat,
            room,
            limit,
            then: None,
            open: 0,
            report: LoadReport::default(),
            new_before,
            reply: Some(reply),
            received: BTreeMap::new(),
        };
        self.state.loads.insert(load_id, load);
        self.state.verify_due.push_back((room, load_id, None));
    }

    /// A part of the archive was read for a load. Once all of it was, and what is damaged is known to be missing, the
    /// peers are asked.
    fn verified(&mut self, load_id: u64, next: Option<(ExpiryHour, MsgId)>) {
        let Some(load) = self.state.loads.get_mut(&load_id) else { return };
        let room = load.room;
        if next.is_some() {
            self.state.verify_due.push_back((room, load_id, next));
            return;
        }
        let mut scopes = vec![Scope::Window(ExpiryRange::ALL)];
        // Where only some of the archive is wanted, it shouldn't be what comes with the window anyway.
        match load.limit {
            Some(_) => load.then = self.archives[room],
            None => scopes.extend(self.archives[room].map(Scope::Archive)),
        }
        load.open = scopes.len();
        for scope in scopes {
            let token = self.state.token_of(load_id);
            self.feed(Input::Sync { token, scope, link: None });
        }
    }

    /// Asks the vault for the next parts of what it is read through for.
    async fn go_on_reading(&mut self) {
        while let Some((room, load, after)) = self.state.verify_due.pop_front() {
            self.vault.send(Command::Verify(room, load, after)).await;
        }
    }

    fn progress(&mut self, token: u64, received: u64, wanted: u64) {
        let Some(load) = self.state.tokens.get(&token).and_then(|id| self.state.loads.get_mut(id)) else { return };
        load.received.insert(token, (received, wanted));
        let (received, wanted) = load.received.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        self.shared.emit(Event::Loading { chat: Arc::clone(&load.chat), received, wanted });
    }

    async fn sync_ended(&mut self, token: u64, answered: u32, failed: u32, received: u64, missing: u64) {
        let Some(id) = self.state.tokens.remove(&token) else { return };
        let Some(load) = self.state.loads.get_mut(&id) else { return };
        // Both syncs speak with the same peers: a peer counts once.
        load.report.answered = load.report.answered.max(answered);
        load.report.failed = load.report.failed.max(failed);
        load.report.missing += missing;
        load.open -= 1;
        if load.open > 0 {
            return;
        }
        if let Some((room, limit)) = load.then.take().zip(load.limit) {
            load.open = 1;
            let token = self.state.token_of(id);
            return self.feed(Input::SyncNewest { token, room, limit });
        }
        // With a limit the archive is the last that ends, where there is one.
        let archive = self.archives[load.room].is_some();
        load.report.more = archive && load.limit.is_some_and(|limit| received >= limit);
        let Some(mut load) = self.state.loads.remove(&id) else { return };
        let standing = self.standing(load.room).await;
        load.report.new = standing.new.saturating_sub(load.new_before);
        load.report.missing = standing.missing;
        load.report.oldest = standing.oldest;
        if let Some(reply) = load.reply.take() {
            let _ = reply.send(load.report);
        }
    }

    async fn standing(&mut self, room: usize) -> Standing {
        let (reply, answer) = oneshot::channel();
        self.vault.send(Command::Standing(room, reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Tells once that no peer could be reached, and why: else a wrong port is silent for ever.
    fn tell_lonely(&mut self, now: Now) {
        if self.state.told_lonely || now.mono < self.state.started.unwrap_or(now.mono) + LONELY_AFTER_MS {
            return;
        }
        self.state.told_lonely = true;
        let unreached = std::mem::take(&mut self.state.unreached);
        if self.shared.peers().is_empty() && !unreached.is_empty() {
            let reasons: Vec<_> = unreached.iter().map(|(addr, reason)| format!("{addr} ({reason})")).collect();
            let text = format!("no peer reached yet, trying on: {}", reasons.join(", "));
            self.shared.notice(NoticeLevel::Warning, "node", text);
        }
    }

    async fn keep_house(&mut self) {
        let now = self.clock.now();
        self.state.started.get_or_insert(now.mono);
        self.tell_lonely(now);
        if self.retry_wanted.load(Ordering::Acquire) {
            self.vault.send(Command::Retry).await;
        }
        if let Some(record) = self.announcer.renew(now.unix) {
            self.feed(Input::OwnRecord(Some(record)));
        }
        for (level, text) in self.state.clock.look(now) {
            self.shared.notice(level, "node", text);
        }
        let watch = self.state.watch.get_or_insert(Watch {
            prune_at: now.mono + PRUNE_INTERVAL_MS,
            save_at: now.mono + SAVE_ADDRESSES_INTERVAL_MS,
        });
        // By a clock that nobody confirms nothing is removed; it is tried again soon.
        let prune = now.mono >= watch.prune_at && self.state.clock.trusted(now);
        let save = now.mono >= watch.save_at;
        if prune {
            watch.prune_at = now.mono + PRUNE_INTERVAL_MS;
        }
        if save {
            watch.save_at = now.mono + SAVE_ADDRESSES_INTERVAL_MS;
        }
        if prune {
            let hour = u32::try_from(now.unix / 3_600_000).unwrap_or(u32::MAX);
            self.vault.send(Command::Prune(hour)).await;
        }
        if save {
            self.save_addresses().await;
        }
    }

    async fn save_addresses(&mut self) {
        let addresses = super::announce::encode_addresses(&self.engine.addresses());
        self.vault.send(Command::SaveAddresses(addresses)).await;
    }

    async fn stop(mut self) {
        self.now = self.clock.now();
        // What waits for a filter's word is passed on: the word may not come any more.
        self.feed(Input::AskRelays(false));
        self.carry_out().await;
        self.save_addresses().await;
        self.vault.send(Command::Stop).await;
        // The vault drops its end of the replies once everything is durable. What it acknowledged is flooded still.
        while let Some(reply) = self.replies.recv().await {
            self.now = self.clock.now();
            self.reply(reply);
            self.carry_out().await;
        }
        for (link, scheme) in &self.state.schemes {
            if let Some(links) = self.links.get(scheme) {
                links.close(*link);
            }
        }
        let _ = tokio::time::timeout(Duration::from_millis(STOP_FLUSH_MAX_MS), self.links_down()).await;
    }

    /// Until every link has written what it had to write, or has given up.
    async fn links_down(&mut self) {
        while !self.state.schemes.is_empty() {
            match self.events.recv().await {
                Some(LinkEvent::Down(link, _)) => {
                    self.state.schemes.remove(&link);
                    self.shared.peer_down(link);
                }
                Some(LinkEvent::Up(link, info)) => {
                    if let Some(links) = self.links.get(info.remote.scheme()) {
                        links.close(link);
                    }
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}

/// Hands a link its frames; one that the transport refuses is left out.
fn hand_on(
    link: LinkId,
    frames: &mut Vec<Frame>,
    shared: &Shared,
    mut send: impl FnMut(&mut Vec<Frame>) -> Result<(), SendError>,
) -> Result<(), SendError> {
    loop {
        match send(frames) {
            Err(SendError::Invalid) => {
                shared.count("invalid_frame");
                tracing::error!(%link, "the engine made a frame that the transport refuses");
                frames.remove(0);
            }
            result => return result,
        }
    }
}

fn peer_info(info: &LinkInfo) -> PeerInfo {
    let (addr, outgoing) = match &info.direction {
        Direction::Outgoing(addr) => (addr.clone(), true),
        Direction::Incoming => (info.remote.clone(), false),
    };
    PeerInfo { addr, outgoing, fingerprint: HEXLOWER.encode(&info.peer[..4]) }
}
