//! Measures one system on one workload, or all of them side by side.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rumormill_peers::compare::CompareOptions;
use rumormill_peers::run::{self, RunOptions};
use rumormill_peers::table::Table;
use rumormill_peers::{Result, compare, isolate};

/// Rumormill beside gossipsub and iroh-gossip.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One system, one process: prints one line of JSON.
    Run(Box<RunOptions>),
    /// All systems, interleaved over rounds in fresh processes: prints the table and the ratios.
    Compare(CompareOptions),
    /// The table and the ratios out of the notes of earlier runs.
    Table {
        /// The notes.
        #[arg(long, default_value = "target/peers.jsonl")]
        notes: PathBuf,
        /// The file whose part between the marker lines becomes the table.
        #[arg(long)]
        results: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match act(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("peers: {message}");
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> Result<()> {
    match command {
        Command::Run(options) => {
            if !options.no_namespace {
                isolate::enter();
            }
            let report = run::run(&options)?;
            println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
            Ok(())
        }
        Command::Compare(options) => compare::compare(&options),
        Command::Table { notes, results } => {
            let table = Table::of(&compare::read_notes(&notes)?);
            println!("{}", table.markdown());
            if let Some(results) = results {
                table.write(&results)?;
            }
            print!("{}", table.ratios());
            Ok(())
        }
    }
}
