//! Lines from an input that may be anything: a pipe, a file, an endless stream without line feeds.

use std::io::{self, BufRead, BufReader, Read};
use std::thread;

use tokio::sync::mpsc;

/// Longest line that is read, in bytes without its end.
pub const INPUT_LINE_MAX_BYTES: usize = 64 << 10;

/// How many lines are read ahead.
const READ_AHEAD: usize = 16;

/// A line, or what is wrong with it, as a sentence.
pub(super) type Typed = Result<String, String>;

/// Reads lines on a thread of its own until the input ends or nobody listens: reading can block for ever, and the
/// process must be able to end all the same.
pub(super) fn lines(input: impl Read + Send + 'static) -> io::Result<mpsc::Receiver<Typed>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    thread::Builder::new().name("input".to_owned()).spawn(move || {
        let mut input = BufReader::new(input);
        while let Some(typed) = next(&mut input) {
            if sender.blocking_send(typed).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// The next line; `None` at the end, or when reading fails.
fn next(input: &mut impl BufRead) -> Option<Typed> {
    let mut line = Vec::new();
    let read = input.take(INPUT_LINE_MAX_BYTES as u64 + 2).read_until(b'\n', &mut line).ok()?;
    if read == 0 {
        return None;
    }
    let whole = line.ends_with(b"\n");
    while line.last().is_some_and(|b| *b == b'\n' || *b == b'\r') {
        line.pop();
    }
    if line.len() > INPUT_LINE_MAX_BYTES {
        if !whole {
            skip_line(input)?;
        }
        return Some(Err(format!("the line has more than {INPUT_LINE_MAX_BYTES} bytes; nothing of it was sent")));
    }
    Some(String::from_utf8(line).map_err(|_| "the line is not UTF-8 text; nothing of it was sent".to_owned()))
}

fn skip_line(input: &mut impl BufRead) -> Option<()> {
    loop {
        let buffer = input.fill_buf().ok()?;
        if buffer.is_empty() {
            return Some(());
        }
        match buffer.iter().position(|b| *b == b'\n') {
            Some(at) => {
                input.consume(at + 1);
                return Some(());
            }
            None => {
                let all = buffer.len();
                input.consume(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut input: &[u8]) -> Vec<Typed> {
        std::iter::from_fn(|| next(&mut input)).collect()
    }

    #[test]
    fn lines_end_as_they_like() {
        let expected: Vec<Typed> = ["a", "b", "", "c"].map(|line| Ok(line.to_owned())).into();
        assert_eq!(all(b"a\nb\r\n\nc"), expected);
        assert!(all(b"").is_empty());
    }

    #[test]
    fn long_lines_are_refused_whole() {
        let longest = "x".repeat(INPUT_LINE_MAX_BYTES);
        assert_eq!(all(format!("{longest}\r\nb\n").as_bytes()), [Ok(longest.clone()), Ok("b".to_owned())]);
        for extra in [1, 2, 3, 1 << 20] {
            let lines = all(format!("{longest}{}\nb\n", "y".repeat(extra)).as_bytes());
            assert!(matches!(&lines[..], [Err(error), Ok(b)] if error.contains("65536 bytes") && b == "b"), "{extra}");
        }
        assert_eq!(all("z".repeat(1 << 20).as_bytes()).len(), 1, "without any end");
    }

    #[test]
    fn other_encodings_are_refused() {
        assert!(matches!(&all(b"\xff\nb\n")[..], [Err(_), Ok(_)]));
    }
}
