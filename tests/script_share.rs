//! A script's share of the processor: one that uses all of each budget, all of the time, waits; nobody else does.
#![cfg(feature = "luau")]
#![allow(clippy::unwrap_used, missing_docs)]

mod script_support;

use rumormill::node::{CommandContext, Commands, Event, Hooks, Verdict};
use rumormill::script::{Budgets, HostConfig, ScriptState};
use script_support::{Bench, all, done, failure, message};
use tokio::sync::mpsc;

/// `bad` runs until it is killed; everything else is quick.
const BAD: &str = r#"
    local seen = ""
    rumor.command("bad", { run = function() while true do end end })
    rumor.command("seen", { run = function() return true, seen end })
    rumor.on("message", function(msg) seen ..= msg.text end)
    rumor.on("receive", function(msg) msg.text ..= "!" return msg end, { chat = "study" })
    rumor.on("receive", function(msg) return nil end, { chat = "friends", on_error = "drop" })
"#;

const GOOD: &str = r#"
    local seen = ""
    rumor.command("good", { run = function() return true, seen end })
    rumor.on("message", function(msg) seen ..= msg.text end)
    rumor.on("receive", function(msg) msg.text ..= "?" return msg end, { chat = "study" })
"#;

/// A host whose scripts may use so much, and their `bad` so many milliseconds in one call.
fn bench(cpu_percent: u32, cpu_burst_ms: u64, handler_ms: u64) -> Bench {
    let budgets = Budgets { cpu_percent, cpu_burst_ms, handler_ms, ..Budgets::default() };
    let scripts = ["bad", "good"].map(|name| (name.to_owned(), all())).into();
    let config = HostConfig { budgets, scripts, ..HostConfig::default() };
    Bench::with(&[("bots/bad.lua", BAD), ("bots/good.lua", GOOD)], config)
}

/// Lets the script use up its share. What a busy machine gives a call may be less than the call's budget.
async fn use_up(bench: &Bench) {
    loop {
        failure(bench.run("bad").await);
        if bench.status("bad").state == ScriptState::Waiting {
            return;
        }
        bench.run("seen").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_share_a_script_waits_and_others_are_served() {
    // Its debt lasts for longer than the test.
    let mut bench = bench(1, 100, 400);
    use_up(&bench).await;
    let told = bench.notice("uses more than its share").await;
    assert!(told.contains("bad uses more than its share of the processor (1 %): its handlers"), "{told}");
    let calls = bench.status("bad").calls;

    // Its filters are passed by, those of others are asked.
    let Verdict::Pass(passed) = bench.host.on_receive(message("study", "x")).await else { panic!("it was to pass") };
    assert_eq!(passed.text, "x?");
    let dropped = bench.host.on_receive(message("friends", "x")).await;
    assert!(matches!(&dropped, Verdict::Drop(reason) if reason.contains("bad did not answer in time")), "{dropped:?}");

    // Its commands and observers wait.
    let context = CommandContext { chat: None, actions: mpsc::unbounded_channel().0 };
    let mut waits = std::pin::pin!(bench.host.run("seen", context));
    let others = async {
        for text in ["1", "2", "3"] {
            bench.emit(Event::Message(message("study", text)));
        }
        while bench.run("good").await != done("123") {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        result = &mut waits => panic!("it was to wait: {result:?}"),
        () = others => {}
    }
    assert_eq!(bench.status("bad").calls, calls);

    // A reload is done at once, and gives it nothing.
    bench.write("bots/bad.lua", &format!("{BAD} -- changed"));
    assert_eq!(bench.host.reload(), (1, 0));
    assert_eq!(bench.status("bad").state, ScriptState::Waiting);
    assert_eq!(failure(waits.await), "bots/bad.lua was stopped");
    assert_eq!(bench.status("good").state, ScriptState::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_runs_in_its_order_and_the_user_is_told_when_it_has_caught_up() {
    let mut bench = bench(10, 50, 200);
    use_up(&bench).await;
    bench.notice("uses more than its share").await;
    for text in ["1", "2", "3", "4"] {
        bench.emit(Event::Message(message("study", text)));
    }
    // Behind what waits: when it runs, the events before it have.
    while bench.run("good").await != done("1234") {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.run("seen").await, done("1234"));
    bench.notice("bad keeps within its share of the processor again").await;
    assert_eq!(bench.status("bad").state, ScriptState::Running);
    let Verdict::Pass(passed) = bench.host.on_receive(message("study", "x")).await else { panic!("it was to pass") };
    assert_eq!(passed.text, "x!?");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_below_is_never_told_of_a_share() {
    let mut bench = bench(1, 2_000, 200);
    for n in 0..1_000 {
        let Verdict::Pass(passed) = bench.host.on_receive(message("study", &n.to_string())).await else { panic!() };
        assert_eq!(passed.text, format!("{n}!?"));
    }
    assert_eq!(bench.status("bad").state, ScriptState::Running);
    bench.host.stop();
    while let Ok((_, _, text)) = bench.notices.try_recv() {
        assert!(!text.contains("share"), "{text}");
    }
}
