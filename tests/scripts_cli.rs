//! `rumor scripts` beside a node that runs: two processes, and a profile's folder between them.
#![cfg(all(
    feature = "transport-tcp",
    feature = "dedup-bloom",
    feature = "cipher-chacha",
    feature = "history-redb",
    feature = "luau"
))]
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;
use support::{Node, PATIENCE, TestConfig, free_ports, secret};

/// A node's config and folder, and `rumor scripts` on them.
struct Profile {
    config: PathBuf,
    state: PathBuf,
}

impl Profile {
    fn new(folder: &Path) -> Self {
        let scripts = folder.join("scripts");
        let write = |file: &str, text: &str| {
            let path = scripts.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("bots/count.lua", "rumor.command('count', { run = function() return true, 'counted' end })");
        write("bots/loop.lua", "rumor.command('loop', { run = function() while true do end end })");
        write("bots/wrong.lua", "x = = 1");
        let extra = format!("[lua]\nfolder = {scripts:?}\n[scripts.loop.limits]\nhandler_ms = 20");
        let [port] = free_ports::<1>();
        let chats = vec![("study", secret(1))];
        let config = TestConfig { name: "alice", port, peers: vec![], chats, extra }.write(folder);
        Self { config, state: folder.join("alice") }
    }

    fn scripts(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rumor"));
        command.arg("scripts").arg("--config").arg(&self.config).arg("--state").arg(&self.state).args(args);
        command.output().unwrap()
    }

    /// What it says of a file as soon as that fits: the node writes every few seconds.
    #[expect(clippy::disallowed_methods, reason = "the patience of a test is the wall clock's")]
    fn script(&self, file: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let output = self.scripts(&["--json"]);
            let said = String::from_utf8(output.stdout).unwrap();
            if output.status.success() {
                let document: Value = serde_json::from_str(&said).unwrap();
                let scripts = document["scripts"].as_array().unwrap();
                let script = scripts.iter().find(|script| script["file"] == file).unwrap();
                if fits(script) {
                    return script.clone();
                }
            }
            assert!(Instant::now() < until, "{file}: {said}");
        }
    }
}

#[test]
fn how_the_scripts_of_a_running_node_fare() {
    let folder = tempfile::tempdir().unwrap();
    let profile = Profile::new(folder.path());
    let idle = "no node runs with this config: start it with rumor --config FILE";
    let output = profile.scripts(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(idle));

    let mut node = Node::start(&profile.config, &profile.state);
    let before = profile.script("bots/count.lua", |script| script["commands"] == 1);
    assert_eq!(
        (&before["state"], &before["embedded"], &before["kills"]),
        (&"running".into(), &false.into(), &0.into())
    );
    let calls = before["calls"].as_u64().unwrap();
    for _ in 0..2 {
        node.line("/count");
        node.expect("an answer", |event| event["text"] == "counted");
    }
    for end in ["ran longer than its budget", "ran longer than its budget", "disabled until its file changes"] {
        node.line("/loop");
        node.expect("the end of the loop", |event| event["text"].as_str().is_some_and(|text| text.contains(end)));
    }
    let counted = profile.script("bots/count.lua", |script| script["calls"].as_u64() >= Some(calls + 2));
    assert_eq!(counted["calls"], calls + 2);
    let stopped = profile.script("bots/loop.lua", |script| script["state"] == "disabled");
    assert_eq!(stopped["kills"], 3);
    assert!(stopped["cpu_ms"].as_u64().unwrap() >= 3, "{stopped}");
    let wrong = profile.script("bots/wrong.lua", |script| script["state"] == "failed");
    assert!(wrong["last_error"].as_str().unwrap().starts_with("bots/wrong.lua:1:"), "{wrong}");

    // The same for people.
    let output = profile.scripts(&[]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    for (file, state) in
        [("bots/count.lua", "running"), ("bots/loop.lua", "disabled"), ("commands/help.lua", "running")]
    {
        let line = said.lines().find(|line| line.starts_with(file)).unwrap_or_else(|| panic!("{file}: {said}"));
        assert_eq!(line.split_whitespace().nth(1), Some(state), "{said}");
    }
    assert!(said.contains("    disabled: 3 calls in a row went past their budget\n"), "{said}");

    assert!(node.stop().success());
    let output = profile.scripts(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8(output.stderr).unwrap().contains(idle));
}
