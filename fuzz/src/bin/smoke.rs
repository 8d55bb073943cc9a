//! The bounded run of CI: every target on its seeds as they are, then on mutations of them. On stable, without
//! coverage, the same inputs every time.
//!
//! `smoke [--runs N] [--seed S] [TARGET…]`, or `smoke --seeds TARGET FOLDER`: writes a target's seeds as files, for
//! libFuzzer's corpus.

#![allow(clippy::disallowed_methods, reason = "how long a target takes is read off the clock")]

use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use rumormill_fuzz::{Mutator, TARGETS, Target, seeds};

/// Mutated inputs a target.
const RUNS: u64 = 20_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--seeds", target, folder] => write_seeds(target, Path::new(folder)),
        args => Plan::parse(args).and_then(|plan| plan.run()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("smoke: {message}");
            ExitCode::FAILURE
        }
    }
}

struct Plan {
    runs: u64,
    seed: u64,
    targets: Vec<&'static Target>,
}

impl Plan {
    fn parse(args: &[&str]) -> Result<Self, String> {
        let mut plan = Self { runs: RUNS, seed: 1, targets: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut number =
                || args.next().and_then(|arg| arg.parse().ok()).ok_or_else(|| format!("{arg} needs a number"));
            match *arg {
                "--runs" => plan.runs = number()?,
                "--seed" => plan.seed = number()?,
                name => plan.targets.push(target(name)?),
            }
        }
        if plan.targets.is_empty() {
            plan.targets.extend(TARGETS);
        }
        Ok(plan)
    }

    fn run(&self) -> Result<(), String> {
        for target in &self.targets {
            let seeds = seeds(target.name)?;
            let start = Instant::now();
            for (number, seed) in seeds.iter().enumerate() {
                once(target, seed, &format!("its seed {number}"))?;
            }
            let mut mutator = Mutator::new(self.seed);
            for number in 0..self.runs {
                once(target, &mutator.input(&seeds), &format!("input {number} of --seed {}", self.seed))?;
            }
            let time = start.elapsed().as_secs_f64();
            println!("{:<14} {} seeds, {} inputs, {time:.1} s", target.name, seeds.len(), self.runs);
        }
        Ok(())
    }
}

/// One execution. The input that made it panic is kept, to be run again.
fn once(target: &Target, data: &[u8], what: &str) -> Result<(), String> {
    if catch_unwind(|| (target.run)(data)).is_ok() {
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(target.name);
    let file = folder.join("smoke");
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, data));
    let kept = kept.map_or_else(|error| format!("couldn't be kept: {error}"), |()| format!("is in {}", file.display()));
    Err(format!("{} panicked on {what}, which {kept}", target.name))
}

fn target(name: &str) -> Result<&'static Target, String> {
    TARGETS.iter().find(|target| target.name == name).ok_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        format!("there is no target '{name}'; valid are: {}", names.join(", "))
    })
}

fn write_seeds(name: &str, folder: &Path) -> Result<(), String> {
    for (number, seed) in seeds(target(name)?.name)?.iter().enumerate() {
        let file = folder.join(format!("seed-{number:03}"));
        std::fs::write(&file, seed).map_err(|error| format!("{} can't be written: {error}", file.display()))?;
    }
    Ok(())
}
