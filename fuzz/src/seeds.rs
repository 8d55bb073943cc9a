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
        match target {
            "envelope" => seeds.extend(crate::wire::envelopes().into_iter().map(Vec::from)),
            "frame" => seeds.extend(crate::wire::frames()),
            "invite" => seeds.extend(crate::invite::seeds()),
            "link_message" => seeds.extend(crate::wire::link_messages()),
            "payload" => seeds.extend(crate::room::payloads()),
            _ => {}
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

/// A text of the repository's test vectors.
pub(crate) fn text(file: &str, field: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let vectors: serde_json::Value = serde_json::from_str(&text).expect("test vectors are JSON");
    vectors[field].as_str().unwrap_or_else(|| panic!("{file} has no text {field:?}")).to_owned()
}

/// Bytes of the repository's test vectors, which are written in hexadecimal.
pub(crate) fn vector(file: &str, field: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text(file, field).as_bytes()).expect("test vectors are in hexadecimal")
}
