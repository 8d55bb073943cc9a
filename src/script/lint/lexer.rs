//! Luau's tokens, as far as finding calls needs them.

/// What a token is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A name or a keyword.
    Name(String),
    /// A string's contents.
    Text(String),
    /// A number.
    Number,
    /// Anything else: one character, or `..`.
    Mark(&'static str),
}

/// A token and the line that it begins on, from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) line: u32,
}

impl Token {
    pub(super) fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Name(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is(&self, mark: &str) -> bool {
        matches!(&self.kind, Kind::Mark(own) if *own == mark)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.name() == Some(word)
    }
}

/// The marks that matter; every other character is `?`.
const MARKS: [&str; 14] = ["(", ")", "{", "}", "[", "]", ".", ":", ",", ";", "=", "-", "<", ">"];
/// Deepest nesting of interpolated strings.
const INTERPOLATION_DEPTH_MAX: usize = 16;

/// Takes a source apart. An interpolated string comes out as what it means: `` `a{b}` `` is `"a" .. (b)`. A source that
/// doesn't compile gives some tokens or other.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { source: source.as_bytes(), at: 0, line: 1, tokens: Vec::new() };
    lexer.run(0);
    lexer.tokens
}

struct Lexer<'a> {
    source: &'a [u8],
    at: usize,
    line: u32,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.source.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Steps over one byte.
    fn step(&mut self) {
        if self.peek(0) == b'\n' {
            self.line += 1;
        }
        self.at += 1;
    }

    fn push(&mut self, kind: Kind, line: u32) {
        self.tokens.push(Token { kind, line });
    }

    /// Reads until the end, or (inside an interpolated string) until the brace that closes the expression.
    fn run(&mut self, depth: usize) {
        let mut braces = 0_usize;
        while self.at < self.source.len() {
            let line = self.line;
            match self.peek(0) {
                b'-' if self.peek(1) == b'-' => self.comment(),
                quote @ (b'"' | b'\'') => {
                    let text = self.quoted(quote);
                    self.push(Kind::Text(text), line);
                }
                b'`' => self.interpolated(depth),
                b'[' if self.long_bracket().is_some() => {
                    let text = self.long();
                    self.push(Kind::Text(text), line);
                }
                b'.' if self.peek(1) == b'.' => {
                    self.at += 2;
                    self.push(Kind::Mark(".."), line);
                }
                c if c.is_ascii_digit() => {
                    while self.peek(0).is_ascii_alphanumeric() || matches!(self.peek(0), b'_' | b'.') {
                        self.at += 1;
                    }
                    self.push(Kind::Number, line);
                }
                c if c.is_ascii_alphabetic() || c == b'_' => {
                    let start = self.at;
                    while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == b'_' {
                        self.at += 1;
                    }
                    let name = String::from_utf8_lossy(&self.source[start..self.at]).into_owned();
                    self.push(Kind::Name(name), line);
                }
                c if c.is_ascii_whitespace() => self.step(),
                b'}' if depth > 0 && braces == 0 => return,
                c => {
                    braces = match c {
                        b'{' => braces + 1,
                        b'}' => braces.saturating_sub(1),
                        _ => braces,
                    };
                    self.at += 1;
                    let mark = MARKS.iter().find(|mark| mark.as_bytes() == [c]).copied().unwrap_or("?");
                    self.push(Kind::Mark(mark), line);
                }
            }
        }
    }

    fn comment(&mut self) {
        self.at += 2;
        if self.peek(0) == b'[' && self.long_bracket().is_some() {
            self.long();
            return;
        }
        while self.at < self.source.len() && self.peek(0) != b'\n' {
            self.at += 1;
        }
    }

    /// The number of `=` of a long bracket that begins here.
    fn long_bracket(&self) -> Option<usize> {
        let level = self.source[self.at + 1..].iter().take_while(|byte| **byte == b'=').count();
        (self.peek(level + 1) == b'[').then_some(level)
    }

    fn long(&mut self) -> String {
        let level = self.long_bracket().unwrap_or_default();
        let close = [b"]".as_slice(), &vec![b'='; level], b"]"].concat();
        self.at += level + 2;
        let start = self.at;
        while self.at < self.source.len() && !self.source[self.at..].starts_with(&close) {
            self.step();
        }
        let text = String::from_utf8_lossy(&self.source[start..self.at]).into_owned();
        self.at = (self.at + close.len()).min(self.source.len());
        text
    }

    /// A quoted string. Escapes that matter for names and addresses are few: the character behind a backslash stands for
    /// itself.
    fn quoted(&mut self, quote: u8) -> String {
        self.at += 1;
        let mut bytes = Vec::new();
        while self.at < self.source.len() && self.peek(0) != quote {
            if self.peek(0) == b'\\' {
                self.at += 1;
            } else if self.peek(0) == b'\n' {
                break;
            }
            bytes.push(self.peek(0));
            self.step();
        }
        self.at = (self.at + 1).min(self.source.len());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn interpolated(&mut self, depth: usize) {
        let (mut line, mut bytes) = (self.line, Vec::new());
        self.at += 1;
        loop {
            match self.peek(0) {
                _ if self.at >= self.source.len() => break,
                b'`' => {
                    self.at += 1;
                    break;
                }
                b'{' if depth < INTERPOLATION_DEPTH_MAX => {
                    self.at += 1;
                    let text = String::from_utf8_lossy(&std::mem::take(&mut bytes)).into_owned();
                    self.push(Kind::Text(text), line);
                    self.push(Kind::Mark(".."), self.line);
                    self.push(Kind::Mark("("), self.line);
                    self.run(depth + 1);
                    self.push(Kind::Mark(")"), self.line);
                    self.push(Kind::Mark(".."), self.line);
                    self.at = (self.at + 1).min(self.source.len());
                    line = self.line;
                }
                b'\\' => {
                    self.at += 1;
                    bytes.push(self.peek(0));
                    self.step();
                }
                byte => {
                    bytes.push(byte);
                    self.step();
                }
            }
        }
        self.push(Kind::Text(String::from_utf8_lossy(&bytes).into_owned()), line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> String {
        let shown = tokens(source).into_iter().map(|token| match token.kind {
            Kind::Name(name) => name,
            Kind::Text(text) => format!("{text:?}"),
            Kind::Number => "0".to_owned(),
            Kind::Mark(mark) => mark.to_owned(),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn strings_comments_and_numbers() {
        assert_eq!(shown("a.b:c('x', \"y\\\"z\") -- gone\n--[[ gone\n too ]] d"), "a . b : c ( \"x\" , \"y\\\"z\" ) d");
        assert_eq!(shown("x = [==[a]]b]==] .. 0x1F + 1.5e3"), "x = \"a]]b\" .. 0 ? 0");
        assert_eq!(shown("t[1]"), "t [ 0 ]");
    }

    #[test]
    fn interpolated_strings_are_concatenations() {
        assert_eq!(shown("f(`a{g({1})}b`)"), "f ( \"a\" .. ( g ( { 0 } ) ) .. \"b\" )");
        assert_eq!(shown("`{`{x}`}`"), "\"\" .. ( \"\" .. ( x ) .. \"\" ) .. \"\"");
        assert_eq!(shown("`\\{no}`"), "\"{no}\"");
    }

    #[test]
    fn lines_are_counted() {
        let lines: Vec<u32> = tokens("a\n[[x\ny]] b\n`{\nc}` d").iter().map(|token| token.line).collect();
        assert_eq!(lines[0], 1);
        let of = |name: &str| tokens("a\n[[x\ny]] b\n`{\nc}` d").iter().find(|t| t.is_word(name)).map(|t| t.line);
        assert_eq!((of("b"), of("c"), of("d")), (Some(3), Some(5), Some(5)));
    }

    #[test]
    fn nothing_that_is_cut_off_hangs_or_panics() {
        let whole = "local s = `a{f(\"x\", [[y]])}b` --[==[ c ]==] d '\\";
        for end in 0..whole.len() {
            tokens(&whole[..end]);
        }
    }
}
