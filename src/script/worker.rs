//! A script's thread: its state, and what it is asked to do, each call on its budget.

mod tasks;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mlua::{IntoLuaMulti, Lua, MultiValue, Thread, Value};
use serde_json::Value as Json;

use super::api::{self, Actions, Api, Mode};
use super::convert::{clean_text, filter_answer, is_memory_error, refused, wants};
use super::error::ScriptError;
use super::host::FILTERED_TEXT_MAX_BYTES;
use super::job::{Answer, Evaluated, EventData, FilterAnswer, Job, Next, Slot, Subject};
use super::meter::lock;
use super::require::require_function;
use super::sandbox::{OUT_OF_TIME, Sandbox};
use super::share::Account;
use super::shared::{EventKind, HandlerSpec, ScriptState, Shared};
use super::source::{Dependency, Libraries};
use super::task::{Purpose, Task, Waits};
use crate::node::{CommandContext, CommandResult};

/// Stack of a script's thread, in bytes: what nested calls between Lua and Rust can need at their limit.
const THREAD_STACK_BYTES: usize = 8 << 20;

/// What a thread begins with.
pub(super) struct Start {
    pub(super) shared: Arc<Shared>,
    pub(super) text: Arc<str>,
    pub(super) libraries: Libraries,
    pub(super) dependencies: Arc<Mutex<Vec<Dependency>>>,
    pub(super) slot: Slot,
}

/// Starts a script's thread. The slot gets [`Answer::Loaded`].
pub(super) fn spawn(start: Start) -> std::io::Result<()> {
    let name = format!("lua {}", start.shared.name);
    std::thread::Builder::new().name(name).stack_size(THREAD_STACK_BYTES).spawn(move || {
        let shared = Arc::clone(&start.shared);
        if catch_unwind(AssertUnwindSafe(|| run(start))).is_err() {
            shared.disable("the host failed while it ran this script");
        }
    })?;
    Ok(())
}

fn run(start: Start) {
    let Start { shared, text, libraries, dependencies, slot } = start;
    shared.meter.measure_this_thread();
    let mut worker = match Worker::load(&shared, &text, libraries, dependencies) {
        Ok(worker) => worker,
        Err(error) => {
            slot.answer(Answer::Loaded(Err(error)));
            shared.end(ScriptState::Failed);
            return;
        }
    };
    drop(text);
    // The generation before may have used up the share.
    worker.account.look(&shared);
    worker.api.publish();
    slot.answer(Answer::Loaded(Ok(())));
    loop {
        let (job, busy) = match shared.inbox.next(worker.frozen, worker.account.standing(&shared)) {
            Next::Job(queued) => queued,
            Next::Standing => continue,
            Next::Closed => break,
        };
        worker.handle(job);
        worker.wake_spawned();
        drop(busy);
        if worker.retiring && worker.tasks.is_empty() {
            break;
        }
    }
    if let Some(cpu) = shared.meter.cpu() {
        // The thread's own count ends with it.
        *lock(&shared.cpu_at_end) = Some(cpu);
    }
    shared.end(ScriptState::Stopped);
}

struct Worker {
    shared: Arc<Shared>,
    api: Rc<Api>,
    sandbox: Sandbox,
    tasks: HashMap<u64, Task>,
    /// The coroutine of a handler that has ended, for the next one.
    spare: Option<Thread>,
    next_task: u64,
    /// Turns of timers that came while the script was frozen.
    held: Vec<u32>,
    /// Whether [`Job::Spawned`] is on its way.
    waking: bool,
    kills_in_row: u32,
    frozen: bool,
    retiring: bool,
    account: Account,
}

impl Worker {
    fn load(
        shared: &Arc<Shared>,
        text: &str,
        libraries: Libraries,
        dependencies: Arc<Mutex<Vec<Dependency>>>,
    ) -> Result<Self, ScriptError> {
        let failed = |error: mlua::Error| ScriptError::from_lua(&shared.label, &error);
        let sandbox = Sandbox::open(&shared.meter).map_err(failed)?;
        let api = Api::install(&sandbox, Arc::clone(shared)).map_err(failed)?;
        let require = require_function(&sandbox.lua, shared, libraries, dependencies).map_err(failed)?;
        sandbox.lua.globals().raw_set("require", require).map_err(failed)?;
        sandbox.close(shared.budgets.memory_max_bytes).map_err(failed)?;
        let mut worker = Self {
            shared: Arc::clone(shared),
            api,
            sandbox,
            tasks: HashMap::new(),
            spare: None,
            next_task: 0,
            held: Vec::new(),
            waking: false,
            kills_in_row: 0,
            frozen: false,
            retiring: false,
            account: Account::new(&shared.meter),
        };
        let budget = Duration::from_millis(shared.budgets.load_ms);
        let name = format!("@{}", shared.label);
        worker.metered(Mode::Loading, budget, |lua, _| {
            lua.load(text).set_name(name).set_mode(mlua::chunk::ChunkMode::Text).exec()
        })?;
        // What the making of the state and the loading left behind, a script that sits idle would keep.
        drop(worker.sandbox.lua.gc_collect());
        shared.memory.store(worker.sandbox.lua.used_memory(), Ordering::Relaxed);
        Ok(worker)
    }

