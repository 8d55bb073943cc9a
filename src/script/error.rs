//! What went wrong in a script: file, line and reason.

use std::fmt;

use super::convert::clean_text;

/// Longest reason that is kept, in bytes.
pub(super) const REASON_MAX_BYTES: usize = 1_024;

/// How the host's own code in a state is called, which no author knows a line of.
pub(super) const HOST_CHUNK: &str = "[rumor]";

/// An error of a script, as its author sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptError {
    /// The file, below the script folder.
    pub file: String,
    /// The line, when it is known.
    pub line: Option<u32>,
    /// What went wrong.
    pub reason: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

impl std::error::Error for ScriptError {}

impl ScriptError {
    /// An error that belongs to no line.
    pub(super) fn of(file: &str, reason: &str) -> Self {
        Self { file: file.to_owned(), line: None, reason: clean_text(reason, REASON_MAX_BYTES) }
    }

    /// What Lua reported, with the location taken out of its text or its traceback.
    pub(super) fn from_lua(file: &str, error: &mlua::Error) -> Self {
        let mut cause = error;
        let mut trace = "";
        loop {
            match cause {
                mlua::Error::CallbackError { traceback, cause: inner } => {
                    trace = traceback;
                    cause = inner;
                }
                mlua::Error::WithContext { cause: inner, .. } => cause = inner,
                _ => break,
            }
        }
        let text = match cause {
            mlua::Error::SyntaxError { message, .. } => message.clone(),
            mlua::Error::RuntimeError(message) => message.clone(),
            mlua::Error::MemoryError(_) => "used more memory than its budget".to_owned(),
            other => other.to_string(),
        };
        let text = text.split("\nstack traceback:").next().unwrap_or_default();
        let text = without_host_location(text);
        if let Some((at, line, rest)) = leading_location(text) {
            return Self { line: Some(line), ..Self::of(at, rest) };
        }
        let mut error = Self::of(file, text);
        if let Some((at, line)) = trace.lines().find_map(location_in_trace) {
            error.file = at.to_owned();
            error.line = Some(line);
        }
        error
    }
}

/// A text without the place in the host's own code that called a handler: `error(reason, 2)` names it.
fn without_host_location(text: &str) -> &str {
    let Some((line, reason)) =
        text.strip_prefix(HOST_CHUNK).and_then(|rest| rest.strip_prefix(':')).and_then(|rest| rest.split_once(": "))
    else {
        return text;
    };
    if line.bytes().all(|byte| byte.is_ascii_digit()) { reason } else { text }
}

/// `commands/x.lua:12: reason`, taken apart.
fn leading_location(text: &str) -> Option<(&str, u32, &str)> {
    let end = text.find(".lua:")? + ".lua".len();
    let (file, rest) = text.split_at(end);
    let (line, reason) = rest.strip_prefix(':')?.split_once(": ")?;
    (!file.contains(['\n', ' '])).then_some((file, line.parse().ok()?, reason))
}

/// The place that a line of a traceback names.
fn location_in_trace(text: &str) -> Option<(&str, u32)> {
    let end = text.find(".lua:")? + ".lua".len();
    let file = text[..end].rsplit([' ', '\t', '"', '[']).next()?;
    let digits = text[end + 1..].split(|c: char| !c.is_ascii_digit()).next()?;
    Some((file, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_file_and_line() {
        let error = mlua::Error::runtime("bots/x.lua:12: attempt to index nil\nstack traceback:\n[C] in ?");
        let error = ScriptError::from_lua("bots/x.lua", &error);
        assert_eq!(error.to_string(), "bots/x.lua:12: attempt to index nil");
        for (text, shown) in [
            ("plain", "bots/x.lua: plain"),
            ("[rumor]:9: of the caller's level", "bots/x.lua: of the caller's level"),
            ("[rumor]:of the author's own: words", "bots/x.lua: [rumor]:of the author's own: words"),
        ] {
            let error = ScriptError::from_lua("bots/x.lua", &mlua::Error::runtime(text));
            assert_eq!(error.to_string(), shown);
        }
    }
}
