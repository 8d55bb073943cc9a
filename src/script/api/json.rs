//! `rumor.json`, and how values cross between Lua and the host.

use std::fmt;
use std::rc::Rc;

use mlua::{Lua, Table, Value};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::{Api, Refusal, define};
use crate::script::sandbox::type_name;

/// Deepest nesting of a value that crosses between Lua and the host.
pub(super) const JSON_DEPTH_MAX: usize = 16;
/// Most values in one that crosses.
pub(super) const JSON_NODES_MAX: usize = 65_536;
/// Most text in one that crosses, in bytes. A list may name the same string many times, so that the script's own memory
/// doesn't bound it.
pub(super) const JSON_TEXT_MAX_BYTES: usize = 4 << 20;

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let json = lua.create_table()?;
    let encoder = define(lua, api, "rumor.json.encode", |_, _, args| encode(&args.value(0)))?;
    json.raw_set("encode", encoder)?;
    let decoder = define(lua, api, "rumor.json.decode", |lua, _, args| match args.value(0) {
        Value::String(text) => Ok(decoded(lua, &text.as_bytes())?),
        _ => Ok((Value::Nil, None)),
    })?;
    json.raw_set("decode", decoder)?;
    json.set_readonly(true);
    rumor.raw_set("json", json)
}

/// A text as a value, or nil and why it is none.
pub(super) fn decoded(lua: &Lua, text: &[u8]) -> mlua::Result<(Value, Option<String>)> {
    if text.len() > JSON_TEXT_MAX_BYTES {
        return Ok((Value::Nil, Some(format!("the text is longer than {JSON_TEXT_MAX_BYTES} bytes"))));
    }
    match decode(lua, text) {
        Ok(value) => Ok((value, None)),
        Err(error) if crate::script::convert::is_memory_error(&error) => Err(error),
        Err(mlua::Error::RuntimeError(reason)) => Ok((Value::Nil, Some(reason))),
        Err(error) => Ok((Value::Nil, Some(error.to_string()))),
    }
}

/// JSON built as Lua values at once, so that the script's own memory is what it takes. `null` is nil.
pub(super) fn decode(lua: &Lua, text: &[u8]) -> mlua::Result<Value> {
    let mut failure = None;
    let mut nodes = 0;
    let mut reader = serde_json::Deserializer::from_slice(text);
    let seed = Seed { lua, depth: 0, nodes: &mut nodes, failure: &mut failure };
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match (value, failure) {
        (_, Some(error)) => Err(error),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(mlua::Error::runtime(format!("not JSON: {error}"))),
    }
}

struct Seed<'a> {
    lua: &'a Lua,
    depth: usize,
    nodes: &'a mut usize,
    /// What Lua said, past serde's own error.
    failure: &'a mut Option<mlua::Error>,
}

impl Seed<'_> {
    fn below(&mut self) -> Seed<'_> {
        Seed { lua: self.lua, depth: self.depth + 1, nodes: self.nodes, failure: self.failure }
    }

    fn lua<T, E: serde::de::Error>(&mut self, result: mlua::Result<T>) -> Result<T, E> {
        result.map_err(|error| {
            let text = error.to_string();
            *self.failure = Some(error);
            E::custom(text)
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.nodes += 1;
        if self.depth > JSON_DEPTH_MAX || *self.nodes > JSON_NODES_MAX {
            return Err(serde::de::Error::custom(too_much()));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Boolean(flag))
    }

    #[allow(clippy::cast_precision_loss, reason = "Lua's numbers are floats")]
    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Number(n as f64))
    }

    #[allow(clippy::cast_precision_loss, reason = "Lua's numbers are floats")]
    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(Value::Number(n as f64))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
        Ok(Value::Number(n))
    }

    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> Result<Value, E> {
        let text = self.lua.create_string(text);
        self.lua(text).map(Value::String)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Value, A::Error> {
        let table = self.lua.create_table();
        let table = self.lua(table)?;
        let mut at = 0_usize;
        while let Some(value) = list.next_element_seed(self.below())? {
            at += 1;
            let set = table.raw_set(at, value);
            self.lua(set)?;
        }
        Ok(Value::Table(table))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let table = self.lua.create_table();
        let table = self.lua(table)?;
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.below())?;
            let set = table.raw_set(key, value);
            self.lua(set)?;
        }
        Ok(Value::Table(table))
    }
}

/// A Lua value as JSON.
pub(super) fn encode(value: &Value) -> Result<String, Refusal> {
    Ok(from_lua(value)?.to_string())
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
pub(in crate::script) fn from_lua(value: &Value) -> Result<Json, String> {
    let mut room = Room { nodes: JSON_NODES_MAX, bytes: JSON_TEXT_MAX_BYTES };
    room.value(value, 0)
}

fn too_much() -> String {
    format!(
        "a value may have at most {JSON_DEPTH_MAX} levels, {JSON_NODES_MAX} parts and {JSON_TEXT_MAX_BYTES} bytes of text"
    )
}

/// What is left of the limits.
struct Room {
    nodes: usize,
    bytes: usize,
}

impl Room {
    fn text(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(too_much)?;
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<Json, String> {
        self.nodes = self.nodes.checked_sub(1).ok_or_else(too_much)?;
        if depth > JSON_DEPTH_MAX {
            return Err(too_much());
        }
        match value {
            Value::Nil => Ok(Json::Null),
            Value::Boolean(flag) => Ok(Json::Bool(*flag)),
            Value::Integer(n) => Ok(Json::from(*n)),
            Value::Number(n) => number(*n).ok_or_else(|| "a number must be finite".into()),
            Value::String(text) => {
                self.text(text.as_bytes().len())?;
                match text.to_str() {
                    Ok(text) => Ok(Json::String(text.to_owned())),
                    Err(_) => Err("a string must be valid UTF-8".into()),
                }
            }
            Value::Table(table) => self.table(table, depth),
            other => Err(format!("a {} can't be kept", type_name(other))),
        }
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<Json, String> {
        let len = table.raw_len();
        if len > self.nodes {
            return Err(too_much());
        }
        if len > 0 {
            return (1..=len)
                .map(|i| self.value(&table.raw_get(i).map_err(|e| e.to_string())?, depth + 1))
                .collect::<Result<_, _>>()
                .map(Json::Array);
        }
        let mut map = serde_json::Map::new();
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            let Value::String(key) = key else {
                return Err("a table must be a list or have string keys".into());
            };
            self.text(key.as_bytes().len())?;
            map.insert(key.to_string_lossy(), self.value(&value, depth + 1)?);
        }
        Ok(Json::Object(map))
    }
}

/// A whole number is written as one.
fn number(n: f64) -> Option<Json> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if n.fract() == 0.0 && n.abs() <= EXACT_MAX {
        #[allow(clippy::cast_possible_truncation, reason = "a whole number within 2^53")]
        return Some(Json::from(n as i64));
    }
    serde_json::Number::from_f64(n).map(Json::Number)
}
