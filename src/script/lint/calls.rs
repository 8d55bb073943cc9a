//! What a source calls and names, found among its tokens. No parser: what isn't understood is left out.

use std::ops::Range;

use super::lexer::{Kind, Token};

/// What an argument or a field is, as far as it can be seen.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Arg {
    /// A string literal.
    Text(String),
    /// A string that is put together.
    SomeText,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// `nil`.
    Nil,
    /// A table: its named fields, and how many values have no name.
    Table(Vec<(String, Arg)>, Vec<Arg>),
    /// A function: its parameters, and at which token each stands.
    Function(Vec<(String, usize)>),
    /// Anything else; `...` and a call may be several values.
    Other,
    /// A call or `...`: as many values as there may be.
    Several,
}

impl Arg {
    /// Its type's name, where it is known.
    pub(super) fn type_name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Text(_) | Self::SomeText => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Nil => "nil",
            Self::Table(..) => "table",
            Self::Function(_) => "function",
            Self::Other | Self::Several => return None,
        })
    }
}

/// A chain of names, called or not: `rumor.http.get("…")`, `msg:reply(text)`, `rumor.me.nick`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Use {
    /// The names before a colon.
    pub(super) path: Vec<String>,
    /// The path of the call whose result this is a method of, `rumor.chat` in `rumor.chat("x"):send()`: `path` is empty
    /// then. Empty itself if that isn't known.
    pub(super) of: Option<Vec<String>>,
    /// The name behind the colon.
    pub(super) method: Option<String>,
    /// The arguments, if it is called.
    pub(super) args: Option<Vec<Arg>>,
    pub(super) line: u32,
    /// At which token it begins, and the first behind it.
    pub(super) tokens: Range<usize>,
}

/// Words that are no names.
const KEYWORDS: [&str; 21] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not", "or",
    "repeat", "return", "then", "true", "until", "while",
];

pub(super) fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&name)
}

/// Everything that is called or named, in the order of the source; what stands in arguments too.
pub(super) fn uses(tokens: &[Token]) -> Vec<Use> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = tokens[at].name().is_some_and(|name| !is_keyword(name))
            && !(at > 0 && (tokens[at - 1].is(".") || tokens[at - 1].is(":") || tokens[at - 1].is_word("function")));
        if !begins {
            found.extend(method_of_result(tokens, at, &found));
            at += 1;
            continue;
        }
        let (one, next) = chain(tokens, at);
        found.push(one);
        at = next;
    }
    found
}

/// The method of a call's result that is called at this colon.
fn method_of_result(tokens: &[Token], at: usize, found: &[Use]) -> Option<Use> {
    let name =
        tokens.get(at + 1).and_then(Token::name).filter(|_| tokens[at].is(":") && starts_arguments(tokens, at + 2))?;
    let before = at.checked_sub(1).map(|before| &tokens[before])?;
    if !(before.is(")") || before.is("}") || before.text().is_some()) {
        return None;
    }
    let call = found.iter().rev().find(|one| one.tokens.end == at && one.method.is_none() && one.args.is_some());
    Some(Use {
        path: Vec::new(),
        of: Some(call.map(|call| call.path.clone()).unwrap_or_default()),
        method: Some(name.to_owned()),
        args: Some(arguments(tokens, at + 2)),
        line: tokens[at].line,
        tokens: at..skip(tokens, at + 2),
    })
}

/// The chain that begins here, and the token behind its last name: arguments are looked at once more, for the chains in
/// them.
fn chain(tokens: &[Token], start: usize) -> (Use, usize) {
    let name = |at: usize| tokens.get(at).and_then(Token::name);
    let mut path = vec![name(start).unwrap_or_default().to_owned()];
    let mut at = start + 1;
    while tokens.get(at).is_some_and(|token| token.is("."))
        && let Some(part) = name(at + 1)
    {
        path.push(part.to_owned());
        at += 2;
    }
    let mut method = None;
    if tokens.get(at).is_some_and(|token| token.is(":"))
        && let Some(part) = name(at + 1)
        && starts_arguments(tokens, at + 2)
    {
        method = Some(part.to_owned());
        at += 2;
    }
    let args = starts_arguments(tokens, at).then(|| arguments(tokens, at));
    let end = if args.is_some() { skip(tokens, at) } else { at };
    (Use { path, of: None, method, args, line: tokens[start].line, tokens: start..end }, at)
}

fn starts_arguments(tokens: &[Token], at: usize) -> bool {
    tokens.get(at).is_some_and(|token| token.is("(") || token.is("{") || token.text().is_some())
}

fn arguments(tokens: &[Token], at: usize) -> Vec<Arg> {
    if tokens[at].is("(") {
        let close = skip(tokens, at).saturating_sub(1);
        return pieces(tokens, at + 1..close).into_iter().map(|piece| value(tokens, piece)).collect();
    }
    vec![value(tokens, at..skip(tokens, at))]
}

/// Whether an `if` here is an expression, which has no `end`.
fn is_expression(tokens: &[Token], at: usize) -> bool {
    at.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|before| match &before.kind {
        Kind::Mark(mark) => !matches!(*mark, ")" | "]" | "}" | ";"),
        Kind::Name(name) => matches!(name.as_str(), "return" | "and" | "or" | "not"),
        _ => false,
    })
}

/// By how much a token nests what follows.
fn nests(tokens: &[Token], at: usize) -> i32 {
    match &tokens[at].kind {
        Kind::Mark("(" | "{" | "[") => 1,
        Kind::Mark(")" | "}" | "]") => -1,
        Kind::Name(name) => match name.as_str() {
            "function" | "do" | "repeat" => 1,
            "if" if !is_expression(tokens, at) => 1,
            "end" | "until" => -1,
            _ => 0,
        },
        _ => 0,
    }
}

