//! For each rule, what it must refuse and what it must let pass.

use std::collections::BTreeSet;

use crate::rules::{self, Faults};
use crate::source::Source;

fn check(rule: impl Fn(&Source) -> Faults, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[track_caller]
fn refused(rule: impl Fn(&Source) -> Faults, path: &str, texts: &[&str]) {
    for text in texts {
        assert_ne!(check(&rule, path, text), 0, "{path} may hold: {text}");
    }
}

#[track_caller]
fn passes(rule: impl Fn(&Source) -> Faults, path: &str, texts: &[&str]) {
    for text in texts {
        assert_eq!(rule(&Source::new(path, text)), [""; 0], "{path} may not hold: {text}");
    }
}

#[test]
fn layers() {
    let rule = rules::layers;
    refused(
        rule,
        "src/proto/wire.rs",
        &["use crate::node::Handle;", "use super::super::room;", "fn f() -> crate::ui::X {}"],
    );
    refused(rule, "src/proto/mod.rs", &["use super::room::X;", "use tokio::sync::mpsc;"]);
    refused(rule, "src/room/seal.rs", &["use crate::node::Handle;", "use tokio::time;", "use crate::Builder;"]);
    refused(
        rule,
        "src/node/mod.rs",
        &["use crate::script::Host;", "use crate::{api, ui::line};", "let x = mlua::Lua::new();"],
    );
    refused(
        rule,
        "src/script/api/chat.rs",
        &["use crate::proto::Engine;", "use crate::plugins;", "use rumormill_api::History;"],
    );
    refused(
        rule,
        "src/ui/line.rs",
        &["use crate::script::Host;", "use crate::room::Secret;", "use crate::api::Transport;"],
    );
    refused(rule, "src/main.rs", &["use rumormill::proto::Engine;", "use redb::Database;"]);
    refused(rule, "src/config/mod.rs", &["use crate::proto::wire;"]);

    passes(rule, "src/proto/wire.rs", &["use crate::api::MsgId; use super::peers; use rumormill_api::Frame;"]);
    passes(rule, "src/room/seal.rs", &["use crate::proto::wire; use rumormill_api::CipherSuite; use super::id;"]);
    passes(rule, "src/node/mod.rs", &["use crate::{api, proto::Engine, room::Secret}; use tokio::sync::mpsc;"]);
    passes(
        rule,
        "src/script/api/chat.rs",
        &["use crate::node::Handle; use crate::script::sandbox; use rumormill_api::MsgId;"],
    );
    passes(rule, "src/ui/line.rs", &["use crate::node::{Event, Handle}; // not crate::script"]);
    passes(rule, "src/main.rs", &["use rumormill::{config, Builder};"]);
}

#[test]
fn engine() {
    let dependencies: BTreeSet<String> =
        ["serde", "tokio", "mlua", "getrandom", "rand_core", "bytes"].map(str::to_owned).into();
    let rule = |source: &Source| rules::engine(source, &dependencies);
    let path = "src/proto/peers.rs";
    refused(rule, path, &["use tokio::sync::mpsc;", "use mlua::Lua;", "fn f() { getrandom::fill(&mut x) }"]);
    refused(
        rule,
        path,
        &["use std::fs;", "use std::{fmt, fs::File};", "std::env::var(\"X\")", "use std::net::TcpStream;"],
    );
    refused(
        rule,
        path,
        &["use std::net;", "use std::time::{Duration, Instant};", "std::time::SystemTime::now()", "use std::thread;"],
    );
    refused(rule, path, &["use rand_core::OsRng;", "std::io::stdout()", "use std::hash::RandomState;"]);
    refused(
        rule,
        path,
        &[
            "struct S { links: HashMap<u8, u8> } fn f(s: &S) { for x in &s.links {} }",
            "struct S { links: std::collections::HashMap<u8, u8> } fn f(s: S) { s.links.values().sum() }",
            "fn f() { let mut seen = HashSet::new(); seen.drain(); }",
            "fn f(seen: &mut HashSet<u8>) { for x in seen {} }",
        ],
    );
    passes(
        rule,
        path,
        &[
            "use std::net::{IpAddr, SocketAddr}; use std::time::Duration; use std::collections::BTreeMap; use bytes::Bytes;",
            "struct S { links: HashMap<u8, u8>, order: BTreeMap<u8, u8> } fn f(s: &S) { s.links.get(&1); for x in &s.order {} }",
            "// std::fs is for others",
        ],
    );
    passes(rule, "src/node/mod.rs", &["use tokio::sync::mpsc; use std::fs;"]);
}

#[test]
fn backends() {
    let rule = rules::backends;
    refused(rule, "plugins/api/src/lib.rs", &["use rumormill::node;", "use rumormill_dedup_bloom::X;"]);
    refused(rule, "plugins/dedup-bloom/src/lib.rs", &["use rumormill::node;", "use rumormill_dedup_exact::X;"]);
    refused(rule, "plugins/dedup-bloom/tests/suite.rs", &["use rumormill_dedup_exact::X;"]);
    refused(rule, "src/node/mod.rs", &["rumormill_history_redb::register(&mut registry);"]);
    refused(rule, "src/config/mod.rs", &["use rumormill_transport_tcp as tcp;"]);
    passes(rule, "plugins/api/src/lib.rs", &["use std::fmt; // rumormill_api"]);
    passes(rule, "plugins/dedup-bloom/src/lib.rs", &["use rumormill_api::Dedup;"]);
    passes(rule, "plugins/dedup-bloom/tests/suite.rs", &["use rumormill_dedup_bloom::register;"]);
    passes(rule, "src/plugins.rs", &["rumormill_history_redb::register(&mut registry);"]);
    passes(rule, "src/node/mod.rs", &["use rumormill_api::Registry;"]);
}

#[test]
fn output() {
    let rule = rules::output;
    refused(rule, "src/node/mod.rs", &["println!(\"x\")", "std::process::exit(1)", "let x = std::io::stdout();"]);
    refused(rule, "src/ui/line.rs", &["print!(\"x\")", "process::exit(0)"]);
    refused(rule, "plugins/history-redb/src/lib.rs", &["eprintln!()", "dbg!(x)", "use std::io::stderr;"]);
    passes(rule, "src/main.rs", &["println!(\"x\"); std::process::exit(1);"]);
    passes(rule, "src/cli/config.rs", &["println!(\"x\")"]);
    passes(rule, "src/ui/line.rs", &["let out = std::io::stdout();"]);
    passes(
        rule,
        "src/node/mod.rs",
        &["#[cfg(test)] mod tests { fn f() { println!() } }", "// println!()", "\"println!()\""],
    );
    passes(rule, "xtask/src/main.rs", &["println!()"]);
}

#[test]
fn tidy() {
    let rule = rules::tidy;
    let mark = format!("// {}{}: later", "FIX", "ME");
    refused(
        rule,
        "src/x.rs",
        &[&mark, "fn f() { todo!() }", "fn f() { unimplemented!(\"x\") }", "#[ignore = \"slow\"] fn f() {}"],
    );
    refused(rule, "src/x.rs", &["//\n".repeat(801).as_str()]);
    passes(rule, "src/x.rs", &["//\n".repeat(800).as_str(), "let todo = 1;", "// what is to do", "\"todo!()\""]);
}

#[test]
fn units() {
    let rule = rules::units;
    refused(
        rule,
        "src/x.rs",
        &[
            "const HANDSHAKE_TIMEOUT: u64 = 5;",
            "pub const PING_INTERVAL: Millis = 5;",
            "const RETRY_DELAY_MAX: f64 = 1.0;",
        ],
    );
    passes(
        rule,
        "src/x.rs",
        &[
            "const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;",
            "const PING_INTERVAL: Duration = X;",
            "const LINKS_MAX: usize = 8;",
        ],
    );
}

#[test]
fn features() {
    let folders = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let manifest: toml::Table = "[features]\na-b = [\"dep:rumormill-a-b\"]\n[dependencies]\nrumormill-api = \"1\"\n\
         rumormill-a-b = { path = \"x\", optional = true }"
        .parse()
        .expect("a sample is TOML");
    let root = "#[cfg(feature = \"a-b\")]\n    rumormill_a_b::register(&mut registry);";
    assert_eq!(rules::features(&folders(&["api", "a-b"]), &manifest, root), [""; 0]);
    assert_eq!(rules::features(&folders(&["api", "a-b"]), &manifest, "").len(), 1, "no line in src/plugins.rs");
    assert_eq!(
        rules::features(&folders(&["api", "a-b", "c"]), &manifest, root).len(),
        3,
        "a folder that nothing names"
    );
    assert_eq!(rules::features(&folders(&["api"]), &manifest, root).len(), 1, "a dependency without a folder");
    let always: toml::Table =
        "[features]\na-b = [\"dep:rumormill-a-b\"]\n[dependencies]\nrumormill-a-b = { path = \"x\" }"
            .parse()
            .expect("a sample is TOML");
    assert_eq!(rules::features(&folders(&["a-b"]), &always, root).len(), 1, "a dependency that isn't optional");
}

#[test]
fn manifests() {
    let faults = |path: &str, text: &str| rules::manifest(path, &text.parse().expect("a sample is TOML")).len();
    let lints = "[lints]\nworkspace = true\n";
    assert_eq!(faults("plugins/a/Cargo.toml", &format!("{lints}[dependencies]\nrumormill-api = \"1\"")), 0);
    assert_eq!(faults("plugins/a/Cargo.toml", &format!("{lints}[dependencies]\nrumormill = \"1\"")), 1);
    assert_eq!(faults("plugins/a/Cargo.toml", &format!("{lints}[dev-dependencies]\nrumormill-b = \"1\"")), 1);
    assert_eq!(faults("plugins/api/Cargo.toml", &format!("{lints}[dependencies]\nrumormill-api = \"1\"")), 1);
    assert_eq!(faults("plugins/a/Cargo.toml", "[package]"), 1);
}
