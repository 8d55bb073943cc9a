//! `rumor.scripts` and `rumor.reload`: how every script fares, and a look at the folder now.

use std::rc::Rc;
use std::sync::Weak;

use mlua::{Lua, Table};

use super::{Api, Op, Refusal, define};
use crate::script::convert::clean_line;
use crate::script::host::RELOADS;
use crate::script::shared::ScriptState;

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let scripts = define(lua, api, "rumor.scripts", |lua, api, _| {
        let core = api.shared.link.core.get().and_then(Weak::upgrade);
        let list = lua.create_table()?;
        for status in core.map(|core| core.status()).unwrap_or_default() {
            let entry = lua.create_table()?;
            entry.raw_set("name", status.name)?;
            entry.raw_set("file", status.file)?;
            entry.raw_set("embedded", status.embedded)?;
            entry.raw_set("state", status.state.word())?;
            if let ScriptState::Disabled(reason) = status.state {
                entry.raw_set("reason", reason)?;
            }
            entry.raw_set("cpu", status.cpu.as_secs_f64())?;
            entry.raw_set("memory", status.memory)?;
            #[allow(clippy::cast_precision_loss, reason = "Lua's numbers are floats")]
            for (name, count) in [("calls", status.calls), ("kills", status.kills), ("missed", status.missed)] {
                entry.raw_set(name, count as f64)?;
            }
            entry.raw_set("commands", status.commands)?;
            entry.raw_set("handlers", status.handlers)?;
            entry.raw_set("timers", status.timers)?;
            entry.raw_set("last_error", status.last_error)?;
            list.raw_push(entry)?;
        }
        Ok(list)
    })?;
    rumor.raw_set("scripts", scripts)?;

    let reload = define(lua, api, "rumor.reload", |_, api, args| {
        let name = args.opt_string(0)?;
        let core = api.shared.link.core.get().and_then(Weak::upgrade);
        if let Some(name) = &name {
            let scripts = core.as_ref().map(|core| core.status()).unwrap_or_default();
            let names: Vec<_> = scripts.into_iter().map(|status| status.name).collect();
            if !names.contains(name) {
                let name = clean_line(name, 64);
                return Err(Refusal::Say(format!("there is no script {name:?}; valid: {}", names.join(", "))));
            }
        }
        if !core.is_some_and(|core| core.may_reload(&api.shared)) {
            return Err(Refusal::Say(format!(
                "too many reloads: at most {} at once and {} a minute",
                RELOADS.0, RELOADS.1
            )));
        }
        *api.pending.borrow_mut() = Some(Op::Reload(name));
        Ok(())
    })?;
    rumor.raw_set("reload", reload)
}
