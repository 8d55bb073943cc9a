//! Where in the text of a config a field stands, and which field stands at a place.
//!
//! Serde forgets positions and, for the checks that span several fields, never had them; so the text is walked once more
//! when there is something to report.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Deepest nesting that is walked.
const DEPTH_MAX: usize = 64;

/// One value of the text.
#[derive(Debug, Default)]
pub(super) struct Node {
    name: Name,
    /// Where its key stands (empty for elements of an array).
    key: Range<usize>,
    /// Where its value stands.
    value: Range<usize>,
    children: Vec<Node>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Name {
    #[default]
    Root,
    Key(String),
    Index(usize),
}

impl Node {
    /// Walks a TOML text; an empty tree if it is malformed.
    pub(super) fn toml(text: &str) -> Self {
        match DeTable::parse(text) {
            Ok(table) => Self { value: 0..text.len(), children: toml_children(table.get_ref(), 0), ..Self::default() },
            Err(_) => Self { value: 0..text.len(), ..Self::default() },
        }
    }

    /// Walks a JSON text, as far as it is well-formed.
    pub(super) fn json(text: &str) -> Self {
        let mut walk = JsonWalk { text: text.as_bytes(), at: 0 };
        let mut root = walk.value(0).unwrap_or_default();
        root.value = 0..text.len();
        root
    }

    /// Where the field of that path stands, as a byte offset: its key, or the value of an array's element. The
    /// nearest parent that is there, for a field that isn't.
    pub(super) fn offset_of(&self, path: &str) -> Option<usize> {
        let mut node = self;
        for step in steps(path) {
            match node.children.iter().find(|child| child.name == step) {
                Some(child) => node = child,
                None => break,
            }
        }
        (node.name != Name::Root).then_some(if node.key.is_empty() { node.value.start } else { node.key.start })
    }

    /// The path of the innermost field at a byte offset.
    pub(super) fn path_at(&self, offset: usize) -> String {
        let mut best = (usize::MAX, String::new());
        self.search(offset, "", &mut best);
        best.1
    }

