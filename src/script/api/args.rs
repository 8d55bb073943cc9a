//! Arguments, with errors that say which one must be what.

use mlua::{Function, MultiValue, Table, Value};

use crate::script::sandbox::type_name;

/// Why a call was refused.
#[derive(Debug)]
pub(in crate::script) enum Refusal {
    /// The script's author did something wrong; the reason is for them.
    Say(String),
    /// Lua itself failed: out of memory, out of time.
    Lua(mlua::Error),
}

impl From<mlua::Error> for Refusal {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Say(reason)
    }
}

/// What a function was called with. The table's checks have passed: what is read here is there.
pub(super) struct Args<'a> {
    pub(super) values: &'a MultiValue,
}

impl Args<'_> {
    /// The argument at a position, from 0.
    pub(super) fn value(&self, at: usize) -> Value {
        self.values.get(at).cloned().unwrap_or(Value::Nil)
    }

    /// A string.
    pub(super) fn string(&self, at: usize) -> Result<String, Refusal> {
        string(&self.value(at), &place(at))
    }

    /// A string, if it is there.
    pub(super) fn opt_string(&self, at: usize) -> Result<Option<String>, Refusal> {
        if self.value(at).is_nil() { Ok(None) } else { self.string(at).map(Some) }
    }

    /// A number.
    pub(super) fn number(&self, at: usize) -> Result<f64, Refusal> {
        number(&self.value(at), &place(at))
    }

    /// A function.
    pub(super) fn function(&self, at: usize) -> Result<Function, Refusal> {
        match self.value(at) {
            Value::Function(function) => Ok(function),
            other => Err(wrong(&place(at), "a function", &other)),
        }
    }

    /// A table, or nothing.
    pub(super) fn fields(&self, at: usize) -> Result<Fields, Refusal> {
        match self.value(at) {
            Value::Nil => Ok(Fields { table: None }),
            Value::Table(table) => Ok(Fields { table: Some(table) }),
            other => Err(wrong(&place(at), "a table", &other)),
        }
    }

    /// The object that a method was called on.
    pub(super) fn own(&self) -> Result<Table, Refusal> {
        match self.value(0) {
            Value::Table(table) => Ok(table),
            other => Err(wrong("self", "an object", &other)),
        }
    }
}

fn place(at: usize) -> String {
    format!("argument {}", at + 1)
}

/// A table whose fields have names.
pub(super) struct Fields {
    pub(super) table: Option<Table>,
}

impl Fields {
    /// A field.
    pub(super) fn value(&self, name: &str) -> Result<Value, Refusal> {
        Ok(match &self.table {
            Some(table) => table.raw_get(name)?,
            None => Value::Nil,
        })
    }

    /// A string, if it is there.
    pub(super) fn opt_string(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.value(name)? {
            Value::Nil => Ok(None),
            value => string(&value, name).map(Some),
        }
    }

    /// A number, if it is there.
    pub(super) fn opt_number(&self, name: &str) -> Result<Option<f64>, Refusal> {
        match self.value(name)? {
            Value::Nil => Ok(None),
            value => number(&value, name).map(Some),
        }
    }

    /// A boolean; false if it isn't there.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.value(name)? {
            Value::Nil => Ok(false),
            Value::Boolean(flag) => Ok(flag),
            other => Err(wrong(name, "a boolean", &other)),
        }
    }

    /// A list of strings; empty if it isn't there.
    pub(super) fn strings(&self, name: &str, max: usize) -> Result<Vec<String>, Refusal> {
        match self.value(name)? {
            Value::Nil => Ok(Vec::new()),
            Value::Table(list) => strings(&list, name, max),
            other => Err(wrong(name, "a list of strings", &other)),
        }
    }
}

/// A list of at most `max` strings.
pub(super) fn strings(list: &Table, what: &str, max: usize) -> Result<Vec<String>, Refusal> {
    let len = list.raw_len();
    if len > max {
        return Err(Refusal::Say(format!("{what} has {len} entries; at most {max} are allowed")));
    }
    (1..=len).map(|i| string(&list.raw_get(i)?, &format!("{what}[{i}]"))).collect()
}

/// A string.
pub(super) fn string(value: &Value, what: &str) -> Result<String, Refusal> {
    match value {
        Value::String(text) => match text.to_str() {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Refusal::Say(format!("{what} must be valid UTF-8"))),
        },
        other => Err(wrong(what, "a string", other)),
    }
}

/// A finite number.
pub(super) fn number(value: &Value, what: &str) -> Result<f64, Refusal> {
    let number = match value {
        #[allow(clippy::cast_precision_loss)]
        Value::Integer(n) => *n as f64,
        Value::Number(n) => *n,
        other => return Err(wrong(what, "a number", other)),
    };
    if number.is_finite() { Ok(number) } else { Err(Refusal::Say(format!("{what} must be finite"))) }
}

/// "params must be a string, got number".
pub(super) fn wrong(what: &str, wanted: &str, got: &Value) -> Refusal {
    Refusal::Say(format!("{what} must be {wanted}, got {}", type_name(got)))
}
