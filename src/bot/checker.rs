//! Checks scripts: how they use the API, held against the table that describes it, and whether they load in the sandbox.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::runner::TEST_SUFFIX;
use super::world::{all_of, script_name};
use crate::script::{Host, HostConfig, check_source, is_script_name};

/// Deepest folder that is searched for scripts.
const SEARCH_DEPTH_MAX: usize = 16;

/// The scripts that are meant: files, and all below folders but tests and modules (`lib/`) and definitions (`types/`).
///
/// # Errors
///
/// What isn't there, or is no script.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            search(path, 0, &mut found);
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(TEST_SUFFIX) {
            return Err(format!("{} is a test: rumor bot test runs it", path.display()));
        }
        if !is_script_name(name) {
            let shown = path.display();
            return Err(format!("{shown} is no script: its name must be letters, digits, _ and -, and .lua"));
        }
        if !path.is_file() {
            return Err(format!("there is no file {}", path.display()));
        }
        found.push(path.clone());
    }
    found.sort();
    found.dedup();
    if found.is_empty() { Err("there are no scripts here".to_owned()) } else { Ok(found) }
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && depth < SEARCH_DEPTH_MAX && !["lib", "types"].contains(&name) {
            search(&entry.path(), depth + 1, found);
        } else if is_script_name(name) && entry.path().is_file() {
            found.push(entry.path());
        }
    }
}

/// What is wrong with a script: a line each, `FILE:LINE: …`.
#[must_use]
pub fn check(file: &Path) -> Vec<String> {
    let shown = file.display();
    let source = match std::fs::read_to_string(file) {
        Ok(source) => source,
        Err(error) => return vec![format!("{shown}: {error}")],
    };
    let problems = check_source(&source);
    let mut lines: Vec<String> =
        problems.iter().map(|problem| format!("{shown}:{}: {}", problem.line, problem.text)).collect();
    if let Err(error) = load(file, &source) {
        // Most often what was found above already, at the same line or in the same words.
        let place = error.split(": ").next().unwrap_or_default();
        let known = lines.iter().any(|line| line.starts_with(&format!("{place}: ")))
            || problems.iter().any(|problem| error.contains(&problem.text));
        if !known {
            lines.push(error);
        }
    }
    lines
}

/// Loads it in the sandbox, with everything granted that it asks for.
fn load(file: &Path, source: &str) -> Result<(), String> {
    let absolute = std::path::absolute(file).map_err(|error| error.to_string())?;
    let scripts = BTreeMap::from([(script_name(file), all_of(source))]);
    let config = HostConfig { files: vec![absolute], scripts, ..HostConfig::default() };
    let host = Host::start(config).map_err(|error| error.to_string())?;
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let own = host.status().into_iter().find(|script| !script.embedded && script.file.ends_with(&format!("/{name}")));
    let result = match own {
        Some(script) => script.last_error.map_or(Ok(()), |error| {
            // The host calls it by its place in a script folder.
            Err(error.replacen(&script.file, &file.display().to_string(), 1))
        }),
        None => Err(format!("{}: it was not loaded", file.display())),
    };
    host.stop();
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("lib")).unwrap();
        std::fs::write(dir.path().join("lib/good.lua"), "return 1").unwrap();
        let file = dir.path().join("x.lua");
        std::fs::write(&file, text).unwrap();
        let folder = format!("{}/", dir.path().display());
        check(&file).into_iter().map(|line| line.replace(&folder, "")).collect()
    }

    #[test]
    fn what_fails_to_load_is_said_with_file_and_line() {
        assert_eq!(said("print(require(\"good\"))"), Vec::<String>::new());
        let lines = said("local x = nil\n\nprint(x.y)");
        assert!(lines.len() == 1 && lines[0].starts_with("x.lua:3: attempt to index nil"), "{lines:?}");
        let lines = said("local = 1");
        assert!(lines.len() == 1 && lines[0].starts_with("x.lua:1: "), "{lines:?}");
        let lines = said("require(\"bad\")");
        assert!(lines.len() == 1 && lines[0].contains("lib/bad.lua"), "{lines:?}");
    }

    #[test]
    fn a_problem_is_said_once() {
        let lines = said("\nrumor.command(\"x\", { params = 1, run = function() end })");
        assert_eq!(lines, ["x.lua:2: rumor.command: params must be a string, got number"]);
    }

    #[test]
    fn scripts_are_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("bots/lib")).unwrap();
        for name in ["bots/a.lua", "bots/a_test.lua", "bots/lib/m.lua", "b.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(find(&[dir.path().to_owned()]).unwrap(), [dir.path().join("bots/a.lua")]);
        assert!(find(&[dir.path().join("bots/a_test.lua")]).unwrap_err().contains("is a test"));
        assert!(find(&[dir.path().join("bots/x.lua")]).unwrap_err().contains("there is no file"));
        assert!(find(&[dir.path().join("b.txt")]).unwrap_err().contains("is no script"));
    }
}
