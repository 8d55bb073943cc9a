//! The config file as it is written. What it means is decided in [`super::resolve`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::secret::SecretText;

/// The config of one Rumormill node. Relative paths are relative to the config file; `~/` is the home folder.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// The version of this format.
    #[serde(default = "version")]
    pub(super) version: u32,
    /// The nick that others see: 1 to 64 bytes, printable.
    pub(super) name: String,
    /// Listen on this TCP port on all addresses; short for `listen = ["tcp:0.0.0.0:PORT"]`.
    pub(super) port: Option<u16>,
    /// Where to listen, as SCHEME:REST. Port 0: any free port. Empty: dial only.
    pub(super) listen: Option<Vec<String>>,
    /// The addresses to tell others, in place of the ones that are listened on.
    #[serde(default)]
    pub(super) announce: Vec<String>,
    /// The chats that this node takes part in. None: it only relays.
    #[serde(default)]
    pub(super) chats: Vec<Chat>,
    /// Nodes to dial at start.
    #[serde(default)]
    pub(super) peers: Vec<Peer>,
    /// The folder for keys, database and logs. Default: `rumormill/NAME-OF-THE-CONFIG-FILE` in `$XDG_STATE_HOME` or `~/.local/state`.
    pub(super) state: Option<String>,
    /// The network that this node belongs to.
    #[serde(default)]
    pub(super) network: Network,
    /// Which backends to use, by name.
    #[serde(default)]
    pub(super) backends: Backends,
    /// A backend's own settings, by the backend's name.
    #[serde(default)]
    pub(super) options: BTreeMap<String, BTreeMap<String, Scalar>>,
    /// How what this node relays is spread.
    #[serde(default)]
    pub(super) dissemination: Dissemination,
    /// The filter of message ids seen.
    #[serde(default)]
    pub(super) dedup: Dedup,
    /// The window: every unexpired envelope that passed.
    #[serde(default)]
    pub(super) window: Window,
    /// The archive: the history of this node's own chats.
    #[serde(default)]
    pub(super) archive: Archive,
    /// The Lua host.
    #[serde(default)]
    pub(super) lua: Lua,
    /// What each script is granted, and its own settings, by the script's file name without `.lua`.
    #[serde(default)]
    pub(super) scripts: BTreeMap<String, Script>,
    /// Logging.
    #[serde(default)]
    pub(super) log: Log,
}

const fn version() -> u32 {
    super::VERSION
}

/// A chat. Exactly one of `secret`, `secret_file`, `passphrase_file`, `passphrase`, `invite`, `invite_file`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Chat {
    /// What this node calls it: 1 to 64 bytes, printable, different for every chat.
    pub(super) name: String,
    /// A label, ignored by this program.
    pub(super) id: Option<Scalar>,
    /// 32 bytes in url-safe base64. Make one with `rumor room new`.
    #[schemars(with = "Option<String>")]
    pub(super) secret: Option<SecretText>,
    /// A file that holds the secret.
    pub(super) secret_file: Option<String>,
    /// A passphrase. Weak: it can be guessed.
    #[schemars(with = "Option<String>")]
    pub(super) passphrase: Option<SecretText>,
    /// A file whose first line is the passphrase.
    pub(super) passphrase_file: Option<String>,
    /// An invite, as `rumor room invite` prints it.
    #[schemars(with = "Option<String>")]
    pub(super) invite: Option<SecretText>,
    /// A file that holds an invite.
    pub(super) invite_file: Option<String>,
    /// `archive`: members can recover the history. `ephemeral`: keys and messages are erased after the window.
    #[serde(default)]
    pub(super) kind: super::ChatKind,
}

/// The network that a node belongs to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Network {
    /// Its name. Nodes of different networks can't link.
    pub(super) name: String,
    /// Its secret, 32 bytes in url-safe base64, for a private network.
    #[schemars(with = "Option<String>")]
    pub(super) secret: Option<SecretText>,
    /// A file that holds the secret.
    pub(super) secret_file: Option<String>,
    /// Whether to dial learned addresses that are private or loopback.
    pub(super) lan: bool,
    /// A proxy for dialling: `socks5://HOST:PORT`.
    pub(super) proxy: Option<String>,
    /// How many outgoing links to keep beside those of `peers`. 0: no learned address is dialled.
    pub(super) outgoing: u32,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            name: super::OPEN_NETWORK.to_owned(),
            secret: None,
            secret_file: None,
            lan: false,
            proxy: None,
            outgoing: 8,
        }
    }
}

/// Which backends to use. The names are those that the build has compiled in.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backends {
    /// Transports.
    pub transports: Vec<String>,
    /// The dedup filter.
    pub dedup: String,
    /// The cipher suite; the same for every member of a chat.
    pub cipher: String,
    /// The store.
    pub history: String,
}

impl Default for Backends {
    fn default() -> Self {
        Self {
            transports: vec!["tcp".to_owned()],
            dedup: "bloom".to_owned(),
            cipher: "chacha".to_owned(),
            history: "redb".to_owned(),
        }
    }
}

