//! Makes what handlers get most often: messages, drafts and envelopes, each in one call of a function in the state. Set
//! from here, every field would be a protected call of its own, and every such call leaves garbage in the state.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;

use mlua::{Function, Lua, LuaString, Table};

use super::Api;
use crate::node::{Draft, Message, Passing};
use crate::room::PersonId;

/// Most keys, and most names, that are kept as Lua's strings.
const KNOWN_MAX: usize = 64;

/// The functions, and the strings that come again with every message.
pub(super) struct Makers {
    message: Function,
    draft: Function,
    passing: Function,
    people: RefCell<HashMap<PersonId, LuaString>>,
    names: RefCell<HashMap<String, LuaString>>,
}

impl Makers {
    /// For a state that is still open. Messages get this metatable.
    pub(super) fn new(lua: &Lua, message_meta: Table) -> mlua::Result<Self> {
        let chunk = lua.load(include_str!("maker.luau")).set_name("=[rumor]");
        let (message, draft, passing) = chunk.call(message_meta)?;
        Ok(Self { message, draft, passing, people: RefCell::default(), names: RefCell::default() })
    }

    /// The name of a chat or of somebody.
    fn name(&self, lua: &Lua, name: &str) -> mlua::Result<LuaString> {
        known(&mut self.names.borrow_mut(), name, str::to_owned, || lua.create_string(name))
    }

    /// Somebody's key.
    fn person(&self, lua: &Lua, id: PersonId) -> mlua::Result<LuaString> {
        known(&mut self.people.borrow_mut(), &id, |id| *id, || lua.create_string(id.to_string()))
    }
}

/// What is kept under a key, or is made and kept. When there is too much of it, all is let go: to know what is rarely
/// used would cost more.
fn known<K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized>(
    kept: &mut HashMap<K, LuaString>,
    key: &Q,
    owned: impl FnOnce(&Q) -> K,
    make: impl FnOnce() -> mlua::Result<LuaString>,
) -> mlua::Result<LuaString> {
    if let Some(text) = kept.get(key) {
        return Ok(text.clone());
    }
    if kept.len() >= KNOWN_MAX {
        kept.clear();
    }
    let text = make()?;
    kept.insert(owned(key), text.clone());
    Ok(text)
}

/// A message as a script sees it.
pub(in crate::script) fn message_table(lua: &Lua, api: &Api, message: &Message) -> mlua::Result<Table> {
    let makers = api.makers()?;
    #[allow(clippy::cast_precision_loss)]
    let time = message.time as f64 / 1_000.0;
    makers.message.call((
        message.id.to_string(),
        makers.name(lua, &message.chat)?,
        makers.person(lua, message.from.id)?,
        makers.name(lua, &message.from.nick)?,
        message.text.as_str(),
        time,
        message.mine,
        message.bot,
        message.synced,
        message.late,
        message.missing,
        message.reply_to.map(|id| id.to_string()),
    ))
}

/// A message on its way out, as a `send` filter sees it.
pub(in crate::script) fn draft_table(lua: &Lua, api: &Api, draft: &Draft) -> mlua::Result<Table> {
    let makers = api.makers()?;
    let (chat, options) = (makers.name(lua, &draft.chat)?, &draft.options);
    let reply_to = options.reply_to.map(|id| id.to_string());
    makers.draft.call((chat, draft.text.as_str(), options.script.is_some(), reply_to))
}

/// An envelope as a `relay` filter sees it.
pub(in crate::script) fn passing_table(lua: &Lua, api: &Api, passing: &Passing) -> mlua::Result<Table> {
    let makers = api.makers()?;
    let link = &passing.link;
    let (addr, fingerprint) = (makers.name(lua, link.addr.as_str())?, makers.name(lua, link.fingerprint.as_str())?);
    makers.passing.call((passing.id.to_string(), passing.size, addr, link.outgoing, fingerprint))
}
