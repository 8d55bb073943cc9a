//! The terminal frontend: a prompt that incoming messages never disturb, and the menu behind Ctrl+C.
//!
//! The editor (rustyline) blocks, so it has a thread of its own; it is asked for one line at a time. What is to be shown
//! goes through its external printer, which repaints a half-typed line below it.

use std::borrow::Cow;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustyline::completion::Completer;
use rustyline::config::{ColorMode, CompletionType};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, ExternalPrinter, Helper};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

use super::input::INPUT_LINE_MAX_BYTES;
use super::output::Output;
use super::prompt::Gate;
use super::render::{self, Item};
use super::session::{After, Session};
use super::stream::Screen;
use super::{Frontend, UiError, UiOptions, progress_bar};
use crate::node::{CommandInfo, Commands, Event, Handle, Place};
use crate::room::{sanitize, sanitize_line};

/// How many typed lines are remembered.
pub const TYPED_LINES_MAX: usize = 1_000;
/// How long the prompt waits for what a line does, in milliseconds; after that it comes back, and the line goes on.
const PROMPT_WAIT_MS: u64 = 1_000;
/// How often the progress of loading a history is shown, in milliseconds.
const PROGRESS_EVERY_MS: u64 = 250;
/// Goes one line up and wipes it: the bar is drawn over the one before it.
const BAR_OVER: &str = "\u{1b}[1A\u{1b}[2K";

/// One line wanted from the editor.
struct Ask {
    prompt: String,
    /// What is typed already.
    initial: String,
}

/// What the editor gave.
enum Typed {
    Line(String),
    /// Ctrl+C.
    Interrupt,
    /// Ctrl+D on an empty line, or the terminal is gone.
    End,
}

/// What editor, completion, printer and the frontend's task share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Between the editor and what is printed.
    gate: Gate,
}

#[derive(Default)]
struct State {
    /// Whether the menu is open.
    menu: bool,
    /// The open chat.
    chat: Option<Arc<str>>,
    /// What stands in the line.
    line: String,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn run(
    handle: Handle,
    commands: Arc<dyn Commands>,
    events: broadcast::Receiver<Event>,
    options: UiOptions,
) -> Result<(), UiError> {
    let terminal = SavedTerminal::save();
    let (session, items) = Session::new(handle, commands);
    let shared = Arc::new(Shared::default());
    let started = start(&session, &shared, options.lines_file.clone());
    let (asks, typed, output) = started.inspect_err(|_| session.handle().shutdown())?;
    let render = render::of(Frontend::Line, options.color, options.now);
    let screen = Screen::new(render, output, &session);
    let mut line = Line {
        session,
        shared,
        asks,
        screen,
        items,
        under_way: None,
        draft: String::new(),
        drawn: None,
        bar_is_last: false,
        interrupted: false,
    };
    line.serve(typed, events).await;
    line.shared.gate.set_over();
    line.screen.finish().await;
    terminal.restore(line.shared.gate.is_prompt_shown());
    Ok(())
}

/// What a line does, while it does it.
type UnderWay = Pin<Box<dyn Future<Output = Option<After>> + Send>>;

struct Line {
    session: Arc<Session>,
    shared: Arc<Shared>,
    asks: std_mpsc::Sender<Ask>,
    screen: Screen,
    items: mpsc::UnboundedReceiver<Item>,
    under_way: Option<UnderWay>,
    /// A half-typed chat line, kept while the menu is open.
    draft: String,
    /// When the bar of a loading history was drawn last.
    drawn: Option<tokio::time::Instant>,
    /// Whether it is the last line above the prompt.
    bar_is_last: bool,
    /// Ctrl+C was pressed while no line was being edited (or the signal was sent): the next prompt obeys it.
    interrupted: bool,
}

impl Line {
    async fn serve(&mut self, mut typed: mpsc::Receiver<Typed>, mut events: broadcast::Receiver<Event>) {
        let me = self.session.handle().me();
        let hello =
            format!("You are {}#{}. Ctrl+C opens the menu, /help lists the commands.", me.nick, me.id.fingerprint());
        self.show(&Item::Info(hello)).await;
        let mut interrupts = Interrupts::listen();
        self.ask();
        loop {
            tokio::select! {
                biased;
                Some(item) = self.items.recv() => self.show(&item).await,
                // The line before it may still be on its way from the editor.
                () = interrupts.next() => self.interrupted = true,
                after = wait(&mut self.under_way) => {
                    self.under_way = None;
                    if after.is_some_and(|after| after.opened) {
                        self.leave_menu();
                    }
                    while let Ok(item) = self.items.try_recv() {
                        self.show(&item).await;
                    }
                    if std::mem::take(&mut self.interrupted) {
                        self.interrupt().await;
                    }
                    if after.is_some_and(|after| after.quit) {
                        self.shared.gate.set_over();
                    } else {
                        self.ask();
                    }
                }
                Some(typed) = typed.recv() => self.typed(typed).await,
                event = events.recv() => match event {
                    Ok(Event::Stopped) | Err(RecvError::Closed) => break,
                    Ok(event) => self.event(event).await,
                    Err(RecvError::Lagged(skipped)) => self.show(&Item::Skipped(skipped)).await,
                },
                () = self.screen.closed() => self.screen.give_up(),
            }
        }
        while let Ok(item) = self.items.try_recv() {
            self.show(&item).await;
        }
        self.show(&Item::Event(Event::Stopped)).await;
    }

