//! Handlers under way: each is a coroutine that runs until it ends or waits, and goes on when it is answered.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Function, Lua, MultiValue, Thread, Value};

use super::super::api::{self, Api, Mode, Op};
use super::super::convert::command_result;
use super::super::error::ScriptError;
use super::super::job::{Answer, Evaluated, Job, OpResult};
use super::super::meter::lock;
use super::super::op;
use super::super::sandbox::first;
use super::super::show::shown;
use super::super::task::{Purpose, Task, Waits};
use super::super::time::Alarm;
use super::Worker;
use crate::node::{CommandResult, Message};

/// Most handlers and commands of one script that are under way at once.
pub(in crate::script) const TASKS_MAX: usize = 64;

impl Worker {
    /// Starts a handler as a coroutine.
    pub(super) fn start(
        &mut self,
        function: &Function,
        purpose: Purpose,
        by_bot: bool,
        args: impl FnOnce(&Lua, &Rc<Api>) -> mlua::Result<MultiValue>,
    ) {
        self.start_after(Duration::ZERO, function, purpose, by_bot, args);
    }

    /// The same, when so much of its budget is used up.
    pub(super) fn start_after(
        &mut self,
        spent: Duration,
        function: &Function,
        purpose: Purpose,
        by_bot: bool,
        args: impl FnOnce(&Lua, &Rc<Api>) -> mlua::Result<MultiValue>,
    ) {
        self.begin(spent, function, purpose, by_bot, |lua, api, thread| thread.resume(args(lua, api)?));
    }

    /// Starts a handler that gets a message.
    pub(super) fn start_with_message(&mut self, handler: &Function, purpose: Purpose, by_bot: bool, message: &Message) {
        let api = Rc::clone(&self.api);
        match api::handing_message(&api) {
            Ok(body) => self.begin(Duration::ZERO, body, purpose, by_bot, |lua, api, thread| {
                api::resume_with_message(lua, api, thread, handler, message)
            }),
            Err(error) => self.fail(purpose, &ScriptError::from_lua(&self.shared.label, &error)),
        }
    }

    fn begin(
        &mut self,
        spent: Duration,
        body: &Function,
        purpose: Purpose,
        by_bot: bool,
        resume: impl FnOnce(&Lua, &Rc<Api>, &Thread) -> mlua::Result<MultiValue>,
    ) {
        if self.tasks.len() >= TASKS_MAX {
            let reason = format!("more than {TASKS_MAX} handlers are under way");
            return self.fail(purpose, &ScriptError::of(&self.shared.label, &reason));
        }
        let thread = match self.spare.take() {
            Some(thread) => thread.reset(body.clone()).map(|()| thread),
            None => self.sandbox.lua.create_thread(body.clone()),
        };
        let thread = match thread {
            Ok(thread) => thread,
            Err(error) => return self.fail(purpose, &ScriptError::from_lua(&self.shared.label, &error)),
        };
        self.step(Task { thread, spent, purpose, by_bot, waits: Waits::Node }, resume);
    }

    /// The node has answered a waiting call.
    pub(super) fn resume(&mut self, id: u64, result: OpResult) {
        let Some(task) = self.tasks.remove(&id) else { return };
        if matches!(task.waits, Waits::Web) {
            self.api.requests.set(self.api.requests.get().saturating_sub(1));
        }
        let task = Task { waits: Waits::Node, ..task };
        self.step(task, move |lua, api, thread| {
            let value = match result {
                OpResult::Sent(id) => Value::String(lua.create_string(id.to_string())?),
                OpResult::Messages(messages) => {
                    let list = lua.create_table_with_capacity(messages.len(), 0)?;
                    for message in &messages {
                        list.raw_push(api::message_table(lua, api, message)?)?;
                    }
                    Value::Table(list)
                }
                OpResult::Report(report) => Value::Table(api::report_table(lua, &report)?),
                OpResult::Members(members) => {
                    let list = lua.create_table_with_capacity(members.len(), 0)?;
                    for member in &members {
                        list.raw_push(api::member_table(lua, member)?)?;
                    }
                    Value::Table(list)
                }
                OpResult::Fetched(response) => Value::Table(api::response_table(lua, api, &response)?),
                OpResult::Reloaded(loaded, failed) => return thread.resume((true, loaded, failed)),
                OpResult::Written => Value::Boolean(true),
                OpResult::Slept => return thread.resume(true),
                OpResult::Failed(reason) => return thread.resume((true, Value::Nil, reason)),
            };
            thread.resume((true, value))
        });
    }

