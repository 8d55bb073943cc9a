//! What a script's thread, the host and the watchdog share.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::config::{Budgets, Grants};
use super::error::ScriptError;
use super::host::Core;
use super::job::{Answer, Inbox, Slot};
use super::meter::{Found, Meter, lock};
use super::outside::{Outside, Web};
use super::share::Share;
use super::store::Stores;
use super::time::{Activity, Time};
use crate::node::{Clock, Handle, NoticeLevel, Place};

/// Most notices that wait for the node to start.
const EARLY_NOTICES_MAX: usize = 64;
/// Error notices that one script may raise at once, and a second in the long run.
const ERROR_NOTICES: (f64, f64) = (5.0, 0.2);

/// The way to the node, once there is one, and to what lies outside.
pub(super) struct Link {
    pub(super) web: Arc<dyn Web>,
    /// What scripts keep.
    pub(super) stores: Stores,
    /// Where scripts' files lie.
    pub(super) files: Option<PathBuf>,
    node: RwLock<Option<(Handle, tokio::runtime::Handle)>>,
    early: Mutex<VecDeque<(NoticeLevel, String, String)>>,
    pub(super) core: OnceLock<Weak<Core>>,
    pub(super) time: Time,
    pub(super) activity: Arc<Activity>,
    /// Whether the node's runtime is one whose time is virtual.
    virtual_time: bool,
    /// How many `relay` filters the running scripts have: what the node's driver looks at, without a lock.
    pub(super) relay_filters: AtomicUsize,
}

impl Default for Link {
    fn default() -> Self {
        Self::new(None, Outside::default())
    }
}

impl Link {
    /// No node yet. With a clock, time is virtual.
    pub(super) fn new(clock: Option<Arc<dyn Clock>>, outside: Outside) -> Self {
        let Outside { web, stores, files } = outside;
        Self {
            virtual_time: clock.is_some(),
            time: Time::new(clock),
            web,
            stores: Stores::new(stores),
            files,
            node: RwLock::default(),
            early: Mutex::default(),
            core: OnceLock::new(),
            activity: Arc::default(),
            relay_filters: AtomicUsize::new(0),
        }
    }

    /// The node has started.
    pub(super) fn attach(&self, handle: Handle, runtime: tokio::runtime::Handle) {
        if self.virtual_time {
            self.activity.hold_time_of(runtime.clone());
        }
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = Some((handle, runtime));
        let early: Vec<_> = lock(&self.early).drain(..).collect();
        for (level, source, text) in early {
            self.notify(level, &source, &text);
        }
    }

    /// The node has stopped, or the host does: the node's hooks hold the host, so the host must not hold the node.
    pub(super) fn detach(&self) {
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The node and its runtime.
    pub(super) fn node(&self) -> Option<(Handle, tokio::runtime::Handle)> {
        self.node.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the log and the user of something about a script.
    pub(super) fn say(&self, level: NoticeLevel, name: &str, text: &str) {
        match level {
            NoticeLevel::Info => tracing::info!(target: super::LOG_TARGET, script = name, "{text}"),
            _ => tracing::warn!(target: super::LOG_TARGET, script = name, "{text}"),
        }
        self.notify(level, name, text);
    }

    /// Tells the user, as soon as there is one.
    pub(super) fn notify(&self, level: NoticeLevel, source: &str, text: &str) {
        if let Some((handle, _)) = self.node() {
            handle.notify(level, source, text);
            return;
        }
        let mut early = lock(&self.early);
        if early.len() < EARLY_NOTICES_MAX {
            early.push_back((level, source.to_owned(), text.to_owned()));
        }
        drop(early);
    }
}

/// An event that a script can observe or filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EventKind {
    Send,
    Receive,
    Relay,
    Message,
    Join,
    Leave,
    PeerUp,
    PeerDown,
    Gap,
    Load,
    Unload,
}

impl EventKind {
    /// Every event and its name.
    pub(super) const ALL: [(Self, &'static str); 11] = [
        (Self::Send, "send"),
        (Self::Receive, "receive"),
        (Self::Relay, "relay"),
        (Self::Message, "message"),
        (Self::Join, "join"),
        (Self::Leave, "leave"),
        (Self::PeerUp, "peer:up"),
        (Self::PeerDown, "peer:down"),
        (Self::Gap, "gap"),
        (Self::Load, "load"),
        (Self::Unload, "unload"),
    ];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("?", |(_, name)| name)
    }
}

/// One registered handler.
#[derive(Clone, Debug)]
pub(super) struct HandlerSpec {
    pub(super) id: u32,
    pub(super) event: EventKind,
    pub(super) priority: f64,
    pub(super) chat: Option<String>,
    pub(super) once: bool,
    pub(super) drop_on_error: bool,
    pub(super) synced: bool,
    pub(super) bots: bool,
}

impl HandlerSpec {
    /// Whether it is for this chat.
    pub(super) fn wants(&self, event: EventKind, chat: Option<&str>) -> bool {
        self.event == event && (self.chat.is_none() || self.chat.as_deref() == chat)
    }
}

/// What completes one argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Words {
    Chats,
    Peers,
    Commands,
    Scripts,
    Fixed(Vec<String>),
}

