//! Makes what handlers get most often: messages, drafts, peers and envelopes, each in one call of a function in the state. Set
//! from here, every field would be a protected call of its own, and every such call leaves garbage in the state.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use data_encoding::HEXLOWER;
use mlua::{Function, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Thread};
use rumormill_api::MsgId;

use super::Api;
use crate::node::{Draft, Message, Passing, PeerInfo, Person};
use crate::room::PersonId;
use crate::script::error::HOST_CHUNK;

/// Most people, and most names, that are kept as Lua's strings.
const KNOWN_MAX: usize = 64;

/// What a table takes at most beside its text, in bytes, with the strings in it and what the call that makes it needs.
const TABLE_MAX_BYTES: usize = 64 << 10;

/// The functions, and the strings that come again with every message.
pub(super) struct Makers {
    /// Calls a handler with a message.
    hand: Function,
    /// The handler that gives the message back.
    same: Function,
    draft: Function,
    peer: Function,
    passing: Function,
    people: RefCell<HashMap<PersonId, Rc<Speaker>>>,
    names: RefCell<HashMap<String, Rc<LuaString>>>,
}

/// Somebody's key and nick.
struct Speaker {
    key: LuaString,
    nick: String,
    nick_shown: LuaString,
}

impl Makers {
    /// For a state that is still open. Messages get this metatable.
    pub(super) fn new(lua: &Lua, message_meta: Table) -> mlua::Result<Self> {
        let chunk = lua.load(include_str!("maker.luau")).set_name(format!("={HOST_CHUNK}"));
        let (hand, same, draft, peer, passing) = chunk.call(message_meta)?;
        Ok(Self { hand, same, draft, peer, passing, people: RefCell::default(), names: RefCell::default() })
    }

    /// The name of a chat or of a peer.
    fn name(&self, lua: &Lua, name: &str) -> mlua::Result<Rc<LuaString>> {
        let mut names = self.names.borrow_mut();
        if let Some(shown) = names.get(name) {
            return Ok(Rc::clone(shown));
        }
        let shown = Rc::new(lua.create_string(name)?);
        keep(&mut names, name.to_owned(), &shown);
        Ok(shown)
    }

    /// What a peer's table is made of.
    fn peer(&self, lua: &Lua, peer: &PeerInfo) -> mlua::Result<(Rc<LuaString>, bool, Rc<LuaString>)> {
        Ok((self.name(lua, peer.addr.as_str())?, peer.outgoing, self.name(lua, &peer.fingerprint)?))
    }

    fn speaker(&self, lua: &Lua, person: &Person) -> mlua::Result<Rc<Speaker>> {
        let mut people = self.people.borrow_mut();
        if let Some(speaker) = people.get(&person.id).filter(|speaker| speaker.nick == person.nick) {
            return Ok(Rc::clone(speaker));
        }
        let key = lua.create_string(person.id.to_string())?;
        let nick_shown = lua.create_string(&person.nick)?;
        let speaker = Rc::new(Speaker { key, nick: person.nick.clone(), nick_shown });
        keep(&mut people, person.id, &speaker);
        Ok(speaker)
    }

    fn message(&self, lua: &Lua, api: &Api, message: &Message) -> mlua::Result<Fields> {
        #[allow(clippy::cast_precision_loss)]
        let time = message.time as f64 / 1_000.0;
        with_room(lua, api, message.text.len(), || {
            Ok(Fields {
                id: id(lua, &message.id)?,
                chat: self.name(lua, &message.chat)?,
                from: self.speaker(lua, &message.from)?,
                text: lua.create_string(&message.text)?,
                time,
                flags: [message.mine, message.bot, message.synced, message.late],
                missing: message.missing,
                reply_to: message.reply_to.map(|to| id(lua, &to)).transpose()?,
            })
        })
    }
}

/// What a message's table is made of.
struct Fields {
    id: LuaString,
    chat: Rc<LuaString>,
    from: Rc<Speaker>,
    text: LuaString,
    time: f64,
    flags: [bool; 4],
    missing: usize,
    reply_to: Option<LuaString>,
}

impl Fields {
    /// For `hand`.
    fn args(&self, handler: &Function) -> impl IntoLuaMulti {
        let Self { id, chat, from, text, time, flags: [mine, bot, synced, late], missing, reply_to } = self;
        let (from, nick) = (&from.key, &from.nick_shown);
        (handler, id, &**chat, from, nick, text, *time, *mine, *bot, *synced, *late, *missing, reply_to.as_ref())
    }
}

/// An id in hexadecimal digits.
fn id(lua: &Lua, id: &MsgId) -> mlua::Result<LuaString> {
    let mut digits = [0; 64];
    HEXLOWER.encode_mut(&id.0, &mut digits);
    lua.create_string(digits)
}

/// Keeps what is likely to come again. When there is too much of it, all is let go: to know what is rarely used would cost
/// more.
fn keep<K: Hash + Eq, T>(kept: &mut HashMap<K, Rc<T>>, key: K, value: &Rc<T>) {
    if kept.len() >= KNOWN_MAX {
        kept.clear();
    }
    kept.insert(key, Rc::clone(value));
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
    makers.hand.call(makers.message(lua, api, message)?.args(&makers.same))
}

/// Calls a handler with a message.
pub(in crate::script) fn call_with_message(
    lua: &Lua,
    api: &Api,
    handler: &Function,
    message: &Message,
) -> mlua::Result<MultiValue> {
    let makers = api.makers()?;
    makers.hand.call(makers.message(lua, api, message)?.args(handler))
}

/// What a coroutine must run that is [resumed with a message](resume_with_message).
pub(in crate::script) fn handing_message(api: &Api) -> mlua::Result<&Function> {
    Ok(&api.makers()?.hand)
}

/// Begins a coroutine in which a handler is called with a message.
pub(in crate::script) fn resume_with_message(
    lua: &Lua,
    api: &Api,
    thread: &Thread,
    handler: &Function,
    message: &Message,
) -> mlua::Result<MultiValue> {
    thread.resume(api.makers()?.message(lua, api, message)?.args(handler))
}

/// A message on its way out, as a `send` filter sees it.
pub(in crate::script) fn draft_table(lua: &Lua, api: &Api, draft: &Draft) -> mlua::Result<Table> {
    let makers = api.makers()?;
    let (chat, options) = (makers.name(lua, &draft.chat)?, &draft.options);
    let bot = options.script.is_some();
    with_room(lua, api, draft.text.len(), || {
        let reply_to = options.reply_to.map(|to| id(lua, &to)).transpose()?;
        makers.draft.call((&*chat, draft.text.as_str(), bot, reply_to))
    })
}

/// A peer as a script sees it.
pub(in crate::script) fn peer_table(lua: &Lua, api: &Api, peer: &PeerInfo) -> mlua::Result<Table> {
    let makers = api.makers()?;
    let (addr, outgoing, fingerprint) = makers.peer(lua, peer)?;
    makers.peer.call((&*addr, outgoing, &*fingerprint))
}

/// An envelope as a `relay` filter sees it.
pub(in crate::script) fn passing_table(lua: &Lua, api: &Api, passing: &Passing) -> mlua::Result<Table> {
    let makers = api.makers()?;
    let (addr, outgoing, fingerprint) = makers.peer(lua, &passing.link)?;
    with_room(lua, api, 0, || {
        makers.passing.call((id(lua, &passing.id)?, passing.size, &*addr, outgoing, &*fingerprint))
    })
}
