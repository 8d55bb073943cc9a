//! Hostile scripts: each is stopped within its budget, and the others go on meanwhile.
#![cfg(feature = "luau")]
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "how soon a script is stopped is read off the clock")]

mod script_support;

use std::time::{Duration, Instant};

use rumormill::node::{CommandResult, Commands, Hooks, Verdict};
use rumormill::script::{Budgets, HostConfig, ScriptState};
use script_support::{Bench, all, done, failure, message};

/// A good script beside the bad one.
const GOOD: (&str, &str) = ("bots/good.lua", r#"rumor.command("good", { run = function() return true, "fine" end })"#);

/// What a stop may take beside the call's budget: the 250 ms that it is held to, and what a loaded machine adds.
const STOP_MS: u64 = 250 + 1_500;
/// What a stop may take of the script's own processor time beside the call's budget, and what it takes to refuse an
/// excess: the 250 ms.
const STOP_CPU_MS: u64 = 250;
/// What it may take in all where the budget of a handler is the usual one.
const HANDLER_STOP: Duration = Duration::from_millis(250 + STOP_MS);

fn command(body: &str) -> String {
    format!("rumor.command(\"bad\", {{ run = function()\n{body}\nend }})")
}

/// What a call that doesn't end is told.
const OVER: &str = "ran longer than its budget";
/// What one that takes too much memory is told.
const MEMORY: &str = "memory";

/// Runs each of these (what, a command's body, why it fails) on that budget, beside the good script, which goes on
/// meanwhile. None may take more processor time than that.
async fn are_stopped(handler_ms: u64, most_cpu_ms: u64, cases: &[(&str, &str, &str)]) {
    for (name, body, wanted) in cases {
        let scripts = ["bad", "good"].map(|name| (name.to_owned(), all())).into();
        let budgets = Budgets { handler_ms, ..Budgets::default() };
        let config = HostConfig { scripts, budgets, ..HostConfig::default() };
        let bench = Bench::with(&[("bots/bad.lua", &command(body)), GOOD], config);
        bench.write("secret.lua", "return 1");
        std::os::unix::fs::symlink(bench.dir.path().join("secret.lua"), bench.dir.path().join("lib/link.lua")).unwrap();
        let cpu_before = bench.status("bad").cpu;
        let started = Instant::now();
        let (bad, good) = tokio::join!(bench.run("bad"), bench.run("good"));
        let most = Duration::from_millis(handler_ms + STOP_MS);
        assert!(started.elapsed() < most, "{name}: {:?}", started.elapsed());
        assert_eq!(good, done("fine"), "{name}");
        let reason = failure(bad);
        assert!(reason.contains(wanted), "{name}: {}", &reason[..reason.len().min(300)]);
        assert!(reason.len() <= 2_048, "{name}: {}", reason.len());
        let status = bench.status("bad");
        // Processor time doesn't depend on what else the machine does, so it is held to the very bound.
        let cpu = status.cpu - cpu_before;
        assert!(cpu <= Duration::from_millis(most_cpu_ms), "{name}: {cpu:?} of processor time");
        let kills = u64::from([OVER, MEMORY].contains(wanted));
        assert_eq!((status.kills, status.state), (kills, ScriptState::Running), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_are_stopped_while_others_go_on() {
    let cases = [
        ("plain", "while true do end"),
        ("pcall", "while true do pcall(function() while true do end end) end"),
        ("pcall of native", "while true do pcall(error) end"),
        ("xpcall", "local function f() while true do end end while true do xpcall(f, f) end"),
        ("coroutine", "coroutine.wrap(function() while true do end end)()"),
        ("coroutines", "while true do coroutine.wrap(function() coroutine.yield() end)() end"),
        ("spawner", "local function f() while true do pcall(coroutine.wrap(f)) end end f()"),
        ("sort", "local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function() while true do end end)"),
        ("index", "local t = setmetatable({}, { __index = function() while true do end end }) return t.x"),
        (
            "eq",
            "local m = { __eq = function() while true do end end } return setmetatable({}, m) == setmetatable({}, m)",
        ),
        ("newindex", "local t = setmetatable({}, { __newindex = function() while true do end end }) t.x = 1"),
        ("call", "setmetatable({}, { __call = function() while true do end end })()"),
        (
            "less",
            "local m = { __lt = function() while true do end end } return setmetatable({}, m) < setmetatable({}, m)",
        ),
        ("add", "return setmetatable({}, { __add = function() while true do end end }) + 1"),
        ("concatenation", "return setmetatable({}, { __concat = function() while true do end end }) .. ''"),
        ("iter", "for _ in setmetatable({}, { __iter = function() while true do end end }) do end"),
        (
            "error in an error",
            "error(setmetatable({}, { __tostring = function(t) while true do pcall(tostring, t) end end }))",
        ),
        ("tostring", "tostring(setmetatable({}, { __tostring = function() while true do end end }))"),
        ("error object", "error(setmetatable({}, { __tostring = function() while true do end end }))"),
        ("iterator", "for _ in function() return 1 end do end"),
        ("gsub function", "string.gsub(string.rep('a', 100), 'a', function() while true do end end)"),
        ("recursion", "local function f(n) return pcall(f, n) end while true do f(1) end"),
        (
            "pattern bomb",
            "string.find(string.rep('a', 200), string.rep('a?', 100) .. string.rep('a', 200) .. 'b')
            string.find(string.rep('a', 30000), '.-.-.-.-.-.-b')",
        ),
        ("match bomb", "string.match(string.rep('a', 100000), '(.*)(.*)(.*)(.*)b')"),
        ("gsub bomb", "string.gsub(string.rep('x', 100000), '.-.-.-b', '')"),
        (
            "bracket bomb",
            "local s = string.rep('a', 100000) while true do string.find(s, '[' .. string.rep('b', 300) .. ']*c') end",
        ),
        (
            "find",
            "local s = string.rep('a', 2^20) while true do string.find(s, string.rep('a', 2^19) .. 'b', 1, true) end",
        ),
        (
            "find without magic",
            "local s = string.rep('a', 2^20) while true do string.find(s, string.rep('a', 2^19) .. 'b') end",
        ),
        ("split", "local s = string.rep('a', 2^20) while true do string.split(s, string.rep('a', 2^19) .. 'b') end"),
        ("move", "local t = {} while true do table.move(t, 1, 2^20 - 1, 2, {}) end"),
        (
            "sort strings",
            "local a = string.rep('a', 2^21) local b, c = a .. 'b', a .. 'c' local t = {}
            for i = 1, 100000 do t[i] = i % 2 == 0 and b or c end table.sort(t)",
        ),
        ("concat", "local t = {} for i = 1, 100000 do t[i] = '' end while true do table.concat(t) end"),
        ("format", "while true do string.format('%99.99f', 1) end"),
        ("log", "while true do rumor.log.debug('x') end"),
        ("handlers", "while true do rumor.on('message', print):off() end"),
        ("timers", "while true do rumor.after(1, print):cancel() end"),
        ("spawned", "while true do pcall(rumor.spawn, print) end"),
        ("json", "local t = table.create(1000, 1) while true do rumor.json.decode(rumor.json.encode(t)) end"),
        ("store", "local s = rumor.store() while true do s:update('k', function() while true do end end) end"),
        ("sends", "while true do pcall(function() rumor.chat('none'):send('x') end) end"),
        ("refused sends", "while true do pcall(function() rumor.chat('study'):send('x') end) end"),
        ("commands", "while true do pcall(rumor.command, 'x', { run = print }) end"),
        ("requires", "while true do pcall(require, 'none') end"),
        (
            "insert with a huge length",
            "local t = setmetatable({}, { __len = function() return 2^53 end })
            while true do table.insert(t, 1) table.remove(t) end",
        ),
        ("length", "local t = setmetatable({}, { __len = function() while true do end end }) return #t"),
        ("replace", "while true do string.gsub(string.rep('a', 2^16), 'a', '%0%0') end"),
    ];
    are_stopped(250, 250 + STOP_CPU_MS, &cases.map(|(name, body)| (name, body, OVER))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn excess_is_refused() {
    let cases = [
        ("memory", "local t = {} while true do t[#t + 1] = string.rep('x', 1000) .. #t end", MEMORY),
        ("rep", "string.rep('x', 2^30)", MEMORY),
        ("doubling", "local s = 'x' while true do s = s .. s end", MEMORY),
        ("buffer", "buffer.create(2^30)", MEMORY),
        ("create", "table.create(2^26)", MEMORY),
        ("concat", "local s, t = string.rep('x', 2^20), {} for i = 1, 100 do t[i] = s end table.concat(t)", MEMORY),
        ("split", "string.split(string.rep('a', 2^22), '')", MEMORY),
        ("gsub", "string.gsub(string.rep('a', 2^16), 'a', string.rep('b', 2^16))", MEMORY),
        ("move", "table.move({}, 1, 2^30, 2, {})", "table.move: at most 1048576 elements at once"),
        (
            "pattern",
            "string.find(string.rep('a', 2^20), '[' .. string.rep('b', 2^20) .. ']*')",
            "the pattern is too long",
        ),
        ("recursion", "local function f() return 1 + f() end f()", "stack overflow"),
        (
            "tostring recursion",
            "local t = setmetatable({}, {}) getmetatable(t).__tostring = function(x) return tostring(x) end tostring(t)",
            "overflow",
        ),
        ("commands", "for i = 1, 1e6 do rumor.command('c' .. i, { run = print }) end", "at most 256 commands"),
        ("handlers", "for i = 1, 1e6 do rumor.on('message', print) end", "at most 256 handlers"),
        ("sends", "for i = 1, 1e6 do rumor.chat('study'):send('x') end", "too many messages to \"study\""),
        ("string metatable of another kind", "getmetatable('x').__index = nil local s = 'x' return s:upper()", "read"),
        ("string methods", "function string.steal() end", "readonly"),
        ("timers", "for i = 1, 1e6 do rumor.every(1, print) end", "at most 256 timers"),
        ("spawned", "for i = 1, 1e6 do rumor.spawn(print) end", "at most 64 handlers may wait"),
        (
            "stores",
            "local x = string.rep('x', 1e5) for i = 1, 1e6 do rumor.store('s' .. i):set('k', x) end",
            "the store is full: it holds at most 16777216 bytes",
        ),
        ("store key", "rumor.store():set(string.rep('k', 2000), 1)", "the key is longer than 1024 bytes"),
        ("store name", "rumor.store('../x')", "ns must be at most 64 letters"),
        (
            "deep json",
            "local t = {} for i = 1, 1e5 do t = { t } end rumor.json.encode(t)",
            "a value may have at most 16 levels",
        ),
        ("json of itself", "local t = {} t[1] = t rumor.json.encode(t)", "a value may have at most 16 levels"),
        ("wide json", "rumor.json.encode(table.create(1e6, 1))", "65536 parts"),
        (
            "one string many times",
            "rumor.json.encode(table.create(1000, string.rep('x', 2^20)))",
            "4194304 bytes of text",
        ),
        ("nested text", "error((select(2, rumor.json.decode(string.rep('[', 1e5)))))", "at most 16 levels"),
        ("long text", "error((select(2, rumor.json.decode(string.rep(' ', 5e6)))))", "longer than 4194304 bytes"),
        ("http to this machine", "rumor.http.get('http://127.0.0.1/')", "add \"http:127.0.0.1\" to `allow`"),
        ("http to a name of it", "rumor.http.get('http://localhost:4001/')", "add \"http:localhost\" to `allow`"),
        ("http as somebody", "rumor.http.get('http://a:b@example.org/')", "must be http://HOST/"),
        ("http past a line", "rumor.http.get('http://example.org/\\r\\nHost: x')", "must be http://HOST/"),
        ("json table", "rumor.json.encode = nil", "readonly"),
        ("sleep", "rumor.sleep(-1)", "seconds must be a number from 0"),
        ("yield", "coroutine.yield(1)", "yielded without waiting"),
        ("loadstring", "loadstring('x = 1')", "attempt to call a nil value"),
        ("load", "load('x = 1')", "attempt to call a nil value"),
        ("getfenv", "getfenv(1)", "attempt to call a nil value"),
        ("setfenv", "setfenv(1, {})", "attempt to call a nil value"),
        ("newproxy", "newproxy(true)", "attempt to call a nil value"),
        ("collectgarbage", "collectgarbage()", "attempt to call a nil value"),
        ("io", "io.open('/etc/passwd')", "attempt to index nil"),
        ("os", "os.execute('true')", "attempt to call a nil value"),
        ("libraries", "string.find = nil", "readonly"),
        ("string metatable", "getmetatable('').__index = {}", "read"),
        ("rumor", "rumor.chat = nil", "readonly"),
        ("message metatable", "getmetatable(rumor.chats()[1]).__index = nil", "attempt to"),
        ("require dots", "require('../secret')", "a module's name is"),
        ("require absolute", "require('/etc/passwd')", "a module's name is"),
        ("require up", "require('..secret')", "a module's name is"),
        ("require link", "require('link')", "leads out of its lib folder"),
        ("requires", "for i = 1, 300 do pcall(require, 'm' .. i) end require('none')", "at most 256 files of modules"),
        ("huge error", "error(string.rep('x', 2^20))", "xxxx"),
        ("error table", "error({ 1, 2, 3 })", "bots/bad.lua"),
    ];
    // What is refused is so however much time there is: a busy machine doesn't stop it for being slow.
    are_stopped(5_000, 250 + STOP_CPU_MS, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_or_lies_while_it_loads_is_refused() {
    let too_long = format!("-- {}", "x".repeat(256 * 1024 - 2));
    assert_eq!(too_long.len(), 256 * 1024 + 1);
    let six_megabytes = "x = 1\n".repeat(1 << 20);
    let bytecode = "\u{6}\u{0}\u{1}";
    let cases = [
        ("loop", "while true do end", "ran longer than its budget"),
        ("require", "require('loop')", "ran longer than its budget"),
        ("itself", "require('itself')", "requires itself"),
        ("memory", "local s = 'x' while true do s = s .. s end", MEMORY),
        ("length", &too_long, "is longer than 262144 bytes"),
        ("six megabytes", &six_megabytes, "is longer than 262144 bytes"),
        ("a long module", "require('long')", "is longer than 262144 bytes"),
        ("a loop of requires", "require('one')", "requires itself"),
        ("requires of a loop", "while true do pcall(require, 'one') end", "ran longer than its budget"),
        ("bytecode", bytecode, "bytecode is not loaded"),
        ("syntax", "x = = 1", "bots/bad.lua:1:"),
        ("name", "rumor.command('a\\27]0;x\\7', { run = print })", "can't be a command's name"),
    ];
    for (name, text, wanted) in cases {
        let files = [
            ("bots/bad.lua", text),
            ("lib/loop.lua", "while true do end"),
            ("lib/itself.lua", "require('itself')"),
            ("lib/one.lua", "require('two')"),
            ("lib/two.lua", "require('one')"),
            ("lib/long.lua", &too_long),
            GOOD,
        ];
        let started = Instant::now();
        let bench = Bench::new(&files);
        assert!(started.elapsed() < Duration::from_millis(1_000 + 250 + 2_000), "{name}");
        assert_eq!(bench.run("good").await, done("fine"), "{name}");
        let status = bench.host.status().into_iter().find(|script| script.file == "bots/bad.lua").unwrap();
        assert_eq!(status.state, ScriptState::Failed, "{name}");
        let error = status.last_error.unwrap();
        assert!(error.contains(wanted), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_source_loads() {
    let text = format!("{}\n-- {}", GOOD.1, "x".repeat(256 * 1024 - GOOD.1.len() - 4));
    assert_eq!(text.len(), 256 * 1024);
    let bench = Bench::new(&[("bots/good.lua", &text)]);
    assert_eq!(bench.run("good").await, done("fine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn shown_texts_are_stripped() {
    let bench = Bench::new(&[(
        "bots/x.lua",
        r#"rumor.command("x", { params = "<\27[31m>", desc = "a\27]0;t\7b\226\128\174c", run = function(ctx)
            ctx:print("p\27[2Jq\nr")
            return true, "s\155t"
        end })"#,
    )]);
    let info = bench.host.list().into_iter().find(|command| command.name == "x").unwrap();
    assert_eq!((info.params.as_str(), info.desc.as_str()), ("<[31m>", "a]0;tbc"));
    let (actions, result) = bench.run_in(None, "x").await;
    assert_eq!(actions, [rumormill::node::UiAction::Print("p[2Jq\nr".into())]);
    assert!(matches!(result, CommandResult::Done(Some(text)) if !text.contains('\u{9b}')));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_call_shows_is_bounded() {
    // (what, how, times that are allowed; one more is refused, the reason)
    let cases = [
        ("lines", "ctx:print('x')", 2_000, "prints at most 2000 lines of 262144 bytes together"),
        ("line feeds", "ctx:print(string.rep('\\n', 999))", 2, "prints at most 2000 lines"),
        ("bytes", "ctx:print(string.rep('x', 2^16))", 4, "prints at most 2000 lines of 262144 bytes together"),
        ("actions", "ctx.ui:open('study')", 2_000, "does at most 2000 things at the terminal"),
        ("messages", "ctx.ui:history('study', many)", 10, "shows at most 10000 messages of 16777216 bytes together"),
        ("texts", "ctx.ui:history('study', long)", 256, "shows at most 10000 messages of 16777216 bytes together"),
    ];
    for (name, action, allowed, wanted) in cases {
        let text = format!(
            r#"local function message(text)
                local zeros = string.rep("0", 64)
                return {{ id = zeros, from = {{ id = zeros, nick = "n" }}, text = text, time = 0 }}
            end
            local many, long = table.create(1000, message("")), {{ message(string.rep("x", 2^16)) }}
            rumor.command("show", {{ run = function(ctx, args)
                for _ = 1, tonumber(args[1]) do {action} end
            end }})"#
        );
        let mut config = HostConfig { scripts: [("bad".to_owned(), all())].into(), ..HostConfig::default() };
        config.budgets.handler_ms = 20_000;
        let bench = Bench::with(&[("bots/bad.lua", &text)], config);
        let (actions, result) = bench.run_in(None, &format!("show {allowed}")).await;
        assert_eq!((actions.len(), result), (allowed, CommandResult::Done(None)), "{name}");
        let (actions, result) = bench.run_in(None, &format!("show {}", allowed + 1)).await;
        let reason = failure(result);
        assert_eq!(actions.len(), allowed, "{name}");
        assert!(reason.contains(wanted), "{name}: {reason}");
        // The next call counts anew.
        assert_eq!(bench.run_in(None, "show 1").await.1, CommandResult::Done(None), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_filter_delays_within_bounds_and_is_disabled() {
    let mut bench = Bench::new(&[(
        "hooks/bad.lua",
        r#"rumor.on("receive", function() while true do pcall(function() while true do end end) end end)"#,
    )]);
    for n in 0..3 {
        let started = Instant::now();
        let verdict = bench.host.on_receive(message("study", "x")).await;
        assert!(matches!(verdict, Verdict::Pass(_)));
        assert!(started.elapsed() < Duration::from_millis(20 + 250 + 1_500), "{n}: {:?}", started.elapsed());
    }
    bench.notice("disabled until its file changes").await;
    let status = bench.host.status().into_iter().find(|script| script.name == "bad").unwrap();
    assert!(matches!(status.state, ScriptState::Disabled(_)));
    assert_eq!((status.kills, status.handlers), (3, 0));
    // Disabled: nobody is asked any more.
    assert!(matches!(bench.host.on_receive(message("study", "x")).await, Verdict::Pass(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_a_script_keeps_count_as_its_memory() {
    const MEMORY_MAX_BYTES: usize = 4 << 20;
    // The list has its room from the beginning: only what the host makes still grows.
    let text = r#"
        local kept, n = table.create(1000, false), 0
        rumor.on("receive", function(msg) n += 1 kept[n] = msg end)
    "#;
    let budgets = Budgets { memory_max_bytes: MEMORY_MAX_BYTES, ..Budgets::default() };
    let scripts = [("bad".to_owned(), all())].into();
    let bench = Bench::with(&[("bots/bad.lua", text)], HostConfig { budgets, scripts, ..HostConfig::default() });
    let long = "x".repeat(16 << 10);
    for n in 0..2 * MEMORY_MAX_BYTES / long.len() {
        let verdict = bench.host.on_receive(message("study", &format!("{n} {long}"))).await;
        assert!(matches!(verdict, Verdict::Pass(_)));
    }
    let status = bench.status("bad");
    assert!(matches!(&status.state, ScriptState::Disabled(_)), "{status:?}");
    assert!((MEMORY_MAX_BYTES / 2..=MEMORY_MAX_BYTES).contains(&status.memory), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_completion_keeps_neither_the_terminal_nor_others_waiting() {
    let text = r#"rumor.command("bad", {
        complete = function() while true do pcall(function() while true do end end) end end,
        run = function() return true, "still here" end,
    })"#;
    let mut bench = Bench::new(&[("bots/bad.lua", text), GOOD]);
    let started = Instant::now();
    let host = bench.host.clone();
    let completing = tokio::task::spawn_blocking(move || host.complete("bad x", Some("study")));
    assert_eq!(bench.run("good").await, done("fine"));
    assert!(completing.await.unwrap().is_empty());
    assert!(started.elapsed() < HANDLER_STOP, "{:?}", started.elapsed());
    bench.notice(OVER).await;
    assert_eq!(bench.run("bad").await, done("still here"));
    assert_eq!(bench.status("bad").kills, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_unload_keeps_neither_its_successor_nor_others_out() {
    let text = r#"
        rumor.on("unload", function() while true do pcall(function() while true do end end) end end)
        rumor.command("bad", { run = function() return true, "one" end })
    "#;
    let mut bench = Bench::new(&[("bots/bad.lua", text), GOOD]);
    bench.write("bots/bad.lua", &text.replace("one", "two"));
    let started = Instant::now();
    let host = bench.host.clone();
    let reloading = tokio::task::spawn_blocking(move || host.reload());
    assert_eq!(bench.run("good").await, done("fine"));
    assert_eq!(reloading.await.unwrap(), (1, 0));
    assert!(started.elapsed() < HANDLER_STOP, "{:?}", started.elapsed());
    bench.notice(OVER).await;
    assert_eq!(bench.run("bad").await, done("two"));
    // Nor the program from ending.
    let started = Instant::now();
    bench.host.stop();
    assert!(started.elapsed() < HANDLER_STOP, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_do_not_pile_up_over_reloads() {
    const RELOADS: usize = 40;
    let version = |n: usize| format!("for i = 1, 256 do rumor.command('c{n}_' .. i, {{ run = print }}) end");
    let bench = Bench::new(&[("bots/bad.lua", &version(0)), GOOD]);
    for n in 1..=RELOADS {
        bench.write("bots/bad.lua", &version(n));
        assert_eq!(bench.host.reload(), (1, 0));
    }
    let theirs = bench.host.list().into_iter().filter(|command| command.script == "bots/bad.lua").count();
    assert_eq!((theirs, bench.status("bad").commands), (256, 256));
    assert_eq!(bench.run("good").await, done("fine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_reloads_itself_without_end_is_held_back() {
    let mut bench = Bench::new(&[("bots/bad.lua", "rumor.on('load', function() rumor.reload('bad') end)"), GOOD]);
    bench.notice("too many reloads: at most 5 at once and 12 a minute").await;
    // The first load of each script, what was allowed but for the one that found no more, and what time gives back on a slow
    // machine.
    let (generation, scripts) = (bench.status("bad").generation, bench.host.status().len() as u64);
    assert!((scripts + 4..=scripts + 10).contains(&generation), "{generation} with {scripts} scripts");
    assert_eq!(bench.run("good").await, done("fine"));
}

#[cfg(feature = "http")]
#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_not_reached_by_a_name_nor_by_a_redirect() {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpListener;

    // One server that is granted and leads on, and one that nobody granted.
    let (granted, secret) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (granted_port, port) = (granted.local_addr().unwrap().port(), secret.local_addr().unwrap().port());
    let by_name = format!("http://localhost:{port}/");
    let cases = [
        ("a name that resolves to it", None, by_name.clone(), "is a private address"),
        ("a redirect to it", Some(format!("http://127.0.0.1:{port}/")), String::new(), "is not granted"),
        ("a redirect to that name", Some(by_name), String::new(), "is a private address"),
    ];
    let leads = cases.iter().filter_map(|case| case.1.clone()).collect::<Vec<_>>();
    let server = std::thread::spawn(move || {
        for location in leads {
            let (mut stream, _) = granted.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            let answer = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let mut may = all();
    may.allow.extend([format!("http:127.0.0.1:{granted_port}"), "http:localhost".to_owned()]);
    let text = r#"rumor.command("bad", { run = function(ctx, args)
        local res, why = rumor.http.get(args.rest)
        return false, why or "it was reached"
    end })"#;
    let config = HostConfig { scripts: [("bad".to_owned(), may)].into(), ..HostConfig::default() };
    let bench = Bench::with(&[("bots/bad.lua", text)], config);
    for (name, led, url, wanted) in cases {
        let url = if led.is_some() { format!("http://127.0.0.1:{granted_port}/") } else { url };
        let reason = failure(bench.run(&format!("bad {url}")).await);
        assert!(reason.contains(wanted), "{name}: {reason}");
    }
    server.join().unwrap();
    secret.set_nonblocking(true).unwrap();
    assert_eq!(secret.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody came");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_count_only_in_a_row() {
    let text = r#"
        rumor.command("bad", { run = function() while true do end end })
        rumor.command("ok", { run = function() return true, "ok" end })
    "#;
    let budgets = Budgets { handler_ms: 20, ..Budgets::default() };
    let scripts = [("x".to_owned(), all())].into();
    let bench = Bench::with(&[("bots/x.lua", text)], HostConfig { budgets, scripts, ..HostConfig::default() });
    for _ in 0..4 {
        failure(bench.run("bad").await);
        failure(bench.run("bad").await);
        assert_eq!(bench.run("ok").await, done("ok"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_script_cannot_reach_another_s_state() {
    let bench = Bench::new(&[
        ("bots/a.lua", "shared = 1 rumor.command('a', { run = function() return true, tostring(shared) end })"),
        ("bots/b.lua", "rumor.command('b', { run = function() return true, tostring(shared) end })"),
    ]);
    assert_eq!(bench.run("a").await, done("1"));
    assert_eq!(bench.run("b").await, done("nil"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deeply_nested_sources_neither_crash_nor_hang() {
    const ROOM: usize = 250 * 1024;
    let cases = [
        ("x = ", "(", ""),
        ("x = ", "{", ""),
        ("x = ", "not ", "1"),
        ("x = ", "- ", "1"),
        ("x = 1", "+1", ""),
        ("x = 1", "..1", ""),
        ("x = 1", "^1", ""),
        ("x = a", ".b", ""),
        ("a", "()", ""),
        ("", "if x then ", ""),
        ("", "do ", ""),
        ("", "function f() ", ""),
        ("x = ", "function() return ", ""),
        ("x = a", "[a", ""),
        ("local x: ", "{", ""),
        ("x = ", "`{", ""),
        ("if x then ", "elseif x then ", "end"),
        ("x = ", "if x then x else ", "x"),
        ("x = 1 ", "and 1 or 1 ", ""),
    ];
    for (head, unit, tail) in cases {
        let text = format!("{head}{}{tail}", unit.repeat(ROOM / unit.len()));
        let started = Instant::now();
        let bench = Bench::new(&[("bots/bad.lua", &text), GOOD]);
        assert_eq!(bench.run("good").await, done("fine"), "{unit}");
        assert!(started.elapsed() < Duration::from_millis(1_000 + 250 + 3_000), "{unit}: {:?}", started.elapsed());
    }
}
