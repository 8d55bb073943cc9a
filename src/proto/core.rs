//! What all parts of the engine share: the links, the outputs, the deadlines, the counters, the generator.

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use rumormill_api::{Direction, Frame, LinkId, LinkInfo, Millis, SourceGroup};

use super::address::source_group;
use super::bucket::Bucket;
use super::linkset::{Slot, Slots};
use super::rumor::Lazy;
use super::timers::{Alarm, Timers};
use super::wire::{ByeReason, Hello, Message};
use super::{Counters, EngineConfig, EngineEvent, Now, Output};

/// Peer records of one link that are looked at: a hundred in a thousand seconds …
const RECORDS_PER_1000_S: u64 = 100;
/// … and so many at once, so that a small network forms within seconds.
const RECORDS_BURST: u64 = 64;
/// Reconciliations that one peer may open, in a thousand seconds …
const OPENS_PER_1000_S: u64 = 200;
/// … and at once.
const OPENS_BURST: u64 = 32;
/// Bytes that one link is served a second because it asks for them; the live flood goes before them.
const SERVE_BYTES_PER_S: u64 = 32 << 20;
/// And at once.
const SERVE_BURST_BYTES: u64 = 512 << 10;
/// Bytes of the window that are asked of one link a second.
const PULL_BYTES_PER_S: u64 = 16 << 20;
/// And at once.
const PULL_BURST_BYTES: u64 = 8 << 20;

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) info: LinkInfo,
    /// What the peer's HELLO said, once it came.
    pub(super) hello: Option<Hello>,
    /// This node dialled only to see whether someone answers, or the peer did.
    pub(super) probe: bool,
    /// This node has asked the driver to close it.
    pub(super) closing: bool,
    /// Its queue is full.
    pub(super) behind: bool,
    pub(super) up_at: Millis,
    pub(super) heard_at: Millis,
    /// When the last PING went that wasn't answered: its number.
    pub(super) pinged: Option<Millis>,
    /// The last round trip that was measured.
    pub(super) round_trip: Option<Millis>,
    /// Envelopes that wait for the exact store.
    pub(super) pending: usize,
    pub(super) novel: Bucket,
    pub(super) records: Bucket,
    pub(super) opens: Bucket,
    pub(super) serve: Bucket,
    pub(super) pull: Bucket,
    pub(super) source: SourceGroup,
    /// Its place in sets of links, if there was one left.
    pub(super) slot: Option<Slot>,
    pub(super) lazy: Lazy,
}

impl Link {
    fn new(info: LinkInfo, probe: bool, config: &EngineConfig, now: Millis) -> Self {
        Self {
            hello: None,
            probe,
            closing: false,
            behind: false,
            up_at: now,
            heard_at: now,
            pinged: None,
            round_trip: None,
            pending: 0,
            novel: Bucket::new(config.novel_bytes_per_s.saturating_mul(1_000), config.novel_burst_bytes, now),
            records: Bucket::new(RECORDS_PER_1000_S, RECORDS_BURST, now),
            opens: Bucket::new(OPENS_PER_1000_S, OPENS_BURST, now),
            serve: Bucket::new(SERVE_BYTES_PER_S * 1_000, SERVE_BURST_BYTES, now),
            pull: Bucket::new(PULL_BYTES_PER_S * 1_000, PULL_BURST_BYTES, now),
            source: source_group(&info),
            slot: None,
            lazy: Lazy::default(),
            info,
        }
    }

    /// Whether it takes part in the gossip: HELLO came, it is no probe, and isn't being closed.
    pub(super) const fn ready(&self) -> bool {
        self.hello.is_some() && !self.probe && !self.closing
    }

    /// Whether this node dialled it.
    pub(super) const fn outgoing(&self) -> bool {
        matches!(self.info.direction, Direction::Outgoing(_))
    }
}

/// What all parts of the engine share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: EngineConfig,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) slots: Slots,
    pub(super) out: VecDeque<Output>,
    pub(super) timers: Timers,
    pub(super) counters: Counters,
    pub(super) rng: ChaCha8Rng,
    pub(super) now: Now,
    /// Links that were closed during this input; the other parts forget them at its end.
    pub(super) closed: Vec<LinkId>,
}

impl Core {
    pub(super) fn new(config: EngineConfig, rng: ChaCha8Rng) -> Self {
        Self {
            config,
            links: BTreeMap::new(),
            slots: Slots::default(),
            out: VecDeque::new(),
            timers: Timers::default(),
            counters: Counters::default(),
            rng,
            now: Now { mono: 0, unix: 0 },
            closed: Vec::new(),
        }
    }

    /// Adds a link; the place that it gets is free of what an earlier link left there once [`Rumors`](super::rumor::Rumors)
    /// has been told.
    pub(super) fn add_link(&mut self, link: LinkId, info: LinkInfo, probe: bool) -> Option<Slot> {
        let mut state = Link::new(info, probe, &self.config, self.now.mono);
        state.slot = self.slots.take(link);
        let slot = state.slot;
        self.links.insert(link, state);
        self.timers.set(Alarm::Link(link), self.now.mono + self.config.hello_timeout);
        slot
    }

    /// The link, if it takes part in the gossip.
    pub(super) fn ready(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link).filter(|link| link.ready())
    }

    /// The links that take part in the gossip, in order.
    pub(super) fn ready_links(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().filter(|(_, link)| link.ready()).map(|(id, link)| (*id, link))
    }

    pub(super) fn send(&mut self, link: LinkId, frame: Frame) {
        self.out.push_back(Output::Send(link, frame));
    }

    pub(super) fn say(&mut self, link: LinkId, message: &Message) {
        self.send(link, message.encode());
    }

    /// Asks a link's peer for a sign of life; the answer measures the round trip.
    pub(super) fn ping(&mut self, link: LinkId) {
        let now = self.now.mono;
        if let Some(state) = self.links.get_mut(&link) {
            state.pinged = Some(now);
            self.say(link, &Message::Ping(now));
        }
    }

    /// Closes a link. It is silent from now on, and forgotten when the driver reports it down.
    pub(super) fn close(&mut self, link: LinkId, reason: ByeReason) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.closing {
            return;
        }
        let was_up = state.ready();
        state.closing = true;
        self.timers.clear(Alarm::Link(link));
        self.timers.clear(Alarm::CatchUp(link));
        self.closed.push(link);
        self.say(link, &Message::Bye(reason));
        self.out.push_back(Output::Close(link));
        if was_up {
            self.event(EngineEvent::PeerDown(link));
        }
    }

    /// The driver reports a link down.
    pub(super) fn remove_link(&mut self, link: LinkId) {
        let Some(state) = self.links.remove(&link) else { return };
        state.slot.into_iter().for_each(|slot| self.slots.free(slot));
        self.timers.clear(Alarm::Link(link));
        self.timers.clear(Alarm::CatchUp(link));
        if state.ready() {
            self.event(EngineEvent::PeerDown(link));
        }
        if !state.closing {
            self.closed.push(link);
        }
    }

    pub(super) fn event(&mut self, event: EngineEvent) {
        self.out.push_back(Output::Event(event));
    }

    /// A number below `bound`, or 0. The bias is below 2^-32 for the bounds that occur here.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            return 0;
        }
        usize::try_from(self.rng.next_u64() % bound as u64).unwrap_or(0)
    }

    /// `span` give or take a quarter.
    pub(super) fn jitter(&mut self, span: Millis) -> Millis {
        span - span / 4 + self.rng.next_u64() % (span / 2 + 1)
    }

    pub(super) fn array(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}
