//! How a source uses the API, held against the table that describes it.

use std::collections::{BTreeMap, BTreeSet};

use super::calls::{Arg, Use, is_keyword, parameters, uses};
use super::lexer::{Token, tokens};
use crate::config::PERMISSIONS;
use crate::script::api::table::{CLASSES, Class, EVENTS, FUNCTIONS, Field, Function, Type};

/// Something wrong, and where.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub text: String,
}

/// What a local name stands for.
#[derive(Clone, PartialEq, Debug)]
enum Meaning {
    /// `local log = rumor.log`.
    Path(Vec<String>),
    /// An object of this class.
    Object(&'static str),
    /// Several things, or something else.
    Unknown,
}

/// How near a name must be to be offered in place of one that isn't there (Jaro-Winkler, 0 to 1).
const NEAR: f64 = 0.8;

/// Everything in a source that is wrong by the table, in the order of its lines.
#[must_use]
pub fn check_source(source: &str) -> Vec<Problem> {
    let tokens = tokens(source);
    let uses = uses(&tokens);
    let mut check = Check {
        tokens: &tokens,
        names: BTreeMap::new(),
        problems: BTreeSet::new(),
        needed: Vec::new(),
        perhaps: BTreeSet::new(),
    };
    check.bind(&uses);
    for one in &uses {
        check.use_of(one);
    }
    check.permissions(&uses);
    check.problems.into_iter().collect()
}

struct Check<'a> {
    tokens: &'a [Token],
    names: BTreeMap<String, Meaning>,
    problems: BTreeSet<Problem>,
    /// Permissions that are needed, and where.
    needed: Vec<(String, u32)>,
    /// Permissions that may be needed: the object of the call isn't known.
    perhaps: BTreeSet<&'static str>,
}

/// What a use comes to.
enum Target {
    Function(&'static Function),
    /// A function of the API that isn't there, or a field: what to say.
    Wrong(String),
    /// Nothing that can be checked.
    Open,
}

impl Check<'_> {
    fn say(&mut self, line: u32, text: String) {
        self.problems.insert(Problem { line, text });
    }

    /// Finds out what names stand for. A name that stands for two things stands for nothing.
    fn bind(&mut self, uses: &[Use]) {
        let starts: BTreeMap<usize, &Use> = uses.iter().map(|one| (one.tokens.start, one)).collect();
        let mut typed: BTreeMap<usize, &'static str> = BTreeMap::new();
        for at in 0..self.tokens.len() {
            // A handler's parameters have their classes from the call that it is handed to.
            if let Some(one) = starts.get(&at) {
                for (token, class) in self.handler_parameters(one) {
                    typed.insert(token, class);
                }
            }
            let token = &self.tokens[at];
            if token.is_word("function") {
                for (name, at) in parameters(self.tokens, at + 1) {
                    let meaning = typed.get(&at).copied().map_or(Meaning::Unknown, Meaning::Object);
                    self.mean(&name, meaning);
                }
            } else if token.is_word("local") && !self.word(at + 1, "function") {
                let (names, next) = self.names_from(at + 1);
                let value = self.tokens.get(next).filter(|token| token.is("=")).and_then(|_| starts.get(&(next + 1)));
                let first = value.map_or(Meaning::Unknown, |one| self.meaning_of(one, false));
                self.mean_all(&names, first, 0);
            } else if token.is_word("for") {
                let (names, next) = self.names_from(at + 1);
                let value = self.word(next, "in").then(|| starts.get(&(next + 1))).flatten();
                let second = value.map_or(Meaning::Unknown, |one| self.meaning_of(one, true));
                self.mean_all(&names, second, 1);
            }
        }
    }

