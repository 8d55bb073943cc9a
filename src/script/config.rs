//! How the host is set up, what a script may use, and what it was granted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::outside::Outside;
use crate::config::{RELAY, ScriptConfig, ScriptLimits};
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
    /// The web, and where scripts keep values.
    pub outside: Outside,
}

/// What a script may use. Past it the call is killed and the script goes on, until `kills_max` kills in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Processor time of all calls together in the long run, in percent of a processor. Who is beyond it isn't killed, but
    /// waits.
    pub cpu_percent: u32,
    /// Processor time of all calls together at once, in milliseconds.
    pub cpu_burst_ms: u64,
    /// Kills in a row after which a script is disabled until its file changes.
    pub kills_max: u32,
    /// How long a killed call may stay stuck in native code before its thread is abandoned, in milliseconds.
    pub stuck_ms: u64,
    /// Messages that a script may send to one chat at once.
    pub send_burst: u32,
    /// Messages a minute that a script may send to one chat in the long run.
    pub send_per_minute: u32,
    /// What a script's store may hold, in bytes.
    pub store_max_bytes: usize,
}

impl Budgets {
    /// What a config says. What it doesn't speak of is as by default.
    #[must_use]
    pub fn of(limits: &ScriptLimits) -> Self {
        let bytes = |kib: u64| usize::try_from(kib.saturating_mul(1 << 10)).unwrap_or(usize::MAX);
        Self {
            source_max_bytes: bytes(limits.source_kib),
            memory_max_bytes: bytes(limits.memory_mib.saturating_mul(1 << 10)),
            filter_ms: limits.filter_ms,
            handler_ms: limits.handler_ms,
            load_ms: limits.load_ms,
            cpu_percent: limits.cpu_percent,
            store_max_bytes: bytes(limits.store_mib.saturating_mul(1 << 10)),
            send_burst: limits.send_burst,
            send_per_minute: limits.send_per_minute,
            ..Self::default()
        }
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            source_max_bytes: 256 * 1024,
            memory_max_bytes: 16 * 1024 * 1024,
            filter_ms: 20,
            handler_ms: 250,
            load_ms: 1_000,
            cpu_percent: 25,
            cpu_burst_ms: 2_000,
            kills_max: 3,
            stuck_ms: 2_000,
            send_burst: 10,
            send_per_minute: 60,
            store_max_bytes: 16 * 1024 * 1024,
        }
    }
}

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

    /// Whether it has a permission. The commands that ship go to no web server.
    pub(super) fn allows(&self, permission: &str) -> bool {
        match permission.strip_prefix("http:") {
            Some(host) => self.web_hosts().any(|granted| granted == host || covers(granted, host)),
            // What this node passes on must not depend on what it can read, or its peers learn which rooms it is in. So who
            // decides on that knows nothing of any room: neither by itself, nor by what it was told, kept or counted.
            None if permission == RELAY => !self.all && self.rooms.is_empty() && *self.allow == [RELAY],
            None => self.all || self.allow.iter().any(|granted| granted == permission),
        }
    }

    /// The web servers that were granted: `HOST`, `HOST:PORT`, `*.DOMAIN` or `*`.
    pub(super) fn web_hosts(&self) -> impl Iterator<Item = &str> {
        self.allow.iter().filter_map(|granted| granted.strip_prefix("http:"))
    }

    /// Whether it has a permission; if not, what to write where.
    pub(super) fn need(&self, permission: &str) -> Result<(), String> {
        if self.allows(permission) {
            return Ok(());
        }
        Err(format!("script {:?} is not granted {permission:?}: {}", self.name, self.how_to_grant(permission)))
    }

    /// What to write where to grant it a permission.
    pub(super) fn how_to_grant(&self, permission: &str) -> String {
        let allow = match permission {
            RELAY => format!("write `allow = [{RELAY:?}]`, that alone and no `rooms`,"),
            _ => format!("add {permission:?} to `allow`"),
        };
        format!("{allow} under [scripts.{}] in the config", self.name)
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

/// Whether what was granted is wider than what is asked for.
fn covers(granted: &str, host: &str) -> bool {
    granted == "*"
        || host.strip_prefix(granted).is_some_and(|port| port.starts_with(':'))
        || granted.strip_prefix('*').is_some_and(|domain| domain.starts_with('.') && host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::PERMISSIONS;

    #[test]
    fn the_config_s_defaults_are_the_host_s() {
        assert_eq!(Budgets::of(&ScriptLimits::default()), Budgets::default());
    }

    #[test]
    fn who_decides_on_relaying_sees_nothing_else() {
        let of = |rooms: &[&str], allow: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
            Grants::of("r", &ScriptConfig { rooms: owned(rooms), allow: owned(allow), ..ScriptConfig::default() })
        };
        assert!(of(&[], &["relay"]).need("relay").is_ok());
        for other in PERMISSIONS.into_iter().filter(|name| *name != RELAY).chain(["http:a.org"]) {
            let error = of(&[], &["relay", other]).need("relay").unwrap_err();
            assert!(error.contains("that alone and no `rooms`, under [scripts.r]"), "{error}");
        }
        assert!(of(&["study"], &["relay"]).need("relay").is_err());
        assert!(of(&[], &["send"]).need("relay").is_err());
        assert!(Grants::all("help").need("relay").is_err());
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