    /// Runs one piece of Lua on a budget.
    fn metered<T>(
        &mut self,
        mode: Mode,
        budget: Duration,
        call: impl FnOnce(&Lua, &Rc<Api>) -> mlua::Result<T>,
    ) -> Result<T, ScriptError> {
        self.timed(mode, budget, call).0
    }

    /// The same, with how long it ran.
    fn timed<T>(
        &mut self,
        mode: Mode,
        budget: Duration,
        call: impl FnOnce(&Lua, &Rc<Api>) -> mlua::Result<T>,
    ) -> (Result<T, ScriptError>, Duration) {
        self.api.mode.set(mode);
        self.shared.meter.begin(budget);
        self.shared.watchdog.wake();
        let result = call(&self.sandbox.lua, &self.api);
        let (spent, killed) = self.shared.meter.end();
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        self.shared.in_calls_ns.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.account.count(&self.shared, spent);
        let out_of_memory = matches!(&result, Err(error) if is_memory_error(error));
        let result = match result {
            Ok(_) if killed => Err(ScriptError::of(&self.shared.label, OUT_OF_TIME)),
            Ok(value) => Ok(value),
            Err(error) => Err(ScriptError::from_lua(&self.shared.label, &error)),
        };
        if killed || out_of_memory {
            drop(self.sandbox.lua.gc_collect());
            self.shared.kills.fetch_add(1, Ordering::Relaxed);
            self.kills_in_row += 1;
            if self.kills_in_row >= self.shared.budgets.kills_max {
                let reason = format!("{} calls in a row went past their budget", self.kills_in_row);
                self.shared.disable(&reason);
            }
        } else {
            self.kills_in_row = 0;
        }
        self.shared.memory.store(self.sandbox.lua.used_memory(), Ordering::Relaxed);
        (result, spent)
    }

