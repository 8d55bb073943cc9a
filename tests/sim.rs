//! `rumor sim`, as a user meets it, and the plans that it runs.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use rumormill::proto::sim::{Phase, Plan, Progress, Report};
use serde_json::Value;

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rumor")).arg("sim").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = sim(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "no progress bar where there is no terminal: {}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 1, "one object, one line");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn plan() -> Plan {
    Plan {
        nodes: 60,
        degree: 6,
        messages: 20,
        size: 512,
        rate: 10,
        warmup: 0,
        loss_per_mille: 0,
        droppers_per_mille: 0,
        churn_per_mille_per_minute: 0,
        latency_ms: (10, 50),
        partition_ms: 0,
        wait_ms: 900_000,
        eager: None,
        seed: 3,
    }
}

fn run(plan: &Plan) -> Report {
    plan.run(&mut |_| {})
}

#[test]
fn a_good_network_reaches_everyone_live() {
    let report = run(&plan());
    assert_eq!((report.live.reached, report.live.of, report.live.share), (20 * 59, 20 * 59, 1.0));
    assert_eq!((report.end.reached, report.end.of), (20 * 60, 20 * 60));
    assert_eq!((report.messages, report.complete_messages, report.counters["item_accepted"]), (20, 20, 0));
    assert!((5.0..=6.5).contains(&report.links_per_node), "{}", report.links_per_node);
    // Each node sends a message to all its links but the one that it came by; its author to all.
    let flood = report.links_per_node - 1.0 + 1.0 / 60.0;
    assert!(report.copies_per_node <= flood + 0.001, "{} of {flood}", report.copies_per_node);
    let bytes = report.bytes_per_node_per_message;
    assert!((bytes.full_copies - report.copies_per_node * 515.0).abs() < 0.01, "{bytes:?}");
    assert!(
        (bytes.full_copies + bytes.announcements + bytes.repair + bytes.upkeep - bytes.all).abs() < 0.01,
        "{bytes:?}"
    );
}

#[test]
fn times_are_exact() {
    let report = run(&plan());
    // By hand, out of each message's own figures and the curve.
    let last: Vec<u64> = report.each_message.iter().map(|message| message.delivery_ms.max).collect();
    assert_eq!(report.time_to_every_node_ms.max, *last.iter().max().unwrap());
    let mut sorted = last.clone();
    sorted.sort_unstable();
    assert_eq!(report.time_to_every_node_ms.p50, sorted[9], "the tenth of twenty");
    assert_eq!(report.delivery_ms.max, report.time_to_every_node_ms.max);
    let at = |share: f64| report.coverage.iter().find(|(_, reached)| *reached >= share - 1e-12).unwrap().0;
    assert_eq!((report.delivery_ms.p50, report.delivery_ms.p99, report.delivery_ms.max), (at(0.5), at(0.99), at(1.0)));
    assert_eq!(report.coverage[0], (0, 0.0));
    assert!(report.coverage.windows(2).all(|pair| pair[0].0 < pair[1].0 || pair[0].1 < pair[1].1));
    assert_eq!(report.coverage_of_slowest.last(), Some(&(report.delivery_ms.max, 1.0)));
    let said: Vec<u64> = report.each_message.iter().map(|message| message.at_ms).collect();
    assert_eq!(said, (0..20).map(|n| n * 100).collect::<Vec<_>>(), "ten a second");
}

#[test]
fn equal_plans_give_equal_reports_and_another_seed_another() {
    let faulty = Plan {
        loss_per_mille: 30,
        droppers_per_mille: 200,
        churn_per_mille_per_minute: 1_000,
        partition_ms: 1_000,
        warmup: 5,
        ..plan()
    };
    let report = run(&faulty);
    assert_eq!(run(&faulty), report);
    assert_ne!(run(&Plan { seed: 4, ..faulty }), report);
}

