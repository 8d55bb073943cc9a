//! Puts a node together: config and profile in, a running node out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rumormill_api::{DedupConfig, History, HistoryConfig, LinkSecret, LinkSink, Registry, Retention, TransportConfig};
use tokio::sync::broadcast;

use crate::config::{ChatConfig, ChatKind, Config, RoomSource};
use crate::node::offline::{self, Offline};
use crate::node::{
    ChatInfo, Clock, Entropy, Event, Hooks, Me, NoHooks, Node, Parts, StartError, SystemClock, event_bus,
};
use crate::plugins;
use crate::room::{Access, Identity, Invite, InviteError, Keyring, Room, RoomKind, RoomSecret, RoomSpec, StorageKey};
use crate::state::Profile;

/// Makes a node out of a config and a profile. Backends come from the registry: the ones compiled in, and any that
/// [`register`](Self::register) adds.
pub struct Builder {
    config: Config,
    profile: Profile,
    registry: Registry,
    hooks: Arc<dyn Hooks>,
    clock: Option<Arc<dyn Clock>>,
    entropy: Option<Entropy>,
    inline: bool,
    events: broadcast::Sender<Event>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config.file).field("registry", &self.registry).finish()
    }
}

impl Builder {
    /// A node of this config that lives in this profile.
    #[must_use]
    pub fn new(config: Config, profile: Profile) -> Self {
        Self {
            config,
            profile,
            registry: plugins::compiled_in(),
            hooks: Arc::new(NoHooks),
            clock: None,
            entropy: None,
            inline: false,
            events: event_bus(),
        }
    }

    /// Adds backends of your own: `register` is called with the registry.
    #[must_use]
    pub fn register(mut self, register: impl FnOnce(&mut Registry)) -> Self {
        register(&mut self.registry);
        self
    }

    /// Filters on the node's messages.
    #[must_use]
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks = hooks;
        self
    }

    /// Another clock than the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Other random bytes than the system's: `fill` fills the slice that it is given. For tests alone, in which a node is to do
    /// the same in every run: whoever knows these bytes reads and forges what the node seals.
    #[must_use]
    pub fn entropy(mut self, fill: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        self.entropy = Some(Box::new(fill));
        self
    }

    /// Keeps the store on the runtime's own threads instead of one of its own: for nodes in virtual time, whose clock
    /// runs ahead of anything it can't see. Blocks the runtime during each commit.
    #[must_use]
    pub const fn store_inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Everything that happens at the node, from its start on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Opens the profile's history without starting a node.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn offline(self) -> Result<Offline, StartError> {
        let Self { config, profile, registry, clock, .. } = self;
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
        let storage = StorageKey::new(*profile.storage_key);
        let cipher = registry.cipher(&config.backends.cipher, ())?;
        let rooms = config.chats.iter().map(|chat| Ok(Room::new(room_spec(chat)?, Arc::clone(&cipher), &storage)));
        let rooms = rooms.collect::<Result<Vec<_>, StartError>>()?;
        let history = open_history(&config, &profile, &registry)?;
        let keep = Box::new(profile);
        let parts = offline::Parts { history, keyring: Keyring::new(rooms), storage, clock, keep };
        Ok(Offline::open(parts)?)
    }

    /// Starts the node: its store is open, it listens, and it has begun to dial.
    ///
    /// # Errors
    ///
    /// [`StartError`]. Nothing of the node is left running then.
    pub async fn start(self) -> Result<Arc<Node>, StartError> {
        let Self { config, profile, registry, hooks, clock, entropy, inline, events } = self;
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
        let identity = Identity::from_seed(&profile.identity_seed);
        let storage = StorageKey::new(*profile.storage_key);
        let cipher = registry.cipher(&config.backends.cipher, ())?;
        let specs = config.chats.iter().map(room_spec).collect::<Result<Vec<_>, _>>()?;
        let chats: Vec<ChatInfo> = specs
            .iter()
            .map(|spec| ChatInfo {
                name: Arc::clone(&spec.name),
                weak: spec.weak,
                ephemeral: spec.kind == RoomKind::Ephemeral,
                missing: 0,
            })
            .collect();
        let rooms = specs.into_iter().map(|spec| Room::new(spec, Arc::clone(&cipher), &storage)).collect();

        let history = open_history(&config, &profile, &registry)?;
        let options = |name: &str| config.options.get(name).cloned().unwrap_or_default();
        let dedup = registry.dedup(
            &config.backends.dedup,
            DedupConfig {
                capacity: config.dedup.capacity,
                rotate_after: config.dedup.rotate_after,
                seed: *profile.bloom_seed,
                ..DedupConfig::default()
            },
        )?;

        let link_key = ed25519_dalek::SigningKey::from_bytes(&profile.link_seed);
        // The transports say where they listen before anybody takes their events.
        let (sink, link_events) = LinkSink::channel(crate::node::LINK_EVENTS_MAX + config.listen.len());
        let mut links = BTreeMap::new();
        for name in &config.backends.transports {
            let transport = registry.transport(
                name,
                TransportConfig {
                    listen: listen_for(&config.listen, name),
                    secret: LinkSecret(link_key.to_scalar_bytes()),
                    network: network_key(&config),
                    proxy: config.network.proxy.clone(),
                    options: options(name),
                    ..TransportConfig::default()
                },
            )?;
            links.insert(transport.scheme(), transport.open(sink.clone()).await?);
        }
        drop(sink);

        let parts = Parts {
            me: Me { id: identity.id(), nick: config.name.as_str().into() },
            chats,
            keyring: Keyring::new(rooms),
            identity,
            storage,
            history,
            dedup,
            links,
            link_events,
            link_key,
            announce: config.announce.first().cloned(),
            peers: config.peers.clone(),
            lan: config.network.lan,
            outgoing: config.network.outgoing,
            dissemination: config.dissemination,
            serve_archive: config.archive.serve,
            retention: Retention { window_quota_bytes: config.window.quota_bytes, ephemeral: Vec::new() },
            hooks,
            clock,
            entropy,
            events,
            inline,
            keep: Box::new(profile),
        };
        parts.start()
    }
}

