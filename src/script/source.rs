//! Where scripts come from: embedded commands, overlaid by the user's folder.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folders that scripts load from by themselves.
pub(super) const FOLDERS: [&str; 3] = ["commands", "hooks", "bots"];

/// Commands that ship.
const EMBEDDED: [(&str, &str); 13] = [
    ("commands/chat.lua", include_str!("../../lua/commands/chat.lua")),
    ("commands/chats.lua", include_str!("../../lua/commands/chats.lua")),
    ("commands/exit.lua", include_str!("../../lua/commands/exit.lua")),
    ("commands/help.lua", include_str!("../../lua/commands/help.lua")),
    ("commands/ignore.lua", include_str!("../../lua/commands/ignore.lua")),
    ("commands/load_history.lua", include_str!("../../lua/commands/load_history.lua")),
    ("commands/members.lua", include_str!("../../lua/commands/members.lua")),
    ("commands/peers.lua", include_str!("../../lua/commands/peers.lua")),
    ("commands/reload.lua", include_str!("../../lua/commands/reload.lua")),
    ("commands/scripts.lua", include_str!("../../lua/commands/scripts.lua")),
    ("commands/search.lua", include_str!("../../lua/commands/search.lua")),
    ("commands/show_history.lua", include_str!("../../lua/commands/show_history.lua")),
    ("commands/whoami.lua", include_str!("../../lua/commands/whoami.lua")),
];

/// Modules that ship: what `require` finds where neither the script nor its folder has one of the name.
const EMBEDDED_MODULES: [(&str, &str); 1] = [("plural", include_str!("../../lua/lib/plural.lua"))];

/// A script's source, as it was read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Below the folder: `commands/chat.lua`.
    pub(super) label: String,
    /// The file; `None` for an embedded one.
    pub(super) path: Option<PathBuf>,
    /// Its text, or why it couldn't be read.
    pub(super) text: Result<Arc<str>, String>,
}

impl Source {
    /// The name under which the config grants: the file's name without `.lua`.
    pub(super) fn name(&self) -> &str {
        name_of(&self.label)
    }

    /// What a change is told by.
    pub(super) fn hash(&self) -> blake3::Hash {
        match &self.text {
            Ok(text) => blake3::hash(text.as_bytes()),
            Err(error) => blake3::keyed_hash(&[1; 32], error.as_bytes()),
        }
    }
}

/// The name of the script of that label.
pub(super) fn name_of(label: &str) -> &str {
    label.rsplit('/').next().unwrap_or(label).trim_end_matches(".lua")
}

/// Whether a command of this label ships.
pub(super) fn is_embedded(label: &str) -> bool {
    EMBEDDED.iter().any(|(embedded, _)| *embedded == label)
}

/// The folder of scripts that a file lies in, if its parent is one of [`FOLDERS`].
pub(super) fn folder_of(file: &Path) -> Option<&Path> {
    let parent = file.parent()?;
    let kind = parent.file_name()?.to_str()?;
    FOLDERS.contains(&kind).then(|| parent.parent()).flatten()
}

/// What a single file is called below a script folder: `bots/x.lua`. `None`: its name is no script's.
fn label_of(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str().filter(|name| is_script_name(name))?;
    let kind = file.parent().and_then(|parent| parent.file_name()).and_then(|kind| kind.to_str());
    let kind = kind.filter(|kind| FOLDERS.contains(kind)).unwrap_or("bots");
    Some(format!("{kind}/{name}"))
}

/// Every script there is now: the embedded ones, replaced by files of the same name, and single files before both.
pub(super) fn discover(folder: Option<&Path>, files: &[PathBuf], max_bytes: usize) -> BTreeMap<String, Source> {
    let mut found = BTreeMap::new();
    for (label, text) in EMBEDDED {
        let source = Source { label: label.to_owned(), path: None, text: Ok(text.into()) };
        found.insert(label.to_owned(), source);
    }
    for kind in FOLDERS {
        let Some(folder) = folder else { break };
        let Ok(entries) = std::fs::read_dir(folder.join(kind)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if !is_script_name(name) {
                continue;
            }
            let label = format!("{kind}/{name}");
            let path = entry.path();
            if let Some(text) = read(&path, max_bytes) {
                found.insert(label.clone(), Source { label, path: Some(path), text });
            }
        }
    }
    for path in files {
        if let (Some(label), Some(text)) = (label_of(path), read(path, max_bytes)) {
            found.insert(label.clone(), Source { label, path: Some(path.clone()), text });
        }
    }
    found
}

