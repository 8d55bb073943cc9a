//! `rumor config check` and `rumor config schema`.

use std::io::Write;
use std::path::Path;

use rumormill::config::Config;

use super::{Failure, write};

pub(super) fn check(file: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let config = Config::load_with(file, &rumormill::plugins::compiled_in()).map_err(|errors| {
        let (count, s) = (errors.problems.len(), if errors.problems.len() == 1 { "" } else { "s" });
        Failure::new(format!("{count} problem{s}\n{errors}"))
    })?;
    write(out, &format!("OK {}\n{}\n", file.display(), config.summary()))
}

pub(super) fn schema(out: &mut dyn Write) -> Result<(), Failure> {
    write(out, &format!("{:#}\n", Config::schema()))
}
