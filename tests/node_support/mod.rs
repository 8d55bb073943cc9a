//! Whole nodes in one process and in virtual time: a hub of their own, stores that tests can look into and break.
#![allow(dead_code, clippy::unwrap_used, reason = "shared by several test binaries, each of which uses a part")]

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rumormill::Builder;
use rumormill::api::{
    Appended, ArchiveRecord, Cursor, Entry, Error, ErrorKind, ExpiryHour, ExpiryRange, History, HistoryConfig, Holding,
    MsgId, Pruned, Registry, Result as ApiResult, Retention, RoomTag, Shelf, Stats,
};
use rumormill::config::{Config, Format};
use rumormill::node::{
    Clock, Event, Handle, HistoryQuery, Hooks, LoadReport, Message, NoHooks, Node, NodeApi, NodeError, SendOptions,
    VirtualClock,
};
use rumormill::proto::Now;
use rumormill::proto::sim::AlwaysMaybe;
use rumormill::state::Profile;
use rumormill_transport_memory::Hub;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

/// What the wall clock shows when a world begins: 2027-01-15, 08:00 UTC.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// How long, in virtual time, a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2 * 3_600);

const STORE: &str = "testing";

/// The name of a filter that can rule nothing out: the store decides about every id.
pub(crate) const DOUBTING: &str = "doubting";

/// A store in memory that outlives its node, and fails when told to.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Inner>>);

struct Inner {
    history: Box<dyn History>,
    /// Every append fails so, until told otherwise.
    failing: Option<ErrorKind>,
    /// These appends fail, counted from 0.
    fail_at: BTreeSet<u64>,
    appends: u64,
    failed: u64,
    /// Envelopes whose bytes count as damaged.
    rotten: HashSet<MsgId>,
    forgotten: Vec<MsgId>,
}

