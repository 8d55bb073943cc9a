//! `cargo xtask fuzz-smoke` and `cargo xtask fuzz`: the decoders on hostile bytes.
//!
//! The smoke run mutates the seeds of `fuzz/` by a fixed random sequence, on the stable toolchain: bounded, and the
//! same in CI as at home. The long runs are libFuzzer's, which follows coverage and needs nightly; the flags are the
//! ones that cargo-fuzz passes, so that neither it nor anything else has to be installed.

use std::process::Command;

use crate::run::{Cargo, finish};

/// Mutated inputs a target of a smoke run.
const SMOKE_RUNS: u64 = 20_000;
/// Executions of a run under libFuzzer.
const LIBFUZZER_RUNS: u64 = 1_000_000;
/// The most memory that a run under libFuzzer may hold at once, in MiB: libFuzzer's own tables, some 30 MiB before the
/// first input, are in it.
const LIBFUZZER_MEMORY_MAX_MIB: u64 = 128;
/// The most that one allocation may ask for, in MiB.
const ALLOCATION_MAX_MIB: u64 = 16;
/// The largest input, in bytes: one more than a frame can hold.
const INPUT_MAX_BYTES: u64 = 65_536;
/// The longest that one input may take, in seconds.
const INPUT_TIMEOUT_S: u64 = 5;

/// Coverage instrumentation for libFuzzer, as cargo-fuzz sets it, with the checks that a debug build has.
const COVERAGE_FLAGS: &str = "--cfg fuzzing -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Every target on its seeds and `runs` mutations of them.
pub(crate) fn smoke(cargo: &Cargo, runs: Option<u64>) -> Result<(), String> {
    let runs = runs.unwrap_or(SMOKE_RUNS).to_string();
    finish(smoke_build(cargo.command(["run", "--quiet"])).args(["--bin", "smoke", "--", "--runs", &runs]))
}

/// One target under libFuzzer: `runs` executions, its corpus and its findings kept under `fuzz/`.
pub(crate) fn libfuzzer(cargo: &Cargo, target: &str, runs: Option<u64>) -> Result<(), String> {
    let fuzz = Cargo::root().join("fuzz");
    let source = fuzz.join("fuzz_targets").join(format!("{target}.rs"));
    if !source.is_file() {
        return Err(format!("there is no target '{target}'; valid are: {}", targets()?.join(", ")));
    }
    let corpus = fuzz.join("corpus").join(target);
    let artifacts = fuzz.join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder).map_err(|error| format!("{} can't be made: {error}", folder.display()))?;
    }
    finish(
        smoke_build(cargo.command(["run", "--quiet"])).args(["--bin", "smoke", "--", "--seeds", target]).arg(&corpus),
    )?;

    let mut build = cargo.of_toolchain("nightly", ["run", "--release"]);
    // With a target named, the flags apply to the program alone and not to build scripts.
    build.args(["--target", &host()?, "--bin", target]).env("RUSTFLAGS", COVERAGE_FLAGS);
    build.arg("--target-dir").arg(Cargo::target().join("libfuzzer"));
    let mut run = manifest(build);
    run.arg("--").arg(&corpus).arg(format!("-artifact_prefix={}/", artifacts.display()));
    run.args([
        format!("-runs={}", runs.unwrap_or(LIBFUZZER_RUNS)),
        format!("-rss_limit_mb={LIBFUZZER_MEMORY_MAX_MIB}"),
        format!("-malloc_limit_mb={ALLOCATION_MAX_MIB}"),
        format!("-max_len={INPUT_MAX_BYTES}"),
        format!("-timeout={INPUT_TIMEOUT_S}"),
        "-print_final_stats=1".to_owned(),
    ]);
    finish(&mut run)
}

/// Points a cargo command to the fuzz workspace.
pub(crate) fn manifest(mut command: Command) -> Command {
    command.arg("--manifest-path").arg(Cargo::root().join("fuzz/Cargo.toml"));
    command
}

/// Points a cargo command to the fuzz workspace without libFuzzer, building into the main workspace's folder: the
/// dependencies are the same, and are there already. A lock file that doesn't follow the main workspace's is an error.
pub(crate) fn smoke_build(command: Command) -> Command {
    let mut command = manifest(command);
    command.args(["--locked", "--no-default-features"]).arg("--target-dir").arg(Cargo::target());
    command
}

fn targets() -> Result<Vec<String>, String> {
    let folder = Cargo::root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{} can't be read: {error}", folder.display()))?;
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut names: Vec<_> = files.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// This machine's target triple.
fn host() -> Result<String, String> {
    let output = Command::new("rustup").args(["run", "nightly", "rustc", "--version", "--verbose"]).output();
    let output = output.map_err(|error| format!("rustup can't be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "libFuzzer needs the nightly toolchain: rustup toolchain install nightly".to_owned())
}
