//! Reading Rust just far enough to know which paths it names: tokens, `use` trees, modules, test code.

use std::collections::BTreeSet;

/// A token that matters to the rules. Comments are gone; literals have lost their text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    Ident(String),
    PathSep,
    Literal,
    Punct(char),
}

/// A token, its line, and whether it stands in code that only tests compile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    pub(crate) token: Token,
    pub(crate) line: usize,
    pub(crate) test: bool,
}

impl Placed {
    pub(crate) fn ident(&self) -> Option<&str> {
        if let Token::Ident(name) = &self.token { Some(name) } else { None }
    }

    pub(crate) fn is(&self, punct: char) -> bool {
        self.token == Token::Punct(punct)
    }
}

/// A path that the source names: `crate`-absolute when it is of this crate, else as it begins (`std`, `tokio`, a
/// local name). A `use` tree is spread into one path a leaf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) test: bool,
}

impl Named {
    /// Whether the path is this one, or lies below it.
    pub(crate) fn starts_with(&self, path: &str) -> bool {
        let mut own = self.segments.iter();
        path.split("::").all(|segment| own.next().is_some_and(|own| own == segment))
    }
}

/// A source file, read.
pub(crate) struct Source {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Placed>,
    pub(crate) named: Vec<Named>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut tokens = tokenize(text);
        let whole_file = is_test_file(path);
        mark_tests(&mut tokens, whole_file);
        let named = name_paths(&tokens, &module_of(path));
        Self { path: path.to_owned(), text: text.to_owned(), tokens, named }
    }

    /// The names that this file declares as modules: `use wire::X` beside `mod wire;` is no crate.
    pub(crate) fn own_modules(&self) -> BTreeSet<&str> {
        let pairs = self.tokens.windows(2);
        pairs.filter(|pair| pair[0].ident() == Some("mod")).filter_map(|pair| pair[1].ident()).collect()
    }
}

/// Files that only tests compile, by the names that they have here.
fn is_test_file(path: &str) -> bool {
    let mut parts = path.split('/');
    let file = parts.next_back().unwrap_or_default();
    file == "tests.rs" || file.ends_with("_tests.rs") || parts.any(|folder| folder == "tests" || folder == "benches")
}

/// `src/proto/wire.rs` is `crate::proto::wire`; `src/proto/mod.rs` is `crate::proto`; `src/proto/wire_tests.rs` is
/// included by `wire.rs`, as `crate::proto::wire::tests`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.split_once("src/").map_or("", |(_, inside)| inside);
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let inside = inside.strip_suffix("_tests").map_or_else(|| inside.to_owned(), |of| format!("{of}/tests"));
    let parts = inside.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main" | ""));
    std::iter::once("crate").chain(parts).map(str::to_owned).collect()
}

fn tokenize(text: &str) -> Vec<Placed> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        let begin = at;
        let token = match chars[at] {
            '/' if peek(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
                None
            }
            '/' if peek(at + 1) == '*' => {
                at = end_of_block_comment(&chars, at);
                None
            }
            '"' => {
                at = end_of_string(&chars, at);
                Some(Token::Literal)
            }
            '\'' => {
                // A lifetime has no closing quote behind its first character.
                if peek(at + 1) == '\\' || peek(at + 2) == '\'' {
                    at += if peek(at + 1) == '\\' { 3 } else { 2 };
                    while at < chars.len() && chars[at] != '\'' {
                        at += 1;
                    }
                }
                at += 1;
                (at > begin + 1).then_some(Token::Literal)
            }
            c if c.is_alphabetic() || c == '_' => {
                while peek(at).is_alphanumeric() || peek(at) == '_' {
                    at += 1;
                }
                let word: String = chars[begin..at].iter().collect();
                let raw = matches!(word.as_str(), "r" | "br" | "cr")
                    && (peek(at) == '"' || raw_string_hashes(&chars, at) > 0);
                let prefixed = matches!(word.as_str(), "b" | "c") && peek(at) == '"';
                if raw {
                    at = end_of_raw_string(&chars, at);
                    Some(Token::Literal)
                } else if prefixed {
                    at = end_of_string(&chars, at);
                    Some(Token::Literal)
                } else {
                    Some(Token::Ident(word))
                }
            }
            c if c.is_ascii_digit() => {
                while peek(at).is_alphanumeric() || peek(at) == '_' {
                    at += 1;
                }
                Some(Token::Literal)
            }
            ':' if peek(at + 1) == ':' => {
                at += 2;
                Some(Token::PathSep)
            }
            c => {
                at += 1;
                (!c.is_whitespace()).then_some(Token::Punct(c))
            }
        };
        if let Some(token) = token {
            tokens.push(Placed { token, line, test: false });
        }
        line += chars[begin..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn end_of_block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The number of `#` before the quote of a raw string; 0 when it is none (`r#type` is an identifier).
fn raw_string_hashes(chars: &[char], at: usize) -> usize {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) == Some(&'"') { hashes } else { 0 }
}

fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes = raw_string_hashes(chars, start);
    let mut at = start + hashes + 1;
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// Marks what follows `#[cfg(test)]`: up to the item's closing brace or semicolon.
fn mark_tests(tokens: &mut [Placed], whole_file: bool) {
    if whole_file {
        tokens.iter_mut().for_each(|token| token.test = true);
        return;
    }
    let pattern = [('#', ""), ('[', ""), (' ', "cfg"), ('(', ""), (' ', "test"), (')', ""), (']', "")];
    let mut at = 0;
    while at + pattern.len() <= tokens.len() {
        let here = pattern
            .iter()
            .zip(&tokens[at..])
            .all(|((punct, word), token)| if word.is_empty() { token.is(*punct) } else { token.ident() == Some(word) });
        if !here {
            at += 1;
            continue;
        }
        let mut depth = 0_i32;
        let mut end = at + pattern.len();
        while end < tokens.len() {
            match tokens[end].token {
                Token::Punct('{') => depth += 1,
                Token::Punct('}') => depth -= 1,
                _ => {}
            }
            let closes = depth == 0 && (tokens[end].is('}') || tokens[end].is(';'));
            end += 1;
            if closes {
                break;
            }
        }
        tokens[at..end].iter_mut().for_each(|token| token.test = true);
        at = end;
    }
}

