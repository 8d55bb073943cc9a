//! The binary's command line, as a user meets it.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

fn rumor(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rumor")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn secret_of(snippet: &str) -> &str {
    snippet.split("secret = \"").nth(1).unwrap().split('"').next().unwrap()
}

#[test]
fn wrong_use_exits_with_2_and_says_how() {
    for args in [&[][..], &["--bogus"], &["--plain", "--json", "--config", "x"], &["config", "chekc"], &["--plain"]] {
        let output = rumor(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(text(&output.stderr).contains("Usage:"), "{args:?}: {}", text(&output.stderr));
    }
    let output = rumor(&["--help"]);
    assert_eq!(code(&output), 0);
    assert!(text(&output.stdout).contains("Examples:\n  rumor --config config_examples/alice.toml"));
}

#[test]
fn failures_exit_with_1_and_say_what_to_do() {
    let output = rumor(&["--config", "no/such.toml"]);
    assert_eq!(code(&output), 1);
    assert_eq!(text(&output.stderr), "rumor: no/such.toml: there is no such file: no/such.toml\n");
    assert!(output.stdout.is_empty());
}

#[test]
fn config_check_says_ok_or_every_error() {
    let registry = rumormill::plugins::compiled_in();
    let complete = registry.transport_names().contains(&"tcp")
        && registry.dedup_names().contains(&"bloom")
        && registry.cipher_names().contains(&"chacha")
        && registry.history_names().contains(&"redb");
    for name in ["alice.toml", "alice.json", "relay.toml", "bot_host.toml"] {
        let file = format!("config_examples/{name}");
        let output = rumor(&["config", "check", &file]);
        if complete {
            assert_eq!(code(&output), 0, "{}", text(&output.stderr));
            assert!(text(&output.stdout).starts_with(&format!("OK {file}\nname: ")), "{}", text(&output.stdout));
        } else {
            assert_eq!(code(&output), 1, "a build without the default backends says so");
            assert!(text(&output.stderr).contains("in this build; compiled in: "), "{}", text(&output.stderr));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "name = \"\"\nport = 1\n[window]\nquota = \"1\"\n").unwrap();
    let output = rumor(&["config", "check", file.to_str().unwrap()]);
    assert_eq!(code(&output), 1);
    let errors = text(&output.stderr);
    assert!(errors.contains("bad.toml:1:1: name: ") && errors.contains("bad.toml:4:1: window.quota: "), "{errors}");
    assert!(output.stdout.is_empty());
}

#[test]
fn config_schema_is_json() {
    let output = rumor(&["config", "schema"]);
    assert_eq!(code(&output), 0);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["title"], "Rumormill config");
}

#[test]
fn room_new_prints_a_chat_that_a_config_takes() {
    let output = rumor(&["room", "new", "--name", "a \"quoted\" \\ name", "--ephemeral"]);
    assert_eq!(code(&output), 0);
    let snippet = text(&output.stdout);
    let config = format!("name = \"a\"\nport = 1\n{snippet}");
    let config = rumormill::config::Config::parse(&config, rumormill::config::Format::Toml, Path::new("/a.toml"), None);
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.chats[0].name, "a \"quoted\" \\ name");
    assert_eq!(config.chats[0].kind, rumormill::config::ChatKind::Ephemeral);
    let again = rumor(&["room", "new"]);
    assert_ne!(secret_of(snippet), secret_of(text(&again.stdout)), "every secret is a new one");

    let output = rumor(&["room", "new", "--name", "a\u{1b}[31m"]);
    assert_eq!(code(&output), 1);
    assert!(!output.stderr.contains(&0x1b));
}
