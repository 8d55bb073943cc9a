//! `rumor.after`, `rumor.every`, `rumor.cron`, `rumor.sleep`, `rumor.spawn`.

use std::rc::Rc;
use std::time::{Duration, Instant};

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use mlua::{Function, Lua, MultiValue, Table};
use rumormill_api::Millis;

use super::args::{Args, number};
use super::table::EVERY_MIN_S;
use super::{Api, Mode, Op, Refusal, define};
use crate::script::convert::clean_line;
use crate::script::job::Job;
use crate::script::time::Alarm;

/// Most timers of one script.
pub(super) const TIMERS_MAX: usize = 256;
/// Most handlers that one script may have spawned and not begun.
pub(super) const SPAWNED_MAX: usize = 64;
/// Longest pattern of `rumor.cron`, in bytes.
const PATTERN_MAX_BYTES: usize = 128;
/// How long cron sleeps at most before it looks at the wall clock again, in milliseconds: that may jump.
const CRON_LOOK_MS: u64 = 60_000;

/// When a timer runs.
pub(in crate::script) enum Schedule {
    After(Duration),
    /// The period, and when the next turn is due.
    Every(Duration, Option<Instant>),
    /// The pattern, and when the next turn is due by the wall clock.
    Cron(Box<Crontab>, Option<Millis>),
}

/// One timer.
pub(in crate::script) struct Timer {
    schedule: Schedule,
    function: Function,
    /// Whether it was made in answer to a bot.
    pub(in crate::script) by_bot: bool,
    /// Whether its handler is under way.
    pub(in crate::script) running: bool,
    waiting: Option<Alarm>,
}

/// A handler that was spawned and has not begun.
pub(in crate::script) struct Spawned {
    pub(in crate::script) function: Function,
    pub(in crate::script) args: MultiValue,
    pub(in crate::script) by_bot: bool,
    /// What of its budget is used up: a chain of handlers that spawn each other shares one.
    pub(in crate::script) spent: Duration,
}

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let methods = lua.create_table()?;
    let cancel = define(lua, api, "timer:cancel", |_, api, args| {
        let id = number(&args.own()?.raw_get("id")?, "timer.id")?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ids are made here")]
        api.cancel(id as u32);
        Ok(())
    })?;
    methods.raw_set("cancel", cancel)?;
    methods.set_readonly(true);
    let meta = lua.create_table()?;
    meta.raw_set("__index", methods)?;
    meta.raw_set("__metatable", "timer")?;
    meta.set_readonly(true);
    *api.timer_meta.borrow_mut() = Some(meta);

    let after = define(lua, api, "rumor.after", |lua, api, args| {
        let time = seconds(args)?.max(Duration::from_secs_f64(EVERY_MIN_S));
        add(lua, api, Schedule::After(time), args.function(1)?)
    })?;
    rumor.raw_set("after", after)?;
    let every = define(lua, api, "rumor.every", |lua, api, args| {
        add(lua, api, Schedule::Every(seconds(args)?, None), args.function(1)?)
    })?;
    rumor.raw_set("every", every)?;
    let cron = define(lua, api, "rumor.cron", |lua, api, args| {
        let (options, at) =
            if args.value(1).is_function() { (None, 1) } else { (args.fields(1)?.opt_string("tz")?, 2) };
        let crontab = parse(&args.string(0)?, options.as_deref())?;
        add(lua, api, Schedule::Cron(Box::new(crontab), None), args.function(at)?)
    })?;
    rumor.raw_set("cron", cron)?;
    let sleep = define(lua, api, "rumor.sleep", |_, api, args| {
        *api.pending.borrow_mut() = Some(Op::Sleep(seconds(args)?));
        Ok(())
    })?;
    rumor.raw_set("sleep", sleep)?;
    let spawn = define(lua, api, "rumor.spawn", |_, api, args| {
        let mut spawned = api.spawned.borrow_mut();
        if spawned.len() >= SPAWNED_MAX {
            return Err(Refusal::Say(format!("at most {SPAWNED_MAX} handlers may wait to begin")));
        }
        if matches!(api.mode.get(), Mode::Unloading | Mode::Completing) {
            return Err(Refusal::Say("not while the script is unloaded, and not in a completion".to_owned()));
        }
        let mut values = args.values.clone();
        values.pop_front();
        spawned.push_back(Spawned {
            function: args.function(0)?,
            args: values,
            by_bot: api.by_bot.get(),
            spent: Duration::ZERO,
        });
        Ok(())
    })?;
    rumor.raw_set("spawn", spawn)
}