/// How a command's arguments are completed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Complete {
    Words(Vec<Words>),
    /// A Lua function.
    Function(u32),
}

/// One registered command.
#[derive(Clone, Debug)]
pub(super) struct CommandSpec {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) params: String,
    pub(super) desc: String,
    pub(super) place: Place,
    pub(super) complete: Complete,
}

impl CommandSpec {
    /// How it is called: `chat [<chat>]`.
    pub(super) fn usage(&self) -> String {
        format!("{} {}", self.name, self.params).trim_end().to_owned()
    }
}

/// Everything that one generation of a script registered.
#[derive(Clone, Debug, Default)]
pub(super) struct Registered {
    pub(super) commands: Vec<CommandSpec>,
    pub(super) handlers: Vec<HandlerSpec>,
}

impl Registered {
    fn relay_filters(&self) -> usize {
        self.handlers.iter().filter(|handler| handler.event == EventKind::Relay).count()
    }
}

/// Whether a script runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScriptState {
    /// It runs.
    Running,
    /// It runs, and waits since its calls used more than their share of the processor.
    Waiting,
    /// It failed to load and no earlier version runs.
    Failed,
    /// It was disabled, for this reason, until its file changes.
    Disabled(String),
    /// It was unloaded or replaced.
    Stopped,
}

impl ScriptState {
    /// It in a word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Disabled(_) => "disabled",
            Self::Stopped => "stopped",
        }
    }
}

/// One generation of one script.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) label: Arc<str>,
    pub(super) generation: u64,
    pub(super) budgets: Budgets,
    pub(super) grants: Grants,
    pub(super) settings: std::collections::BTreeMap<String, serde_json::Value>,
    pub(super) link: Arc<Link>,
    pub(super) watchdog: Arc<super::watchdog::Watchdog>,
    pub(super) meter: Arc<Meter>,
    pub(super) share: Arc<Mutex<Share>>,
    /// Whether it waits for its share.
    pub(super) waits: AtomicBool,
    pub(super) inbox: Inbox,
    registered: Mutex<Arc<Registered>>,
    pub(super) state: Mutex<ScriptState>,
    pub(super) last_error: Mutex<Option<String>>,
    pub(super) calls: AtomicU64,
    /// Time inside its calls, in nanoseconds.
    pub(super) in_calls_ns: AtomicU64,
    pub(super) kills: AtomicU64,
    pub(super) memory: AtomicUsize,
    pub(super) timers: AtomicUsize,
    /// The thread's processor time, once it has ended.
    pub(super) cpu_at_end: Mutex<Option<Duration>>,
    pub(super) missed: AtomicU64,
    /// Whether its `load` observers were run: before the node has started, they wait for it.
    pub(super) loaded: AtomicBool,
    /// Permissions that it declared and was not granted.
    pub(super) refused: Mutex<Vec<String>>,
    waiting: Mutex<Vec<(Option<Instant>, Slot)>>,
    notices: Mutex<Bucket>,
}

