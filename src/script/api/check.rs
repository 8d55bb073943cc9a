//! Checks what a function was called with against the table: `params must be a string, got number`.

use mlua::{MultiValue, Table, Value};

use super::args::Refusal;
use super::table::{CLASSES, Field, Function, Type};
use crate::script::convert::clean_line;
use crate::script::sandbox::type_name;

/// Longest part of a value that an error repeats, in bytes.
const SHOWN_MAX_BYTES: usize = 40;

/// Whether a call's arguments are what the table says.
pub(super) fn arguments(function: &Function, values: &MultiValue) -> Result<(), Refusal> {
    let mut at = 0;
    if let Some(receiver) = function.receiver() {
        let own = values.front().unwrap_or(&Value::Nil);
        if !matches!(own, Value::Table(_)) {
            let name = function.name;
            let wanted = receiver.rsplit('.').next().unwrap_or(receiver);
            return Err(Refusal::Say(format!(
                "it must be called on a {wanted}, got {} (write {name}(…), with a colon)",
                type_name(own)
            )));
        }
        at = 1;
    }
    // `rumor.cron(pattern, fn)` leaves out what stands in the middle.
    let given = values.len().saturating_sub(at);
    let skips =
        function.params.iter().position(|field| field.optional).filter(|first| {
            given < function.params.len() && function.params[*first..].iter().any(|field| !field.optional)
        });
    for (n, field) in function.params.iter().enumerate() {
        if skips == Some(n) {
            continue;
        }
        check(field, field.name, values.get(at).unwrap_or(&Value::Nil))?;
        at += 1;
    }
    if !function.variadic && values.len() > at && values.iter().skip(at).any(|value| !value.is_nil()) {
        return Err(Refusal::Say(format!("takes {}, got {given}", count(function.params.len()))));
    }
    Ok(())
}

fn count(n: usize) -> String {
    match n {
        0 => "no arguments".to_owned(),
        1 => "one argument".to_owned(),
        n => format!("at most {n} arguments"),
    }
}

/// Whether a value is what a field says.
fn check(field: &Field, what: &str, value: &Value) -> Result<(), Refusal> {
    if field.optional && value.is_nil() { Ok(()) } else { is(&field.kind, what, value) }
}

/// Whether a value is of a kind.
fn is(kind: &Type, what: &str, value: &Value) -> Result<(), Refusal> {
    let wrong = || Err(Refusal::Say(format!("{what} must be {}, got {}", wanted(kind), type_name(value))));
    match (kind, value) {
        (Type::Any, _)
        | (Type::Boolean, Value::Boolean(_))
        | (Type::Bytes, Value::String(_))
        | (Type::Function(..), Value::Function(_))
        | (Type::Class(_) | Type::Map(_), Value::Table(_))
        | (Type::Maybe(_), Value::Nil) => Ok(()),
        (Type::Maybe(inner), value) => is(inner, what, value),
        (Type::String, Value::String(text)) => match text.to_str() {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::Say(format!("{what} must be valid UTF-8"))),
        },
        (Type::OneOf(valid), Value::String(text)) => {
            if valid.iter().any(|known| text.as_bytes() == known.as_bytes()) {
                return Ok(());
            }
            let got = clean_line(&text.to_string_lossy(), SHOWN_MAX_BYTES);
            Err(Refusal::Say(format!("{what} must be {}, got {got:?}", wanted(kind))))
        }
        (Type::Number | Type::Between(..) | Type::Whole(..), Value::Integer(_) | Value::Number(_)) => {
            number(kind, what, value)
        }
        (Type::List(inner, max), Value::Table(list)) => {
            let len = list.raw_len();
            if len > *max {
                return Err(Refusal::Say(format!("{what} has {len} entries; at most {max} are allowed")));
            }
            // What has no bound is looked at as it is read, on the caller's budget.
            if *max == usize::MAX {
                return Ok(());
            }
            (1..=len).try_for_each(|i| is(inner, &format!("{what}[{i}]"), &list.raw_get(i)?))
        }
        (Type::Record(fields), Value::Table(table)) => record(fields, table),
        (Type::Either(kinds), value) => {
            // The reason of the kind that comes closest: a list of the wrong things is told which one is wrong.
            let closest = kinds.iter().find(|kind| is_of_type(kind, value));
            match closest {
                Some(kind) => is(kind, what, value),
                None => wrong(),
            }
        }
        _ => wrong(),
    }
}

