//! `t`: what a case of a test calls.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Function, IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value};
use serde_json::Value as Json;

use super::world::{ADVANCE_MAX_S, Fate, Saying, World};
use crate::node::{CommandResult, Message, NoticeLevel, UiAction};
use crate::script::{WebResponse, shown};

/// How long `t.expect` waits unless told, in seconds of virtual time.
const WITHIN_S: f64 = 10.0;
/// How long `t.silent` listens unless told, in seconds of virtual time.
const SILENT_S: f64 = 1.0;
/// Deepest table that is compared.
const DEPTH_MAX: usize = 16;
/// Frames of the stack in which a test's line is looked for.
const FRAMES_MAX: usize = 32;

/// The world of the case; gone when the case has ended, whatever the test still holds.
pub(super) type Shared = Rc<RefCell<Option<World>>>;

/// An error of Lua as a sentence: file, line and reason, without the traceback.
pub(super) fn sentence(error: &mlua::Error) -> String {
    match error {
        mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => sentence(cause),
        mlua::Error::SyntaxError { message, .. } | mlua::Error::RuntimeError(message) => {
            message.split("\nstack traceback:").next().unwrap_or_default().to_owned()
        }
        other => other.to_string(),
    }
}

/// A Lua value as plain data.
pub(super) fn json_of(value: &Value) -> Result<Json, String> {
    serde_json::to_value(value).map_err(|error| format!("this value is no plain data: {error}"))
}

/// The arguments of a call.
struct Given<'a> {
    lua: &'a Lua,
    values: MultiValue,
}

impl Given<'_> {
    fn value(&self, at: usize) -> Value {
        self.values.get(at).cloned().unwrap_or(Value::Nil)
    }

    fn opt_text(&self, at: usize, what: &str) -> Result<Option<String>, String> {
        match self.value(at) {
            Value::Nil => Ok(None),
            Value::String(text) => Ok(Some(text.to_string_lossy())),
            Value::Table(_) if at == 0 => Err("write it with a dot: t.say(…), not t:say(…)".to_owned()),
            other => Err(format!("{what} must be a string, got {}", other.type_name())),
        }
    }

    fn text(&self, at: usize, what: &str) -> Result<String, String> {
        self.opt_text(at, what)?.ok_or_else(|| format!("{what} must be a string, got nil"))
    }

    fn seconds(&self, at: usize, default: Option<f64>) -> Result<Duration, String> {
        let seconds = match (self.value(at), default) {
            (Value::Nil, Some(default)) => default,
            (value, _) => {
                number(&value).ok_or_else(|| format!("seconds must be a number, got {}", value.type_name()))?
            }
        };
        duration(seconds)
    }

    /// The options, whose fields must be among these.
    fn options(&self, at: usize, valid: &[&str]) -> Result<Options, String> {
        let table = match self.value(at) {
            Value::Nil => return Ok(Options(None)),
            Value::Table(table) => table,
            other => return Err(format!("the options must be a table, got {}", other.type_name())),
        };
        for pair in table.pairs::<Value, Value>() {
            let (key, _) = pair.map_err(|error| sentence(&error))?;
            let key = key.to_string().unwrap_or_default();
            if !valid.contains(&key.as_str()) {
                return Err(format!("there is no option {key:?}; valid: {}", valid.join(", ")));
            }
        }
        Ok(Options(Some(table)))
    }
}

/// A number, whole or not.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        #[allow(clippy::cast_precision_loss, reason = "Lua's numbers are floats")]
        Value::Integer(n) => Some(*n as f64),
        Value::Number(n) => Some(*n),
        _ => None,
    }
}

fn duration(seconds: f64) -> Result<Duration, String> {
    if (0.0..=ADVANCE_MAX_S).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(format!("seconds must be from 0 to {ADVANCE_MAX_S}, got {seconds}"))
}

struct Options(Option<Table>);

impl Options {
    fn value(&self, key: &str) -> Value {
        self.0.as_ref().and_then(|table| table.raw_get(key).ok()).unwrap_or(Value::Nil)
    }

    fn text(&self, key: &str) -> Result<Option<String>, String> {
        match self.value(key) {
            Value::Nil => Ok(None),
            Value::String(text) => Ok(Some(text.to_string_lossy())),
            other => Err(format!("{key} must be a string, got {}", other.type_name())),
        }
    }

    fn flag(&self, key: &str) -> bool {
        self.value(key).as_boolean().unwrap_or_default()
    }

    fn within(&self) -> Result<Duration, String> {
        match self.value("within") {
            Value::Nil => duration(WITHIN_S),
            value => duration(number(&value).ok_or("within must be a number of seconds")?),
        }
    }
}

