//! Messages and other values as tables.

use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::args::{number, string};
use super::chat::{message_id, request_send};
use super::maker::Makers;
use super::{Api, Refusal, define};
use crate::node::{LoadReport, Message, Person};
use crate::room::PersonId;
use crate::script::convert::{clean_line, clean_text};
use crate::script::job::MemberInfo;

/// Longest text of a message that a script hands to the frontend, in bytes.
const SHOWN_TEXT_MAX_BYTES: usize = 64 * 1024;
/// Longest nick that a script hands to the frontend, in bytes.
const SHOWN_NICK_MAX_BYTES: usize = 256;

pub(super) fn install(lua: &Lua, api: &Rc<Api>) -> mlua::Result<()> {
    let methods = lua.create_table()?;
    let reply = define(lua, api, "msg:reply", |_, api, args| {
        let message = args.own()?;
        let chat = string(&message.raw_get("chat")?, "msg.chat")?;
        let reply_to = match message.raw_get("id")? {
            Value::Nil => None,
            id => Some(message_id(&string(&id, "msg.id")?, "msg.id")?),
        };
        request_send(api, chat, args.string(1)?, reply_to)
    })?;
    methods.raw_set("reply", reply)?;
    methods.set_readonly(true);
    let meta = lua.create_table()?;
    meta.raw_set("__index", methods)?;
    meta.raw_set("__metatable", "message")?;
    meta.set_readonly(true);
    let _ = api.makers.set(Makers::new(lua, meta)?);
    Ok(())
}

/// Somebody who has spoken, as a script sees them.
pub(in crate::script) fn member_table(lua: &Lua, member: &MemberInfo) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 7)?;
    table.raw_set("id", member.person.id.to_string())?;
    table.raw_set("nick", member.person.nick.as_str())?;
    table.raw_set("chat", &*member.chat)?;
    #[allow(clippy::cast_precision_loss)]
    table.raw_set("last", member.last as f64 / 1_000.0)?;
    table.raw_set("messages", member.messages)?;
    table.raw_set("mine", member.mine)?;
    table.raw_set("bot", member.bot)?;
    Ok(table)
}

/// What a `gap` observer gets.
pub(in crate::script) fn gap_args(lua: &Lua, chat: &str, missing: usize) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("chat", chat)?;
    table.raw_set("missing", missing)?;
    Ok(table)
}

/// How loading a history ended.
pub(in crate::script) fn report_table(lua: &Lua, report: &LoadReport) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("answered", report.answered)?;
    table.raw_set("failed", report.failed)?;
    table.raw_set("more", report.more)?;
    #[allow(clippy::cast_precision_loss)]
    {
        table.raw_set("new", report.new as f64)?;
        table.raw_set("missing", report.missing as f64)?;
        table.raw_set("oldest", report.oldest.map(|time| time as f64 / 1_000.0))?;
    }
    Ok(table)
}

/// A message that a script hands back to be shown. Its texts are stripped again.
pub(super) fn message_of(chat: &str, table: &Table) -> Result<Message, Refusal> {
    let Value::Table(from) = table.raw_get("from")? else {
        return Err(Refusal::Say("a message needs from{id, nick}".to_owned()));
    };
    let id = string(&from.raw_get("id")?, "from.id")?;
    let id = data_encoding::HEXLOWER
        .decode(id.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Refusal::Say("from.id must be 64 hexadecimal digits".to_owned()))?;
    let nick = clean_line(&string(&from.raw_get("nick")?, "from.nick")?, SHOWN_NICK_MAX_BYTES);
    let reply_to = match table.raw_get("reply_to")? {
        Value::Nil => None,
        id => Some(message_id(&string(&id, "reply_to")?, "reply_to")?),
    };
    let flag = |name: &str| table.raw_get::<Option<bool>>(name).map(Option::unwrap_or_default);
    let time = number(&table.raw_get("time")?, "time")?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(Message {
        id: message_id(&string(&table.raw_get("id")?, "id")?, "id")?,
        chat: chat.into(),
        from: Person { id: PersonId(id), nick },
        text: clean_text(&string(&table.raw_get("text")?, "text")?, SHOWN_TEXT_MAX_BYTES),
        time: (time * 1_000.0).round().max(0.0) as u64,
        mine: flag("mine")?,
        bot: flag("bot")?,
        synced: flag("synced")?,
        late: flag("late")?,
        reply_to,
        missing: match table.raw_get("missing")? {
            Value::Nil => 0,
            n => number(&n, "missing")?.max(0.0) as usize,
        },
    })
}
