//! `cargo xtask deny`: what the dependencies may be, as `deny.toml` says.
//!
//! By cargo-deny itself, pinned, built once into `target/tools`. The alternative was a check of our own over
//! `cargo metadata`; building the real tool took 124 s on a two-core machine that was busy with other builds, which CI
//! pays once and caches, and a home-made reader of licence expressions would have to be trusted and kept.

use std::path::PathBuf;

use crate::run::{Cargo, finish};

const CARGO_DENY_VERSION: &str = "0.20.2";

/// Checks bans, licences and sources; with `RUMORMILL_ADVISORIES=1` also the advisory database, which lies on a host
/// of its own that a closed network doesn't reach.
pub(crate) fn deny(cargo: &Cargo) -> Result<(), String> {
    let tools = Cargo::root().join("target/tools");
    let program = tools.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    if !is_installed(&program) {
        println!("building cargo-deny {CARGO_DENY_VERSION}, once");
        let package = format!("cargo-deny@{CARGO_DENY_VERSION}");
        let mut install = cargo.command(["install", "--quiet", "--locked", "--force", &package]);
        // A build folder of its own, which cargo removes when the program is there.
        finish(install.arg("--root").arg(&tools).env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET_DIR"))?;
    }
    let mut checks = vec!["bans", "licenses", "sources"];
    if std::env::var_os("RUMORMILL_ADVISORIES").is_some_and(|value| value == "1") {
        checks.push("advisories");
    }
    let mut command = std::process::Command::new(&program);
    command.current_dir(Cargo::root()).args(["--workspace", "--all-features", "check", "--hide-inclusion-graph"]);
    finish(command.args(checks))
}

fn is_installed(program: &PathBuf) -> bool {
    let version = std::process::Command::new(program).arg("--version").output();
    version.is_ok_and(|output| {
        output.status.success() && output.stdout.trim_ascii() == format!("cargo-deny {CARGO_DENY_VERSION}").as_bytes()
    })
}
