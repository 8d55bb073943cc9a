//! The rules, each a function from sources to what is wrong with them.

use std::collections::BTreeSet;

use crate::source::{Placed, Source, Token};

/// Lines that a file may have. Past it, it is two files.
const FILE_MAX_LINES: usize = 800;

/// What is wrong, and where.
pub(crate) type Faults = Vec<String>;

/// What a layer of `src/` may know. Everything of ours that isn't named is forbidden to it.
struct Layer {
    module: &'static str,
    /// Modules of this crate, or single items of them. `api` is `rumormill_api`.
    ours: &'static [&'static str],
    /// Paths of other crates that are forbidden, with everything below them.
    never: &'static [&'static str],
}

/// architecture.md, "Who may import whom". Ids and plain values of the api pass through every interface; its traits,
/// and with them the backends, end at the node.
const LAYERS: &[Layer] = &[
    Layer { module: "proto", ours: &["api"], never: &["tokio", "tracing_subscriber", "notify"] },
    Layer { module: "room", ours: &["api", "proto"], never: &["tokio", "redb", "mlua", "notify", "rustyline", "clap"] },
    Layer { module: "node", ours: &["api", "proto", "room"], never: &["redb", "mlua", "notify", "rustyline", "clap"] },
    Layer {
        module: "script",
        // What is shown is cleaned by the one sanitizer there is, the room's.
        ours: &[
            "node",
            "room::PersonId",
            "room::sanitize",
            "room::sanitize_line",
            "api::MsgId",
            "api::PeerAddr",
            "api::LinkId",
            "api::Millis",
            "api::BoxFuture",
            // What a script is granted and may use: plain data.
            "config::ScriptConfig",
            "config::ScriptLimits",
            "config::PERMISSIONS",
            "config::RELAY",
            // What scripts keep: the host fills the stores that it is handed, and opens none of its own.
            "api::Store",
            "api::StoreFactory",
            "api::STORE_KEY_MAX_BYTES",
            "api::Result",
            "api::Error",
            "api::ErrorKind",
        ],
        never: &["redb", "snow", "chacha20poly1305", "rustyline", "clap"],
    },
    Layer {
        module: "ui",
        // The profile's folder is where typed lines are kept, with the profile's permissions. What is shown is cleaned by
        // the one sanitizer there is, the room's.
        ours: &[
            "node",
            "state",
            "room::PersonId",
            "room::sanitize",
            "room::sanitize_line",
            "api::MsgId",
            "api::PeerAddr",
            "api::LinkId",
            "api::Millis",
            "api::BoxFuture",
        ],
        never: &["redb", "snow", "chacha20poly1305", "mlua", "notify", "clap"],
    },
];

/// The only crates of others that the engine may name: data, encodings, hashes, and generators that are handed in.
const PROTO_CRATES: &[&str] = &[
    "blake3",
    "bytes",
    "ciborium",
    "data_encoding",
    "ed25519_dalek",
    "rand_chacha",
    "rand_core",
    "serde",
    "serde_bytes",
    "siphasher",
    "subtle",
    "thiserror",
    "tracing",
    "zeroize",
];

/// Of the standard library, what has effects or differs from run to run. Addresses as values are no network.
const PROTO_NEVER_STD: &[&str] = &[
    "std::env",
    "std::fs",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::hash::RandomState",
    "std::collections::hash_map::RandomState",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
];
const PROTO_NET_VALUES: &[&str] =
    &["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6", "AddrParseError"];

/// Calls whose order over a hash map is that of nobody knows what.
const UNORDERED_CALLS: &[&str] = &[
    "iter",
    "iter_mut",
    "keys",
    "values",
    "values_mut",
    "into_iter",
    "into_keys",
    "into_values",
    "drain",
    "extract_if",
];

fn at(source: &Source, line: usize, what: impl std::fmt::Display) -> String {
    format!("{}:{line}: {what}", source.path)
}

/// The module of `src/` that a file belongs to.
fn module(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    Some(inside.split_once('/').map_or_else(|| inside.trim_end_matches(".rs"), |(module, _)| module))
}

/// The backend crate that a file belongs to.
fn plugin(path: &str) -> Option<&str> {
    Some(path.strip_prefix("plugins/")?.split_once('/')?.0)
}

