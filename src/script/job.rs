//! What a script's thread is asked to do, what it answers, and the bounded queue between.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::error::ScriptError;
use super::meter::lock;
use super::outside::WebResponse;
use super::time::{Activity, Busy};
use crate::node::{CommandContext, CommandResult, Draft, LoadReport, Message, Passing, PeerInfo, Person};
use rumormill_api::{Millis, MsgId};

/// Most events that wait for one script; what comes on top is not delivered to it.
pub(super) const EVENTS_MAX: usize = 256;
/// Most filter calls that wait for one script; what comes on top is treated as timed out.
pub(super) const FILTERS_MAX: usize = 64;

/// What a filter said of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum FilterAnswer {
    Pass,
    Replace(String),
    Drop(String),
}

/// What came of code that somebody typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evaluated {
    /// Its values, as they are shown.
    Values(Vec<String>),
    /// It goes on in another line.
    Incomplete,
    /// What is wrong.
    Failed(String),
}

/// What a script's thread answers.
#[derive(Debug)]
pub(super) enum Answer {
    Filter(FilterAnswer),
    Command(CommandResult),
    Words(Vec<String>),
    Loaded(Result<(), ScriptError>),
    Saved(Result<Option<serde_json::Value>, ScriptError>),
    Evaluated(Evaluated),
    /// Not in time.
    Late,
    /// The script is gone or disabled.
    Gone,
}

enum Reply {
    Async(oneshot::Sender<Answer>),
    Sync(SyncSender<Answer>),
}

/// Where an answer goes. The first one counts; later ones are ignored.
#[derive(Clone)]
pub(super) struct Slot(Arc<Mutex<Option<Reply>>>);

impl Slot {
    /// For a caller that awaits.
    pub(super) fn awaited() -> (Self, oneshot::Receiver<Answer>) {
        let (tx, rx) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(Reply::Async(tx))))), rx)
    }

    /// For a caller that blocks.
    pub(super) fn blocking() -> (Self, Receiver<Answer>) {
        let (tx, rx) = sync_channel(1);
        (Self(Arc::new(Mutex::new(Some(Reply::Sync(tx))))), rx)
    }

    /// Answers, if nobody has yet.
    pub(super) fn answer(&self, answer: Answer) {
        match lock(&self.0).take() {
            Some(Reply::Async(tx)) => drop(tx.send(answer)),
            Some(Reply::Sync(tx)) => drop(tx.try_send(answer)),
            None => {}
        }
    }

    /// Whether someone still waits.
    pub(super) fn is_open(&self) -> bool {
        match &*lock(&self.0) {
            Some(Reply::Async(tx)) => !tx.is_closed(),
            Some(Reply::Sync(_)) => true,
            None => false,
        }
    }
}

/// What is on its way through a filter.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Send(Draft),
    Receive(Message),
    Relay(Passing),
}

/// What observers hear.
#[derive(Clone, Debug)]
pub(super) enum EventData {
    Message(Message),
    Join(MemberInfo),
    Leave(MemberInfo),
    PeerUp(PeerInfo),
    PeerDown(PeerInfo),
    Gap { chat: Arc<str>, missing: usize },
}

/// What the node said to a waiting call.
#[derive(Debug)]
pub(super) enum OpResult {
    Sent(MsgId),
    Messages(Vec<Message>),
    Report(LoadReport),
    Members(Vec<MemberInfo>),
    Fetched(Box<WebResponse>),
    /// Scripts that were reloaded, and that failed to.
    Reloaded(usize, usize),
    Slept,
    Written,
    Failed(String),
}

/// Somebody who has spoken in a chat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MemberInfo {
    pub(super) person: Person,
    pub(super) chat: Arc<str>,
    /// When they last spoke, in milliseconds since the Unix epoch.
    pub(super) last: Millis,
    pub(super) messages: usize,
    pub(super) mine: bool,
    pub(super) bot: bool,
}

impl MemberInfo {
    /// Who said this.
    pub(super) fn of(message: &Message) -> Self {
        Self {
            person: message.from.clone(),
            chat: Arc::clone(&message.chat),
            last: message.time,
            messages: 1,
            mine: message.mine,
            bot: message.bot,
        }
    }
}