    async fn event(&mut self, event: Event) {
        match event {
            // The typed line stands on the screen already.
            Event::Message(message) if self.session.is_echo(&message) => {}
            Event::Loading { chat, received, wanted } => self.progress(&chat, received, wanted).await,
            event => self.show(&Item::Event(event)).await,
        }
    }

    /// Draws the bar of a loading history, over the one before it where nothing was shown since.
    async fn progress(&mut self, chat: &str, received: u64, wanted: u64) {
        let now = tokio::time::Instant::now();
        let every = Duration::from_millis(PROGRESS_EVERY_MS);
        let full = received >= wanted;
        if wanted == 0 || !full && self.drawn.is_some_and(|last| now.duration_since(last) < every) {
            return;
        }
        self.drawn = Some(now);
        let over = if self.bar_is_last { BAR_OVER } else { "" };
        let bar = progress_bar(received, wanted);
        let line = format!("{over}{}: {bar} {received} of {wanted}\n", sanitize_line(chat));
        self.screen.draw(line).await;
        self.bar_is_last = true;
    }

    async fn show(&mut self, item: &Item) {
        self.bar_is_last = false;
        self.screen.show(item).await;
    }

    async fn typed(&mut self, typed: Typed) {
        let menu = self.shared.state().menu;
        match typed {
            Typed::Interrupt => {
                if !menu {
                    self.draft = std::mem::take(&mut self.shared.state().line);
                }
                self.interrupt().await;
                self.ask();
            }
            Typed::Line(line) if line.len() > INPUT_LINE_MAX_BYTES => {
                let problem = format!("the line has more than {INPUT_LINE_MAX_BYTES} bytes; nothing of it was sent");
                self.show(&Item::Error(problem)).await;
                self.ask();
            }
            Typed::Line(line) => {
                // The typed line stands above the prompt now.
                self.bar_is_last = false;
                let session = Arc::clone(&self.session);
                let work = tokio::spawn(async move {
                    match line.trim() {
                        "" => After::default(),
                        command if menu => session.command(command.trim_start_matches('/')).await,
                        _ => session.line(&line).await,
                    }
                });
                let prompt = Duration::from_millis(PROMPT_WAIT_MS);
                self.under_way = Some(Box::pin(async move { tokio::time::timeout(prompt, work).await.ok()?.ok() }));
            }
            Typed::End => self.session.handle().shutdown(),
        }
    }

    /// Ctrl+C: opens the menu, or leaves it.
    async fn interrupt(&mut self) {
        if self.shared.state().menu {
            return self.leave_menu();
        }
        self.shared.state().menu = true;
        self.show(&Item::Info(menu_text(&self.session.commands().list()))).await;
    }