fn seconds(args: &Args<'_>) -> Result<Duration, Refusal> {
    Ok(Duration::from_secs_f64(args.number(0)?))
}

/// What `rumor.cron` says.
fn parse(pattern: &str, zone: Option<&str>) -> Result<Crontab, Refusal> {
    let bad = |what: &str, value: &str, reason: &str| {
        let value = clean_line(value, PATTERN_MAX_BYTES);
        Err(Refusal::Say(format!("{what} {value:?} {reason}")))
    };
    if pattern.len() > PATTERN_MAX_BYTES || pattern.split_whitespace().count() != 5 {
        let reason = "must have five parts: minute hour day month weekday";
        return bad("pattern", pattern, reason);
    }
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    let crontab = match parse_crontab_with(pattern, options) {
        Ok(crontab) => crontab,
        // The last line is the reason, behind a mark that shows the place.
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            return bad("pattern", pattern, &format!("can't be read: {}", reason.trim_start_matches([' ', '^'])));
        }
    };
    let Some(zone) = zone else { return Ok(crontab) };
    let named = zone.len() <= 64 && !zone.is_empty() && !zone.contains(char::is_whitespace);
    match parse_crontab_with(&format!("{pattern} {zone}"), options) {
        Ok(crontab) if named => Ok(crontab),
        _ => bad("tz", zone, "is no time zone: write a name such as Europe/Berlin or UTC"),
    }
}

fn add(lua: &Lua, api: &Rc<Api>, schedule: Schedule, function: Function) -> Result<Table, Refusal> {
    if api.timers.borrow().len() >= TIMERS_MAX {
        return Err(Refusal::Say(format!("at most {TIMERS_MAX} timers a script")));
    }
    let id = api.fresh_id();
    let timer = Timer { schedule, function, by_bot: api.by_bot.get(), running: false, waiting: None };
    api.timers.borrow_mut().insert(id, timer);
    api.count_timers();
    if api.armed.get() {
        api.arm(id);
    }
    let table = lua.create_table()?;
    table.raw_set("id", f64::from(id))?;
    table.set_metatable(api.timer_meta.borrow().clone())?;
    table.set_readonly(true);
    Ok(table)
}

impl Api {
    /// Starts the timers that were made before the node had started.
    pub(in crate::script) fn arm_all(&self) {
        if self.armed.replace(true) {
            return;
        }
        let mut ids: Vec<_> = self.timers.borrow().keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter().for_each(|id| self.arm(id));
    }

    /// Waits for a timer's next turn.
    fn arm(&self, id: u32) {
        let Some((_, runtime)) = self.shared.link.node() else { return };
        let time = &self.shared.link.time;
        let mut timers = self.timers.borrow_mut();
        let Some(timer) = timers.get_mut(&id) else { return };
        let wait = match &mut timer.schedule {
            Schedule::After(after) => *after,
            Schedule::Every(period, due) => {
                let now = time.instant();
                let mut next = due.unwrap_or(now) + *period;
                if next < now {
                    // Turns that were slept through are not made up for.
                    next = now + *period;
                }
                *due = Some(next);
                next.saturating_duration_since(now)
            }
            Schedule::Cron(crontab, due) => {
                let now = time.unix_ms();
                let Some(next) = due.filter(|due| *due > now).or_else(|| next(crontab, now)) else { return };
                *due = Some(next);
                // The wall clock may jump: it is looked at again in a while.
                Duration::from_millis(next.saturating_sub(now).min(CRON_LOOK_MS))
            }
        };
        let shared = std::sync::Arc::downgrade(&self.shared);
        let ring = move || {
            if let Some(shared) = shared.upgrade() {
                shared.inbox.push_urgent(Job::Timer(id));
            }
        };
        timer.waiting = Some(Alarm::set(&runtime, wait, ring));
    }

