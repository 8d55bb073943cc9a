//! `rumor.script{}`: what a script says of itself.

use std::rc::Rc;

use mlua::{Lua, Table};

use super::{Api, Mode, Refusal, define};
use crate::config::PERMISSIONS;
use crate::script::meter::lock;

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let declare = define(lua, api, "rumor.script", |_, api, args| {
        if api.mode.get() != Mode::Loading {
            return Err(Refusal::Say("only while the script loads".to_owned()));
        }
        let fields = args.fields(0)?;
        if fields.value("permissions")?.is_nil() {
            return Ok(());
        }
        let permissions = fields.strings("permissions", 64)?;
        if let Some(unknown) = permissions.iter().find(|name| !known(name)) {
            return Err(Refusal::Say(format!(
                "there is no permission {unknown:?}; valid: {}, http:HOST",
                PERMISSIONS.join(", ")
            )));
        }
        let refused = permissions.iter().filter(|name| !api.shared.grants.allows(name)).cloned().collect();
        *lock(&api.shared.refused) = refused;
        *api.declared.borrow_mut() = Some(permissions);
        Ok(())
    })?;
    rumor.raw_set("script", declare)
}

/// Whether there is such a permission.
fn known(name: &str) -> bool {
    PERMISSIONS.contains(&name) || name.strip_prefix("http:").is_some_and(|host| !host.is_empty())
}
