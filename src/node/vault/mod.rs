//! The vault: the store, the rooms and their states, on a thread of their own, or, if the store never waits, in a task.
//!
//! It turns what the engine accepted into durable records (group commit: everything that has piled up is one
//! transaction), opens what this node can read, and answers questions. What is shown or acknowledged was durable
//! before. The flood never waits for it, except when its bounded queue is full: then the node reads slower from its
//! links, which slows its peers.
//!
//! | file | what it is |
//! |---|---|
//! | `ahead` | opening what comes while the vault is at what came before |
//! | `mod` | commands, transactions, what a transaction's end or failure leads to |
//! | `lasting` | which messages are damaged or wait for chunks, over restarts |
//! | `messages` | messages in and out |
//! | `queries` | what the store is asked, by the user and at the start |
//! | `queue` | the way in, bounded |
//! | `trees` | what reconciliation asks of the store |
//! | `upkeep` | pruning, gaps, damage, retries |

mod ahead;
mod lasting;
mod messages;
mod queries;
mod queue;
#[cfg(test)]
mod tests;
mod trees;
mod upkeep;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bytes::Bytes;
use rumormill_api::{Entry, ErrorKind, ExpiryHour, History, MsgId, Result as ApiResult, Retention, Shelf};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::api::{HistoryQuery, Message, NodeError, NoticeLevel};
use super::clock::{Clock, Entropy};
use super::ext::Draft;
use super::presenter::{Shown, ToPresenter};
use super::shared::Shared;
use crate::proto::{Accepted, Finding, Look, Question, SessionId};
use crate::room::{Identity, Keyring, Opened, Rank, RoomState, StorageKey};
use ahead::{Openings, Parts, open};
pub(super) use lasting::{load_damaged, save_damaged};
pub(super) use queries::{ephemeral, load_addresses, load_states, no_such_chat, seen, state_key};
pub(super) use queue::ToVault;
pub(super) use trees::Trees;

/// How many commands may wait for the vault.
pub(super) const VAULT_QUEUE_MAX: usize = 8_192;

/// How many waiting commands one transaction takes in.
const GROUP_COMMIT_MAX: usize = 1_024;

/// How many commands a turn of a task takes in, …
const TASK_TURN_MAX: usize = 64;
/// … and how many envelopes, if others on the runtime's thread are to wait for it: some hundred microseconds' work.
const TASK_ENVELOPES_MAX: usize = 256;

/// On how many threads signatures are checked at most: past it one transaction hasn't enough of them.
const OPENING_THREADS_MAX: usize = 8;

/// How many bytes of envelopes wait for a failing store to come back. Past it they are left to reconciliation.
const RETRY_MAX_BYTES: usize = 16 << 20;

/// How many messages one query of a history returns at most.
pub(super) const HISTORY_LIMIT_MAX: usize = 10_000;

/// How many manifests wait for their chunks.
const PENDING_MANIFESTS_MAX: usize = 1_024;

/// How many of them may be one member's.
const PENDING_MANIFESTS_MAX_PER_PERSON: usize = 64;

/// How many damaged messages are remembered, so as not to show them again.
const DAMAGED_MAX: usize = 65_536;

/// Where the addresses of peers are kept over restarts.
const ADDRESSES_KEY: &str = "addresses";