/// Whether a file of this name is a script: not hidden (editors' locks and swap files), not a test.
#[must_use]
pub fn is_script_name(name: &str) -> bool {
    name.strip_suffix(".lua").is_some_and(|stem| {
        !stem.is_empty()
            && !stem.ends_with("_test")
            && stem.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
    })
}

/// A file's text; `None` when it isn't there or is no regular file.
pub(super) fn read(path: &Path, max_bytes: usize) -> Option<Result<Arc<str>, String>> {
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(format!("can't be read: {error}"))),
    };
    if let Err(error) = file.take(limit).read_to_end(&mut bytes) {
        return Some(Err(format!("can't be read: {error}")));
    }
    Some(check(bytes, max_bytes))
}

/// Source is text of a limited length, never bytecode.
fn check(bytes: Vec<u8>, max_bytes: usize) -> Result<Arc<str>, String> {
    if bytes.len() > max_bytes {
        return Err(format!("is longer than {max_bytes} bytes"));
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.into()),
        _ => Err("is not a UTF-8 text (bytecode is not loaded)".to_owned()),
    }
}

/// Where `require(name)` of a script looks: its own `lib/` beside it, then the folder's `lib/`, then what ships.
#[derive(Clone, Debug, Default)]
pub(super) struct Libraries {
    pub(super) roots: Vec<PathBuf>,
}

/// Most files that one script may require or look for. All of them are read again at each look at the folder.
pub(super) const DEPENDENCIES_MAX: usize = 256;

/// A file that a script required or looked for, and its hash (`None`: it wasn't there).
pub(super) type Dependency = (PathBuf, Option<blake3::Hash>);

impl Libraries {
    /// Those of a script at `path` in `folder`.
    pub(super) fn of(folder: Option<&Path>, path: Option<&Path>) -> Self {
        let own = path.and_then(Path::parent).map(|dir| dir.join("lib"));
        let shared = path.and_then(|path| folder_of(path).or(folder)).map(|folder| folder.join("lib"));
        Self { roots: own.into_iter().chain(shared).collect() }
    }

    /// A module's label and text. Adds what was looked at to `seen`.
    pub(super) fn find(
        &self,
        name: &str,
        max_bytes: usize,
        seen: &mut Vec<Dependency>,
    ) -> Result<(String, Arc<str>), String> {
        let good = !name.is_empty()
            && name.len() <= 128
            && name
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        if !good {
            return Err("a module's name is words of letters, digits and _ joined by dots".to_owned());
        }
        let relative = format!("{}.lua", name.replace('.', "/"));
        for root in &self.roots {
            let path = root.join(&relative);
            let known = seen.iter().any(|(looked, _)| *looked == path);
            if !known && seen.len() >= DEPENDENCIES_MAX {
                return Err(format!("a script may look for at most {DEPENDENCIES_MAX} files of modules"));
            }
            let text = read(&path, max_bytes);
            if !known {
                seen.push((path.clone(), text.as_ref().map(hash_of)));
            }
            let Some(text) = text else { continue };
            let inside = match (std::fs::canonicalize(root), std::fs::canonicalize(&path)) {
                (Ok(root), Ok(path)) => path.starts_with(root),
                _ => false,
            };
            if !inside {
                return Err(format!("module {name:?} leads out of its lib folder"));
            }
            let text = text.map_err(|error| format!("module {name:?} {error}"))?;
            return Ok((format!("lib/{relative}"), text));
        }
        if let Some((_, text)) = EMBEDDED_MODULES.iter().find(|(module, _)| *module == name) {
            return Ok((format!("lib/{relative}"), (*text).into()));
        }
        Err(format!(
            "there is no module {name:?}; it would be lib/{relative} beside the script or in the script folder"
        ))
    }
}