/// The first token behind the bracket, block or single token that begins here.
fn skip(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for at in start..tokens.len() {
        depth += nests(tokens, at);
        if depth <= 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// A range taken apart at its commas (and semicolons).
fn pieces(tokens: &[Token], range: Range<usize>) -> Vec<Range<usize>> {
    let (mut found, mut start, mut at) = (Vec::new(), range.start, range.start);
    while at < range.end {
        if tokens[at].is(",") || tokens[at].is(";") {
            found.push(start..at);
            start = at + 1;
            at += 1;
        } else if nests(tokens, at) > 0 {
            at = skip(tokens, at);
        } else {
            at += 1;
        }
    }
    if start < range.end {
        found.push(start..range.end);
    }
    found
}

/// What stands in a range.
fn value(tokens: &[Token], range: Range<usize>) -> Arg {
    let Some(first) = tokens.get(range.start).filter(|_| !range.is_empty()) else { return Arg::Other };
    let single = range.len() == 1;
    match &first.kind {
        Kind::Text(text) if single => Arg::Text(text.clone()),
        Kind::Text(_) if tokens[range.start + 1].is("..") => Arg::SomeText,
        Kind::Number if single => Arg::Number,
        Kind::Mark("-") if range.len() == 2 && tokens[range.start + 1].kind == Kind::Number => Arg::Number,
        Kind::Name(name) if single && (name == "true" || name == "false") => Arg::Boolean,
        Kind::Name(name) if single && name == "nil" => Arg::Nil,
        Kind::Name(name) if name == "function" && skip(tokens, range.start) == range.end => {
            Arg::Function(parameters(tokens, range.start + 1))
        }
        Kind::Mark("{") if skip(tokens, range.start) == range.end => table(tokens, range.start + 1..range.end - 1),
        Kind::Name(_) if tokens[range.end - 1].is(")") => Arg::Several,
        Kind::Mark("..") => Arg::Several,
        _ => Arg::Other,
    }
}

fn table(tokens: &[Token], range: Range<usize>) -> Arg {
    let (mut fields, mut list) = (Vec::new(), Vec::new());
    for piece in pieces(tokens, range) {
        let equals = piece.len() > 2 && tokens[piece.start + 1].is("=") && !tokens[piece.start + 2].is("=");
        match tokens[piece.start].name() {
            Some(name) if equals => fields.push((name.to_owned(), value(tokens, piece.start + 2..piece.end))),
            _ if tokens[piece.start].is("[") => {}
            _ => list.push(value(tokens, piece)),
        }
    }
    Arg::Table(fields, list)
}

/// The parameters of the function whose `(` is at or behind `at`, each with its token.
pub(super) fn parameters(tokens: &[Token], at: usize) -> Vec<(String, usize)> {
    let Some(open) = (at..tokens.len()).find(|at| tokens[*at].is("(")) else { return Vec::new() };
    let close = skip(tokens, open).saturating_sub(1);
    let first = |piece: Range<usize>| tokens[piece.start].name().map(|name| (name.to_owned(), piece.start));
    pieces(tokens, open + 1..close).into_iter().filter_map(first).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    fn shown(source: &str) -> Vec<String> {
        let uses = uses(&tokens(source)).into_iter().map(|one| {
            let method = one.method.map_or(String::new(), |method| format!(":{method}"));
            let args = one.args.map_or(String::new(), |args| format!("{args:?}"));
            format!("{}{method}{args}", one.path.join("."))
        });
        uses.collect()
    }

    #[test]
    fn calls_and_names_are_found_with_what_their_arguments_are() {
        assert_eq!(shown("local nick = rumor.me.nick"), ["nick", "rumor.me.nick"]);
        assert_eq!(
            shown("rumor.log.info(\"a\", 1, -1, true, nil)"),
            ["rumor.log.info[Text(\"a\"), Number, Number, Boolean, Nil]"]
        );
        assert_eq!(shown("msg:reply(`a{b}`)"), ["msg:reply[SomeText]", "b"]);
        assert_eq!(shown("rumor.chat('a'):send('b')"), ["rumor.chat[Text(\"a\")]", ":send[Text(\"b\")]"]);
        assert_eq!(shown("f(g(1), ...)"), ["f[Several, Several]", "g[Number]"]);
        assert_eq!(
            shown("rumor.script{ name = 'x', permissions = { \"send\" } }"),
            [
                "rumor.script[Table([(\"name\", Text(\"x\")), (\"permissions\", Table([], [Text(\"send\")]))], [])]",
                "name",
                "permissions"
            ]
        );
    }

    #[test]
    fn a_function_with_commas_in_it_is_one_argument() {
        let source = "rumor.on('message', function(msg, other: string)
            local a, b = 1, 2
            if a == b then return a, b end
            local c = if a then b else a
            for i, v in t do f(i, v) end
            repeat g() until a
        end, { once = true })";
        let tokens = tokens(source);
        let uses = uses(&tokens);
        let [Arg::Text(event), Arg::Function(params), Arg::Table(fields, _)] = uses[0].args.as_deref().unwrap() else {
            panic!("{:?}", uses[0]);
        };
        assert_eq!(event, "message");
        let names: Vec<_> = params.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["msg", "other"]);
        assert_eq!(fields, &[("once".to_owned(), Arg::Boolean)]);
    }

    #[test]
    fn what_is_cut_off_does_not_panic() {
        let whole = "rumor.on('message', function(msg) if x then f({ a = 1, [2] = 3 }) end end, {";
        for end in 0..=whole.len() {
            uses(&tokens(&whole[..end]));
        }
    }
}
