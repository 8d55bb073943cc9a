//! The state that a script runs in: its libraries, what was taken out of them, and what bounds the rest.
//!
//! Luau's interrupt is called at loops, calls and returns, and at every step of its pattern matcher (`match` in
//! `lstrlib.cpp`), so a pattern bomb is stopped by it. What native code does between two interrupts is bounded here:
//! `string.find` and `string.split` compare naively (quadratic), a character class is scanned once per character
//! (text × pattern), `table.move` runs for as many steps as it is told, `table.sort` without a comparator compares
//! long strings.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use memchr::memmem;
use mlua::chunk::Compiler;
use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value, VmState};

use super::error::HOST_CHUNK;
use super::meter::Meter;

/// Most elements that one `table.move` moves.
pub(super) const TABLE_MOVE_MAX: usize = 1 << 20;
/// Most work of one pattern function: bytes of the text times bytes of the pattern.
pub(super) const PATTERN_WORK_MAX: usize = 1 << 25;
/// Up to this work the native naive search is used.
const QUICK_WORK: usize = 1 << 16;
/// How much the collector does at a step, in KiB. With Luau's own 1 KiB a script that makes and drops long strings reaches
/// its memory's limit before a cycle is through.
const GC_STEP_KIB: i32 = 64;
/// What a call that ran out of time says.
pub(super) const OUT_OF_TIME: &str = "ran longer than its budget and was stopped";
/// Deepest level of the stack at which a script's line is looked for.
const LOCATION_LEVELS_MAX: usize = 16;
/// Pieces that `string.split` makes between two looks at the flag.
const SPLIT_CHECK_EVERY: usize = 1_024;

/// A sandboxed state, and what the API needs of its prelude.
pub(super) struct Sandbox {
    /// The state.
    pub(super) lua: Lua,
    /// What a waiting call yields.
    pub(super) request: Table,
    /// Wraps a function that answers `true, …` or `false, message`.
    pub(super) guard: Function,
    /// The same, and waits.
    pub(super) blocking: Function,
    /// Whether the script has asked for a coroutine that it runs in, and may have kept it.
    pub(super) running_seen: Rc<Cell<bool>>,
}

impl Sandbox {
    /// A state with its libraries bounded, still open: the API is added, then [`Sandbox::close`].
    pub(super) fn open(meter: &Arc<Meter>) -> mlua::Result<Self> {
        let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::new())?;
        lua.set_compiler(Compiler::new().set_optimization_level(1).set_debug_level(1));
        let globals = lua.globals();
        for name in ["loadstring", "getfenv", "setfenv", "newproxy", "collectgarbage", "require", "gcinfo"] {
            globals.raw_set(name, Value::Nil)?;
        }
        let find = lua.create_function(find_plain)?;
        let split = {
            let meter = Arc::clone(meter);
            lua.create_function(move |lua, (text, separator): (LuaString, LuaString)| {
                split_plain(lua, &meter, &text, &separator)
            })?
        };
        let running_seen = Rc::new(Cell::new(false));
        let seen = {
            let seen = Rc::clone(&running_seen);
            lua.create_function(move |_, ()| {
                seen.set(true);
                Ok(())
            })?
        };
        let (request, guard, blocking) = lua
            .load(include_str!("prelude.luau"))
            .set_name(format!("={HOST_CHUNK}"))
            .call((TABLE_MOVE_MAX, PATTERN_WORK_MAX, QUICK_WORK, find, split, seen))?;
        let flag = Arc::clone(meter);
        lua.set_interrupt(move |lua| {
            if !flag.killed() {
                return Ok(VmState::Continue);
            }
            let at = location(lua, 0).map_or(String::new(), |(file, line)| format!("{file}:{line}: "));
            Err(mlua::Error::runtime(format!("{at}{OUT_OF_TIME}")))
        });
        Ok(Self { lua, request, guard, blocking, running_seen })
    }

    /// Closes it: libraries and globals become read-only, and memory is limited from here on.
    pub(super) fn close(&self, memory_max_bytes: usize) -> mlua::Result<()> {
        self.lua.sandbox(true)?;
        self.lua.gc_set_mode(GcMode::Incremental(GcIncParams::default().step_size(GC_STEP_KIB)));
        self.lua.set_memory_limit(memory_max_bytes)?;
        Ok(())
    }
}

/// `string.find(s, p, init, true)` in linear time.
fn find_plain(
    _: &Lua,
    (text, wanted, init): (LuaString, LuaString, Option<f64>),
) -> mlua::Result<(Option<usize>, Option<usize>)> {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    let (init, len) = (init.unwrap_or(1.0) as i64, text.len() as i64);
    let init = if init < 0 { (len + init + 1).max(1) } else { init.max(1) };
    let start = usize::try_from(init - 1).unwrap_or(usize::MAX);
    let Some(tail) = text.get(start..) else { return Ok((None, None)) };
    Ok(match memmem::find(tail, &wanted) {
        Some(at) => (Some(start + at + 1), Some(start + at + wanted.len())),
        None => (None, None),
    })
}

/// `string.split` in linear time, stopping when the budget is used up.
fn split_plain(lua: &Lua, meter: &Meter, text: &LuaString, separator: &LuaString) -> mlua::Result<Table> {
    let (text, separator) = (text.as_bytes(), separator.as_bytes());
    let pieces = lua.create_table()?;
    let mut from = 0;
    for (n, at) in memmem::find_iter(&text, &separator).enumerate() {
        if n % SPLIT_CHECK_EVERY == 0 && meter.killed() {
            return Err(mlua::Error::runtime(OUT_OF_TIME));
        }
        pieces.raw_push(lua.create_string(&text[from..at])?)?;
        from = at + separator.len();
    }
    pieces.raw_push(lua.create_string(&text[from..])?)?;
    Ok(pieces)
}

/// The file and line of a script nearest to the top of the stack, from `level` on.
pub(super) fn location(lua: &Lua, level: usize) -> Option<(String, usize)> {
    (level..level + LOCATION_LEVELS_MAX)
        .map_while(|level| {
            lua.inspect_stack(level, |frame| {
                let source = frame.source().short_src.map(|text| text.into_owned()).unwrap_or_default();
                source.ends_with(".lua").then(|| (source, frame.current_line().unwrap_or_default()))
            })
        })
        .flatten()
        .next()
}

/// A Lua value's type, as scripts call it.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// The first of several results.
pub(super) fn first(values: &MultiValue) -> Value {
    values.front().cloned().unwrap_or(Value::Nil)
}