    fn handler_budget(&self) -> Duration {
        Duration::from_millis(self.shared.budgets.handler_ms)
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Filter { ids, subjects, slot } => {
                let mut answers = Vec::with_capacity(subjects.len());
                for subject in subjects {
                    // Who waits for its share of the processor is late whatever it would say.
                    if self.account.is_beyond() || !slot.is_open() {
                        break;
                    }
                    answers.push(self.filters(&ids, subject));
                }
                slot.answer(Answer::Filter(answers));
            }
            Job::Event(event) => self.event(&event, None),
            Job::Observers { event, left } => self.event(&event, Some(&left)),
            Job::Command { id, rest, usage, context, slot } => self.command(id, rest, usage, context, slot),
            Job::Complete { id, prefix, chat, slot } => {
                if slot.is_open() {
                    let words = self.complete(id, &prefix, chat.as_deref());
                    slot.answer(Answer::Words(words));
                }
            }
            Job::Resume { task, result } => self.resume(task, result),
            Job::Eval { code, slot } => self.eval(&code, slot),
            Job::Timer(id) if self.frozen => self.held.push(id),
            Job::Timer(id) => self.turn(id),
            Job::Spawned => self.begin_spawned(),
            Job::Load { saved, slot } => self.run_load(saved, &slot),
            Job::Unload { slot } => {
                self.frozen = true;
                let saved = self.unload();
                slot.answer(Answer::Saved(saved));
            }
            Job::Thaw => {
                self.frozen = false;
                for id in std::mem::take(&mut self.held) {
                    self.shared.inbox.push_urgent(Job::Timer(id));
                }
            }
            Job::Retire => {
                self.frozen = false;
                self.retiring = true;
                self.api.timers.borrow_mut().clear();
                self.api.spawned.borrow_mut().clear();
                self.tasks.retain(|_, task| !matches!(task.waits, Waits::Sleep(_)));
            }
        }
    }

    /// Code that somebody typed: an expression's values, or a statement. It sees the script's globals.
    fn eval(&mut self, code: &str, slot: Slot) {
        let compile = |code: &str| {
            let chunk = self.sandbox.lua.load(code).set_name("@repl.lua");
            chunk.set_mode(mlua::chunk::ChunkMode::Text).into_function()
        };
        match compile(&format!("return {code}")).or_else(|_| compile(code)) {
            Ok(function) => self.start(&function, Purpose::Eval(slot), false, |lua, _| ().into_lua_multi(lua)),
            Err(mlua::Error::SyntaxError { incomplete_input: true, .. }) => {
                slot.answer(Answer::Evaluated(Evaluated::Incomplete));
            }
            Err(error) => {
                let error = ScriptError::from_lua("repl.lua", &error).to_string();
                slot.answer(Answer::Evaluated(Evaluated::Failed(error)));
            }
        }
    }

    /// A timer's turn.
    fn turn(&mut self, id: u32) {
        if let Some((function, by_bot)) = self.api.turn(id) {
            self.start(&function, Purpose::Timer(id), by_bot, |lua, _| ().into_lua_multi(lua));
        }
    }

    /// What was spawned begins behind what waits already.
    fn wake_spawned(&mut self) {
        if self.retiring {
            self.api.spawned.borrow_mut().clear();
        } else if !self.waking && !self.api.spawned.borrow().is_empty() {
            self.waking = true;
            self.shared.inbox.push_urgent(Job::Spawned);
        }
    }

    fn begin_spawned(&mut self) {
        self.waking = false;
        // What these spawn comes after them.
        let waiting = self.api.spawned.borrow().len();
        for _ in 0..waiting {
            if self.account.is_beyond() {
                return;
            }
            let Some(spawned) = self.api.spawned.borrow_mut().pop_front() else { return };
            let api::Spawned { function, args, by_bot, spent } = spawned;
            if spent >= self.handler_budget() {
                self.shared.report(&ScriptError::of(&self.shared.label, OUT_OF_TIME));
                continue;
            }
            self.start_after(spent, &function, Purpose::Spawned, by_bot, |_, _| Ok(args));
        }
    }

    /// The word of several filters on a message, each of which gets what the one before made of it.
    fn filters(&mut self, ids: &[u32], mut subject: Subject) -> FilterAnswer {
        let mut answer = FilterAnswer::Pass;
        for id in ids {
            match self.filter(*id, &subject) {
                FilterAnswer::Pass => {}
                FilterAnswer::Replace(text) => {
                    let text = clean_text(&text, FILTERED_TEXT_MAX_BYTES);
                    subject.set_text(&text);
                    answer = FilterAnswer::Replace(text);
                }
                drop => return drop,
            }
        }
        answer
    }

    /// A filter's word on a message.
    fn filter(&mut self, id: u32, subject: &Subject) -> FilterAnswer {
        let registered = self.api.snapshot();
        let spec = registered.handlers.iter().find(|spec| spec.id == id);
        let (Some(function), Some(spec)) = (self.api.function(id), spec) else { return FilterAnswer::Pass };
        if spec.once {
            self.api.forget(id);
        }
        let budget = Duration::from_millis(self.shared.budgets.filter_ms);
        let result = self.metered(Mode::Filter, budget, |lua, api| {
            let values: MultiValue = match subject {
                Subject::Send(draft) => function.call(api::draft_table(lua, api, draft)?)?,
                Subject::Receive(message) => api::call_with_message(lua, api, &function, message)?,
                Subject::Relay(passing) => function.call(api::passing_table(lua, api, passing)?)?,
            };
            filter_answer(spec.event, &values)
        });
        match result {
            Ok(answer) => answer,
            Err(error) => {
                self.shared.report(&error);
                if spec.drop_on_error {
                    FilterAnswer::Drop(format!("the filter {} failed", self.shared.name))
                } else {
                    FilterAnswer::Pass
                }
            }
        }
    }

    /// Runs the observers of an event, or those of them that are left.
    fn event(&mut self, event: &EventData, left: Option<&[u32]>) {
        let by_bot = match event {
            EventData::Message(message) if !message.bot => {
                if left.is_none() {
                    self.api.person_spoke(&message.chat);
                }
                false
            }
            EventData::Message(_) => true,
            EventData::Join(member) => member.bot,
            _ => false,
        };
        let registered = self.api.snapshot();
        let is_left = |spec: &&HandlerSpec| left.is_none_or(|left| left.contains(&spec.id));
        let mut specs = registered.handlers.iter().filter(|spec| wants(spec, event)).filter(is_left);
        while let Some(spec) = specs.next() {
            if self.account.is_beyond() {
                let left = std::iter::once(spec).chain(specs).map(|spec| spec.id).collect();
                return self.shared.inbox.put_back(Job::Observers { event: event.clone(), left });
            }
            let Some(function) = self.api.function(spec.id) else { continue };
            if spec.once {
                self.api.forget(spec.id);
            }
            let purpose = Purpose::Observer(spec.event);
            match event {
                EventData::Message(message) => self.start_with_message(&function, purpose, by_bot, message),
                EventData::Join(member) | EventData::Leave(member) => {
                    self.start(&function, purpose, by_bot, |lua, _| {
                        api::member_table(lua, member)?.into_lua_multi(lua)
                    });
                }
                EventData::PeerUp(peer) | EventData::PeerDown(peer) => {
                    self.start(&function, purpose, by_bot, |lua, api| {
                        api::peer_table(lua, api, peer)?.into_lua_multi(lua)
                    });
                }
                EventData::Gap { chat, missing } => {
                    self.start(&function, purpose, by_bot, |lua, _| {
                        api::gap_args(lua, chat, *missing)?.into_lua_multi(lua)
                    });
                }
            }
            if !self.shared.is_running() {
                return;
            }
        }
    }

    fn command(&mut self, id: u32, rest: String, usage: String, context: CommandContext, slot: Slot) {
        let now = self.shared.link.time.instant();
        let ready = {
            let commands = self.api.commands.borrow();
            match commands.get(&id) {
                None => Err("the command is gone".to_owned()),
                Some(command) => {
                    let wait = command
                        .last
                        .get()
                        .map_or(0.0, |last| command.cooldown - now.saturating_duration_since(last).as_secs_f64());
                    if wait > 0.0 {
                        Err(format!("wait {} s", wait.ceil()))
                    } else {
                        command.last.set(Some(now));
                        Ok(command.run.clone())
                    }
                }
            }
        };
        let run = match ready {
            Ok(run) => run,
            Err(reason) => return slot.answer(Answer::Command(CommandResult::Failed(reason))),
        };
        let actions = Actions::new(context);
        let seen = Rc::clone(&actions);
        self.start(&run, Purpose::Command { slot, usage, actions }, false, move |lua, api| {
            let ctx = api::context_table(lua, api, &seen)?;
            let args = lua.create_table()?;
            for word in rest.split_whitespace() {
                args.raw_push(word)?;
            }
            args.raw_set("rest", rest.as_str())?;
            (ctx, args).into_lua_multi(lua)
        });
    }

    fn complete(&mut self, id: u32, prefix: &str, chat: Option<&str>) -> Vec<String> {
        let Some(function) = self.api.function(id) else { return Vec::new() };
        let result = self.metered(Mode::Completing, self.handler_budget(), |lua, api| {
            let ctx = lua.create_table()?;
            ctx.raw_set("chat", chat.filter(|chat| api.shared.grants.sees(chat)))?;
            let value: Value = function.call((ctx, prefix))?;
            api::completion_words(&value).map_err(refused)
        });
        result.unwrap_or_else(|error| {
            self.shared.report(&error);
            Vec::new()
        })
    }

    /// The `load` observers, with what the generation before saved.
    fn run_load(&mut self, saved: Option<Json>, slot: &Slot) {
        self.api.arm_all();
        let registered = self.api.snapshot();
        for spec in registered.handlers.iter().filter(|spec| spec.event == EventKind::Load) {
            // Who waits for it may have given up.
            if !self.shared.is_running() {
                return;
            }
            let Some(function) = self.api.function(spec.id) else { continue };
            let saved = saved.clone();
            self.start(&function, Purpose::Load(slot.clone()), false, move |lua, _| match &saved {
                Some(saved) => api::to_lua(lua, saved)?.into_lua_multi(lua),
                None => Value::Nil.into_lua_multi(lua),
            });
        }
        // A failure has answered already; a handler that waits for the node has loaded.
        slot.answer(Answer::Loaded(Ok(())));
    }

    /// The `unload` handlers; what the last one returns is saved.
    fn unload(&mut self) -> Result<Option<Json>, ScriptError> {
        let mut saved = None;
        let registered = self.api.snapshot();
        for spec in registered.handlers.iter().filter(|spec| spec.event == EventKind::Unload) {
            let Some(function) = self.api.function(spec.id) else { continue };
            let value = self.metered(Mode::Unloading, self.handler_budget(), |_, _| {
                let value: Value = function.call(())?;
                if value.is_nil() {
                    return Ok(None);
                }
                let json = api::from_lua(&value)
                    .map_err(|reason| mlua::Error::runtime(format!("what \"unload\" returned: {reason}")))?;
                Ok(Some(json))
            })?;
            saved = value.or(saved);
        }
        Ok(saved)
    }
}
