//! The vault: the store, the rooms and their states, on a thread of their own.
//!
//! It turns what the engine accepted into durable records (group commit: everything that has piled up is one
//! transaction), opens what this node can read, and answers questions. What is shown or acknowledged was durable
//! before. The flood never waits for it, except when its bounded queue is full: then the node reads slower from its
//! links, which slows its peers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rumormill_api::{
    Cursor, Entry, ErrorKind, ExpiryHour, ExpiryRange, History, MsgId, Result as ApiResult, Retention, RoomTag, Shelf,
};
use tokio::sync::{mpsc, oneshot};

use super::api::{Event, HistoryQuery, Message, NodeError, NoticeLevel, Person};
use super::clock::{Clock, Entropy};
use super::ext::Draft;
use super::presenter::{Shown, ToPresenter};
use super::shared::Shared;
use crate::proto::{Accepted, SessionId};
use crate::room::{
    Body, Identity, Keyring, MAX_TEXT_BYTES, NewMessage, Opened, Rank, Room, RoomKind, RoomState, SealError,
    StorageKey, assemble, display_order, sanitize, sanitize_line,
};

/// How many commands may wait for the vault.
pub(super) const VAULT_QUEUE_MAX: usize = 8_192;

/// How many waiting commands one transaction takes in.
const GROUP_COMMIT_MAX: usize = 1_024;

/// How many bytes of envelopes wait for a failing store to come back. Past it they are left to reconciliation.
const RETRY_MAX_BYTES: usize = 16 << 20;

/// How many messages one query of a history returns at most.
pub(super) const HISTORY_LIMIT_MAX: usize = 10_000;

/// How many manifests wait for their chunks.
const PENDING_MANIFESTS_MAX: usize = 1_024;

/// How many damaged messages are remembered, so as not to show them again.
const DAMAGED_MAX: usize = 65_536;

/// Where the addresses of peers are kept over restarts.
const ADDRESSES_KEY: &str = "addresses";

/// What the vault is asked to do.
pub(super) enum Command {
    /// Keep, open and show these.
    Accept(Vec<Accepted>),
    /// Seal, keep, acknowledge, then flood.
    Publish(Draft, oneshot::Sender<Result<MsgId, NodeError>>),
    /// Has this id been here? Answered by [`Reply::Known`].
    Ask(MsgId),
    /// Answered by [`Reply::Ids`].
    ListIds(SessionId, Shelf, ExpiryRange),
    /// Answered by [`Reply::Fetched`].
    Fetch(SessionId, Shelf, Vec<MsgId>),
    /// A page of a chat's history.
    History(String, HistoryQuery, oneshot::Sender<Result<Vec<Message>, NodeError>>),
    /// How a chat stands.
    Standing(usize, oneshot::Sender<Standing>),
    /// Read a chat's archive through: what is damaged is forgotten, so that it is fetched again.
    Verify(usize),
    /// Remove what has expired, and erase the keys of what is gone: only by a clock that can be trusted.
    Prune(ExpiryHour),
    /// Keep the addresses of peers over restarts.
    SaveAddresses(Vec<u8>),
    /// Try again what a failing store didn't take.
    Retry,
    /// Make everything durable and end.
    Stop,
}

/// What the vault answers the driver.
pub(super) enum Reply {
    Publish(Vec<Bytes>),
    Known(MsgId, bool),
    Ids(SessionId, Option<Vec<(ExpiryHour, MsgId)>>),
    Fetched(SessionId, Vec<Bytes>),
}

/// How a chat stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Standing {
    /// Messages of it that were new since the node started.
    pub(super) new: u64,
    /// Messages known to be missing.
    pub(super) missing: u64,
    /// When the oldest one here was said.
    pub(super) oldest: Option<u64>,
}

/// A sealed message that waits to be durable: who is to be told, its id, its envelopes.
type Published = (oneshot::Sender<Result<MsgId, NodeError>>, MsgId, Vec<Bytes>);

