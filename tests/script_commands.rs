//! The shipped commands, and what scripts of the user's do as commands.
#![cfg(feature = "luau")]
#![allow(clippy::unwrap_used, missing_docs)]

mod script_support;

use rumormill::node::{CommandResult, Commands, Hooks, LoadReport, UiAction};
use rumormill::script::{HostConfig, ScriptConfig, ScriptState};
use script_support::{Bench, done, failure, message};

fn printed(actions: &[UiAction]) -> String {
    match actions {
        [UiAction::Print(text)] => text.clone(),
        other => panic!("one print expected: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_script_loads() {
    let files: Vec<(String, String)> = ["commands", "hooks", "bots"]
        .iter()
        .flat_map(|kind| std::fs::read_dir(format!("lua/{kind}")).unwrap().map(move |entry| (kind, entry.unwrap())))
        .filter(|(_, entry)| !entry.file_name().to_str().unwrap().ends_with("_test.lua"))
        .map(|(kind, entry)| {
            let name = entry.file_name().into_string().unwrap();
            (format!("{kind}/{name}"), std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let bench = Bench::new(&files);
    let status = bench.host.status();
    assert_eq!(status.len(), files.len());
    for script in status {
        assert_eq!(script.state, ScriptState::Running, "{script:?}");
        assert_eq!(script.last_error, None);
        assert!(script.commands + script.handlers > 0, "{script:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_opens_and_lists() {
    let bench = Bench::new(&[]);
    let (actions, result) = bench.run_in(None, "chat study").await;
    assert_eq!((actions, result), (vec![UiAction::Open("study".into())], CommandResult::Done(None)));
    let (actions, _) = bench.run_in(None, "chat my room").await;
    assert_eq!(actions, [UiAction::Open("my room".into())]);
    let (actions, _) = bench.run_in(None, "CHAT").await;
    assert_eq!(printed(&actions), "Your chats:\n  study\n  friends\n  my room");
    let reason = failure(bench.run("chat nowhere").await);
    assert!(reason.contains("\"nowhere\"") && reason.contains("friends"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_quits() {
    let bench = Bench::new(&[]);
    assert_eq!(bench.run_in(None, "exit").await, (vec![UiAction::Quit], CommandResult::Done(None)));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_loaded_and_shown() {
    let bench = Bench::new(&[]);
    let reason = failure(bench.run_in(None, "load history").await.1);
    assert!(reason.contains("No chat is open"), "{reason}");
    let reason = failure(bench.run("load history").await);
    assert!(reason.contains("No peer is linked"), "{reason}");
    bench.set_report(LoadReport { answered: 2, failed: 0, new: 1, missing: 0, more: false, oldest: None });
    assert_eq!(bench.run("load history").await, done("study: 1 new message from 2 peers; complete."));
    bench.set_report(LoadReport { answered: 1, failed: 1, new: 3, missing: 2, more: false, oldest: None });
    assert_eq!(
        bench.run_in(None, "load history friends").await.1,
        done("friends: 3 new messages from 1 peer; 2 messages still missing.")
    );

    // A script's limit reaches the node, and what it says of it the script.
    let limited = |limit: &str| {
        let call =
            format!("local r = rumor.chat(\"study\"):load_history({limit}); return true, `{{r.new}} {{r.more}}`");
        let script = format!("rumor.command(\"load\", {{ run = function() {call} end }})");
        Bench::new(&[("commands/x.lua", &script)])
    };
    for limit in [1, 7, 1_000] {
        let bench = limited(&format!("{{ limit = {limit} }}"));
        assert_eq!(bench.run("load").await, done(&format!("{limit} true")));
    }
    assert_eq!(limited("").run("load").await, done("0 false"));

    let all: Vec<_> = (0..60).map(|n| message("study", &format!("text {n}"))).collect();
    bench.set_history(all.clone());
    let (actions, result) = bench.run_in(Some("study"), "show history 2").await;
    assert_eq!(result, CommandResult::Done(None));
    assert_eq!(actions, [UiAction::History("study".into(), all[58..].to_vec())]);
    let (actions, _) = bench.run_in(Some("study"), "show history").await;
    assert_eq!(actions, [UiAction::History("study".into(), all[10..].to_vec())]);
    for bad in ["show history 0", "show history x", "show history 1001", "show history 1 2", "show history 1.5"] {
        assert_eq!(bench.run(bad).await, CommandResult::Usage("show history [<count>]".into()), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_lists_what_any_script_registered() {
    let bench = Bench::new(&[(
        "commands/dice.lua",
        r#"rumor.command("roll", { params = "<sides>", desc = "Roll a die", run = function() return true, "4" end })"#,
    )]);
    let (actions, _) = bench.run_in(None, "help").await;
    let text = printed(&actions);
    for wanted in ["chat [<chat>]", "exit", "load history", "show history", "help", "roll <sides>", "Roll a die"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let (actions, _) = bench.run_in(None, "help roll").await;
    assert!(printed(&actions).contains("commands/dice.lua"));
    assert_eq!(bench.run("roll 6").await, done("4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_commands_name_what_is_close() {
    let bench = Bench::new(&[]);
    assert_eq!(bench.run("hlep").await, CommandResult::Unknown(vec!["help".into()]));
    assert_eq!(bench.run("history").await, CommandResult::Unknown(vec!["load history".into(), "show history".into()]));
    assert!(matches!(bench.run("zzzzzzzz").await, CommandResult::Unknown(names) if names.len() == 14));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_completed() {
    let bench = Bench::new(&[(
        "commands/pick.lua",
        r#"
        rumor.command("pick", { complete = { { "red", "green" }, "%(chats)" }, run = function() end })
        rumor.command("guess", { complete = function(ctx, prefix) return { prefix .. "1", ctx.chat } end,
            run = function() end })
        rumor.command("slow", { complete = function() while true do end end, run = function() end })
        "#,
    )]);
    let complete = |line: &str| bench.host.complete(line, Some("study"));
    assert_eq!(complete("c"), ["chat", "chats"]);
    assert_eq!(complete("l"), ["load history"]);
    assert_eq!(complete("chat s"), ["chat study"]);
    assert_eq!(complete("chat my r"), ["chat my room"]);
    assert_eq!(complete("pick r"), ["pick red"]);
    assert_eq!(complete("pick red fr"), ["pick red friends"]);
    assert_eq!(complete("guess s"), ["guess s1", "guess study"]);
    assert!(complete("slow x").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_and_results() {
    let bench = Bench::new(&[(
        "commands/t.lua",
        r#"
        rumor.command("echo", { aliases = { "e" }, params = "<text>", run = function(ctx, args)
            return true, `{#args} {args[2]} [{args.rest}]`
        end })
        rumor.command("no", { params = "<x>", run = function() return false end })
        rumor.command("broken", { run = function()
            local x = nil
            return x.y
        end })
        rumor.command("rare", { cooldown = 3600, run = function() return true, "once" end })
        rumor.command("me", { run = function() return true, rumor.me.nick .. #rumor.peers() end })
        "#,
    )]);
    assert_eq!(bench.run("e a  b c").await, done("3 b [a  b c]"));
    assert_eq!(bench.run("no").await, CommandResult::Usage("no <x>".into()));
    let reason = failure(bench.run("broken").await);
    assert!(reason.starts_with("commands/t.lua:8: attempt to index nil"), "{reason}");
    assert_eq!(bench.run("rare").await, done("once"));
    assert!(failure(bench.run("rare").await).starts_with("wait "));
    assert_eq!(bench.run("me").await, done("Alice1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_argument_names_function_file_and_line() {
    let cases = [
        (
            "\nrumor.command(\"a\", { params = 5, run = print })",
            "rumor.command: params must be a string, got number (commands/x.lua:2)",
        ),
        ("rumor.command(\"a\", { parms = \"x\", run = print })", "there is no field \"parms\"; valid: params, desc"),
        ("rumor.command(\"a\", {})", "rumor.command: run must be a function, got nil"),
        ("rumor.command(5, {})", "rumor.command: name must be a string, got number"),
        ("rumor.command(\"a\\27[31m\", { run = print })", "can't be a command's name"),
        ("rumor.command(\"a\", { where = \"moon\", run = print })", "where must be \"menu\" or \"chat\", got \"moon\""),
        (
            "rumor.command(\"a\", { complete = { \"%(x)\" }, run = print })",
            "valid: %(chats), %(peers), %(commands), %(scripts)",
        ),
        ("rumor.on(\"mesage\", print)", "there is no event \"mesage\"; valid: send, receive, relay, message"),
        ("rumor.on(\"message\")", "handler must be a function, got nil"),
        ("rumor.on(\"send\", print, { on_error = \"x\" })", "on_error must be \"pass\" or \"drop\", got \"x\""),
        ("rumor.script({ permissions = { \"root\" } })", "there is no permission \"root\""),
        ("rumor.chat(\"study\"):send(\"x\")", "a script must not wait while it loads"),
        ("rumor.chat(nil)", "name must be a string, got nil"),
        ("rumor.chat(\"study\", 1)", "rumor.chat: takes one argument, got 2"),
        (
            "rumor.chat(\"study\").send(\"x\")",
            "must be called on a chat, got string (write chat:send(…), with a colon)",
        ),
        ("rumor.chat(\"study\"):history({ limit = 0 })", "limit must be a whole number from 1 to 1000, got 0"),
        ("rumor.chat(\"study\"):load_history({ limit = 0 })", "limit must be a whole number from 1 to 1000, got 0"),
        (
            "rumor.chat(\"study\"):load_history({ limit = 1001 })",
            "limit must be a whole number from 1 to 1000, got 1001",
        ),
        ("rumor.chat(\"study\"):history({ limit = 1001 })", "limit must be a whole number from 1 to 1000, got 1001"),
        ("rumor.command(\"a\", { cooldown = -1, run = print })", "cooldown must be a number from 0 to 86400, got -1"),
        ("rumor.command(\"a\", { aliases = { \"b\", 3 }, run = print })", "aliases[2] must be a string, got number"),
        (
            "rumor.command(\"a\", { complete = 5, run = print })",
            "complete must be a list of strings and lists or a function",
        ),
        ("rumor.on(\"message\", print, { priority = 0/0 })", "priority must be finite"),
        ("rumor.on(\"message\", print, { once = 1 })", "once must be a boolean, got number"),
        ("print(rumor.me.nick)", "the node has not started"),
    ];
    for (text, wanted) in cases {
        let bench = Bench::new(&[("commands/x.lua", text)]);
        let status = bench.host.status();
        let script = status.iter().find(|script| script.file == "commands/x.lua").unwrap();
        let error = script.last_error.clone().unwrap_or_default();
        assert!(error.contains(wanted) && error.contains("commands/x.lua:"), "{text}: {error}");
        assert_eq!(script.state, ScriptState::Failed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_says_what_to_write_where() {
    let text = r#"
        rumor.command("go", { run = function(ctx) ctx.ui:open("study") end })
        rumor.command("say", { run = function(ctx) local id, why = rumor.chat("study"):send("x") end })
        rumor.command("see", { run = function(ctx) rumor.chat("friends") end })
        rumor.command("reply", { run = function(ctx) ctx:reply("x") end })
        rumor.command("list", { run = function(ctx) return true, tostring(#rumor.chats()) .. tostring(ctx.chat) end })
    "#;
    let config = ScriptConfig { rooms: vec!["study".into()], ..ScriptConfig::default() };
    let scripts = [("bot".to_owned(), config)].into();
    let bench = Bench::with(&[("bots/bot.lua", text)], HostConfig { scripts, ..HostConfig::default() });
    let reason = failure(bench.run("go").await);
    assert!(reason.contains("add \"ui\" to `allow` under [scripts.bot]"), "{reason}");
    let reason = failure(bench.run("say").await);
    assert!(reason.contains("add \"send\" to `allow` under [scripts.bot]"), "{reason}");
    let reason = failure(bench.run("see").await);
    assert!(reason.contains("add \"friends\" to `rooms` under [scripts.bot]"), "{reason}");
    assert_eq!(bench.run("list").await, done("1study"));
    assert_eq!(bench.run_in(Some("friends"), "list").await.1, done("1nil"));
    let reason = failure(bench.run("reply").await);
    assert!(reason.contains("add \"send\" to `allow` under [scripts.bot]"), "{reason}");

    let config = ScriptConfig { rooms: vec!["study".into()], allow: vec!["send".into()], ..ScriptConfig::default() };
    let scripts = [("bot".to_owned(), config)].into();
    let bench = Bench::with(&[("bots/bot.lua", text)], HostConfig { scripts, ..HostConfig::default() });
    let reason = failure(bench.run_in(Some("friends"), "reply").await.1);
    assert!(reason.contains("the open chat: add its name to `rooms` under [scripts.bot]"), "{reason}");
    assert!(!reason.contains("friends"), "{reason}");
    let reason = failure(bench.run_in(None, "reply").await.1);
    assert!(reason.contains("no chat is open"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_the_users_replaces_the_shipped_one_with_its_grant() {
    let bench = Bench::with(
        &[("commands/chat.lua", r#"rumor.command("chat", { run = function(ctx) ctx.ui:open("friends") end })"#)],
        HostConfig::default(),
    );
    let (actions, _) = bench.run_in(None, "chat study").await;
    assert_eq!(actions, [UiAction::Open("friends".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_scripts_cannot_register_the_same_command() {
    let text = r#"rumor.command("chat", { run = function() end })"#;
    let mut bench = Bench::new(&[("bots/other.lua", text)]);
    let notice = bench.notice("registered").await;
    // The embedded one comes later in the files' order, so it is the one that is told.
    assert!(notice.contains("\"chat\" is registered by") && notice.contains(".lua already"), "{notice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_permission_that_is_not_granted_is_said_at_load() {
    let text = r#"rumor.script({ permissions = { "send" } }) rumor.on("message", print)"#;
    let mut bench = Bench::with(&[("bots/echo.lua", text)], HostConfig::default());
    let notice = bench.notice("asks for").await;
    assert!(notice.contains("echo asks for \"send\"") && notice.contains("[scripts.echo]"), "{notice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_granted_must_be_declared_too() {
    let text = r#"
        rumor.script({ permissions = { "history" } })
        rumor.command("say", { run = function() rumor.chat("study"):send("x") end })
    "#;
    let bench = Bench::new(&[("bots/say.lua", text)]);
    let reason = failure(bench.run("say").await);
    assert!(reason.contains("add it to `permissions` of rumor.script (bots/say.lua:3)"), "{reason}");
}

#[test]
fn a_missing_folder_is_a_sentence() {
    let config = HostConfig { folder: Some("/nonexistent/scripts".into()), ..HostConfig::default() };
    let error = rumormill::script::Host::start(config).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/scripts") && error.contains("[lua]"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_bot_and_hook_work() {
    let echo = include_str!("../lua/bots/echo.lua");
    let mention = include_str!("../lua/hooks/mention.lua");
    let mut bench = Bench::new(&[("bots/echo.lua", echo), ("hooks/mention.lua", mention)]);
    bench.emit(rumormill::node::Event::Message(message("study", "!echo hi there")));
    assert_eq!(bench.next_sent().await.text, "hi there");
    let marked = bench.host.on_receive(message("study", "hello alice!")).await;
    assert!(matches!(marked, rumormill::node::Verdict::Pass(m) if m.text == ">> hello alice!"));
    let plain = bench.host.on_receive(message("study", "hello bob")).await;
    assert!(matches!(plain, rumormill::node::Verdict::Pass(m) if m.text == "hello bob"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_host_lets_go_of_the_node() {
    let bench = Bench::new(&[]);
    assert_eq!(bench.run_in(None, "exit").await.0, [UiAction::Quit]);
    let node = std::sync::Arc::downgrade(&bench.node);
    bench.host.stop();
    assert!(matches!(bench.run("exit").await, CommandResult::Unknown(_)));
    drop(bench);
    assert!(node.upgrade().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_has_limits_of_its_own() {
    let text = r#"
        rumor.command("fill", { run = function() rumor.store():set("k", string.rep("x", 2^20)) end })
        rumor.command("say", { run = function() rumor.chat("study"):send("x") end })
        rumor.command("loop", { run = function() while true do end end })
    "#;
    let limits = rumormill::config::ScriptLimits { store_mib: 1, send_burst: 1, handler_ms: 20, ..Default::default() };
    let tight = ScriptConfig { limits: Some(limits), ..script_support::all() };
    let scripts = [("tight".to_owned(), tight), ("free".to_owned(), script_support::all())].into();
    let bench = Bench::with(&[("bots/tight.lua", text)], HostConfig { scripts, ..HostConfig::default() });
    assert!(failure(bench.run("fill").await).contains("at most 1048576 bytes"));
    assert_eq!(bench.run("say").await, CommandResult::Done(None));
    assert!(failure(bench.run("say").await).contains("at most 1 at once and 60 a minute"));
    assert!(failure(bench.run("loop").await).contains("ran longer than its budget"));
    let cpu = bench.status("tight").cpu;
    assert!(cpu < std::time::Duration::from_millis(250), "{cpu:?}");
}
