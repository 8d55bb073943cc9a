//! `rumor.me` and `rumor.peers`.

use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::maker::peer_table;
use super::{Api, caller, define};

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let peers = define(lua, api, "rumor.peers", |lua, api, _| {
        let list = lua.create_table()?;
        if let Some((handle, _)) = api.shared.link.node() {
            for peer in handle.peers() {
                list.raw_push(peer_table(lua, api, &peer)?)?;
            }
        }
        Ok(list)
    })?;
    rumor.raw_set("peers", peers)?;

    // Asked when it is read: scripts load before the node starts.
    let weak = Rc::downgrade(api);
    let index = lua.create_function(move |lua, (_, key): (Value, String)| {
        let Some((handle, _)) = weak.upgrade().and_then(|api| api.shared.link.node()) else {
            let reason = "rumor.me: the node has not started: read it in a handler or a command";
            return Err(mlua::Error::runtime(format!("{reason}{}", caller(lua))));
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
