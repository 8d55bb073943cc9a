//! Typed lines: which command they name, and what completes them.

use std::sync::Arc;

use super::shared::{CommandSpec, Shared};

/// A command and the script that runs it.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) script: Arc<Shared>,
    pub(super) spec: CommandSpec,
    /// What follows the name.
    pub(super) rest: String,
}

/// What follows `name` in `line`, if the line begins with its words (case doesn't matter).
fn after_name<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = line.trim_start();
    for word in name.split(' ') {
        rest = rest.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        if rest[..end].to_lowercase() != word {
            return None;
        }
        rest = &rest[end..];
    }
    Some(rest)
}

/// The command with the longest name that a line begins with.
pub(super) fn find(line: &str, scripts: &[Arc<Shared>]) -> Option<Found> {
    let mut best: Option<(usize, Found)> = None;
    for script in scripts {
        for spec in &script.registered().commands {
            for name in std::iter::once(&spec.name).chain(&spec.aliases) {
                let Some(rest) = after_name(line, name) else { continue };
                if best.as_ref().is_none_or(|(len, _)| name.len() > *len) {
                    let found = Found { script: Arc::clone(script), spec: spec.clone(), rest: rest.trim().to_owned() };
                    best = Some((name.len(), found));
                }
            }
        }
    }
    best.map(|(_, found)| found)
}

/// The names close to what was typed, or all.
pub(super) fn close_names(line: &str, names: &[String]) -> Vec<String> {
    let typed: String = line.trim().to_lowercase().chars().take(64).collect();
    let first = typed.split_whitespace().next().unwrap_or_default();
    let is_close = |name: &&String| {
        (!typed.is_empty() && (name.starts_with(&typed) || name.split(' ').any(|word| word == first)))
            || distance(&typed, name) <= 2
            || distance(first, name) <= 2
    };
    let close: Vec<_> = names.iter().filter(is_close).cloned().collect();
    if close.is_empty() { names.to_vec() } else { close }
}

/// Edit distance (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let swap = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = swap.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// Where the argument that is being typed begins, and which one it is (from 0).
pub(super) struct Typed<'a> {
    /// Everything before it.
    pub(super) head: &'a str,
    /// It.
    pub(super) prefix: &'a str,
    /// Its position among the arguments.
    pub(super) index: usize,
}

/// The argument that is being typed after a command's name; the last that is completed takes the rest of the line,
/// since a chat's name may hold spaces. `None` while the name itself is typed.
pub(super) fn typed<'a>(line: &'a str, spec: &CommandSpec, arguments: usize) -> Option<Typed<'a>> {
    let rest = std::iter::once(&spec.name).chain(&spec.aliases).find_map(|name| after_name(line, name))?;
    if !rest.starts_with(char::is_whitespace) {
        return None;
    }
    let mut rest = rest.trim_start();
    let mut index = 0;
    while index + 1 < arguments
        && let Some(end) = rest.find(char::is_whitespace)
    {
        rest = rest[end..].trim_start();
        index += 1;
    }
    Some(Typed { head: &line[..line.len() - rest.len()], prefix: rest, index })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_matched_by_words() {
        assert_eq!(after_name("chat study", "chat"), Some(" study"));
        assert_eq!(after_name("CHAT study", "chat"), Some(" study"));
        assert_eq!(after_name("chats", "chat"), None);
        assert_eq!(after_name("  load   history x", "load history"), Some(" x"));
        assert_eq!(after_name("load", "load history"), None);
    }

    #[test]
    fn close_names_are_offered() {
        let names: Vec<String> = ["chat", "exit", "help", "load history", "show history"].map(String::from).into();
        assert_eq!(close_names("chta x", &names), ["chat"]);
        assert_eq!(close_names("load", &names), ["load history"]);
        assert_eq!(close_names("history", &names), ["load history", "show history"]);
        assert_eq!(close_names("frobnicate", &names), names);
    }

    #[test]
    fn edit_distance() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
