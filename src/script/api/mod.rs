//! What scripts call: one file per namespace. Every function goes through [`define`], which turns a refusal into a Lua
//! error that says function, reason, file and line.

mod answers;
mod args;
mod chat;
mod check;
mod clock;
mod command;
mod config;
mod context;
mod events;
mod files;
mod http;
mod json;
mod log;
mod maker;
mod message;
mod node;
mod notify;
mod script;
mod scripts;
mod store;
pub(super) mod table;
mod timer;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table, Value};

use answers::{ANSWERS_MAX, Answers};
use args::Args;
pub(super) use args::Refusal;
pub(super) use command::Command;
pub(super) use context::{Actions, completion_words, context_table};
pub(super) use files::write as write_file;
pub(super) use http::response_table;
#[cfg(feature = "http")]
pub(super) use http::{grants, host_of};
pub(super) use json::{from_lua, to_lua};
use maker::Makers;
pub(super) use maker::{
    call_with_message, draft_table, handing_message, message_table, passing_table, peer_table, resume_with_message,
};
pub(super) use message::{gap_args, member_table, report_table};
pub(super) use timer::{Spawned, Timer};

use super::bucket::Bucket;
use super::outside::WebRequest;
use super::sandbox::{Sandbox, location};
use super::shared::{Registered, Shared};
use crate::node::HistoryQuery;
use rumormill_api::MsgId;

/// Most commands of one script.
pub(super) const COMMANDS_MAX: usize = 256;
/// Most handlers of one script.
pub(super) const HANDLERS_MAX: usize = 256;
/// Log lines that one script may write at once, and a second in the long run.
const LOG_LINES: (f64, f64) = (200.0, 50.0);

/// What the thread is running now: whether it may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Loading,
    Filter,
    Task,
    Unloading,
    Completing,
    Updating,
}

/// What a waiting call wants of the node.
#[derive(Debug)]
pub(super) enum Op {
    Send { chat: String, text: String, reply_to: Option<MsgId> },
    History { chat: String, query: HistoryQuery },
    LoadHistory { chat: String, limit: Option<u64> },
    Members { chat: String },
    Fetch(Box<WebRequest>),
    WriteFile { name: String, text: String },
    Reload(Option<String>),
    Sleep(Duration),
}

/// The API's side of one state.
pub(super) struct Api {
    pub(super) shared: Arc<Shared>,
    pub(super) mode: Cell<Mode>,
    pub(super) pending: RefCell<Option<Op>>,
    pub(super) functions: RefCell<BTreeMap<u32, Function>>,
    pub(super) commands: RefCell<HashMap<u32, Command>>,
    pub(super) declared: RefCell<Option<Vec<String>>>,
    registered: RefCell<Arc<Registered>>,
    next_id: Cell<u32>,
    live: Cell<bool>,
    sends: RefCell<HashMap<String, Bucket>>,
    /// Answers to bots, by chat.
    bot_answers: RefCell<HashMap<String, Answers>>,
    logs: RefCell<Bucket>,
    notices: RefCell<Bucket>,
    web: RefCell<Bucket>,
    /// Requests that are under way.
    pub(super) requests: Cell<usize>,
    pub(super) timers: RefCell<HashMap<u32, Timer>>,
    /// Whether timers run: the node is there.
    armed: Cell<bool>,
    pub(super) spawned: RefCell<VecDeque<Spawned>>,
    /// Whether the present call goes back to what a bot said.
    pub(super) by_bot: Cell<bool>,
    guard: Function,
    blocking: Function,
    makers: OnceCell<Makers>,
    chat_meta: RefCell<Option<Table>>,
    timer_meta: RefCell<Option<Table>>,
    response_meta: RefCell<Option<Table>>,
}

