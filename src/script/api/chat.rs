//! `rumor.chat` and `rumor.chats`: sending, history, loading.

use std::rc::Rc;

use mlua::{Lua, Table};

use super::args::{Args, Fields, string};
use super::{Api, Op, Refusal, define};
use crate::node::{ChatInfo, HistoryQuery};
use crate::script::convert::clean_line;
use rumormill_api::MsgId;

/// Messages of `chat:history` without a limit.
const HISTORY_LIMIT_DEFAULT: usize = 50;

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let methods = lua.create_table()?;
    let send = define(lua, api, "chat:send", |_, api, args| {
        let chat = chat_name(args)?;
        let text = args.string(1)?;
        let options = args.fields(2)?;
        let reply_to = options.opt_string("reply_to")?.map(|id| message_id(&id, "reply_to")).transpose()?;
        request_send(api, chat, text, reply_to)
    })?;
    methods.raw_set("send", send)?;
    let history = define(lua, api, "chat:history", |_, api, args| {
        let chat = chat_name(args)?;
        api.shared.grants.need_room(&chat)?;
        let options = args.fields(1)?;
        let query = HistoryQuery {
            limit: limit(&options)?,
            before: options.opt_string("before")?.map(|id| message_id(&id, "before")).transpose()?,
        };
        *api.pending.borrow_mut() = Some(Op::History { chat, query });
        Ok(())
    })?;
    methods.raw_set("history", history)?;
    let load = define(lua, api, "chat:load_history", |_, api, args| {
        let chat = chat_name(args)?;
        api.shared.grants.need_room(&chat)?;
        let limit = args.fields(1)?.opt_number("limit")?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the table has its bounds")]
        let limit = limit.map(|limit| limit as u64);
        *api.pending.borrow_mut() = Some(Op::LoadHistory { chat, limit });
        Ok(())
    })?;
    methods.raw_set("load_history", load)?;
    let members = define(lua, api, "chat:members", |_, api, args| {
        let chat = chat_name(args)?;
        api.shared.grants.need_room(&chat)?;
        *api.pending.borrow_mut() = Some(Op::Members { chat });
        Ok(())
    })?;
    methods.raw_set("members", members)?;
    methods.set_readonly(true);
    let meta = lua.create_table()?;
    meta.raw_set("__index", methods)?;
    meta.raw_set("__metatable", "chat")?;
    meta.set_readonly(true);
    *api.chat_meta.borrow_mut() = Some(meta);

    let chat = define(lua, api, "rumor.chat", |lua, api, args| {
        let name = args.string(0)?;
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
    let list = define(lua, api, "rumor.chats", |lua, api, _| {
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
    string(&args.own()?.raw_get("name")?, "chat.name")
}

/// How many messages.
fn limit(options: &Fields) -> Result<usize, Refusal> {
    let limit = options.opt_number("limit")?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the table has its bounds")]
    Ok(limit.map_or(HISTORY_LIMIT_DEFAULT, |limit| limit as usize))
}