impl Store {
    pub(crate) fn new() -> Self {
        let history = rumormill_history_memory::open(HistoryConfig::default()).unwrap();
        Self(Arc::new(Mutex::new(Inner {
            history,
            failing: None,
            fail_at: BTreeSet::new(),
            appends: 0,
            failed: 0,
            rotten: HashSet::new(),
            forgotten: Vec::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// What is in it, past all faults.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut dyn History) -> T) -> T {
        act(&mut *self.inner().history)
    }

    /// Every append fails from now on.
    pub(crate) fn fail(&self, kind: ErrorKind) {
        self.inner().failing = Some(kind);
    }

    /// Appends work again.
    pub(crate) fn mend(&self) {
        self.inner().failing = None;
    }

    /// The append that is the `n`th from now on fails, counted from 0.
    pub(crate) fn fail_nth(&self, n: u64) {
        let mut inner = self.inner();
        let at = inner.appends + n;
        inner.fail_at.insert(at);
    }

    pub(crate) fn failed(&self) -> u64 {
        self.inner().failed
    }

    /// That envelope's bytes are damaged.
    pub(crate) fn rot(&self, id: MsgId) {
        self.inner().rotten.insert(id);
    }

    pub(crate) fn forgotten(&self) -> Vec<MsgId> {
        self.inner().forgotten.clone()
    }

    pub(crate) fn window_ids(&self) -> Vec<MsgId> {
        let ids = self.with(|history| history.ids(Shelf::Window, ExpiryRange::ALL)).unwrap();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    fn register(&self, registry: &mut Registry) {
        let store = self.clone();
        registry.add_history(STORE, move |_| Ok(Box::new(store.clone())));
    }
}

impl Inner {
    fn sound(&self, id: &MsgId) -> ApiResult<()> {
        match self.rotten.contains(id) {
            true => Err(Error::new(ErrorKind::Corrupt, STORE, format!("the envelope {} is damaged", id.short()))),
            false => Ok(()),
        }
    }
}

impl History for Store {
    fn append(&mut self, batch: &[Entry]) -> ApiResult<Appended> {
        let mut inner = self.inner();
        let at = inner.appends;
        inner.appends += 1;
        let kind = if inner.fail_at.remove(&at) { Some(ErrorKind::Io) } else { inner.failing };
        if let Some(kind) = kind {
            inner.failed += 1;
            return Err(Error::new(kind, STORE, "the disk is out of order"));
        }
        inner.history.append(batch)
    }

    fn holds(&self, id: &MsgId) -> ApiResult<Holding> {
        self.inner().history.holds(id)
    }

    fn get(&self, shelf: Shelf, id: &MsgId) -> ApiResult<Option<Bytes>> {
        let inner = self.inner();
        inner.sound(id)?;
        inner.history.get(shelf, id)
    }

    fn page(&self, room: &RoomTag, before: Cursor, limit: usize) -> ApiResult<Vec<ArchiveRecord>> {
        let inner = self.inner();
        let records = inner.history.page(room, before, limit)?;
        Ok(records.into_iter().filter(|record| !inner.rotten.contains(&record.at.id)).collect())
    }

    fn ids(&self, shelf: Shelf, range: ExpiryRange) -> ApiResult<Vec<(ExpiryHour, MsgId)>> {
        self.inner().history.ids(shelf, range)
    }

    fn tombstones(&self) -> ApiResult<Vec<MsgId>> {
        self.inner().history.tombstones()
    }

    fn tombstones_between(
        &self,
        from: (ExpiryHour, MsgId),
        to: (ExpiryHour, MsgId),
        limit: usize,
    ) -> ApiResult<Vec<(ExpiryHour, MsgId)>> {
        self.inner().history.tombstones_between(from, to, limit)
    }

    fn state(&self, key: &str) -> ApiResult<Option<Bytes>> {
        self.inner().history.state(key)
    }

    fn prune(&mut self, keep: &Retention, now: ExpiryHour) -> ApiResult<Pruned> {
        self.inner().history.prune(keep, now)
    }

    fn forget(&mut self, id: &MsgId) -> ApiResult<()> {
        let mut inner = self.inner();
        inner.rotten.remove(id);
        inner.forgotten.push(*id);
        inner.history.forget(id)
    }

    fn stats(&self) -> ApiResult<Stats> {
        self.inner().history.stats()
    }
}

/// A network of nodes.
pub(crate) struct World {
    pub(crate) hub: Hub,
    folder: TempDir,
    start: Instant,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { hub: Hub::new(), folder: tempfile::tempdir().unwrap(), start: Instant::now() }
    }

    /// What an honest wall clock shows now.
    pub(crate) fn now_ms(&self) -> u64 {
        START_MS + u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    /// The key that a node's store is sealed with. The node mustn't run.
    pub(crate) fn storage_key(&self, name: &str) -> [u8; 32] {
        *Profile::open(&self.folder.path().join(name)).unwrap().storage_key
    }

    /// Gives a node to be the keys that its namesake has in another world. Neither runs.
    pub(crate) fn same_keys(&self, other: &World, name: &str) {
        drop(Profile::open(&other.folder.path().join(name)).unwrap());
        drop(Profile::open(&self.folder.path().join(name)).unwrap());
        let keys = |world: &World| world.folder.path().join(name).join("keys");
        std::fs::copy(keys(other), keys(self)).unwrap();
    }

    /// A node to be: it listens at its name.
    pub(crate) fn node(&self, name: &'static str) -> Plan<'_> {
        Plan {
            world: self,
            name,
            listen: true,
            peers: Vec::new(),
            chats: String::new(),
            extra: String::new(),
            ahead_ms: 0,
            entropy: None,
            hooks: Arc::new(NoHooks),
            store: Store::new(),
        }
    }
}

/// A node to be.
pub(crate) struct Plan<'a> {
    world: &'a World,
    name: &'static str,
    listen: bool,
    peers: Vec<&'static str>,
    chats: String,
    extra: String,
    ahead_ms: i64,
    entropy: Option<u64>,
    hooks: Arc<dyn Hooks>,
    store: Store,
}

impl Plan<'_> {
    pub(crate) fn peers(mut self, peers: &[&'static str]) -> Self {
        self.peers = peers.to_vec();
        self
    }

    /// A chat whose secret is this byte, 32 times.
    pub(crate) fn chat(self, name: &str, secret: u8) -> Self {
        let secret = data_encoding::BASE64URL_NOPAD.encode(&[secret; 32]);
        self.chat_of(&format!("name = {name:?}\nsecret = {secret:?}"))
    }

    /// A chat by its table's lines.
    pub(crate) fn chat_of(mut self, lines: &str) -> Self {
        writeln!(self.chats, "[[chats]]\n{lines}").unwrap();
        self
    }

    pub(crate) fn extra(mut self, text: &str) -> Self {
        self.extra = text.to_owned();
        self
    }

    /// It listens nowhere.
    pub(crate) fn dial_only(mut self) -> Self {
        self.listen = false;
        self
    }

    /// Its wall clock is wrong by that much.
    pub(crate) fn clock_ahead_ms(mut self, ms: i64) -> Self {
        self.ahead_ms = ms;
        self
    }

    /// Its randomness is the same in every run with this seed.
    pub(crate) fn entropy(mut self, seed: u64) -> Self {
        self.entropy = Some(seed);
        self
    }

    pub(crate) fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks = hooks;
        self
    }

    /// On a store that was there before.
    pub(crate) fn store(mut self, store: &Store) -> Self {
        self.store = store.clone();
        self
    }

    fn config(&self) -> Config {
        let list = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| format!("\"memory:{name}\"")).collect();
            names.join(", ")
        };
        let listen = if self.listen { list(&[self.name]) } else { String::new() };
        let text = format!(
            "version = 1\nname = {:?}\nlisten = [{listen}]\npeers = [{}]\n{}\n[backends]\ntransports = [\"memory\"]\nhistory = {STORE:?}\n{}",
            self.name,
            list(&self.peers),
            self.chats,
            self.extra,
        );
        Config::parse(&text, Format::Toml, Path::new("test.toml"), None)
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub(crate) async fn start(self) -> TestNode {
        let config = self.config();
        let profile = Profile::open(&self.world.folder.path().join(self.name)).unwrap();
        let clock = VirtualClock::starting_at(self.world.now_ms());
        let ahead_ms = Arc::new(AtomicI64::new(self.ahead_ms));
        let (hub, store) = (self.world.hub.clone(), self.store.clone());
        let mut builder = Builder::new(config, profile)
            .register(|registry| {
                rumormill_transport_memory::register_with(registry, hub);
                store.register(registry);
                registry.add_dedup(DOUBTING, |_| Ok(Box::new(AlwaysMaybe)));
            })
            .clock(Arc::new(Jumping { clock, ahead_ms: Arc::clone(&ahead_ms) }))
            .hooks(Arc::clone(&self.hooks))
            .store_inline();
        if let Some(seed) = self.entropy {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            builder = builder.entropy(move |out| rng.fill_bytes(out));
        }
        let events = builder.subscribe();
        let node = builder.start().await.unwrap();
        let handle = Handle::new(Arc::clone(&node) as Arc<dyn NodeApi>, self.hooks);
        let mut node =
            TestNode { name: self.name, node, handle, events, seen: Vec::new(), store: self.store, ahead_ms };
        node.expect("ready", |event| matches!(event, Event::Ready { .. })).await;
        node
    }
}

/// A running node.
pub(crate) struct TestNode {
    name: &'static str,
    pub(crate) node: Arc<Node>,
    pub(crate) handle: Handle,
    events: broadcast::Receiver<Event>,
    /// Everything that was read so far.
    pub(crate) seen: Vec<Event>,
    pub(crate) store: Store,
    ahead_ms: Arc<AtomicI64>,
}

/// A wall clock that can be set.
struct Jumping {
    clock: VirtualClock,
    ahead_ms: Arc<AtomicI64>,
}

impl Clock for Jumping {
    fn now(&self) -> Now {
        let now = self.clock.now();
        Now { unix: now.unix.checked_add_signed(self.ahead_ms.load(Ordering::Relaxed)).unwrap(), ..now }
    }
}

impl TestNode {
    /// Sends, and expects it to be durable.
    pub(crate) async fn say(&self, chat: &str, text: &str) -> MsgId {
        self.try_say(chat, text).await.unwrap()
    }

    pub(crate) async fn try_say(&self, chat: &str, text: &str) -> Result<MsgId, NodeError> {
        self.handle.send(chat, text, SendOptions::default()).await
    }

    /// The next event that fits; those before it stay in `seen`.
    pub(crate) async fn expect(&mut self, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let until = Instant::now() + PATIENCE;
        loop {
            match tokio::time::timeout_at(until, self.events.recv()).await {
                Ok(Ok(event)) => {
                    self.seen.push(event.clone());
                    if fits(&event) {
                        return event;
                    }
                }
                Ok(Err(RecvError::Lagged(n))) => panic!("{}: {n} events were missed", self.name),
                Ok(Err(RecvError::Closed)) => panic!("{}: ended before {what}; {}", self.name, self.tail()),
                Err(_) => panic!("{}: no {what}; {}", self.name, self.tail()),
            }
        }
    }

    /// As [`expect`](Self::expect), but an event that was seen already counts.
    pub(crate) async fn expect_ever(&mut self, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        match self.seen.iter().find(|event| fits(event)) {
            Some(event) => event.clone(),
            None => self.expect(what, fits).await,
        }
    }

    fn tail(&self) -> String {
        let from = self.seen.len().saturating_sub(20);
        format!("seen: {:#?}; counted: {:?}", &self.seen[from..], self.node.counters())
    }

    pub(crate) async fn expect_text(&mut self, chat: &str, text: &str) -> Message {
        let what = format!("message {text:?} in {chat}");
        let fits = |event: &Event| matches!(event, Event::Message(m) if *m.chat == *chat && m.text == text);
        match self.expect_ever(&what, fits).await {
            Event::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn expect_gap(&mut self, chat: &str, gap: usize) {
        let fits = |event: &Event| matches!(event, Event::Gap { chat: c, missing } if **c == *chat && *missing == gap);
        self.expect(&format!("gap of {gap} in {chat}"), fits).await;
    }

    /// Waits until it has exactly `n` links.
    pub(crate) async fn expect_peers(&mut self, n: usize) {
        while self.node.peers().len() != n {
            self.expect("a link", |event| matches!(event, Event::PeerUp(_) | Event::PeerDown(_))).await;
        }
    }

    /// Takes in what has come so far, without waiting.
    pub(crate) fn drain(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.seen.push(event);
        }
    }

    /// Its wall clock is wrong by that much from now on.
    pub(crate) fn set_clock_ahead_ms(&self, ms: i64) {
        self.ahead_ms.store(ms, Ordering::Relaxed);
    }

    /// The warnings and news of the node itself that were shown, with this word in them.
    pub(crate) fn notices(&mut self, word: &str) -> Vec<String> {
        self.drain();
        let notices = self.seen.iter().filter_map(|event| match event {
            Event::Notice { source, text, .. } if &**source == "node" && text.contains(word) => Some(text.clone()),
            _ => None,
        });
        notices.collect()
    }

    /// How often a text was shown.
    pub(crate) fn shown(&mut self, text: &str) -> usize {
        self.count(|event| matches!(event, Event::Message(message) if message.text == text))
    }

    /// How many events of the run fit.
    pub(crate) fn count(&mut self, fits: impl Fn(&Event) -> bool) -> usize {
        self.drain();
        self.seen.iter().filter(|event| fits(event)).count()
    }

    pub(crate) async fn history(&self, chat: &str) -> Vec<Message> {
        self.node.history(chat, HistoryQuery { limit: 10_000, before: None }).await.unwrap()
    }

    pub(crate) async fn texts(&self, chat: &str) -> Vec<String> {
        self.history(chat).await.into_iter().map(|message| message.text).collect()
    }

    pub(crate) async fn ids(&self, chat: &str) -> Vec<MsgId> {
        self.history(chat).await.into_iter().map(|message| message.id).collect()
    }

    pub(crate) async fn load(&self, chat: &str) -> LoadReport {
        self.node.load_history(chat).await.unwrap()
    }

    pub(crate) async fn load_some(&self, chat: &str, limit: u64) -> LoadReport {
        self.node.load_newest(chat, limit).await.unwrap()
    }

    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.node.counters().get(name).copied().unwrap_or(0)
    }

    /// Stops it and waits for its end; what was seen is returned.
    pub(crate) async fn stop(mut self) -> Vec<Event> {
        self.node.shutdown();
        self.expect("stopped", |event| matches!(event, Event::Stopped)).await;
        self.seen
    }
}

/// Lets virtual time pass.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
