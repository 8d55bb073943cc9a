//! `rumor bot repl [FILE]`.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use rumormill::bot::world::{Saying, Setup, World};
use rumormill::node::{CommandResult, UiAction};
use rumormill::script::Evaluated;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::super::{Failure, write};

const HELP: &str = "\
Luau: expressions are shown, globals stay (a `local` ends with its line).
  :say WHO TEXT     somebody says something
  :advance SECONDS  time passes
  :reload           the script is loaded again
  :quit             (or Ctrl+D)
  /COMMAND          a command of the menu
";
/// The script that is there when none was named.
const EMPTY: &str = "-- typed at the prompt\n";
/// Longest code of one entry, in bytes.
const ENTRY_MAX_BYTES: usize = 64 * 1024;

pub(super) fn repl(file: Option<PathBuf>, out: &mut dyn Write) -> Result<(), Failure> {
    let mut world =
        World::new(Setup { files: file.into_iter().collect(), ..Setup::default() }).map_err(Failure::new)?;
    if world.first_file().is_none() {
        world.add_script("bots/repl.lua", EMPTY).map_err(Failure::new)?;
    }
    let mut lines = Lines::open()?;
    if lines.is_terminal() {
        write(out, "A sandbox on a node in virtual time. :help says what there is.\n")?;
    }
    let mut entry = String::new();
    while let Some(line) = lines.next(entry.is_empty())? {
        let text = if entry.is_empty() && line.trim().is_empty() {
            continue;
        } else if entry.is_empty() && line.trim() == ":quit" {
            break;
        } else if entry.is_empty() && (line.starts_with(':') || line.starts_with('/')) {
            drive(&mut world, line.trim())
        } else {
            entry.push_str(&line);
            entry.push('\n');
            let script = world.first_file().unwrap_or_default().to_owned();
            match world.eval(&script, &entry) {
                Evaluated::Incomplete if entry.len() < ENTRY_MAX_BYTES => continue,
                Evaluated::Incomplete => "that is too long\n".to_owned(),
                Evaluated::Values(values) if values.is_empty() => String::new(),
                Evaluated::Values(values) => values.join("  ") + "\n",
                Evaluated::Failed(reason) => reason + "\n",
            }
        };
        entry.clear();
        let heard = heard(&mut world);
        write(out, &format!("{text}{heard}"))?;
    }
    Ok(())
}

/// Does what a line that is no Luau says.
fn drive(world: &mut World, line: &str) -> String {
    if let Some(command) = line.strip_prefix('/') {
        let chat = world.chats().first().cloned();
        let (actions, result) = world.command(command, chat.as_deref());
        let mut text = String::new();
        for action in actions {
            let _ = match action {
                UiAction::Print(printed) => writeln!(text, "{printed}"),
                UiAction::Open(chat) => writeln!(text, "-- opens {chat}"),
                UiAction::History(chat, messages) => writeln!(text, "-- {} messages of {chat}", messages.len()),
                UiAction::Quit => writeln!(text, "-- ends the program"),
            };
        }
        let _ = match result {
            CommandResult::Done(None) => Ok(()),
            CommandResult::Done(Some(said)) | CommandResult::Failed(said) => writeln!(text, "{said}"),
            CommandResult::Usage(usage) => writeln!(text, "usage: {usage}"),
            CommandResult::Unknown(names) => writeln!(text, "no such command; there are {}", names.join(", ")),
        };
        return text;
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (word, rest.split_once(' ')) {
        (":say", Some((who, text))) => match world.say(who, text, &Saying::default()) {
            Ok(_) => String::new(),
            Err(reason) => reason + "\n",
        },
        (":advance", None) => match rest.parse::<f64>() {
            Ok(seconds) if (0.0..=rumormill::bot::world::ADVANCE_MAX_S).contains(&seconds) => {
                world.advance(Duration::from_secs_f64(seconds));
                String::new()
            }
            _ => "write :advance SECONDS\n".to_owned(),
        },
        (":reload", None) => {
            let file = world.first_file().unwrap_or_default().to_owned();
            world.reload(&file, None).err().map_or(String::new(), |reason| reason + "\n")
        }
        _ => HELP.to_owned(),
    }
}

/// What scripts said and what the user is told since the last look.
fn heard(world: &mut World) -> String {
    let mut text = String::new();
    while let Some(message) = world.next_said(None, Duration::ZERO) {
        let _ = writeln!(text, "[{}] {}: {}", message.chat, message.from.nick, message.text);
    }
    while let Some(notice) = world.next_notice(|_| true, Duration::ZERO) {
        let _ = writeln!(text, "-- {}: {}", notice.source, notice.text);
    }
    text
}

/// Where lines come from: a terminal that edits them, or a pipe.
enum Lines {
    Terminal(Box<DefaultEditor>),
    Pipe(io::StdinLock<'static>),
}

impl Lines {
    fn open() -> Result<Self, Failure> {
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            let editor = DefaultEditor::new();
            return editor.map(|editor| Self::Terminal(Box::new(editor))).map_err(Failure::new);
        }
        Ok(Self::Pipe(io::stdin().lock()))
    }

    const fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    fn next(&mut self, begins: bool) -> Result<Option<String>, Failure> {
        match self {
            Self::Terminal(editor) => loop {
                return match editor.readline(if begins { "> " } else { ".. " }) {
                    Ok(line) => {
                        let _ = editor.add_history_entry(&line);
                        Ok(Some(line))
                    }
                    Err(ReadlineError::Interrupted) => continue,
                    Err(ReadlineError::Eof) => Ok(None),
                    Err(error) => Err(Failure::new(error)),
                };
            },
            Self::Pipe(pipe) => {
                let mut line = String::new();
                let read = pipe.read_line(&mut line).map_err(Failure::new)?;
                Ok((read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
            }
        }
    }
}
