//! Values as people read them.

use std::fmt::Write as _;

use mlua::Value;

use super::convert::clean_text;

/// Deepest table that is shown.
const DEPTH_MAX: usize = 16;
/// Longest value that is shown, in bytes.
const SHOWN_MAX_BYTES: usize = 2_000;

/// A value as it would be written in Lua, cut when it is long. Runs no script code: metatables are not asked.
pub(crate) fn shown(value: &Value) -> String {
    let mut out = String::new();
    show(value, 0, &mut out);
    if out.len() > SHOWN_MAX_BYTES {
        out.truncate(out.floor_char_boundary(SHOWN_MAX_BYTES));
        out.push('…');
    }
    clean_text(&out, SHOWN_MAX_BYTES + 3)
}

fn show(value: &Value, depth: usize, out: &mut String) {
    if out.len() > SHOWN_MAX_BYTES {
        return;
    }
    let _ = match value {
        Value::Nil => write!(out, "nil"),
        Value::Boolean(flag) => write!(out, "{flag}"),
        Value::Integer(n) => write!(out, "{n}"),
        Value::Number(n) => write!(out, "{n}"),
        Value::String(text) => {
            let bytes = text.as_bytes();
            write!(out, "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX_BYTES)]))
        }
        Value::Table(table) if depth <= DEPTH_MAX => {
            let len = table.raw_len();
            let (mut list, mut fields) = (Vec::new(), Vec::new());
            for at in 1..=len {
                if list.iter().map(String::len).sum::<usize>() > SHOWN_MAX_BYTES {
                    break;
                }
                let mut item = String::new();
                show(&table.raw_get(at).unwrap_or(Value::Nil), depth + 1, &mut item);
                list.push(item);
            }
            let mut length = 0;
            for (key, value) in table.pairs::<Value, Value>().flatten() {
                let mut item = String::new();
                match &key {
                    #[allow(clippy::cast_precision_loss, reason = "no table is that long")]
                    Value::Number(n) if *n >= 1.0 && *n <= len as f64 && n.fract() == 0.0 => continue,
                    Value::Integer(n) if usize::try_from(*n).is_ok_and(|n| n >= 1 && n <= len) => continue,
                    Value::String(name) => {
                        let _ = write!(item, "{} = ", name.to_string_lossy());
                    }
                    other => {
                        item.push('[');
                        show(other, depth + 1, &mut item);
                        item.push_str("] = ");
                    }
                }
                show(&value, depth + 1, &mut item);
                length += item.len();
                fields.push(item);
                if length > SHOWN_MAX_BYTES {
                    break;
                }
            }
            // The order of fields is nobody's.
            fields.sort();
            list.append(&mut fields);
            write!(out, "{{{}}}", list.join(", "))
        }
        other => write!(out, "<{}>", other.type_name()),
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(code: &str) -> String {
        let lua = mlua::Lua::new();
        shown(&lua.load(code).eval::<Value>().unwrap())
    }

    #[test]
    fn values_are_shown_as_they_are_written() {
        assert_eq!(of("return nil"), "nil");
        assert_eq!(
            of("return { 1, 2.5, 'a\"b', x = true, [{}] = 1, f = print }"),
            "{1, 2.5, \"a\\\"b\", [{}] = 1, f = <function>, x = true}"
        );
        assert_eq!(of("return { { a = {} } }"), "{{a = {}}}");
        assert_eq!(of("return '\\27[31m'"), "\"\\u{1b}[31m\"");
    }

    #[test]
    fn what_is_long_deep_or_round_is_cut() {
        assert!(of("return string.rep('x', 100000)").len() <= SHOWN_MAX_BYTES + 3);
        assert!(of("local t = {} for n = 1, 100000 do t[n] = n end return t").len() <= SHOWN_MAX_BYTES + 3);
        assert!(of("local t = {} t.t = t return t").contains("<table>"));
    }
}