    /// Runs a handler until it ends or waits for the node.
    fn step(&mut self, mut task: Task, resume: impl FnOnce(&Lua, &Rc<Api>, &Thread) -> mlua::Result<MultiValue>) {
        let budget = self.handler_budget().saturating_sub(task.spent);
        self.api.by_bot.set(task.by_bot);
        let spawned_before = self.api.spawned.borrow().len();
        let thread = &task.thread;
        let (result, spent) = self.timed(Mode::Task, budget, |lua, api| {
            let values = resume(lua, api, thread)?;
            Ok((values, thread.is_resumable()))
        });
        self.api.by_bot.set(false);
        task.spent += spent;
        for spawned in self.api.spawned.borrow_mut().iter_mut().skip(spawned_before) {
            spawned.spent = task.spent;
        }
        match result {
            Ok((values, false)) => {
                if !self.sandbox.running_seen.get() {
                    self.spare = Some(task.thread);
                }
                self.finish(task.purpose, &values);
            }
            Ok((values, true)) => {
                let op = self.api.pending.borrow_mut().take();
                let waits = matches!(first(&values), Value::Table(token) if token == self.sandbox.request);
                match op {
                    Some(op) if waits => self.submit(op, task),
                    _ => {
                        let reason = "a handler yielded without waiting for anything";
                        self.fail(task.purpose, &ScriptError::of(&self.shared.label, reason));
                    }
                }
            }
            Err(error) => self.fail(task.purpose, &error),
        }
        self.api.pending.borrow_mut().take();
    }

    /// Hands a request to who answers it; the answer comes back as a job.
    fn submit(&mut self, op: Op, mut task: Task) {
        self.next_task += 1;
        let id = self.next_task;
        let shared = Arc::clone(&self.shared);
        let Some((handle, runtime)) = self.shared.link.node() else {
            self.tasks.insert(id, task);
            let result = OpResult::Failed("the node has not started".to_owned());
            return shared.inbox.push_urgent(Job::Resume { task: id, result });
        };
        if let Op::Sleep(time) = op {
            // A version that was replaced ends with its sleepers.
            if self.retiring {
                return;
            }
            let sleeper = Arc::downgrade(&shared);
            let ring = move || {
                if let Some(shared) = sleeper.upgrade() {
                    shared.inbox.push_urgent(Job::Resume { task: id, result: OpResult::Slept });
                }
            };
            task.waits = Waits::Sleep(Alarm::set(&runtime, time, ring));
            self.tasks.insert(id, task);
            return;
        }
        if matches!(op, Op::Fetch(_)) {
            task.waits = Waits::Web;
            self.api.requests.set(self.api.requests.get() + 1);
        }
        self.tasks.insert(id, task);
        runtime.spawn(async move {
            let result = op::run(op, &handle, &shared).await.unwrap_or_else(OpResult::Failed);
            shared.inbox.push_urgent(Job::Resume { task: id, result });
        });
    }

    fn finish(&mut self, purpose: Purpose, values: &MultiValue) {
        match purpose {
            Purpose::Command { slot, usage, actions } => {
                actions.borrow_mut().take();
                slot.answer(Answer::Command(command_result(values, usage)));
            }
            Purpose::Timer(id) => self.api.turn_ended(id),
            Purpose::Eval(slot) => {
                slot.answer(Answer::Evaluated(Evaluated::Values(values.iter().map(shown).collect())))
            }
            Purpose::Observer(_) | Purpose::Load(_) | Purpose::Spawned => {}
        }
    }

    fn fail(&mut self, purpose: Purpose, error: &ScriptError) {
        match purpose {
            Purpose::Observer(event) => {
                let error =
                    ScriptError { reason: format!("{} (in {:?})", error.reason, event.name()), ..error.clone() };
                self.shared.report(&error);
            }
            Purpose::Timer(id) => {
                self.api.turn_ended(id);
                self.shared.report(&ScriptError { reason: format!("{} (in a timer)", error.reason), ..error.clone() });
            }
            Purpose::Spawned => self.shared.report(error),
            Purpose::Eval(slot) => slot.answer(Answer::Evaluated(Evaluated::Failed(error.to_string()))),
            Purpose::Load(slot) => slot.answer(Answer::Loaded(Err(error.clone()))),
            Purpose::Command { slot, actions, .. } => {
                actions.borrow_mut().take();
                *lock(&self.shared.last_error) = Some(error.to_string());
                tracing::warn!(target: super::super::LOG_TARGET, script = %self.shared.name, "{error}");
                slot.answer(Answer::Command(CommandResult::Failed(error.to_string())));
            }
        }
    }
}