/// Builds `t` for a case in this world.
pub(super) fn table(lua: &Lua, world: &Shared, file: &Path) -> mlua::Result<Table> {
    let t = lua.create_table()?;
    speaking(lua, &t, world, file)?;
    driving(lua, &t, world, file)?;
    outside(lua, &t, world, file)?;
    comparing(lua, &t, world, file)?;
    t.set_readonly(true);
    Ok(t)
}

/// Adds one function; its failures say where in the test they happened.
fn add<R: IntoLuaMulti>(
    lua: &Lua,
    t: &Table,
    world: &Shared,
    file: &Path,
    name: &'static str,
    body: impl Fn(&mut World, &Given) -> Result<R, String> + 'static,
) -> mlua::Result<()> {
    let (world, file) = (Rc::clone(world), file.display().to_string());
    let function = lua.create_function(move |lua, values: MultiValue| {
        let result = match world.borrow_mut().as_mut() {
            Some(world) => body(world, &Given { lua, values }),
            None => Err("this case has ended".to_owned()),
        };
        result.map_err(|reason| mlua::Error::runtime(format!("{}t.{name}: {reason}", place(lua, &file))))
    })?;
    t.raw_set(name, function)
}

/// `lua/bots/echo_test.lua:12: `, the line of the test that is running.
fn place(lua: &Lua, file: &str) -> String {
    let found = (1..FRAMES_MAX).map_while(|level| {
        lua.inspect_stack(level, |frame| {
            let source = frame.source().source.map(|text| text.into_owned()).unwrap_or_default();
            (source.trim_start_matches(['@', '=']) == file).then(|| frame.current_line().unwrap_or_default())
        })
    });
    found.flatten().next().map_or_else(|| format!("{file}: "), |line| format!("{file}:{line}: "))
}

fn speaking(lua: &Lua, t: &Table, world: &Shared, file: &Path) -> mlua::Result<()> {
    add(lua, t, world, file, "say", |world, given| {
        let (who, text) = (given.text(0, "who")?, given.text(1, "the text")?);
        let options = given.options(2, &["chat", "reply_to", "bot"])?;
        let reply_to = options.text("reply_to")?.map(|id| id.parse().map_err(|_| "reply_to must be a message's id"));
        let how = Saying { chat: options.text("chat")?, reply_to: reply_to.transpose()?, bot: options.flag("bot") };
        match world.say(&who, &text, &how) {
            Ok(id) => Ok((Some(id.to_string()), None)),
            // What a filter of the node's own vetoes is an answer; everything else can't be what a test wants.
            Err(reason) if who == "me" => Ok((None, Some(reason))),
            Err(reason) => Err(reason),
        }
    })?;
    add(lua, t, world, file, "expect", |world, given| {
        let wanted = given.text(0, "the text")?;
        let options = given.options(1, &["chat", "within"])?;
        let message = next(world, &options, &format!("{wanted:?}"))?;
        if message.text != wanted {
            return Err(format!("expected {wanted:?}, but the script said {:?}", message.text));
        }
        message_table(given.lua, &message).map_err(|error| sentence(&error))
    })?;
    add(lua, t, world, file, "match", |world, given| {
        let pattern = given.text(0, "the pattern")?;
        let options = given.options(1, &["chat", "within"])?;
        let message = next(world, &options, &format!("what matches {pattern:?}"))?;
        let captures = matches(given.lua, &message.text, &pattern)?;
        if captures.front().is_none_or(Value::is_nil) {
            return Err(format!("expected what matches {pattern:?}, but the script said {:?}", message.text));
        }
        Ok(captures)
    })?;
    add(lua, t, world, file, "silent", |world, given| {
        let time = given.seconds(0, Some(SILENT_S))?;
        match world.next_said(None, time) {
            Some(message) => Err(format!("expected silence, but the script said {:?}", message.text)),
            None => Ok(()),
        }
    })?;
    add(lua, t, world, file, "shown", |world, given| match fate(world, given)? {
        Fate::Shown(text) => Ok(text),
        Fate::Hidden(reason) => Err(format!("it was hidden: {reason}")),
    })?;
    add(lua, t, world, file, "hidden", |world, given| match fate(world, given)? {
        Fate::Hidden(reason) => Ok(reason),
        Fate::Shown(text) => Err(format!("it was shown: {text:?}")),
    })
}

fn fate(world: &World, given: &Given) -> Result<Fate, String> {
    let id = given.text(0, "the message's id, as t.say returns it,")?;
    let id = id.parse().map_err(|_| "this is no message's id".to_owned())?;
    world.fate(&id).ok_or_else(|| "no message of this id came in from others".to_owned())
}

