//! `rumor.on`: filters and observers.

use std::rc::Rc;

use mlua::{Lua, Table};

use super::table::EVENTS;
use super::{Api, HANDLERS_MAX, Refusal, define};
use crate::script::convert::clean_line;
use crate::script::shared::{EventKind, HandlerSpec};

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let on = define(lua, api, "rumor.on", |lua, api, args| {
        let name = args.string(0)?;
        let Some((event, _)) = EventKind::ALL.into_iter().find(|(_, known)| *known == name) else {
            let valid: Vec<_> = EventKind::ALL.iter().map(|(_, name)| *name).collect();
            let name = clean_line(&name, 40);
            return Err(Refusal::Say(format!("there is no event {name:?}; valid: {}", valid.join(", "))));
        };
        let function = args.function(1)?;
        let options = args.fields(2)?;
        let described = EVENTS.iter().find(|described| described.name == event.name());
        if let Some(needs) = described.and_then(|described| described.needs) {
            api.need(needs)?;
        }
        let chat = options.opt_string("chat")?;
        if let Some(chat) = &chat {
            api.shared.grants.need_room(chat)?;
        }
        let drop_on_error = options.opt_string("on_error")?.as_deref() == Some("drop");
        if drop_on_error && event == EventKind::Relay {
            return Err(Refusal::Say(
                "a \"relay\" filter that fails or is late passes on: on_error can't be \"drop\" for it".to_owned(),
            ));
        }
        if api.snapshot().handlers.len() >= HANDLERS_MAX {
            return Err(Refusal::Say(format!("at most {HANDLERS_MAX} handlers a script")));
        }
        let spec = HandlerSpec {
            id: api.fresh_id(),
            event,
            priority: options.opt_number("priority")?.unwrap_or(0.0),
            chat,
            once: options.flag("once")?,
            drop_on_error,
            synced: options.flag("synced")?,
            bots: options.flag("bots")?,
        };
        let id = spec.id;
        api.functions.borrow_mut().insert(id, function);
        api.change(|registered| {
            registered.handlers.push(spec);
            registered.handlers.sort_by(|a, b| b.priority.total_cmp(&a.priority).then(a.id.cmp(&b.id)));
        });
        let handle = lua.create_table()?;
        let off = define(lua, api, "handle:off", move |_, api, _| {
            api.forget(id);
            Ok(())
        })?;
        handle.raw_set("off", off)?;
        handle.set_readonly(true);
        Ok(handle)
    })?;
    rumor.raw_set("on", on)
}
