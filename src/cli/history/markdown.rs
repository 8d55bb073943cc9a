//! A chat as Markdown, for people.

use std::fmt::Write as _;

use rumormill::room::{Opened, sanitize, sanitize_line};
use rumormill::ui::{date, time_of_day};

/// What opens the file.
pub(super) fn title(chat: &str) -> String {
    format!("# {}\n", escaped(&sanitize_line(chat)))
}

/// One message; `day` is the last one that got a heading.
pub(super) fn message(opened: &Opened, text: &str, day: &mut Option<String>) -> String {
    let mut out = String::new();
    let today = date(opened.time);
    if day.as_ref() != Some(&today) {
        // Writing to a String can't fail.
        let _ = write!(out, "\n## {today}\n");
        *day = Some(today);
    }
    let bot = if opened.bot { " (bot)" } else { "" };
    let nick = escaped(&sanitize_line(&opened.nick));
    let _ = write!(out, "\n**{nick}**\\#{}{bot} {}\n\n", opened.from.fingerprint(), time_of_day(opened.time));
    for line in sanitize(text).lines() {
        let line = escaped(line);
        let _ = writeln!(out, "> {line}  ");
    }
    out
}

/// A text that Markdown shows as it is: every character that could mean something to it stands behind a backslash.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && !matches!(c, ',' | '.' | ';' | ':' | '?' | '\'' | '"' | '/' | '%') {
            out.push('\\');
        }
        out.push(c);
    }
    // Digits with a full stop begin a list.
    match out.find(|c: char| !c.is_ascii_digit()) {
        Some(at) if at > 0 && out[at..].starts_with('.') => out.insert(at, '\\'),
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_is_markup() {
        assert_eq!(escaped("a *b* <script> [x](y) `z` # - + !"), r"a \*b\* \<script\> \[x\]\(y\) \`z\` \# \- \+ \!");
        assert_eq!(escaped("1. one, two: \"3\""), "1\\. one, two: \"3\"");
        assert_eq!(escaped("1.5"), "1\\.5");
        assert_eq!(escaped("Ünï ☂"), "Ünï ☂");
    }
}
