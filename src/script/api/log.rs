//! `rumor.log`, and `print`, which is `rumor.log.info`.

use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::{Api, define};
use crate::script::convert::clean_line;
use crate::script::sandbox::type_name;

/// Longest line that a script logs, in bytes.
pub(super) const LOG_LINE_MAX_BYTES: usize = 1_024;

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let log = lua.create_table()?;
    for (level, name) in [
        (tracing::Level::DEBUG, "rumor.log.debug"),
        (tracing::Level::INFO, "rumor.log.info"),
        (tracing::Level::WARN, "rumor.log.warn"),
        (tracing::Level::ERROR, "rumor.log.error"),
    ] {
        let function = define(lua, api, name, move |_, api, args| {
            let mut line = String::new();
            for value in args.values {
                if line.len() >= LOG_LINE_MAX_BYTES {
                    break;
                }
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(&shown(value));
            }
            if api.logs.borrow_mut().take(api.shared.link.time.instant()) {
                write(level, &api.shared.name, &clean_line(&line, LOG_LINE_MAX_BYTES));
            }
            Ok(())
        })?;
        log.raw_set(name.rsplit('.').next().unwrap_or(name), function.clone())?;
        if level == tracing::Level::INFO {
            lua.globals().raw_set("print", function)?;
        }
    }
    log.set_readonly(true);
    rumor.raw_set("log", log)
}

/// A value in a line. Tables and functions are named, not called: no script code runs here.
fn shown(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(text) => {
            let bytes = text.as_bytes();
            String::from_utf8_lossy(&bytes[..bytes.len().min(LOG_LINE_MAX_BYTES)]).into_owned()
        }
        other => format!("<{}>", type_name(other)),
    }
}

fn write(level: tracing::Level, script: &str, line: &str) {
    match level {
        tracing::Level::DEBUG => tracing::debug!(target: crate::script::LOG_TARGET, script, "{line}"),
        tracing::Level::INFO => tracing::info!(target: crate::script::LOG_TARGET, script, "{line}"),
        tracing::Level::WARN => tracing::warn!(target: crate::script::LOG_TARGET, script, "{line}"),
        _ => tracing::error!(target: crate::script::LOG_TARGET, script, "{line}"),
    }
}