    fn word(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is_word(word))
    }

    /// `a, b: T, c`: the names, and the token behind them.
    fn names_from(&self, mut at: usize) -> (Vec<String>, usize) {
        let mut names = Vec::new();
        while let Some(name) = self.tokens.get(at).and_then(Token::name).filter(|name| !is_keyword(name)) {
            names.push(name.to_owned());
            at += 1;
            if self.tokens.get(at).is_some_and(|token| token.is(":")) {
                at += 2;
            }
            if !self.tokens.get(at).is_some_and(|token| token.is(",")) {
                break;
            }
            at += 1;
        }
        (names, at)
    }

    fn mean_all(&mut self, names: &[String], known: Meaning, which: usize) {
        for (n, name) in names.iter().enumerate() {
            self.mean(name, if n == which { known.clone() } else { Meaning::Unknown });
        }
    }

    fn mean(&mut self, name: &str, meaning: Meaning) {
        let both = match self.names.get(name) {
            Some(before) if *before != meaning => Meaning::Unknown,
            _ => meaning,
        };
        self.names.insert(name.to_owned(), both);
    }

    /// What a value is, if it is one use and nothing more; of a loop, what it goes through.
    fn meaning_of(&self, one: &Use, each: bool) -> Meaning {
        let continues = self.tokens.get(one.tokens.end).is_some_and(|next| {
            [".", ":", "(", "[", "..", "?", "<", ">", "-"].iter().any(|mark| next.is(mark))
                || next.is_word("and")
                || next.is_word("or")
        });
        if continues {
            return Meaning::Unknown;
        }
        match (self.target(one), &one.args) {
            (Target::Function(function), Some(_)) => {
                let class = function.returns.first().and_then(|kind| class_of(kind, each));
                class.map_or(Meaning::Unknown, Meaning::Object)
            }
            (_, None) if !each => match self.full(&one.path) {
                Some(path) => Meaning::Path(path),
                None => Meaning::Unknown,
            },
            _ => Meaning::Unknown,
        }
    }

    /// The parameters of handlers in a call's arguments: their tokens and classes.
    fn handler_parameters(&self, one: &Use) -> Vec<(usize, &'static str)> {
        let (Target::Function(function), Some(args)) = (self.target(one), &one.args) else { return Vec::new() };
        let mut found = Vec::new();
        if function.name == "rumor.on"
            && let [Arg::Text(event), Arg::Function(given), ..] = args.as_slice()
            && let Some(event) = EVENTS.iter().find(|known| known.name == event)
        {
            pair(event.params, given, &mut found);
        }
        for (param, arg) in aligned(function, args) {
            functions_in(&param.kind, arg, &mut found);
        }
        found
    }

    /// A path from `rumor` on, through aliases.
    fn full(&self, path: &[String]) -> Option<Vec<String>> {
        let root = path.first()?;
        match self.names.get(root) {
            Some(Meaning::Path(before)) => Some(before.iter().chain(&path[1..]).cloned().collect()),
            None if root == "rumor" => Some(path.to_vec()),
            _ => None,
        }
    }

    fn target(&self, one: &Use) -> Target {
        if one.of.is_none()
            && let Some(path) = self.full(&one.path)
        {
            return api_target(&path, one.method.as_deref());
        }
        let class = match (&one.of, one.path.first().and_then(|root| self.names.get(root))) {
            (Some(call), _) => self.full(call).and_then(|path| match api_target(&path, None) {
                Target::Function(function) => function.returns.first().and_then(|kind| class_of(kind, false)),
                _ => None,
            }),
            (None, Some(Meaning::Object(class))) => Some(*class),
            _ => None,
        };
        let Some(class) = class else { return Target::Open };
        let mut class = class_named(class);
        for (n, field) in one.path.iter().enumerate().skip(1) {
            // An object's other fields are a script's own business, if it sets them.
            let equals = |at: usize| self.tokens.get(at).is_some_and(|token| token.is("="));
            let sets = n + 1 == one.path.len() && equals(one.tokens.end) && !equals(one.tokens.end + 1);
            let Some(known) = class.fields.iter().find(|known| known.name == field) else {
                let method = class.methods.iter().any(|method| method.name.ends_with(&format!(":{field}")));
                return match (sets || class.name == "Args", method) {
                    (true, _) => Target::Open,
                    (_, true) => Target::Wrong(format!("write {}:{field}(…), with a colon", one.path[..n].join("."))),
                    _ => Target::Wrong(format!("a {} has no {field:?}; it has: {}", class.name, members(class))),
                };
            };
            match class_of(&known.kind, false) {
                Some(next) => class = class_named(next),
                None => return Target::Open,
            }
        }
        let Some(method) = &one.method else { return Target::Open };
        match class.methods.iter().find(|known| known.name.ends_with(&format!(":{method}"))) {
            Some(function) => Target::Function(function),
            None => Target::Wrong(format!("a {} has no {method:?}; it has: {}", class.name, members(class))),
        }
    }

    fn use_of(&mut self, one: &Use) {
        match self.target(one) {
            Target::Wrong(text) => self.say(one.line, text),
            Target::Function(function) => {
                if let Some(needs) = function.needs {
                    self.needed.push((needs.to_owned(), one.line));
                }
                if let Some(args) = &one.args {
                    self.arguments(function, args, one.line);
                }
            }
            Target::Open => {
                let methods = CLASSES.iter().flat_map(|class| class.methods);
                if let Some(method) = &one.method {
                    let suffix = format!(":{method}");
                    self.perhaps.extend(methods.filter(|known| known.name.ends_with(&suffix)).filter_map(|m| m.needs));
                }
            }
        }
    }

    fn arguments(&mut self, function: &'static Function, args: &[Arg], line: u32) {
        let name = function.name;
        let open = args.last() == Some(&Arg::Several);
        if args.len() > function.params.len()
            && !function.variadic
            && !(open && args.len() == function.params.len() + 1)
        {
            let most = function.params.len();
            let what = if most == 1 { "argument" } else { "arguments" };
            return self.say(line, format!("{name}: takes at most {most} {what}, got {}", args.len()));
        }
        let pairs = aligned(function, args);
        for (param, arg) in &pairs {
            if let Err(text) = fits(&param.kind, arg, param.name, param.optional) {
                self.say(line, format!("{name}: {text}"));
            }
        }
        if !open {
            let given: Vec<_> = pairs.iter().map(|(param, _)| param.name).collect();
            for param in function.params.iter().filter(|param| !param.optional && !given.contains(&param.name)) {
                self.say(line, format!("{name}: {} must be {}, got nothing", param.name, wanted(&param.kind)));
            }
        }
        match (name, args) {
            ("rumor.on", [Arg::Text(event), ..]) => match EVENTS.iter().find(|known| known.name == event) {
                Some(event) => self.needed.extend(event.needs.map(|needs| (needs.to_owned(), line))),
                None => {
                    let valid: Vec<_> = EVENTS.iter().map(|event| event.name).collect();
                    self.say(line, format!("{name}: there is no event {event:?}; valid: {}", valid.join(", ")));
                }
            },
            ("rumor.http.get" | "rumor.http.post", [Arg::Text(url), ..]) => match host_of(url) {
                Some(host) => self.needed.push((format!("http:{host}"), line)),
                None => self.say(line, format!("{name}: {url:?} must be http://HOST/… or https://HOST/…")),
            },
            _ => {}
        }
    }

    /// Holds what is declared against what is needed.
    fn permissions(&mut self, uses: &[Use]) {
        let script = uses.iter().find(|one| self.full(&one.path).is_some_and(|path| path == ["rumor", "script"]));
        let fields = match script.and_then(|one| one.args.as_deref()) {
            Some([Arg::Table(fields, _)]) => fields.as_slice(),
            _ => &[],
        };
        let list = fields.iter().find_map(|(name, value)| (name == "permissions").then_some(value));
        let declared: Vec<&str> = match list {
            Some(Arg::Table(_, list)) => list
                .iter()
                .filter_map(|arg| match arg {
                    Arg::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            // What isn't written down literally can't be held against anything.
            Some(_) => return,
            None => Vec::new(),
        };
        let line = script.map_or(1, |one| one.line);
        for name in &declared {
            let host = name.strip_prefix("http:");
            if !PERMISSIONS.contains(name) && host.is_none_or(str::is_empty) {
                self.say(
                    line,
                    format!("there is no permission {name:?}; valid: {}, http:HOST", PERMISSIONS.join(", ")),
                );
                continue;
            }
            let asks_web = host.is_some()
                && uses.iter().any(|one| {
                    self.full(&one.path).is_some_and(|path| path.starts_with(&["rumor".to_owned(), "http".to_owned()]))
                        && !matches!(one.args.as_deref(), Some([Arg::Text(_), ..]))
                });
            let needed = self.needed.iter().any(|(needs, _)| covers(name, needs));
            if !needed && !asks_web && !self.perhaps.contains(name) {
                self.say(line, format!("{name:?} is declared, but nothing here needs it"));
            }
        }
        for (needs, at) in std::mem::take(&mut self.needed) {
            if !declared.iter().any(|name| covers(name, &needs)) {
                self.say(at, format!("this needs {needs:?}: add it to `permissions` of rumor.script"));
            }
        }
    }
}

/// Whether a declared permission is the one that is needed.
fn covers(declared: &str, needs: &str) -> bool {
    let host = |name: &str| name.strip_prefix("http:").map(str::to_ascii_lowercase);
    match (host(declared), host(needs)) {
        (Some(declared), Some(host)) => {
            let bare = declared.rsplit_once(':').map_or(declared.as_str(), |(name, _)| name);
            declared == "*"
                || declared == host
                || bare == host
                || declared.strip_prefix('*').is_some_and(|domain| host.ends_with(domain))
        }
        _ => declared == needs,
    }
}

/// The host of a web address.
fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#', ':']).next().filter(|host| !host.is_empty())?;
    matches!(scheme, "http" | "https").then(|| host.to_ascii_lowercase())
}

