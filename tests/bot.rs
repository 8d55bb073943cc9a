//! `rumor bot`: the author's tools, as an author meets them; and the tests of every script that ships.
#![cfg(all(feature = "luau", feature = "transport-memory", feature = "history-memory", feature = "cipher-chacha"))]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rumormill::bot::world::{Fate, Saying, Setup, World};

fn rumor(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rumor")).args(args).current_dir(folder).output().unwrap()
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn every_shipped_script_has_tests_that_pass() {
    for kind in ["commands", "hooks", "bots"] {
        for entry in std::fs::read_dir(here().join("lua").join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if let Some(stem) = name.strip_suffix(".lua").filter(|stem| !stem.ends_with("_test")) {
                assert!(path.with_file_name(format!("{stem}_test.lua")).is_file(), "{kind}/{name} has no test");
            }
        }
    }
    let output = rumor(here(), &["bot", "test", "lua"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).ends_with(", 0 failed\n"));
}

#[test]
fn a_new_bot_works_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let output = rumor(dir.path(), &["bot", "new", "greeter"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("rumor bot test ./bots/greeter.lua") && said.contains("[scripts.greeter]"), "{said}");
    for file in [".luarc.json", ".vscode/settings.json"] {
        let text = std::fs::read_to_string(dir.path().join(file)).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
    let output = rumor(dir.path(), &["bot", "test"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).ends_with("4 tests in 1 file: 4 passed, 0 failed\n"), "{}", text(&output.stdout));
    let again = rumor(dir.path(), &["bot", "new", "greeter"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there already"));
}

/// The tutorial's terminal sessions: what is typed after each `$`, and what the program prints then.
fn sessions(tutorial: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for block in tutorial.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        for line in block.lines() {
            match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(typed), _) => found.push((typed.to_owned(), String::new())),
                (None, Some((_, printed))) => printed.extend([line, "\n"]),
                (None, None) => panic!("a session begins with a command: {line}"),
            }
        }
    }
    found
}

/// How long something took isn't compared.
fn timeless(printed: &str) -> String {
    let line = |line: &str| match line.rsplit_once(" (") {
        Some((head, tail)) if tail.ends_with(" ms)") => format!("{head}\n"),
        _ => format!("{line}\n"),
    };
    printed.lines().map(line).collect()
}

#[test]
fn the_tutorial_shows_what_the_program_prints() {
    let readme = std::fs::read_to_string(here().join("lua/README.md")).unwrap();
    let (_, rest) = readme.split_once("## The first bot in five minutes\n").unwrap();
    let (tutorial, _) = rest.split_once("\n## ").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bot = dir.path().join("bots/greeter.lua");
    let sessions = sessions(tutorial);
    assert_eq!(sessions.len(), 3);
    for (typed, wanted) in sessions {
        let words: Vec<_> = typed.split(' ').collect();
        assert_eq!(words[0], "rumor");
        if typed.contains("check") {
            // What the tutorial says one should do before.
            let text = std::fs::read_to_string(&bot).unwrap();
            let handler = tutorial.split("```lua\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
            assert!(text.contains(handler), "{text}");
            std::fs::write(&bot, text.replace("msg.text", "msg.txt")).unwrap();
        }
        let output = rumor(dir.path(), &words[1..]);
        let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(timeless(&printed), timeless(&wanted), "$ {typed}");
    }
}

const BOT: &str = "rumor.on(\"message\", function(msg)
    if msg.text == \"boom\" then
        error(\"on purpose\")
    end
    msg:reply(\"you said \" .. msg.text)
end)
";

#[test]
fn failures_name_file_and_line_and_end_with_1() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.lua"), BOT).unwrap();
    let tests = "test(\"good\", function(t)
    t.say(\"bob\", \"a\")
    t.expect(\"you said a\")
end)
test(\"wrong\", function(t)
    t.say(\"bob\", \"a\")
    t.expect(\"you said b\")
end)
test(\"silent\", function(t)
    t.expect(\"anything\", { within = 86400 })
end)
test(\"broken\", function(t)
    t.say(\"bob\", \"boom\")
end)
test(\"unequal\", function(t)
    t.eq({ 1, { a = 2 } }, { 1, { a = 3 } }, \"numbers\")
end)
test(\"colon\", function(t)
    t:say(\"bob\", \"a\")
end)
test(\"endless\", { chats = {} }, function(t) end)
";
    std::fs::write(dir.path().join("x_test.lua"), tests).unwrap();
    let output = rumor(dir.path(), &["bot", "test", "x.lua"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    for wanted in [
        "  ok   good (",
        "x_test.lua:7: t.expect: expected \"you said b\", but the script said \"you said a\"",
        "x_test.lua:10: t.expect: expected \"anything\", but the script said nothing within 86400 s",
        "bots/x.lua:3: on purpose (in \"message\")",
        "x_test.lua:16: t.eq: numbers: expected {1, {a = 3}}, got {1, {a = 2}}",
        "x_test.lua:19: t.say: write it with a dot: t.say(…), not t:say(…)",
        "x_test.lua: the option \"chats\" must be a list of names",
        "7 tests in 1 file: 1 passed, 6 failed\n",
    ] {
        assert!(said.contains(wanted), "{wanted}\n{said}");
    }
    assert_eq!(text(&output.stderr), "rumor: 6 tests failed\n");

    let output = rumor(dir.path(), &["bot", "test", "--json", "--only", "good"]);
    assert!(output.status.success());
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["ok"], &lines[0]["name"]), (2, &true.into(), &"good".into()));
    assert_eq!((&lines[1]["event"], &lines[1]["passed"], &lines[1]["failed"]), (&"end".into(), &1.into(), &0.into()));
}

#[test]
fn what_cant_be_run_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = rumor(dir.path(), &["bot", "test"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("rumor bot new NAME"), "{}", text(&output.stderr));
    std::fs::write(dir.path().join("x.lua"), "nonsense(").unwrap();
    std::fs::write(dir.path().join("x_test.lua"), "test('a', function(t) end)").unwrap();
    std::fs::write(dir.path().join("y_test.lua"), "test(").unwrap();
    let output = rumor(dir.path(), &["bot", "test"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(said.contains("bots/x.lua:1: ") && said.contains("y_test.lua:1: "), "{said}");
}

/// The world serves tests in Rust too; and nothing in it depends on real time.
#[test]
fn a_world_from_rust() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.lua");
    std::fs::write(&file, BOT).unwrap();
    let mut world = World::new(Setup { files: vec![file], ..Setup::default() }).unwrap();
    let start = world.now_ms();
    let id = world.say("bob", "hi", &Saying::default()).unwrap();
    assert_eq!(world.fate(&id), Some(Fate::Shown("hi".to_owned())));
    let said = world.next_said(None, Duration::ZERO).unwrap();
    assert_eq!((said.text.as_str(), said.bot, said.reply_to), ("you said hi", true, Some(id)));
    assert!(world.now_ms() - start < 60_000, "{} ms passed", world.now_ms() - start);
    let before = world.now_ms();
    world.advance(Duration::from_secs(86_400));
    assert!((86_400_000..86_400_010).contains(&(world.now_ms() - before)));
    assert!(world.say("bob", "x", &Saying { chat: Some("nowhere".to_owned()), ..Saying::default() }).is_err());
}

#[test]
fn check_says_file_and_line_and_ends_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let script = "rumor.script({ permissions = { \"send\", \"store\" } })
rumor.on(\"message\", function(msg)
    if msg.txt == \"x\" then
        msg:reply(1)
    end
end)
rumor.comand(\"x\", {})
";
    std::fs::write(dir.path().join("x.lua"), script).unwrap();
    let output = rumor(dir.path(), &["bot", "check", "x.lua"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    for wanted in [
        "x.lua:1: \"store\" is declared, but nothing here needs it\n",
        "x.lua:3: a Message has no \"txt\"; it has: .id, .chat, .from, .text,",
        "x.lua:4: msg:reply: text must be a string, got number\n",
        "x.lua:7: there is no rumor.comand; did you mean rumor.command?\n",
    ] {
        assert!(said.contains(wanted), "{wanted}\n{said}");
    }
    assert_eq!((said.lines().count(), text(&output.stderr)), (4, "rumor: 4 problems\n"), "{said}");
    let output = rumor(dir.path(), &["bot", "check", "nothing.lua"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no file nothing.lua"));
}

#[test]
fn every_shipped_script_passes_the_check() {
    let output = rumor(here(), &["bot", "check", "lua"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

fn typed(args: &[&str], lines: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rumor"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    text(&output.stdout).to_owned()
}

#[test]
fn the_prompt_runs_what_is_typed_in_the_sandbox() {
    let said = typed(
        &["bot", "repl"],
        "1 + 1, { a = \"b\" }
x = 5
x * 2
for n = 1, 2 do
rumor.chat(\"study\"):send(\"n\" .. n)
end
rumor.on(\"message\", function(msg) msg:reply(\"heard \" .. msg.text) end)
:say bob hi
nothing.here
while true do end
io
rumor.after(60, function() rumor.notify(\"rang\") end)
:advance 61
/whoami nothing
:quit
not read
",
    );
    for wanted in [
        "2  {a = \"b\"}\n",
        "10\n",
        "[study] ada: n1\n[study] ada: n2\n",
        "[study] ada: heard hi\n",
        "repl.lua:1: attempt to index nil with 'here'\n",
        "ran longer than its budget and was stopped\n",
        "nil\n",
        "-- repl: rang\n",
        "Your key: ",
    ] {
        assert!(said.contains(wanted), "{wanted}\n{said}");
    }
    assert!(!said.contains("not read"), "{said}");
}

#[test]
fn the_prompt_has_a_script_s_globals() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.lua");
    std::fs::write(&file, "count = 1\nfunction more() count += 1 return count end").unwrap();
    assert_eq!(typed(&["bot", "repl", file.to_str().unwrap()], "more()\ncount\n"), "2\n2\n");
}

#[test]
fn run_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.lua"), BOT).unwrap();
    let config = here().join("config_examples/alice.toml");
    let config = config.to_str().unwrap();
    let fails = |file: &str, room: &str, wanted: &str| {
        let output = rumor(dir.path(), &["bot", "run", file, "--room", room, "--config", config, "--state", "state"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(wanted), "{}", text(&output.stderr));
    };
    fails("x.lua", "nowhere", "there is no chat \"nowhere\" in the config; its chats: study");
    fails("y.lua", "study", "y.lua: ");
}

/// Every verb of `t` stands in the reference and in both editors' definitions, and nothing else does.
#[test]
fn the_verbs_of_tests_are_described() {
    let source = std::fs::read_to_string(here().join("src/bot/verbs.rs")).unwrap();
    let source: String = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = source.split("add(lua, t, world, file, \"").chain(source.split("add( lua, t, world, file, \"").skip(1));
    let verbs: BTreeSet<_> = parts.skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert!(verbs.len() >= 20, "{verbs:?}");
    let read = |file: &str| std::fs::read_to_string(here().join("lua").join(file)).unwrap();
    let (readme, luau, luals) = (read("README.md"), read("types/test.d.luau"), read("types/test.lua"));
    for verb in &verbs {
        assert!(readme.contains(&format!("`t.{verb}(")), "README: {verb}");
        assert!(luals.contains(&format!("---@field {verb} fun(")), "test.lua: {verb}");
        let there = luau.contains(&format!("    {verb}: (")) || luau.contains(&format!("    {verb}: <T>("));
        assert!(there, "test.d.luau: {verb}");
    }
    let class = luals.split("---@class Test\n").nth(1).unwrap().split("\n\n").next().unwrap();
    assert_eq!(class.lines().count(), verbs.len());
}
