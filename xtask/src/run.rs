//! Running cargo, and a list of steps with times and a summary.

#![allow(clippy::disallowed_methods, reason = "how long a step takes is read off the clock")]

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The cargo that runs this tool, in the workspace's root.
pub(crate) struct Cargo {
    program: OsString,
    jobs: Option<u64>,
}

impl Cargo {
    /// `jobs` of `None` leaves the number of compilers to the environment.
    pub(crate) fn new(jobs: Option<u64>) -> Self {
        Self { program: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), jobs }
    }

    /// The workspace's root.
    pub(crate) fn root() -> PathBuf {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        xtask.parent().expect("xtask/ lies in the workspace's root").to_owned()
    }

    /// Where the workspace builds to.
    pub(crate) fn target() -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Self::root().join("target"), PathBuf::from)
    }

    /// A call of this cargo.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        self.prepared(Command::new(&self.program), args)
    }

    /// A call of another toolchain's cargo, through rustup.
    pub(crate) fn of_toolchain<A: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", name, "cargo"]);
        // Set by the rustup that started this tool, and stronger than the toolchain that is named.
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").env_remove("CARGO");
        self.prepared(command, args)
    }

    fn prepared<A: AsRef<OsStr>>(&self, mut command: Command, args: impl IntoIterator<Item = A>) -> Command {
        command.args(args).current_dir(Self::root());
        if let Some(jobs) = self.jobs {
            command.env("CARGO_BUILD_JOBS", jobs.to_string());
        }
        command
    }

    /// Runs this cargo, with further arguments.
    pub(crate) fn run<const N: usize>(&self, args: [&str; N], more: &[String]) -> Result<(), String> {
        finish(self.command(args).args(more))
    }
}

/// Runs a command with this tool's standard streams.
pub(crate) fn finish(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} failed: {status}", line(command))),
        Err(error) => Err(format!("{} can't be run: {error}", line(command))),
    }
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Steps that are all run, whatever became of those before.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: String,
    time: Duration,
    result: Result<(), String>,
}

impl Steps {
    /// Runs a step under its heading.
    pub(crate) fn step(&mut self, name: impl Into<String>, step: impl FnOnce() -> Result<(), String>) {
        let name = name.into();
        println!("\n== {name}");
        let start = Instant::now();
        let result = step();
        let time = start.elapsed();
        if let Err(message) = &result {
            println!("-- {message}");
        }
        println!("-- {:.1} s", time.as_secs_f64());
        self.done.push(Step { name, time, result });
    }

    /// Prints every step's time and result.
    pub(crate) fn summary(self) -> Result<(), String> {
        println!("\n== summary");
        for step in &self.done {
            let word = if step.result.is_ok() { "ok" } else { "FAILED" };
            println!("{word:<6} {:>7.1} s  {}", step.time.as_secs_f64(), step.name);
        }
        let failed: Vec<_> = self.done.iter().filter(|step| step.result.is_err()).map(|step| &*step.name).collect();
        match failed.as_slice() {
            [] => Ok(()),
            failed => Err(format!("{} of {} steps failed: {}", failed.len(), self.done.len(), failed.join("; "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_stops_no_other_and_is_named_at_the_end() {
        let mut steps = Steps::default();
        let mut ran = 0;
        steps.step("first", || Err("broken".to_owned()));
        steps.step("second", || {
            ran += 1;
            Ok(())
        });
        assert_eq!(ran, 1);
        assert_eq!(steps.summary(), Err("1 of 2 steps failed: first".to_owned()));
    }

    #[test]
    fn all_steps_ok_is_ok() {
        let mut steps = Steps::default();
        steps.step("only", || Ok(()));
        assert_eq!(steps.summary(), Ok(()));
    }

    #[test]
    fn a_command_that_fails_is_quoted() {
        let mut command = Cargo::new(None).command(["no-such-subcommand"]);
        command.stderr(std::process::Stdio::null());
        let message = finish(&mut command).expect_err("there is no such subcommand");
        assert!(message.starts_with("cargo no-such-subcommand failed: "), "{message}");
    }
}
