//! `ctx`: what a command is run with.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Lua, Table, Value};

use super::args::{strings, wrong};
use super::chat::request_send;
use super::message::message_of;
use super::{Api, Refusal, define};
use crate::node::{CommandContext, UiAction};
use crate::script::convert::{clean_line, clean_text};

/// Most text that one call of a command prints, in bytes.
pub(super) const PRINT_MAX_BYTES: usize = 256 << 10;
/// Most lines that one call of a command prints.
pub(super) const PRINT_LINES_MAX: usize = 2_000;
/// Most actions of one call of a command, of all kinds together.
pub(super) const ACTIONS_MAX: usize = 2_000;
/// Most messages that one call of a command shows by `ctx.ui:history`.
pub(super) const SHOWN_MESSAGES_MAX: usize = 10_000;
/// Most text of the messages that one call of a command shows by `ctx.ui:history`, in bytes. A list may name the same
/// message many times, so that the script's own memory doesn't bound it.
pub(super) const SHOWN_MAX_BYTES: usize = 16 << 20;

/// Where a command's effects go, until it has ended. The way to the frontend has no bound of its own, so what one call
/// puts into it is counted here.
pub(in crate::script) struct Actions {
    pub(in crate::script) context: CommandContext,
    used: Used,
}

/// What one call of a command has made the frontend do so far.
#[derive(Clone, Copy, Default)]
struct Used {
    actions: usize,
    bytes: usize,
    lines: usize,
    messages: usize,
    message_bytes: usize,
}

impl Used {
    /// With this text printed.
    fn print(self, text: &str) -> Result<Self, Refusal> {
        let used = Self { bytes: self.bytes + text.len(), lines: self.lines + 1 + lines_in(text), ..self };
        if used.bytes > PRINT_MAX_BYTES || used.lines > PRINT_LINES_MAX {
            return Err(Refusal::Say(format!(
                "a command prints at most {PRINT_LINES_MAX} lines of {PRINT_MAX_BYTES} bytes together"
            )));
        }
        Ok(used)
    }

    /// With this message shown.
    fn message(self, bytes: usize) -> Result<Self, Refusal> {
        let used = Self { messages: self.messages + 1, message_bytes: self.message_bytes + bytes, ..self };
        if used.messages > SHOWN_MESSAGES_MAX || used.message_bytes > SHOWN_MAX_BYTES {
            return Err(Refusal::Say(format!(
                "a command shows at most {SHOWN_MESSAGES_MAX} messages of {SHOWN_MAX_BYTES} bytes together"
            )));
        }
        Ok(used)
    }
}