/// Who may import whom, inside `src/`.
pub(crate) fn layers(source: &Source) -> Faults {
    let Some(layer) = LAYERS.iter().find(|layer| module(&source.path) == Some(layer.module)) else {
        return edge(source);
    };
    let mut faults = Faults::new();
    for named in &source.named {
        let ours = match named.segments[0].as_str() {
            "crate" => named.segments[1..].to_vec(),
            "rumormill_api" => std::iter::once("api".to_owned()).chain(named.segments[1..].iter().cloned()).collect(),
            _ => Vec::new(),
        };
        // A macro of this crate, or `pub(in crate)`.
        if let Some(first) = ours.first() {
            let allowed = first == layer.module
                || layer.ours.iter().any(|path| {
                    path.split("::").zip(&ours).all(|(may, is)| may == is) && path.split("::").count() <= ours.len()
                });
            if !allowed {
                faults.push(at(source, named.line, format!("{} may not import {}", layer.module, ours.join("::"))));
            }
        } else if layer.never.iter().any(|path| named.starts_with(path)) {
            faults.push(at(
                source,
                named.line,
                format!("{} may not import {}", layer.module, named.segments.join("::")),
            ));
        }
    }
    faults
}

/// The files around the layers: main, cli, config, the profile. They put the parts together, but the engine is the
/// node's, and a hash's or a database's crate is a backend's.
fn edge(source: &Source) -> Faults {
    if module(&source.path).is_none() {
        return Faults::new();
    }
    // `rumor sim` is the simulator's own frontend: there is no node in between.
    let simulator = source.path.starts_with("src/cli/sim");
    let never = [if simulator { "crate::node" } else { "crate::proto" }, "redb", "snow", "chacha20poly1305"];
    let named = source.named.iter().filter(|named| !named.test);
    let named = named.filter(|named| never.iter().any(|path| named.starts_with(path)));
    named
        .map(|named| at(source, named.line, format!("only the layers below may import {}", named.segments.join("::"))))
        .collect()
}

/// What the engine may know of the world outside. `dependencies` are the root package's, as crates.
pub(crate) fn engine(source: &Source, dependencies: &BTreeSet<String>) -> Faults {
    if module(&source.path) != Some("proto") {
        return Faults::new();
    }
    let mut faults = Faults::new();
    let modules = source.own_modules();
    for named in &source.named {
        let first = named.segments[0].as_str();
        let foreign = dependencies.contains(first) && first != "rumormill_api" && !modules.contains(first);
        let socket = named.starts_with("std::net")
            && !named.segments.get(2).is_some_and(|item| PROTO_NET_VALUES.contains(&item.as_str()));
        let effect = PROTO_NEVER_STD.iter().any(|path| named.starts_with(path))
            && !(named.test && named.starts_with("std::env"));
        // What only tests compile may use what only tests depend on; the compiler keeps it out of the rest.
        let foreign = foreign && !PROTO_CRATES.contains(&first) && !(named.test && first == "proptest");
        if foreign || socket || effect {
            faults.push(at(source, named.line, format!("the engine may not name {}", named.segments.join("::"))));
        }
        if ["rand", "rand_core", "rand_chacha", "getrandom"].contains(&first)
            && named
                .segments
                .iter()
                .any(|part| matches!(part.as_str(), "OsRng" | "SysRng" | "thread_rng" | "rng" | "from_os_rng"))
        {
            faults.push(at(source, named.line, "the engine takes its randomness as an argument"));
        }
    }
    faults.extend(unordered(source));
    faults
}