    fn leave_menu(&self) {
        self.shared.state().menu = false;
    }

    /// Asks the editor for the next line.
    fn ask(&mut self) {
        let chat = self.session.open_chat();
        let mut state = self.shared.state();
        state.chat.clone_from(&chat);
        let (prompt, initial) = if state.menu {
            ("menu> ".to_owned(), String::new())
        } else {
            let chat = chat.map(|chat| sanitize_line(&chat).into_owned()).unwrap_or_default();
            (format!("{chat}> "), std::mem::take(&mut self.draft))
        };
        drop(state);
        // The editor is gone only when the terminal is; it has said so.
        let _ = self.asks.send(Ask { prompt, initial });
    }
}

/// Ctrl+C while no line is being edited: the terminal makes a signal of it then.
struct Interrupts {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Interrupts {
    fn listen() -> Self {
        Self {
            // Without it such a Ctrl+C does nothing; one that the editor sees opens the menu all the same.
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).ok(),
        }
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

/// Waits for what is under way, or for ever.
async fn wait(under_way: &mut Option<UnderWay>) -> Option<After> {
    match under_way {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// The menu, as Ctrl+C shows it.
fn menu_text(commands: &[CommandInfo]) -> String {
    let commands: Vec<(String, &str)> = commands
        .iter()
        .filter(|command| command.place == Place::Menu)
        .map(|command| (format!("{} {}", command.name, command.params).trim_end().to_owned(), command.desc.as_str()))
        .collect();
    let width = commands.iter().map(|(usage, _)| usage.chars().count()).max().unwrap_or_default();
    let mut text = "Menu (Ctrl+C leaves it):".to_owned();
    for (usage, desc) in commands {
        text.push_str(format!("\n  {usage:width$}  {desc}").trim_end());
    }
    text
}

type Started = (std_mpsc::Sender<Ask>, mpsc::Receiver<Typed>, Output);

/// Starts the editor's thread and the printer's.
fn start(session: &Session, shared: &Arc<Shared>, lines_file: Option<PathBuf>) -> Result<Started, UiError> {
    let failed = |error: ReadlineError| UiError::Terminal(error.to_string());
    let mut editor = editor(session, shared, lines_file.as_deref()).map_err(failed)?;
    let mut printer = editor.create_external_printer().map_err(failed)?;
    let printing = Arc::clone(shared);
    let output = Output::start(move |text| {
        printing.gate.print(|| printer.print(text.to_owned())).map_err(std::io::Error::other)
    });
    let output = output.map_err(UiError::Thread)?;

    let (asks, asked) = std_mpsc::channel::<Ask>();
    let (answers, typed) = mpsc::channel(1);
    let shared = Arc::clone(shared);
    let read = move || {
        for Ask { prompt, initial } in asked {
            shared.state().line.clear();
            shared.gate.prompt_comes();
            let line = editor.readline_with_initial(&prompt, (&initial, ""));
            shared.gate.prompt_gone();
            let answer = match line {
                Ok(line) => {
                    remember(&mut editor, &line, lines_file.as_deref());
                    Typed::Line(line)
                }
                Err(ReadlineError::Interrupted) => Typed::Interrupt,
                Err(_) => Typed::End,
            };
            let end = matches!(answer, Typed::End);
            if answers.blocking_send(answer).is_err() || end {
                shared.gate.set_over();
                return;
            }
        }
    };
    thread::Builder::new().name("editor".to_owned()).spawn(read).map_err(UiError::Thread)?;
    Ok((asks, typed, output))
}

type LineEditor = Editor<LineHelper, FileHistory>;

fn editor(session: &Session, shared: &Arc<Shared>, lines_file: Option<&Path>) -> Result<LineEditor, ReadlineError> {
    let config = rustyline::Config::builder()
        .max_history_size(TYPED_LINES_MAX)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        // Whatever the terminal: what paints the prompt is to say so.
        .color_mode(ColorMode::Forced)
        .build();
    let mut editor = LineEditor::with_config(config)?;
    editor.set_helper(Some(LineHelper { commands: Arc::clone(session.commands()), shared: Arc::clone(shared) }));
    if let Some(file) = lines_file
        && let Err(error) = crate::state::append_private(file)
            .map(drop)
            .map_err(|error| error.to_string())
            .and_then(|()| editor.load_history(file).map_err(|error| error.to_string()))
    {
        tracing::warn!("typed lines are not remembered from earlier runs: {error}");
    }
    Ok(editor)
}

/// Keeps a typed line for the arrow keys, and for the next run.
fn remember(editor: &mut LineEditor, line: &str, lines_file: Option<&Path>) {
    if line.trim().is_empty() || line.len() > INPUT_LINE_MAX_BYTES {
        return;
    }
    let added = editor.add_history_entry(line);
    if let (Ok(true), Some(file)) = (added, lines_file)
        && let Err(error) = editor.append_history(file)
    {
        tracing::warn!("a typed line is not remembered: {error}");
    }
}

/// Completes commands and their arguments.
struct LineHelper {
    commands: Arc<dyn Commands>,
    shared: Arc<Shared>,
}

impl Completer for LineHelper {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let (menu, chat) = {
            let state = self.shared.state();
            (state.menu, state.chat.clone())
        };
        let typed = &line[..at];
        let (slash, command) = match typed.strip_prefix('/') {
            Some(command) => ("/", command),
            None if menu => ("", typed),
            None => return Ok((at, Vec::new())),
        };
        let candidates = self.commands.complete(command, chat.as_deref());
        // A space at the end of a candidate stays: more is to follow it.
        let clean = |candidate: String| format!("{slash}{}", sanitize(&candidate).replace('\n', " "));
        Ok((0, candidates.into_iter().map(clean).collect()))
    }
}

/// Shows no hint; called with every change of the line, it keeps what Ctrl+C would discard.
impl Hinter for LineHelper {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        line.clone_into(&mut self.shared.state().line);
        None
    }
}

/// Paints nothing in colours; called with every painting of the prompt, and in raw mode, it says that it is there.
impl Highlighter for LineHelper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        self.shared.gate.prompt_painted();
        Cow::Borrowed(prompt)
    }
}
impl Validator for LineHelper {}
impl Helper for LineHelper {}

/// The terminal's mode before the editor changed it: the program may end while a line is being edited.
struct SavedTerminal {
    #[cfg(unix)]
    mode: Option<nix::sys::termios::Termios>,
}

impl SavedTerminal {
    fn save() -> Self {
        Self {
            #[cfg(unix)]
            mode: nix::sys::termios::tcgetattr(std::io::stdin()).ok(),
        }
    }

    /// Where a prompt is still shown, what was typed stays, and the shell gets a line of its own.
    fn restore(self, prompt_shown: bool) {
        #[cfg(unix)]
        if let Some(mode) = self.mode {
            use std::io::Write;
            // The terminal may be gone: then there is nothing to restore. The sequence ends bracketed paste.
            let _ = nix::sys::termios::tcsetattr(std::io::stdin(), nix::sys::termios::SetArg::TCSADRAIN, &mode);
            let mut out = std::io::stdout();
            let end: &[u8] = if prompt_shown { b"\x1b[?2004l\n" } else { b"\x1b[?2004l\r" };
            let _ = out.write_all(end).and_then(|()| out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_lists_commands_with_parameters() {
        let command = |name: &str, params: &str, place| CommandInfo {
            name: name.to_owned(),
            aliases: Vec::new(),
            params: params.to_owned(),
            desc: format!("{name}s"),
            place,
            script: "x".to_owned(),
        };
        let commands =
            [command("chat", "<chat>", Place::Menu), command("exit", "", Place::Menu), command("me", "", Place::Chat)];
        assert_eq!(menu_text(&commands), "Menu (Ctrl+C leaves it):\n  chat <chat>  chats\n  exit         exits");
    }
}
