//! `rumor.notify`: a line to the user, outside of any chat.

use std::rc::Rc;

use mlua::{Lua, Table};

use super::{Api, Refusal, define};
use crate::node::NoticeLevel;
use crate::script::convert::clean_line;

/// Longest line, in bytes.
pub(super) const NOTICE_MAX_BYTES: usize = 1_024;
/// Lines that one script may show at once, and a second in the long run.
pub(super) const NOTICES: (f64, f64) = (5.0, 0.2);

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let notify = define(lua, api, "rumor.notify", |_, api, args| {
        let level = match args.opt_string(1)?.as_deref() {
            Some("warning") => NoticeLevel::Warning,
            Some("error") => NoticeLevel::Error,
            _ => NoticeLevel::Info,
        };
        if !api.notices.borrow_mut().take(api.shared.link.time.instant()) {
            return Err(Refusal::Say("too many notices: at most 5 at once and 12 a minute".to_owned()));
        }
        api.shared.link.notify(level, &api.shared.name, &clean_line(&args.string(0)?, NOTICE_MAX_BYTES));
        Ok(())
    })?;
    rumor.raw_set("notify", notify)
}