/// The hash of a file's text, to tell a change by.
fn hash_of(text: &Result<Arc<str>, String>) -> blake3::Hash {
    Source { label: String::new(), path: None, text: text.clone() }.hash()
}

/// Whether none of these changed.
pub(super) fn unchanged(dependencies: &[Dependency], max_bytes: usize) -> bool {
    dependencies.iter().all(|(path, hash)| read(path, max_bytes).map(|text| hash_of(&text)) == *hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_scripts_are_scripts() {
        for name in ["x.lua", "load_history.lua", "a-b.lua"] {
            assert!(is_script_name(name), "{name}");
        }
        for name in [".#x.lua", ".x.lua", "x.lua~", "x_test.lua", ".lua", "x.txt", "4913"] {
            assert!(!is_script_name(name), "{name}");
        }
    }

    #[test]
    fn single_files_count_by_the_folder_they_lie_in() {
        let label = |file: &str| label_of(Path::new(file));
        assert_eq!(label("/x/hooks/a.lua").as_deref(), Some("hooks/a.lua"));
        assert_eq!(label("/x/y/a.lua").as_deref(), Some("bots/a.lua"));
        assert_eq!(label("a.lua").as_deref(), Some("bots/a.lua"));
        assert_eq!(label("/x/bots/a_test.lua"), None);
        assert_eq!(folder_of(Path::new("/x/bots/a.lua")), Some(Path::new("/x")));
        assert_eq!(folder_of(Path::new("/x/y/a.lua")), None);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("bots")).unwrap();
        std::fs::write(dir.path().join("bots/a.lua"), "one").unwrap();
        std::fs::write(dir.path().join("a.lua"), "two").unwrap();
        let found = discover(Some(dir.path()), &[dir.path().join("a.lua")], 100);
        assert_eq!(found["bots/a.lua"].text.as_deref(), Ok("two"));
        assert!(found.contains_key("commands/help.lua"));
    }

    #[test]
    fn the_length_is_limited_and_bytecode_refused() {
        assert!(check(vec![b' '; 10], 10).is_ok());
        assert!(check(vec![b' '; 11], 10).is_err());
        assert!(check(vec![0x06, 0x00, 0xff], 10).is_err());
        assert!(check(b"a\0b".to_vec(), 10).is_err());
    }

    #[test]
    fn modules_stay_in_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("lib")).unwrap();
        std::fs::write(dir.path().join("secret.lua"), "return 1").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret.lua"), dir.path().join("lib/link.lua")).unwrap();
        std::fs::write(dir.path().join("lib/good.lua"), "return 1").unwrap();
        let libraries = Libraries { roots: vec![dir.path().join("lib")] };
        let mut seen = Vec::new();
        assert!(libraries.find("good", 100, &mut seen).is_ok());
        for name in ["../secret", "..secret", "/etc/passwd", "link", "", ".", "none"] {
            assert!(libraries.find(name, 100, &mut seen).is_err(), "{name}");
        }
        // What ships is found last.
        assert!(libraries.find("plural", 1_000, &mut seen).unwrap().1.contains("return function"));
        assert!(unchanged(&seen, 1_000));
        // Each file counts once, and not without end.
        let looked_for = seen.len();
        assert!(libraries.find("none", 100, &mut seen).is_err());
        assert_eq!(seen.len(), looked_for);
        for n in 0..DEPENDENCIES_MAX {
            assert!(libraries.find(&format!("none{n}"), 100, &mut seen).is_err());
        }
        assert_eq!(seen.len(), DEPENDENCIES_MAX);
        assert!(libraries.find("another", 100, &mut seen).unwrap_err().contains("at most 256 files"));
        assert!(libraries.find("good", 100, &mut seen).is_ok());
        std::fs::write(dir.path().join("lib/none.lua"), "return 1").unwrap();
        assert!(!unchanged(&seen, 100));
    }
}