    fn search(&self, offset: usize, path: &str, best: &mut (usize, String)) {
        let path = match &self.name {
            Name::Root => String::new(),
            Name::Key(key) if path.is_empty() => key.clone(),
            Name::Key(key) => format!("{path}.{key}"),
            Name::Index(index) => format!("{path}[{index}]"),
        };
        for span in [&self.key, &self.value] {
            // The end counts too: JSON errors point just behind the value.
            if span.start <= offset && offset <= span.end && span.len() <= best.0 {
                *best = (span.len(), path.clone());
            }
        }
        for child in &self.children {
            child.search(offset, &path, best);
        }
    }
}

/// Line and column, both from 1, of a byte offset; the column counts characters.
pub(super) fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The byte offset of a line and column as serde_json counts them: lines from 1, columns in bytes, 0 for a line's start.
pub(super) fn offset_of_line(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (start + column.saturating_sub(1)).min(text.len())
}

fn steps(path: &str) -> impl Iterator<Item = Name> {
    path.split(['.', '[']).filter(|step| !step.is_empty()).map(|step| {
        match step.strip_suffix(']').and_then(|index| index.parse().ok()) {
            Some(index) => Name::Index(index),
            None => Name::Key(step.to_owned()),
        }
    })
}

fn toml_children(table: &DeTable<'_>, depth: usize) -> Vec<Node> {
    table
        .iter()
        .map(|(key, value)| Node {
            name: Name::Key(key.get_ref().to_string()),
            key: key.span(),
            value: value.span(),
            children: toml_value(value.get_ref(), depth + 1),
        })
        .collect()
}

fn toml_value(value: &DeValue<'_>, depth: usize) -> Vec<Node> {
    match value {
        _ if depth > DEPTH_MAX => Vec::new(),
        DeValue::Table(table) => toml_children(table, depth),
        DeValue::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| Node {
                name: Name::Index(index),
                key: 0..0,
                value: item.span(),
                children: toml_value(item.get_ref(), depth + 1),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Walks JSON for positions alone; whether it is valid was decided by serde_json.
struct JsonWalk<'a> {
    text: &'a [u8],
    at: usize,
}

impl JsonWalk<'_> {
    fn value(&mut self, depth: usize) -> Option<Node> {
        self.space();
        let start = self.at;
        let children = match self.text.get(self.at)? {
            _ if depth > DEPTH_MAX => return None,
            b'{' => self.members(depth, true),
            b'[' => self.members(depth, false),
            b'"' => self.string().map(|_| Vec::new())?,
            _ => {
                while self.text.get(self.at).is_some_and(|b| !b",]} \t\r\n".contains(b)) {
                    self.at += 1;
                }
                Vec::new()
            }
        };
        Some(Node { value: start..self.at, children, ..Node::default() })
    }

    /// The members of an object, or the elements of an array; what was read before the text ends or breaks.
    fn members(&mut self, depth: usize, object: bool) -> Vec<Node> {
        let mut children = Vec::new();
        self.at += 1;
        loop {
            self.space();
            match self.text.get(self.at) {
                Some(b'}' | b']') => {
                    self.at += 1;
                    return children;
                }
                Some(b',') => self.at += 1,
                Some(_) => match self.member(children.len(), depth, object) {
                    Some(child) => children.push(child),
                    None => return children,
                },
                None => return children,
            }
        }
    }

    fn member(&mut self, index: usize, depth: usize, object: bool) -> Option<Node> {
        let before = self.at;
        if !object {
            let node = self.value(depth + 1)?;
            return (self.at > before).then_some(Node { name: Name::Index(index), ..node });
        }
        let key = self.string()?;
        let span = before..self.at;
        self.space();
        if self.text.get(self.at) != Some(&b':') {
            return None;
        }
        self.at += 1;
        let node = self.value(depth + 1)?;
        Some(Node { name: Name::Key(key), key: span, ..node })
    }

    fn string(&mut self) -> Option<String> {
        if self.text.get(self.at) != Some(&b'"') {
            return None;
        }
        let start = self.at + 1;
        self.at = start;
        loop {
            match self.text.get(self.at)? {
                b'\\' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at - 1).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str =
        "name = \"a\"\n\n[[chats]]\nname = \"x\"\nsecret = \"s\"\n[[chats]]\nname = \"y\"\n[lua]\nfolder = 3\n";
    const JSON: &str =
        "{\n \"name\": \"a\\\"}\",\n \"chats\": [ {\"name\": \"x\"},\n  {\"name\": \"y\", \"secret\": 5} ] }";

    #[test]
    fn finds_fields_in_toml() {
        let tree = Node::toml(TOML);
        let at = |path| tree.offset_of(path).map(|offset| line_column(TOML, offset));
        assert_eq!(at("name"), Some((1, 1)));
        assert_eq!(at("chats[0].secret"), Some((5, 1)));
        assert_eq!(at("chats[1].name"), Some((7, 1)));
        assert_eq!(at("chats[1].secret").map(|(line, _)| line), Some(6), "a missing field: its table");
        assert_eq!(at("nothing"), None);
        assert_eq!(tree.path_at(TOML.find("3\n").unwrap_or_default()), "lua.folder");
    }

    #[test]
    fn finds_fields_in_json() {
        let tree = Node::json(JSON);
        let at = |path| tree.offset_of(path).map(|offset| line_column(JSON, offset));
        assert_eq!(at("name"), Some((2, 2)));
        assert_eq!(at("chats[1].secret"), Some((4, 17)));
        assert_eq!(tree.path_at(JSON.find('5').unwrap_or_default()), "chats[1].secret");
    }

    #[test]
    fn broken_texts_give_what_there_is() {
        for end in 0..JSON.len() {
            let _ = Node::json(&JSON[..end]);
        }
        let _ = Node::json(&"[".repeat(10_000));
        let _ = Node::json("{\"a\" \"b\", }");
        assert_eq!(Node::toml("= 3").path_at(0), "");
        assert_eq!(line_column("ä\nöx", 5), (2, 2));
        assert_eq!(line_column("a", 99), (1, 2));
    }
}
