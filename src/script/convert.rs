//! What scripts return, and which events they want.

use mlua::{MultiValue, Value};

use super::api;
use super::job::{EventData, FilterAnswer};
use super::sandbox::{first, type_name};
use super::shared::{EventKind, HandlerSpec, Shared};
use crate::node::CommandResult;
use crate::room::{sanitize, sanitize_line};

/// Longest reason of a filter and longest answer of a command, in bytes.
const ANSWER_MAX_BYTES: usize = 4_096;

/// Whether an observer is for this event.
pub(super) fn wants(spec: &HandlerSpec, event: &EventData) -> bool {
    match event {
        EventData::Message(message) => {
            spec.wants(EventKind::Message, Some(&message.chat))
                && (spec.synced || !message.synced)
                && (!message.bot || (spec.bots && !message.mine))
        }
        EventData::Join(member) => spec.wants(EventKind::Join, Some(&member.chat)) && (spec.bots || !member.bot),
        EventData::Leave(member) => spec.wants(EventKind::Leave, Some(&member.chat)) && (spec.bots || !member.bot),
        EventData::PeerUp(_) => spec.event == EventKind::PeerUp,
        EventData::PeerDown(_) => spec.event == EventKind::PeerDown,
        EventData::Gap { chat, .. } => spec.wants(EventKind::Gap, Some(chat)),
    }
}

/// Whether a script wants an event at all.
pub(super) fn is_wanted(shared: &Shared, event: &EventData) -> bool {
    let seen = match event {
        EventData::Message(message) => shared.grants.sees(&message.chat),
        EventData::Join(member) | EventData::Leave(member) => shared.grants.sees(&member.chat),
        EventData::Gap { chat, .. } => shared.grants.sees(chat),
        _ => true,
    };
    seen && shared.registered().handlers.iter().any(|spec| wants(spec, event))
}

/// What a filter returned: nil passes, false drops, a message replaces (but for what is sealed).
pub(super) fn filter_answer(event: EventKind, values: &MultiValue) -> mlua::Result<FilterAnswer> {
    match first(values) {
        Value::Nil => Ok(FilterAnswer::Pass),
        Value::Boolean(false) => {
            let reason = match values.get(1) {
                Some(Value::String(reason)) => clean_line(&reason.to_string_lossy(), ANSWER_MAX_BYTES),
                _ => "a filter dropped it".to_owned(),
            };
            Ok(FilterAnswer::Drop(reason))
        }
        other if event == EventKind::Relay => Err(mlua::Error::runtime(format!(
            "a {:?} filter must return nil or false, got {}",
            event.name(),
            type_name(&other)
        ))),
        Value::Table(message) => match message.raw_get::<Value>("text")? {
            Value::String(text) => Ok(FilterAnswer::Replace(text.to_string_lossy())),
            other => Err(mlua::Error::runtime(format!(
                "the text of the message that a {:?} filter returns must be a string, got {}",
                event.name(),
                type_name(&other)
            ))),
        },
        other => Err(mlua::Error::runtime(format!(
            "a {:?} filter must return nil, false or a message, got {}",
            event.name(),
            type_name(&other)
        ))),
    }
}

/// What a command returned: `ok, text`; false alone shows the usage.
pub(super) fn command_result(values: &MultiValue, usage: String) -> CommandResult {
    let text = match values.get(1) {
        Some(Value::String(text)) => Some(clean_text(&text.to_string_lossy(), ANSWER_MAX_BYTES)),
        _ => None,
    };
    match (first(values), text) {
        (Value::Boolean(false), None) => CommandResult::Usage(usage),
        (Value::Boolean(false), Some(text)) => CommandResult::Failed(text),
        (_, text) => CommandResult::Done(text),
    }
}

/// Whether Lua ran out of its memory.
pub(super) fn is_memory_error(error: &mlua::Error) -> bool {
    match error {
        mlua::Error::MemoryError(_) => true,
        mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => is_memory_error(cause),
        mlua::Error::RuntimeError(text) => text.contains("not enough memory"),
        _ => false,
    }
}

/// A refusal as Lua's error.
pub(super) fn refused(refusal: api::Refusal) -> mlua::Error {
    match refusal {
        api::Refusal::Say(reason) => mlua::Error::runtime(reason),
        api::Refusal::Lua(error) => error,
    }
}

/// A text that a script shows or changes, made fit for a terminal and cut to `max` bytes.
pub(super) fn clean_text(raw: &str, max: usize) -> String {
    cut(sanitize(raw).into_owned(), max)
}

/// The same on one line.
pub(super) fn clean_line(raw: &str, max: usize) -> String {
    cut(sanitize_line(raw).into_owned(), max)
}

fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cleaned_and_cut_between_characters() {
        assert_eq!(clean_text("a\x1b[31mb\u{9b}c\u{202e}d\ne\tf", 100), "a[31mbcd\ne f");
        assert_eq!(clean_line("a\nb", 100), "a b");
        assert_eq!(clean_text("äää", 5), "ää");
    }
}
