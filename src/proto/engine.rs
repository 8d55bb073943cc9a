//! The engine: what comes in, goes to the part whose concern it is.

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rumormill_api::{Dedup, Direction, LinkId, LinkInfo, Millis, MsgId, PeerAddr};

use super::antientropy::{Recon, Start};
use super::core::Core;
use super::peers::Peers;
use super::rumor::{self, Heard, Rumors};
use super::timers::Alarm;
use super::wire::{
    Batch, ByeReason, Fault, Hello, Kind, LINK_VERSION, LINK_VERSION_MIN, Message, RawMessage, link_key_to_x25519,
};
use super::{Counters, EngineConfig, EngineEvent, Input, Now, Output, Scope, Timer};

/// Two links to one peer that came up within this time may be the two ends' dials crossing, in milliseconds.
const CROSSING_DIALS_MS: Millis = 10_000;

/// One node's gossip engine.
///
/// The driver hands every [`Input`] over with the time and then carries out all [`Output`]s, in their order. It drains
/// the outputs once after [`Engine::new`] too, so that the first timer is set. Nothing here fails: what comes from peers
/// is judged and counted, what the driver gets wrong (an unknown link, a late answer) is ignored.
#[derive(Debug)]
pub struct Engine<D: Dedup> {
    core: Core,
    dedup: D,
    rumors: Rumors,
    peers: Peers,
    recon: Recon,
    seen_as: Option<PeerAddr>,
}

impl<D: Dedup> Engine<D> {
    /// A new engine. `seed` decides everything random in it: secret in a node, fixed in a simulation.
    pub fn new(config: EngineConfig, dedup: D, seed: [u8; 32]) -> Self {
        let mut core = Core::new(config, ChaCha8Rng::from_seed(seed));
        let secret = core.array();
        let peers = Peers::new(&core.config, secret);
        core.timers.set(Alarm::Peers, 0);
        let mut keys = [[0; 16]; 2];
        keys.iter_mut().for_each(|key| core.rng.fill_bytes(key));
        let rumors = Rumors::new(keys[0], keys[1], core.config.dissemination.eager());
        let mut engine = Self { core, dedup, rumors, peers, recon: Recon::default(), seen_as: None };
        engine.arm();
        engine
    }

    /// Takes in what happened at `now`. What follows from it is in [`Self::outputs`].
    pub fn handle(&mut self, input: Input, now: Now) {
        self.core.now = Now { mono: now.mono.max(self.core.now.mono), unix: now.unix };
        match input {
            Input::LinkUp(link, info) => self.link_up(link, info),
            Input::LinkDown(link) => self.core.remove_link(link),
            Input::Batch(link, bytes) => self.batch(link, bytes),
            Input::LinkFull(link) => self.link_full(link),
            Input::LinkDrained(link) => self.link_drained(link),
            Input::DialFailed(addr) => self.peers.dial_failed(&mut self.core, &addr),
            Input::Timer(timer) => self.timer(timer),
            Input::Publish(bytes) => self.rumors.publish(&mut self.core, &mut self.dedup, &bytes),
            Input::Known { id, known } => {
                if let Some(session) = self.rumors.known(&mut self.core, id, known) {
                    self.recon.decided(&mut self.core, session, !known);
                }
            }
            Input::Found(session, finding) => self.recon.finding(&mut self.core, session, finding),
            Input::Fetched(session, envelopes) => self.recon.fetched(&mut self.core, session, envelopes),
            Input::Sync { token, scope, link } => self.recon.sync(&mut self.core, token, scope, link, None),
            Input::SyncNewest { token, room, limit } => {
                self.recon.sync(&mut self.core, token, Scope::Archive(room), None, Some(limit.max(1)));
            }
            Input::Rooms(rooms) => self.recon.set_rooms(rooms),
            Input::AskRelays(ask) => self.rumors.ask_relays(&mut self.core, ask),
            Input::Relay { id, pass } => self.rumors.may_relay(&mut self.core, id, pass),
            Input::OwnRecord(record) => self.peers.set_own(&mut self.core, record.as_ref()),
        }
        self.forget_closed();
        self.arm();
    }