impl Api {
    /// Installs `rumor` into a state that is still open.
    pub(super) fn install(sandbox: &Sandbox, shared: Arc<Shared>) -> mlua::Result<Rc<Self>> {
        let now = shared.link.time.instant();
        let bucket = |rate: (f64, f64)| RefCell::new(Bucket::new(rate.0, rate.1, now));
        let api = Rc::new(Self {
            shared,
            mode: Cell::new(Mode::Loading),
            pending: RefCell::default(),
            functions: RefCell::default(),
            commands: RefCell::default(),
            declared: RefCell::default(),
            registered: RefCell::default(),
            next_id: Cell::new(1),
            live: Cell::new(false),
            sends: RefCell::default(),
            bot_answers: RefCell::default(),
            logs: bucket(LOG_LINES),
            notices: bucket(notify::NOTICES),
            web: bucket(http::REQUESTS),
            requests: Cell::new(0),
            timers: RefCell::default(),
            armed: Cell::new(false),
            spawned: RefCell::default(),
            by_bot: Cell::new(false),
            guard: sandbox.guard.clone(),
            blocking: sandbox.blocking.clone(),
            makers: OnceCell::new(),
            chat_meta: RefCell::default(),
            timer_meta: RefCell::default(),
            response_meta: RefCell::default(),
        });
        let lua = &sandbox.lua;
        let rumor = lua.create_table()?;
        script::install(lua, &api, &rumor)?;
        command::install(lua, &api, &rumor)?;
        events::install(lua, &api, &rumor)?;
        message::install(lua, &api)?;
        chat::install(lua, &api, &rumor)?;
        node::install(lua, &api, &rumor)?;
        config::install(lua, &api, &rumor)?;
        clock::install(lua, &api)?;
        log::install(lua, &api, &rumor)?;
        timer::install(lua, &api, &rumor)?;
        store::install(lua, &api, &rumor)?;
        http::install(lua, &api, &rumor)?;
        files::install(lua, &api, &rumor)?;
        json::install(lua, &api, &rumor)?;
        notify::install(lua, &api, &rumor)?;
        scripts::install(lua, &api, &rumor)?;
        rumor.set_readonly(true);
        lua.globals().raw_set("rumor", rumor)?;
        Ok(api)
    }

    /// An id for what is registered next.
    fn fresh_id(&self) -> u32 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    /// Changes what is registered; the host sees it at once when this generation is live.
    fn change<T>(&self, change: impl FnOnce(&mut Registered) -> T) -> T {
        let result = change(Arc::make_mut(&mut self.registered.borrow_mut()));
        if self.live.get() {
            self.publish();
        }
        result
    }

    /// Shows the host what is registered.
    pub(super) fn publish(&self) {
        self.live.set(true);
        self.shared.register(self.snapshot());
    }

    /// What is registered now.
    pub(super) fn snapshot(&self) -> Arc<Registered> {
        Arc::clone(&self.registered.borrow())
    }

    /// Forgets a handler.
    pub(super) fn forget(&self, id: u32) {
        self.change(|registered| registered.handlers.retain(|handler| handler.id != id));
        self.functions.borrow_mut().remove(&id);
    }

    /// A handler's function, if it is still registered.
    pub(super) fn function(&self, id: u32) -> Option<Function> {
        self.functions.borrow().get(&id).cloned()
    }

    /// What makes messages.
    fn makers(&self) -> mlua::Result<&Makers> {
        self.makers.get().ok_or_else(|| mlua::Error::runtime("the API isn't installed"))
    }

    /// Whether a permission is granted and, if the script declares any, declared.
    fn need(&self, permission: &str) -> Result<(), Refusal> {
        self.shared.grants.need(permission)?;
        self.declares(permission)
    }

