//! The config file: TOML, or JSON if its name ends in `.json`.
//!
//! [`Config::load`] reads and checks everything that can be checked without starting a node, and reports all that it
//! finds with file, line, field and what would be valid. `docs` of each field: `rumor config schema`.
//!
//! The JSON of the program that this one grew from (`name`, `port`, `chats[] {name, id, secret}`, `peers[] {address,
//! port}`) is accepted as it is.

mod error;
mod file;
mod locate;
mod resolve;
mod secret;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rumormill_api::{Millis, Options, PeerAddr, Registry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::node::Dissemination;
pub use error::{ConfigError, Problem};
pub use file::Backends;
#[cfg(feature = "luau")]
pub(crate) use resolve::RELAY;
pub use resolve::{
    CHATS_MAX, DEDUP_CAPACITY_MAX, DEDUP_CAPACITY_MIN, DEDUP_ROTATE_MAX_HOURS, NAME_MAX_BYTES, OUTGOING_MAX, PEERS_MAX,
    PERMISSIONS, SECRET_FILE_MAX_BYTES, WINDOW_QUOTA_MIN_BYTES,
};
pub use secret::{SECRET_BYTES, Secret, SecretText};
pub use value::check_name;

/// The version of the format that this build reads.
pub const VERSION: u32 = 1;
/// The name of the network that a node belongs to unless its config names another.
pub const OPEN_NETWORK: &str = "open";
/// Largest config file that is read, in bytes.
pub const CONFIG_MAX_BYTES: u64 = 1 << 20;

/// Everything that a config file says, checked and with its defaults filled in. Paths are absolute unless the config's
/// own path could not be made so.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it came from.
    pub file: PathBuf,
    /// The nick, at most [`NAME_MAX_BYTES`].
    pub name: String,
    /// Where to listen, each `SCHEME:REST`. Empty: dial only.
    pub listen: Vec<String>,
    /// The addresses to tell others; empty: the ones listened on.
    pub announce: Vec<PeerAddr>,
    /// The chats, in the file's order; different names and different secrets.
    pub chats: Vec<ChatConfig>,
    /// Nodes to dial at start, without doubles.
    pub peers: Vec<PeerAddr>,
    /// The profile's folder.
    pub state: PathBuf,
    /// The network.
    pub network: NetworkConfig,
    /// The backends' names.
    pub backends: Backends,
    /// The backends' own settings, by backend.
    pub options: BTreeMap<String, Options>,
    /// How what this node relays is spread.
    pub dissemination: Dissemination,
    /// The dedup filter.
    pub dedup: DedupSettings,
    /// The window.
    pub window: WindowConfig,
    /// The archive.
    pub archive: ArchiveConfig,
    /// The Lua host.
    pub lua: LuaConfig,
    /// What the scripts are granted, by script.
    pub scripts: BTreeMap<String, ScriptConfig>,
    /// Logging.
    pub log: LogConfig,
}

/// A chat.
#[derive(Clone, Debug)]
pub struct ChatConfig {
    /// Its name at this node.
    pub name: String,
    /// A label, ignored by this program.
    pub id: Option<String>,
    /// What its keys derive from.
    pub source: RoomSource,
    /// Whether its history can be recovered.
    pub kind: ChatKind,
}

/// What a chat's keys derive from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoomSource {
    /// The room's secret.
    Secret(Secret),
    /// A passphrase, to be run through Argon2id: weak.
    Passphrase(SecretText),
    /// An invite, as `rumor room invite` prints it; it is well formed.
    Invite(SecretText),
}

/// Whether a chat's history can be recovered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatKind {
    /// Any member can recover the history.
    #[default]
    Archive,
    /// Keys and messages are erased once the window has passed them.
    Ephemeral,
}

/// How what a node relays is spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DisseminationMode {
    /// In full to every link.
    Flood,
    /// In full where it is needed, announced to the rest.
    #[default]
    Adaptive,
}

