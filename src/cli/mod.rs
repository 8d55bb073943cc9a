//! The command line: one file per subcommand. Nothing here prints; what a command says goes to the writer it is given.

#[cfg(feature = "luau")]
mod bot;
mod check;
mod history;
mod log;
mod node;
mod room;
#[cfg(feature = "luau")]
mod scripts;
#[cfg(feature = "sim")]
mod sim;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use rumormill::config::LogLevel;
use rumormill::ui::Frontend;

const EXAMPLES: &str = "\
Examples:
  rumor --config config_examples/alice.toml     chat in the terminal; Ctrl+C opens the menu
  rumor --config relay.toml --plain             run as a service, one line an event
  rumor config check my.toml                    say what is wrong with a config
  rumor room new --name study                   make a secret for a new chat
  rumor room invite --config my.toml --chat study > invite.txt
  rumor scripts --config my.toml                how the scripts of the node that runs with it fare
  rumor bot new greeter                         a working bot and its test; rumor bot test runs it
  rumor room join < invite.txt                  what to paste into the new member's config
  rumor sim --nodes 10000 --svg coverage.svg    what a network of that size would do
  rumor history export --config my.toml --chat study --output study.jsonl

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
    /// Make chats, invite to them and join them
    #[command(subcommand)]
    Room(RoomCommand),
    /// Write, check, test and run bots
    #[cfg(feature = "luau")]
    #[command(subcommand)]
    Bot(bot::BotCommand),
    /// Show how the scripts of a running node fare: state, processor time, memory, calls, kills, the last error
    #[cfg(feature = "luau")]
    Scripts {
        /// The config that the node runs with
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// The node's folder, if it was given one on the command line
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// One JSON object, for programs
        #[arg(long)]
        json: bool,
    },
    /// Simulate a network: how far messages get, how soon, and what it costs
    #[cfg(feature = "sim")]
    Sim(sim::SimArgs),
    /// Check, shrink, export or import the history of a node that isn't running
    #[command(subcommand)]
    History(history::HistoryCommand),
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
    /// Print an invite to a chat of a config: hand it to the new member on a private channel, it is a secret
    Invite {
        /// The config file
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// Which of its chats
        #[arg(long, value_name = "NAME")]
        chat: String,
        /// Don't let the new member read what was said before today (days are counted in UTC)
        #[arg(long)]
        from_now: bool,
        /// For how many hours it can be joined with; for ever unless told
        #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=i64::from(room::EXPIRES_MAX_HOURS)))]
        expires: Option<u32>,
    },
    /// Read an invite from standard input and print the `[[chats]]` entry to paste into your config
    Join {
        /// What to call the chat, in place of the name that the invite suggests
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
}

impl Cli {
    /// Does what the arguments say.
    pub(crate) fn run(self, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
        match self.command {
            None => node::run(&self.node),
            #[cfg(feature = "luau")]
            Some(Command::Bot(command)) => bot::run(command, out),
            #[cfg(feature = "luau")]
            Some(Command::Scripts { config, state, json }) => {
                scripts::show(&node::load(&config, state.as_deref())?.state, json, out)
            }
            Some(Command::Config(ConfigCommand::Check { file })) => check::check(&file, out),
            Some(Command::Config(ConfigCommand::Schema)) => check::schema(out),
            Some(Command::Room(RoomCommand::New { name, ephemeral })) => room::new(&name, ephemeral, out),
            Some(Command::Room(RoomCommand::Invite { config, chat, from_now, expires })) => {
                room::invite(&config, &chat, from_now, expires, out)
            }
            Some(Command::Room(RoomCommand::Join { name })) => {
                room::join(name.as_deref(), &mut io::stdin().lock(), out)
            }
            #[cfg(feature = "sim")]
            Some(Command::Sim(args)) => sim::run(&args, out),
            Some(Command::History(command)) => history::run(command, out),
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

/// The wall clock, in milliseconds since the Unix epoch.
#[allow(clippy::disallowed_methods, reason = "the clock by which a frontend tells today from yesterday")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
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
