//! Measures one system on one workload, or all of them side by side.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rumormill_peers::run::{self, RunOptions};
use rumormill_peers::{Result, isolate};

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
    Run(RunOptions),
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
    }
}
