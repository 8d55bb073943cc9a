//! What the config says about scripts. Plain data, shared with `crate::config`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::node::Clock;

/// How a [`super::Host`] is set up.
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// The user's script folder, with `commands/`, `hooks/`, `bots/` and `lib/`. Without one only the embedded commands run.
    pub folder: Option<PathBuf>,
    /// Scripts by their files, wherever these are: beside those of the folder, and before those of the same name there. A
    /// file in a folder that is called `commands`, `hooks` or `bots` counts as one of those, any other as a bot.
    pub files: Vec<PathBuf>,
    /// What every script may use, unless its own config says otherwise.
    pub budgets: Budgets,
    /// `[scripts.NAME]`: grants and settings, by a script's name (its file name without `.lua`).
    pub scripts: BTreeMap<String, ScriptConfig>,
    /// Whether saved files are reloaded while the program runs.
    pub watch: bool,
    /// The clock of a node in virtual time, readable on every thread; `None` is the system's. With one, the node's runtime
    /// must be a current-thread one whose clock is paused: its time then stands still while scripts have something to do.
    pub clock: Option<Arc<dyn Clock>>,
}

/// What a script may use. Past it the call is killed and the script goes on, until `kills_max` kills in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// Longest source of a script or module, in bytes.
    pub source_max_bytes: usize,
    /// Memory of a script's state, in bytes.
    pub memory_max_bytes: usize,
    /// Time of one filter call, in milliseconds.
    pub filter_ms: u64,
    /// Time of one handler or command, in milliseconds; waiting for the node doesn't count.
    pub handler_ms: u64,
    /// Time to load a script, in milliseconds.
    pub load_ms: u64,
    /// Kills in a row after which a script is disabled until its file changes.
    pub kills_max: u32,
    /// How long a killed call may stay stuck in native code before its thread is abandoned, in milliseconds.
    pub stuck_ms: u64,
    /// Messages that a script may send to one chat at once.
    pub send_burst: u32,
    /// Messages a minute that a script may send to one chat in the long run.
    pub send_per_minute: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            source_max_bytes: 256 * 1024,
            memory_max_bytes: 16 * 1024 * 1024,
            filter_ms: 20,
            handler_ms: 250,
            load_ms: 1_000,
            kills_max: 3,
            stuck_ms: 2_000,
            send_burst: 10,
            send_per_minute: 60,
        }
    }
}

/// What a script is granted, its limits, and its own settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScriptConfig {
    /// The chats that it sees, by name; `"*"` is every chat.
    pub rooms: Vec<String>,
    /// What it may do there: `send`, `filter`, `ui`, `history`.
    pub allow: Vec<String>,
    /// Its own limits, in place of the common ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Budgets>,
    /// Everything else: what `rumor.config(key)` reads.
    #[serde(flatten)]
    pub settings: BTreeMap<String, serde_json::Value>,
}

/// The permissions that a script can declare and be granted.
pub const PERMISSIONS: [&str; 5] = ["send", "filter", "ui", "store", "history"];

/// What one script may see and do.
#[derive(Clone, Debug)]
pub(super) struct Grants {
    /// The script's name, for the messages.
    pub(super) name: String,
    all: bool,
    rooms: Vec<String>,
    allow: Vec<String>,
}

impl Grants {
    /// Everything: for the commands that ship.
    pub(super) fn all(name: &str) -> Self {
        Self { name: name.to_owned(), all: true, rooms: Vec::new(), allow: Vec::new() }
    }

    /// What the config grants.
    pub(super) fn of(name: &str, config: &ScriptConfig) -> Self {
        Self { name: name.to_owned(), all: false, rooms: config.rooms.clone(), allow: config.allow.clone() }
    }

    /// Whether it sees a chat.
    pub(super) fn sees(&self, chat: &str) -> bool {
        self.all || self.rooms.iter().any(|room| room == "*" || room == chat)
    }

    /// Whether it has a permission.
    pub(super) fn allows(&self, permission: &str) -> bool {
        self.all || self.allow.iter().any(|granted| granted == permission)
    }

    /// Whether it has a permission; if not, what to write where.
    pub(super) fn need(&self, permission: &str) -> Result<(), String> {
        if self.allows(permission) {
            return Ok(());
        }
        Err(format!(
            "script {:?} is not granted {permission:?}: add {permission:?} to `allow` under [scripts.{}] in the config",
            self.name, self.name
        ))
    }

    /// Whether it sees a chat; if not, what to write where.
    pub(super) fn need_room(&self, chat: &str) -> Result<(), String> {
        if self.sees(chat) {
            return Ok(());
        }
        Err(format!(
            "script {:?} is not granted the chat {chat:?}: add {chat:?} to `rooms` under [scripts.{}] in the config",
            self.name, self.name
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn settings_are_what_is_left_over() {
        let config: ScriptConfig =
            toml::from_str("rooms = [\"study\"]\nallow = [\"send\"]\ngreeting = \"hi\"\n[limits]\nfilter_ms = 5")
                .unwrap();
        assert_eq!(config.rooms, ["study"]);
        assert_eq!(config.settings["greeting"], "hi");
        assert_eq!(config.limits.unwrap().filter_ms, 5);
    }

    #[test]
    fn an_unknown_budget_is_refused() {
        let error = toml::from_str::<Budgets>("filter_msec = 5").unwrap_err().to_string();
        assert!(error.contains("filter_msec") && error.contains("filter_ms"), "{error}");
    }

    #[test]
    fn a_refusal_says_what_to_write_where() {
        let grants = Grants::of("karma", &ScriptConfig { rooms: vec!["study".into()], ..ScriptConfig::default() });
        assert!(grants.need_room("study").is_ok());
        let error = grants.need_room("work").unwrap_err();
        assert!(error.contains("`rooms` under [scripts.karma]"), "{error}");
        let error = grants.need("send").unwrap_err();
        assert!(error.contains("`allow` under [scripts.karma]"), "{error}");
    }
}