/// Opens the store of a profile.
fn open_history(config: &Config, profile: &Profile, registry: &Registry) -> Result<Box<dyn History>, StartError> {
    let folder = profile.history_folder();
    private_folder(&folder).map_err(|source| StartError::System {
        what: format!("can't make the folder {0}; if a file has its place, move it away", folder.display()),
        source,
    })?;
    let options = config.options.get(&config.backends.history).cloned().unwrap_or_default();
    registry
        .history(&config.backends.history, HistoryConfig { folder: folder.clone(), options })
        .map_err(|source| StartError::History { folder, source })
}

/// Makes a folder for the owner alone, if it isn't there.
fn private_folder(folder: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The addresses that a transport of that name listens at. A transport's scheme is its name.
fn listen_for(listen: &[String], transport: &str) -> Vec<String> {
    listen
        .iter()
        .filter_map(|addr| addr.split_once(':').filter(|(scheme, _)| *scheme == transport))
        .map(|(_, rest)| rest.to_owned())
        .collect()
}

/// The key that all links of a network are opened with. The open network's derives from its name alone, and is public.
fn network_key(config: &Config) -> LinkSecret {
    let mut hasher = blake3::Hasher::new_derive_key("rumormill network key v1");
    hasher.update(config.network.name.as_bytes());
    if let Some(secret) = &config.network.secret {
        hasher.update(&[0]);
        hasher.update(secret.expose());
    }
    LinkSecret(*hasher.finalize().as_bytes())
}

/// What a chat of the config is made of. An invite's expiry is for those who join: who has joined stays.
///
/// # Errors
///
/// [`StartError::Chat`].
pub fn room_spec(chat: &ChatConfig) -> Result<RoomSpec, StartError> {
    let wrong = |reason: String| StartError::Chat { chat: chat.name.clone(), reason };
    let kind = match chat.kind {
        ChatKind::Archive => RoomKind::Archive,
        ChatKind::Ephemeral => RoomKind::Ephemeral,
    };
    let (access, kind, born_day, weak) = match &chat.source {
        RoomSource::Secret(secret) => (Access::Secret(RoomSecret::new(*secret.expose())), kind, 0, false),
        RoomSource::Passphrase(text) => {
            let secret =
                RoomSecret::from_passphrase(text.expose(), &chat.name).map_err(|error| wrong(error.to_string()))?;
            (Access::Secret(secret), kind, 0, true)
        }
        RoomSource::Invite(text) => {
            let invite: Invite = text.expose().parse().map_err(|error: InviteError| wrong(error.to_string()))?;
            (invite.access, invite.kind, invite.born_day, invite.weak)
        }
    };
    Ok(RoomSpec { name: chat.name.as_str().into(), access, kind, born_day, weak })
}
