//! From the file as written to checked values. Collects every problem instead of stopping at the first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rumormill_api::{DedupConfig, Options, PeerAddr, Registry};

use super::error::did_you_mean;
use super::file::{self, File};
use super::secret::{Secret, SecretText};
use super::value::{Places, check_host_port, check_name, read_bounded, size};
use super::{
    ArchiveConfig, Backends, ChatConfig, Config, DedupSettings, DisseminationMode, LogConfig, LuaConfig, NetworkConfig,
    RoomSource, ScriptConfig, ScriptLimits, VERSION, WindowConfig,
};
use crate::node::{Dissemination, EAGER, EAGER_MAX};
use crate::room::Invite;

/// Longest nick or chat name, in bytes.
pub const NAME_MAX_BYTES: usize = 64;
/// Most chats in one config: every live envelope is tried with three keys of each.
pub const CHATS_MAX: usize = 1_000;
/// Most peers in one config.
pub const PEERS_MAX: usize = 1_000;
/// Most outgoing links.
pub const OUTGOING_MAX: u32 = 64;
/// Smallest quota of the window, in bytes.
pub const WINDOW_QUOTA_MIN_BYTES: u64 = 1 << 20;
/// Default quota of the window, in bytes.
const WINDOW_QUOTA_DEFAULT_BYTES: u64 = 1 << 30;
/// Smallest dedup generation, in ids.
pub const DEDUP_CAPACITY_MIN: u64 = 1 << 10;
/// Largest dedup generation, in ids.
pub const DEDUP_CAPACITY_MAX: u64 = 1 << 26;
/// Longest life of a dedup generation, in hours: two of them outlast every envelope.
pub const DEDUP_ROTATE_MAX_HOURS: u64 = 14 * 24;
/// Largest file with a secret, a passphrase or an invite, in bytes.
pub const SECRET_FILE_MAX_BYTES: u64 = 4_096;
/// The permissions that a script can declare and be granted, beside `http:HOST`.
pub const PERMISSIONS: [&str; 7] = ["send", "filter", "ui", "store", "history", "files", RELAY];
/// What a script is granted alone, that it knows of no room: to decide what is passed on.
pub(crate) const RELAY: &str = "relay";

/// Field and sentence.
type Problems = Vec<(String, String)>;

pub(super) fn resolve(
    raw: File,
    file: &Path,
    places: &Places,
    registry: Option<&Registry>,
) -> Result<Config, Problems> {
    let mut resolver = Resolver { places, problems: Vec::new() };
    let config = resolver.config(raw, file, registry);
    match config {
        Some(config) if resolver.problems.is_empty() => Ok(config),
        _ => Err(resolver.problems),
    }
}

struct Resolver<'a> {
    places: &'a Places,
    problems: Problems,
}

