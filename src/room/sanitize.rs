//! Others' texts, made fit for a terminal and for the eye.
//!
//! Taken out: all control characters (C0, C1, DEL; so no escape sequence survives), characters that turn the direction
//! of writing, characters that can't be seen and could make two names look alike, and noncharacters. Kept: line feeds
//! (tabs become spaces; line and paragraph separators, vertical tabs, form feeds and carriage returns become line feeds), and
//! of the invisible ones those that languages and emoji need: the zero-width joiner and non-joiner between two visible
//! characters, and one variation selector after a visible one.

use std::borrow::Cow;

const ZWNJ: char = '\u{200C}';
const ZWJ: char = '\u{200D}';
/// Most combining marks on one character. Languages need up to four or five; more climb over the lines above.
const MARKS_MAX: usize = 8;

/// Makes a text of several lines fit to be shown. Borrows when nothing had to change.
#[must_use]
pub fn sanitize(text: &str) -> Cow<'_, str> {
    clean(text, '\n')
}

/// Makes a text fit to be shown on one line, such as a nick: what would break the line becomes a space, and spaces at
/// both ends are cut.
#[must_use]
pub fn sanitize_line(text: &str) -> Cow<'_, str> {
    match clean(text, ' ') {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(' ')),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(' ').to_owned()),
    }
}

fn clean(text: &str, line_break: char) -> Cow<'_, str> {
    if text.bytes().all(|b| (b' '..=b'~').contains(&b) || (b == b'\n' && line_break == '\n')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut marks = 0;
    // Whether the last character written is one that a joiner or a selector may follow.
    let mut joinable = false;
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => continue,
            '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                out.push(line_break);
                joinable = false;
            }
            '\t' => {
                out.push(' ');
                joinable = false;
            }
            ZWNJ | ZWJ => {
                if joinable && chars.peek().is_some_and(|&next| is_visible(next)) {
                    out.push(c);
                    joinable = false;
                }
            }
            '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}' => {
                if joinable && !out.chars().next_back().is_some_and(is_selector) {
                    out.push(c);
                }
            }
            _ if is_mark(c) => {
                marks += 1;
                if marks <= MARKS_MAX {
                    out.push(c);
                }
                continue;
            }
            _ if is_hidden(c) => continue,
            _ => {
                out.push(c);
                joinable = is_visible(c);
            }
        }
        marks = 0;
    }
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

const fn is_selector(c: char) -> bool {
    matches!(c, '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}')
}

/// Combining marks of the blocks that texts are "zalgoed" with. The marks of single scripts aren't counted: they take
/// turns with letters.
const fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{034E}' | '\u{0350}'..='\u{036F}' | '\u{0483}'..='\u{0489}' | '\u{1AB0}'..='\u{1AFF}'
        | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}')
}

fn is_visible(c: char) -> bool {
    !matches!(c, ' ' | '\n' | ZWNJ | ZWJ) && !is_hidden(c)
}

