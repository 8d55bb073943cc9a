//! What scripts call: one file per namespace. Every function goes through [`define`], which turns a refusal into a Lua
//! error that says function, reason, file and line.

mod args;
mod chat;
mod clock;
mod command;
mod config;
mod context;
mod events;
mod log;
mod message;
mod node;
mod script;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table, Value};

use args::Args;
pub(super) use args::Refusal;
pub(super) use command::Command;
pub(super) use config::{from_lua, to_lua};
pub(super) use context::{Actions, completion_words, context_table};
pub(super) use message::{draft_table, gap_args, message_table, peer_table, report_table};

use super::bucket::Bucket;
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
}

/// What a waiting call wants of the node.
#[derive(Debug)]
pub(super) enum Op {
    Send { chat: String, text: String, reply_to: Option<MsgId> },
    History { chat: String, query: HistoryQuery },
    LoadHistory { chat: String },
}

/// The API's side of one state.
pub(super) struct Api {
    pub(super) shared: Arc<Shared>,
    pub(super) mode: Cell<Mode>,
    pub(super) pending: RefCell<Option<Op>>,
    pub(super) functions: RefCell<HashMap<u32, Function>>,
    pub(super) commands: RefCell<HashMap<u32, Command>>,
    pub(super) declared: RefCell<Option<Vec<String>>>,
    registered: RefCell<Registered>,
    next_id: Cell<u32>,
    live: Cell<bool>,
    sends: RefCell<HashMap<String, Bucket>>,
    logs: RefCell<Bucket>,
    guard: Function,
    blocking: Function,
    message_meta: RefCell<Option<Table>>,
    chat_meta: RefCell<Option<Table>>,
}

impl Api {
    /// Installs `rumor` into a state that is still open.
    pub(super) fn install(sandbox: &Sandbox, shared: Arc<Shared>) -> mlua::Result<Rc<Self>> {
        let now = shared.link.time.instant();
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
            logs: RefCell::new(Bucket::new(LOG_LINES.0, LOG_LINES.1, now)),
            guard: sandbox.guard.clone(),
            blocking: sandbox.blocking.clone(),
            message_meta: RefCell::default(),
            chat_meta: RefCell::default(),
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
        let result = change(&mut self.registered.borrow_mut());
        if self.live.get() {
            self.publish();
        }
        result
    }

    /// Shows the host what is registered.
    pub(super) fn publish(&self) {
        self.live.set(true);
        if self.shared.is_running() {
            *super::meter::lock(&self.shared.registered) = Arc::new(self.registered.borrow().clone());
        }
    }

    /// What is registered now.
    pub(super) fn snapshot(&self) -> Registered {
        self.registered.borrow().clone()
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

    /// Whether a permission is granted and, if the script declares any, declared.
    fn need(&self, permission: &str) -> Result<(), Refusal> {
        self.shared.grants.need(permission)?;
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
        };
        Err(Refusal::Say(place.to_owned()))
    }

    /// Takes a token for a message to a chat.
    fn may_send(&self, chat: &str) -> Result<(), Refusal> {
        let budgets = &self.shared.budgets;
        let now = self.shared.link.time.instant();
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

/// Whether a function answers at once or waits for the node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Now,
    Waits,
}

/// Makes an API function named `name` out of `body`.
fn define<R: IntoLuaMulti>(
    lua: &Lua,
    api: &Rc<Api>,
    name: &'static str,
    kind: Kind,
    body: impl Fn(&Lua, &Rc<Api>, &Args) -> Result<R, Refusal> + 'static,
) -> mlua::Result<Function> {
    let weak = Rc::downgrade(api);
    let inner = lua.create_function(move |lua, values: MultiValue| {
        let Some(api) = weak.upgrade() else { return Err(mlua::Error::runtime("the script has ended")) };
        let ready = if kind == Kind::Waits { api.may_wait() } else { Ok(()) };
        match ready.and_then(|()| body(lua, &api, &Args { values })) {
            Ok(results) => {
                let mut results = results.into_lua_multi(lua)?;
                results.push_front(Value::Boolean(true));
                Ok(results)
            }
            Err(Refusal::Say(reason)) => (false, format!("{name}: {reason}{}", caller(lua))).into_lua_multi(lua),
            Err(Refusal::Lua(error)) => Err(error),
        }
    })?;
    if kind == Kind::Waits { api.blocking.call(inner) } else { api.guard.call(inner) }
}

/// Where the script called from: ` (bots/x.lua:12)`.
fn caller(lua: &Lua) -> String {
    location(lua, 1).map_or(String::new(), |(file, line)| format!(" ({file}:{line})"))
}
