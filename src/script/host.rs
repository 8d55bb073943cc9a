//! The host: which scripts there are, and the node's way to them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rumormill_api::BoxFuture;
use tokio::sync::broadcast::error::RecvError;

use super::bucket::Bucket;
use super::config::{Budgets, HostConfig};
use super::convert;
use super::filters::by_script;
use super::job::{Answer, Evaluated, EventData, FilterAnswer, Job, MemberInfo, Slot, Subject};
use super::line::{self, Found};
use super::meter::lock;
use super::people::{LEAVE_LOOK_MS, People};
use super::reload::Entry;
use super::share::Share;
use super::shared::{Complete, EventKind, Link, ScriptState, Shared, Words};
use super::time::Alarm;
use super::watch::{Pace, Reloader};
use super::watchdog::Watchdog;
use crate::node::{
    CommandContext, CommandInfo, CommandResult, Commands, Draft, Event, Handle, Hooks, Message, Passing, Verdict,
};

/// How long the terminal waits for a completion function, in milliseconds.
pub(super) const COMPLETE_WAIT_MS: u64 = 100;
/// Longest text that a filter may put in place of a message's, in bytes.
pub(super) const FILTERED_TEXT_MAX_BYTES: usize = 64 * 1024;

/// Reloads that one script may ask for at once, and a minute in the long run. Who types the command that ships isn't
/// counted.
pub(super) const RELOADS: (f64, f64) = (5.0, 12.0);

/// Why the host couldn't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A thread couldn't be started.
    #[error("can't start a thread for scripts: {0}")]
    Thread(std::io::Error),
    /// The script folder can't be read.
    #[error("can't read the script folder {path}: {source}; create it, or change `folder` under [lua] in the config")]
    Folder {
        /// The folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// How a script fares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptStatus {
    /// Its name in the config.
    pub name: String,
    /// Its file below the script folder.
    pub file: String,
    /// Whether it is the embedded one.
    pub embedded: bool,
    /// Whether it runs.
    pub state: ScriptState,
    /// Which load of it this is; grows with every reload of any script.
    pub generation: u64,
    /// Processor time of its thread. Zero where the system doesn't tell.
    pub cpu: Duration,
    /// Memory of its state after the last call, in bytes.
    pub memory: usize,
    /// Calls so far.
    pub calls: u64,
    /// Time inside these calls, by the wall clock: without the waiting for the next one and the thread's waking up.
    pub in_calls: Duration,
    /// Calls that were killed.
    pub kills: u64,
    /// Events that it was too slow to get.
    pub missed: u64,
    /// Handlers that it has registered.
    pub handlers: usize,
    /// Commands that it has registered.
    pub commands: usize,
    /// Timers that it has.
    pub timers: usize,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
}

/// What the host's threads share.
pub(super) struct Core {
    pub(super) config: HostConfig,
    pub(super) link: Arc<Link>,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) entries: Mutex<BTreeMap<String, Entry>>,
    pub(super) generation: AtomicU64,
    /// Held while scripts are exchanged: one at a time.
    pub(super) exchange: Mutex<()>,
    /// What scripts may still reload, by their labels: a generation's own count would end with each reload.
    reloads: Mutex<BTreeMap<Arc<str>, Bucket>>,
    /// What their calls may still use, likewise.
    shares: Mutex<BTreeMap<String, Arc<Mutex<Share>>>>,
    people: Mutex<People>,
    leaving: Mutex<Option<Alarm>>,
}

/// Runs the scripts. Give it to the node as its [`Hooks`] and to the frontend as its [`Commands`].
pub struct Host {
    core: Arc<Core>,
    reloader: Mutex<Option<Reloader>>,
    events: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({} scripts)", lock(&self.core.entries).len())
    }
}

impl Host {
    /// Loads all scripts; those that fail are reported to the user once the node runs, and the others go on. Blocks
    /// until they are loaded or past their budget.
    ///
    /// # Errors
    ///
    /// [`HostError`] when the configured folder can't be read or no thread can be started.
    pub fn start(config: HostConfig) -> Result<Arc<Self>, HostError> {
        Self::start_at(config, Pace::default())
    }