/// The next message of the scripts.
fn next(world: &mut World, options: &Options, wanted: &str) -> Result<Message, String> {
    let (chat, within) = (options.text("chat")?, options.within()?);
    if let Some(message) = world.next_said(chat.as_deref(), within) {
        return Ok(message);
    }
    let errors = world.notices().iter().filter(|notice| notice.level == NoticeLevel::Error);
    let because = errors.map(|notice| format!("; it failed: {}", notice.text)).next().unwrap_or_default();
    let elsewhere = world.next_said(None, Duration::ZERO);
    let elsewhere = elsewhere.map_or(String::new(), |m| format!("; in {:?} it said {:?}", &*m.chat, m.text));
    Err(format!("expected {wanted}, but the script said nothing within {} s{because}{elsewhere}", within.as_secs_f64()))
}

fn driving(lua: &Lua, t: &Table, world: &Shared, file: &Path) -> mlua::Result<()> {
    add(lua, t, world, file, "advance", |world, given| {
        world.advance(given.seconds(0, None)?);
        Ok(())
    })?;
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a wall clock")]
    add(lua, t, world, file, "now", |world, _| Ok(world.now_ms() as f64 / 1_000.0))?;
    add(lua, t, world, file, "command", |world, given| {
        let line = given.text(0, "the line")?;
        let options = given.options(1, &["chat"])?;
        let chat = match options.value("chat") {
            Value::Boolean(false) => None,
            _ => Some(options.text("chat")?.or_else(|| world.chats().first().cloned()).unwrap_or_default()),
        };
        let (actions, result) = world.command(line.trim_start_matches('/'), chat.as_deref());
        outcome(given.lua, actions, result).map_err(|error| sentence(&error))
    })?;
    add(lua, t, world, file, "complete", |world, given| {
        let line = given.text(0, "the line")?;
        let chat = given.options(1, &["chat"])?.text("chat")?.or_else(|| world.chats().first().cloned());
        Ok(world.complete(&line, chat.as_deref()))
    })?;
    add(lua, t, world, file, "history", |world, given| {
        let chat = given.opt_text(0, "the chat")?.or_else(|| world.chats().first().cloned()).unwrap_or_default();
        let messages = world.history(&chat)?;
        let list = messages.iter().map(|message| message_table(given.lua, message)).collect::<mlua::Result<Vec<_>>>();
        list.map_err(|error| sentence(&error))
    })?;
    add(lua, t, world, file, "reload", |world, given| {
        let file = world.first_file().ok_or("there is no script")?.to_owned();
        match world.reload(&file, given.opt_text(0, "the new text")?.as_deref()) {
            Ok(()) => Ok((true, None)),
            Err(reason) => Ok((false, Some(reason))),
        }
    })?;
    add(lua, t, world, file, "write", |world, given| {
        match world.reload(&given.text(0, "the file")?, Some(&given.text(1, "the text")?)) {
            Ok(()) => Ok((true, None)),
            Err(reason) => Ok((false, Some(reason))),
        }
    })?;
    add(lua, t, world, file, "restart", |world, _| world.restart())?;
    let find = |world: &mut World, given: &Given| {
        let pattern = given.text(0, "the pattern")?;
        let options = given.options(1, &["within"])?;
        let lua = given.lua;
        let found = world.next_notice(
            |notice| matches(lua, &notice.text, &pattern).is_ok_and(|found| !found.front().is_none_or(Value::is_nil)),
            options.within()?,
        );
        if let Some(notice) = found {
            return Ok(notice.text);
        }
        let seen: Vec<_> = world.notices().iter().map(|notice| format!("{:?}", notice.text)).collect();
        let seen =
            if seen.is_empty() { "there was none".to_owned() } else { format!("there were {}", seen.join(", ")) };
        Err(format!("expected a notice that matches {pattern:?}; {seen}"))
    };
    add(lua, t, world, file, "notice", find)
}

fn outside(lua: &Lua, t: &Table, world: &Shared, file: &Path) -> mlua::Result<()> {
    add(lua, t, world, file, "http", |world, given| {
        let url = given.text(0, "the url")?;
        let mut response = WebResponse { status: 200, url: url.clone(), ..WebResponse::default() };
        let answer = match given.value(1) {
            Value::String(body) => {
                response.body = body.as_bytes().to_vec();
                Ok(response)
            }
            Value::Table(_) => {
                let options = given.options(1, &["status", "body", "headers", "error"])?;
                match options.text("error")? {
                    Some(error) => Err(error),
                    None => {
                        #[allow(
                            clippy::cast_possible_truncation,
                            clippy::cast_sign_loss,
                            reason = "checked just before"
                        )]
                        match number(&options.value("status")) {
                            Some(status) if (100.0..600.0).contains(&status) => response.status = status as u16,
                            Some(status) => return Err(format!("status must be from 100 to 599, got {status}")),
                            None => {}
                        }
                        if let Value::String(body) = options.value("body") {
                            response.body = body.as_bytes().to_vec();
                        }
                        if let Value::Table(headers) = options.value("headers") {
                            for (name, value) in headers.pairs::<String, String>().flatten() {
                                response.headers.insert(name.to_lowercase(), value);
                            }
                        }
                        Ok(response)
                    }
                }
            }
            other => return Err(format!("the answer must be a body or a table, got {}", other.type_name())),
        };
        world.web(&url, answer);
        Ok(())
    })?;
    add(lua, t, world, file, "requests", |world, given| {
        let list = world.web_requests().into_iter().map(|request| {
            let table = given.lua.create_table()?;
            table.raw_set("method", request.method)?;
            table.raw_set("url", request.url)?;
            table.raw_set("headers", request.headers)?;
            table.raw_set("body", request.body.map(|body| given.lua.create_string(&body)).transpose()?)?;
            Ok(table)
        });
        list.collect::<mlua::Result<Vec<_>>>().map_err(|error| sentence(&error))
    })?;
    add(lua, t, world, file, "files", |world, _| Ok(world.files()))
}