/// What one transaction gathers.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    archived: HashSet<MsgId>,
    ids: HashSet<MsgId>,
    /// The states before this batch touched them.
    undo: BTreeMap<usize, RoomState>,
    accepted: Vec<Accepted>,
    published: Vec<Published>,
    shown: Vec<Shown>,
    new: BTreeMap<usize, u64>,
    /// The long messages that waited before this batch touched them.
    waiting: Option<HashMap<MsgId, Waiting>>,
}

/// A long message whose chunks aren't all here.
#[derive(Clone)]
pub(super) struct Waiting {
    room: usize,
    manifest: Opened,
    synced: bool,
    late: bool,
}

pub(super) struct Vault {
    pub(super) history: Box<dyn History>,
    pub(super) keyring: Keyring,
    pub(super) names: Vec<Arc<str>>,
    pub(super) states: Vec<RoomState>,
    pub(super) identity: Identity,
    pub(super) storage: StorageKey,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Entropy,
    pub(super) shared: Arc<Shared>,
    pub(super) presenter: ToPresenter,
    pub(super) replies: mpsc::UnboundedSender<Reply>,
    pub(super) retention: Retention,
    pub(super) progress: Progress,
}

/// What a vault has yet to finish, and what it has counted.
#[derive(Default)]
pub(super) struct Progress {
    /// Accepted, but the store failed.
    retry: Vec<Accepted>,
    retry_ids: HashSet<MsgId>,
    retry_bytes: usize,
    /// Read by the driver, which then asks for a retry.
    retry_wanted: Arc<AtomicBool>,
    /// Long messages whose chunks aren't all here, by a chunk that is missing.
    pending: HashMap<MsgId, Waiting>,
    /// Messages that were damaged: shown before, they aren't shown again when they come back.
    damaged: HashSet<MsgId>,
    /// The last message shown in each room, in the order of display: what waits longer than that is late.
    newest: BTreeMap<usize, Rank>,
    new: BTreeMap<usize, u64>,
    failing: bool,
}

impl Progress {
    pub(super) fn new(retry_wanted: Arc<AtomicBool>) -> Self {
        Self { retry_wanted, ..Self::default() }
    }
}

