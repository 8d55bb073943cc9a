//! Timers, cron, sleeps, rates and the web, in a time that the test moves.
#![cfg(feature = "luau")]
#![allow(clippy::unwrap_used, missing_docs)]

mod script_support;

use rumormill::node::{Event, Message, SendOptions};
use rumormill::script::{HostConfig, WebResponse};
use script_support::{Bench, all, done, failure, message};

#[tokio::test(start_paused = true)]
async fn timers_run_when_it_is_time() {
    let mut bench = Bench::timed(&[(
        "bots/t.lua",
        r#"
        local here = rumor.chat("study")
        rumor.after(5, function() here:send("after") end)
        local n = 0
        local every
        every = rumor.every(2, function()
            n += 1
            here:send("every " .. n)
            if n == 3 then every:cancel() end
        end)
        rumor.after(1, print):cancel()
        "#,
    )]);
    bench.pass(1).await;
    assert!(bench.sent.try_recv().is_err());
    bench.pass(4_500).await;
    assert_eq!(bench.texts(), ["every 1", "every 2"]);
    bench.pass(1_000).await;
    assert_eq!(bench.texts(), ["after"]);
    bench.pass(60_000).await;
    assert_eq!(bench.texts(), ["every 3"]);
    assert_eq!(bench.status("t").timers, 0);
}

