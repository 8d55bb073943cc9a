//! What the mutations begin with: valid inputs, as the project's own examples and test vectors have them.

use std::path::{Path, PathBuf};

/// The seeds of a target: files of `seeds/TARGET` here, and what of the repository is valid input for it.
///
/// # Errors
///
/// A folder that should be there and can't be read, or a target without any seed.
pub fn seeds(target: &str) -> Result<Vec<Vec<u8>>, String> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = list(&fuzz.join("seeds").join(target), true)?;
    if target == "config" {
        files.extend(list(&fuzz.join("../config_examples"), false)?);
    }
    let seeds: Result<Vec<_>, _> = files
        .iter()
        .filter(|file| file.is_file())
        .map(|file| std::fs::read(file).map_err(|error| format!("{} can't be read: {error}", file.display())))
        .collect();
    let seeds = seeds.map(|mut seeds| {
        if target == "payload" {
            seeds.extend(crate::room::payloads());
        }
        seeds
    });
    match seeds {
        Ok(seeds) if seeds.is_empty() => Err(format!("{target} has no seed")),
        seeds => seeds,
    }
}

/// The files of a folder, sorted, so that every run has the same order.
fn list(folder: &Path, may_miss: bool) -> Result<Vec<PathBuf>, String> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if may_miss && error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{} can't be read: {error}", folder.display())),
    };
    let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}