impl Vault {
    /// Runs on its own thread until [`Command::Stop`], or until the node is gone.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.resume();
        while let Some(first) = commands.blocking_recv() {
            if !self.turn(first, &mut commands) {
                return;
            }
        }
    }

    /// The same as a task, for nodes in virtual time (a paused clock doesn't wait for threads).
    pub(super) async fn run_inline(mut self, mut commands: mpsc::Receiver<Command>) {
        self.resume();
        while let Some(first) = commands.recv().await {
            if !self.turn(first, &mut commands) {
                return;
            }
        }
    }

    /// One transaction: `first` and whatever waits behind it. `false` once stopped.
    fn turn(&mut self, first: Command, commands: &mut mpsc::Receiver<Command>) -> bool {
        let mut batch = Batch::default();
        // While the store fails, what waits for it is tried when the driver says so, not with every command.
        if !self.progress.failing {
            self.take_up_retries(&mut batch);
        }
        let mut next = Some(first);
        let mut taken = 0;
        let mut running = true;
        while let Some(command) = next {
            running &= self.command(&mut batch, command);
            taken += 1;
            next = if taken < GROUP_COMMIT_MAX && running { commands.try_recv().ok() } else { None };
        }
        self.commit(&mut batch);
        running
    }

    fn command(&mut self, batch: &mut Batch, command: Command) -> bool {
        match command {
            Command::Accept(all) if self.progress.failing => {
                all.into_iter().for_each(|accepted| self.keep_for_retry(accepted));
            }
            Command::Accept(all) => all.into_iter().for_each(|accepted| self.accept(batch, accepted)),
            Command::Publish(draft, reply) => self.publish(batch, &draft, reply),
            Command::Ask(id) => {
                let known = batch.ids.contains(&id)
                    || self.progress.retry_ids.contains(&id)
                    || self.history.holds(&id).is_ok_and(|holding| holding.any());
                self.reply(Reply::Known(id, known));
            }
            Command::ListIds(session, shelf, range) => {
                self.commit(batch);
                let ids = self.history.ids(shelf, range);
                let ids = self.noted(ids);
                self.reply(Reply::Ids(session, ids));
            }
            Command::Fetch(session, shelf, ids) => {
                self.commit(batch);
                let envelopes = ids.iter().filter_map(|id| self.fetch(shelf, id)).collect();
                self.reply(Reply::Fetched(session, envelopes));
            }
            Command::History(chat, query, reply) => {
                self.commit(batch);
                let _ = reply.send(self.history(&chat, query));
            }
            Command::Standing(chat, reply) => {
                self.commit(batch);
                let _ = reply.send(self.standing(chat));
            }
            Command::Verify(room) => {
                self.commit(batch);
                self.verify(room);
            }
            Command::Prune(now) => {
                self.commit(batch);
                self.prune(now);
            }
            Command::SaveAddresses(addresses) => {
                let value = self.storage.seal_state(ADDRESSES_KEY.as_bytes(), &addresses, &mut *self.entropy);
                batch.entries.push(Entry::State { key: ADDRESSES_KEY.into(), value: Some(value.into()) });
            }
            Command::Retry => self.take_up_retries(batch),
            Command::Stop => {
                self.take_up_retries(batch);
                return false;
            }
        }
        true
    }

    fn take_up_retries(&mut self, batch: &mut Batch) {
        let retries = std::mem::take(&mut self.progress.retry);
        self.progress.retry_ids.clear();
        self.progress.retry_bytes = 0;
        self.progress.retry_wanted.store(false, Ordering::Release);
        for accepted in retries {
            self.accept(batch, accepted);
        }
    }

    fn keep_for_retry(&mut self, accepted: Accepted) {
        let bytes = self.progress.retry_bytes + accepted.envelope.len();
        if bytes > RETRY_MAX_BYTES {
            self.shared.count("store_overflow");
        } else if self.progress.retry_ids.insert(accepted.id) {
            self.progress.retry_bytes = bytes;
            self.progress.retry.push(accepted);
            self.progress.retry_wanted.store(true, Ordering::Release);
        }
    }

    fn prune(&mut self, now: ExpiryHour) {
        let pruned = self.history.prune(&self.retention, now);
        if let Some(pruned) = self.noted(pruned) {
            tracing::debug!(?pruned, "pruned the history");
        }
        let now_ms = self.clock.now().unix;
        for room in self.keyring.rooms() {
            // The config has the secret still; what this erases is every old key that was derived from it.
            if room.ratchet(now_ms).is_some() {
                tracing::debug!(room = ?room.tag(), "erased old keys");
            }
        }
        self.give_up_what_nothing_follows();
    }

    /// In a room that forgets, a message counts as missing only as long as one that follows it is here.
    fn give_up_what_nothing_follows(&mut self) {
        let now = self.clock.now().unix;
        for room in 0..self.keyring.rooms().len() {
            if self.keyring.rooms()[room].kind() != RoomKind::Ephemeral || self.states[room].missing() == 0 {
                continue;
            }
            let shelf = Shelf::Archive(self.keyring.rooms()[room].tag());
            let ids = self.history.ids(shelf, ExpiryRange::ALL);
            let Some(ids) = self.noted(ids) else { continue };
            let mut followed = HashSet::new();
            for (_, id) in ids {
                let Some(envelope) = self.fetch(shelf, &id) else { continue };
                if let Ok(Some((_, opened))) = self.keyring.open(&envelope, now) {
                    followed.extend(opened.dependencies().copied());
                }
            }
            let gone: Vec<_> = self.states[room].missing_ids().filter(|id| !followed.contains(*id)).copied().collect();
            let state = &mut self.states[room];
            gone.iter().for_each(|id| state.give_up(id));
            if !gone.is_empty() {
                self.tell_missing(room);
            }
        }
    }

    fn tell_missing(&self, room: usize) {
        let missing = self.states[room].missing();
        self.shared.set_missing(room, missing);
        self.presenter.show(Shown::Gap { chat: Arc::clone(&self.names[room]), missing });
    }

    fn verify(&mut self, room: usize) {
        let shelf = Shelf::Archive(self.keyring.rooms()[room].tag());
        let ids = self.history.ids(shelf, ExpiryRange::ALL);
        for (_, id) in self.noted(ids).unwrap_or_default() {
            self.fetch(shelf, &id);
        }
    }

    /// Takes up long messages again that waited for chunks when the node stopped.
    fn resume(&mut self) {
        let now = self.clock.now().unix;
        for room in 0..self.keyring.rooms().len() {
            if self.states[room].missing() == 0 {
                continue;
            }
            let shelf = Shelf::Archive(self.keyring.rooms()[room].tag());
            let ids = self.history.ids(shelf, ExpiryRange::ALL);
            for (_, id) in self.noted(ids).unwrap_or_default() {
                let Some(envelope) = self.fetch(shelf, &id) else { continue };
                let Ok(Some((_, manifest))) = self.keyring.open(&envelope, now) else { continue };
                if let Some(chunk) = self.first_missing_chunk(room, &manifest, &|_| None) {
                    let waiting = Waiting { room, manifest, synced: true, late: true };
                    self.wait_for(chunk, waiting);
                }
            }
        }
    }

    fn wait_for(&mut self, chunk: MsgId, waiting: Waiting) {
        // Past the bound it is in the history, but not shown live.
        if self.progress.pending.len() < PENDING_MANIFESTS_MAX {
            self.progress.pending.insert(chunk, waiting);
        } else {
            self.shared.count("not_shown_live");
        }
    }

    fn reply(&self, reply: Reply) {
        // The driver is gone only when the node stops; then nobody needs the answer.
        let _ = self.replies.send(reply);
    }

    /// Unwraps a store's answer; an error is told to the user once, until the store works again.
    fn noted<T>(&mut self, result: ApiResult<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.shared.count("store_failed");
                tracing::warn!(%error, "the history failed");
                if !std::mem::replace(&mut self.progress.failing, true) {
                    self.shared.notice(NoticeLevel::Error, "node", format!("the history can't be used now: {error}"));
                }
                None
            }
        }
    }

    fn fetch(&mut self, shelf: Shelf, id: &MsgId) -> Option<Bytes> {
        match self.history.get(shelf, id) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                // Forgotten, it counts as missing, and the next reconciliation brings it back.
                self.shared.count("damaged");
                tracing::warn!(%error, "a damaged envelope is fetched again from peers");
                let forgotten = self.history.forget(id);
                if self.noted(forgotten).is_some() && self.progress.damaged.len() < DAMAGED_MAX {
                    self.progress.damaged.insert(*id);
                }
                None
            }
            result => self.noted(result).flatten(),
        }
    }

    fn accept(&mut self, batch: &mut Batch, accepted: Accepted) {
        if !batch.ids.insert(accepted.id) {
            return;
        }
        let Accepted { id, expiry, ref envelope, source, synced, window } = accepted;
        if window {
            batch.entries.push(Entry::Window { id, expiry, source, envelope: envelope.clone() });
        }
        match self.keyring.open(envelope, self.clock.now().unix) {
            Ok(None) => {}
            Ok(Some((room, opened))) => self.take_in(batch, room, opened, expiry, envelope.clone(), synced),
            Err(reject) => self.shared.count(reject.name()),
        }
        batch.accepted.push(accepted);
    }

    /// A message of one of the rooms: into its archive, its place among the others noted, and shown.
    fn take_in(&mut self, batch: &mut Batch, room: usize, opened: Opened, expiry: u32, envelope: Bytes, synced: bool) {
        let id = opened.id;
        if self.archived(&id) {
            return;
        }
        let tag = self.keyring.rooms()[room].tag();
        if self.progress.damaged.contains(&id) && !self.progress.pending.contains_key(&id) {
            // It was here and shown; only its bytes come back.
            batch.entries.push(Entry::Archive { id, room: tag, expiry, lamport: opened.lamport, envelope });
            batch.archived.insert(id);
            *batch.new.entry(room).or_default() += 1;
            return;
        }
        let state = &mut self.states[room];
        let before = batch.undo.entry(room).or_insert_with(|| state.clone());
        let (archived, history) = (&batch.archived, &self.history);
        let forgets = self.keyring.rooms()[room].kind() == RoomKind::Ephemeral;
        let mut known = |id: &MsgId| {
            archived.contains(id)
                || history.holds(id).is_ok_and(|holding| holding.archive)
                // Where messages are erased, what was here and is gone is no gap.
                || forgets && before.remembers(id)
        };
        let noted = self.keyring.rooms()[room].note(state, &opened, self.clock.now().unix, &mut known);
        if noted.equivocation {
            self.shared.count("equivocation");
            self.shared.notice(
                NoticeLevel::Warning,
                "node",
                format!(
                    "{}#{} sent two different messages as the same one in {}: don't rely on what they say",
                    sanitize_line(&opened.nick),
                    opened.from.fingerprint(),
                    self.names[room]
                ),
            );
        }
        batch.entries.push(Entry::Archive { id, room: tag, expiry, lamport: opened.lamport, envelope });
        batch.archived.insert(id);
        *batch.new.entry(room).or_default() += 1;
        let rank = (opened.lamport, id);
        let message = self.message(room, &opened, synced, noted.late, noted.missing_now, &|id| {
            batch.entries.iter().rev().find_map(|entry| match entry {
                Entry::Archive { id: here, envelope, .. } if here == id => Some(envelope.clone()),
                _ => None,
            })
        });
        match message {
            Some(message) => {
                self.passed(room, rank);
                batch.shown.push(Shown::Message(message));
            }
            None => {
                self.wait_for_chunks(batch, Waiting { room, manifest: opened, synced, late: noted.late });
            }
        }
    }

    fn archived(&self, id: &MsgId) -> bool {
        self.history.holds(id).is_ok_and(|holding| holding.archive)
    }

    /// A message is shown: what comes before it in the order of display is late from now on.
    fn passed(&mut self, room: usize, rank: Rank) {
        let newest = self.progress.newest.entry(room).or_insert(rank);
        *newest = rank.max(*newest);
    }

    /// A chunk completes a long message, or a manifest waits for its chunks.
    fn wait_for_chunks(&mut self, batch: &mut Batch, new: Waiting) {
        if batch.waiting.is_none() {
            batch.waiting = Some(self.progress.pending.clone());
        }
        let waiting = match &new.manifest.body {
            Body::Chunk { .. } => self.progress.pending.remove(&new.manifest.id),
            Body::Manifest { .. } => Some(new),
            Body::Text(_) => None,
        };
        let Some(waiting) = waiting else { return };
        let Waiting { room, ref manifest, synced, late } = waiting;
        let staged: HashMap<MsgId, Bytes> = batch
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Archive { id, envelope, .. } => Some((*id, envelope.clone())),
                _ => None,
            })
            .collect();
        let look_up = |id: &MsgId| staged.get(id).cloned();
        let rank = (manifest.lamport, manifest.id);
        let late = late || self.progress.newest.get(&room).is_some_and(|newest| rank < *newest);
        let here = |id: &MsgId| staged.contains_key(id) || self.archived(id);
        let missing = manifest.dependencies().filter(|id| !here(id)).count();
        if let Some(message) = self.message(room, manifest, synced, late, missing, &look_up) {
            self.passed(room, rank);
            batch.shown.push(Shown::Message(message));
        } else if let Some(chunk) = self.first_missing_chunk(room, manifest, &look_up) {
            self.wait_for(chunk, waiting);
        }
    }

    fn first_missing_chunk(
        &self,
        room: usize,
        manifest: &Opened,
        staged: &dyn Fn(&MsgId) -> Option<Bytes>,
    ) -> Option<MsgId> {
        let Body::Manifest { chunks, .. } = &manifest.body else { return None };
        let shelf = Shelf::Archive(self.keyring.rooms()[room].tag());
        chunks.iter().find(|id| staged(id).is_none() && !matches!(self.history.get(shelf, id), Ok(Some(_)))).copied()
    }

    /// What is shown of an opened envelope: nothing for a chunk, or for a long message whose chunks aren't all here.
    fn message(
        &self,
        room: usize,
        opened: &Opened,
        synced: bool,
        late: bool,
        missing: usize,
        staged: &dyn Fn(&MsgId) -> Option<Bytes>,
    ) -> Option<Message> {
        let text = match &opened.body {
            Body::Text(text) => sanitize(text).into_owned(),
            Body::Chunk { .. } => return None,
            Body::Manifest { .. } => {
                let shelf = Shelf::Archive(self.keyring.rooms()[room].tag());
                let now = self.clock.now().unix;
                let mut chunk = |id: &MsgId| {
                    let envelope = staged(id).or_else(|| self.history.get(shelf, id).ok().flatten())?;
                    self.keyring.open(&envelope, now).ok().flatten().map(|(_, opened)| opened)
                };
                match assemble(opened, &mut chunk) {
                    Ok(text) => sanitize(&text?).into_owned(),
                    Err(reject) => {
                        self.shared.count(reject.name());
                        return None;
                    }
                }
            }
        };
        Some(Message {
            id: opened.id,
            chat: Arc::clone(&self.names[room]),
            from: Person { id: opened.from, nick: sanitize_line(&opened.nick).into_owned() },
            text,
            time: opened.time,
            mine: opened.from == self.identity.id(),
            bot: opened.bot,
            synced,
            late,
            reply_to: opened.reply_to,
            missing,
        })
    }

    fn publish(&mut self, batch: &mut Batch, draft: &Draft, reply: oneshot::Sender<Result<MsgId, NodeError>>) {
        let Some(room) = self.names.iter().position(|name| *name == draft.chat) else {
            let _ = reply.send(Err(no_such_chat(&draft.chat, &self.names)));
            return;
        };
        let state = &mut self.states[room];
        let before = state.clone();
        let message = NewMessage {
            nick: self.shared.me.nick.to_string(),
            text: draft.text.clone(),
            bot: draft.options.script.is_some(),
            reply_to: draft.options.reply_to,
        };
        let now = self.clock.now().unix;
        let sealed = self.keyring.rooms()[room].seal(&self.identity, state, &message, now, &mut *self.entropy);
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                *state = before;
                let _ = reply.send(Err(match error {
                    SealError::Empty => NodeError::Empty,
                    SealError::TooLong { bytes } => NodeError::TooLong { bytes, max: MAX_TEXT_BYTES },
                    other => NodeError::Other(other.to_string()),
                }));
                return;
            }
        };
        batch.undo.entry(room).or_insert(before);
        let tag = self.keyring.rooms()[room].tag();
        let mut envelopes = Vec::with_capacity(sealed.len());
        let mut shown = None;
        for piece in sealed {
            let (id, expiry, envelope) = (piece.id, piece.expiry, piece.envelope);
            batch.ids.insert(id);
            batch.archived.insert(id);
            batch.entries.push(Entry::Window { id, expiry, source: 0, envelope: envelope.clone() });
            batch.entries.push(Entry::Archive {
                id,
                room: tag,
                expiry,
                lamport: piece.lamport,
                envelope: envelope.clone(),
            });
            envelopes.push(envelope);
            shown = Some(piece.opened);
        }
        let Some(opened) = shown else { return };
        self.passed(room, (opened.lamport, opened.id));
        let chat = Arc::clone(&self.names[room]);
        batch.shown.push(Shown::Sent(Event::Sent { chat: Arc::clone(&chat), id: opened.id }));
        batch.shown.push(Shown::Message(Message {
            id: opened.id,
            chat,
            from: Person { id: opened.from, nick: opened.nick.clone() },
            text: sanitize(&draft.text).into_owned(),
            time: opened.time,
            mine: true,
            bot: opened.bot,
            synced: false,
            late: false,
            reply_to: opened.reply_to,
            missing: 0,
        }));
        batch.published.push((reply, opened.id, envelopes));
    }

    /// Makes the batch durable, then acknowledges and shows it; or takes it back.
    fn commit(&mut self, batch: &mut Batch) {
        let mut batch = std::mem::take(batch);
        if batch.entries.is_empty() && batch.published.is_empty() {
            return;
        }
        for room in batch.undo.keys() {
            let tag = self.keyring.rooms()[*room].tag();
            let value = self.states[*room].encode(&tag, &self.storage, &mut *self.entropy);
            batch.entries.push(Entry::State { key: state_key(tag), value: Some(value.into()) });
        }
        match self.history.append(&batch.entries) {
            Ok(_) => {
                batch.archived.iter().for_each(|id| {
                    self.progress.damaged.remove(id);
                });
                if std::mem::take(&mut self.progress.failing) {
                    self.shared.notice(NoticeLevel::Info, "node", "the history works again");
                }
                self.acknowledge(batch);
            }
            Err(error) => {
                let sentence = error.to_string();
                self.noted::<()>(Err(error));
                self.take_back(batch, &sentence);
            }
        }
    }

    fn acknowledge(&mut self, batch: Batch) {
        for (room, new) in batch.new {
            *self.progress.new.entry(room).or_default() += new;
        }
        for (reply, id, envelopes) in batch.published {
            self.reply(Reply::Publish(envelopes));
            let _ = reply.send(Ok(id));
        }
        for shown in batch.shown {
            self.presenter.show(shown);
        }
        for (room, before) in batch.undo {
            let missing = self.states[room].missing();
            if missing != before.missing() {
                self.tell_missing(room);
            }
        }
    }

    fn take_back(&mut self, batch: Batch, sentence: &str) {
        for (room, before) in batch.undo {
            self.states[room] = before;
        }
        for (reply, ..) in batch.published {
            let _ = reply.send(Err(NodeError::Store(sentence.to_owned())));
        }
        if let Some(waiting) = batch.waiting {
            self.progress.pending = waiting;
        }
        batch.accepted.into_iter().for_each(|accepted| self.keep_for_retry(accepted));
    }

    fn history(&mut self, chat: &str, query: HistoryQuery) -> Result<Vec<Message>, NodeError> {
        let room = self.names.iter().position(|name| **name == *chat).ok_or_else(|| no_such_chat(chat, &self.names))?;
        let tag = self.keyring.rooms()[room].tag();
        let limit = query.limit.min(HISTORY_LIMIT_MAX);
        let now = self.clock.now().unix;
        let mut before = match query.before {
            None => Cursor::END,
            Some(id) => {
                let envelope = self.fetch(Shelf::Archive(tag), &id);
                let opened = envelope.and_then(|envelope| self.keyring.open(&envelope, now).ok().flatten());
                let (_, opened) = opened
                    .ok_or_else(|| NodeError::Other(format!("message {} isn't in this chat's history", id.short())))?;
                Cursor { lamport: opened.lamport, id }
            }
        };
        let mut found: Vec<Opened> = Vec::new();
        let mut texts = 0;
        while texts < limit {
            let page = self.history.page(&tag, before, limit - texts);
            let page = page.map_err(|error| NodeError::Store(error.to_string()))?;
            let Some(first) = page.first() else { break };
            before = first.at;
            // Chunks stand in the archive beside the messages that they are parts of; they are no messages.
            let mut opened: Vec<Opened> = page
                .iter()
                .filter_map(|record| self.keyring.open(&record.envelope, now).ok().flatten())
                .map(|(_, opened)| opened)
                .filter(|opened| !matches!(opened.body, Body::Chunk { .. }))
                .collect();
            texts += opened.len();
            opened.append(&mut found);
            found = opened;
        }
        let gaps: HashSet<_> = self.states[room].missing_ids().collect();
        let forgets = self.keyring.rooms()[room].kind() == RoomKind::Ephemeral;
        let misses = |id: &MsgId| if forgets { gaps.contains(id) } else { !self.archived(id) };
        let messages = display_order(&found).into_iter().filter_map(|at| {
            let opened = &found[at];
            let missing = opened.dependencies().filter(|id| misses(id)).count();
            self.message(room, opened, false, false, missing, &|_| None)
        });
        Ok(messages.collect())
    }

    fn standing(&mut self, chat: usize) -> Standing {
        let tag = self.keyring.rooms()[chat].tag();
        let shelf = Shelf::Archive(tag);
        // Expiry follows the time of sending, so the earliest to expire is the oldest, to within an hour.
        let ids = self.history.ids(shelf, ExpiryRange::ALL);
        let first = self.noted(ids).and_then(|ids| ids.first().copied());
        let now = self.clock.now().unix;
        let oldest = first
            .and_then(|(_, id)| self.fetch(shelf, &id))
            .and_then(|envelope| self.keyring.open(&envelope, now).ok().flatten())
            .map(|(_, opened)| opened.time);
        Standing {
            new: self.progress.new.get(&chat).copied().unwrap_or(0),
            missing: self.states[chat].missing() as u64,
            oldest,
        }
    }
}

