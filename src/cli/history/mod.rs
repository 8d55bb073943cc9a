//! `rumor history check`, `compact`, `export` and `import`: what is done to a history while no node runs on it.

mod check;
mod export;
mod import;
mod line;
mod markdown;
mod progress;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use rumormill::Builder;
use rumormill::config::Config;
use rumormill::node::offline::Offline;
use rumormill::state::Profile;

use super::Failure;

#[derive(Subcommand, Debug)]
pub(super) enum HistoryCommand {
    /// Read and hash everything that is stored; what is damaged is fetched again at the next start
    Check {
        #[command(flatten)]
        profile: ProfileArgs,
    },
    /// Make the database file as small as it gets
    Compact {
        #[command(flatten)]
        profile: ProfileArgs,
    },
    /// Write a chat's history to a file, or to standard output
    Export {
        #[command(flatten)]
        profile: ProfileArgs,
        /// Which chat
        #[arg(long, value_name = "NAME")]
        chat: String,
        /// How
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
        /// Where to; interrupted, the same command goes on where it was. Standard output if not given
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take messages in from what `export --format jsonl` wrote; each is verified, and those that are here are skipped
    Import {
        #[command(flatten)]
        profile: ProfileArgs,
        /// Into which chat
        #[arg(long, value_name = "NAME")]
        chat: String,
        /// The file; `-` is standard input
        file: PathBuf,
    },
}

/// Whose history.
#[derive(Args, Debug)]
pub(super) struct ProfileArgs {
    /// The node's config file
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// The folder for keys and database, in place of the config's
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// What an export is written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line, with the sealed message: `import` takes it back
    Jsonl,
    /// For people to read; it can't be taken back
    Markdown,
}

pub(super) fn run(command: HistoryCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        HistoryCommand::Check { profile } => check::check(&mut open(&profile)?, out),
        HistoryCommand::Compact { profile } => check::compact(&mut open(&profile)?, out),
        HistoryCommand::Export { profile, chat, format, output } => {
            let history = open(&profile)?;
            let chat = export::Chat { number: history.chat(&chat).map_err(Failure::new)?, name: chat };
            match output {
                Some(file) => export::to_file(&history, &chat, format, &file, out),
                None => export::to(&history, &chat, format, out),
            }
        }
        HistoryCommand::Import { profile, chat, file } => {
            let mut history = open(&profile)?;
            let number = history.chat(&chat).map_err(Failure::new)?;
            import::import(&mut history, number, &file, out)
        }
    }
}

/// Opens the history of a profile that is there. A node that runs on it holds its lock.
fn open(args: &ProfileArgs) -> Result<Offline, Failure> {
    let mut config = Config::load_with(&args.config, &rumormill::plugins::compiled_in()).map_err(Failure::new)?;
    if let Some(state) = &args.state {
        config.state = std::path::absolute(state).unwrap_or_else(|_| state.clone());
    }
    if !config.state.is_dir() {
        return Err(Failure::new(format!(
            "there is no profile in {}: no node of this config has run yet; name another folder with --state",
            config.state.display()
        )));
    }
    let profile = Profile::open(&config.state).map_err(Failure::new)?;
    Builder::new(config, profile).offline().map_err(Failure::new)
}

/// A count with its noun.
fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
