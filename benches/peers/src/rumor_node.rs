//! One whole node of Rumormill, by the library's own builder, with a history that tells what it has made durable.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use rumormill::Builder;
use rumormill::api::{
    Appended, ArchiveRecord, Batch, Cursor, Entry, ExpiryHour, ExpiryRange, History, Holding, MsgId, Pruned,
    Result as ApiResult, Retention, RoomTag, Shelf, Stats,
};
use rumormill::config::{Config, Format};
use rumormill::node::{Event, Handle, NoHooks, Node, NodeApi};
use rumormill::state::Profile;
use tokio::sync::broadcast;

use crate::Result;

/// The chat that each node speaks in.
pub const CHAT: &str = "bench";

/// The name that the watched history is registered under.
const WATCHED: &str = "watched";

/// Told of every batch that a node has made durable.
pub type OnAppend = Arc<dyn Fn(&[Entry]) + Send + Sync>;

/// How a node is configured.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// Its number.
    pub node: usize,
    /// The addresses that it dials.
    pub peers: Vec<String>,
    /// The number of its room. Who has the same number is a member of the same room.
    pub room: u64,
    /// The history backend.
    pub history: String,
    /// Further lines of its config file.
    pub config: String,
}

/// A running node.
pub struct Started {
    /// The node.
    pub node: Arc<Node>,
    /// Its handle.
    pub handle: Handle,
    /// Everything that happens from now on.
    pub events: broadcast::Receiver<Event>,
    /// Where it listens, without the scheme.
    pub address: String,
}

impl NodePlan {
    /// The config, of the text that a user would write.
    fn config(&self) -> Result<Config> {
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&self.room.to_be_bytes());
        let secret = BASE64URL_NOPAD.encode(&secret);
        let peers: Vec<String> = self.peers.iter().map(|peer| format!("\"tcp:{peer}\"")).collect();
        let mut text = format!("version = 1\nname = \"n{}\"\nlisten = [\"tcp:127.0.0.1:0\"]\n", self.node);
        let _ = writeln!(text, "peers = [{}]", peers.join(", "));
        let _ = writeln!(text, "[[chats]]\nname = {CHAT:?}\nsecret = {secret:?}");
        let _ = writeln!(text, "[network]\noutgoing = 0\n[backends]\nhistory = {WATCHED:?}");
        let _ = writeln!(text, "{}", self.config);
        Config::parse(&text, Format::Toml, Path::new("bench.toml"), None).map_err(|error| error.to_string())
    }

    /// Starts it on the profile in that folder, and waits until it listens.
    ///
    /// # Errors
    ///
    /// The config is wrong, or the node doesn't start.
    pub async fn start(&self, profile: &Path, on_append: OnAppend) -> Result<Started> {
        let profile = Profile::open(profile).map_err(|error| error.to_string())?;
        let backend = self.history.clone();
        let builder = Builder::new(self.config()?, profile).register(move |registry| {
            let compiled_in = rumormill::plugins::compiled_in();
            registry.add_history(WATCHED, move |config| {
                let history = compiled_in.history(&backend, config)?;
                Ok(Box::new(Watched { history, on_append: Arc::clone(&on_append) }))
            });
        });
        let mut events = builder.subscribe();
        let node = builder.start().await.map_err(|error| format!("node {} doesn't start: {error}", self.node))?;
        let address = loop {
            match events.recv().await {
                Ok(Event::Ready { listen }) => break listen.first().map(|address| address.rest().to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("node {} isn't ready: {error}", self.node)),
            }
        };
        let address = address.ok_or_else(|| format!("node {} listens nowhere", self.node))?;
        let handle = Handle::new(Arc::clone(&node) as Arc<dyn NodeApi>, Arc::new(NoHooks));
        Ok(Started { node, handle, events, address })
    }
}

/// A node's history, which tells what it has made durable.
struct Watched {
    history: Box<dyn History>,
    on_append: OnAppend,
}

// What only the tools for damaged stores call (`check`, `mend`, `compact`) isn't passed on.
impl History for Watched {
    fn never_waits(&self) -> bool {
        self.history.never_waits()
    }

    fn append(&mut self, batch: &[Entry]) -> ApiResult<Appended> {
        let appended = self.history.append(batch)?;
        (self.on_append)(batch);
        Ok(appended)
    }

    fn append_batch(&mut self, batch: &Batch) -> ApiResult<Appended> {
        let appended = self.history.append_batch(batch)?;
        (self.on_append)(batch.entries());
        Ok(appended)
    }

    fn holds(&self, id: &MsgId) -> ApiResult<Holding> {
        self.history.holds(id)
    }

    fn get(&self, shelf: Shelf, id: &MsgId) -> ApiResult<Option<Bytes>> {
        self.history.get(shelf, id)
    }

    fn page(&self, room: &RoomTag, before: Cursor, limit: usize) -> ApiResult<Vec<ArchiveRecord>> {
        self.history.page(room, before, limit)
    }

    fn ids(&self, shelf: Shelf, range: ExpiryRange) -> ApiResult<Vec<(ExpiryHour, MsgId)>> {
        self.history.ids(shelf, range)
    }

    fn tombstones(&self) -> ApiResult<Vec<MsgId>> {
        self.history.tombstones()
    }

    fn ids_after(
        &self,
        shelf: Shelf,
        range: ExpiryRange,
        after: Option<(ExpiryHour, MsgId)>,
        limit: usize,
    ) -> ApiResult<Vec<(ExpiryHour, MsgId)>> {
        self.history.ids_after(shelf, range, after, limit)
    }

    fn page_after(&self, room: &RoomTag, after: Option<Cursor>, limit: usize) -> ApiResult<Vec<ArchiveRecord>> {
        self.history.page_after(room, after, limit)
    }

    fn tombstones_after(&self, after: Option<MsgId>, limit: usize) -> ApiResult<Vec<MsgId>> {
        self.history.tombstones_after(after, limit)
    }

    fn state(&self, key: &str) -> ApiResult<Option<Bytes>> {
        self.history.state(key)
    }

    fn prune(&mut self, keep: &Retention, now: ExpiryHour) -> ApiResult<Pruned> {
        self.history.prune(keep, now)
    }

    fn forget(&mut self, id: &MsgId) -> ApiResult<()> {
        self.history.forget(id)
    }

    fn stats(&self) -> ApiResult<Stats> {
        self.history.stats()
    }
}
