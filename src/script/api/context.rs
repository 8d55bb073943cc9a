//! `ctx`: what a command is run with.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Lua, Table, Value};

use super::args::{strings, wrong};
use super::chat::request_send;
use super::message::message_of;
use super::{Api, Kind, Refusal, define};
use crate::node::{CommandContext, UiAction};
use crate::script::sanitize;

/// Most text that one command prints, in bytes.
pub(super) const PRINT_MAX_BYTES: usize = 1 << 20;
/// Most actions of one command.
pub(super) const ACTIONS_MAX: usize = 10_000;
/// Most messages that `ctx.ui:history` shows at once.
const SHOWN_MESSAGES_MAX: usize = 10_000;

/// Where a command's effects go, until it has ended.
pub(in crate::script) struct Actions {
    pub(in crate::script) context: CommandContext,
    bytes: usize,
    count: usize,
}

impl Actions {
    /// For a command that begins now.
    pub(in crate::script) fn new(context: CommandContext) -> Rc<RefCell<Option<Self>>> {
        Rc::new(RefCell::new(Some(Self { context, bytes: 0, count: 0 })))
    }

    fn push(slot: &RefCell<Option<Self>>, action: UiAction, bytes: usize) -> Result<(), Refusal> {
        let mut slot = slot.borrow_mut();
        let Some(actions) = slot.as_mut() else {
            return Err(Refusal::Say("the command has ended".to_owned()));
        };
        actions.bytes += bytes;
        actions.count += 1;
        if actions.bytes > PRINT_MAX_BYTES || actions.count > ACTIONS_MAX {
            return Err(Refusal::Say(format!(
                "a command shows at most {PRINT_MAX_BYTES} bytes in {ACTIONS_MAX} actions"
            )));
        }
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
    let chat: Option<Arc<str>> = actions.borrow().as_ref().and_then(|actions| actions.context.chat.clone());
    let chat = chat.filter(|chat| api.shared.grants.sees(chat));
    let ctx = lua.create_table()?;
    ctx.raw_set("chat", chat.as_deref())?;

    let out = Rc::clone(actions);
    let print = define(lua, api, "ctx:print", Kind::Now, move |_, _, args| {
        let text = sanitize::text(&args.string(1, "the text")?, PRINT_MAX_BYTES);
        let bytes = text.len();
        Actions::push(&out, UiAction::Print(text), bytes)
    })?;
    ctx.raw_set("print", print)?;

    let open = chat.clone();
    let reply = define(lua, api, "ctx:reply", Kind::Waits, move |_, api, args| {
        let Some(chat) = &open else { return Err(Refusal::Say("no chat is open".to_owned())) };
        request_send(api, chat.to_string(), args.string(1, "the text")?, None)
    })?;
    ctx.raw_set("reply", reply)?;
    ctx.raw_set("ui", ui_table(lua, api, actions)?)?;
    Ok(ctx)
}

/// `ctx.ui`.
fn ui_table(lua: &Lua, api: &Rc<Api>, actions: &Rc<RefCell<Option<Actions>>>) -> mlua::Result<Table> {
    let ui = lua.create_table()?;
    let out = Rc::clone(actions);
    let open = define(lua, api, "ctx.ui:open", Kind::Now, move |_, api, args| {
        api.need("ui")?;
        let chat = args.string(1, "the chat")?;
        api.shared.grants.need_room(&chat)?;
        Actions::push(&out, UiAction::Open(chat.into()), 0)
    })?;
    ui.raw_set("open", open)?;
    let out = Rc::clone(actions);
    let quit = define(lua, api, "ctx.ui:quit", Kind::Now, move |_, api, _| {
        api.need("ui")?;
        Actions::push(&out, UiAction::Quit, 0)
    })?;
    ui.raw_set("quit", quit)?;
    let out = Rc::clone(actions);
    let history = define(lua, api, "ctx.ui:history", Kind::Now, move |_, api, args| {
        api.need("ui")?;
        let chat = args.string(1, "the chat")?;
        api.shared.grants.need_room(&chat)?;
        let Value::Table(list) = args.value(2) else {
            return Err(wrong("messages", "a list of messages", &args.value(2)));
        };
        let len = list.raw_len();
        if len > SHOWN_MESSAGES_MAX {
            return Err(Refusal::Say(format!("at most {SHOWN_MESSAGES_MAX} messages at once")));
        }
        let mut messages = Vec::with_capacity(len);
        for i in 1..=len {
            match list.raw_get(i)? {
                Value::Table(message) => messages.push(message_of(&chat, &message)?),
                other => return Err(wrong(&format!("messages[{i}]"), "a message", &other)),
            }
        }
        Actions::push(&out, UiAction::History(chat.into(), messages), 0)
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
            Ok(words.iter().map(|word| sanitize::line(word, super::command::COMMAND_TEXT_MAX_BYTES)).collect())
        }
        other => Err(wrong("the completion", "a list of strings", other)),
    }
}