fn comparing(lua: &Lua, t: &Table, world: &Shared, file: &Path) -> mlua::Result<()> {
    add(lua, t, world, file, "eq", |_, given| {
        let (got, wanted) = (given.value(0), given.value(1));
        let what =
            given.opt_text(2, "what it is").unwrap_or_default().map_or(String::new(), |what| format!("{what}: "));
        if same(&got, &wanted, 0) {
            return Ok(());
        }
        Err(format!("{what}expected {}, got {}", shown(&wanted), shown(&got)))
    })?;
    add(lua, t, world, file, "ok", |_, given| {
        if !matches!(given.value(0), Value::Nil | Value::Boolean(false)) {
            return Ok(given.value(0));
        }
        let what = given.opt_text(1, "what it is")?.unwrap_or_else(|| "expected something true".to_owned());
        Err(format!("{what}: got {}", shown(&given.value(0))))
    })?;
    add(lua, t, world, file, "fail", |_, given| -> Result<(), String> { Err(given.text(0, "the reason")?) })
}

/// `string.match`, as Lua has it.
fn matches(lua: &Lua, text: &str, pattern: &str) -> Result<MultiValue, String> {
    let find = || -> mlua::Result<MultiValue> {
        let strings: Table = lua.globals().get("string")?;
        let function: Function = strings.get("match")?;
        function.call((text, pattern))
    };
    find().map_err(|error| sentence(&error))
}

fn message_table(lua: &Lua, message: &Message) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("id", message.id.to_string())?;
    table.raw_set("chat", &*message.chat)?;
    table.raw_set("from", message.from.nick.as_str())?;
    table.raw_set("text", message.text.as_str())?;
    table.raw_set("bot", message.bot)?;
    table.raw_set("mine", message.mine)?;
    table.raw_set("reply_to", message.reply_to.map(|id| id.to_string()))?;
    Ok(table)
}

/// How a command ended: `ok`, `text`, `usage`, `unknown`; what it made the frontend do: `printed`, `opened`, `history`,
/// `quit`.
fn outcome(lua: &Lua, actions: Vec<UiAction>, result: CommandResult) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let mut printed = Vec::new();
    for action in actions {
        match action {
            UiAction::Print(text) => printed.push(text),
            UiAction::Open(chat) => table.raw_set("opened", &*chat)?,
            UiAction::Quit => table.raw_set("quit", true)?,
            UiAction::History(_, messages) => {
                let list =
                    messages.iter().map(|message| message_table(lua, message)).collect::<mlua::Result<Vec<_>>>()?;
                table.raw_set("history", list)?;
            }
        }
    }
    if !printed.is_empty() {
        table.raw_set("printed", printed.join("\n"))?;
    }
    let (ok, key, value) = match result {
        CommandResult::Done(text) => (true, "text", text.into_lua(lua)?),
        CommandResult::Failed(text) => (false, "text", text.into_lua(lua)?),
        CommandResult::Usage(usage) => (false, "usage", usage.into_lua(lua)?),
        CommandResult::Unknown(names) => (false, "unknown", names.into_lua(lua)?),
    };
    table.raw_set("ok", ok)?;
    table.raw_set(key, value)?;
    Ok(table)
}

/// Whether two values are the same; tables by what is in them.
fn same(a: &Value, b: &Value, depth: usize) -> bool {
    let (Value::Table(left), Value::Table(right)) = (a, b) else {
        return a == b || matches!((number(a), number(b)), (Some(x), Some(y)) if x == y);
    };
    if depth > DEPTH_MAX {
        return false;
    }
    let within = |one: &Table, other: &Table| {
        one.pairs::<Value, Value>().all(|pair| {
            pair.is_ok_and(|(key, value)| other.raw_get::<Value>(key).is_ok_and(|own| same(&value, &own, depth + 1)))
        })
    };
    within(left, right) && within(right, left)
}
