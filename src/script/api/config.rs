//! `rumor.config`: a script's own settings.

use std::rc::Rc;

use mlua::{Lua, Table};

use super::json::to_lua;
use super::{Api, define};

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let config = define(lua, api, "rumor.config", |lua, api, args| match api.shared.settings.get(&args.string(0)?) {
        Some(value) => Ok(to_lua(lua, value)?),
        None => Ok(args.value(1)),
    })?;
    rumor.raw_set("config", config)
}