/// The network.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Its name.
    pub name: String,
    /// Its secret; `None` for a public one.
    pub secret: Option<Secret>,
    /// Whether to dial learned addresses that are private or loopback.
    pub lan: bool,
    /// `socks5://HOST:PORT`.
    pub proxy: Option<String>,
    /// How many outgoing links to keep beside those of `peers`. 0: no learned address is dialled.
    pub outgoing: usize,
}

/// The dedup filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DedupSettings {
    /// Ids per generation.
    pub capacity: usize,
    /// Age at which a generation is rotated, in milliseconds.
    pub rotate_after: Millis,
}

/// The window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowConfig {
    /// The most that it holds, in bytes of envelopes.
    pub quota_bytes: u64,
}

/// The archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchiveConfig {
    /// Whether to show a chat's history to others who prove to know the chat.
    pub serve: bool,
}

/// The Lua host, and what one script may use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LuaConfig {
    /// The user's script folder.
    pub folder: Option<PathBuf>,
    /// What each script may use unless its own limits say otherwise.
    pub limits: ScriptLimits,
}

/// What one script may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScriptLimits {
    /// Longest source of a script or module, in KiB.
    pub source_kib: u64,
    /// Memory of its state, in MiB.
    pub memory_mib: u64,
    /// Time of one filter call, in milliseconds.
    pub filter_ms: u64,
    /// Time of one handler or command, in milliseconds.
    pub handler_ms: u64,
    /// Time to load, in milliseconds.
    pub load_ms: u64,
    /// Processor time of all its calls in the long run, in percent of a processor.
    pub cpu_percent: u32,
    /// What its store may hold, in MiB.
    pub store_mib: u64,
    /// Messages to one chat at once.
    pub send_burst: u32,
    /// Messages to one chat a minute in the long run.
    pub send_per_minute: u32,
}

impl Default for ScriptLimits {
    fn default() -> Self {
        Self {
            source_kib: 256,
            memory_mib: 16,
            filter_ms: 20,
            handler_ms: 250,
            load_ms: 1_000,
            cpu_percent: 25,
            store_mib: 16,
            send_burst: 10,
            send_per_minute: 60,
        }
    }
}

/// What a script is granted, what it may use, and its own settings.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ScriptConfig {
    /// The chats that it sees; `*` is every chat.
    pub rooms: Vec<String>,
    /// What it may do.
    pub allow: Vec<String>,
    /// What it may use, if the config says so for it alone.
    pub limits: Option<ScriptLimits>,
    /// Every other key.
    pub settings: BTreeMap<String, serde_json::Value>,
}

/// Logging.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// How much.
    pub level: LogLevel,
    /// The file, if the config names one.
    pub file: Option<PathBuf>,
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What looks wrong.
    Warn,
    /// What happens, in short.
    #[default]
    Info,
    /// What happens, in detail.
    Debug,
    /// Everything; may hold message texts.
    Trace,
}

impl From<LogLevel> for tracing::level_filters::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// How a config is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// JSON (RFC 8259).
    Json,
}

impl Format {
    /// JSON for a name that ends in `.json`, else TOML.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        match file.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("json") => Self::Json,
            _ => Self::Toml,
        }
    }
}

