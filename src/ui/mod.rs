//! Frontends over one event stream.
//!
//! | frontend | for | output |
//! |---|---|---|
//! | [`Frontend::Line`] | a person at a terminal | coloured lines above a prompt that is never disturbed |
//! | [`Frontend::Plain`] | pipes, `grep`, `cut` | one event a line, seven columns separated by tabs |
//! | [`Frontend::Json`] | programs | one event a line, a JSON object |
//!
//! All of them take the same input: a line is a message to the open chat (the first one at the start), `/name …` is a
//! command, `//text` sends a text that begins with a slash. The end of the input ends the program cleanly, after all that
//! was read before is sent.
//!
//! Nothing here makes the node wait: a frontend whose reader is slow skips events and says how many.

mod human;
mod input;
mod json;
mod line;
mod output;
mod plain;
mod progress;
mod prompt;
mod render;
mod session;
mod stream;
mod time;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use rumormill_api::Millis;
use tokio::sync::broadcast;

use crate::node::{Commands, Event, Handle};

pub use input::INPUT_LINE_MAX_BYTES;
pub use line::TYPED_LINES_MAX;
pub use progress::progress_bar;
pub use time::{date, time_of_day};

/// Which frontend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frontend {
    /// For a person at a terminal. Without one, the same lines without colours and prompts.
    Line,
    /// One tab-separated line an event.
    Plain,
    /// One JSON object an event.
    Json,
}

/// How a frontend behaves.
#[derive(Clone, Debug)]
pub struct UiOptions {
    /// Whether to colour nicks (line frontend).
    pub color: bool,
    /// Whether there is a terminal that can edit lines (line frontend).
    pub terminal: bool,
    /// Where typed lines are remembered (line frontend); `None`: nowhere. Made with mode 0600.
    pub lines_file: Option<PathBuf>,
    /// The wall clock, in milliseconds since the Unix epoch.
    pub now: fn() -> Millis,
}

impl UiOptions {
    /// What standard input and output, `TERM` and `NO_COLOR` (<https://no-color.org>) say.
    #[must_use]
    pub fn detect(now: fn() -> Millis) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let terminal = !dumb && io::stdin().is_terminal() && io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { color: terminal && !no_color, terminal, lines_file: None, now }
    }
}

/// Why a frontend failed. The node was told to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UiError {
    /// The terminal can't be used.
    #[error("can't use the terminal: {0}; try --plain")]
    Terminal(String),
    /// A thread couldn't be started.
    #[error("can't start a thread: {0}")]
    Thread(io::Error),
}

/// Runs a frontend on standard input and output until the node has stopped. `events` should be subscribed before the
/// node starts, so that nothing is missed. A closed output stops the node, without an error.
///
/// # Errors
///
/// [`UiError`]: the frontend couldn't start.
pub async fn run(
    kind: Frontend,
    handle: Handle,
    commands: Arc<dyn Commands>,
    events: broadcast::Receiver<Event>,
    options: UiOptions,
) -> Result<(), UiError> {
    if kind == Frontend::Line && options.terminal {
        return line::run(handle, commands, events, options).await;
    }
    let render = render::of(kind, false, options.now);
    let output = io::stdout();
    if stdin_is_null() {
        stream::run(render, handle, commands, events, Nobody, output).await
    } else {
        stream::run(render, handle, commands, events, io::stdin(), output).await
    }
}

/// As [`run`], for a node that nobody types to, whatever standard input is. The line frontend writes its lines plainly.
///
/// # Errors
///
/// [`UiError`]: the frontend couldn't start.
pub async fn run_headless(
    kind: Frontend,
    handle: Handle,
    commands: Arc<dyn Commands>,
    events: broadcast::Receiver<Event>,
    options: UiOptions,
) -> Result<(), UiError> {
    let render = render::of(kind, false, options.now);
    stream::run(render, handle, commands, events, Nobody, io::stdout()).await
}

/// The input of a service: nobody types, and nobody ends the program by having typed all.
struct Nobody;

impl io::Read for Nobody {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        loop {
            std::thread::park();
        }
    }
}

/// Whether standard input is the null device, as a service manager gives it.
#[cfg(unix)]
fn stdin_is_null() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let input = io::stdin().as_fd().try_clone_to_owned().and_then(|input| std::fs::File::from(input).metadata());
    let null = std::fs::metadata("/dev/null");
    matches!((input, null), (Ok(input), Ok(null)) if input.file_type().is_char_device() && input.rdev() == null.rdev())
}

#[cfg(not(unix))]
const fn stdin_is_null() -> bool {
    false
}