fn name_paths(tokens: &[Placed], file_module: &[String]) -> Vec<Named> {
    let mut named = Vec::new();
    let mut depth = 0_usize;
    // Modules written inside this file, each with the depth of braces that it ends at.
    let mut inner: Vec<(String, usize)> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let module =
            || file_module.iter().cloned().chain(inner.iter().map(|(name, _)| name.clone())).collect::<Vec<_>>();
        match &tokens[at].token {
            Token::Punct('{') => depth += 1,
            Token::Punct('}') => {
                depth = depth.saturating_sub(1);
                inner.pop_if(|(_, ends)| *ends == depth);
            }
            Token::Ident(word) if word == "mod" => {
                if let (Some(name), true) =
                    (tokens.get(at + 1).and_then(Placed::ident), tokens.get(at + 2).is_some_and(|t| t.is('{')))
                {
                    inner.push((name.to_owned(), depth));
                }
            }
            Token::Ident(word) if word == "use" && !tokens.get(at + 1).is_some_and(|next| next.is('<')) => {
                let mut leaves = Vec::new();
                let end = use_tree(tokens, at + 1, &[], &mut leaves);
                let module = module();
                let (line, test) = (tokens[at].line, tokens[at].test);
                named.extend(leaves.into_iter().map(|path| Named { segments: absolute(path, &module), line, test }));
                at = end;
                continue;
            }
            Token::Ident(_) => {
                let mut segments = Vec::new();
                let (line, test) = (tokens[at].line, tokens[at].test);
                while let Some(name) = tokens.get(at).and_then(Placed::ident) {
                    segments.push(name.to_owned());
                    at += 1;
                    if tokens.get(at).is_some_and(|token| token.token == Token::PathSep)
                        && tokens.get(at + 1).is_some_and(|token| token.ident().is_some())
                    {
                        at += 1;
                    } else {
                        break;
                    }
                }
                if segments.len() > 1 {
                    let module = module();
                    named.push(Named { segments: absolute(segments, &module), line, test });
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    named
}

/// Spreads the tree at `at` into leaves, and returns where it ends.
fn use_tree(tokens: &[Placed], mut at: usize, prefix: &[String], leaves: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while at < tokens.len() {
        match &tokens[at].token {
            Token::Ident(word) if word == "as" => at += 2,
            Token::Ident(word) => {
                path.push(word.clone());
                at += 1;
            }
            Token::PathSep => at += 1,
            Token::Punct('*') => {
                path.push("*".to_owned());
                at += 1;
            }
            Token::Punct('{') => {
                at += 1;
                while at < tokens.len() && !tokens[at].is('}') {
                    at = use_tree(tokens, at, &path, leaves);
                    if tokens.get(at).is_some_and(|token| token.is(',')) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            _ => break,
        }
    }
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    leaves.push(path);
    at
}

/// Resolves `self` and `super`; `rumormill`, as the binary names the library, is `crate`.
fn absolute(segments: Vec<String>, module: &[String]) -> Vec<String> {
    let mut base = match segments[0].as_str() {
        "self" | "super" => module.to_vec(),
        "rumormill" => vec!["crate".to_owned()],
        _ => return segments,
    };
    for segment in segments {
        match segment.as_str() {
            "self" | "rumormill" => {}
            "super" => {
                base.truncate(base.len().saturating_sub(1).max(1));
            }
            _ => base.push(segment),
        }
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &str, text: &str) -> Vec<String> {
        Source::new(path, text).named.iter().map(|named| named.segments.join("::")).collect()
    }

    #[test]
    fn use_trees_are_spread() {
        let text = "use std::{fs, io::{self, Read as _}, net::*};\npub(crate) use crate::room::Secret as S;";
        assert_eq!(
            paths("src/x.rs", text),
            ["std::fs", "std::io", "std::io::Read", "std::net::*", "crate::room::Secret"]
        );
    }

    #[test]
    fn super_is_resolved_from_the_file_and_from_inner_modules() {
        assert_eq!(paths("src/proto/mod.rs", "use super::node::X;"), ["crate::node::X"]);
        assert_eq!(paths("src/proto/wire.rs", "use super::peers::X;"), ["crate::proto::peers::X"]);
        assert_eq!(
            paths("src/proto/wire.rs", "mod a { use super::super::X; } fn f() { super::super::ui::g() }"),
            ["crate::proto::X", "crate::ui::g"]
        );
        assert_eq!(paths("src/room/seal_tests.rs", "use super::super::testing::X;"), ["crate::room::testing::X"]);
        assert_eq!(paths("src/main.rs", "rumormill::node::start()"), ["crate::node::start"]);
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        let text = r###"// std::fs::read
            /* a::b /* c::d */ e::f */ let x = "g::h \" i::j"; let y = r#"k::l " m::n"#; let z = ('"', '\'', b"o::p");
            /// q::r
            fn f<'a>(x: &'a str) -> s::t {}"###;
        assert_eq!(paths("src/x.rs", text), ["s::t"]);
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let source = Source::new("src/x.rs", "\"a\n b\";\n/* \n */ std::fs::read();\n// x\nstd::fs::write()");
        let lines: Vec<_> = source.named.iter().map(|named| named.line).collect();
        assert_eq!(lines, [4, 6]);
    }

    #[test]
    fn test_code_is_known_by_its_attribute_and_by_its_file() {
        let text =
            "fn a() { x::y() }\n#[cfg(test)]\nmod tests { fn b() { z::w() } }\n#[cfg(test)]\nmod c;\nfn d() { e::f() }";
        let tests = |path: &str| Source::new(path, text).named.iter().map(|named| named.test).collect::<Vec<_>>();
        assert_eq!(tests("src/x.rs"), [false, true, false]);
        assert_eq!(tests("src/x/tests.rs"), [true, true, true]);
    }
}
