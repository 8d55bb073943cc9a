//! Definitions for luau-lsp.

use std::fmt::Write;

use super::super::api::table::{CLASSES, EVENTS, Field, Function, Type};
use super::{functions_in, namespaces, path};

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
            let _ = writeln!(out, "{indent}on: {},", overloads(function));
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

/// `rumor.on`, one signature an event.
fn overloads(function: &Function) -> String {
    let opts = function.params.last().map(|field| type_of(&field.kind)).unwrap_or_default();
    let one = |event: &crate::script::api::table::Event| {
        let handler = function_type(event.params, event.returns);
        format!("((event: \"{}\", handler: {handler}, opts: {opts}?) -> Handle)", event.name)
    };
    EVENTS.iter().map(one).collect::<Vec<_>>().join(" & ")
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
    // A handler may take fewer arguments than it is given, and return what nobody reads.
    let params: Vec<_> = params.iter().map(|field| format!("{}: {}", field.name, field_type(field))).collect();
    let returns = if returns.is_empty() { "...any".to_owned() } else { results(returns) };
    format!("({}) -> {returns}", params.join(", "))
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
