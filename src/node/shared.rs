//! What a node's tasks share: who is linked, what was counted, and the event bus.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormill_api::LinkId;
use tokio::sync::broadcast;

use super::api::{ChatInfo, Event, Me, NoticeLevel, PeerInfo};
use crate::proto::Counters;

/// How many events a subscriber may lag behind before it misses some.
pub(super) const EVENT_BUS_CAPACITY: usize = 16_384;

/// State that the driver, the vault and the handle see. Locks are held for a few instructions and never across an await.
pub(super) struct Shared {
    pub(super) me: Me,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) stopping: AtomicBool,
    chats: Mutex<Vec<ChatInfo>>,
    peers: Mutex<BTreeMap<LinkId, PeerInfo>>,
    vault_counters: Mutex<BTreeMap<&'static str, u64>>,
    engine_counters: Mutex<Counters>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half-done under these locks, so what a panicking thread left is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(me: Me, chats: Vec<ChatInfo>, events: broadcast::Sender<Event>) -> Arc<Self> {
        Arc::new(Self {
            me,
            events,
            stopping: AtomicBool::new(false),
            chats: Mutex::new(chats),
            peers: Mutex::default(),
            vault_counters: Mutex::default(),
            engine_counters: Mutex::default(),
        })
    }

    /// Tells every subscriber. That nobody listens is fine.
    pub(super) fn emit(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub(super) fn notice(&self, level: NoticeLevel, source: &str, text: impl Into<String>) {
        self.emit(Event::Notice { level, source: source.into(), text: text.into() });
    }

    pub(super) fn chats(&self) -> Vec<ChatInfo> {
        lock(&self.chats).clone()
    }

    pub(super) fn set_missing(&self, chat: usize, missing: usize) {
        if let Some(chat) = lock(&self.chats).get_mut(chat) {
            chat.missing = missing;
        }
    }

    pub(super) fn peers(&self) -> Vec<PeerInfo> {
        lock(&self.peers).values().cloned().collect()
    }

    pub(super) fn peer(&self, link: LinkId) -> Option<PeerInfo> {
        lock(&self.peers).get(&link).cloned()
    }

    pub(super) fn peer_up(&self, link: LinkId, peer: PeerInfo) {
        lock(&self.peers).insert(link, peer.clone());
        self.emit(Event::PeerUp(peer));
    }

    pub(super) fn peer_down(&self, link: LinkId) {
        let peer = lock(&self.peers).remove(&link);
        if let Some(peer) = peer {
            self.emit(Event::PeerDown(peer));
        }
    }

    pub(super) fn count(&self, name: &'static str) {
        self.count_up(name);
    }

    /// Counts one more; says how many there are now.
    pub(super) fn count_up(&self, name: &'static str) -> u64 {
        let mut counters = lock(&self.vault_counters);
        let count = counters.entry(name).or_default();
        *count += 1;
        *count
    }

    /// Takes over the engine's counters, as they stand now. Every turn of the driver does: a copy, no look-up by name.
    pub(super) fn set_engine_counters(&self, counters: &Counters) {
        lock(&self.engine_counters).clone_from(counters);
    }

    pub(super) fn counters(&self) -> BTreeMap<&'static str, u64> {
        let mut all: BTreeMap<_, _> = lock(&self.engine_counters).iter().collect();
        for (name, value) in lock(&self.vault_counters).iter() {
            *all.entry(name).or_default() += value;
        }
        all.retain(|_, value| *value > 0);
        all
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
