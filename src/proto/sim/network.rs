//! What happens in a simulation: events, and what engines' outputs lead to.

use bytes::Bytes;
use rand_core::Rng;
use rumormill_api::{Dedup, ExpiryHour, LinkId, Millis, MsgId, PeerAddr, Shelf};

use super::faults::messages;
use super::shelf::Reading;
use super::{End, Event, Handshake, START_UNIX_MS, Sim};
use crate::proto::wire::HOUR_MS;
use crate::proto::{Accepted, EngineEvent, Finding, Input, Look, Opinion, Output, Tree};

/// How long a store takes to answer, in milliseconds.
const STORE_MS: Millis = 1;
/// How long a dial to nobody takes to fail, in milliseconds.
const DIAL_TIMEOUT_MS: Millis = 5_000;

impl<D: Dedup> Sim<D> {
    /// Lets virtual time pass.
    pub fn run_for(&mut self, span: Millis) {
        let until = self.now + span;
        while let Some((at, event)) = self.queue.pop(until) {
            self.now = at;
            self.happened += 1;
            self.happen(event);
        }
        self.now = until;
    }

    /// Lets virtual time pass until `done`, looking every `step` milliseconds; at most `limit`. Whether it came to be.
    pub fn run_until(&mut self, step: Millis, limit: Millis, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.run_for(step.min(end - self.now));
        }
    }

    pub(super) fn schedule(&mut self, at: Millis, event: Event) {
        self.queue.push(at, event);
    }

    fn alive(&self, number: usize, life: u32) -> bool {
        self.nodes[number].life == life && self.nodes[number].engine.is_some()
    }

    fn split(&self, a: usize, b: usize) -> bool {
        !self.sides.is_empty() && self.sides[a] != self.sides[b]
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(number, life, input) if self.alive(number, life) => self.input(number, *input),
            Event::Timer(number, life, timer) if self.alive(number, life) => self.input(number, Input::Timer(timer)),
            Event::Frame(number, link, bytes) if self.nodes[number].end(link).is_some() => {
                self.input(number, Input::Batch(link, bytes));
            }
            Event::Down(number, link) if self.nodes[number].end(link).is_some() => {
                self.nodes[number].links.retain(|(id, _)| *id != link);
                self.nodes[number].skew.forget(link);
                self.input(number, Input::LinkDown(link));
            }
            Event::Up(handshake) => self.up(*handshake),
            Event::Store(number, life, asked) if self.alive(number, life) => self.answer(number, *asked),
            Event::Crash(churn_number) => self.crash_someone(churn_number),
            Event::Heal => self.heal(),
            Event::Start(number, life) if self.nodes[number].life == life && self.nodes[number].engine.is_none() => {
                self.start(number);
            }
            Event::Housekeeping(number, life) if self.alive(number, life) => self.keep_house(number),
            _ => {}
        }
    }

    /// What a node does from time to time: its record anew, and what has expired removed, as the node's driver does it.
    fn keep_house(&mut self, number: usize) {
        if self.config.records {
            let record = self.record_of(number);
            self.input(number, Input::OwnRecord(Some(record)));
        }
        let own = self.now_of(number);
        if self.nodes[number].skew.opinion(own) == Opinion::Right {
            let hour = |unix: Millis| ExpiryHour::try_from(unix / HOUR_MS).unwrap_or(ExpiryHour::MAX);
            let (before, really) = (hour(own.unix), hour(START_UNIX_MS + self.now));
            let node = &mut self.nodes[number];
            let gone: Vec<_> =
                node.window.has.iter().filter(|envelope| self.envelopes.get(*envelope).expiry < before).collect();
            for envelope in gone {
                node.window.has.remove(envelope);
                self.totals.pruned += 1;
                self.totals.pruned_early += u64::from(self.envelopes.get(envelope).expiry >= really);
            }
            node.tree.expire(before);
        }
        if let Some(every) = self.config.housekeeping {
            self.schedule(self.now + every.max(1), Event::Housekeeping(number, self.nodes[number].life));
        }
    }

    /// The store's answer to what an engine asked.
    fn answer(&mut self, number: usize, asked: Output) {
        let input = match asked {
            Output::Ask(id) => Input::Known { id, known: self.on_window(number, &id) },
            Output::Look(session, look) => Input::Found(session, self.look(number, &look)),
            Output::Fetch(session, shelf, ids) => {
                let found = ids.iter().filter_map(|id| self.stored(number, shelf, id)).collect();
                Input::Fetched(session, found)
            }
            _ => return,
        };
        self.input(number, input);
    }

    fn look(&mut self, number: usize, look: &Look) -> Finding {
        let node = &mut self.nodes[number];
        let envelopes = &self.envelopes;
        let found = match look.shelf {
            Shelf::Window => node.tree.answer(look, &mut Reading { envelopes, has: &node.window.has, room: None }),
            Shelf::Archive(tag) => {
                let mut source = Reading { envelopes, has: &node.archive.has, room: Some(tag.0[0]) };
                Tree::default().answer(look, &mut source)
            }
        };
        let Ok(finding) = found;
        finding
    }

    fn stored(&self, number: usize, shelf: Shelf, id: &MsgId) -> Option<Bytes> {
        let (node, envelope) = (&self.nodes[number], self.envelopes.number(id)?);
        let has = match shelf {
            Shelf::Window => &node.window.has,
            Shelf::Archive(_) => &node.archive.has,
        };
        has.contains(envelope).then(|| self.envelopes.get(envelope).bytes.clone())
    }

    /// Puts an envelope on a node's shelves; whether it was new there.
    pub(super) fn store(&mut self, number: usize, id: &MsgId, bytes: &Bytes, window: bool, durable: bool) -> bool {
        let now = self.now;
        let durable_at = if durable { now } else { now + self.config.durable_after };
        let Some(envelope) = self.envelopes.add(id, bytes) else { return false };
        let room = self.envelopes.get(envelope).room;
        let node = &mut self.nodes[number];
        let archived = node.archive.has.contains(envelope);
        let mut new = !archived && !node.window.has.contains(envelope);
        if !archived && node.rooms.contains_key(&room) {
            new = true;
            node.archive.insert(envelope, now, durable_at);
        }
        if window && node.window.insert(envelope, now, durable_at) {
            node.tree.touch((self.envelopes.get(envelope).expiry, *id));
        }
        new
    }

    fn up(&mut self, Handshake { dialler, listener, addr, latency, lives }: Handshake) {
        if !self.alive(dialler, lives.0) {
            return;
        }
        if !self.alive(listener, lives.1) || self.split(dialler, listener) {
            return self.input(dialler, Input::DialFailed(addr));
        }
        let mut hash = [0; 32];
        self.rng.fill_bytes(&mut hash);
        let (out_info, in_info) = self.info(dialler, listener, hash);
        let [from, to] = [dialler, listener].map(|number| {
            let node = &mut self.nodes[number];
            node.next_link += 1;
            LinkId(node.next_link)
        });
        let last = self.now;
        self.nodes[dialler].links.push((from, End { to: listener, to_link: to, latency, last }));
        self.nodes[listener].links.push((to, End { to: dialler, to_link: from, latency, last }));
        self.input(listener, Input::LinkUp(to, in_info));
        self.input(dialler, Input::LinkUp(from, out_info));
    }

    /// Hands an input to a node's engine and carries out what follows.
    pub(super) fn input(&mut self, number: usize, input: Input) {
        let now = self.now_of(number);
        let Some(engine) = self.nodes[number].engine.as_mut() else { return };
        engine.handle(input, now);
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.extend(engine.outputs());
        for output in outputs.drain(..) {
            self.carry_out(number, output);
        }
        self.outputs = outputs;
    }

    fn carry_out(&mut self, number: usize, output: Output) {
        let life = self.nodes[number].life;
        let soon = self.now + STORE_MS;
        match output {
            Output::Send(link, frame) => {
                let frame = self.withhold(number, frame);
                if !frame.is_empty() {
                    self.send(number, link, frame);
                }
            }
            Output::Dial(addr) => self.dial(number, addr),
            Output::Close(link) => {
                if let Some(end) = self.nodes[number].end(link) {
                    let (to, to_link, at) = (end.to, end.to_link, end.last.max(self.now + end.latency));
                    self.schedule(at, Event::Down(to, to_link));
                    self.schedule(self.now, Event::Down(number, link));
                }
            }
            Output::Accept(accepted) => self.accept(number, &accepted),
            // Nobody there is asked about relaying.
            Output::MayRelay { .. } => {}
            asked @ (Output::Ask(_) | Output::Look(..) | Output::Fetch(..)) => {
                self.schedule(soon, Event::Store(number, life, Box::new(asked)));
            }
            Output::SetTimer(timer, at) => self.schedule(at.max(self.now), Event::Timer(number, life, timer)),
            Output::Event(EngineEvent::PeerClock(link, theirs)) => {
                let now = self.now_of(number);
                self.nodes[number].skew.hear(link, theirs, now);
            }
            Output::Event(event) if self.config.logs => self.nodes[number].events.push(event),
            Output::Event(_) => {}
        }
    }

    fn send(&mut self, number: usize, link: LinkId, frame: Bytes) {
        let Some(end) = self.nodes[number].end(link) else { return };
        let (to, to_link) = (end.to, end.to_link);
        let in_order = end.last.max(self.now + end.latency);
        let latency = end.latency;
        self.totals.frames += 1;
        self.totals.bytes += frame.len() as u64;
        for (code, message) in messages(&frame) {
            let sent = &mut self.sent[usize::from(code)];
            sent.messages += 1;
            sent.bytes += message.len() as u64;
        }
        if self.split(number, to) || self.chance(self.config.loss_per_mille) {
            self.totals.lost_frames += 1;
            return;
        }
        let mut at = in_order;
        if self.chance(self.config.reorder_per_mille) {
            at += latency * 2;
        } else if let Some(end) = self.nodes[number].end_mut(link) {
            end.last = at;
        }
        if self.chance(self.config.duplicate_per_mille) {
            self.schedule(at, Event::Frame(to, to_link, frame.clone()));
        }
        self.schedule(at, Event::Frame(to, to_link, frame));
    }

    fn dial(&mut self, number: usize, addr: PeerAddr) {
        let now = self.now;
        if self.config.logs {
            self.nodes[number].dials.push((now, addr.clone()));
        }
        let life = self.nodes[number].life;
        let reachable = self
            .by_addr
            .get(&addr)
            .copied()
            .filter(|other| self.nodes[*other].engine.is_some() && !self.split(number, *other));
        let Some(listener) = reachable else {
            return self.schedule(now + DIAL_TIMEOUT_MS, Event::Input(number, life, Box::new(Input::DialFailed(addr))));
        };
        let (low, high) = self.config.latency;
        let latency = low + self.rng.next_u64() % (high - low + 1);
        let lives = (life, self.nodes[listener].life);
        self.schedule(
            now + 3 * latency,
            Event::Up(Box::new(Handshake { dialler: number, listener, addr, latency, lives })),
        );
    }

    fn accept(&mut self, number: usize, accepted: &Accepted) {
        let envelope = &accepted.envelope;
        let new = self.store(number, envelope.id(), envelope.bytes(), accepted.window, false);
        if !new {
            self.totals.again += 1;
            return;
        }
        self.totals.delivered += 1;
        self.totals.synced += u64::from(accepted.synced);
        let since = self.nodes[number].since;
        let message = self.envelopes.number(envelope.id()).and_then(|envelope| self.published.get_mut(&envelope));
        if let Some(message) = message {
            message.delivered(number, since, !accepted.synced, self.now);
        }
    }
}
