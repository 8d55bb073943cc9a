//! The command line: one file per subcommand. Nothing here prints; what a command says goes to the writer it is given.

mod check;
mod log;
mod node;
mod room;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use rumormill::config::LogLevel;
use rumormill::ui::Frontend;

const EXAMPLES: &str = "\
Examples:
  rumor --config config_examples/alice.toml     chat in the terminal; Ctrl+C opens the menu
  rumor --config relay.toml --plain             run as a service, one line an event
  rumor config check my.toml                    say what is wrong with a config
  rumor room new --name study                   make a secret for a new chat

Exit status: 0 done, 1 failed, 2 used wrongly.";

/// A decentralized chat with trash traffic: every node relays everything, nobody can tell who talks to whom.
#[derive(Parser, Debug)]
#[command(name = "rumor", version, after_help = EXAMPLES, arg_required_else_help = true)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// How to run a node.
#[derive(Args, Debug)]
struct NodeArgs {
    /// The config file: TOML, or JSON if its name ends in .json
    #[arg(long, short, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// One tab-separated line an event, for pipes: event, time, chat, from, id, flags, text
    #[arg(long, conflicts_with = "json")]
    plain: bool,
    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,
    /// The folder for keys, database and log, in place of the config's
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// How much is logged, in place of the config's
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

impl NodeArgs {
    const fn frontend(&self) -> Frontend {
        match (self.plain, self.json) {
            (_, true) => Frontend::Json,
            (true, false) => Frontend::Plain,
            (false, false) => Frontend::Line,
        }
    }
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check or describe configs
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make chats
    #[command(subcommand)]
    Room(RoomCommand),
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Say OK and what a config means, or everything that is wrong with it
    Check {
        /// The config file
        file: PathBuf,
    },
    /// Print the JSON Schema of configs, for editors
    Schema,
}

#[derive(Subcommand, Debug)]
enum RoomCommand {
    /// Print a `[[chats]]` entry with a fresh secret, to paste into the config of every member
    New {
        /// What the chat is called
        #[arg(long, value_name = "NAME", default_value = "room")]
        name: String,
        /// Erase keys and messages after the window instead of keeping a history
        #[arg(long)]
        ephemeral: bool,
    },
}

impl Cli {
    /// Does what the arguments say.
    pub(crate) fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        match self.command {
            None => node::run(&self.node),
            Some(Command::Config(ConfigCommand::Check { file })) => check::check(&file, out),
            Some(Command::Config(ConfigCommand::Schema)) => check::schema(out),
            Some(Command::Room(RoomCommand::New { name, ephemeral })) => room::new(&name, ephemeral, out),
        }
    }
}

/// Why a command failed: a sentence that says what to do.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Failure {
    fn new(sentence: impl fmt::Display) -> Self {
        Self(sentence.to_string())
    }
}

/// Writes a command's output. A reader that has seen enough is no failure.
fn write(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