#[test]
fn faults_show_and_are_mended() {
    // Some lose all of their few copies.
    let lossy = run(&Plan { degree: 3, loss_per_mille: 150, ..plan() });
    assert!(lossy.live.share < 1.0 && lossy.lost_frames > 0, "{:?}", lossy.live);
    assert_eq!((lossy.end.share, lossy.complete_messages), (1.0, 20));
    assert!(lossy.delivery_ms.max > run(&plan()).delivery_ms.max);

    let split = run(&Plan { partition_ms: 10_000, ..plan() });
    assert!(split.live.share <= 0.51, "half of the nodes were away: {:?}", split.live);
    assert_eq!(split.end.share, 1.0);

    let dropped = run(&Plan { droppers_per_mille: 300, ..plan() });
    assert!(dropped.copies_per_node < 0.8 * run(&plan()).copies_per_node);
    assert_eq!(dropped.end.share, 1.0);

    let churned = run(&Plan { churn_per_mille_per_minute: 1_000, messages: 100, ..plan() });
    assert!((3..=17).contains(&churned.crashes), "ten in ten seconds: {}", churned.crashes);
    assert!(churned.live.share < 1.0 && churned.live.of < 100 * 59, "{:?}", churned.live);
    assert_eq!(churned.end.share, 1.0);

    let given_up = run(&Plan { partition_ms: 60_000, wait_ms: 0, ..plan() });
    assert!(given_up.end.share < 1.0 && given_up.complete_messages == 0, "{:?}", given_up.end);
    assert_eq!(given_up.time_to_every_node_ms.max, 0, "no message is everywhere");
}

#[test]
fn adaptive_dissemination_sends_fewer_copies_and_announces() {
    let flood = run(&Plan { warmup: 20, ..plan() });
    let adaptive = run(&Plan { warmup: 20, eager: Some(2), ..plan() });
    assert_eq!((flood.live.share, adaptive.live.share, adaptive.end.share), (1.0, 1.0, 1.0));
    assert!(
        adaptive.copies_per_node < 0.7 * flood.copies_per_node,
        "{} of {}",
        adaptive.copies_per_node,
        flood.copies_per_node
    );
    assert_eq!(flood.bytes_per_node_per_message.announcements, 0.0);
    assert!(
        adaptive.bytes_per_node_per_message.announcements > 0.0 && adaptive.sent.contains_key("ihave"),
        "{:?}",
        adaptive.sent
    );
}

#[test]
fn a_warm_up_is_not_counted() {
    let report = run(&Plan { warmup: 30, ..plan() });
    assert_eq!((report.messages, report.live.of, report.each_message[0].at_ms), (20, 20 * 59, 0));
    assert_eq!(report.counters["published"], 20);
    assert!(report.copies_per_node < 6.0, "only those that count: {}", report.copies_per_node);
}

#[test]
fn progress_comes_phase_by_phase() {
    let mut all: Vec<Progress> = Vec::new();
    Plan { warmup: 2, ..plan() }.run(&mut |progress| all.push(progress));
    assert!(all.iter().all(|progress| progress.done <= progress.of), "{all:?}");
    let mut phases: Vec<_> = all.iter().map(|progress| progress.phase).collect();
    phases.dedup();
    let order = [Phase::Building, Phase::Settling, Phase::WarmUp, Phase::Messages, Phase::Repair, Phase::Done];
    assert_eq!(phases, order);
}

#[test]
fn json_is_one_object_and_the_same_for_the_same_seed() {
    let args = ["--nodes", "40", "--messages", "10", "--loss", "2.5", "--seed", "7", "--json"];
    let (mut first, mut second) = (json(&args), json(&args));
    assert_eq!(first["version"], 1);
    assert_eq!((first["plan"]["nodes"].as_u64(), first["plan"]["loss_per_mille"].as_u64()), (Some(40), Some(25)));
    assert_eq!(first["report"]["each_message"].as_array().unwrap().len(), 10);
    assert!(first["report"]["sent"]["rumor"]["messages"].as_u64().unwrap() > 10 * 39);
    assert!(first["measured"]["wall_s"].as_f64().unwrap() > 0.0);
    if cfg!(target_os = "linux") {
        assert!(first["measured"]["end_bytes_per_node"].as_f64().unwrap() > 0.0);
    }
    for outcome in [&mut first, &mut second] {
        outcome.as_object_mut().unwrap().remove("measured").unwrap();
    }
    assert_eq!(first, second);
}

