//! `rumor bot …`: what the author of a bot works with. One file per subcommand.

mod check;
mod new;
mod repl;
mod run;
mod test;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use rumormill::config::LogLevel;

use super::Failure;

/// Write, check, test and run bots
#[derive(Subcommand, Debug)]
pub(super) enum BotCommand {
    /// Make a working bot, its test and the editor's settings
    New {
        /// What the bot is called: letters, digits, _ and -
        name: String,
        /// The script folder; the config's `[lua] folder`
        #[arg(long, value_name = "DIR", default_value = ".")]
        folder: PathBuf,
    },
    /// Load scripts in the sandbox and check how they use the API
    Check {
        /// Script files, or folders of them
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Run *_test.lua on a node in virtual time
    Test {
        /// Files of tests, scripts that have one beside them, or folders; the present folder unless told
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Only the tests whose names contain this
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// One JSON object a line, for programs
        #[arg(long)]
        json: bool,
        /// Show what the scripts log, from this level on
        #[arg(long, value_name = "LEVEL")]
        log_level: Option<LogLevel>,
    },
    /// Run one bot on a node without a terminal; it reloads as you save it
    Run(RunArgs),
    /// Type Luau into a script's sandbox, on a node in virtual time
    Repl {
        /// A script that is loaded first
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// How to run a bot.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The script
    file: PathBuf,
    /// A chat that it sees; "*" is every chat; may be given several times
    #[arg(long = "room", value_name = "NAME", required = true)]
    rooms: Vec<String>,
    /// The node's config
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// The folder for keys, database and log, in place of the config's
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// One JSON object a line instead of tab-separated lines
    #[arg(long)]
    json: bool,
    /// How much is logged, in place of the config's
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

/// Does what the arguments say.
pub(super) fn run(command: BotCommand, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    match command {
        BotCommand::New { name, folder } => new::new(&name, &folder, out),
        BotCommand::Check { files } => check::check(&files, out),
        BotCommand::Test { files, only, json, log_level } => test::test(files, only.as_deref(), json, log_level, out),
        BotCommand::Run(args) => run::run(&args),
        BotCommand::Repl { file } => repl::repl(file, out),
    }
}
