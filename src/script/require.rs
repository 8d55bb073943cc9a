//! `require`, confined to `lib/` folders.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use mlua::{Function, Lua, Value};

use super::meter::lock;
use super::shared::Shared;
use super::source::{Dependency, Libraries};

/// `require`: a module of the script's own `lib/` or the shared one, run once.
pub(super) fn require_function(
    lua: &Lua,
    shared: &Arc<Shared>,
    libraries: Libraries,
    dependencies: Arc<Mutex<Vec<Dependency>>>,
) -> mlua::Result<Function> {
    let max = shared.budgets.source_max_bytes;
    let loaded = lua.create_table()?;
    let loading = RefCell::new(Vec::<String>::new());
    lua.create_function(move |lua, name: mlua::LuaString| {
        let name = name.to_str()?.to_owned();
        let cached: Value = loaded.raw_get(name.as_str())?;
        if !cached.is_nil() {
            return Ok(cached);
        }
        if loading.borrow().contains(&name) {
            return Err(mlua::Error::runtime(format!("require: module {name:?} requires itself")));
        }
        let (label, text) = libraries
            .find(&name, max, &mut lock(&dependencies))
            .map_err(|reason| mlua::Error::runtime(format!("require: {reason}")))?;
        loading.borrow_mut().push(name.clone());
        let chunk = lua.load(&*text).set_name(format!("@{label}")).set_mode(mlua::chunk::ChunkMode::Text);
        let result = chunk.eval::<Value>();
        loading.borrow_mut().pop();
        let value = match result? {
            Value::Nil => Value::Boolean(true),
            value => value,
        };
        loaded.raw_set(name, &value)?;
        Ok(value)
    })
}