impl Resolver<'_> {
    fn problem(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push((field.into(), message.into()));
    }

    /// The value, or its problem noted.
    fn take<T>(&mut self, field: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.problem(field, message)).ok()
    }

    fn config(&mut self, raw: File, file: &Path, registry: Option<&Registry>) -> Option<Config> {
        if raw.version != VERSION {
            let fix = if raw.version > VERSION { "update the program, or " } else { "" };
            self.problem(
                "version",
                format!("is {}, but this build reads version {VERSION}; {fix}write {VERSION}", raw.version),
            );
        }
        self.take("name", check_name(&raw.name, NAME_MAX_BYTES));
        self.backends(&raw.backends, registry);
        let transports = raw.backends.transports.clone();
        let listen = self.listen(raw.port, raw.listen, &transports);
        let announce = raw.announce.iter().enumerate();
        let announce =
            announce.filter_map(|(n, text)| self.addr(&format!("announce[{n}]"), text, &transports, false)).collect();
        let peers = self.peers(&raw.peers, &transports);
        if listen.is_empty() && peers.is_empty() && self.problems.is_empty() {
            self.problem("", "this node could reach nobody: give it `listen` (or `port`) or at least one of `peers`");
        }
        let chats = self.chats(raw.chats);
        let network = self.network(raw.network);
        let options = self.options(raw.options, registry);
        let dissemination = self.dissemination(&raw.dissemination);
        let dedup = self.dedup(&raw.dedup);
        let window = self.window(raw.window);
        let lua = self.lua(raw.lua);
        let scripts = self.scripts(raw.scripts, &chats, lua.limits);
        let log_file = raw.log.file.and_then(|text| self.take("log.file", self.places.path(&text)));
        let state = self.state(raw.state, file);
        Some(Config {
            file: file.to_owned(),
            name: raw.name,
            listen,
            announce,
            chats,
            peers,
            state: state?,
            network,
            backends: raw.backends,
            options,
            dissemination,
            dedup,
            window,
            archive: ArchiveConfig { serve: raw.archive.serve },
            lua,
            scripts,
            log: LogConfig { level: raw.log.level, file: log_file },
        })
    }

    fn listen(&mut self, port: Option<u16>, listen: Option<Vec<String>>, transports: &[String]) -> Vec<String> {
        match (port, listen) {
            (Some(_), Some(_)) => {
                self.problem("port", "`port` and `listen` are both given; keep one of them");
                Vec::new()
            }
            (Some(port), None) => {
                let addr = format!("tcp:0.0.0.0:{port}");
                self.addr("port", &addr, transports, true);
                vec![addr]
            }
            (None, listen) => {
                let mut checked: Vec<String> = Vec::new();
                for (n, addr) in listen.unwrap_or_default().into_iter().enumerate() {
                    let field = format!("listen[{n}]");
                    if self.addr(&field, &addr, transports, true).is_none() {
                        continue;
                    }
                    if checked.contains(&addr) && !addr.ends_with(":0") {
                        self.problem(field, "is there twice; keep one");
                    } else {
                        checked.push(addr);
                    }
                }
                checked
            }
        }
    }

    /// Checks an address: its form, its scheme, and for TCP its host and port.
    fn addr(&mut self, field: &str, text: &str, transports: &[String], listening: bool) -> Option<PeerAddr> {
        let addr: PeerAddr = match text.parse() {
            Ok(addr) => addr,
            Err(_) => {
                let fix = match check_host_port(text, listening) {
                    Ok(()) => format!("did you mean \"tcp:{text}\"?"),
                    Err(_) => "write SCHEME:REST, such as \"tcp:127.0.0.1:4001\"".to_owned(),
                };
                self.problem(field, format!("{text:?} is not an address; {fix}"));
                return None;
            }
        };
        // Both `tcp:4001` and `127.0.0.1:4001` look like SCHEME:REST at first.
        if !transports.iter().any(|name| name == addr.scheme()) {
            let hint = if check_host_port(text, listening).is_ok() {
                format!("; did you mean \"tcp:{text}\"?")
            } else {
                String::new()
            };
            let valid = transports.join(", ");
            self.problem(
                field,
                format!(
                    "{text:?} has the scheme {:?}, which is not among backends.transports ({valid}){hint}",
                    addr.scheme()
                ),
            );
            return None;
        }
        if addr.scheme() == "tcp" {
            self.take(field, check_host_port(addr.rest(), listening).map_err(|problem| format!("{text:?} {problem}")))?;
            if listening && addr.rest().parse::<std::net::SocketAddr>().is_err() {
                self.problem(
                    field,
                    format!(
                        "{text:?} must name an IP address of this machine to listen on, such as \"tcp:0.0.0.0:4001\""
                    ),
                );
                return None;
            }
        }
        Some(addr)
    }

    fn peers(&mut self, raw: &[file::Peer], transports: &[String]) -> Vec<PeerAddr> {
        if raw.len() > PEERS_MAX {
            self.problem(
                "peers",
                format!("has {} entries; at most {PEERS_MAX} are allowed (peers learn of each other)", raw.len()),
            );
        }
        let mut peers = Vec::new();
        for (n, peer) in raw.iter().enumerate().take(PEERS_MAX) {
            if let Some(addr) = self.addr(&format!("peers[{n}]"), &peer.0, transports, false)
                && !peers.contains(&addr)
            {
                peers.push(addr);
            }
        }
        peers
    }

    fn chats(&mut self, raw: Vec<file::Chat>) -> Vec<ChatConfig> {
        if raw.len() > CHATS_MAX {
            self.problem("chats", format!("has {} entries; at most {CHATS_MAX} are allowed", raw.len()));
        }
        let mut chats: Vec<ChatConfig> = Vec::new();
        let mut names = BTreeMap::new();
        for (n, chat) in raw.into_iter().enumerate().take(CHATS_MAX) {
            let field = format!("chats[{n}]");
            self.take(&format!("{field}.name"), check_name(&chat.name, NAME_MAX_BYTES));
            if let Some(first) = names.insert(chat.name.clone(), n) {
                self.problem(
                    format!("{field}.name"),
                    format!("{:?} is the name of chats[{first}] too; give each chat a name of its own", chat.name),
                );
            }
            let (name, id, kind) = (chat.name.clone(), chat.id.as_ref().map(|id| id.0.clone()), chat.kind);
            let Some(source) = self.source(&field, chat) else { continue };
            if let Some(twin) = chats.iter().find(|other| other.source == source) {
                self.problem(
                    &field,
                    format!("{name:?} has the same secret as {:?}: they are one room; remove one of them", twin.name),
                );
            }
            chats.push(ChatConfig { name, id, source, kind });
        }
        chats
    }

    fn source(&mut self, field: &str, chat: file::Chat) -> Option<RoomSource> {
        const FIELDS: &str = "secret, secret_file, passphrase, passphrase_file, invite, invite_file";
        let given = [
            ("secret", chat.secret.is_some()),
            ("secret_file", chat.secret_file.is_some()),
            ("passphrase", chat.passphrase.is_some()),
            ("passphrase_file", chat.passphrase_file.is_some()),
            ("invite", chat.invite.is_some()),
            ("invite_file", chat.invite_file.is_some()),
        ];
        let given: Vec<&str> = given.into_iter().filter_map(|(name, there)| there.then_some(name)).collect();
        let [what] = given[..] else {
            let message = if given.is_empty() {
                format!("{:?} has no secret; give it one of {FIELDS} (`rumor room new` makes one)", chat.name)
            } else {
                format!("{:?} has {}; keep one of them", chat.name, given.join(" and "))
            };
            self.problem(field, message);
            return None;
        };
        let field = format!("{field}.{what}");
        let inline = chat.secret.or(chat.passphrase).or(chat.invite);
        let path = chat.secret_file.or(chat.passphrase_file).or(chat.invite_file);
        let text = match (inline, path) {
            (Some(text), _) => text,
            (None, path) => self.secret_file(&field, &path?)?,
        };
        match what {
            "secret" | "secret_file" => self.take(&field, Secret::from_base64(text.expose())).map(RoomSource::Secret),
            _ if text.expose().trim().is_empty() => {
                self.problem(field, "is empty");
                None
            }
            "passphrase" | "passphrase_file" => Some(RoomSource::Passphrase(text)),
            _ => {
                let text = SecretText::new(text.expose().trim().to_owned());
                let parsed = text.expose().parse::<Invite>().map_err(|error| error.to_string());
                self.take(&field, parsed.map(|_| RoomSource::Invite(text)))
            }
        }
    }

    /// A file that holds one secret, without the line's end.
    fn secret_file(&mut self, field: &str, path: &str) -> Option<SecretText> {
        let path = self.take(field, self.places.path(path))?;
        let bytes = self.take(field, read_bounded(&path, SECRET_FILE_MAX_BYTES))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Some(SecretText::new(text.trim_end_matches(['\n', '\r']).to_owned())),
            Err(_) => {
                self.problem(field, format!("{} is not UTF-8 text", path.display()));
                None
            }
        }
    }

    fn network(&mut self, raw: file::Network) -> NetworkConfig {
        self.take("network.name", check_name(&raw.name, NAME_MAX_BYTES));
        if raw.outgoing > OUTGOING_MAX {
            self.problem("network.outgoing", format!("is {}; write 0 to {OUTGOING_MAX}", raw.outgoing));
        }
        if let Some(proxy) = &raw.proxy {
            let checked = match proxy.strip_prefix("socks5://") {
                Some(rest) => check_host_port(rest, false),
                None => Err("is not a proxy that this build knows; write \"socks5://HOST:PORT\"".to_owned()),
            };
            self.take("network.proxy", checked);
        }
        let secret = match (raw.secret, raw.secret_file) {
            (Some(_), Some(_)) => {
                self.problem("network.secret", "`secret` and `secret_file` are both given; keep one of them");
                None
            }
            (Some(text), None) => self.take("network.secret", Secret::from_base64(text.expose())),
            (None, Some(path)) => {
                let text = self.secret_file("network.secret_file", &path);
                text.and_then(|text| self.take("network.secret_file", Secret::from_base64(text.expose())))
            }
            (None, None) => None,
        };
        NetworkConfig { name: raw.name, secret, lan: raw.lan, proxy: raw.proxy, outgoing: raw.outgoing as usize }
    }

    fn backends(&mut self, raw: &Backends, registry: Option<&Registry>) {
        if raw.transports.is_empty() {
            self.problem("backends.transports", "is empty; name at least one transport");
        }
        let Some(registry) = registry else { return };
        for (n, name) in raw.transports.iter().enumerate() {
            self.backend(&format!("backends.transports[{n}]"), "transport", name, &registry.transport_names());
        }
        self.backend("backends.dedup", "dedup filter", &raw.dedup, &registry.dedup_names());
        self.backend("backends.cipher", "cipher suite", &raw.cipher, &registry.cipher_names());
        self.backend("backends.history", "history store", &raw.history, &registry.history_names());
    }

    fn backend(&mut self, field: &str, what: &str, name: &str, valid: &[&'static str]) {
        if !valid.contains(&name) {
            let suggestion = did_you_mean(name, valid.iter().copied());
            let valid = if valid.is_empty() { "none".to_owned() } else { valid.join(", ") };
            self.problem(field, format!("there is no {what} {name:?} in this build{suggestion}; compiled in: {valid}"));
        }
    }

    fn options(
        &mut self,
        raw: BTreeMap<String, BTreeMap<String, file::Scalar>>,
        registry: Option<&Registry>,
    ) -> BTreeMap<String, Options> {
        if let Some(registry) = registry {
            let mut valid = registry.transport_names();
            valid.extend(registry.dedup_names());
            valid.extend(registry.cipher_names());
            valid.extend(registry.history_names());
            valid.sort_unstable();
            valid.dedup();
            for name in raw.keys() {
                self.backend(&format!("options.{name}"), "backend", name, &valid);
            }
        }
        raw.into_iter()
            .map(|(name, own)| (name, own.into_iter().map(|(key, value)| (key, value.0)).collect()))
            .collect()
    }

    fn dissemination(&mut self, raw: &file::Dissemination) -> Dissemination {
        let eager = raw.eager.unwrap_or(EAGER);
        match (raw.mode.unwrap_or_default(), raw.eager) {
            (DisseminationMode::Flood, Some(_)) => {
                let text = "means something only with `mode = \"adaptive\"`: flooding sends every copy";
                self.problem("dissemination.eager", text);
                Dissemination::Flood
            }
            (DisseminationMode::Flood, None) => Dissemination::Flood,
            (DisseminationMode::Adaptive, _) => {
                if !(1..=EAGER_MAX).contains(&eager) {
                    self.problem("dissemination.eager", format!("is {eager}; write 1 to {EAGER_MAX} (copies)"));
                }
                Dissemination::Adaptive { eager }
            }
        }
    }

    fn dedup(&mut self, raw: &file::Dedup) -> DedupSettings {
        let default = DedupConfig::default();
        let capacity = raw.capacity.unwrap_or(default.capacity as u64);
        if !(DEDUP_CAPACITY_MIN..=DEDUP_CAPACITY_MAX).contains(&capacity) {
            self.problem(
                "dedup.capacity",
                format!("is {capacity}; write {DEDUP_CAPACITY_MIN} to {DEDUP_CAPACITY_MAX} (ids)"),
            );
        }
        let hours = raw.rotate_hours.unwrap_or(default.rotate_after / 3_600_000);
        if hours == 0 || hours > DEDUP_ROTATE_MAX_HOURS {
            self.problem("dedup.rotate_hours", format!("is {hours}; write 1 to {DEDUP_ROTATE_MAX_HOURS}"));
        }
        DedupSettings { capacity: capacity as usize, rotate_after: hours.saturating_mul(3_600_000) }
    }

    fn window(&mut self, raw: file::Window) -> WindowConfig {
        let quota = raw.quota.and_then(|quota| self.take("window.quota", size(&quota.0)));
        let quota_bytes = quota.unwrap_or(WINDOW_QUOTA_DEFAULT_BYTES);
        if quota_bytes < WINDOW_QUOTA_MIN_BYTES {
            self.problem(
                "window.quota",
                format!("is {quota_bytes} bytes; at least {WINDOW_QUOTA_MIN_BYTES} (1MiB) are needed"),
            );
        }
        WindowConfig { quota_bytes }
    }

    fn lua(&mut self, raw: file::Lua) -> LuaConfig {
        let folder = raw.folder.and_then(|text| self.take("lua.folder", self.places.path(&text)));
        let limits = file::Limits {
            source_kib: raw.source_kib,
            memory_mib: raw.memory_mib,
            filter_ms: raw.filter_ms,
            handler_ms: raw.handler_ms,
            load_ms: raw.load_ms,
            cpu_percent: raw.cpu_percent,
            ..file::Limits::default()
        };
        LuaConfig { folder, limits: self.limits("lua", &limits, ScriptLimits::default()) }
    }

    /// What a script may use; what isn't said is as in `default`.
    fn limits(&mut self, place: &str, raw: &file::Limits, default: ScriptLimits) -> ScriptLimits {
        let mut limit = |field: &str, value: Option<u64>, default: u64, max: u64| {
            let value = value.unwrap_or(default);
            if value == 0 || value > max {
                self.problem(format!("{place}.{field}"), format!("is {value}; write 1 to {max}"));
            }
            value
        };
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        ScriptLimits {
            source_kib: limit("source_kib", raw.source_kib, default.source_kib, 16 << 10),
            memory_mib: limit("memory_mib", raw.memory_mib, default.memory_mib, 4 << 10),
            filter_ms: limit("filter_ms", raw.filter_ms, default.filter_ms, 10_000),
            handler_ms: limit("handler_ms", raw.handler_ms, default.handler_ms, 60_000),
            load_ms: limit("load_ms", raw.load_ms, default.load_ms, 60_000),
            cpu_percent: small(limit("cpu_percent", raw.cpu_percent, default.cpu_percent.into(), 100)),
            store_mib: limit("store_mib", raw.store_mib, default.store_mib, 1 << 10),
            send_burst: small(limit("send_burst", raw.send_burst, default.send_burst.into(), 1_000)),
            send_per_minute: small(limit(
                "send_per_minute",
                raw.send_per_minute,
                default.send_per_minute.into(),
                6_000,
            )),
        }
    }

    fn scripts(
        &mut self,
        raw: BTreeMap<String, file::Script>,
        chats: &[ChatConfig],
        common: ScriptLimits,
    ) -> BTreeMap<String, ScriptConfig> {
        let names = || chats.iter().map(|chat| chat.name.as_str());
        for (script, granted) in &raw {
            for (n, room) in granted.rooms.iter().enumerate() {
                if room != "*" && !names().any(|name| name == room) {
                    let hint = did_you_mean(room, names());
                    let valid = names().chain(["*"]).collect::<Vec<_>>().join(", ");
                    self.problem(
                        format!("scripts.{script}.rooms[{n}]"),
                        format!("there is no chat {room:?}{hint}; valid: {valid}"),
                    );
                }
            }
            let relays = granted.allow.iter().any(|what| what == RELAY);
            if relays && (granted.allow.len() > 1 || !granted.rooms.is_empty()) {
                self.problem(
                    format!("scripts.{script}.allow"),
                    format!(
                        "has {RELAY:?} beside other things: who decides what this node passes on must see nothing that it can \
                         read, or peers can tell which rooms it is in; write `allow = [{RELAY:?}]` and no `rooms`, and grant the \
                         rest to another script"
                    ),
                );
            }
            for (n, what) in granted.allow.iter().enumerate() {
                let http = what.strip_prefix("http:").is_some_and(|host| !host.is_empty());
                if !http && !PERMISSIONS.contains(&what.as_str()) {
                    let hint = did_you_mean(what, PERMISSIONS);
                    let valid = PERMISSIONS.join(", ");
                    self.problem(
                        format!("scripts.{script}.allow[{n}]"),
                        format!("there is no permission {what:?}{hint}; valid: {valid}, http:HOST"),
                    );
                }
            }
        }
        let resolve = |(name, script): (String, file::Script)| {
            let file::Script { rooms, allow, limits, settings } = script;
            let limits = limits.map(|limits| self.limits(&format!("scripts.{name}.limits"), &limits, common));
            (name, ScriptConfig { rooms, allow, limits, settings })
        };
        raw.into_iter().map(resolve).collect()
    }

    fn state(&mut self, raw: Option<String>, file: &Path) -> Option<PathBuf> {
        if let Some(text) = raw {
            return self.take("state", self.places.path(&text));
        }
        let stem = file.file_stem().unwrap_or_default();
        match &self.places.state_home {
            Some(home) => Some(home.join("rumormill").join(stem)),
            None => {
                self.problem("state", "is not given, and neither $XDG_STATE_HOME nor $HOME is set; write the folder for keys and database");
                None
            }
        }
    }
}
