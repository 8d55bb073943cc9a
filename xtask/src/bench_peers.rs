//! `cargo xtask bench-peers`, `bench-peers-quick` and `churn`: the workspace in `benches/peers`.
//!
//! It is built here and does the rest itself: what it prints is JSON, and this tool has no dependencies.

use std::process::Command;

use crate::run::{Cargo, finish};

/// All systems, all sizes: into the file of results. Further arguments go to `peers compare`.
pub(crate) fn compare(cargo: &Cargo, args: &[String]) -> Result<(), String> {
    build(cargo)?;
    let results = Cargo::root().join("benches/RESULTS.md");
    let notes = Cargo::target().join("peers.jsonl");
    finish(peers().arg("compare").arg("--results").arg(results).arg("--notes").arg(notes).args(args))
}

/// A look in under three minutes, which writes no file.
pub(crate) fn quick(cargo: &Cargo) -> Result<(), String> {
    build(cargo)?;
    finish(peers().args(["compare", "--quick"]))
}

/// Nodes that stop and start, links that are cut.
pub(crate) fn churn(cargo: &Cargo, args: &[String]) -> Result<(), String> {
    let run = rumor_only(cargo.command(["run", "--release", "--quiet"]));
    finish(into_target(run).args(["--bin", "rumor-churn", "--"]).args(args))
}

/// What `check` looks at: the format.
pub(crate) fn format(cargo: &Cargo) -> Result<(), String> {
    finish(&mut manifest(cargo.command(["fmt", "--check"])))
}

/// What `check` looks at: everything but the peers' adapters, since libp2p and iroh take minutes to build.
pub(crate) fn clippy(cargo: &Cargo) -> Result<(), String> {
    let clippy = rumor_only(cargo.command(["clippy"]));
    finish(into_target(clippy).args(["--all-targets", "--", "--deny", "warnings"]))
}

fn build(cargo: &Cargo) -> Result<(), String> {
    let build = manifest(cargo.command(["build", "--release"]));
    finish(into_target(build).args(["--bin", "peers"]))
}

/// Points a cargo command to the workspace.
fn manifest(mut command: Command) -> Command {
    command.arg("--manifest-path").arg(Cargo::root().join("benches/peers/Cargo.toml"));
    command
}

/// The same, without libp2p and iroh.
fn rumor_only(command: Command) -> Command {
    let mut command = manifest(command);
    command.args(["--no-default-features", "--features", "rumor"]);
    command
}

/// Builds into the main workspace's folder: what both depend on is there already. A lock file that doesn't follow the main
/// workspace's is an error.
fn into_target(mut command: Command) -> Command {
    command.arg("--locked").arg("--target-dir").arg(Cargo::target());
    command
}

fn peers() -> Command {
    let mut peers = Command::new(Cargo::target().join("release/peers"));
    peers.current_dir(Cargo::root());
    peers
}
