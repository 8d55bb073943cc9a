//! Wires a node's parts together and starts its tasks.

use std::any::Any;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use ed25519_dalek::SigningKey;
use rumormill_api::{Cursor, Dedup, History, LinkEvent, Links, PeerAddr, Retention};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::announce::{Announcer, decode_addresses};
use super::api::{ChatInfo, Event, Me, NoticeLevel};
use super::clock::{Clock, Entropy, system_entropy};
use super::driver::{Driver, DriverState};
use super::ext::Hooks;
use super::handle::Node;
use super::presenter::{self, Presenter};
use super::relays::Relays;
use super::shared::{EVENT_BUS_CAPACITY, Shared};
use super::vault::{self, Progress, ToVault, VAULT_QUEUE_MAX, Vault};
use crate::proto::{Dissemination, Engine, EngineConfig, Input, RoomProof};
use crate::room::{Identity, Keyring, RoomState, StorageKey};

/// Why a node didn't start: a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A backend refused: an unknown name, a port in use, a locked or damaged database.
    #[error(transparent)]
    Backend(#[from] rumormill_api::Error),
    /// The store refused; its own words, and where it is.
    #[error("{source}; it is in {}", folder.display())]
    History {
        /// The folder of the store's files.
        folder: std::path::PathBuf,
        /// What the store says.
        source: rumormill_api::Error,
    },
    /// A chat's secret or invite can't be used.
    #[error("chat {chat:?}: {reason}")]
    Chat {
        /// The chat.
        chat: String,
        /// Why.
        reason: String,
    },
    /// The system refused a thread or a folder.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The nice value of the history's threads: theirs is a tenth of the weight of those that relay.
#[cfg(target_os = "linux")]
const HISTORY_NICE: i32 = 10;

/// How many requests wait for the driver.
const REQUESTS_MAX: usize = 256;

/// How many records are read at once when a room's state is made anew out of its archive.
const REBUILD_PAGE: usize = 1_000;

/// A bus for a node's events.
pub(crate) fn event_bus() -> broadcast::Sender<Event> {
    broadcast::channel(EVENT_BUS_CAPACITY).0
}

/// Everything that a node is made of.
pub(crate) struct Parts {
    pub(crate) me: Me,
    pub(crate) chats: Vec<ChatInfo>,
    pub(crate) keyring: Keyring,
    pub(crate) identity: Identity,
    pub(crate) storage: StorageKey,
    pub(crate) history: Box<dyn History>,
    pub(crate) dedup: Box<dyn Dedup>,
    pub(crate) links: BTreeMap<&'static str, Box<dyn Links>>,
    pub(crate) link_events: mpsc::Receiver<LinkEvent>,
    pub(crate) link_key: SigningKey,
    pub(crate) announce: Option<PeerAddr>,
    pub(crate) peers: Vec<PeerAddr>,
    pub(crate) lan: bool,
    pub(crate) outgoing: usize,
    pub(crate) dissemination: Dissemination,
    pub(crate) serve_archive: bool,
    pub(crate) retention: Retention,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The system's, unless given.
    pub(crate) entropy: Option<Entropy>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) inline: bool,
    /// Kept until the node has stopped: the profile's lock.
    pub(crate) keep: Box<dyn Any + Send>,
}