#[test]
fn the_summary_says_what_there_is_to_know() {
    let output = sim(&["--nodes", "40", "--messages", "5", "--droppers", "10", "--churn", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary = text(&output.stdout);
    for word in
        ["coverage", "to a node", "to every node", "p99", "copies", "full copies", "duplicates", "events", "seed 1"]
    {
        assert!(summary.contains(word), "{word}: {summary}");
    }
    assert!(summary.contains("40 nodes") && summary.contains("10 % of nodes drop"), "{summary}");
}

#[test]
fn the_plot_is_well_formed_and_names_its_axes() {
    let dir = tempfile::tempdir().unwrap();
    for (name, more) in [("flood.svg", &["--loss", "0"][..]), ("late.svg", &["--loss", "30"])] {
        let file = dir.path().join(name);
        let args = [&["--nodes", "40", "--messages", "5", "--svg", file.to_str().unwrap()], more].concat();
        let output = sim(&args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let svg = std::fs::read_to_string(&file).unwrap();
        let document = roxmltree::Document::parse(&svg).unwrap();
        assert_eq!(document.root_element().tag_name().name(), "svg");
        let words: String = document.descendants().filter_map(|node| node.text()).collect();
        for word in ["40 nodes", "milliseconds after it was said", "per cent", "all messages", "the slowest message"] {
            assert!(words.contains(word), "{word}: {words}");
        }
        assert!(document.descendants().filter(|node| node.has_tag_name("polyline")).count() >= 2, "two curves");
    }
}

#[test]
fn bad_arguments_say_what_would_be_valid() {
    for (args, says) in [
        (&["--nodes", "2"][..], "3..=1000000"),
        (&["--nodes", "1000001"], "3..=1000000"),
        (&["--degree", "1"], "2..=64"),
        (&["--degree", "65"], "2..=64"),
        (&["--messages", "0"], "1..=1000000"),
        (&["--messages", "1000001"], "1..=1000000"),
        (&["--rate", "0"], "1..=10000"),
        (&["--rate", "10001"], "1..=10000"),
        (&["--size", "600"], "512, 1024"),
        (&["--loss", "50.1"], "from 0 to 50"),
        (&["--droppers", "90.1"], "from 0 to 90"),
        (&["--churn", "100.1"], "from 0 to 100"),
        (&["--eager", "0"], "1..=16"),
        (&["--eager", "17"], "1..=16"),
        (&["--mode", "plumtree"], "flood, adaptive"),
        (&["--latency", "10"], "such as 10..150"),
        (&["--partition", "10"], "such as 90s"),
        (&["--wait", "8d"], "at most 7d"),
        (&["--seed", "x"], "--seed"),
    ] {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(says), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    for (args, says) in [
        (&["--nodes", "8", "--degree", "8"][..], "8 nodes have at most 7 links each"),
        (&["--eager", "2"], "--eager is for --mode adaptive"),
        (&["--nodes", "1000000", "--messages", "1001"], "at most 1000000000"),
        (&["--nodes", "10", "--messages", "1", "--svg", "/no/such/folder/x.svg"], "can't write /no/such/folder/x.svg"),
    ] {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains(says), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn the_smallest_and_the_densest_network_run() {
    let two =
        json(&["--nodes", "3", "--degree", "2", "--messages", "1", "--latency", "0..0", "--size", "32768", "--json"]);
    assert_eq!(two["report"]["end"]["share"], 1.0);
    let dense = json(&["--nodes", "65", "--degree", "64", "--messages", "1", "--rate", "10000", "--json"]);
    assert_eq!(dense["report"]["live"]["share"], 1.0);
}
