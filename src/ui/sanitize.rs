//! The last gate before the terminal: no control, escape or bidi character passes, whoever wrote the text.

/// The text without such characters; line feeds stay, tabs become spaces.
pub(super) fn text(raw: &str) -> String {
    raw.chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| *c == '\n' || !(c.is_control() || deceives(*c)))
        .collect()
}

/// The same on one line.
pub(super) fn line(raw: &str) -> String {
    text(raw).replace('\n', " ")
}

/// Characters that reorder or hide others.
fn deceives(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_passes() {
        assert_eq!(text("a\u{1b}[31mb\u{9b}c\u{202e}d\ne\tf\r\0"), "a[31mbcd\ne f");
        assert_eq!(line("a\nb"), "a b");
        assert_eq!(text("Zoë 🦀 שלום"), "Zoë 🦀 שלום");
    }
}