    /// A timer's turn has come: its handler, unless the turn before is under way. A timer with more turns waits for the
    /// next one.
    pub(in crate::script) fn turn(&self, id: u32) -> Option<(Function, bool)> {
        let (again, call) = {
            let mut timers = self.timers.borrow_mut();
            let timer = timers.get_mut(&id)?;
            if let Schedule::Cron(_, Some(due)) = &timer.schedule
                && self.shared.link.time.unix_ms() < *due
            {
                drop(timers);
                self.arm(id);
                return None;
            }
            let call = (!timer.running).then(|| (timer.function.clone(), timer.by_bot));
            timer.running = true;
            (!matches!(timer.schedule, Schedule::After(_)), call)
        };
        if again {
            self.arm(id);
        } else {
            self.cancel(id);
        }
        call
    }

    /// A timer's handler has ended.
    pub(in crate::script) fn turn_ended(&self, id: u32) {
        if let Some(timer) = self.timers.borrow_mut().get_mut(&id) {
            timer.running = false;
        }
    }

    /// Ends a timer.
    fn cancel(&self, id: u32) {
        self.timers.borrow_mut().remove(&id);
        self.count_timers();
    }

    fn count_timers(&self) {
        self.shared.timers.store(self.timers.borrow().len(), std::sync::atomic::Ordering::Relaxed);
    }
}

/// When a pattern matches next, in milliseconds since the Unix epoch.
fn next(crontab: &Crontab, now: Millis) -> Option<Millis> {
    let now = MakeTimestamp::from_millisecond(i64::try_from(now).ok()?).ok()?;
    Millis::try_from(crontab.find_next(now).ok()?.timestamp().as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reason(pattern: &str, zone: Option<&str>) -> String {
        match parse(pattern, zone) {
            Err(Refusal::Say(reason)) => reason,
            _ => panic!("{pattern} should have been refused"),
        }
    }

    #[test]
    fn patterns_are_read_and_time_zones_known() {
        // 2026-03-28 00:00:00 UTC, a Saturday; the night after it, clocks in Berlin go forward.
        const START: Millis = 1_774_656_000_000;
        let hours = |pattern: &str, zone: Option<&str>| {
            let crontab = parse(pattern, zone).ok().unwrap();
            let mut now = START;
            let mut turn = || {
                now = next(&crontab, now).unwrap();
                (now - START) / 3_600_000
            };
            [turn(), turn(), turn()]
        };
        assert_eq!(hours("0 9 * * *", None), [9, 33, 57]);
        assert_eq!(hours("0 9 * * *", Some("Europe/Berlin")), [8, 31, 55]);
        assert_eq!(hours("0 9 * * 1-5", Some("UTC")), [57, 81, 105]);
        assert_eq!(hours("0 9 * * 1-5", Some("America/New_York")), [61, 85, 109]);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_a_reason() {
        assert!(reason("0 9 * *", None).contains("five parts"));
        assert!(reason("0 9 * * 1 UTC", None).contains("five parts"));
        assert!(reason("60 9 * * *", None).contains("60"));
        assert!(reason("0 9 * * x", None).contains("can't be read"));
        assert!(reason("0 9 * * *", Some("Mars/Base")).contains("\"Mars/Base\" is no time zone"));
        assert!(reason("0 9 * * *", Some("UTC UTC")).contains("is no time zone"));
        assert!(reason(&"*".repeat(PATTERN_MAX_BYTES + 1), None).contains("five parts"));
    }
}