/// How what this node relays is spread. Its own messages always go to every link.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Dissemination {
    /// `adaptive` (the default): in full where it is needed, announced to the rest. `flood`: everything in full to every link.
    pub(super) mode: Option<super::DisseminationMode>,
    /// How many full copies of a message this node wants, 1 to 16; only if `adaptive`. Default 2: with 1, each silent
    /// dropper costs time, and some messages in a hundred come late, in return for less traffic.
    pub(super) eager: Option<u8>,
}

/// The filter of message ids seen.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Dedup {
    /// How many ids one generation holds.
    pub(super) capacity: Option<u64>,
    /// After how many hours a generation is rotated even if it isn't full.
    pub(super) rotate_hours: Option<u64>,
}

/// The window.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Window {
    /// The most that it holds: bytes, or a size such as "512MiB". Default 1 GiB.
    pub(super) quota: Option<Scalar>,
}

/// The archive.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Archive {
    /// Whether to show a chat's history to others who prove to know the chat.
    pub(super) serve: bool,
}

impl Default for Archive {
    fn default() -> Self {
        Self { serve: true }
    }
}

/// The Lua host, and what one script may use.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Lua {
    /// The folder with your own scripts; without one only the embedded commands run.
    pub(super) folder: Option<String>,
    /// Longest source, in KiB.
    pub(super) source_kib: Option<u64>,
    /// Memory, in MiB.
    pub(super) memory_mib: Option<u64>,
    /// Time of one filter call, in milliseconds.
    pub(super) filter_ms: Option<u64>,
    /// Time of one handler or command, in milliseconds.
    pub(super) handler_ms: Option<u64>,
    /// Time to load, in milliseconds.
    pub(super) load_ms: Option<u64>,
    /// Processor time of all calls in the long run, in percent of a processor.
    pub(super) cpu_percent: Option<u64>,
}

/// What one script may use; what is left out is as `[lua]` says, or as it is by default.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Longest source, in KiB.
    pub(super) source_kib: Option<u64>,
    /// Memory, in MiB.
    pub(super) memory_mib: Option<u64>,
    /// Time of one filter call, in milliseconds.
    pub(super) filter_ms: Option<u64>,
    /// Time of one handler or command, in milliseconds.
    pub(super) handler_ms: Option<u64>,
    /// Time to load, in milliseconds.
    pub(super) load_ms: Option<u64>,
    /// Processor time of all calls in the long run, in percent of a processor.
    pub(super) cpu_percent: Option<u64>,
    /// What its store may hold, in MiB.
    pub(super) store_mib: Option<u64>,
    /// Messages to one chat at once.
    pub(super) send_burst: Option<u64>,
    /// Messages to one chat a minute in the long run.
    pub(super) send_per_minute: Option<u64>,
}

/// What a script is granted. Every other key is a setting of its own, which it reads by `rumor.config(key)`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct Script {
    /// The chats that it sees, by name; "*" is every chat.
    pub(super) rooms: Vec<String>,
    /// What it may do: `send`, `filter`, `ui`, `store`, `history`, `files`, `http:HOST`; or `relay` alone, without `rooms`.
    pub(super) allow: Vec<String>,
    /// What it may use, in place of what `[lua]` says for all.
    pub(super) limits: Option<Limits>,
    /// Its own settings.
    #[serde(flatten)]
    pub(super) settings: BTreeMap<String, serde_json::Value>,
}

/// Logging.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// How much.
    pub(super) level: super::LogLevel,
    /// The file. Default: `rumor.log` in the state folder under the line frontend, standard error otherwise.
    pub(super) file: Option<String>,
}

/// A string, an integer or a boolean.
pub(super) struct Scalar(pub(super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;

        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an integer or a boolean")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer", "boolean"] })
    }
}

/// A peer: "tcp:HOST:PORT", or the pair of address and port.
pub(super) struct Peer(pub(super) String);

/// A peer in two parts; the transport is TCP.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PeerPair {
    /// An IP address or a host name.
    address: String,
    /// The TCP port.
    port: u16,
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PeerVisitor;

        impl<'de> Visitor<'de> for PeerVisitor {
            type Value = Peer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"tcp:HOST:PORT\" or { address = \"HOST\", port = PORT }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Peer, E> {
                Ok(Peer(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Peer, A::Error> {
                let PeerPair { address, port } = PeerPair::deserialize(MapAccessDeserializer::new(map))?;
                let ipv6 = address.contains(':') && !address.starts_with('[');
                Ok(Peer(if ipv6 { format!("tcp:[{address}]:{port}") } else { format!("tcp:{address}:{port}") }))
            }
        }

        deserializer.deserialize_any(PeerVisitor)
    }
}

impl JsonSchema for Peer {
    fn schema_name() -> Cow<'static, str> {
        "Peer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pair = generator.subschema_for::<PeerPair>();
        json_schema!({ "anyOf": [{ "type": "string", "examples": ["tcp:192.0.2.7:4001"] }, pair] })
    }
}
