//! `os.time` and `os.date` without a time mean now: by the node's clock, so that a script can be tested in virtual time.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::Api;

pub(super) fn install(lua: &Lua, api: &Rc<Api>) -> mlua::Result<()> {
    let os: Table = lua.globals().raw_get("os")?;
    let now = |api: &Rc<Api>| {
        let shared = std::sync::Arc::clone(&api.shared);
        #[allow(clippy::cast_precision_loss, reason = "seconds of a wall clock")]
        move || (shared.link.time.unix_ms() / 1_000) as f64
    };

    let raw: Function = os.raw_get("time")?;
    let seconds = now(api);
    let time = lua.create_function(move |_, args: MultiValue| match args.front() {
        None | Some(Value::Nil) => Ok(Value::Number(seconds())),
        _ => raw.call(args),
    })?;
    os.raw_set("time", time)?;

    let raw: Function = os.raw_get("date")?;
    let seconds = now(api);
    let date = lua.create_function(move |_, (format, at): (Option<String>, Option<f64>)| {
        raw.call::<Value>((format, at.unwrap_or_else(&seconds)))
    })?;
    os.raw_set("date", date)
}