    /// Takes out what the driver is to do, in order.
    pub fn outputs(&mut self) -> impl Iterator<Item = Output> + '_ {
        self.core.out.drain(..)
    }

    /// What happened how often.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// Says that an envelope was here before the start, so that it isn't taken as new. Said of all that the store holds.
    pub fn note_seen(&mut self, id: &MsgId, now: Now) {
        let _ = self.dedup.check_and_insert(id, now.mono);
    }

    /// Good addresses, for [`EngineConfig::known_addresses`] of the next run; those of outgoing links come first.
    #[must_use]
    pub fn addresses(&self) -> Vec<PeerAddr> {
        self.peers.addresses(&self.core)
    }

    /// The key under which peers shorten ids for this node; `None` while it takes no announcements.
    #[cfg(all(test, feature = "testkit"))]
    pub(super) fn announcement_key(&self) -> Option<[u8; 16]> {
        self.rumors.key(&self.core)
    }

    /// The links that take part in the gossip now.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, &LinkInfo)> {
        self.core.ready_links().map(|(id, link)| (id, &link.info))
    }

    fn arm(&mut self) {
        if let Some((timer, at)) = self.core.timers.arm() {
            self.core.out.push_back(Output::SetTimer(timer, at));
        }
    }

    fn link_up(&mut self, link: LinkId, info: LinkInfo) {
        let probe = self.peers.link_up(link, &info);
        let own = info.peer == self.core.config.own;
        let full = info.direction == Direction::Incoming && self.core.links.len() >= self.core.config.max_links;
        let hello = Message::Hello(Hello {
            version_min: LINK_VERSION_MIN,
            version_max: LINK_VERSION,
            probe,
            recon_max: self.core.config.recon_max_bytes,
            link_key: self.core.config.link_key,
            seen_as: info.remote.clone(),
            record: self.peers.own_record(),
        });
        let slot = self.core.add_link(link, info, probe);
        slot.into_iter().for_each(|slot| self.rumors.link_up(slot));
        if own {
            self.core.counters.self_link += 1;
            self.core.close(link, ByeReason::Duplicate);
        } else if full {
            self.core.counters.too_many_links += 1;
            self.core.close(link, ByeReason::Full);
        } else {
            self.core.say(link, &hello);
        }
    }

    fn batch(&mut self, link: LinkId, bytes: Bytes) {
        for message in Batch::new(bytes) {
            let Some(state) = self.core.links.get_mut(&link).filter(|state| !state.closing) else { return };
            state.heard_at = self.core.now.mono;
            let greeted = state.hello.is_some();
            match message {
                Err(fault) => self.fault(link, fault),
                Ok(raw) if !greeted && !matches!(raw.kind, Kind::Hello | Kind::Bye) => {
                    self.core.counters.no_hello += 1;
                    self.core.close(link, ByeReason::Fault);
                }
                Ok(raw) => self.message(link, raw),
            }
        }
    }

    fn fault(&mut self, link: LinkId, fault: Fault) {
        *match fault {
            Fault::Malformed => &mut self.core.counters.malformed,
            Fault::Oversized => &mut self.core.counters.oversized,
            Fault::UnknownKind => &mut self.core.counters.unknown_kind,
        } += 1;
        self.core.close(link, ByeReason::Fault);
    }

    fn message(&mut self, link: LinkId, raw: RawMessage) {
        let probe = self.core.links.get(&link).is_some_and(|state| state.probe);
        if raw.kind == Kind::Rumor {
            if !probe && self.rumors.receive(&mut self.core, &mut self.dedup, link, raw) == Heard::PutOff {
                self.recon.catch_up(&mut self.core, link);
            }
            return;
        }
        let message = match Message::decode(&raw) {
            Ok(message) => message,
            Err(fault) => return self.fault(link, fault),
        };
        match message {
            Message::Hello(hello) => self.hello(link, hello),
            Message::Bye(_) => self.core.close(link, ByeReason::Stopping),
            Message::Ping(number) => self.core.say(link, &Message::Pong(number)),
            Message::Pong(number) => self.pong(link, number),
            Message::Chaff(_) => self.core.counters.chaff += 1,
            // A probe's link is for HELLO alone.
            _ if probe => {}
            Message::Rumor(_) => {}
            Message::IHaveWhole(_) | Message::PruneAll => self.core.counters.unasked_announcement += 1,
            Message::Salt(key) => self.rumors.salt(&mut self.core, link, key),
            Message::IHave(first, ids) => {
                if self.rumors.ihave(&mut self.core, link, first, &ids) == Heard::PutOff {
                    self.recon.catch_up(&mut self.core, link);
                }
            }
            Message::IWant(numbers) => self.rumors.iwant(&mut self.core, link, &numbers),
            Message::Graft(ids) => self.rumors.graft(&mut self.core, link, &ids),
            Message::Prune(ids) => self.rumors.prune(&mut self.core, link, &ids),
            Message::Peers(records) => self.peers.receive(&mut self.core, link, &records),
            // Of sessions of link version 1, none of which this build takes part in.
            Message::Get(..) => self.core.counters.recon_stray += 1,
            Message::Recon(session, body) => self.recon.message(&mut self.core, link, session, body),
            Message::Item(session, envelope) => {
                self.recon.item(&mut self.core, &mut self.rumors, &mut self.dedup, link, session, &envelope);
            }
        }
    }

    fn hello(&mut self, link: LinkId, hello: Hello) {
        let Some(state) = self.core.links.get_mut(&link) else { return };
        let info = state.info.clone();
        let counters = &mut self.core.counters;
        let refusal = if state.hello.is_some() {
            Some(&mut counters.second_hello)
        } else if hello.version_min > LINK_VERSION || hello.version_max < LINK_VERSION_MIN {
            Some(&mut counters.hello_version)
        } else if link_key_to_x25519(&hello.link_key) != Some(info.peer) {
            Some(&mut counters.hello_key)
        } else {
            None
        };
        if let Some(counter) = refusal {
            *counter += 1;
            return self.core.close(link, ByeReason::Fault);
        }
        let own_probe = state.probe;
        state.probe |= hello.probe;
        state.hello = Some(hello.clone());
        let live = !state.probe;
        self.core.timers.set(Alarm::Link(link), self.core.now.mono + self.core.config.ping_after);
        let live = live && self.settle_duplicates(link, &info);
        if live {
            self.core.event(EngineEvent::PeerUp(link, info.clone()));
        }
        self.peers.hello(&mut self.core, link, &info, &hello, live);
        if self.seen_as.as_ref() != Some(&hello.seen_as) {
            self.seen_as = Some(hello.seen_as.clone());
            self.core.event(EngineEvent::SeenAs(hello.seen_as));
        }
        if own_probe {
            self.core.close(link, ByeReason::Probe);
        }
        if self.core.ready(link).is_some() {
            if let Some(key) = self.rumors.key(&self.core).filter(|_| hello.version_max >= 2) {
                self.core.say(link, &Message::Salt(key));
                // How far its peers are away is what a node that has measured nothing else can tell how long to wait by.
                self.core.ping(link);
            }
            self.recon.link_ready(&mut self.core, link);
        }
    }

    /// Of two links to one peer one stays, and both ends choose the same: of two that came up at about the same time (the two
    /// dialled each other) the one that the peer with the smaller key dialled, or the one with the smaller handshake
    /// hash; else the newer one, for the older may be half-open. Returns whether it is this one.
    fn settle_duplicates(&mut self, link: LinkId, info: &LinkInfo) -> bool {
        let other = self.core.ready_links().find(|(id, other)| *id != link && other.info.peer == info.peer);
        let Some((other, older)) = other else { return true };
        let own_smaller = self.core.config.own < info.peer;
        let rank = |info: &LinkInfo| {
            let own_dialled = matches!(info.direction, Direction::Outgoing(_));
            (own_dialled != own_smaller, info.handshake_hash)
        };
        let at_once = self.core.now.mono.saturating_sub(older.up_at) <= CROSSING_DIALS_MS;
        let kept = !at_once || rank(info) < rank(&older.info);
        self.core.counters.duplicate_link += 1;
        if !kept && let Some(state) = self.core.links.get_mut(&link) {
            // Never shown as up.
            state.probe = true;
        }
        self.core.close(if kept { other } else { link }, ByeReason::Duplicate);
        kept
    }

    /// A PONG. One that answers no PING, or not the last, is a sign of life and nothing else.
    fn pong(&mut self, link: LinkId, number: u64) {
        let now = self.core.now.mono;
        let Some(state) = self.core.links.get_mut(&link).filter(|state| state.pinged == Some(number)) else { return };
        state.pinged = None;
        state.round_trip = Some(now.saturating_sub(number));
        self.rumors.round_trips(&self.core);
    }

    fn link_full(&mut self, link: LinkId) {
        self.core.counters.link_full += 1;
        if let Some(state) = self.core.links.get_mut(&link).filter(|state| !state.closing) {
            state.behind = true;
        }
    }

    fn link_drained(&mut self, link: LinkId) {
        let Some(state) = self.core.links.get_mut(&link).filter(|state| !state.closing) else { return };
        if std::mem::take(&mut state.behind) {
            rumor::flush_link(&mut self.core, link);
            self.recon.catch_up(&mut self.core, link);
        }
    }

    fn timer(&mut self, timer: Timer) {
        self.core.timers.fired(timer);
        while let Some(alarm) = self.core.timers.due(self.core.now.mono) {
            match alarm {
                Alarm::Link(link) => self.look_after(link),
                Alarm::Peers => self.peers.maintain(&mut self.core),
                Alarm::Recent => self.recon.periodic(&mut self.core, Start::Recent),
                Alarm::Full => self.recon.periodic(&mut self.core, Start::Full),
                Alarm::CatchUp(link) => self.recon.start_catch_up(&mut self.core, link),
                Alarm::Session(session) => self.recon.silence(&mut self.core, session),
                Alarm::Paced(session) => self.recon.paced(&mut self.core, session),
                Alarm::Announce => rumor::flush(&mut self.core),
                Alarm::Pull => {
                    for link in self.rumors.pull(&mut self.core) {
                        self.recon.catch_up(&mut self.core, link);
                    }
                }
                Alarm::Review => self.rumors.review(&mut self.core),
                Alarm::Turn => self.recon.take_turns(&mut self.core),
            }
        }
    }

    fn look_after(&mut self, link: LinkId) {
        let now = self.core.now.mono;
        let (ping_after, dead_after) = (self.core.config.ping_after, self.core.config.dead_after);
        let Some(state) = self.core.links.get_mut(&link).filter(|state| !state.closing) else { return };
        if state.hello.is_none() {
            self.core.counters.hello_timeout += 1;
            return self.core.close(link, ByeReason::Fault);
        }
        if state.heard_at + dead_after <= now {
            self.core.counters.dead_link += 1;
            return self.core.close(link, ByeReason::Fault);
        }
        let mut next = state.heard_at + ping_after;
        if next <= now {
            // One PING for each stretch of silence, repeated lest it was lost in a full queue.
            next = (now + ping_after).min(state.heard_at + dead_after);
            self.core.ping(link);
        }
        self.core.timers.set(Alarm::Link(link), next);
    }

    fn forget_closed(&mut self) {
        while let Some(closed) = self.core.closed.pop() {
            self.recon.link_closed(&mut self.core, closed);
            self.peers.link_closed(&mut self.core, closed);
        }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