    /// The same with other waiting times of the hot reload.
    ///
    /// # Errors
    ///
    /// As [`Host::start`].
    pub fn start_at(config: HostConfig, pace: Pace) -> Result<Arc<Self>, HostError> {
        if let Some(folder) = &config.folder {
            std::fs::read_dir(folder)
                .map_err(|source| HostError::Folder { path: folder.display().to_string(), source })?;
        }
        let core = Arc::new(Core {
            link: Arc::new(Link::new(config.clock.clone(), config.outside.clone())),
            watchdog: Watchdog::start().map_err(HostError::Thread)?,
            entries: Mutex::default(),
            generation: AtomicU64::new(0),
            exchange: Mutex::default(),
            reloads: Mutex::default(),
            shares: Mutex::default(),
            people: Mutex::default(),
            leaving: Mutex::default(),
            config,
        });
        let _ = core.link.core.set(Arc::downgrade(&core));
        core.reconcile(Instant::now(), Duration::ZERO, true, None);
        let reloader = if core.config.watch && (core.config.folder.is_some() || !core.config.files.is_empty()) {
            Some(Reloader::start(&core, pace).map_err(HostError::Thread)?)
        } else {
            None
        };
        Ok(Arc::new(Self { core, reloader: Mutex::new(reloader), events: Mutex::default() }))
    }

    /// The node has started: scripts reach it, and hear its events. Call it once, inside the tokio runtime.
    pub fn attach(&self, handle: Handle) {
        let mut events = handle.subscribe();
        self.core.link.attach(handle, tokio::runtime::Handle::current());
        for script in self.core.running() {
            self.core.first_load(&script);
        }
        self.core.await_leaving();
        let core = Arc::downgrade(&self.core);
        let task = tokio::spawn(async move {
            loop {
                let event = match events.recv().await {
                    Ok(event) => event,
                    Err(RecvError::Lagged(lost)) => {
                        tracing::warn!(target: super::LOG_TARGET, "scripts missed {lost} events");
                        continue;
                    }
                    Err(RecvError::Closed) => return,
                };
                let Some(core) = core.upgrade() else { return };
                let stopped = event == Event::Stopped;
                core.deliver(event);
                if stopped {
                    core.link.detach();
                    return;
                }
            }
        });
        if let Some(old) = lock(&self.events).replace(task) {
            old.abort();
        }
    }

    /// Looks at the script folder now, and reloads what changed. How many scripts were reloaded, and how many failed to.
    pub fn reload(&self) -> (usize, usize) {
        self.core.reload(None)
    }

    /// Runs code that somebody typed in the state of the script of that file (`bots/x.lua`), on a handler's budget.
    pub async fn eval(&self, file: &str, code: &str) -> Evaluated {
        let Some(script) = self.core.running().into_iter().find(|script| *script.label == *file) else {
            return Evaluated::Failed(format!("{file} doesn't run"));
        };
        let (slot, answer) = Slot::awaited();
        script.expect(&slot, None);
        if !script.inbox.push(Job::Eval { code: code.to_owned(), slot: slot.clone() }) {
            return Evaluated::Failed(format!("{file} is too busy"));
        }
        drop(slot);
        match answer.await {
            Ok(Answer::Evaluated(evaluated)) => evaluated,
            _ => Evaluated::Failed(format!("{file} was stopped")),
        }
    }

    /// How every script fares, by file.
    #[must_use]
    pub fn status(&self) -> Vec<ScriptStatus> {
        self.core.status()
    }

