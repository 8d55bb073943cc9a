//! `rumor bot test`.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use rumormill::bot::runner::{self, FileReport};
use rumormill::config::LogLevel;
use serde_json::json;

use super::super::{Failure, log, write};

#[derive(Default)]
struct Totals {
    files: usize,
    passed: usize,
    failed: usize,
    ms: u128,
}

pub(super) fn test(
    mut paths: Vec<PathBuf>,
    only: Option<&str>,
    json: bool,
    log_level: Option<LogLevel>,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    if let Some(level) = log_level {
        log::start(level, None)?;
    }
    if paths.is_empty() {
        paths.push(PathBuf::from("."));
    }
    let files = runner::find(&paths).map_err(Failure::new)?;
    if files.is_empty() {
        return Err(Failure::new(format!(
            "no {} here; rumor bot new NAME makes a bot with one",
            runner::TEST_SUFFIX.replacen('_', "*_", 1)
        )));
    }
    let (mut totals, mut written) = (Totals::default(), Ok(()));
    runner::run_files(&files, only, |report| {
        totals.files += 1;
        totals.failed += report.failures();
        totals.passed += report.cases.iter().filter(|case| case.error.is_none()).count();
        totals.ms += report.cases.iter().map(|case| case.took.as_millis()).sum::<u128>();
        let text = if json { lines(report) } else { shown(report) };
        if written.is_ok() {
            written = write(out, &text);
        }
    });
    written?;
    let Totals { files, passed, failed, ms } = totals;
    if passed + failed == 0 {
        return Err(Failure::new(format!("no test has {:?} in its name", only.unwrap_or_default())));
    }
    let end = if json {
        format!("{}\n", json!({ "event": "end", "files": files, "passed": passed, "failed": failed, "ms": ms }))
    } else {
        let (tests, files) = (count(passed + failed, "test"), count(files, "file"));
        format!("{tests} in {files}: {passed} passed, {failed} failed\n")
    };
    write(out, &end)?;
    if failed > 0 { Err(Failure::new(format!("{} failed", count(failed, "test")))) } else { Ok(()) }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// For people.
fn shown(report: &FileReport) -> String {
    let mut text = format!("{}\n", report.file.display());
    for case in &report.cases {
        let mark = if case.error.is_some() { "FAIL" } else { "ok  " };
        let _ = writeln!(text, "  {mark} {} ({} ms)", case.name, case.took.as_millis());
        for line in case.error.iter().flat_map(|error| error.lines()) {
            let _ = writeln!(text, "       {line}");
        }
    }
    if let Some(error) = &report.error {
        let _ = writeln!(text, "  FAIL {error}");
    }
    text
}

/// For programs.
fn lines(report: &FileReport) -> String {
    let file = report.file.display().to_string();
    let mut text = String::new();
    for case in &report.cases {
        let line = json!({
            "event": "test", "file": file, "name": case.name, "ok": case.error.is_none(), "error": case.error,
            "ms": case.took.as_millis(),
        });
        let _ = writeln!(text, "{line}");
    }
    if let Some(error) = &report.error {
        let _ = writeln!(text, "{}", json!({ "event": "file", "file": file, "ok": false, "error": error }));
    }
    text
}
