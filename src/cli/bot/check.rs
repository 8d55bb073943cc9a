//! `rumor bot check FILE…`.

use std::io::Write;
use std::path::PathBuf;

use rumormill::bot::checker;

use super::super::{Failure, write};

pub(super) fn check(paths: &[PathBuf], out: &mut dyn Write) -> Result<(), Failure> {
    let files = checker::find(paths).map_err(Failure::new)?;
    let mut problems = 0;
    for file in &files {
        for line in checker::check(file) {
            problems += 1;
            write(out, &format!("{line}\n"))?;
        }
    }
    match problems {
        0 => write(out, &format!("OK {} {}\n", files.len(), if files.len() == 1 { "script" } else { "scripts" })),
        1 => Err(Failure::new("1 problem")),
        n => Err(Failure::new(format!("{n} problems"))),
    }
}
