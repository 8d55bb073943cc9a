//! The project's own commands. `cargo xtask help` lists them.
//!
//! A plain crate without dependencies: nothing has to be installed by hand to run what CI runs.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints")]

mod bench_peers;
mod check;
mod deny;
mod fuzz;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <COMMAND> [-j N]

Commands:
  check                      everything that CI runs beside the tests: format, clippy, features, docs, layering, deny
  deny                       licences, bans and sources of the dependencies (RUMORMILL_ADVISORIES=1: advisories too)
  test [ARGS…]               cargo test --workspace ARGS…
  bench [ARGS…]              cargo bench ARGS…
  bench-peers [ARGS…]        beside gossipsub and iroh-gossip: the table in benches/RESULTS.md, and the ratios (half an
                             hour and more; ARGS as `bench-peers --help` lists them)
  bench-peers-quick          16 nodes, 256 B, 2 rounds: under 3 minutes once built, writes no file
  churn [--runs N] [ARGS…]   nodes stop and start, links are cut: is every acknowledged message everywhere in the end?
  lua-api                    writes the reference in lua/README.md and lua/types/ anew, from the table of the API
  fuzz-smoke [--runs N]      each decoder on N mutated inputs, on the stable toolchain, the same ones every time
  fuzz TARGET [--runs N]     one decoder under libFuzzer; needs the nightly toolchain
  help                       this text

-j N (or CARGO_BUILD_JOBS) bounds how many compilers run at once.
";

fn main() -> ExitCode {
    let mut args: Vec<String> = match std::env::args_os().skip(1).map(OsString::into_string).collect() {
        Ok(args) => args,
        Err(arg) => return usage(&format!("an argument isn't UTF-8: {}", arg.to_string_lossy())),
    };
    if args.is_empty() {
        return usage("which command?");
    }
    let command = args.remove(0);
    // These hand their arguments on as they are: `-j` means the same to cargo.
    let passes_on = matches!(command.as_str(), "bench" | "test" | "bench-peers" | "churn");
    let jobs = if passes_on { Ok(None) } else { number(&mut args, &["-j", "--jobs"]) };
    let runs = if command.starts_with("fuzz") { number(&mut args, &["--runs"]) } else { Ok(None) };
    let (jobs, runs) = match (jobs, runs) {
        (Ok(jobs), Ok(runs)) => (jobs, runs),
        (Err(message), _) | (_, Err(message)) => return usage(&message),
    };
    let cargo = run::Cargo::new(jobs);
    let done = match (command.as_str(), args.as_slice()) {
        ("check", []) => check::check(&cargo),
        ("deny", []) => deny::deny(&cargo),
        ("test", _) => cargo.run(["test", "--workspace"], &args),
        ("bench", _) => cargo.run(["bench"], &args),
        ("bench-peers", _) => bench_peers::compare(&cargo, &args),
        ("bench-peers-quick", []) => bench_peers::quick(&cargo),
        ("churn", _) => bench_peers::churn(&cargo, &args),
        ("lua-api", []) => {
            run::finish(cargo.command(["test", "--test", "script_reference"]).env("RUMORMILL_WRITE", "1"))
        }
        ("fuzz-smoke", []) => fuzz::smoke(&cargo, runs),
        ("fuzz", [target]) => fuzz::libfuzzer(&cargo, target, runs),
        ("help" | "-h" | "--help", []) => {
            print!("{USAGE}");
            Ok(())
        }
        ("check" | "deny" | "lua-api" | "bench-peers-quick" | "fuzz-smoke" | "fuzz" | "help", _) => {
            return usage(&format!("unexpected arguments of {command}: {}", args.join(" ")));
        }
        _ => return usage(&format!("there is no command '{command}'")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn usage(message: &str) -> ExitCode {
    eprint!("xtask: {message}\n\n{USAGE}");
    ExitCode::from(2)
}

/// Takes `--name N` or `--name=N` out of the arguments; for a short name also `-nN`.
fn number(args: &mut Vec<String>, names: &[&str]) -> Result<Option<u64>, String> {
    let attached = |arg: &str, name: &str| {
        let rest = arg.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(Some(value.to_owned())),
            None if rest.is_empty() => Some(None),
            None => (!name.starts_with("--")).then(|| Some(rest.to_owned())),
        }
    };
    let found = args
        .iter()
        .enumerate()
        .find_map(|(at, arg)| names.iter().find_map(|name| attached(arg, name).map(|value| (at, *name, value))));
    let Some((at, name, value)) = found else { return Ok(None) };
    args.remove(at);
    let value = match value {
        Some(value) => value,
        None if at < args.len() => args.remove(at),
        None => return Err(format!("{name} needs a number")),
    };
    match value.parse::<u64>() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(format!("{name} needs a number from 1, not '{value}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    fn args(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_number_is_taken_out_of_the_arguments() {
        for line in ["a --runs 5 b", "a --runs=5 b"] {
            let mut line = args(line);
            assert_eq!(number(&mut line, &["--runs"]), Ok(Some(5)));
            assert_eq!(line, args("a b"));
        }
        assert_eq!(number(&mut args("a b"), &["--runs"]), Ok(None));
        for line in ["-j2", "-j 2", "-j=2", "--jobs 2"] {
            assert_eq!(number(&mut args(line), &["-j", "--jobs"]), Ok(Some(2)), "{line}");
        }
        assert_eq!(number(&mut args("--runsome 2"), &["--runs"]), Ok(None));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for line in ["--runs", "--runs 0", "--runs -1", "--runs x", "--runs="] {
            assert!(number(&mut args(line), &["--runs"]).is_err(), "{line}");
        }
    }
}