impl Parts {
    /// Starts the node's tasks.
    pub(crate) fn start(mut self) -> Result<Arc<Node>, StartError> {
        let shared = Shared::new(self.me.clone(), self.chats.clone(), self.events.clone());
        let listen = self.listening();
        let states = self.states()?;
        for (room, state) in states.iter().enumerate() {
            shared.set_missing(room, state.missing());
        }

        let mut seed = [0; 32];
        let mut entropy = self.entropy.unwrap_or_else(system_entropy);
        entropy(&mut seed);
        let now = self.clock.now();
        let config = EngineConfig {
            link_key: self.link_key.verifying_key().to_bytes(),
            static_peers: self.peers.clone(),
            own: self.link_key.verifying_key().to_montgomery().to_bytes(),
            known_addresses: vault::load_addresses(&*self.history, &self.storage)?
                .map(|bytes| decode_addresses(&bytes))
                .unwrap_or_default(),
            lan: self.lan,
            outgoing_target: self.outgoing,
            dissemination: self.dissemination,
            ..EngineConfig::default()
        };
        let mut engine = Engine::new(config, self.dedup, seed);
        let trees = vault::seen(&*self.history, &mut |id| engine.note_seen(id, now))?;
        let rooms = self.keyring.rooms();
        let archives: Vec<_> = rooms.iter().map(|room| room.proof_key().map(|_| room.tag())).collect();
        let serve = self.serve_archive;
        let proofs = rooms
            .iter()
            .filter_map(|room| room.proof_key().map(|key| RoomProof { tag: room.tag(), key, serve }))
            .collect();
        engine.handle(Input::Rooms(proofs), now);
        let mut announcer = Announcer::new(self.link_key, self.announce);
        for addr in &listen {
            announcer.listening(addr.clone());
        }
        if let Some(record) = announcer.renew(now.unix) {
            engine.handle(Input::OwnRecord(Some(record)), now);
        }

        let (to_presenter, queue) = presenter::queue(Arc::clone(&shared));
        let relays = Relays::new(Arc::clone(&self.hooks));
        let presenter = Presenter::new(Arc::clone(&shared), self.hooks, queue);
        let (to_vault, commands) = mpsc::channel(VAULT_QUEUE_MAX);
        let (replies, from_vault) = mpsc::unbounded_channel();
        let (to_driver, requests) = mpsc::channel(REQUESTS_MAX);
        let retry_wanted = Arc::new(AtomicBool::new(false));
        self.retention.ephemeral = vault::ephemeral(rooms);
        let never_waits = self.history.never_waits();
        let vault = Vault {
            history: self.history,
            names: self.chats.iter().map(|chat| Arc::clone(&chat.name)).collect(),
            keyring: Arc::new(self.keyring),
            states,
            identity: self.identity,
            storage: self.storage,
            clock: Arc::clone(&self.clock),
            entropy,
            shared: Arc::clone(&shared),
            presenter: to_presenter,
            replies,
            retention: self.retention,
            trees,
            progress: Progress::new(Arc::clone(&retry_wanted)),
            opening_threads: if self.inline { NonZero::<usize>::MIN } else { vault::opening_threads() },
            erasures: Arc::default(),
        };
        if self.inline {
            tokio::spawn(vault.run_inline(commands));
        } else if never_waits {
            tokio::spawn(vault.run_as_task(commands));
        } else {
            let (opener, parts) = vault.opener(commands);
            let opening = history_thread("rumor-open", move || opener.run());
            let keeping = history_thread("rumor-vault", move || vault.run(&parts));
            opening
                .and(keeping)
                .map_err(|source| StartError::System { what: "can't start the history's threads".into(), source })?;
        }
        let driver = Driver {
            engine,
            links: self.links,
            events: self.link_events,
            requests,
            vault: ToVault::new(to_vault.clone()),
            replies: from_vault,
            retry_wanted,
            announcer,
            named: self.peers,
            archives,
            clock: self.clock,
            now,
            relays,
            shared: Arc::clone(&shared),
            state: DriverState::default(),
        };
        let (vault_gone, told) = oneshot::channel();
        let presenting = tokio::spawn(presenter.run(told));
        let keep = self.keep;
        let stopping = Arc::clone(&shared);
        tokio::spawn(async move {
            driver.run().await;
            let _ = vault_gone.send(());
            // The vault has dropped its end: what it made durable is shown before the end is told.
            if let Err(error) = presenting.await {
                tracing::error!(%error, "the presenter failed");
            }
            drop(keep);
            stopping.emit(Event::Stopped);
        });
        shared.emit(Event::Ready { listen });
        for chat in self.chats.iter().filter(|chat| chat.weak) {
            let text = format!("{} opens with a passphrase, which can be guessed: use a secret instead", chat.name);
            shared.notice(NoticeLevel::Warning, "node", text);
        }
        Ok(Arc::new(Node { shared, vault: to_vault, driver: to_driver }))
    }

    /// Where the transports listen: they said so before they were open.
    fn listening(&mut self) -> Vec<PeerAddr> {
        let mut listen = Vec::new();
        while let Ok(event) = self.link_events.try_recv() {
            if let LinkEvent::Listening(addr) = event {
                listen.push(addr);
            }
        }
        listen
    }

    fn states(&self) -> Result<Vec<RoomState>, StartError> {
        Ok(states(&*self.history, &self.keyring, &self.storage, self.clock.now().unix)?)
    }
}

/// Starts a thread that goes after those that relay: while a room is restored, all processors may be busy.
fn history_thread(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // POSIX gives a nice value to processes; Linux gives each thread its own. One that is nicer already stays so.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, HISTORY_NICE);
        run();
    })
}

/// The rooms' states as they were kept; one that is missing or damaged is made anew out of the archive, so that no
/// sequence number is ever used twice.
pub(super) fn states(
    history: &dyn History,
    keyring: &Keyring,
    storage: &StorageKey,
    now: u64,
) -> rumormill_api::Result<Vec<RoomState>> {
    let loaded = vault::load_states(history, storage, keyring.rooms())?;
    loaded
        .into_iter()
        .zip(keyring.rooms())
        .map(|(state, room)| match state {
            Some(state) => Ok(state),
            None => {
                let mut records = Vec::new();
                let mut before = Cursor::END;
                loop {
                    let page = history.page(&room.tag(), before, REBUILD_PAGE)?;
                    let Some(first) = page.first() else { break };
                    before = first.at;
                    records.extend(page.into_iter().rev());
                }
                let mut state = RoomState::default();
                let held: std::collections::HashSet<_> = records.iter().map(|record| record.at.id).collect();
                for record in records.iter().rev() {
                    if let Ok(Some((_, opened))) = keyring.open(&record.envelope, now) {
                        room.note(&mut state, &opened, now, &mut |id| held.contains(id));
                    }
                }
                Ok(state)
            }
        })
        .collect()
}