/// What a path below `rumor` is.
fn api_target(path: &[String], method: Option<&str>) -> Target {
    let name = path.join(".");
    if let Some(method) = method {
        return match FUNCTIONS.iter().any(|function| function.name == format!("{name}.{method}")) {
            true => Target::Wrong(format!("write {name}.{method}(…), with a dot")),
            false => Target::Wrong(format!("there is no {name}:{method}{}", near(&format!("{name}.{method}")))),
        };
    }
    if let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) {
        return Target::Function(function);
    }
    let inside = format!("{name}.");
    let me = path.get(1).is_some_and(|part| part == "me") && path.len() <= 3;
    if name == "rumor" || me || FUNCTIONS.iter().any(|function| function.name.starts_with(&inside)) {
        return Target::Open;
    }
    Target::Wrong(format!("there is no {name}{}", near(&name)))
}

/// The function that may have been meant.
fn near(name: &str) -> String {
    let scored = FUNCTIONS.iter().map(|function| (strsim::jaro_winkler(name, function.name), function.name));
    let best = scored.filter(|(score, _)| *score >= NEAR).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(String::new(), |(_, name)| format!("; did you mean {name}?"))
}

fn class_named(name: &str) -> &'static Class {
    CLASSES.iter().find(|class| class.name == name).expect("types name classes of the table")
}