/// What the vault is asked to do.
pub(super) enum Command {
    /// Keep, open and show these; the vault holds their share of [`VAULT_QUEUE_MAX_BYTES`](queue::VAULT_QUEUE_MAX_BYTES) until they
    /// are durable.
    Accept(Vec<Accepted>, Option<OwnedSemaphorePermit>),
    /// Seal, keep, acknowledge, then flood.
    Publish(Draft, oneshot::Sender<Result<MsgId, NodeError>>),
    /// Has this id been here? Answered by [`Reply::Known`].
    Ask(MsgId),
    /// Answered by [`Reply::Found`].
    Look(SessionId, Box<Look>),
    /// Answered by [`Reply::Fetched`].
    Fetch(SessionId, Shelf, Vec<MsgId>),
    /// A page of a chat's history.
    History(String, HistoryQuery, oneshot::Sender<Result<Vec<Message>, NodeError>>),
    /// How a chat stands.
    Standing(usize, oneshot::Sender<Standing>),
    /// Read a part of a chat's archive: what is damaged is forgotten, so that it is fetched again. For the load of that
    /// number. Answered by [`Reply::Verified`].
    Verify(usize, u64, Option<(ExpiryHour, MsgId)>),
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
    Found(SessionId, Finding),
    Fetched(SessionId, Vec<Bytes>),
    /// A part was verified for a load; the next one begins there.
    Verified(u64, Option<(ExpiryHour, MsgId)>),
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
    /// What it writes.
    write: rumormill_api::Batch,
    /// Given back once the batch is durable, or has failed.
    shares: Vec<OwnedSemaphorePermit>,
    archived: HashSet<MsgId>,
    ids: HashSet<MsgId>,
    /// Messages that were damaged and come back.
    returned: HashSet<MsgId>,
    /// The states before this batch touched them.
    undo: BTreeMap<usize, RoomState>,
    accepted: Vec<Accepted>,
    published: Vec<Published>,
    shown: Vec<Shown>,
    new: BTreeMap<usize, u64>,
    /// The long messages that waited before this batch touched them.
    waiting: Option<HashMap<MsgId, Waiting>>,
    /// Sessions that go on when it is durable.
    settled: Vec<SessionId>,
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
    pub(super) keyring: Arc<Keyring>,
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
    pub(super) trees: Trees,
    pub(super) progress: Progress,
    /// On how many threads messages are opened. One in virtual time.
    pub(super) opening_threads: NonZero<usize>,
    /// How often keys were erased.
    pub(super) erasures: Arc<AtomicU64>,
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
    /// Bytes that came into the window since the quota was last enforced.
    window_bytes: u64,
    new: BTreeMap<usize, u64>,
    failing: bool,
    /// Whether the turn brings nothing that this node can read.
    only_relays: bool,
    /// What the turn's commands bring, opened.
    opened: Openings,
    /// Whether those and what they follow stand in an archive, as the store said at the turn's beginning. What isn't in it is
    /// to be asked; it is emptied when the store changes.
    archived: HashMap<MsgId, bool>,
}

impl Progress {
    pub(super) fn new(retry_wanted: Arc<AtomicBool>) -> Self {
        Self { retry_wanted, ..Self::default() }
    }
}

impl Vault {
    /// Runs on its own thread until [`Command::Stop`], or until the node is gone; its [opener](Self::opener) runs on another.
    pub(super) fn run(mut self, parts: &Parts) {
        self.resume();
        while let Some((commands, opened)) = self.next_of(parts) {
            if !self.turn_of(commands, opened) {
                return;
            }
        }
    }

    /// The same as a task, for a store that never waits. What takes long, and all that depends on what this node says or can
    /// read, is done on a thread apart all the same: relaying must not wait for it, nor show it.
    pub(super) async fn run_as_task(mut self, mut commands: mpsc::Receiver<Command>) {
        self.resume();
        while let Some(first) = commands.recv().await {
            let waiting = waiting(first, &mut commands, TASK_TURN_MAX);
            let running = if self.only_relays(&waiting) {
                self.progress.only_relays = true;
                let running = self.turn(waiting);
                self.progress.only_relays = false;
                // Who was answered stands behind this task.
                tokio::task::yield_now().await;
                running
            } else {
                let turn = tokio::task::spawn_blocking(move || {
                    let running = self.turn(waiting);
                    (self, running)
                });
                let Ok((vault, running)) = turn.await else { return };
                self = vault;
                running
            };
            if !running {
                return;
            }
        }
    }