/// A hash map may be looked up, but not walked: its order differs from run to run, and decides what is sent.
fn unordered(source: &Source) -> Faults {
    let tokens = &source.tokens;
    let ident = |at: usize| tokens.get(at).and_then(Placed::ident);
    let is = |at: usize, punct| tokens.get(at).is_some_and(|token: &Placed| token.is(punct));
    // `name: HashMap<…>` and `name = HashMap::…`, also with a path before the type.
    let mut names = BTreeSet::new();
    for (here, token) in tokens.iter().enumerate() {
        if !matches!(token.ident(), Some("HashMap" | "HashSet")) {
            continue;
        }
        let mut before = here;
        while before >= 2 && tokens[before - 1].token == Token::PathSep {
            before -= 2;
        }
        while before >= 1 && (is(before - 1, '&') || ident(before - 1) == Some("mut")) {
            before -= 1;
        }
        if before >= 2 && (is(before - 1, ':') || is(before - 1, '=')) {
            names.extend(ident(before - 2));
        }
    }
    let mut faults = Faults::new();
    for (here, token) in tokens.iter().enumerate() {
        let Some(name) = token.ident().filter(|name| names.contains(name)) else { continue };
        let walks = is(here + 1, '.')
            && ident(here + 2).is_some_and(|call| UNORDERED_CALLS.contains(&call))
            && is(here + 3, '(');
        // `for x in &mut self.name {`
        let mut before = here;
        while before >= 2 && is(before - 1, '.') {
            before -= 2;
        }
        while before >= 1 && (is(before - 1, '&') || ident(before - 1) == Some("mut")) {
            before -= 1;
        }
        let looped = before >= 1 && ident(before - 1) == Some("in") && is(here + 1, '{');
        if walks || looped {
            faults.push(at(
                source,
                token.line,
                format!("'{name}' is a hash map, whose order differs from run to run: use a BTreeMap"),
            ));
        }
    }
    faults
}

/// The contract imports nothing of ours, a backend imports the contract, and only `src/plugins.rs` names a backend.
pub(crate) fn backends(source: &Source) -> Faults {
    let allowed: &[&str] = match plugin(&source.path) {
        Some("api") => &[],
        Some(_) => &["rumormill_api"],
        None if source.path == "src/plugins.rs" => return Faults::new(),
        None if source.path.starts_with("src/") => &["rumormill_api", "rumormill"],
        None => return Faults::new(),
    };
    // A backend's own integration tests name it by its crate.
    let own = plugin(&source.path).map(|name| format!("rumormill_{}", name.replace('-', "_")));
    let idents = source.tokens.iter().filter_map(|token| Some((token.ident()?, token)));
    let foreign = idents.filter(|(name, token)| {
        let ours = *name == "rumormill" || name.starts_with("rumormill_");
        ours && !allowed.contains(name)
            && own.as_deref() != Some(name)
            && !(token.test && source.path.starts_with("src/"))
    });
    foreign.map(|(name, token)| at(source, token.line, format!("{name} may not be named here"))).collect()
}

/// Who prints, and who ends the process.
pub(crate) fn output(source: &Source) -> Faults {
    let prints = matches!(module(&source.path), Some("main" | "cli"));
    let writes = prints || module(&source.path) == Some("ui");
    if !(source.path.starts_with("src/") || source.path.starts_with("plugins/")) {
        return Faults::new();
    }
    let mut faults = Faults::new();
    for pair in source.tokens.windows(2).filter(|pair| !pair[0].test && pair[1].is('!')) {
        if !prints && matches!(pair[0].ident(), Some("print" | "println" | "eprint" | "eprintln" | "dbg")) {
            faults.push(at(
                source,
                pair[0].line,
                "only main and the subcommands print; elsewhere it is an event or a log line",
            ));
        }
    }
    for named in source.named.iter().filter(|named| !named.test) {
        let last: Vec<&str> = named.segments.iter().rev().take(2).rev().map(String::as_str).collect();
        match last.as_slice() {
            ["process", "exit" | "abort"] if !prints => {
                faults.push(at(source, named.line, "only main ends the process; elsewhere it is an error"));
            }
            ["io", "stdout" | "stderr"] if !writes => {
                faults.push(at(source, named.line, "the standard streams belong to main and the frontends"));
            }
            _ => {}
        }
    }
    faults
}

