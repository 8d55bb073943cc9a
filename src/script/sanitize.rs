//! Texts that a script shows or registers, stripped of what could fool a terminal or its reader.

/// A text without control, escape and bidi characters; line feeds stay, tabs become spaces. Cut to `max` bytes.
pub(super) fn text(raw: &str, max: usize) -> String {
    let mut clean = String::with_capacity(raw.len().min(max));
    for c in raw.chars() {
        let c = if c == '\t' { ' ' } else { c };
        if (c != '\n' && c.is_control()) || is_deceptive(c) {
            continue;
        }
        if clean.len() + c.len_utf8() > max {
            break;
        }
        clean.push(c);
    }
    clean
}

/// The same on one line.
pub(super) fn line(raw: &str, max: usize) -> String {
    text(raw, max).replace('\n', " ")
}

/// Characters that reorder or hide others.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_what_a_terminal_obeys() {
        assert_eq!(text("a\x1b[31mb\u{9b}c\u{202e}d\ne\tf", 100), "a[31mbcd\ne f");
        assert_eq!(line("a\nb", 100), "a b");
        assert_eq!(text("äää", 5), "ää");
    }
}
