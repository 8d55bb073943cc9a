//! Filters and observers.
#![cfg(feature = "luau")]
#![allow(clippy::unwrap_used, missing_docs)]

mod script_support;

use rumormill::node::{Event, Hooks, Message, NodeError, Passing, PeerInfo, SendOptions, Verdict};
use rumormill::script::{Budgets, HostConfig, ScriptConfig, ScriptState};
use script_support::{Bench, PATIENCE, done, failure, message, peer};

async fn receive(bench: &Bench, text: &str) -> Verdict<Message> {
    bench.host.on_receive(message("study", text)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_pass_drop_and_replace_in_the_order_of_priority() {
    let bench = Bench::new(&[
        ("hooks/a.lua", r#"rumor.on("receive", function(msg) msg.text = msg.text .. "a" return msg end)"#),
        (
            "hooks/b.lua",
            r#"
            rumor.on("receive", function(msg) msg.text = msg.text .. "b" return msg end, { priority = 5 })
            rumor.on("receive", function(msg) if msg.text:find("spam", 1, true) then return false, "spam" end end,
                { priority = -1 })
            rumor.on("receive", function(msg) msg.text = "wrong chat" return msg end, { chat = "friends" })
            "#,
        ),
    ]);
    let Verdict::Pass(passed) = receive(&bench, "x").await else { panic!() };
    assert_eq!(passed, Message { text: "xba".into(), ..message("study", "x") });
    assert_eq!(receive(&bench, "spam").await, Verdict::Drop("spam".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn send_filters_veto_and_change() {
    let mut bench = Bench::new(&[(
        "hooks/out.lua",
        r#"
        rumor.on("send", function(msg)
            if msg.text == "secret" then return false, "not that" end
            if msg.text == "wave" then msg.text = "o/" return msg end
        end)
        "#,
    )]);
    let error = bench.handle.send("study", "secret", SendOptions::default()).await.unwrap_err();
    assert_eq!(error, NodeError::Vetoed("not that".into()));
    bench.handle.send("study", "wave", SendOptions::default()).await.unwrap();
    assert_eq!(bench.next_sent().await.text, "o/");
    bench.handle.send("study", "plain", SendOptions::default()).await.unwrap();
    assert_eq!(bench.next_sent().await.text, "plain");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_fails_or_is_late_passes_unless_it_says_drop() {
    let mut bench = Bench::new(&[
        ("hooks/error.lua", r#"rumor.on("receive", function(msg) if msg.text == "error" then error("oops") end end)"#),
        (
            "hooks/caller.lua",
            r#"rumor.on("receive", function(msg) if msg.text == "caller" then error("who", 2) end end)"#,
        ),
        ("hooks/loop.lua", r#"rumor.on("receive", function(msg) while msg.text == "loop" do end end)"#),
        (
            "hooks/strict.lua",
            r#"rumor.on("receive", function(msg) while msg.text == "strict" do end end, { on_error = "drop" })"#,
        ),
        (
            "hooks/wait.lua",
            r#"rumor.on("receive", function(msg) if msg.text == "wait" then rumor.chat("study"):send("x") end end)"#,
        ),
        ("hooks/odd.lua", r#"rumor.on("receive", function(msg) if msg.text == "odd" then return 5 end end)"#),
    ]);
    assert!(matches!(receive(&bench, "error").await, Verdict::Pass(_)));
    assert!(bench.notice("oops").await.starts_with("hooks/error.lua:1: oops"));
    assert!(matches!(receive(&bench, "caller").await, Verdict::Pass(_)));
    assert!(bench.notice("who").await.starts_with("hooks/caller.lua: who"), "of the host's code nobody knows lines");
    assert!(matches!(receive(&bench, "loop").await, Verdict::Pass(_)));
    assert_eq!(bench.notice("budget").await, "hooks/loop.lua:1: ran longer than its budget and was stopped");
    assert_eq!(receive(&bench, "strict").await, Verdict::Drop("the filter strict failed".into()));
    assert!(matches!(receive(&bench, "wait").await, Verdict::Pass(_)));
    assert!(bench.notice("must not wait").await.contains("chat:send: a filter must not wait"));
    assert!(matches!(receive(&bench, "odd").await, Verdict::Pass(_)));
    assert!(bench.notice("got number").await.contains("\"receive\" filter must return nil, false or a message"));
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_filters_refuse_what_they_refuse_and_nothing_by_failing() {
    let relay = ScriptConfig { allow: vec!["relay".into()], ..ScriptConfig::default() };
    let scripts = ["large", "odd", "strict"].map(|name| (name.to_owned(), relay.clone())).into();
    let files = [
        (
            "hooks/large.lua",
            r#"
            rumor.script({ permissions = { "relay" } })
            rumor.on("relay", function(passing)
                if passing.size == 2048 then return false end
                if passing.size == 4096 then error("oops") end
                if passing.size == 8192 then while true do end end
                if passing.link.fingerprint ~= "0011aabb" then return false end
            end)
            "#,
        ),
        (
            "hooks/odd.lua",
            r#"rumor.on("relay", function(passing) if passing.size == 16384 then return passing end end)"#,
        ),
        ("hooks/strict.lua", r#"rumor.on("relay", function() end, { on_error = "drop" })"#),
        ("hooks/sees.lua", r#"rumor.on("relay", function() return false end)"#),
    ];
    // On a busy machine, too, only the one that hangs is late.
    let budgets = Budgets { filter_ms: 1_000, ..Budgets::default() };
    let mut bench = Bench::with(&files, HostConfig { scripts, budgets, ..HostConfig::default() });
    let alone = "script \"sees\" is not granted \"relay\": write `allow = [\"relay\"]`, that alone and no `rooms`,";
    bench.notice(alone).await;
    bench.notice("a \"relay\" filter that fails or is late passes on: on_error can't be \"drop\" for it").await;
    assert!(bench.host.filters_relays());
    let passes = async |size, fingerprint: &str| {
        let link = PeerInfo { fingerprint: fingerprint.into(), ..peer() };
        bench.host.on_relay(Passing { id: message("study", "x").id, size, link }).await
    };
    assert!(passes(1024, "0011aabb").await);
    assert!(!passes(1024, "ffffffff").await);
    assert!(!passes(2048, "0011aabb").await);
    for size in [4096, 8192, 16384] {
        assert!(passes(size, "0011aabb").await, "{size}");
    }
    bench.notice("oops").await;
    bench.notice("a \"relay\" filter must return nil or false, got table").await;
    // Nobody filters any more once the files are gone.
    for name in ["large", "odd", "sees", "strict"] {
        std::fs::remove_file(bench.dir.path().join(format!("hooks/{name}.lua"))).unwrap();
    }
    bench.host.reload();
    // They end once they have done what was under way.
    let ended = async {
        while bench.host.filters_relays() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_hear_and_answer() {
    let mut bench = Bench::new(&[(
        "bots/ear.lua",
        r#"
        local here = rumor.chat("study")
        rumor.on("load", function(saved) here:send("loaded " .. tostring(saved)) end)
        rumor.on("peer:up", function(peer) here:send("up " .. peer.addr) end)
        rumor.on("peer:down", function(peer) here:send("down " .. peer.fingerprint) end)
        rumor.on("gap", function(gap) here:send(gap.chat .. " " .. gap.missing) end)
        rumor.on("message", function(msg)
            local id = msg:reply(msg.from.nick .. ": " .. msg.text)
            local all = here:history({ limit = 1 })
            here:send(`{#id} {all[1].text}`)
        end)
        rumor.on("message", function(msg) here:send("once") end, { once = true, priority = -1 })
        "#,
    )]);
    bench.set_history(vec![message("study", "old")]);
    assert_eq!(bench.next_sent().await.text, "loaded nil");
    bench.emit(Event::PeerUp(peer()));
    assert_eq!(bench.next_sent().await.text, "up tcp:127.0.0.1:4001");
    bench.emit(Event::PeerDown(peer()));
    assert_eq!(bench.next_sent().await.text, "down 0011aabb");
    bench.emit(Event::Gap { chat: "study".into(), missing: 2 });
    assert_eq!(bench.next_sent().await.text, "study 2");
    bench.emit(Event::Message(message("study", "hello")));
    let mut texts = Vec::new();
    for _ in 0..3 {
        let draft = bench.next_sent().await;
        assert_eq!(draft.options.script.as_deref(), Some("ear"));
        if draft.text.starts_with("Bob") {
            assert_eq!(draft.options.reply_to, Some(message("study", "hello").id));
        }
        texts.push(draft.text);
    }
    texts.sort();
    assert_eq!(texts, ["64 old", "Bob: hello", "once"]);
    bench.emit(Event::Message(message("study", "again")));
    assert_eq!(bench.next_sent().await.text, "Bob: again");
    assert_eq!(bench.next_sent().await.text, "64 old");
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_don_t_hear_history_nor_other_bots_nor_chats_without_grant() {
    let text = r#"
        rumor.on("message", function(msg) rumor.chat("study"):send("heard " .. msg.text) end)
        rumor.on("message", function(msg) rumor.chat("study"):send("all " .. msg.text) end, { synced = true, bots = true })
    "#;
    let config = ScriptConfig { rooms: vec!["study".into()], allow: vec!["send".into()], ..ScriptConfig::default() };
    let scripts = [("ear".to_owned(), config)].into();
    let mut bench = Bench::with(&[("bots/ear.lua", text)], HostConfig { scripts, ..HostConfig::default() });
    bench.emit(Event::Message(message("friends", "private")));
    bench.emit(Event::Message(Message { synced: true, ..message("study", "synced") }));
    bench.emit(Event::Message(Message { bot: true, ..message("study", "bot") }));
    bench.emit(Event::Message(Message { bot: true, mine: true, ..message("study", "own bot") }));
    bench.emit(Event::Message(message("study", "live")));
    let mut texts = Vec::new();
    for _ in 0..4 {
        texts.push(bench.next_sent().await.text);
    }
    texts.sort();
    assert_eq!(texts, ["all bot", "all live", "all synced", "heard live"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_in_a_loop_run_dry() {
    let mut bench = Bench::new(&[(
        "bots/spam.lua",
        r#"rumor.command("spam", { run = function(ctx)
            local n = 0
            local ok, why = pcall(function() while true do rumor.chat("study"):send("x") n += 1 end end)
            return true, `{n} {why}`
        end })"#,
    )]);
    let result = format!("{:?}", bench.run("spam").await);
    assert!(result.contains("10 chat:send: too many messages to \\\"study\\\""), "{result}");
    for _ in 0..10 {
        bench.next_sent().await;
    }
    assert!(bench.sent.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_goes_off_and_waits_inside_coroutines_and_pcall() {
    let mut bench = Bench::new(&[(
        "bots/co.lua",
        r#"
        local handle
        handle = rumor.on("message", function(msg)
            handle:off()
            local co = coroutine.wrap(function()
                coroutine.yield(rumor.chat("study"):send("one") and "first")
                return "second"
            end)
            local a, b = co(), co()
            pcall(function() rumor.chat("study"):send(a .. " " .. b) end)
        end)
        rumor.on("peer:up", function() rumor.chat("study"):send("end") end)
        "#,
    )]);
    bench.emit(Event::Message(message("study", "x")));
    assert_eq!(bench.next_sent().await.text, "one");
    assert_eq!(bench.next_sent().await.text, "first second");
    bench.emit(Event::Message(message("study", "y")));
    bench.emit(Event::PeerUp(peer()));
    assert_eq!(bench.next_sent().await.text, "end");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_runs_when_the_node_is_there() {
    let mut bench = Bench::new(&[
        (
            "bots/ready.lua",
            r#"
            local nick
            rumor.on("load", function() nick = rumor.me.nick .. #rumor.chats() end)
            rumor.command("nick", { run = function() return true, nick end })
            "#,
        ),
        ("bots/broken.lua", r#"rumor.on("load", function() error("no luck") end)"#),
    ]);
    // The observer comes before the first command.
    assert_eq!(bench.run("nick").await, done("Alice3"));
    assert!(bench.notice("no luck").await.starts_with("bots/broken.lua:1: no luck"));
    let broken = || bench.host.status().into_iter().find(|script| script.name == "broken").unwrap();
    while broken().state == ScriptState::Running {
        tokio::task::yield_now().await;
    }
    assert_eq!(broken().state, ScriptState::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_does_to_its_message_or_its_coroutine_the_next_one_does_not_see() {
    let bench = Bench::new(&[(
        "bots/x.lua",
        r#"
        rumor.on("receive", function(msg)
            msg.extra, msg.id, msg.from.nick, msg.from.verified = 1, nil, "Mallory", nil
        end)
        local function look(msg)
            seen = `{msg.extra} {#msg.id} {msg.from.nick} {msg.from.verified} {getmetatable(msg)} {msg.reply ~= nil}`
            msg.extra, msg.chat, msg.from = 1, nil, nil
        end
        rumor.on("message", look)
        rumor.on("message", look)
        rumor.command("seen", { run = function() return true, seen end })

        rumor.command("wait", { run = function() rumor.sleep(0) return true, "waited" end })
        rumor.command("fail", { run = function() error("oops") end })
        rumor.command("keep", { run = function() kept = coroutine.running() return true, "kept" end })
        rumor.command("look", { run = function()
            return true, `{coroutine.status(kept)} {kept == coroutine.running()}`
        end })
        "#,
    )]);
    let Verdict::Pass(passed) = receive(&bench, "hello").await else { panic!() };
    assert_eq!(passed, message("study", "hello"));
    let nick = passed.from.nick.clone();
    bench.emit(Event::Message(passed));
    // Events and commands wait in one queue, but an event is on its way to it for a moment.
    let seen = format!("nil 64 {nick} true message true");
    let looked = async {
        while bench.run("seen").await != done(&seen) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.unwrap();

    assert_eq!(bench.run("wait").await, done("waited"));
    assert!(failure(bench.run("fail").await).contains("oops"));
    assert_eq!(bench.run("keep").await, done("kept"));
    assert_eq!(bench.run("look").await, done("dead false"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_are_filtered_together_and_no_filter_sees_the_difference() {
    // It remembers what it saw, in one state for both of its filters.
    let two = r#"
        local seen = ""
        rumor.on("receive", function(msg)
            seen ..= "a" .. msg.text
            if msg.text == "3" then return false, "three" end
            msg.text = seen
            return msg
        end, { priority = 1 })
        rumor.on("receive", function(msg) seen ..= "b" end, { chat = "study", priority = PRIORITY })
    "#;
    let frame = r#"rumor.on("receive", function(msg) msg.text = "<" .. msg.text .. ">" return msg end)"#;
    // The second filter runs right behind the first; then behind the other script's.
    for priority in ["1", "-1"] {
        let two = two.replace("PRIORITY", priority);
        let bench = Bench::new(&[("hooks/two.lua", &two), ("hooks/frame.lua", frame)]);
        let messages = [("study", "1"), ("study", "2"), ("friends", "3"), ("friends", "4"), ("study", "5")];
        let messages = messages.map(|(chat, text)| message(chat, text));
        let text = |verdict: Verdict<Message>| match verdict {
            Verdict::Pass(Message { text, .. }) => text,
            Verdict::Drop(reason) => reason,
        };
        let verdicts: Vec<_> = bench.host.on_receive_all(messages.into()).await.into_iter().map(text).collect();
        assert_eq!(verdicts, ["<a1>", "<a1ba2>", "three", "<a1ba2ba3a4>", "<a1ba2ba3a4a5>"], "{priority}");
    }
}