    /// The same as a task that does it all, for nodes in virtual time: a paused clock doesn't wait for threads.
    pub(super) async fn run_inline(mut self, mut commands: mpsc::Receiver<Command>) {
        self.resume();
        while let Some(first) = commands.recv().await {
            let waiting = waiting(first, &mut commands, GROUP_COMMIT_MAX);
            if !self.turn(waiting) {
                return;
            }
        }
    }

    /// Whether the commands bring few envelopes, none of them of a room of this node's, and ask nothing but whether some
    /// were here.
    fn only_relays(&self, commands: &[Command]) -> bool {
        let mut envelopes = 0;
        let now = self.clock.now().unix;
        self.progress.retry.is_empty()
            && !self.progress.failing
            && commands.iter().all(|command| match command {
                Command::Ask(_) => true,
                Command::Accept(all, _) => {
                    envelopes += all.len();
                    envelopes <= TASK_ENVELOPES_MAX
                        && !all.iter().any(|accepted| self.keyring.reads(accepted.envelope.bytes(), now))
                }
                _ => false,
            })
    }

    /// Opens what these bring, if it isn't known to be nothing, and carries them out. `false` once stopped.
    fn turn(&mut self, commands: Vec<Command>) -> bool {
        let opened = match self.progress.failing || self.progress.only_relays {
            true => Openings::new(),
            false => open(&self.keyring, &commands, self.clock.now().unix, self.opening_threads),
        };
        self.turn_of(commands, opened)
    }

    /// One transaction of all these, of which so much is opened. `false` once stopped.
    fn turn_of(&mut self, commands: Vec<Command>, opened: Openings) -> bool {
        let mut batch = Batch::default();
        // While the store fails, what waits for it is tried when the driver says so, not with every command.
        if !self.progress.failing {
            self.take_up_retries(&mut batch);
        }
        self.progress.opened = opened;
        self.ask_ahead();
        let running = commands.into_iter().all(|command| self.command(&mut batch, command));
        self.commit(&mut batch);
        self.progress.opened.clear();
        self.progress.archived.clear();
        running
    }

    /// Asks the store at once which of the messages that were opened, and of those that they follow, stand in an archive.
    fn ask_ahead(&mut self) {
        if self.progress.failing {
            return;
        }
        let opened = &self.progress.opened;
        let mut ids = Vec::new();
        for (_, message) in opened.values().flatten().flatten() {
            ids.push(message.id);
            ids.extend(message.dependencies().filter(|id| !opened.contains_key(id)));
        }
        // A store that can't say is asked again about each.
        if !ids.is_empty()
            && let Ok(holdings) = self.history.holds_all(&ids)
        {
            self.progress.archived.extend(ids.into_iter().zip(holdings.iter().map(|holding| holding.archive)));
        }
    }