fn members(class: &Class) -> String {
    let methods =
        class.methods.iter().filter_map(|method| method.name.rsplit_once(':')).map(|(_, name)| format!(":{name}()"));
    let fields = class.fields.iter().map(|field| format!(".{}", field.name));
    fields.chain(methods).collect::<Vec<_>>().join(", ")
}

/// The class of a value of this type, or of what is in the list that it is.
fn class_of(kind: &'static Type, each: bool) -> Option<&'static str> {
    match kind {
        Type::Class(name) if !each => Some(*name),
        Type::Maybe(inner) => class_of(inner, each),
        Type::List(inner, _) if each => class_of(inner, false),
        _ => None,
    }
}

/// Which argument is for which parameter: an optional table may be left out before a function.
fn aligned<'a>(function: &'static Function, args: &'a [Arg]) -> Vec<(&'static Field, &'a Arg)> {
    let mut pairs = Vec::new();
    let mut params = function.params.iter().peekable();
    for (n, arg) in args.iter().enumerate() {
        // In any other place it is one value.
        if *arg == Arg::Several && n + 1 == args.len() {
            break;
        }
        while matches!(arg, Arg::Function(_))
            && params.peek().is_some_and(|param| param.optional && matches!(param.kind, Type::Record(_)))
        {
            params.next();
        }
        let Some(param) = params.next() else { break };
        pairs.push((param, arg));
    }
    pairs
}

/// The functions in an argument, with the parameters that their type gives them.
fn functions_in(kind: &'static Type, arg: &Arg, found: &mut Vec<(usize, &'static str)>) {
    match (kind, arg) {
        (Type::Function(params, _), Arg::Function(given)) => pair(params, given, found),
        (Type::Either(kinds), _) => kinds.iter().for_each(|kind| functions_in(kind, arg, found)),
        (Type::Record(fields), Arg::Table(given, _)) => {
            for (name, value) in given {
                if let Some(field) = fields.iter().find(|field| field.name == name) {
                    functions_in(&field.kind, value, found);
                }
            }
        }
        _ => {}
    }
}