/// Characters that are never shown: controls, and what Unicode calls format or default-ignorable characters, bar those
/// that [`clean`] judges by their neighbours; and blanks that look like nothing at all.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}'                    // soft hyphen
            | '\u{034F}'                  // combining grapheme joiner
            | '\u{061C}'                  // Arabic letter mark (direction)
            | '\u{115F}' | '\u{1160}'     // Hangul fillers
            | '\u{17B4}' | '\u{17B5}'     // Khmer inherent vowels
            | '\u{180B}'..='\u{180F}'     // Mongolian selectors and vowel separator
            | '\u{200B}'                  // zero-width space
            | '\u{200E}' | '\u{200F}'     // direction marks
            | '\u{202A}'..='\u{202E}'     // direction embeddings and overrides
            | '\u{2060}'..='\u{206F}'     // word joiner, invisible operators, direction isolates, deprecated ones
            | '\u{2800}'                  // blank Braille pattern
            | '\u{3164}' | '\u{FFA0}'     // Hangul fillers
            | '\u{FDD0}'..='\u{FDEF}'     // noncharacters
            | '\u{FEFF}'                  // byte order mark
            | '\u{FFF0}'..='\u{FFFB}'     // interlinear annotations, reserved
            | '\u{FFFE}' | '\u{FFFF}'
            | '\u{13430}'..='\u{1343F}'   // Egyptian hieroglyph format controls
            | '\u{1BCA0}'..='\u{1BCA3}'   // shorthand format controls
            | '\u{1D173}'..='\u{1D17A}'   // musical format controls
            | '\u{E0000}'..='\u{E00FF}'   // tags: a hidden copy of ASCII
            | '\u{E01F0}'..='\u{E0FFF}')
        // The last two code points of every plane.
        || (c as u32) & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn leaves_what_people_write_as_it_is() {
        for text in [
            "plain words, and a second line\nhere",
            "naïve Ærø Ħal Saflieni",
            "हिन्दी, नेपाली, क्‍ष",
            "می‌خواهم",
            "שלום, مرحبا",
            "日本語 한국어",
            "👩‍👩‍👧 🏳️‍🌈 ❤️ 👍🏽 🇲🇹",
            "cafe\u{301}",
        ] {
            assert!(matches!(sanitize(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }

    #[test]
    fn takes_out_what_may_not_reach_a_terminal() {
        for (given, shown) in [
            ("\x1b[2J\x1b]0;title\x07clear", "[2J]0;titleclear"),
            ("\u{9b}31mred\u{9d}", "31mred"),
            ("bell\x07 back\x08space\x7f nul\0", "bell backspace nul"),
            ("tab\tbed", "tab bed"),
            ("one\r\ntwo\rthree\u{2028}four\u{2029}five\u{85}six", "one\ntwo\nthree\nfour\nfive\nsix"),
            ("user\u{202E}gpj.exe\u{202C}", "usergpj.exe"),
            ("\u{2066}a\u{2067}b\u{2068}c\u{2069}\u{200E}\u{200F}\u{061C}", "abc"),
            ("al\u{200B}ice\u{FEFF}\u{2060}\u{AD}", "alice"),
            ("\u{E0041}\u{E0042}flag", "flag"),
            ("\u{3164}\u{115F}\u{2800}", ""),
            ("\u{FFFE}\u{1FFFF}", ""),
        ] {
            assert_eq!(sanitize(given), shown, "{given:?}");
        }
    }

    #[test]
    fn joiners_and_selectors_only_where_they_join_or_select() {
        assert_eq!(sanitize("alice\u{200D}"), "alice");
        assert_eq!(sanitize("\u{200C}alice"), "alice");
        assert_eq!(sanitize("a\u{200D}\u{200D}\u{200D}b"), "a\u{200D}b");
        assert_eq!(sanitize("a\u{200D} b"), "a b");
        assert_eq!(sanitize("a\u{FE0F}\u{FE0F}\u{FE0F}"), "a\u{FE0F}");
        assert_eq!(sanitize("\u{FE0F}a"), "a");
    }

    #[test]
    fn as_many_marks_as_languages_need() {
        let few = format!("a{}", "\u{301}".repeat(MARKS_MAX));
        assert_eq!(sanitize(&few), few);
        let many = format!("a{}b", "\u{301}".repeat(MARKS_MAX + 1));
        assert_eq!(sanitize(&many), format!("a{}b", "\u{301}".repeat(MARKS_MAX)));
    }

    #[test]
    fn a_nick_stays_on_its_line() {
        assert_eq!(sanitize_line(" al\nice\r\nx\t"), "al ice x");
        assert_eq!(sanitize_line("bob"), "bob");
    }

    proptest! {
        #[test]
        fn nothing_dangerous_survives_and_twice_is_once(text in "\\PC*|[\\x00-\\u{10FFFF}]*") {
            let once = sanitize(&text);
            prop_assert!(!once.chars().any(|c| c != '\n' && is_hidden(c)));
            prop_assert_eq!(sanitize(&once), once.as_ref());
            let line = sanitize_line(&text);
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(sanitize_line(&line), line.as_ref());
        }
    }
}
