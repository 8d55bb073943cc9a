//! `rumor.me` and `rumor.peers`.

use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::message::peer_table;
use super::{Api, Kind, Refusal, define};

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let peers = define(lua, api, "rumor.peers", Kind::Now, |lua, api, _| {
        let list = lua.create_table()?;
        if let Some((handle, _)) = api.shared.link.node() {
            for peer in handle.peers() {
                list.raw_push(peer_table(lua, &peer)?)?;
            }
        }
        Ok(list)
    })?;
    rumor.raw_set("peers", peers)?;

    // Asked when it is read: scripts load before the node starts.
    let index = define(lua, api, "rumor.me", Kind::Now, |lua, api, args| {
        let key = args.string(1, "the field")?;
        let Some((handle, _)) = api.shared.link.node() else {
            return Err(Refusal::Say("the node has not started: read it in a handler or a command".to_owned()));
        };
        let me = handle.me();
        Ok(match key.as_str() {
            "id" => Value::String(lua.create_string(me.id.to_string())?),
            "nick" => Value::String(lua.create_string(&*me.nick)?),
            _ => Value::Nil,
        })
    })?;
    let meta = lua.create_table()?;
    meta.raw_set("__index", index)?;
    meta.raw_set("__metatable", "me")?;
    meta.set_readonly(true);
    let me = lua.create_table()?;
    me.set_metatable(Some(meta))?;
    me.set_readonly(true);
    rumor.raw_set("me", me)
}