/// Whether a value is of the Lua type that a kind has, whatever is in it.
fn is_of_type(kind: &Type, value: &Value) -> bool {
    match kind {
        Type::Any => true,
        Type::Boolean => value.is_boolean(),
        Type::Bytes | Type::String | Type::OneOf(_) => value.is_string(),
        Type::Number | Type::Between(..) | Type::Whole(..) => value.is_number() || value.is_integer(),
        Type::List(..) | Type::Record(_) | Type::Map(_) | Type::Class(_) => value.is_table(),
        Type::Function(..) => value.is_function(),
        Type::Either(kinds) => kinds.iter().any(|kind| is_of_type(kind, value)),
        Type::Maybe(kind) => value.is_nil() || is_of_type(kind, value),
    }
}

fn number(kind: &Type, what: &str, value: &Value) -> Result<(), Refusal> {
    let number = super::args::number(value, what)?;
    let good = match kind {
        Type::Between(min, max) => (*min..=*max).contains(&number),
        Type::Whole(min, max) => (f64::from(*min)..=f64::from(*max)).contains(&number) && number.fract() == 0.0,
        _ => true,
    };
    if good { Ok(()) } else { Err(Refusal::Say(format!("{what} must be {}, got {number}", wanted(kind)))) }
}

/// A table whose fields have names: all that must be there, none that is unknown.
fn record(fields: &[Field], table: &Table) -> Result<(), Refusal> {
    for pair in table.pairs::<Value, Value>() {
        let (key, _) = pair?;
        let known = matches!(&key, Value::String(name) if fields.iter().any(|f| name.as_bytes() == f.name.as_bytes()));
        if !known {
            let shown = match &key {
                Value::String(name) => clean_line(&name.to_string_lossy(), SHOWN_MAX_BYTES),
                other => format!("[{}]", type_name(other)),
            };
            let valid: Vec<_> = fields.iter().map(|field| field.name).collect();
            return Err(Refusal::Say(format!("there is no field {shown:?}; valid: {}", valid.join(", "))));
        }
    }
    fields.iter().try_for_each(|field| check(field, field.name, &table.raw_get(field.name)?))
}

/// A kind in words: "a string".
fn wanted(kind: &Type) -> String {
    match kind {
        Type::Any => "a value".to_owned(),
        Type::Boolean => "a boolean".to_owned(),
        Type::Bytes | Type::String => "a string".to_owned(),
        Type::Number => "a number".to_owned(),
        Type::Between(min, max) => format!("a number from {min} to {max}"),
        Type::Whole(min, max) => format!("a whole number from {min} to {max}"),
        Type::OneOf(valid) => list(valid.iter().map(|word| format!("{word:?}")).collect()),
        Type::List(inner, _) => format!("a list of {}", plural(inner)),
        Type::Record(_) | Type::Map(_) => "a table".to_owned(),
        Type::Class(name) => {
            let variable = CLASSES.iter().find(|class| class.name == *name).map_or(*name, |class| class.variable);
            match variable {
                "msg" => "a message".to_owned(),
                other => format!("a {other}"),
            }
        }
        Type::Function(..) => "a function".to_owned(),
        Type::Either(kinds) => list(kinds.iter().map(wanted).collect()),
        Type::Maybe(kind) => format!("{} or nil", wanted(kind)),
    }
}

fn plural(kind: &Type) -> String {
    match kind {
        Type::String | Type::Bytes => "strings".to_owned(),
        Type::Class("Message") => "messages".to_owned(),
        Type::Either(_) => "strings and lists".to_owned(),
        _ => "values".to_owned(),
    }
}

/// `a`, `a or b`, `a, b or c`.
fn list(words: Vec<String>) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}
