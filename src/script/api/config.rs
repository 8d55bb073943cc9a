//! `rumor.config`: a script's own settings.

use std::rc::Rc;

use mlua::{Lua, Table, Value};
use serde_json::Value as Json;

use super::{Api, Kind, define};

/// Deepest nesting of a value that crosses between Lua and the host.
pub(super) const JSON_DEPTH_MAX: usize = 16;
/// Most values in one that crosses.
pub(super) const JSON_NODES_MAX: usize = 65_536;

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let config = define(lua, api, "rumor.config", Kind::Now, |lua, api, args| {
        let key = args.string(0, "the key")?;
        match api.shared.settings.get(&key) {
            Some(value) => Ok(to_lua(lua, value)?),
            None => Ok(args.value(1)),
        }
    })?;
    rumor.raw_set("config", config)
}

/// A value of the host's as a Lua value.
pub(in crate::script) fn to_lua(lua: &Lua, value: &Json) -> mlua::Result<Value> {
    Ok(match value {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or_default()),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(list) => {
            let table = lua.create_table_with_capacity(list.len(), 0)?;
            for value in list {
                table.raw_push(to_lua(lua, value)?)?;
            }
            Value::Table(table)
        }
        Json::Object(map) => {
            let table = lua.create_table()?;
            for (key, value) in map {
                table.raw_set(key.as_str(), to_lua(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}

/// A Lua value as a value of the host's: booleans, finite numbers, UTF-8 strings, lists, and tables with string keys.
pub(in crate::script) fn from_lua(value: &Value, depth: usize, nodes: &mut usize) -> Result<Json, String> {
    *nodes += 1;
    if depth > JSON_DEPTH_MAX || *nodes > JSON_NODES_MAX {
        return Err(format!("a value may have at most {JSON_DEPTH_MAX} levels and {JSON_NODES_MAX} parts"));
    }
    match value {
        Value::Nil => Ok(Json::Null),
        Value::Boolean(flag) => Ok(Json::Bool(*flag)),
        Value::Integer(n) => Ok(Json::from(*n)),
        Value::Number(n) => serde_json::Number::from_f64(*n).map(Json::Number).ok_or("a number must be finite".into()),
        Value::String(text) => match text.to_str() {
            Ok(text) => Ok(Json::String(text.to_owned())),
            Err(_) => Err("a string must be valid UTF-8".into()),
        },
        Value::Table(table) => {
            let len = table.raw_len();
            if len > 0 {
                return (1..=len)
                    .map(|i| from_lua(&table.raw_get(i).map_err(|e| e.to_string())?, depth + 1, nodes))
                    .collect::<Result<_, _>>()
                    .map(Json::Array);
            }
            let mut map = serde_json::Map::new();
            for pair in table.pairs::<Value, Value>() {
                let (key, value) = pair.map_err(|error| error.to_string())?;
                let Value::String(key) = key else {
                    return Err("a table must be a list or have string keys".into());
                };
                map.insert(key.to_string_lossy(), from_lua(&value, depth + 1, nodes)?);
            }
            Ok(Json::Object(map))
        }
        other => Err(format!("a {} can't be kept", crate::script::sandbox::type_name(other))),
    }
}
