//! What a script's thread is asked to do, what it answers, and the bounded queue between.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::error::ScriptError;
use super::meter::lock;
use super::outside::WebResponse;
use super::share::Standing;
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
    /// On each subject, in order; what is missing at the end comes too late.
    Filter(Vec<FilterAnswer>),
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

impl Subject {
    /// Another text in its place; what is sealed has none.
    pub(super) fn set_text(&mut self, text: &str) {
        match self {
            Self::Send(draft) => text.clone_into(&mut draft.text),
            Self::Receive(message) => text.clone_into(&mut message.text),
            Self::Relay(_) => {}
        }
    }
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
    /// Asks filters, one after the other, about each of these.
    Filter {
        ids: Vec<u32>,
        subjects: Vec<Subject>,
        slot: Slot,
    },
    Event(EventData),
    /// The handlers of an event whose turn is still to come.
    Observers {
        event: EventData,
        left: Vec<u32>,
    },
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

impl Job {
    /// Whether it can't wait until the script has its share of the processor again: who asks a filter is told that it is
    /// late, and a script is exchanged and ended whatever it used.
    fn is_pressing(&self) -> bool {
        matches!(self, Self::Filter { .. } | Self::Load { .. } | Self::Unload { .. } | Self::Thaw | Self::Retire)
    }
}

/// A job, and that it is under way until it has been handled.
pub(super) type Queued = (Job, Busy);

/// What comes next for a script's thread.
#[expect(
    clippy::large_enum_variant,
    reason = "taken apart where it is made: a box would be an allocation for each job"
)]
pub(super) enum Next {
    Job(Queued),
    /// How it stands with its share of the processor has changed.
    Standing,
    /// The script has ended.
    Closed,
}

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

    /// Puts back, before all others, what the script has begun and can't go on with yet.
    pub(super) fn put_back(&self, job: Job) {
        let mut queues = lock(&self.queues);
        if !queues.closed {
            queues.normal.push_front((job, self.activity.begin()));
        }
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

    /// Waits for the next job. A frozen script gets only what is urgent, one beyond its share only what is pressing.
    pub(super) fn next(&self, frozen: bool, standing: Standing) -> Next {
        let until = standing.lasts().map(|lasts| Instant::now() + lasts);
        let beyond = matches!(standing, Standing::Beyond(_));
        let mut queues = lock(&self.queues);
        loop {
            if queues.closed {
                return Next::Closed;
            }
            let urgent = match beyond {
                false => queues.urgent.pop_front(),
                true => {
                    let pressing = queues.urgent.iter().position(|(job, _)| job.is_pressing());
                    pressing.and_then(|at| queues.urgent.remove(at))
                }
            };
            if let Some(job) = urgent {
                return Next::Job(job);
            }
            if !frozen
                && !beyond
                && let Some(job) = queues.normal.pop_front()
            {
                return Next::Job(job);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            queues.asleep = left.is_none_or(|left| !left.is_zero());
            queues = match left {
                None => self.ready.wait(queues).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return Next::Standing,
                Some(left) => self.ready.wait_timeout(queues, left).unwrap_or_else(PoisonError::into_inner).0,
            };
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