/// Small files, without marks of what isn't done, and tests that run.
pub(crate) fn tidy(source: &Source) -> Faults {
    let mut faults = Faults::new();
    let lines = source.text.lines().count();
    if lines > FILE_MAX_LINES {
        faults.push(at(source, lines, format!("{lines} lines; at most {FILE_MAX_LINES}")));
    }
    // Put together, so that this file doesn't find itself.
    let marks = ["TO", "FIX", "XX", "HA"].iter().zip(["DO", "ME", "X", "CK"]).map(|(a, b)| format!("{a}{b}"));
    let marks: Vec<String> = marks.collect();
    for (number, line) in source.text.lines().enumerate() {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words.filter(|word| marks.iter().any(|mark| mark == word)) {
            faults.push(at(source, number + 1, format!("{word}: do it, or open an issue")));
        }
    }
    for pair in source.tokens.windows(2) {
        if pair[1].is('!') && matches!(pair[0].ident(), Some("todo" | "unimplemented")) {
            faults.push(at(source, pair[0].line, "a stub"));
        }
    }
    for three in source.tokens.windows(3) {
        if three[0].is('#') && three[1].is('[') && three[2].ident() == Some("ignore") {
            faults.push(at(source, three[0].line, "a test that doesn't run"));
        }
    }
    faults
}

/// A constant that counts time by a number says by which.
pub(crate) fn units(source: &Source) -> Faults {
    let times = ["TIMEOUT", "INTERVAL", "DELAY", "GRACE", "BACKOFF", "DEADLINE", "EMBARGO", "LIFETIME"];
    let units = ["NS", "US", "MS", "S", "SECS", "MIN", "MINUTES", "HOURS", "DAYS"];
    let mut faults = Faults::new();
    for four in source.tokens.windows(4) {
        let [keyword, name, colon, kind] = four else { continue };
        let (Some("const" | "static"), Some(name), true, Some(kind)) =
            (keyword.ident(), name.ident(), colon.is(':'), kind.ident())
        else {
            continue;
        };
        let number = kind == "Millis" || kind.len() <= 5 && kind.starts_with(['u', 'i', 'f']);
        let words: Vec<&str> = name.split('_').collect();
        if number
            && words.iter().any(|word| times.contains(word))
            && !words.last().is_some_and(|last| units.contains(last))
        {
            faults.push(at(
                source,
                keyword.line,
                format!("{name} is a time, and doesn't end in its unit ({})", units.join(", ")),
            ));
        }
    }
    faults
}

/// A folder under `plugins/` is a feature of its name, an optional dependency, and one line of `src/plugins.rs`.
pub(crate) fn features(folders: &BTreeSet<String>, manifest: &toml::Table, plugins_rs: &str) -> Faults {
    let mut faults = Faults::new();
    let table = |name: &str| manifest.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let (features, dependencies) = (table("features"), table("dependencies"));
    let backends: BTreeSet<&String> = folders.iter().filter(|folder| *folder != "api").collect();
    for folder in &backends {
        let turns_on = format!("dep:rumormill-{folder}");
        let feature = features.get(*folder).and_then(toml::Value::as_array);
        if !feature.is_some_and(|list| list.iter().any(|item| item.as_str() == Some(&turns_on))) {
            faults.push(format!("Cargo.toml: plugins/{folder} has no feature {folder} = [\"{turns_on}\"]"));
        }
        let dependency = dependencies.get(&format!("rumormill-{folder}"));
        if dependency.and_then(|it| it.get("optional")).and_then(toml::Value::as_bool) != Some(true) {
            faults.push(format!("Cargo.toml: rumormill-{folder} is no optional dependency"));
        }
        let line = format!("#[cfg(feature = \"{folder}\")] rumormill_{}::register(", folder.replace('-', "_"));
        let text = plugins_rs.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.contains(&line) {
            faults.push(format!("src/plugins.rs: no line {line}…"));
        }
    }
    for name in dependencies.keys().filter_map(|name| name.strip_prefix("rumormill-")) {
        if name != "api" && !backends.contains(&name.to_owned()) {
            faults.push(format!("Cargo.toml: rumormill-{name} has no folder plugins/{name}"));
        }
    }
    faults
}

/// What a member's manifest may depend on, of ours; and that the workspace's lints hold in it.
pub(crate) fn manifest(path: &str, manifest: &toml::Table) -> Faults {
    let mut faults = Faults::new();
    let allowed: &[&str] = match plugin(path) {
        Some("api") => &[],
        _ => &["rumormill-api"],
    };
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let names = manifest.get(table).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
        for name in names.filter(|name| name.starts_with("rumormill") && !allowed.contains(&name.as_str())) {
            faults.push(format!("{path}: {name} may not be a dependency here"));
        }
    }
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    if lints != Some(true) {
        faults.push(format!("{path}: [lints] workspace = true is missing"));
    }
    faults
}
