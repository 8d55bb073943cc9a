//! The files of a new bot: a script that works, its test, and what editors need to know the API.

use std::io::Write;
use std::path::Path;

/// Longest name of a bot, in bytes.
pub const BOT_NAME_MAX_BYTES: usize = 64;

/// What was made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Made {
    /// The bot's file, below the script folder.
    pub bot: String,
    /// Files that were written, below the script folder.
    pub written: Vec<String>,
    /// Files that were there already and are as they were.
    pub kept: Vec<String>,
}

const BOT: &str = include_str!("starter/bot.lua");
const TEST: &str = include_str!("starter/bot_test.lua");

/// What editors need: the same for all bots of a folder.
const SHARED: [(&str, &str); 7] = [
    (".luarc.json", include_str!("starter/luarc.json")),
    (".luaurc", include_str!("starter/luaurc.json")),
    (".vscode/settings.json", include_str!("starter/vscode.json")),
    ("types/rumor.d.luau", include_str!("../../lua/types/rumor.d.luau")),
    ("types/rumor.lua", include_str!("../../lua/types/rumor.lua")),
    ("types/test.d.luau", include_str!("../../lua/types/test.d.luau")),
    ("types/test.lua", include_str!("../../lua/types/test.lua")),
];

/// Writes the files of a bot into a script folder. What is there already is never overwritten; a bot that is there
/// already is an error.
///
/// # Errors
///
/// A sentence: the name can't be a bot's, the bot is there, or the folder can't be written to.
pub fn write(name: &str, folder: &Path) -> Result<Made, String> {
    check_name(name)?;
    let bot = format!("bots/{name}.lua");
    if folder.join(&bot).exists() {
        return Err(format!("{} is there already; choose another name", folder.join(&bot).display()));
    }
    let mut made = Made { bot: bot.clone(), ..Made::default() };
    let own = [(bot, BOT.replace("NAME", name)), (format!("bots/{name}_test.lua"), TEST.replace("NAME", name))];
    let shared = SHARED.map(|(file, text)| (file.to_owned(), text.to_owned()));
    for (file, text) in own.into_iter().chain(shared) {
        match create(&folder.join(&file), &text) {
            Ok(true) => made.written.push(file),
            Ok(false) => made.kept.push(file),
            Err(error) => return Err(format!("can't write {}: {error}", folder.join(file).display())),
        }
    }
    Ok(made)
}

/// Whether a bot can be called that: it is a file's name, a table's name in the config, and a word in the chat.
fn check_name(name: &str) -> Result<(), String> {
    let good = !name.is_empty()
        && name.len() <= BOT_NAME_MAX_BYTES
        && !name.ends_with("_test")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if good {
        return Ok(());
    }
    Err(format!(
        "{name:?} can't be a bot's name: letters, digits, _ and -, at most {BOT_NAME_MAX_BYTES}, not ending in _test"
    ))
}

/// Writes a new file; false if it is there.
fn create(path: &Path, text: &str) -> std::io::Result<bool> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bot_is_made_once_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".luarc.json"), "mine").unwrap();
        let made = write("greeter", dir.path()).unwrap();
        assert_eq!(made.bot, "bots/greeter.lua");
        assert_eq!(made.kept, [".luarc.json"]);
        assert_eq!(std::fs::read_to_string(dir.path().join(".luarc.json")).unwrap(), "mine");
        assert!(std::fs::read_to_string(dir.path().join("bots/greeter.lua")).unwrap().contains("greeter"));
        assert!(write("greeter", dir.path()).unwrap_err().contains("is there already"));
        assert_eq!(write("other", dir.path()).unwrap().written, ["bots/other.lua", "bots/other_test.lua"]);
    }

    #[test]
    fn names_are_checked_from_both_sides() {
        for good in ["a", "a-b_2", &"x".repeat(BOT_NAME_MAX_BYTES)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "../x", "a b", "x_test", "ä", &"x".repeat(BOT_NAME_MAX_BYTES + 1)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
