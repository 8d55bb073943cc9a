//! The reference in `lua/README.md`.

use std::fmt::Write;

use super::super::api::table::{CLASSES, EVENTS, FUNCTIONS, Field, Function, Type};

/// The reference: functions, events, objects.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from("### Functions\n\n| call | returns | needs | what it does |\n|---|---|---|---|\n");
    for function in FUNCTIONS {
        row(&mut out, function);
    }
    for function in FUNCTIONS {
        for field in function.params {
            options(&mut out, function, field);
        }
    }
    out.push_str("\n### Events\n\n| event | handler gets | may wait | what it is |\n|---|---|---|---|\n");
    for event in EVENTS {
        let params: Vec<_> = event.params.iter().map(|field| short(&field.kind)).collect();
        let wait = if event.may_wait { "yes" } else { "no" };
        let needs = event.needs.map(|needs| format!(" Needs `{needs}`.")).unwrap_or_default();
        let params = if params.is_empty() { "nothing".to_owned() } else { params.join(", ") };
        let _ = writeln!(out, "| `{}` | {params} | {wait} | {}{needs} |", event.name, cell(event.doc));
    }
    out.push_str("\n### Objects\n");
    for class in CLASSES {
        let _ = write!(out, "\n**{}** (`{}`): {}\n", class.name, class.variable, class.doc);
        if !class.fields.is_empty() {
            out.push_str("\n| field | type | what it is |\n|---|---|---|\n");
            fields(&mut out, class.fields);
        }
        if !class.methods.is_empty() {
            out.push_str("\n| call | returns | needs | what it does |\n|---|---|---|---|\n");
            for method in class.methods {
                row(&mut out, method);
            }
            for method in class.methods {
                for field in method.params {
                    options(&mut out, method, field);
                }
            }
        }
    }
    out
}

fn row(out: &mut String, function: &Function) {
    let mut params = String::new();
    for field in function.params {
        if !params.is_empty() {
            params.push_str(", ");
        }
        params.push_str(field.name);
        if field.optional {
            params.push('?');
        }
    }
    if function.variadic {
        params.push_str(if params.is_empty() { "…" } else { ", …" });
    }
    let returns: Vec<_> = function.returns.iter().map(short).collect();
    let needs = function.needs.map(|needs| format!("`{needs}`")).unwrap_or_default();
    let waits = if function.waits { "*Waits.* " } else { "" };
    let _ = writeln!(
        out,
        "| `{}({params})` | {} | {needs} | {waits}{} |",
        function.name,
        returns.join(", "),
        cell(function.doc)
    );
}

/// A parameter that is a table of options, if it is one.
fn options(out: &mut String, function: &Function, field: &Field) {
    let Type::Record(list) = &field.kind else { return };
    let _ = write!(out, "\n`{}` of `{}`:\n\n| field | type | what it is |\n|---|---|---|\n", field.name, function.name);
    fields(out, list);
}

fn fields(out: &mut String, list: &[Field]) {
    for field in list {
        let optional = if field.optional { "?" } else { "" };
        let _ = writeln!(out, "| `{}{optional}` | {} | {} |", field.name, short(&field.kind), cell(field.doc));
    }
}

/// A type in a word or two.
fn short(kind: &Type) -> String {
    match kind {
        Type::Any => "anything".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Bytes | Type::String => "string".to_owned(),
        Type::Number => "number".to_owned(),
        Type::Between(min, max) => format!("number, {min} to {max}"),
        Type::Whole(min, max) => format!("whole number, {min} to {max}"),
        Type::OneOf(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or "),
        Type::List(inner, _) => format!("list of {}", short(inner)),
        Type::Map(inner) => format!("table of {} by name", short(inner)),
        Type::Record(_) => "table".to_owned(),
        Type::Class(name) => (*name).to_owned(),
        Type::Function(params, _) => {
            let params: Vec<_> = params.iter().map(|field| field.name).collect();
            format!("function({})", params.join(", "))
        }
        Type::Either(kinds) => kinds.iter().map(short).collect::<Vec<_>>().join(" or "),
        Type::Maybe(inner) => format!("{} or nil", short(inner)),
    }
}

/// A text inside a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