fn pair(params: &'static [Field], given: &[(String, usize)], found: &mut Vec<(usize, &'static str)>) {
    for (param, (_, token)) in params.iter().zip(given) {
        found.extend(class_of(&param.kind, false).map(|class| (*token, class)));
    }
}

/// What a type is called in a sentence.
fn wanted(kind: &Type) -> String {
    match kind {
        Type::Any | Type::Either(_) => "a value".to_owned(),
        Type::Boolean => "a boolean".to_owned(),
        Type::Bytes | Type::String => "a string".to_owned(),
        Type::Number | Type::Between(..) => "a number".to_owned(),
        Type::Whole(..) => "a whole number".to_owned(),
        Type::OneOf(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or "),
        Type::List(..) => "a list".to_owned(),
        Type::Record(_) | Type::Map(_) => "a table".to_owned(),
        Type::Class(name) => format!("a {name}"),
        Type::Function(..) => "a function".to_owned(),
        Type::Maybe(inner) => wanted(inner),
    }
}

/// Whether what can be seen of an argument fits a type.
fn fits(kind: &Type, arg: &Arg, what: &str, optional: bool) -> Result<(), String> {
    let Some(got) = arg.type_name() else { return Ok(()) };
    if *arg == Arg::Nil && optional {
        return Ok(());
    }
    let wrong = || Err(format!("{what} must be {}, got {got}", wanted(kind)));
    match (kind, arg) {
        (Type::Any, _) => Ok(()),
        (Type::Maybe(inner), _) => fits(inner, arg, what, true),
        (Type::Either(kinds), _) if kinds.iter().any(|kind| fits(kind, arg, what, optional).is_ok()) => Ok(()),
        (Type::Either(kinds), Arg::Table(..)) => {
            let table = kinds.iter().find(|kind| matches!(kind, Type::List(..) | Type::Record(_)));
            table.map_or_else(wrong, |kind| fits(kind, arg, what, optional))
        }
        (Type::OneOf(words), Arg::Text(text)) if !words.contains(&text.as_str()) => {
            Err(format!("{what} must be {}, got {text:?}", wanted(kind)))
        }
        (Type::List(inner, _), Arg::Table(_, list)) => {
            list.iter().enumerate().try_for_each(|(n, arg)| fits(inner, arg, &format!("{what}[{}]", n + 1), false))
        }
        (Type::Record(fields), Arg::Table(given, _)) => record(fields, given),
        (Type::Boolean, Arg::Boolean)
        | (Type::Bytes | Type::String | Type::OneOf(_), Arg::Text(_) | Arg::SomeText)
        | (Type::Number | Type::Between(..) | Type::Whole(..), Arg::Number)
        | (Type::Map(_) | Type::Class(_), Arg::Table(..))
        | (Type::Function(..), Arg::Function(_)) => Ok(()),
        _ => wrong(),
    }
}

fn record(fields: &[Field], given: &[(String, Arg)]) -> Result<(), String> {
    for (name, value) in given {
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            let valid: Vec<_> = fields.iter().map(|field| field.name).collect();
            return Err(format!("there is no field {name:?}; valid: {}", valid.join(", ")));
        };
        fits(&field.kind, value, name, field.optional)?;
    }
    match fields.iter().find(|field| !field.optional && !given.iter().any(|(name, _)| name == field.name)) {
        Some(field) => Err(format!("{} must be {}, got nothing", field.name, wanted(&field.kind))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(source: &str) -> Vec<String> {
        check_source(source).into_iter().map(|problem| format!("{}: {}", problem.line, problem.text)).collect()
    }

    const HEAD: &str = "rumor.script({ name = \"x\", permissions = { \"send\" } })\n";

    #[test]
    fn a_good_script_has_no_problems() {
        let source = format!(
            "{HEAD}local log = rumor.log
            rumor.on(\"message\", function(msg)
                if not msg.mine then
                    msg:reply(`hello {{msg.from.nick}}`)
                end
                log.info(\"said\", msg.text, 1)
            end, {{ bots = true }})
            rumor.cron(\"0 9 * * *\", function() for _, chat in rumor.chats() do chat:send(\"morning\") end end)
            rumor.command(\"x\", {{ complete = {{ \"%(chats)\", {{ \"a\" }} }}, run = function(ctx, args) ctx:print(args.rest) end }})
            rumor.after(math.max(0, 1), function() end)
            print(rumor.me.nick, ...)"
        );
        assert_eq!(said(&source), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_there_is_named_and_what_was_meant_offered() {
        let source = format!(
            "{HEAD}rumor.comand(\"x\", {{}})\nrumor.log.inform(1)\nlocal c = rumor.chat(\"a\")\nc:snd(\"x\")\nc.send(\"x\")\nc:send(\"x\")"
        );
        let said = said(&source);
        assert_eq!(said[0], "2: there is no rumor.comand; did you mean rumor.command?");
        assert!(said[1].starts_with("3: there is no rumor.log.inform; did you mean rumor.log.info?"), "{said:?}");
        assert!(said[2].starts_with("5: a Chat has no \"snd\"; it has: .name"), "{said:?}");
        assert_eq!(said[3], "6: write c:send(…), with a colon");
    }

    #[test]
    fn wrong_arguments_are_found_where_they_stand() {
        let said = said(
            "rumor.script({ name = 1 })
            rumor.command(\"x\", { params = 5, run = function() end })
            rumor.command(\"y\", { parms = \"\", run = function() end })
            rumor.command(\"z\", {})
            rumor.on(\"mesage\", function() end)
            rumor.on(\"message\")
            rumor.after(\"5\", function() end)
            rumor.chats(1)
            rumor.on(\"gap\", function(gap) print(gap.lost) end)
            rumor.chat:name()",
        );
        assert_eq!(said[0], "1: rumor.script: name must be a string, got number");
        assert_eq!(said[1], "2: rumor.command: params must be a string, got number");
        assert!(said[2].starts_with("3: rumor.command: there is no field \"parms\"; valid: params, "), "{said:?}");
        assert_eq!(said[3], "4: rumor.command: run must be a function, got nothing");
        assert!(said[4].starts_with("5: rumor.on: there is no event \"mesage\"; valid: send, "), "{said:?}");
        assert_eq!(said[5], "6: rumor.on: handler must be a function, got nothing");
        assert_eq!(said[6], "7: rumor.after: seconds must be a number, got string");
        assert_eq!(said[7], "8: rumor.chats: takes at most 0 arguments, got 1");
        assert!(said[8].starts_with("9: a Gap has no \"lost\""), "{said:?}");
        assert!(said[9].starts_with("10: there is no rumor.chat:name"), "{said:?}");
    }

    #[test]
    fn permissions_are_held_against_what_needs_them() {
        let source = "rumor.script({ permissions = { \"store\", \"http:a.org\", \"http:b.org\", \"bake\" } })
            rumor.on(\"receive\", function(msg) end)
            rumor.on(\"message\", function(msg) msg:reply(\"x\") end)
            rumor.http.get(\"https://b.org/x\")";
        assert_eq!(
            said(source),
            [
                "1: \"http:a.org\" is declared, but nothing here needs it",
                "1: \"store\" is declared, but nothing here needs it",
                "1: there is no permission \"bake\"; valid: send, filter, ui, store, history, files, relay, http:HOST",
                "2: this needs \"filter\": add it to `permissions` of rumor.script",
                "3: this needs \"send\": add it to `permissions` of rumor.script",
            ]
        );
        // A method of what isn't known may need it.
        assert!(
            said("rumor.script({ permissions = { \"send\" } })\nlocal function f(x) x:reply(\"y\") end").is_empty()
        );
        // Of a call's result it is known.
        let undeclared = said("rumor.script({ permissions = {} })\nrumor.chat(\"a\"):send(\"b\")");
        assert_eq!(undeclared, ["2: this needs \"send\": add it to `permissions` of rumor.script"]);
        // An address that isn't literal may be any.
        assert!(said("rumor.script({ permissions = { \"http:a.org\" } })\nlocal r = rumor.http.get(url)").is_empty());
    }
}