    /// Whether a script that declares permissions declares this one.
    fn declares(&self, permission: &str) -> Result<(), Refusal> {
        match &*self.declared.borrow() {
            Some(declared) if !declared.iter().any(|name| name == permission) => {
                Err(Refusal::Say(format!("this needs {permission:?}: add it to `permissions` of rumor.script")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the running call may wait for the node.
    fn may_wait(&self) -> Result<(), Refusal> {
        let place = match self.mode.get() {
            Mode::Task => return Ok(()),
            Mode::Filter => "a filter must not wait: do it in a \"message\" observer",
            Mode::Loading => "a script must not wait while it loads: do it in a \"load\" observer",
            Mode::Unloading => "\"unload\" must not wait",
            Mode::Completing => "a completion must not wait",
            Mode::Updating => "the function of store:update must not wait",
        };
        Err(Refusal::Say(place.to_owned()))
    }

    /// The web servers that it may ask: what it declared of what was granted, or all that was granted.
    fn web_hosts(&self) -> Vec<String> {
        let granted = self.shared.grants.web_hosts().map(str::to_owned);
        match &*self.declared.borrow() {
            None => granted.collect(),
            Some(declared) => declared
                .iter()
                .filter(|name| self.shared.grants.allows(name))
                .filter_map(|name| name.strip_prefix("http:").map(str::to_owned))
                .collect(),
        }
    }

    /// A person has spoken in a chat: bots may be answered again.
    pub(super) fn person_spoke(&self, chat: &str) {
        self.bot_answers.borrow_mut().remove(chat);
    }

    /// Takes a token for a message to a chat.
    fn may_send(&self, chat: &str) -> Result<(), Refusal> {
        let budgets = &self.shared.budgets;
        let now = self.shared.link.time.instant();
        if self.by_bot.get() {
            let mut answers = self.bot_answers.borrow_mut();
            if !answers.entry(chat.to_owned()).or_insert_with(|| Answers::new(now)).take(now) {
                return Err(Refusal::Say(format!(
                    "too many answers to bots in {chat:?}: at most {ANSWERS_MAX} until a person speaks there, and then ever \
                     fewer"
                )));
            }
        }
        let mut sends = self.sends.borrow_mut();
        let bucket = sends.entry(chat.to_owned()).or_insert_with(|| {
            Bucket::new(f64::from(budgets.send_burst), f64::from(budgets.send_per_minute) / 60.0, now)
        });
        if bucket.take(now) {
            return Ok(());
        }
        Err(Refusal::Say(format!(
            "too many messages to {chat:?}: at most {} at once and {} a minute",
            budgets.send_burst, budgets.send_per_minute
        )))
    }
}

/// Makes the API function that the table describes under `name` out of `body`. Before `body` runs, the arguments were
/// checked against the table, the present call may wait if the function does, and what it needs is granted. What isn't
/// granted is not there at all: in its place stands a function that says what to write where.
fn define<R: IntoLuaMulti + 'static>(
    lua: &Lua,
    api: &Rc<Api>,
    name: &'static str,
    body: impl Fn(&Lua, &Rc<Api>, &Args) -> Result<R, Refusal> + 'static,
) -> mlua::Result<Function> {
    let described = table::function(name)
        .ok_or_else(|| mlua::Error::runtime(format!("{name} isn't described in the table of the API")))?;
    let body = match described.needs.map(|needs| api.shared.grants.need(needs)) {
        Some(Err(reason)) => Err(reason),
        _ => Ok(body),
    };
    let weak = Rc::downgrade(api);
    let inner = lua.create_function(move |lua, values: MultiValue| {
        let Some(api) = weak.upgrade() else { return Err(mlua::Error::runtime("the script has ended")) };
        let call = || {
            check::arguments(described, &values)?;
            if described.waits {
                api.may_wait()?;
            }
            let body = body.as_ref().map_err(|reason| Refusal::Say(reason.clone()))?;
            described.needs.map_or(Ok(()), |needs| api.declares(needs))?;
            body(lua, &api, &Args { values: &values })
        };
        match call() {
            Ok(results) => {
                let mut results = results.into_lua_multi(lua)?;
                results.push_front(Value::Boolean(true));
                Ok(results)
            }
            Err(Refusal::Say(reason)) => (false, format!("{name}: {reason}{}", caller(lua))).into_lua_multi(lua),
            Err(Refusal::Lua(error)) => Err(error),
        }
    })?;
    if described.waits { api.blocking.call(inner) } else { api.guard.call(inner) }
}

/// Where the script called from: ` (bots/x.lua:12)`.
fn caller(lua: &Lua) -> String {
    location(lua, 1).map_or(String::new(), |(file, line)| format!(" ({file}:{line})"))
}
