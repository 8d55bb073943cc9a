//! Scripts on whole nodes: the real driver, vault and presenter on the memory transport, with a host on one or both ends.
#![cfg(all(feature = "luau", feature = "transport-memory", feature = "history-memory"))]
#![allow(clippy::unwrap_used, missing_docs)]

mod node_support;
mod script_support;

use std::sync::Arc;
use std::time::Duration;

use node_support::{Plan, TestNode, World, pass};
use rumormill::node::{CommandContext, CommandResult, Commands, Event, Hooks};
use rumormill::script::{Budgets, Host, HostConfig, ScriptConfig, ScriptState};
use script_support::{PATIENCE, all, failure, paused_clock, write};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Only the peers that the config names.
const CLOSED: &str = "[network]\noutgoing = 0";

/// The scripts of one node.
struct Scripts {
    host: Arc<Host>,
    _folder: TempDir,
}

impl Scripts {
    /// By file, each granted everything in every room unless the config says otherwise.
    fn new(files: &[(&str, &str)], mut config: HostConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            write(folder.path(), file, text);
            let name = file.rsplit('/').next().unwrap().trim_end_matches(".lua").to_owned();
            config.scripts.entry(name).or_insert_with(all);
        }
        let host = Host::start(HostConfig { folder: Some(folder.path().to_owned()), ..config }).unwrap();
        Self { host, _folder: folder }
    }

    /// On a runtime whose time is virtual.
    fn in_virtual_time(files: &[(&str, &str)], scripts: &[(&str, ScriptConfig)]) -> Self {
        let scripts = scripts.iter().map(|(name, config)| ((*name).to_owned(), config.clone())).collect();
        // Budgets are in real time: on a busy machine, too, only what hangs is late.
        let budgets = Budgets { filter_ms: 1_000, cpu_percent: 100, ..Budgets::default() };
        Self::new(files, HostConfig { clock: Some(paused_clock()), scripts, budgets, ..HostConfig::default() })
    }

    /// Starts a node with them.
    async fn node(&self, plan: Plan<'_>) -> TestNode {
        let node = plan.hooks(Arc::clone(&self.host) as Arc<dyn Hooks>).start().await;
        self.host.attach(node.handle.clone());
        node
    }

    async fn run(&self, line: &str) -> CommandResult {
        let (actions, _seen) = mpsc::unbounded_channel();
        self.host.run(line, CommandContext { chat: Some("study".into()), actions }).await
    }

    fn state(&self, name: &str) -> ScriptState {
        self.host.status().into_iter().find(|script| script.name == name).unwrap().state
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        self.host.stop();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_relay_filter_refuses_is_not_passed_on_but_kept_read_and_shown_to_who_reconciles() {
    let filter = r#"
        rumor.script({ permissions = { "relay" } })
        rumor.on("relay", function(passing)
            assert(#passing.id == 64 and passing.link.addr and not passing.link.outgoing)
            if passing.size > 1024 then return false end
        end)
    "#;
    let relay = ScriptConfig { allow: vec!["relay".into()], ..ScriptConfig::default() };
    let scripts = Scripts::in_virtual_time(&[("hooks/small.lua", filter)], &[("small", relay)]);
    let world = World::new();
    let bridge = world.node("bridge").chat("study", 1).extra(CLOSED);
    let mut bridge = scripts.node(bridge).await;
    let mut left = world.node("left").peers(&["bridge"]).chat("study", 1).extra(CLOSED).start().await;
    let mut right = world.node("right").peers(&["bridge"]).chat("study", 1).extra(CLOSED).start().await;
    bridge.expect_peers(2).await;
    left.expect_peers(1).await;
    right.expect_peers(1).await;
    // What is found at once on a new link is past.
    pass(Duration::from_secs(1)).await;

    let long = "long ".repeat(500);
    left.say("study", &long).await;
    left.say("study", "short").await;
    assert!(!right.expect_text("study", "short").await.synced);
    bridge.expect_text("study", &long).await;
    pass(Duration::from_secs(1)).await;
    assert_eq!((right.shown(&long), bridge.counted("relay_refused")), (0, 1));
    // The repair of each minute brings it: the window is everybody's, whatever a script says.
    assert!(right.expect_text("study", &long).await.synced);
    // What it says itself needs nobody's consent.
    bridge.say("study", &"own ".repeat(500)).await;
    assert!(!right.expect_text("study", &"own ".repeat(500)).await.synced);
}

#[tokio::test(start_paused = true)]
async fn a_relay_filter_that_hangs_lets_everything_pass_and_is_disabled() {
    let filter = r#"rumor.on("relay", function() while true do pcall(function() while true do end end) end end)"#;
    let relay = ScriptConfig { allow: vec!["relay".into()], ..ScriptConfig::default() };
    let scripts = Scripts::in_virtual_time(&[("hooks/bad.lua", filter)], &[("bad", relay)]);
    let world = World::new();
    let mut bridge = scripts.node(world.node("bridge").chat("work", 9).extra(CLOSED)).await;
    let mut left = world.node("left").peers(&["bridge"]).chat("study", 1).extra(CLOSED).start().await;
    let mut right = world.node("right").peers(&["bridge"]).chat("study", 1).extra(CLOSED).start().await;
    bridge.expect_peers(2).await;
    left.expect_peers(1).await;
    right.expect_peers(1).await;
    for n in 0..5 {
        left.say("study", &format!("text {n}")).await;
        assert!(!right.expect_text("study", &format!("text {n}")).await.synced);
    }
    assert!(matches!(scripts.state("bad"), ScriptState::Disabled(_)));
    assert!(!scripts.host.filters_relays());
    assert_eq!(bridge.counted("relay_refused"), 0);
}

/// A script that says when it begins never to end.
const HOSTILE: &str = r#"
    rumor.command("bad", { run = function()
        rumor.notify("it begins")
        while true do pcall(function() while true do end end) end
    end })
"#;

/// How long a hostile call of these tests may run: longer than what happens meanwhile needs, even on a busy machine.
const HOSTILE_MS: u64 = 8_000;

#[tokio::test(flavor = "multi_thread")]
async fn while_a_hostile_script_runs_into_its_budget_other_scripts_and_the_flood_go_on() {
    const MESSAGES: usize = 100;
    let counting = r#"
        local seen = 0
        rumor.on("message", function(msg) if not msg.mine then seen += 1 end end)
        rumor.on("receive", function(msg) msg.text = msg.text .. "!" return msg end)
        rumor.command("seen", { run = function() return true, tostring(seen) end })
    "#;
    let files = [("bots/bad.lua", HOSTILE), ("bots/counting.lua", counting)];
    let budgets = Budgets { handler_ms: HOSTILE_MS, filter_ms: HOSTILE_MS, ..Budgets::default() };
    let scripts = Scripts::new(&files, HostConfig { budgets, ..HostConfig::default() });
    let world = World::new();
    let mut alice = scripts.node(world.node("alice").chat("study", 1).extra(CLOSED)).await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).extra(CLOSED).start().await;
    bob.expect_peers(1).await;

    let mut bad = std::pin::pin!(scripts.run("bad"));
    let begins = |event: &Event| matches!(event, Event::Notice { text, .. } if text.contains("it begins"));
    tokio::select! {
        _ = &mut bad => panic!("it ends before it has begun"),
        _ = alice.expect("the loop to begin", begins) => {}
    }
    let meanwhile = async {
        for n in 0..MESSAGES {
            bob.say("study", &format!("text {n}")).await;
            alice.say("study", &format!("answer {n}")).await;
        }
        for n in 0..MESSAGES {
            alice.expect_text("study", &format!("text {n}!")).await;
            bob.expect_text("study", &format!("answer {n}")).await;
        }
        let everything = CommandResult::Done(Some(MESSAGES.to_string()));
        while scripts.run("seen").await != everything {
            tokio::task::yield_now().await;
        }
    };
    let meanwhile = tokio::time::timeout(PATIENCE, meanwhile);
    tokio::select! {
        biased;
        result = &mut bad => panic!("it was to outlast the messages: {result:?}"),
        done = meanwhile => done.unwrap(),
    }
    assert!(failure(bad.await).contains("ran longer than its budget"));
    // It wasn't disabled; it may have used more than its share.
    assert!(matches!(scripts.state("bad"), ScriptState::Running | ScriptState::Waiting));
}

/// A script that uses nearly all of each budget, and is never killed.
const GREEDY: &str = r#"
    local function burn(seconds)
        local ends = os.clock() + seconds
        while os.clock() < ends do end
    end
    rumor.on("receive", function() burn(0.018) end)
    rumor.on("message", function() burn(0.24) end)
    rumor.every(0.25, function() burn(0.24) end)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_uses_all_of_its_budget_all_of_the_time_waits_while_others_and_messages_are_served() {
    const MESSAGES: usize = 100;
    let counting = r#"rumor.on("receive", function(msg) msg.text = msg.text .. "!" return msg end)"#;
    let files = [("bots/greedy.lua", GREEDY), ("bots/counting.lua", counting)];
    let budgets = Budgets { cpu_percent: 1, cpu_burst_ms: 100, ..Budgets::default() };
    let scripts = Scripts::new(&files, HostConfig { budgets, ..HostConfig::default() });
    let world = World::new();
    let mut alice = scripts.node(world.node("alice").chat("study", 1).extra(CLOSED)).await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).extra(CLOSED).start().await;
    bob.expect_peers(1).await;
    let waits = |event: &Event| matches!(event, Event::Notice { text, .. } if text.contains("more than its share"));
    alice.expect("the greedy script to wait", waits).await;
    for n in 0..MESSAGES {
        bob.say("study", &format!("text {n}")).await;
    }
    for n in 0..MESSAGES {
        alice.expect_text("study", &format!("text {n}!")).await;
    }
    // What it would have used for each message, it used for a few.
    let greedy = scripts.host.status().into_iter().find(|script| script.name == "greedy").unwrap();
    assert!(greedy.calls < MESSAGES as u64 / 2, "{greedy:?}");
    assert_eq!(greedy.kills, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_hostile_filter_holds_up_what_is_shown_the_flood_passes_it_on() {
    const MESSAGES: usize = 50;
    let filter = r#"rumor.on("receive", function() while true do pcall(function() while true do end end) end end)"#;
    let budgets = Budgets { filter_ms: HOSTILE_MS, ..Budgets::default() };
    let scripts = Scripts::new(&[("hooks/bad.lua", filter)], HostConfig { budgets, ..HostConfig::default() });
    let world = World::new();
    let mut bridge = scripts.node(world.node("bridge").chat("study", 1).extra(CLOSED)).await;
    let mut left = world.node("left").peers(&["bridge"]).chat("study", 1).extra(CLOSED).start().await;
    let mut right = world.node("right").peers(&["bridge"]).chat("study", 1).extra(CLOSED).start().await;
    bridge.expect_peers(2).await;
    left.expect_peers(1).await;
    right.expect_peers(1).await;
    let flood = async {
        for n in 0..MESSAGES {
            left.say("study", &format!("text {n}")).await;
        }
        for n in 0..MESSAGES {
            assert!(!right.expect_text("study", &format!("text {n}")).await.synced);
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.unwrap();
    assert_eq!(bridge.count(|event| matches!(event, Event::Message(_))), 0, "its filter still runs");
    // What is said here isn't held up either.
    bridge.say("study", "from the bridge").await;
    right.expect_text("study", "from the bridge").await;
}

#[tokio::test(start_paused = true)]
async fn bots_of_two_nodes_that_answer_everything_fall_silent() {
    // Each way to answer, at once and as slowly as the long-run allowance would let it go on for ever.
    let ways = [
        ("at once", "msg:reply(msg.text)"),
        ("to the chat", "rumor.chat('study'):send('answer')"),
        ("spawned", "rumor.spawn(function() msg:reply(msg.text) end)"),
        ("by a timer", "rumor.after(1, function() msg:reply(msg.text) end)"),
        ("after a sleep", "rumor.sleep(1) msg:reply(msg.text)"),
        ("slowly", "rumor.sleep(650) msg:reply(msg.text)"),
        ("twice", "msg:reply(msg.text) rumor.after(1, function() msg:reply(msg.text) end)"),
    ];
    for (way, answer) in ways {
        let bot = format!("rumor.on('message', function(msg) {answer} end, {{ bots = true }})");
        let files = [("bots/echo.lua", bot.as_str())];
        let (left, right) = (Scripts::in_virtual_time(&files, &[]), Scripts::in_virtual_time(&files, &[]));
        let world = World::new();
        let mut alice = left.node(world.node("alice").chat("study", 1).extra(CLOSED)).await;
        let mut bob = right.node(world.node("bob").peers(&["alice"]).chat("study", 1).extra(CLOSED)).await;
        bob.expect_peers(1).await;
        alice.expect_peers(1).await;
        alice.say("study", "hello").await;
        let said = |alice: &mut TestNode| alice.count(|event| matches!(event, Event::Message(m) if m.bot));
        let hours = Duration::from_secs(if way == "slowly" { 3 * 3_600 } else { 3_600 });
        pass(hours).await;
        let first = said(&mut alice);
        // Both answer the person, and then each other: five times each, and ever more rarely after that.
        assert!((4..=22).contains(&first), "{way}: {first}");
        pass(hours).await;
        let later = said(&mut alice) - first;
        assert!(later <= 4, "{way}: {later} in as many hours again");
        if way == "at once" {
            assert_eq!((first, later), (12, 0));
            alice.say("study", "hello again").await;
            pass(Duration::from_secs(60)).await;
            assert_eq!(said(&mut alice), 24, "a person woke them up");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unless_asked_for_bots_of_two_nodes_do_not_answer_each_other() {
    let files = [("bots/echo.lua", "rumor.on('message', function(msg) msg:reply(msg.text) end)")];
    let (left, right) = (Scripts::in_virtual_time(&files, &[]), Scripts::in_virtual_time(&files, &[]));
    let world = World::new();
    let mut alice = left.node(world.node("alice").chat("study", 1).extra(CLOSED)).await;
    let mut bob = right.node(world.node("bob").peers(&["alice"]).chat("study", 1).extra(CLOSED)).await;
    bob.expect_peers(1).await;
    alice.say("study", "hello").await;
    pass(Duration::from_secs(3_600)).await;
    assert_eq!(alice.count(|event| matches!(event, Event::Message(m) if m.bot)), 2);
    assert_eq!(bob.count(|event| matches!(event, Event::Message(m) if m.bot)), 2);
}