impl Config {
    /// Reads and checks a config file. The backends' names are not checked: [`load_with`](Self::load_with) does.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: the file can't be read, or everything that is wrong with it.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::read(file, None)
    }

    /// [`load`](Self::load), with the backends' names checked against the ones that are compiled in.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with(file: &Path, registry: &Registry) -> Result<Self, ConfigError> {
        Self::read(file, Some(registry))
    }

    fn read(file: &Path, registry: Option<&Registry>) -> Result<Self, ConfigError> {
        let bytes = value::read_bounded(file, CONFIG_MAX_BYTES).map_err(|reason| ConfigError::whole(file, reason))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            ConfigError::whole(file, format!("line {line} is not UTF-8 text; save the file as UTF-8"))
        })?;
        Self::parse(text, Format::of(file), file, registry)
    }

    /// Checks the text of a config. Files that it names (`secret_file` and its kin) are read, relative to `file`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str, format: Format, file: &Path, registry: Option<&Registry>) -> Result<Self, ConfigError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let raw =
            parse_raw(text, format).map_err(|problem| ConfigError { file: file.into(), problems: vec![problem] })?;
        resolve::resolve(raw, file, &value::Places::of(file), registry).map_err(|problems| {
            let tree = tree(text, format);
            let mut problems: Vec<Problem> = problems
                .into_iter()
                .map(|(field, message)| {
                    let at = tree.offset_of(&field).map(|offset| locate::line_column(text, offset));
                    Problem { at, field: value::printable(&field), message: value::printable(&message) }
                })
                .collect();
            problems.sort_by_key(|problem| problem.at);
            ConfigError { file: file.into(), problems }
        })
    }

    /// A short description, without any secret.
    #[must_use]
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }

    /// The JSON Schema of the format (draft 2020-12).
    #[must_use]
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(file::File);
        schema.insert("title".to_owned(), "Rumormill config".into());
        schema.to_value()
    }
}

fn tree(text: &str, format: Format) -> locate::Node {
    match format {
        Format::Toml => locate::Node::toml(text),
        Format::Json => locate::Node::json(text),
    }
}

fn parse_raw(text: &str, format: Format) -> Result<file::File, Problem> {
    let (offset, message) = match format {
        Format::Toml => match toml::from_str(text) {
            Ok(raw) => return Ok(raw),
            Err(error) => (error.span().map(|span| span.start), Zeroizing::new(error.message().to_owned())),
        },
        Format::Json => match serde_json::from_str(text) {
            Ok(raw) => return Ok(raw),
            Err(error) => {
                let message = error.to_string();
                let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message).to_owned();
                (Some(locate::offset_of_line(text, error.line(), error.column())), Zeroizing::new(message))
            }
        },
    };
    let tree = tree(text, format);
    // A missing field is reported at the place of its table, which for the file as a whole is nowhere.
    let field = offset.map(|offset| tree.path_at(offset)).unwrap_or_default();
    let at = match tree.offset_of(&field) {
        Some(start) if format == Format::Json => Some(start),
        _ => offset,
    };
    let (field, message) = (value::printable(&field), value::printable(&error::explain(&message)));
    Err(Problem { at: at.map(|offset| locate::line_column(text, offset)), field, message })
}

/// See [`Config::summary`].
#[derive(Debug)]
pub struct Summary<'a>(&'a Config);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { name, listen, chats, peers, state, backends, network, .. } = self.0;
        let or_none = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let chats = chats.iter().map(|chat| match (&chat.source, chat.kind) {
            (RoomSource::Passphrase(_), ChatKind::Archive) => format!("{} (weak: passphrase)", chat.name),
            (RoomSource::Passphrase(_), ChatKind::Ephemeral) => format!("{} (weak: passphrase; ephemeral)", chat.name),
            (_, ChatKind::Ephemeral) => format!("{} (ephemeral)", chat.name),
            _ => chat.name.clone(),
        });
        writeln!(f, "name:     {name}")?;
        writeln!(f, "chats:    {}", or_none(chats.collect()))?;
        writeln!(f, "listen:   {}", or_none(listen.clone()))?;
        writeln!(f, "peers:    {}", or_none(peers.iter().map(ToString::to_string).collect()))?;
        let private = if network.secret.is_some() { " (private)" } else { "" };
        writeln!(f, "network:  {}{private}", network.name)?;
        let Backends { transports, dedup, cipher, history } = backends;
        writeln!(f, "backends: {}, {dedup}, {cipher}, {history}", or_none(transports.clone()))?;
        write!(f, "state:    {}", state.display())
    }
}