/// One thing to do.
pub(super) enum Job {
    Filter {
        id: u32,
        subject: Subject,
        slot: Slot,
    },
    Event(EventData),
    Command {
        id: u32,
        rest: String,
        usage: String,
        context: CommandContext,
        slot: Slot,
    },
    Complete {
        id: u32,
        prefix: String,
        chat: Option<Arc<str>>,
        slot: Slot,
    },
    Resume {
        task: u64,
        result: OpResult,
    },
    /// Runs code that somebody typed.
    Eval {
        code: String,
        slot: Slot,
    },
    /// A timer's turn has come.
    Timer(u32),
    /// Handlers were spawned.
    Spawned,
    /// Runs the `load` observers of a new generation with what the old one saved.
    Load {
        saved: Option<serde_json::Value>,
        slot: Slot,
    },
    /// Runs `unload`; events wait from then on.
    Unload {
        slot: Slot,
    },
    /// The replacement failed: go on as before.
    Thaw,
    /// Finishes what is under way, takes nothing new, and ends.
    Retire,
}

/// A job, and that it is under way until it has been handled.
pub(super) type Queued = (Job, Busy);

#[derive(Default)]
struct Queues {
    urgent: VecDeque<Queued>,
    normal: VecDeque<Queued>,
    closed: bool,
    /// Whether the script's thread sleeps: to wake one that doesn't is a system call for nothing.
    asleep: bool,
}

/// The queue of one script. Filters and answers go before events and commands.
#[derive(Default)]
pub(super) struct Inbox {
    queues: Mutex<Queues>,
    ready: Condvar,
    activity: Arc<Activity>,
}

impl Inbox {
    /// An empty queue whose jobs are counted there.
    pub(super) fn new(activity: Arc<Activity>) -> Self {
        Self { activity, ..Self::default() }
    }

    /// Adds an event, a command or a completion; false when the queue is full or closed.
    pub(super) fn push(&self, job: Job) -> bool {
        let mut queues = lock(&self.queues);
        if queues.closed || queues.normal.len() >= EVENTS_MAX {
            return false;
        }
        queues.normal.push_back((job, self.activity.begin()));
        self.wake(queues);
        true
    }

    /// Adds a filter call; false when the queue is full or closed.
    pub(super) fn push_filter(&self, job: Job) -> bool {
        let mut queues = lock(&self.queues);
        if queues.closed || queues.urgent.len() >= FILTERS_MAX {
            return false;
        }
        queues.urgent.push_back((job, self.activity.begin()));
        self.wake(queues);
        true
    }

    /// Adds what the host itself says or answers: its number is bounded by the tasks of the script.
    pub(super) fn push_urgent(&self, job: Job) {
        let mut queues = lock(&self.queues);
        if !queues.closed {
            queues.urgent.push_back((job, self.activity.begin()));
        }
        self.wake(queues);
    }

    /// Wakes the script's thread if it sleeps.
    fn wake(&self, mut queues: MutexGuard<'_, Queues>) {
        let asleep = std::mem::take(&mut queues.asleep);
        drop(queues);
        if asleep {
            self.ready.notify_one();
        }
    }

    /// Waits for the next job; `None` once closed. A frozen script gets only what is urgent.
    pub(super) fn next(&self, frozen: bool) -> Option<Queued> {
        let mut queues = lock(&self.queues);
        loop {
            if queues.closed {
                return None;
            }
            if let Some(job) = queues.urgent.pop_front() {
                return Some(job);
            }
            if !frozen && let Some(job) = queues.normal.pop_front() {
                return Some(job);
            }
            queues.asleep = true;
            queues = self.ready.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes what waits and is not urgent, for the next generation.
    pub(super) fn take_events(&self) -> Vec<Job> {
        let mut queues = lock(&self.queues);
        let (events, other): (Vec<_>, Vec<_>) =
            queues.normal.drain(..).partition(|(job, _)| matches!(job, Job::Event(_)));
        queues.normal = other.into();
        events.into_iter().map(|(job, _)| job).collect()
    }

    /// Ends it: everything that waits is dropped.
    pub(super) fn close(&self) {
        let mut queues = lock(&self.queues);
        queues.closed = true;
        queues.urgent.clear();
        queues.normal.clear();
        drop(queues);
        self.ready.notify_all();
    }
}
