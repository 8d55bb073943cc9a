//! Hot reload, in all the ways that editors save.
#![cfg(feature = "luau")]
#![allow(clippy::unwrap_used, missing_docs)]

mod script_support;

use std::fs;

use rumormill::node::{CommandResult, Commands, Event, UiAction};
use rumormill::script::ScriptState;
use script_support::{Bench, done, failure, message};

fn version(n: usize) -> String {
    format!("rumor.command(\"version\", {{ run = function() return true, \"{n}\" end }})")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_save_reloads() {
    let mut bench = Bench::watched(&[("bots/v.lua", &version(1))]);
    let path = bench.dir.path().join("bots/v.lua");
    assert_eq!(bench.run("version").await, done("1"));

    // In place.
    fs::write(&path, version(2)).unwrap();
    bench.notice("reloaded v (").await;
    assert_eq!(bench.run("version").await, done("2"));

    // Renamed over, twice: a watched file would be deaf by then.
    for n in [3, 4] {
        let new = bench.dir.path().join("bots/.v.lua.new");
        fs::write(&new, version(n)).unwrap();
        fs::rename(&new, &path).unwrap();
        bench.notice("reloaded v (").await;
        assert_eq!(bench.run("version").await, done(&n.to_string()));
    }

    // Vim: a probe, the old file to a backup, a new file, the backup away. Emacs: a lock link.
    fs::write(bench.dir.path().join("bots/4913"), "").unwrap();
    fs::remove_file(bench.dir.path().join("bots/4913")).unwrap();
    let backup = bench.dir.path().join("bots/v.lua~");
    fs::rename(&path, &backup).unwrap();
    fs::write(&path, version(5)).unwrap();
    fs::remove_file(&backup).unwrap();
    std::os::unix::fs::symlink("user@host.1", bench.dir.path().join("bots/.#v.lua")).unwrap();
    bench.notice("reloaded v (").await;
    assert_eq!(bench.run("version").await, done("5"));

    // Deleted for good, and back again.
    fs::remove_file(&path).unwrap();
    bench.notice("unloaded v").await;
    assert!(matches!(bench.run("version").await, CommandResult::Unknown(_)));
    fs::write(&path, version(6)).unwrap();
    bench.notice("loaded v (").await;
    assert_eq!(bench.run("version").await, done("6"));

    // The whole folder replaced.
    fs::rename(bench.dir.path().join("bots"), bench.dir.path().join("old")).unwrap();
    bench.write("bots/v.lua", &version(7));
    bench.notice("reloaded v (").await;
    assert_eq!(bench.run("version").await, done("7"));
    bench.write("bots/v.lua", &version(8));
    bench.notice("reloaded v (").await;
    assert_eq!(bench.run("version").await, done("8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symlinked_script_is_seen_by_the_poll() {
    let mut bench = Bench::watched(&[("elsewhere/v.lua", &version(1))]);
    let target = bench.dir.path().join("elsewhere/v.lua");
    std::os::unix::fs::symlink(&target, bench.dir.path().join("bots/v.lua")).unwrap();
    bench.notice("loaded v (").await;
    fs::write(&target, version(2)).unwrap();
    bench.notice("reloaded v (").await;
    assert_eq!(bench.run("version").await, done("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_script_leaves_the_old_one_running() {
    let mut bench = Bench::watched(&[("bots/v.lua", &version(1))]);
    let broken = [
        ("rumor.command(", "bots/v.lua:1: "),
        ("\nlocal x = nil\nprint(x.y)", "bots/v.lua:3: attempt to index nil"),
        ("rumor.on(\"load\", function() error(\"no\") end)", "bots/v.lua:1: no"),
        ("rumor.command(\"chat\", { run = print })", "the command \"chat\" is registered by commands/chat.lua already"),
        ("require(\"nothing\")", "there is no module \"nothing\""),
    ];
    for (text, wanted) in broken {
        bench.write("bots/v.lua", text);
        let notice = bench.notice("the old one still runs").await;
        assert!(notice.contains(wanted), "{notice}");
        assert_eq!(bench.run("version").await, done("1"));
    }
    bench.write("bots/v.lua", &version(2));
    bench.notice("reloaded v (").await;
    assert_eq!(bench.run("version").await, done("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_comes_and_the_default_returns() {
    let mut bench = Bench::watched(&[]);
    bench.write("commands/exit.lua", r#"rumor.command("exit", { run = function() return true, "never" end })"#);
    bench.notice("reloaded exit (").await;
    assert_eq!(bench.run("exit").await, done("never"));
    fs::remove_file(bench.dir.path().join("commands/exit.lua")).unwrap();
    bench.notice("back to the built-in exit (").await;
    assert_eq!(bench.run_in(None, "exit").await.0, [UiAction::Quit]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_required_is_watched_too() {
    let bot = r#"
        local greeting = require("words.greeting")
        rumor.command("greet", { run = function() return true, greeting end })
    "#;
    let mut bench = Bench::watched(&[("bots/g.lua", bot), ("lib/words/greeting.lua", "return \"hello\"")]);
    assert_eq!(bench.run("greet").await, done("hello"));
    bench.write("lib/words/greeting.lua", "return \"hi\"");
    bench.notice("reloaded g (").await;
    assert_eq!(bench.run("greet").await, done("hi"));
    bench.write("bots/lib/words/greeting.lua", "return \"own\"");
    bench.notice("reloaded g (").await;
    assert_eq!(bench.run("greet").await, done("own"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_leave_one_handler_and_carry_state() {
    let text = |n: usize| {
        format!(
            r#"
            local count = 0
            rumor.on("load", function(saved) count = saved and saved.count or 0 end)
            rumor.on("unload", function() return {{ count = count + 1, list = {{ "a", "b" }} }} end)
            rumor.on("message", function(msg) rumor.chat("study"):send("{n} " .. count) end)
            rumor.command("ballast", {{ run = function() end }})
            "#
        )
    };
    let mut bench = Bench::new(&[("bots/v.lua", &text(0))]);
    let mut memory = 0;
    for n in 1..=100 {
        bench.write("bots/v.lua", &text(n));
        bench.host.reload();
        let status = bench.host.status().into_iter().find(|script| script.name == "v").unwrap();
        assert_eq!((status.handlers, status.commands), (3, 1));
        assert_eq!(status.state, ScriptState::Running);
        if n == 1 {
            memory = status.memory;
        }
        assert!(status.memory < memory * 2, "{n}: {} of {memory}", status.memory);
    }
    bench.emit(Event::Message(message("study", "x")));
    assert_eq!(bench.next_sent().await.text, "100 100");
    bench.emit(Event::Message(message("study", "y")));
    assert_eq!(bench.next_sent().await.text, "100 100");
    assert!(bench.sent.try_recv().is_err());
    assert_eq!(bench.host.list().iter().filter(|command| command.name == "ballast").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_script_comes_back_when_its_file_changes() {
    let mut bench =
        Bench::watched(&[("bots/v.lua", r#"rumor.command("loop", { run = function() while true do end end })"#)]);
    for _ in 0..2 {
        assert!(failure(bench.run("loop").await).contains("ran longer than its budget"));
    }
    let last = failure(bench.run("loop").await);
    assert!(last.contains("budget") || last.contains("was stopped"), "{last}");
    bench.notice("disabled until its file changes").await;
    assert!(matches!(bench.run("loop").await, CommandResult::Unknown(_)));
    bench.write("bots/v.lua", &version(1));
    bench.notice("reloaded v (").await;
    assert_eq!(bench.run("version").await, done("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_unload_does_not_keep_its_repair_out() {
    for (text, wanted) in [
        ("rumor.on(\"unload\", function() error(\"no\") end)", "bots/v.lua:1: no"),
        ("rumor.on(\"unload\", function() while true do end end)", "ran longer than its budget"),
        ("rumor.on(\"unload\", function() return print end)", "a function can't be kept"),
    ] {
        let mut bench = Bench::watched(&[("bots/v.lua", text)]);
        bench.write("bots/v.lua", &version(2));
        bench.notice(wanted).await;
        bench.notice("reloaded v (").await;
        assert_eq!(bench.run("version").await, done("2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sed_and_a_checkout_of_the_whole_folder_reload() {
    let text =
        |name: &str, n: usize| format!("rumor.command({name:?}, {{ run = function() return true, \"{n}\" end }})");
    let mut bench = Bench::watched(&[("bots/a.lua", &text("a", 1)), ("bots/b.lua", &text("b", 1))]);
    let path = |file: &str| bench.dir.path().join("bots").join(file);
    let (a, b, temporary) = (path("a.lua"), path("b.lua"), path("sedQ1w2e3"));

    // `sed -i` writes a file beside it and renames that over.
    fs::write(&temporary, text("a", 2)).unwrap();
    fs::rename(&temporary, &a).unwrap();
    bench.notice("reloaded a (").await;
    assert_eq!((bench.run("a").await, bench.run("b").await), (done("2"), done("1")));

    // `git checkout` unlinks each file and writes it anew; what the other branch lacks is gone, what it has more is there.
    fs::remove_file(&a).unwrap();
    fs::write(&a, text("a", 3)).unwrap();
    fs::remove_file(&b).unwrap();
    fs::write(a.with_file_name("c.lua"), text("c", 3)).unwrap();
    bench.notice("reloaded a (").await;
    bench.notice("unloaded b").await;
    assert_eq!((bench.run("a").await, bench.run("c").await), (done("3"), done("3")));
    assert!(matches!(bench.run("b").await, CommandResult::Unknown(_)));
}
