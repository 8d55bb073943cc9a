//! Definitions for luau-lsp.

use std::fmt::Write;

use super::super::api::table::{CLASSES, EVENTS, Field, Function, Type};
use super::{functions_in, namespaces, path};

/// Where handlers are registered.
const ON: &str = "rumor.on";
/// The name of its options' type.
const HANDLER_OPTIONS: &str = "HandlerOptions";

/// The definitions for luau-lsp: `--definitions=lua/types/rumor.d.luau`.
#[must_use]
pub fn luau() -> String {
    let mut out = String::from(
        "-- Definitions of the API for luau-lsp: --definitions=lua/types/rumor.d.luau\n\
         -- Made by `cargo xtask lua-api` from src/script/api/table; changes here are lost.\n",
    );
    for class in CLASSES {
        let _ = write!(out, "\n-- {}\nexport type {} = {{\n", class.doc, class.name);
        if class.name == "Args" {
            out.push_str("    [number]: string,\n");
        }
        for field in class.fields {
            let _ = writeln!(out, "    {}: {}, -- {}", field.name, field_type(field), field.doc);
        }
        for method in class.methods {
            let name = method.name.rsplit(':').next().unwrap_or(method.name);
            let _ = writeln!(out, "    {name}: {}, -- {}", signature(method, Some(class.name)), method.doc);
        }
        out.push_str("}\n");
    }
    if let Some(opts) = functions_in("").find(|function| function.name == ON).and_then(|on| on.params.last()) {
        let _ = write!(out, "\n-- How a handler is called.\nexport type {HANDLER_OPTIONS} = {}\n", type_of(&opts.kind));
    }
    out.push_str("\ndeclare rumor: {\n    me: Me,\n");
    for function in functions_in("") {
        member(&mut out, function, 1);
    }
    for namespace in namespaces() {
        let _ = writeln!(out, "    {namespace}: {{");
        for function in functions_in(namespace) {
            member(&mut out, function, 2);
        }
        out.push_str("    },\n");
    }
    out.push_str("}\n");
    out
}

fn member(out: &mut String, function: &Function, level: usize) {
    let indent = "    ".repeat(level);
    let (_, own) = path(function.name);
    let _ = writeln!(out, "{indent}-- {}", function.doc);
    match own {
        "on" => {
            let hint = "A handler best says what it takes, as in `function(msg: Message)`; for \"load\", `saved: any`.";
            let _ = writeln!(out, "{indent}-- {hint}\n{indent}on: {},", on());
        }
        "cron" => {
            // The options may be left out in the middle.
            let short = "(pattern: string, fn: () -> ()) -> Timer";
            let _ = writeln!(out, "{indent}cron: ({}) & ({short}),", signature(function, None));
        }
        own => {
            let _ = writeln!(out, "{indent}{own}: {},", signature(function, None));
        }
    }
}

/// `rumor.on`. Among several signatures Luau's new solver chooses by what it made of a handler's body alone, and so refuses
/// each `function(msg) … end` that does more with `msg` than to look at it. With one it works the other way round: a handler
/// that doesn't say what it takes gets what any event gives.
fn on() -> String {
    let names: Vec<_> = EVENTS.iter().map(|event| format!("\"{}\"", event.name)).collect();
    let mut given: Vec<&str> = Vec::new();
    for field in EVENTS.iter().flat_map(|event| event.params) {
        match field.kind {
            Type::Class(name) if !given.contains(&name) => given.push(name),
            _ => {}
        }
    }
    let (names, given) = (names.join(" | "), given.join(" & "));
    format!("(event: {names}, handler: (given: {given}) -> ...any, opts: {HANDLER_OPTIONS}?) -> Handle")
}

fn signature(function: &Function, class: Option<&str>) -> String {
    let mut params: Vec<_> = class.map(|class| format!("self: {class}")).into_iter().collect();
    params.extend(function.params.iter().map(|field| format!("{}: {}", field.name, field_type(field))));
    if function.variadic {
        params.push("...any".to_owned());
    }
    format!("({}) -> {}", params.join(", "), results(function.returns))
}

fn function_type(params: &[Field], returns: &[Type]) -> String {
    // A handler may take fewer arguments than it is given, and return less than is read, or nothing at all: for Luau that is
    // as many values as it likes, each of one of the types.
    let params: Vec<_> = params.iter().map(|field| format!("{}: {}", field.name, field_type(field))).collect();
    let mut kinds: Vec<String> = Vec::new();
    for kind in returns.iter().flat_map(alternatives) {
        let kind = type_of(kind);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let any = kinds.is_empty() || kinds.iter().any(|kind| kind == "any");
    let returns = if any { "any".to_owned() } else { format!("({})?", kinds.join(" | ")) };
    format!("({}) -> ...{returns}", params.join(", "))
}

/// The types that a value of this one may have, but for nil.
fn alternatives(kind: &Type) -> Vec<&Type> {
    match kind {
        Type::Maybe(inner) => alternatives(inner),
        Type::Either(kinds) => kinds.iter().flat_map(alternatives).collect(),
        kind => vec![kind],
    }
}

fn results(returns: &[Type]) -> String {
    match returns {
        [] => "()".to_owned(),
        [one] => type_of(one),
        many => format!("({})", many.iter().map(type_of).collect::<Vec<_>>().join(", ")),
    }
}

fn field_type(field: &Field) -> String {
    let kind = type_of(&field.kind);
    match &field.kind {
        Type::Any => kind,
        _ if field.optional => optional(&field.kind),
        _ => kind,
    }
}

fn optional(kind: &Type) -> String {
    let text = type_of(kind);
    match kind {
        Type::Either(_) | Type::OneOf(_) | Type::Function(..) => format!("({text})?"),
        _ => format!("{text}?"),
    }
}

fn type_of(kind: &Type) -> String {
    match kind {
        Type::Any => "any".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Bytes | Type::String => "string".to_owned(),
        Type::Number | Type::Between(..) | Type::Whole(..) => "number".to_owned(),
        Type::OneOf(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" | "),
        Type::List(inner, _) => format!("{{ {} }}", type_of(inner)),
        Type::Map(inner) => format!("{{ [string]: {} }}", type_of(inner)),
        Type::Record(fields) => {
            let fields: Vec<_> = fields.iter().map(|field| format!("{}: {}", field.name, field_type(field))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Type::Class(name) => (*name).to_owned(),
        Type::Function(params, returns) => function_type(params, returns),
        Type::Either(kinds) => {
            let part = |kind: &Type| match kind {
                Type::Function(..) => format!("({})", type_of(kind)),
                kind => type_of(kind),
            };
            kinds.iter().map(part).collect::<Vec<_>>().join(" | ")
        }
        Type::Maybe(inner) => optional(inner),
    }
}