fn lines_in(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

impl Actions {
    /// For a command that begins now.
    pub(in crate::script) fn new(context: CommandContext) -> Rc<RefCell<Option<Self>>> {
        Rc::new(RefCell::new(Some(Self { context, used: Used::default() })))
    }

    /// What the call has used so far.
    fn used(slot: &RefCell<Option<Self>>) -> Result<Used, Refusal> {
        slot.borrow()
            .as_ref()
            .map(|actions| actions.used)
            .ok_or_else(|| Refusal::Say("the command has ended".to_owned()))
    }

    /// Hands an action to the frontend; `used` is what the call has used with it.
    fn push(slot: &RefCell<Option<Self>>, action: UiAction, used: Used) -> Result<(), Refusal> {
        let mut slot = slot.borrow_mut();
        let Some(actions) = slot.as_mut() else {
            return Err(Refusal::Say("the command has ended".to_owned()));
        };
        if used.actions == ACTIONS_MAX {
            return Err(Refusal::Say(format!("a command does at most {ACTIONS_MAX} things at the terminal")));
        }
        actions.used = Used { actions: used.actions + 1, ..used };
        drop(actions.context.actions.send(action));
        Ok(())
    }
}

/// The `ctx` of one command.
pub(in crate::script) fn context_table(
    lua: &Lua,
    api: &Rc<Api>,
    actions: &Rc<RefCell<Option<Actions>>>,
) -> mlua::Result<Table> {
    let open: Option<Arc<str>> = actions.borrow().as_ref().and_then(|actions| actions.context.chat.clone());
    let hidden = open.as_ref().is_some_and(|chat| !api.shared.grants.sees(chat));
    let chat = open.filter(|_| !hidden);
    let ctx = lua.create_table()?;
    ctx.raw_set("chat", chat.as_deref())?;

    let out = Rc::clone(actions);
    let print = define(lua, api, "ctx:print", move |_, _, args| {
        let used = Actions::used(&out)?;
        // One byte more than allowed is enough to refuse it.
        let text = clean_text(&args.string(1)?, PRINT_MAX_BYTES + 1);
        let used = used.print(&text)?;
        Actions::push(&out, UiAction::Print(text), used)
    })?;
    ctx.raw_set("print", print)?;

    let open = chat.clone();
    let reply = define(lua, api, "ctx:reply", move |_, api, args| {
        let Some(chat) = &open else { return Err(Refusal::Say(nowhere(hidden, &api.shared.name))) };
        request_send(api, chat.to_string(), args.string(1)?, None)
    })?;
    ctx.raw_set("reply", reply)?;
    ctx.raw_set("ui", ui_table(lua, api, actions)?)?;
    Ok(ctx)
}

/// Why there is no chat to reply to. The name of a chat that isn't granted stays unknown to the script.
fn nowhere(hidden: bool, script: &str) -> String {
    if !hidden {
        return "no chat is open".to_owned();
    }
    format!(
        "script {script:?} is not granted the open chat: add its name to `rooms` under [scripts.{script}] in the config"
    )
}

/// `ctx.ui`.
fn ui_table(lua: &Lua, api: &Rc<Api>, actions: &Rc<RefCell<Option<Actions>>>) -> mlua::Result<Table> {
    let ui = lua.create_table()?;
    let out = Rc::clone(actions);
    let open = define(lua, api, "ctx.ui:open", move |_, api, args| {
        let chat = args.string(1)?;
        api.shared.grants.need_room(&chat)?;
        Actions::push(&out, UiAction::Open(chat.into()), Actions::used(&out)?)
    })?;
    ui.raw_set("open", open)?;
    let out = Rc::clone(actions);
    let quit =
        define(lua, api, "ctx.ui:quit", move |_, _, _| Actions::push(&out, UiAction::Quit, Actions::used(&out)?))?;
    ui.raw_set("quit", quit)?;
    let out = Rc::clone(actions);
    let history = define(lua, api, "ctx.ui:history", move |_, api, args| {
        let chat = args.string(1)?;
        api.shared.grants.need_room(&chat)?;
        let Value::Table(list) = args.value(2) else {
            return Err(wrong("messages", "a list of messages", &args.value(2)));
        };
        let mut used = Actions::used(&out)?;
        let mut messages = Vec::new();
        for i in 1..=list.raw_len() {
            match list.raw_get(i)? {
                Value::Table(message) => {
                    let message = message_of(&chat, &message)?;
                    used = used.message(message.text.len())?;
                    messages.push(message);
                }
                other => return Err(wrong(&format!("messages[{i}]"), "a message", &other)),
            }
        }
        Actions::push(&out, UiAction::History(chat.into(), messages), used)
    })?;
    ui.raw_set("history", history)?;
    Ok(ui)
}

/// The words that a completion function returned.
pub(in crate::script) fn completion_words(value: &Value) -> Result<Vec<String>, Refusal> {
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::Table(list) => {
            let words = strings(list, "the completion", super::command::COMPLETIONS_MAX)?;
            Ok(words.iter().map(|word| clean_line(word, super::command::COMMAND_TEXT_MAX_BYTES)).collect())
        }
        other => Err(wrong("the completion", "a list of strings", other)),
    }
}
