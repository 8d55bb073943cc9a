//! `rumor.store`: values that survive reloads and restarts.

use std::rc::Rc;
use std::sync::Arc;

use mlua::{Lua, Table, Value};

use super::args::{Args, string};
use super::json::{decode, encode};
use super::{Api, Mode, Refusal, define};
use crate::script::store::Values;

/// Longest name of a part of a store, in bytes.
pub(super) const NAMESPACE_MAX_BYTES: usize = 64;

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let methods = lua.create_table()?;
    let get = define(lua, api, "store:get", |lua, api, args| match values(api)?.get(&key(args)?) {
        Some(value) => Ok(decode(lua, &value)?),
        None => Ok(args.value(2)),
    })?;
    methods.raw_set("get", get)?;
    let set = define(lua, api, "store:set", |_, api, args| keep(api, &key(args)?, &args.value(2)))?;
    methods.raw_set("set", set)?;
    let delete = define(lua, api, "store:delete", |_, api, args| Ok(values(api)?.set(&key(args)?, None, 0)?))?;
    methods.raw_set("delete", delete)?;
    let incr = define(lua, api, "store:incr", |lua, api, args| {
        let key = key(args)?;
        let old = match values(api)?.get(&key) {
            Some(old) => decode(lua, &old)?,
            None => Value::Number(0.0),
        };
        let by = if args.value(2).is_nil() { 1.0 } else { args.number(2)? };
        let sum = super::args::number(&old, "what is stored there")? + by;
        keep(api, &key, &Value::Number(sum))?;
        Ok(sum)
    })?;
    methods.raw_set("incr", incr)?;
    let keys = define(lua, api, "store:keys", |_, api, args| {
        let namespace = namespace(args)?;
        let prefix = format!("{namespace}{}", args.opt_string(1)?.unwrap_or_default());
        let keys = values(api)?.keys(&prefix);
        Ok(keys.into_iter().map(|key| key[namespace.len()..].to_owned()).collect::<Vec<_>>())
    })?;
    methods.raw_set("keys", keys)?;
    let update = define(lua, api, "store:update", |lua, api, args| {
        let key = key(args)?;
        let old = match values(api)?.get(&key) {
            Some(old) => decode(lua, &old)?,
            None => Value::Nil,
        };
        let mode = api.mode.replace(Mode::Updating);
        let new = args.function(2)?.call::<Value>(old);
        api.mode.set(mode);
        let new = new?;
        keep(api, &key, &new)?;
        Ok(new)
    })?;
    methods.raw_set("update", update)?;
    methods.set_readonly(true);
    let meta = lua.create_table()?;
    meta.raw_set("__index", methods)?;
    meta.raw_set("__metatable", "store")?;
    meta.set_readonly(true);

    let store = define(lua, api, "rumor.store", move |lua, api, args| {
        let name = args.opt_string(0)?.unwrap_or_default();
        let good = name.len() <= NAMESPACE_MAX_BYTES
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !good {
            return Err(Refusal::Say(format!("ns must be at most {NAMESPACE_MAX_BYTES} letters, digits, _, - and .")));
        }
        // Opened now, so that what is wrong with it is said where it is asked for.
        values(api)?;
        let store = lua.create_table()?;
        store.raw_set("ns", name)?;
        store.set_metatable(Some(meta.clone()))?;
        store.set_readonly(true);
        Ok(store)
    })?;
    rumor.raw_set("store", store)
}

fn values(api: &Api) -> Result<Arc<Values>, Refusal> {
    Ok(api.shared.link.stores.of(&api.shared.name)?)
}

fn keep(api: &Api, key: &str, value: &Value) -> Result<(), Refusal> {
    let value = if value.is_nil() { None } else { Some(encode(value)?.into_bytes()) };
    values(api)?.set(key, value, api.shared.budgets.store_max_bytes)?;
    Ok(())
}

/// What comes before every key of a part: its name can't hold a slash.
fn namespace(args: &Args<'_>) -> Result<String, Refusal> {
    Ok(format!("{}/", string(&args.own()?.raw_get("ns")?, "ns")?))
}

fn key(args: &Args<'_>) -> Result<String, Refusal> {
    Ok(namespace(args)? + &args.string(1)?)
}