    /// Ends all scripts, and lets go of the node. `unload` handlers run, within their budget. Call it when the node has
    /// stopped: as long as it is attached, node and host keep each other alive.
    pub fn stop(&self) {
        if let Some(reloader) = lock(&self.reloader).take() {
            reloader.stop();
        }
        if let Some(task) = lock(&self.events).take() {
            task.abort();
        }
        drop(lock(&self.core.leaving).take());
        self.core.unload_all();
        self.core.link.stores.close();
        self.core.watchdog.stop();
        self.core.link.detach();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Core {
    /// The budgets of a script.
    pub(super) fn budgets(&self, name: &str) -> Budgets {
        let own = self.config.scripts.get(name).and_then(|config| config.limits.as_ref());
        own.map_or_else(|| self.config.budgets.clone(), Budgets::of)
    }

    /// What the calls of the script in that file may still use, in all of its generations.
    pub(super) fn share(&self, label: &str, budgets: &Budgets) -> Arc<Mutex<Share>> {
        let mut shares = lock(&self.shares);
        let new = || Arc::new(Mutex::new(Share::new(budgets.cpu_percent, budgets.cpu_burst_ms, Instant::now())));
        Arc::clone(shares.entry(label.to_owned()).or_insert_with(new))
    }

    /// How every script fares, by file.
    pub(super) fn status(&self) -> Vec<ScriptStatus> {
        lock(&self.entries).iter().map(|(label, entry)| entry.status(label)).collect()
    }

    /// What runs now, in the order of the files.
    pub(super) fn running(&self) -> Vec<Arc<Shared>> {
        let entries = lock(&self.entries);
        entries.values().filter_map(|entry| entry.shared.clone()).filter(|shared| shared.is_running()).collect()
    }

    /// Every command, sorted by name.
    pub(super) fn list(&self) -> Vec<CommandInfo> {
        let mut list: Vec<_> = self
            .running()
            .iter()
            .flat_map(|script| {
                let registered = script.registered();
                let info = |spec: &super::shared::CommandSpec| CommandInfo {
                    name: spec.name.clone(),
                    aliases: spec.aliases.clone(),
                    params: spec.params.clone(),
                    desc: spec.desc.clone(),
                    place: spec.place,
                    script: script.label.to_string(),
                };
                registered.commands.iter().map(info).collect::<Vec<_>>()
            })
            .collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// Looks again in a while for who has left.
    fn await_leaving(self: &Arc<Self>) {
        let Some((_, runtime)) = self.link.node() else { return };
        let core = Arc::downgrade(self);
        let look = move || {
            if let Some(core) = core.upgrade() {
                core.look_who_left();
                core.await_leaving();
            }
        };
        let alarm = Alarm::set(&runtime, Duration::from_millis(LEAVE_LOOK_MS), look);
        // The one before has rung, or is for a node that is gone.
        let _before = lock(&self.leaving).replace(alarm);
    }

    /// Whoever has been silent for long has left.
    fn look_who_left(&self) {
        let left = lock(&self.people).left(self.link.time.instant());
        for member in left {
            self.spread(EventData::Leave(member));
        }
    }

    /// Takes a token for a reload that a script asks for.
    pub(super) fn may_reload(&self, script: &Shared) -> bool {
        let now = self.link.time.instant();
        let mut reloads = lock(&self.reloads);
        let bucket =
            reloads.entry(Arc::clone(&script.label)).or_insert_with(|| Bucket::new(RELOADS.0, RELOADS.1 / 60.0, now));
        super::source::is_embedded(&script.label) || bucket.take(now)
    }

    /// Looks at the script folder now; the scripts of that name are loaded anew even if nothing changed.
    pub(super) fn reload(&self, name: Option<&str>) -> (usize, usize) {
        let done = self.reconcile(Instant::now(), Duration::ZERO, false, name);
        (done.loaded, done.failed)
    }

    /// Hands an event to the scripts that want it.
    fn deliver(&self, event: Event) {
        let event = match event {
            Event::Message(message) => {
                if !message.mine && !message.synced {
                    let member = MemberInfo::of(&message);
                    if lock(&self.people).spoke(member.clone(), self.link.time.instant()) {
                        self.spread(EventData::Join(member));
                    }
                }
                EventData::Message(message)
            }
            Event::PeerUp(peer) => EventData::PeerUp(peer),
            Event::PeerDown(peer) => EventData::PeerDown(peer),
            Event::Gap { chat, missing } => EventData::Gap { chat, missing },
            _ => return,
        };
        self.spread(event);
    }

    /// Never waits: a script that is too slow misses it.
    fn spread(&self, event: EventData) {
        // Under the lock, so that an event goes to one generation of a script, never to none or to both.
        for entry in lock(&self.entries).values() {
            let Some(script) = &entry.shared else { continue };
            if convert::is_wanted(script, &event) && !script.inbox.push(Job::Event(event.clone())) {
                script.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Runs a line.
    async fn run(&self, line: &str, context: CommandContext) -> CommandResult {
        let Some(Found { script, spec, rest }) = line::find(line, &self.running()) else {
            let names: Vec<_> = self.list().into_iter().map(|info| info.name).collect();
            return CommandResult::Unknown(line::close_names(line, &names));
        };
        let (slot, answer) = Slot::awaited();
        script.expect(&slot, None);
        let usage = spec.usage();
        let job = Job::Command { id: spec.id, rest, usage, context, slot: slot.clone() };
        if !script.inbox.push(job) {
            return CommandResult::Failed(format!("{} is too busy", script.label));
        }
        drop(slot);
        match answer.await {
            Ok(Answer::Command(result)) => result,
            _ => CommandResult::Failed(format!("{} was stopped", script.label)),
        }
    }

    /// Completions of a line.
    fn complete(&self, line: &str, chat: Option<&str>) -> Vec<String> {
        let scripts = self.running();
        if let Some(found) = line::find(line, &scripts) {
            let arguments = match &found.spec.complete {
                Complete::Words(words) => words.len().max(1),
                Complete::Function(_) => 1,
            };
            if let Some(typed) = line::typed(line, &found.spec, arguments) {
                let words = match &found.spec.complete {
                    Complete::Words(words) => words.get(typed.index).map(|words| self.words(words)).unwrap_or_default(),
                    Complete::Function(id) => ask_words(&found.script, *id, typed.prefix, chat),
                };
                let prefix = typed.prefix.to_lowercase();
                return words
                    .into_iter()
                    .filter(|word| word.to_lowercase().starts_with(&prefix))
                    .map(|word| format!("{}{word}", typed.head))
                    .collect();
            }
        }
        let prefix = line.trim_start().to_lowercase();
        self.list().into_iter().map(|info| info.name).filter(|name| name.starts_with(&prefix)).collect()
    }

    /// What a template stands for.
    fn words(&self, words: &Words) -> Vec<String> {
        let node = self.link.node().map(|(handle, _)| handle);
        match words {
            Words::Chats => {
                node.map(|node| node.chats().iter().map(|chat| chat.name.to_string()).collect()).unwrap_or_default()
            }
            Words::Peers => {
                node.map(|node| node.peers().iter().map(|peer| peer.addr.to_string()).collect()).unwrap_or_default()
            }
            Words::Commands => self.list().into_iter().map(|info| info.name).collect(),
            Words::Scripts => self.status().into_iter().map(|status| status.name).collect(),
            Words::Fixed(words) => words.clone(),
        }
    }
}

/// Asks a completion function, without keeping the terminal waiting.
fn ask_words(script: &Arc<Shared>, id: u32, prefix: &str, chat: Option<&str>) -> Vec<String> {
    let (slot, answer) = Slot::blocking();
    let job = Job::Complete { id, prefix: prefix.to_owned(), chat: chat.map(Into::into), slot: slot.clone() };
    if !script.inbox.push(job) {
        return Vec::new();
    }
    let words = match answer.recv_timeout(Duration::from_millis(COMPLETE_WAIT_MS)) {
        Ok(Answer::Words(words)) => words,
        _ => Vec::new(),
    };
    slot.answer(Answer::Late);
    words
}

impl Hooks for Host {
    fn on_send<'a>(&'a self, mut draft: Draft) -> BoxFuture<'a, Verdict<Draft>> {
        Box::pin(async move {
            let filters = self.core.filters(EventKind::Send, Some(&draft.chat));
            for of_one_script in by_script(&filters) {
                match self.core.ask(of_one_script, vec![Subject::Send(draft.clone())]).await.pop() {
                    Some(FilterAnswer::Replace(text)) => draft.text = text,
                    Some(FilterAnswer::Drop(reason)) => return Verdict::Drop(reason),
                    Some(FilterAnswer::Pass) | None => {}
                }
            }
            Verdict::Pass(draft)
        })
    }

    fn on_receive<'a>(&'a self, message: Message) -> BoxFuture<'a, Verdict<Message>> {
        Box::pin(async move {
            let verdict = self.core.receive(vec![message]).await.pop();
            verdict.unwrap_or_else(|| Verdict::Drop("no verdict on it".to_owned()))
        })
    }

    fn on_receive_all<'a>(&'a self, messages: Vec<Message>) -> BoxFuture<'a, Vec<Verdict<Message>>> {
        Box::pin(async move {
            let mut verdicts = Vec::with_capacity(messages.len());
            let mut waiting = messages.into_iter().peekable();
            while let Some(first) = waiting.next() {
                let mut of_one_chat = vec![first];
                while let Some(more) = waiting.next_if(|more| more.chat == of_one_chat[0].chat) {
                    of_one_chat.push(more);
                }
                verdicts.extend(self.core.receive(of_one_chat).await);
            }
            verdicts
        })
    }

    fn filters_relays(&self) -> bool {
        self.core.link.relay_filters.load(Ordering::Relaxed) > 0
    }

    fn on_relay<'a>(&'a self, passing: Passing) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let filters = self.core.filters(EventKind::Relay, None);
            for of_one_script in by_script(&filters) {
                let answers = self.core.ask(of_one_script, vec![Subject::Relay(passing.clone())]).await;
                if matches!(answers[..], [FilterAnswer::Drop(_)]) {
                    return false;
                }
            }
            true
        })
    }
}

impl Commands for Host {
    fn list(&self) -> Vec<CommandInfo> {
        self.core.list()
    }

    fn complete(&self, line: &str, chat: Option<&str>) -> Vec<String> {
        self.core.complete(line, chat)
    }

    fn run<'a>(&'a self, line: &'a str, context: CommandContext) -> BoxFuture<'a, CommandResult> {
        Box::pin(self.core.run(line, context))
    }
}