impl Shared {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        name: &str,
        label: &str,
        generation: u64,
        budgets: Budgets,
        grants: Grants,
        settings: std::collections::BTreeMap<String, serde_json::Value>,
        link: Arc<Link>,
        watchdog: Arc<super::watchdog::Watchdog>,
        share: Arc<Mutex<Share>>,
    ) -> Self {
        Self {
            name: name.into(),
            label: label.into(),
            generation,
            budgets,
            grants,
            settings,
            inbox: Inbox::new(Arc::clone(&link.activity)),
            notices: Mutex::new(Bucket::new(ERROR_NOTICES.0, ERROR_NOTICES.1, link.time.instant())),
            link,
            watchdog,
            meter: Arc::default(),
            share,
            waits: AtomicBool::new(false),
            registered: Mutex::default(),
            state: Mutex::new(ScriptState::Running),
            last_error: Mutex::default(),
            calls: AtomicU64::new(0),
            in_calls_ns: AtomicU64::new(0),
            kills: AtomicU64::new(0),
            memory: AtomicUsize::new(0),
            timers: AtomicUsize::new(0),
            cpu_at_end: Mutex::default(),
            missed: AtomicU64::new(0),
            loaded: AtomicBool::new(false),
            refused: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// What it has registered now; nothing once it doesn't run.
    pub(super) fn registered(&self) -> Arc<Registered> {
        Arc::clone(&lock(&self.registered))
    }

    /// Shows the host what is registered, unless it has ended.
    pub(super) fn register(&self, registered: Arc<Registered>) {
        let mut shown = lock(&self.registered);
        // Under the lock: who ends it clears what is shown after that.
        if self.is_running() {
            self.exchange(&mut shown, registered);
        }
    }

    fn exchange(&self, shown: &mut Arc<Registered>, registered: Arc<Registered>) {
        self.link.relay_filters.fetch_add(registered.relay_filters(), Ordering::Relaxed);
        self.link.relay_filters.fetch_sub(shown.relay_filters(), Ordering::Relaxed);
        *shown = registered;
    }

    /// The processor time of its thread so far.
    pub(super) fn cpu(&self) -> Duration {
        let ended = *lock(&self.cpu_at_end);
        ended.or_else(|| self.meter.cpu()).unwrap_or_default()
    }

    /// Whether it runs.
    pub(super) fn is_running(&self) -> bool {
        *lock(&self.state) == ScriptState::Running
    }

    /// Its state, as it is shown.
    pub(super) fn state_shown(&self) -> ScriptState {
        match lock(&self.state).clone() {
            ScriptState::Running if self.waits.load(Ordering::Relaxed) => ScriptState::Waiting,
            state => state,
        }
    }

    /// Someone waits for an answer, at most until then.
    pub(super) fn expect(&self, slot: &Slot, deadline: Option<Instant>) {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|(_, slot)| slot.is_open());
        waiting.push((deadline, slot.clone()));
        drop(waiting);
        self.watchdog.wake();
        if !self.is_running() {
            slot.answer(Answer::Gone);
        }
    }

    /// A script's error, for the log and for the user (not more often than they can read).
    pub(super) fn report(&self, error: &ScriptError) {
        let text = error.to_string();
        tracing::warn!(target: super::LOG_TARGET, script = %self.name, "{text}");
        *lock(&self.last_error) = Some(text.clone());
        if lock(&self.notices).take(self.link.time.instant()) {
            self.link.notify(NoticeLevel::Error, &self.name, &text);
        }
    }

    /// Ends this generation: nothing more is delivered, who waits gets an answer. The first reason counts.
    pub(super) fn end(&self, state: ScriptState) -> bool {
        let mut now = lock(&self.state);
        if *now != ScriptState::Running {
            return false;
        }
        *now = state;
        drop(now);
        self.exchange(&mut lock(&self.registered), Arc::default());
        self.inbox.close();
        for (_, slot) in lock(&self.waiting).drain(..) {
            slot.answer(Answer::Gone);
        }
        true
    }

    /// Ends it because it misbehaved, and says so.
    pub(super) fn disable(&self, reason: &str) {
        if self.end(ScriptState::Disabled(reason.to_owned())) {
            let text = format!("{}: disabled until its file changes: {reason}", self.label);
            *lock(&self.last_error) = Some(text.clone());
            self.link.say(NoticeLevel::Error, &self.name, &text);
        }
    }

    /// The watchdog looks in: kills what is late, answers for it, gives up on what is stuck. Whether there is anything
    /// to look after.
    pub(super) fn look(&self, now: Instant) -> bool {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|(deadline, slot)| {
            if deadline.is_some_and(|deadline| now >= deadline) {
                slot.answer(Answer::Late);
            }
            slot.is_open()
        });
        let someone_waits = waiting.iter().any(|(deadline, _)| deadline.is_some());
        drop(waiting);
        let found = self.meter.look(now, Duration::from_millis(self.budgets.stuck_ms));
        if found == Found::Stuck && self.is_running() {
            self.kills.fetch_add(1, Ordering::Relaxed);
            self.disable("a call did not stop and its thread was abandoned");
        }
        (found == Found::Busy && self.is_running()) || someone_waits
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::script::job::Job;
    use crate::script::job::{EVENTS_MAX, EventData, FILTERS_MAX, Next, Subject};
    use crate::script::share::Standing;

    fn shared() -> Shared {
        let grants = Grants::all("x");
        Shared::new(
            "x",
            "bots/x.lua",
            1,
            Budgets::default(),
            grants,
            std::collections::BTreeMap::new(),
            Arc::default(),
            Arc::default(),
            Arc::new(Mutex::new(Share::new(25, 2_000, Instant::now()))),
        )
    }

    #[test]
    fn a_stuck_thread_is_abandoned_and_who_waits_is_told() {
        let shared = shared();
        let (late, late_answer) = Slot::blocking();
        let (command, command_answer) = Slot::blocking();
        let start = Instant::now();
        shared.expect(&late, Some(start + Duration::from_millis(50)));
        shared.expect(&command, None);
        shared.meter.begin(Duration::from_millis(20));
        assert!(shared.look(start));
        assert!(shared.look(start + Duration::from_secs(1)));
        assert!(matches!(late_answer.try_recv(), Ok(Answer::Late)));
        assert!(command_answer.try_recv().is_err());
        assert!(shared.meter.killed() && shared.is_running());
        let stuck = Duration::from_millis(shared.budgets.stuck_ms);
        assert!(!shared.look(start + Duration::from_secs(1) + stuck));
        assert!(matches!(&*lock(&shared.state), ScriptState::Disabled(reason) if reason.contains("abandoned")));
        assert!(matches!(command_answer.try_recv(), Ok(Answer::Gone)));
        // Too late: nobody hears it, and nothing is taken any more.
        command.answer(Answer::Words(Vec::new()));
        assert!(command_answer.try_recv().is_err());
        assert!(!shared.inbox.push(Job::Thaw));
    }

    #[test]
    fn queues_to_scripts_are_bounded() {
        let shared = shared();
        let event = || Job::Event(EventData::Gap { chat: "study".into(), missing: 1 });
        for _ in 0..EVENTS_MAX {
            assert!(shared.inbox.push(event()));
        }
        assert!(!shared.inbox.push(event()));
        let draft = crate::node::Draft { chat: "study".into(), text: String::new(), options: Default::default() };
        let filter =
            || Job::Filter { ids: vec![1], subjects: vec![Subject::Send(draft.clone())], slot: Slot::blocking().0 };
        for _ in 0..FILTERS_MAX {
            assert!(shared.inbox.push_filter(filter()));
        }
        assert!(!shared.inbox.push_filter(filter()));
        // Filters go first; a frozen script keeps its events for the next generation.
        assert!(matches!(shared.inbox.next(false, Standing::Within), Next::Job((Job::Filter { .. }, _))));
        assert_eq!(shared.inbox.take_events().len(), EVENTS_MAX);
    }

    #[test]
    fn beyond_its_share_a_script_gets_only_what_is_pressing() {
        let shared = shared();
        let event = EventData::Gap { chat: "study".into(), missing: 1 };
        assert!(shared.inbox.push(Job::Event(event.clone())));
        shared.inbox.put_back(Job::Observers { event, left: vec![7] });
        shared.inbox.push_urgent(Job::Timer(1));
        shared.inbox.push_urgent(Job::Retire);
        let beyond = Standing::Beyond(Duration::ZERO);
        assert!(matches!(shared.inbox.next(false, beyond), Next::Job((Job::Retire, _))));
        assert!(matches!(shared.inbox.next(false, beyond), Next::Standing));
        let catching = Standing::Catching(Duration::ZERO);
        assert!(matches!(shared.inbox.next(true, catching), Next::Job((Job::Timer(1), _))));
        assert!(matches!(shared.inbox.next(true, catching), Next::Standing));
        assert!(matches!(shared.inbox.next(false, catching), Next::Job((Job::Observers { .. }, _))));
        assert!(matches!(shared.inbox.next(false, catching), Next::Job((Job::Event(_), _))));
        assert!(matches!(shared.inbox.next(false, catching), Next::Standing));
    }
}