    fn command(&mut self, batch: &mut Batch, command: Command) -> bool {
        match command {
            Command::Accept(all, _) if self.progress.failing => {
                all.into_iter().for_each(|accepted| self.keep_for_retry(accepted));
            }
            Command::Accept(all, share) => {
                batch.shares.extend(share);
                let now = self.clock.now().unix;
                all.into_iter().for_each(|accepted| self.accept(batch, accepted, now));
            }
            Command::Publish(draft, reply) => self.publish(batch, &draft, reply),
            Command::Ask(id) => {
                let known = batch.ids.contains(&id)
                    || self.progress.retry_ids.contains(&id)
                    // What stands in an archive alone, as after an import, is new to the window: a stranger relays it, and so
                    // does a member. A store that can't say is taken to know: a replay isn't flooded again, and should the
                    // id be new after all, reconciliation brings it.
                    || self.history.holds(&id).map_or(true, |holding| holding.window || holding.tombstone);
                self.reply(Reply::Known(id, known));
            }
            // Not at once: a page of envelopes that is here as well goes into the same commit.
            Command::Look(session, look) if matches!(look.question, Question::Settled) => batch.settled.push(session),
            Command::Look(session, look) => {
                self.commit(batch);
                let finding = self.look(&look);
                self.reply(Reply::Found(session, finding));
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
            Command::Verify(room, load, after) => {
                self.commit(batch);
                let next = self.verify(room, after);
                self.reply(Reply::Verified(load, next));
            }
            Command::Prune(now) => {
                self.commit(batch);
                self.prune(now);
            }
            Command::SaveAddresses(addresses) => {
                let value = self.storage.seal_state(ADDRESSES_KEY.as_bytes(), &addresses, &mut *self.entropy);
                batch.write.state(ADDRESSES_KEY.into(), Some(value.into()));
            }
            Command::Retry => self.take_up_retries(batch),
            Command::Stop => {
                self.take_up_retries(batch);
                return false;
            }
        }
        true
    }

    fn tell_missing(&self, room: usize) {
        let missing = self.states[room].missing();
        self.shared.set_missing(room, missing);
        self.presenter.show(vec![Shown::Gap { chat: Arc::clone(&self.names[room]), missing }]);
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
                self.forget_damaged(id);
                None
            }
            result => self.noted(result).flatten(),
        }
    }

    fn archived(&self, id: &MsgId) -> bool {
        self.stands(id).unwrap_or(false)
    }

    /// Whether a message stands in an archive.
    fn stands(&self, id: &MsgId) -> ApiResult<bool> {
        stands(&self.progress.archived, &*self.history, id)
    }

    /// Makes the batch durable, then acknowledges and shows it; or takes it back.
    fn commit(&mut self, batch: &mut Batch) {
        let mut batch = std::mem::take(batch);
        let settled = std::mem::take(&mut batch.settled);
        if !batch.write.entries().is_empty() || !batch.published.is_empty() {
            self.write(batch);
        }
        settled.into_iter().for_each(|session| self.reply(Reply::Found(session, Finding::Settled)));
    }

    fn write(&mut self, mut batch: Batch) {
        for room in batch.undo.keys() {
            let tag = self.keyring.rooms()[*room].tag();
            let value = self.states[*room].encode(&tag, &self.storage, &mut *self.entropy);
            batch.write.state(state_key(tag), Some(value.into()));
        }
        self.keep_lasting(&mut batch);
        self.progress.archived.clear();
        match self.history.append_batch(&batch.write) {
            Ok(_) => {
                self.trees.note(batch.write.entries());
                batch.returned.iter().for_each(|id| {
                    self.progress.damaged.remove(id);
                });
                if std::mem::take(&mut self.progress.failing) {
                    self.shared.notice(NoticeLevel::Info, "node", "the history works again");
                }
                let bytes = batch.write.entries().iter().map(window_bytes).sum::<u64>();
                self.acknowledge(batch);
                self.mind_the_quota(bytes);
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
        self.presenter.show(batch.shown);
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
}

/// Whether a message stands in an archive: as was asked ahead, else as the store says now.
fn stands(asked: &HashMap<MsgId, bool>, history: &dyn History, id: &MsgId) -> ApiResult<bool> {
    match asked.get(id) {
        Some(archived) => Ok(*archived),
        None => history.holds(id).map(|holding| holding.archive),
    }
}

/// A command and those that wait behind it, `most` in all.
fn waiting(first: Command, commands: &mut mpsc::Receiver<Command>, most: usize) -> Vec<Command> {
    let mut waiting = vec![first];
    while waiting.len() < most
        && let Ok(command) = commands.try_recv()
    {
        waiting.push(command);
    }
    waiting
}

/// On how many threads messages are opened, where there are threads: on all processors but one, which is the live flood's.
pub(super) fn opening_threads() -> NonZero<usize> {
    const MOST: NonZero<usize> = NonZero::new(OPENING_THREADS_MAX).expect("it isn't zero");
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    NonZero::new(processors - 1).unwrap_or(NonZero::<usize>::MIN).min(MOST)
}

/// What an entry adds to the window at most, in bytes.
fn window_bytes(entry: &Entry) -> u64 {
    match entry {
        Entry::Window { envelope, .. } => envelope.len() as u64,
        Entry::Archive { .. } | Entry::State { .. } => 0,
    }
}
