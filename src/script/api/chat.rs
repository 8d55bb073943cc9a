//! `rumor.chat` and `rumor.chats`: sending, history, loading.

use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::args::{Args, Fields, string, wrong};
use super::{Api, Kind, Op, Refusal, define};
use crate::node::{ChatInfo, HistoryQuery};
use crate::script::convert::clean_line;
use rumormill_api::MsgId;

/// Most messages of one `chat:history`.
pub(super) const HISTORY_LIMIT_MAX: usize = 1_000;
/// Messages of `chat:history` without a limit.
const HISTORY_LIMIT_DEFAULT: usize = 50;

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let methods = lua.create_table()?;
    let send = define(lua, api, "chat:send", Kind::Waits, |_, api, args| {
        let chat = chat_name(args)?;
        let text = args.string(1, "the text")?;
        let options = args.options(2, "the options")?;
        options.only(&["reply_to"])?;
        let reply_to = options.opt_string("reply_to")?.map(|id| message_id(&id, "reply_to")).transpose()?;
        request_send(api, chat, text, reply_to)
    })?;
    methods.raw_set("send", send)?;
    let history = define(lua, api, "chat:history", Kind::Waits, |_, api, args| {
        let chat = chat_name(args)?;
        api.need("history")?;
        api.shared.grants.need_room(&chat)?;
        let options = args.options(1, "the options")?;
        options.only(&["limit", "before"])?;
        let query = HistoryQuery {
            limit: limit(&options)?,
            before: options.opt_string("before")?.map(|id| message_id(&id, "before")).transpose()?,
        };
        *api.pending.borrow_mut() = Some(Op::History { chat, query });
        Ok(())
    })?;
    methods.raw_set("history", history)?;
    let load = define(lua, api, "chat:load_history", Kind::Waits, |_, api, args| {
        let chat = chat_name(args)?;
        api.need("history")?;
        api.shared.grants.need_room(&chat)?;
        let options = args.options(1, "the options")?;
        options.only(&["limit"])?;
        limit(&options)?;
        *api.pending.borrow_mut() = Some(Op::LoadHistory { chat });
        Ok(())
    })?;
    methods.raw_set("load_history", load)?;
    methods.set_readonly(true);
    let meta = lua.create_table()?;
    meta.raw_set("__index", methods)?;
    meta.raw_set("__metatable", "chat")?;
    meta.set_readonly(true);
    *api.chat_meta.borrow_mut() = Some(meta);

    let chat = define(lua, api, "rumor.chat", Kind::Now, |lua, api, args| {
        let name = args.string(0, "the name")?;
        api.shared.grants.need_room(&clean_line(&name, 256))?;
        let known = chats(api);
        if !known.is_empty() && !known.iter().any(|chat| *chat.name == *name) {
            let valid: Vec<_> = known.iter().map(|chat| &*chat.name).collect();
            let name = clean_line(&name, 256);
            return Err(Refusal::Say(format!("there is no chat {name:?}; your chats: {}", valid.join(", "))));
        }
        Ok(chat_table(lua, api, &name, known.iter().find(|chat| *chat.name == *name))?)
    })?;
    rumor.raw_set("chat", chat)?;
    let list = define(lua, api, "rumor.chats", Kind::Now, |lua, api, _| {
        let list = lua.create_table()?;
        for info in chats(api) {
            list.raw_push(chat_table(lua, api, &info.name, Some(&info))?)?;
        }
        Ok(list)
    })?;
    rumor.raw_set("chats", list)
}

/// Asks for a message to be sent, once rights and rates allow it.
pub(super) fn request_send(api: &Api, chat: String, text: String, reply_to: Option<MsgId>) -> Result<(), Refusal> {
    api.need("send")?;
    api.shared.grants.need_room(&chat)?;
    api.may_send(&chat)?;
    *api.pending.borrow_mut() = Some(Op::Send { chat, text, reply_to });
    Ok(())
}

/// A message's id out of its 64 digits.
pub(super) fn message_id(text: &str, what: &str) -> Result<MsgId, Refusal> {
    text.parse().map_err(|_| Refusal::Say(format!("{what} must be a message's id (64 hexadecimal digits)")))
}

/// The chats that this script sees.
fn chats(api: &Api) -> Vec<ChatInfo> {
    let Some((handle, _)) = api.shared.link.node() else { return Vec::new() };
    handle.chats().into_iter().filter(|chat| api.shared.grants.sees(&chat.name)).collect()
}

/// A chat as a script sees it.
fn chat_table(lua: &Lua, api: &Api, name: &str, info: Option<&ChatInfo>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("name", name)?;
    if let Some(info) = info {
        table.raw_set("weak", info.weak)?;
        table.raw_set("ephemeral", info.ephemeral)?;
        table.raw_set("missing", info.missing)?;
    }
    table.set_metatable(api.chat_meta.borrow().clone())?;
    Ok(table)
}

/// The chat that a method was called on.
fn chat_name(args: &Args) -> Result<String, Refusal> {
    match args.value(0) {
        Value::Table(chat) => string(&chat.raw_get("name")?, "chat.name"),
        other => Err(wrong("self (write chat:method(), with a colon)", "a chat", &other)),
    }
}

/// How many messages.
fn limit(options: &Fields) -> Result<usize, Refusal> {
    let Some(limit) = options.opt_number("limit")? else { return Ok(HISTORY_LIMIT_DEFAULT) };
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    if (1.0..=HISTORY_LIMIT_MAX as f64).contains(&limit) && limit.fract() == 0.0 {
        Ok(limit as usize)
    } else {
        Err(Refusal::Say(format!("limit must be a whole number from 1 to {HISTORY_LIMIT_MAX}, got {limit}")))
    }
}
