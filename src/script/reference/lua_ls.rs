//! Definitions for lua-language-server.

use std::fmt::Write;

use super::super::api::table::{CLASSES, EVENTS, FUNCTIONS, Field, Function, Type};
use super::namespaces;

/// The definitions for lua-language-server: `lua/types/rumor.lua` in `workspace.library`.
#[must_use]
pub fn lua_ls() -> String {
    let mut out = String::from(
        "---@meta\n\
         -- Definitions of the API for lua-language-server: name this folder in `workspace.library`.\n\
         -- Made by `cargo xtask lua-api` from src/script/api/table; changes here are lost.\n",
    );
    for class in CLASSES {
        let _ = write!(out, "\n---{}\n---@class rumor.{}\n", class.doc, class.name);
        for field in class.fields {
            let mark = if field.optional { "?" } else { "" };
            let _ = writeln!(out, "---@field {}{mark} {} {}", field.name, type_of(&field.kind), field.doc);
        }
        if class.name == "Context" {
            // The methods of the terminal belong to a class of their own.
            out.push_str("local Context = {}\n");
        } else if !class.methods.is_empty() {
            let _ = writeln!(out, "local {} = {{}}", class.name);
        }
        for method in class.methods {
            let own = method.name.rsplit(':').next().unwrap_or(method.name);
            out.push('\n');
            describe(&mut out, method);
            let _ = writeln!(out, "function {}:{own}({}) end", class.name, names(method));
        }
    }
    out.push_str("\n---@class rumor\n---@field me rumor.Me\nrumor = {}\n");
    for namespace in namespaces() {
        let _ = writeln!(out, "rumor.{namespace} = {{}}");
    }
    for function in FUNCTIONS {
        out.push('\n');
        describe(&mut out, function);
        if function.name == "rumor.on" {
            let opts = function.params.last().map(|field| type_of(&field.kind)).unwrap_or_default();
            for event in EVENTS {
                let handler = function_type(event.params, event.returns);
                let _ = writeln!(
                    out,
                    "---@overload fun(event: \"{}\", handler: {handler}, opts?: {opts}): rumor.Handle",
                    event.name
                );
            }
        }
        if function.name == "rumor.cron" {
            out.push_str("---@overload fun(pattern: string, fn: fun()): rumor.Timer\n");
        }
        let _ = writeln!(out, "function {}({}) end", function.name, names(function));
    }
    out
}

fn describe(out: &mut String, function: &Function) {
    let _ = writeln!(out, "---{}", function.doc);
    if let Some(needs) = function.needs {
        let _ = writeln!(out, "---Needs the permission `{needs}`.");
    }
    if function.waits {
        out.push_str("---@async\n");
    }
    for field in function.params {
        let mark = if field.optional && function.name != "rumor.cron" { "?" } else { "" };
        let _ = writeln!(out, "---@param {}{mark} {} {}", field.name, type_of(&field.kind), field.doc);
    }
    if function.variadic {
        out.push_str("---@param ... any\n");
    }
    for kind in function.returns {
        let _ = writeln!(out, "---@return {}", type_of(kind));
    }
}

fn names(function: &Function) -> String {
    let mut names: Vec<_> = function.params.iter().map(|field| field.name).collect();
    if function.variadic {
        names.push("...");
    }
    names.join(", ")
}

fn function_type(params: &[Field], returns: &[Type]) -> String {
    let params: Vec<_> = params.iter().map(|field| format!("{}: {}", field.name, type_of(&field.kind))).collect();
    let returns: Vec<_> = returns.iter().map(type_of).collect();
    let returns = if returns.is_empty() { String::new() } else { format!(": {}", returns.join(", ")) };
    format!("fun({}){returns}", params.join(", "))
}

fn type_of(kind: &Type) -> String {
    match kind {
        Type::Any => "any".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Bytes | Type::String => "string".to_owned(),
        Type::Whole(..) => "integer".to_owned(),
        Type::Number | Type::Between(..) => "number".to_owned(),
        Type::OneOf(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join("|"),
        Type::List(inner, _) => format!("({})[]", type_of(inner)),
        Type::Map(inner) => format!("table<string, {}>", type_of(inner)),
        Type::Record(fields) => {
            let field = |field: &Field| {
                format!("{}{}: {}", field.name, if field.optional { "?" } else { "" }, type_of(&field.kind))
            };
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Type::Class(name) => format!("rumor.{name}"),
        Type::Function(params, returns) => function_type(params, returns),
        Type::Either(kinds) => kinds.iter().map(|kind| format!("({})", type_of(kind))).collect::<Vec<_>>().join("|"),
        Type::Maybe(inner) => format!("({})?", type_of(inner)),
    }
}