#[tokio::test(start_paused = true)]
async fn cron_knows_time_zones() {
    // The clock begins on 2026-03-28 00:00 UTC, a Saturday; the night after it, clocks in Berlin go forward.
    let mut bench = Bench::timed(&[(
        "bots/t.lua",
        r#"
        local here = rumor.chat("study")
        local function say(what)
            return function() here:send(what .. " " .. os.date("!%d %H:%M")) end
        end
        rumor.cron("30 9 * * *", { tz = "Europe/Berlin" }, say("berlin"))
        rumor.cron("0 0 * * 1-5", say("utc"))
        "#,
    )]);
    bench.pass(3 * 86_400_000 + 1_000).await;
    assert_eq!(
        bench.texts(),
        ["berlin 28 08:30", "berlin 29 07:30", "utc 30 00:00", "berlin 30 07:30", "utc 31 00:00"]
    );
    let bad = [
        (r#"rumor.cron("* * *", print)"#, "must have five parts"),
        (r#"rumor.cron("* * * * *", { tz = "Moon" }, print)"#, "\"Moon\" is no time zone"),
        (r#"rumor.cron("* * * * *", { zone = "UTC" }, print)"#, "there is no field \"zone\"; valid: tz"),
        (r#"rumor.cron("* * * * *")"#, "fn must be a function, got nil"),
        (r#"rumor.after(-1, print)"#, "seconds must be a number from 0 to 31536000, got -1"),
        (r#"rumor.every(0, print)"#, "seconds must be a number from 0.05 to 31536000, got 0"),
    ];
    for (text, wanted) in bad {
        let bench = Bench::new(&[("bots/bad.lua", text)]);
        let error = bench.status("bad").last_error.unwrap();
        assert!(error.contains(wanted), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_sleep_and_spawn() {
    let mut bench = Bench::timed(&[(
        "bots/t.lua",
        r#"
        rumor.on("message", function(msg)
            rumor.spawn(function(word) msg:reply(word) end, "spawned")
            rumor.sleep(10)
            msg:reply("slept")
        end)
        local function again() rumor.spawn(again) end
        rumor.command("chain", { run = function() again() end })
        "#,
    )]);
    bench.emit(Event::Message(message("study", "x")));
    bench.pass(1).await;
    assert_eq!(bench.texts(), ["spawned"]);
    bench.pass(9_900).await;
    assert!(bench.texts().is_empty());
    bench.pass(200).await;
    assert_eq!(bench.texts(), ["slept"]);
    // A chain of handlers that spawn each other shares one budget.
    bench.run("chain").await;
    bench.notice("ran longer than its budget").await;
}

#[tokio::test(start_paused = true)]
async fn timers_end_with_their_version() {
    let text = |n: usize| {
        format!(
            r#"rumor.every(1, function() rumor.chat("study"):send("{n}") end)
            rumor.on("message", function() rumor.sleep(5) rumor.chat("study"):send("slept {n}") end)"#
        )
    };
    let mut bench = Bench::timed(&[("bots/t.lua", &text(1))]);
    bench.pass(1_500).await;
    assert_eq!(bench.texts(), ["1"]);
    bench.emit(Event::Message(message("study", "x")));
    bench.pass(1).await;
    bench.write("bots/t.lua", &text(2));
    assert_eq!(bench.host.reload(), (1, 0));
    bench.pass(10_500).await;
    assert_eq!(bench.texts(), vec!["2"; 10]);
}

#[tokio::test(start_paused = true)]
async fn who_speaks_joins_and_who_is_silent_leaves() {
    let mut bench = Bench::timed(&[(
        "bots/t.lua",
        r#"
        rumor.on("join", function(m) rumor.chat("study"):send("join " .. m.nick) end)
        rumor.on("leave", function(m) rumor.chat("study"):send("leave " .. m.nick .. " " .. m.messages) end)
        "#,
    )]);
    for n in 0..2 {
        bench.emit(Event::Message(message("study", &format!("x{n}"))));
    }
    bench.emit(Event::Message(Message { synced: true, ..message("friends", "old") }));
    bench.pass(1).await;
    assert_eq!(bench.texts(), ["join Bob"]);
    bench.pass(3_500_000).await;
    assert!(bench.texts().is_empty());
    bench.pass(200_000).await;
    assert_eq!(bench.texts(), ["leave Bob 2"]);
}

#[tokio::test(start_paused = true)]
async fn the_web_is_asked() {
    let mut bench = Bench::timed(&[(
        "bots/t.lua",
        r#"
        rumor.command("get", { run = function(ctx, args)
            local res, why = rumor.http.get(args[1], { headers = { Accept = "text/html" }, timeout = 3, max_bytes = 99 })
            if not res then return false, why end
            local value, bad = res:json()
            return true, `{res.status} {res.headers.server} {value and value.list[2] or bad}`
        end })
        rumor.command("post", { run = function(ctx, args)
            return true, rumor.http.post("http://api.example.org/", { body = "b" }).body
        end })
        rumor.command("many", { run = function()
            for n = 1, 30 do rumor.http.get("https://example.org/ok") end
        end })
        "#,
    )]);
    let answer = |status, body: &str| WebResponse {
        status,
        headers: [("server".to_owned(), "test".to_owned())].into(),
        body: body.into(),
        url: String::new(),
    };
    bench.web.answer("https://example.org/ok", Ok(answer(200, r#"{"list":[1,"two",null]}"#)));
    bench.web.answer("https://example.org/no", Ok(answer(404, "<html>")));
    bench.web.answer("http://api.example.org/", Ok(answer(200, "posted")));
    assert_eq!(bench.run("get https://example.org/ok").await, done("200 test two"));
    let reason = format!("{:?}", bench.run("get https://example.org/no").await);
    assert!(reason.contains("404 test not JSON"), "{reason}");
    assert_eq!(failure(bench.run("get https://example.org/none").await), "there is no answer");
    assert_eq!(bench.run("post").await, done("posted"));
    let asked = bench.web.asked();
    assert_eq!((asked[0].method, asked[0].max_bytes, asked[0].timeout.as_secs()), ("GET", 99, 3));
    assert_eq!(asked[0].headers["accept"], "text/html");
    assert_eq!((asked[3].method, asked[3].body.as_deref()), ("POST", Some(b"b".as_slice())));

    let reason = failure(bench.run("get https://other.org/").await);
    assert!(reason.contains(r#"add "http:other.org" to `allow` under [scripts.t]"#), "{reason}");
    for url in ["ftp://example.org", "example.org", "file:///etc/passwd", "http://a:b@example.org/"] {
        let reason = failure(bench.run(&format!("get {url}")).await);
        assert!(reason.contains("must be http://HOST/… or https://HOST/…"), "{url}: {reason}");
    }
    assert_eq!(bench.web.asked().len(), 4);
    let reason = failure(bench.run("many").await);
    assert!(reason.contains("too many requests"), "{reason}");
    assert_eq!(bench.web.asked().len(), 20);
    assert!(bench.texts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rates_follow_the_clock() {
    let mut bench = Bench::timed(&[(
        "bots/t.lua",
        r#"
        rumor.command("say", { run = function() rumor.chat("study"):send("x") end })
        rumor.command("rare", { cooldown = 60, run = function() return true, "once" end })
        rumor.command("shout", { run = function() rumor.notify("hey\27[31m", "warning") end })
        "#,
    )]);
    for _ in 0..10 {
        bench.run("say").await;
    }
    assert!(failure(bench.run("say").await).contains("too many messages"));
    bench.pass(1_000).await;
    bench.run("say").await;
    assert!(failure(bench.run("say").await).contains("too many messages"));
    assert_eq!(bench.texts().len(), 11);
    assert_eq!(bench.run("rare").await, done("once"));
    bench.pass(59_000).await;
    assert_eq!(failure(bench.run("rare").await), "wait 1 s");
    bench.pass(2_000).await;
    assert_eq!(bench.run("rare").await, done("once"));
    for _ in 0..5 {
        bench.run("shout").await;
        assert_eq!(bench.notice("hey").await, "hey[31m");
    }
    assert!(failure(bench.run("shout").await).contains("too many notices"));
}

#[tokio::test(start_paused = true)]
async fn two_nodes_bots_that_answer_each_other_fall_silent() {
    // Both ask to hear bots, answer everything, and take their time, so that the rate of sends alone would never stop them.
    let bot = r#"rumor.on("message", function(msg)
        rumor.sleep(5)
        msg:reply(msg.text .. "!")
    end, { bots = true })"#;
    let mut a = Bench::timed(&[("bots/t.lua", bot)]);
    let mut b = Bench::timed(&[("bots/t.lua", bot)]);
    a.emit(Event::Message(message("study", "hello")));
    b.emit(Event::Message(message("study", "hello")));
    let (mut said, mut silent_for) = (0, 0);
    for _ in 0..500 {
        a.pass(1_000).await;
        b.pass(1_000).await;
        let (from_a, from_b) = (a.texts(), b.texts());
        let now = from_a.len() + from_b.len();
        said += now;
        silent_for = if now == 0 { silent_for + 1 } else { 0 };
        for text in from_a {
            b.emit(Event::Message(Message { bot: true, ..message("study", &text) }));
        }
        for text in from_b {
            a.emit(Event::Message(Message { bot: true, ..message("study", &text) }));
        }
    }
    // One answer to the person each, and five each to the other.
    assert_eq!(said, 12);
    assert!(silent_for > 400, "{silent_for}");
    // A person speaks: they may answer again.
    a.emit(Event::Message(message("study", "again")));
    a.pass(6_000).await;
    assert_eq!(a.texts(), ["again!"]);
}

#[tokio::test(start_paused = true)]
async fn unless_asked_bots_answer_no_bots() {
    let bot = r#"rumor.on("message", function(msg) msg:reply("yes") end)"#;
    let mut bench = Bench::timed(&[("bots/t.lua", bot)]);
    for heard in [
        Message { bot: true, ..message("study", "bot") },
        Message { bot: true, mine: true, ..message("study", "itself") },
        Message { synced: true, ..message("study", "history") },
    ] {
        bench.emit(Event::Message(heard));
    }
    bench.pass(1).await;
    assert!(bench.texts().is_empty());
    bench.handle.send("study", "a person", SendOptions::default()).await.unwrap();
    assert_eq!(bench.texts(), ["a person"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_outlives_reloads_and_hosts() {
    let text = r#"
        local karma = rumor.store("karma")
        rumor.command("up", { run = function(ctx, args) return true, tostring(karma:incr(args[1], 2)) end })
        rumor.command("all", { run = function()
            return true, table.concat(karma:keys("b"), " ") .. tostring(rumor.store("other"):get("bob", "none"))
        end })
        rumor.command("misc", { run = function()
            karma:set("t", { list = { 1, "two" }, flag = true })
            local doubled = karma:update("t", function(old) old.list[3] = old.flag return old end)
            karma:set("gone", 1)
            karma:set("gone", nil)
            return true, rumor.json.encode(karma:get("t")) .. tostring(karma:delete("t")) .. tostring(karma:delete("t"))
        end })
        rumor.command("bad", { run = function() karma:set("bob", "text") karma:incr("bob") end })
        rumor.command("wait", { run = function() karma:update("x", function() rumor.sleep(1) end) end })
    "#;
    let scripts = |outside| HostConfig { scripts: [("t".to_owned(), all())].into(), outside, ..HostConfig::default() };
    let (outside, _) = script_support::outside();
    let bench = Bench::with(&[("bots/t.lua", text)], scripts(outside.clone()));
    assert_eq!(bench.run("up bob").await, done("2"));
    assert_eq!(bench.run("up ann").await, done("2"));
    bench.write("bots/t.lua", &format!("{text}\n"));
    assert_eq!(bench.host.reload(), (1, 0));
    assert_eq!(bench.run("up bob").await, done("4"));
    drop(bench);
    let bench = Bench::with(&[("bots/t.lua", text)], scripts(outside));
    assert_eq!(bench.run("up bob").await, done("6"));
    assert_eq!(bench.run("all").await, done("bobnone"));
    assert_eq!(bench.run("misc").await, done(r#"{"flag":true,"list":[1,"two",true]}truefalse"#));
    let reason = failure(bench.run("bad").await);
    assert!(reason.contains("store:incr: what is stored there must be a number, got string (bots/t.lua:"), "{reason}");
    let reason = failure(bench.run("wait").await);
    assert!(reason.contains("the function of store:update must not wait"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn members_are_who_spoke() {
    let bench = Bench::timed(&[(
        "bots/t.lua",
        r#"rumor.command("who", { run = function()
            local out = {}
            for _, m in rumor.chat("study"):members() do table.insert(out, `{m.nick} {m.messages} {m.last}`) end
            return true, table.concat(out, ", ")
        end })"#,
    )]);
    let by = |n: u8, time: u64| {
        let person = rumormill::node::Person { id: rumormill::room::PersonId([n; 32]), nick: format!("P{n}") };
        Message { from: person, time: time * 1_000, ..message("study", &format!("{n} {time}")) }
    };
    let mut history: Vec<_> = (0..1_500).map(|n| by(1, n)).collect();
    history.push(by(2, 5_000));
    history.push(by(1, 1_500));
    bench.set_history(history);
    assert_eq!(bench.run("who").await, done("P2 1 5000, P1 1501 1500"));
}
