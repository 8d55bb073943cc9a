//! `rumor.command` and `rumor.commands`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use mlua::{Function, Lua, Table, Value};

use super::args::{strings, wrong};
use super::{Api, COMMANDS_MAX, Refusal, define};
use crate::node::Place;
use crate::script::convert::clean_line;
use crate::script::shared::{CommandSpec, Complete, Words};

/// Longest name of a command, in bytes.
pub(super) const COMMAND_NAME_MAX_BYTES: usize = 64;
/// Longest description or parameter text of a command, in bytes.
pub(super) const COMMAND_TEXT_MAX_BYTES: usize = 256;
/// Most aliases of a command, and most fixed completions of an argument.
pub(super) const COMMAND_WORDS_MAX: usize = 64;
/// Most words that a completion function offers.
pub(super) const COMPLETIONS_MAX: usize = 1_000;

/// What the thread keeps of a command.
pub(in crate::script) struct Command {
    pub(in crate::script) run: Function,
    /// In seconds.
    pub(in crate::script) cooldown: f64,
    /// When it last ran, by the clock that scripts see.
    pub(in crate::script) last: Cell<Option<Instant>>,
}

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let register = define(lua, api, "rumor.command", |_, api, args| {
        let name = command_name(&args.string(0)?)?;
        let fields = args.fields(1)?;
        let params = fields.opt_string("params")?.unwrap_or_default();
        let desc = fields.opt_string("desc")?.unwrap_or_default();
        let aliases = fields.strings("aliases", COMMAND_WORDS_MAX)?;
        let aliases = aliases.iter().map(|alias| command_name(alias)).collect::<Result<Vec<_>, _>>()?;
        let place = if fields.opt_string("where")?.as_deref() == Some("chat") { Place::Chat } else { Place::Menu };
        let cooldown = fields.opt_number("cooldown")?.unwrap_or(0.0);
        let run = match fields.value("run")? {
            Value::Function(run) => run,
            other => return Err(wrong("run", "a function", &other)),
        };
        if api.commands.borrow().len() >= COMMANDS_MAX {
            return Err(Refusal::Say(format!("at most {COMMANDS_MAX} commands a script")));
        }
        if api.snapshot().commands.iter().any(|c| c.name == name || c.aliases.contains(&name)) {
            return Err(Refusal::Say(format!("this script has registered {name:?} already")));
        }
        let complete = completion(api, &fields.value("complete")?)?;
        let id = api.fresh_id();
        api.commands.borrow_mut().insert(id, Command { run, cooldown, last: Cell::new(None) });
        let spec = CommandSpec {
            id,
            name,
            aliases,
            params: clean_line(&params, COMMAND_TEXT_MAX_BYTES),
            desc: clean_line(&desc, COMMAND_TEXT_MAX_BYTES),
            place,
            complete,
        };
        api.change(|registered| registered.commands.push(spec));
        Ok(())
    })?;
    rumor.raw_set("command", register)?;

    let list = define(lua, api, "rumor.commands", |lua, api, _| {
        let core = api.shared.link.core.get().and_then(std::sync::Weak::upgrade);
        let list = lua.create_table()?;
        for info in core.map(|core| core.list()).unwrap_or_default() {
            let entry = lua.create_table()?;
            entry.raw_set("name", info.name)?;
            entry.raw_set("params", info.params)?;
            entry.raw_set("desc", info.desc)?;
            entry.raw_set("script", info.script)?;
            entry.raw_set("where", if info.place == Place::Menu { "menu" } else { "chat" })?;
            entry.raw_set("aliases", lua.create_sequence_from(info.aliases)?)?;
            list.raw_push(entry)?;
        }
        Ok(list)
    })?;
    rumor.raw_set("commands", list)
}

/// A command's name: words of letters, digits, `_` and `-`.
fn command_name(raw: &str) -> Result<String, Refusal> {
    let words: Vec<_> = raw.split(' ').collect();
    let good = raw.len() <= COMMAND_NAME_MAX_BYTES
        && words
            .iter()
            .all(|word| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-'));
    if good {
        return Ok(raw.to_lowercase());
    }
    Err(Refusal::Say(format!(
        "{:?} can't be a command's name: words of letters, digits, _ and -, at most {COMMAND_NAME_MAX_BYTES} bytes",
        short(raw)
    )))
}

/// What `complete` says.
fn completion(api: &Api, value: &Value) -> Result<Complete, Refusal> {
    match value {
        Value::Nil => Ok(Complete::Words(Vec::new())),
        Value::Function(function) => {
            let id = api.fresh_id();
            api.functions.borrow_mut().insert(id, function.clone());
            Ok(Complete::Function(id))
        }
        Value::Table(list) => {
            let len = list.raw_len().min(COMMAND_WORDS_MAX);
            (1..=len).map(|i| words(&list.raw_get(i)?)).collect::<Result<_, Refusal>>().map(Complete::Words)
        }
        other => Err(wrong("complete", "a list or a function", other)),
    }
}

/// What completes one argument: `"%(chats)"`, a word, or a list of words.
fn words(value: &Value) -> Result<Words, Refusal> {
    let fixed = match value {
        Value::Table(list) => strings(list, "complete", COMMAND_WORDS_MAX)?,
        value => vec![super::args::string(value, "complete")?],
    };
    match fixed.as_slice() {
        [one] if one == "%(chats)" => Ok(Words::Chats),
        [one] if one == "%(peers)" => Ok(Words::Peers),
        [one] if one == "%(commands)" => Ok(Words::Commands),
        [one] if one == "%(scripts)" => Ok(Words::Scripts),
        [one] if one.starts_with("%(") => Err(Refusal::Say(format!(
            "complete: there is no {:?}; valid: %(chats), %(peers), %(commands), %(scripts)",
            short(one)
        ))),
        _ => Ok(Words::Fixed(fixed.iter().map(|word| clean_line(word, COMMAND_TEXT_MAX_BYTES)).collect())),
    }
}

/// Enough of a text to recognise it.
fn short(text: &str) -> String {
    clean_line(text, 40)
}
