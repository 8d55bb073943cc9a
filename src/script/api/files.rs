//! `rumor.files`: texts that a script writes for people, in a folder of its own. It can't read them, nor anything else.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mlua::{Lua, Table};

use super::args::string;
use super::{Api, Op, Refusal, define};
use crate::script::convert::clean_line;

/// Longest name of a file, in bytes.
pub(in crate::script) const FILE_NAME_MAX_BYTES: usize = 128;
/// Longest text of one file, in bytes.
pub(in crate::script) const FILE_MAX_BYTES: usize = 4 << 20;
/// What the files of one script may take together, in bytes.
pub(in crate::script) const FILES_MAX_BYTES: u64 = 64 << 20;
/// Most files of one script.
pub(in crate::script) const FILES_MAX: usize = 10_000;

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let files = lua.create_table()?;
    let write = define(lua, api, "rumor.files.write", |_, api, args| {
        let name = args.string(0)?;
        if !is_file_name(&name) {
            return Err(Refusal::Say(format!(
                "{:?} can't be a file's name: letters, digits, spaces, _ - and ., not at its begin, at most {FILE_NAME_MAX_BYTES} bytes",
                clean_line(&name, 40)
            )));
        }
        let text = string(&args.value(1), "text")?;
        if text.len() > FILE_MAX_BYTES {
            return Err(Refusal::Say(format!("text is longer than {FILE_MAX_BYTES} bytes")));
        }
        *api.pending.borrow_mut() = Some(Op::WriteFile { name, text });
        Ok(())
    })?;
    files.raw_set("write", write)?;
    files.set_readonly(true);
    rumor.raw_set("files", files)
}

/// Whether it names a file on every system, and nothing but one.
fn is_file_name(name: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    !name.is_empty()
        && name.len() <= FILE_NAME_MAX_BYTES
        && !name.starts_with(['.', ' '])
        && !name.ends_with(['.', ' '])
        && name.chars().all(good)
}

/// Writes a file of a script's, whole or not at all. Blocks.
pub(in crate::script) fn write(folder: Option<&Path>, script: &str, name: &str, text: &str) -> Result<(), String> {
    let Some(folder) = folder else { return Err("this program keeps no files of scripts".to_owned()) };
    let folder = folder.join(script);
    let failed = |error: std::io::Error| format!("can't write {name:?}: {error}");
    private_folder(&folder).map_err(failed)?;
    let (mut count, mut bytes) = (0_usize, 0_u64);
    for entry in std::fs::read_dir(&folder).map_err(failed)?.flatten() {
        if entry.file_name().to_str() != Some(name) {
            count += 1;
            bytes += entry.metadata().map_or(0, |meta| meta.len());
        }
    }
    if count >= FILES_MAX || bytes + text.len() as u64 > FILES_MAX_BYTES {
        return Err(format!(
            "a script may have {FILES_MAX} files of {FILES_MAX_BYTES} bytes together: move old ones away from {}",
            folder.display()
        ));
    }
    let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(folder.join(name)).map_err(|error| failed(error.error)).map(drop)
}

/// Makes a folder for the owner alone, if it isn't there.
fn private_folder(folder: &PathBuf) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        for good in ["study 2027-01-15.md", "ä.txt", &"x".repeat(FILE_NAME_MAX_BYTES)] {
            assert!(is_file_name(good), "{good}");
        }
        for bad in
            ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a:b", "a\0b", "x.", &"x".repeat(FILE_NAME_MAX_BYTES + 1)]
        {
            assert!(!is_file_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn files_are_replaced_whole_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        write(Some(dir.path()), "x", "a.md", "one").unwrap();
        write(Some(dir.path()), "x", "a.md", "two").unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("x/a.md")).unwrap(), "two");
        assert_eq!(std::fs::read_dir(dir.path().join("x")).unwrap().count(), 1);
        let big = std::fs::File::create(dir.path().join("x/big")).unwrap();
        big.set_len(FILES_MAX_BYTES - 3).unwrap();
        assert!(write(Some(dir.path()), "x", "a.md", "two").is_ok());
        assert!(write(Some(dir.path()), "x", "a.md", "four").unwrap_err().contains("move old ones away"));
        assert!(write(None, "x", "a.md", "").is_err());
    }
}