/// What every id on the window and every tombstone is: what deduplication starts from.
pub(super) fn seen(history: &dyn History) -> ApiResult<Vec<MsgId>> {
    let mut ids: Vec<_> = history.ids(Shelf::Window, ExpiryRange::ALL)?.into_iter().map(|(_, id)| id).collect();
    ids.extend(history.tombstones()?);
    Ok(ids)
}

/// The states of the rooms as they were kept; `None` for a room that is new, or whose state is damaged.
pub(super) fn load_states(
    history: &dyn History,
    storage: &StorageKey,
    rooms: &[Room],
) -> ApiResult<Vec<Option<RoomState>>> {
    rooms
        .iter()
        .map(|room| {
            let tag = room.tag();
            let sealed = match history.state(&state_key(tag)) {
                Err(error) if error.kind() == ErrorKind::Corrupt => None,
                other => other?,
            };
            Ok(sealed.and_then(|sealed| RoomState::decode(&sealed, &tag, storage).ok()))
        })
        .collect()
}

/// The addresses that [`Command::SaveAddresses`] kept.
pub(super) fn load_addresses(history: &dyn History, storage: &StorageKey) -> ApiResult<Option<Vec<u8>>> {
    let sealed = history.state(ADDRESSES_KEY)?;
    Ok(sealed.and_then(|sealed| storage.open_state(ADDRESSES_KEY.as_bytes(), &sealed).ok()).map(|bytes| bytes.to_vec()))
}

fn state_key(room: RoomTag) -> String {
    format!("room/{}", data_encoding::HEXLOWER.encode(&room.0))
}

pub(super) fn no_such_chat(name: &str, names: &[Arc<str>]) -> NodeError {
    let valid: Vec<&str> = names.iter().map(|name| &**name).collect();
    let valid = if valid.is_empty() { "none (add [[chats]] to the config)".to_owned() } else { valid.join(", ") };
    NodeError::NoSuchChat { name: name.to_owned(), valid }
}

/// The rooms whose archives are kept no longer than the window.
pub(super) fn ephemeral(rooms: &[Room]) -> Vec<RoomTag> {
    rooms.iter().filter(|room| room.kind() == RoomKind::Ephemeral).map(Room::tag).collect()
}
