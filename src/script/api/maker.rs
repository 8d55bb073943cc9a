//! Makes what handlers get most often: messages, drafts, peers and envelopes, each in one call of a function in the state. Set
//! from here, every field would be a protected call of its own, and every such call leaves garbage in the state.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;

use mlua::{Function, Lua, LuaString, Table};

use super::Api;
use crate::node::{Draft, Message, Passing, PeerInfo};
use crate::room::PersonId;

/// Most keys, and most names, that are kept as Lua's strings.
const KNOWN_MAX: usize = 64;

/// What a table takes at most beside its text, in bytes, with the strings in it and what the call that makes it needs.
const TABLE_MAX_BYTES: usize = 64 << 10;

/// The functions, and the strings that come again with every message.
pub(super) struct Makers {
    message: Function,
    draft: Function,
    peer: Function,
    passing: Function,
    people: RefCell<HashMap<PersonId, LuaString>>,
    names: RefCell<HashMap<String, LuaString>>,
}

impl Makers {
    /// For a state that is still open. Messages get this metatable.
    pub(super) fn new(lua: &Lua, message_meta: Table) -> mlua::Result<Self> {
        let chunk = lua.load(include_str!("maker.luau")).set_name("=[rumor]");
        let (message, draft, peer, passing) = chunk.call(message_meta)?;
        Ok(Self { message, draft, peer, passing, people: RefCell::default(), names: RefCell::default() })
    }

    /// The name of a chat, of somebody or of a peer.
    fn name(&self, lua: &Lua, name: &str) -> mlua::Result<LuaString> {
        known(&mut self.names.borrow_mut(), name, str::to_owned, || lua.create_string(name))
    }

    /// What a peer's table is made of.
    fn peer(&self, lua: &Lua, peer: &PeerInfo) -> mlua::Result<(LuaString, bool, LuaString)> {
        Ok((self.name(lua, peer.addr.as_str())?, peer.outgoing, self.name(lua, &peer.fingerprint)?))
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

/// Makes a table with a text of so many bytes. Under a limit of the state's memory every string that is handed to it is a
/// protected call of its own; where there is room for the whole table, the limit has nothing to say until it is made.
fn with_room<T>(lua: &Lua, api: &Api, text_bytes: usize, make: impl FnOnce() -> mlua::Result<T>) -> mlua::Result<T> {
    let limit = api.shared.budgets.memory_max_bytes;
    if lua.used_memory().saturating_add(text_bytes).saturating_add(TABLE_MAX_BYTES) > limit {
        return make();
    }
    lua.set_memory_limit(0)?;
    let made = make();
    lua.set_memory_limit(limit)?;
    made
}

/// A message as a script sees it.
pub(in crate::script) fn message_table(lua: &Lua, api: &Api, message: &Message) -> mlua::Result<Table> {
    let makers = api.makers()?;
    #[allow(clippy::cast_precision_loss)]
    let time = message.time as f64 / 1_000.0;
    with_room(lua, api, message.text.len(), || {
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
    })
}

/// A message on its way out, as a `send` filter sees it.
pub(in crate::script) fn draft_table(lua: &Lua, api: &Api, draft: &Draft) -> mlua::Result<Table> {
    let makers = api.makers()?;
    let (chat, options) = (makers.name(lua, &draft.chat)?, &draft.options);
    let reply_to = options.reply_to.map(|id| id.to_string());
    let bot = options.script.is_some();
    with_room(lua, api, draft.text.len(), || makers.draft.call((chat, draft.text.as_str(), bot, reply_to)))
}

/// A peer as a script sees it.
pub(in crate::script) fn peer_table(lua: &Lua, api: &Api, peer: &PeerInfo) -> mlua::Result<Table> {
    let makers = api.makers()?;
    let (addr, outgoing, fingerprint) = makers.peer(lua, peer)?;
    makers.peer.call((addr, outgoing, fingerprint))
}

/// An envelope as a `relay` filter sees it.
pub(in crate::script) fn passing_table(lua: &Lua, api: &Api, passing: &Passing) -> mlua::Result<Table> {
    let makers = api.makers()?;
    let (addr, outgoing, fingerprint) = makers.peer(lua, &passing.link)?;
    with_room(lua, api, 0, || makers.passing.call((passing.id.to_string(), passing.size, addr, outgoing, fingerprint)))
}
