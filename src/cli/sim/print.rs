//! A run's report, for people.

use std::fmt::Write;

use rumormill::proto::sim::{Plan, Report, Share, Spread};

use super::Measured;

/// Engine counters that say how the dissemination went, with what they are to people; those at zero are left out.
const COUNTERS: &[(&str, &str)] = &[
    ("prunes_sent", "prunes"),
    ("grafts_sent", "grafts"),
    ("iwant_sent", "asked for after an announcement"),
    ("fell_back", "falls back to flooding"),
    ("recon_started", "reconciliations"),
    ("item_accepted", "repaired"),
    ("over_rate", "over their link's rate"),
    ("link_full", "full queues"),
];

pub(super) fn summary(plan: &Plan, report: &Report, measured: &Measured) -> String {
    let mut text = String::new();
    let pairs = plan.nodes as f64 * report.messages as f64;
    let (low, high) = plan.latency_ms;
    let mut line = |name: &str, what: String| {
        // A string takes everything.
        let _ = writeln!(text, "{name:14}  {what}");
    };
    line(
        "network",
        format!(
            "{} nodes, {:.1} links each, {low} to {high} ms a link",
            grouped(plan.nodes as u64),
            report.links_per_node
        ),
    );
    line(
        "messages",
        format!("{} of {} bytes, {} a second; seed {}", grouped(report.messages), plan.size, plan.rate, plan.seed),
    );
    line(
        "dissemination",
        plan.eager.map_or("flood".to_owned(), |eager| format!("adaptive, {eager} full copies wanted")),
    );
    if let Some(faults) = faults(plan, report) {
        line("faults", faults);
    }
    line("coverage", format!("live {}, in the end {}", share(report.live), share(report.end)));
    line("", format!("{} of {} messages everywhere", grouped(report.complete_messages), grouped(report.messages)));
    line("to a node", spread(report.delivery_ms));
    line("to every node", spread(report.time_to_every_node_ms));
    line("copies", format!("{:.2} a node and message", report.copies_per_node));
    let bytes = report.bytes_per_node_per_message;
    line("bytes", format!("{:.0} a node and message", bytes.all));
    line(
        "",
        format!(
            "full copies {:.0}, announcements {:.0}, repair {:.0}, upkeep {:.0}",
            bytes.full_copies, bytes.announcements, bytes.repair, bytes.upkeep
        ),
    );
    let count = |name: &str| report.counters.get(name).copied().unwrap_or(0);
    line("duplicates", format!("{:.2} a node and message", count("duplicate") as f64 / pairs.max(1.0)));
    let counters: Vec<_> = COUNTERS.iter().filter(|(name, _)| count(name) > 0).collect();
    let counters: Vec<_> = counters.iter().map(|(name, what)| format!("{} {what}", grouped(count(name)))).collect();
    if !counters.is_empty() {
        line("counts", counters.join(", "));
    }
    let kb = |bytes: f64| format!("{:.1} kB", bytes / 1e3);
    if let Some((idle, end)) = measured.idle_bytes_per_node.zip(measured.end_bytes_per_node) {
        line("memory", format!("{} a node at rest, {} in the end", kb(idle), kb(end)));
    }
    line(
        "time",
        format!(
            "{:.1} s to set up, {:.1} s for {:.1} s of the network's; {} events, {} a second",
            measured.setup_s,
            measured.wall_s,
            report.virtual_ms as f64 / 1e3,
            grouped(report.events),
            grouped(measured.events_per_s as u64)
        ),
    );
    if let Some(cpu) = measured.cpu_us_per_node_per_message {
        line("cpu", format!("{cpu:.2} µs a node and message"));
    }
    text
}

fn faults(plan: &Plan, report: &Report) -> Option<String> {
    let per_cent = |per_mille: u64| format!("{} %", per_mille as f64 / 10.0);
    let mut all = Vec::new();
    if plan.loss_per_mille > 0 {
        all.push(format!("{} of frames lost", per_cent(plan.loss_per_mille)));
    }
    if plan.droppers_per_mille > 0 {
        all.push(format!("{} of nodes drop", per_cent(plan.droppers_per_mille)));
    }
    if plan.churn_per_mille_per_minute > 0 {
        let crashes = grouped(report.crashes);
        all.push(format!("{} of nodes crash a minute ({crashes} did)", per_cent(plan.churn_per_mille_per_minute)));
    }
    if plan.partition_ms > 0 {
        all.push(format!("two halves apart for {} s", plan.partition_ms as f64 / 1e3));
    }
    (!all.is_empty()).then(|| all.join(", "))
}

/// Never rounded up to 100 %.
fn share(share: Share) -> String {
    if share.reached == share.of {
        return "100 %".to_owned();
    }
    format!("{:.3} %", (share.share * 1e5).floor() / 1e3)
}

fn spread(spread: Spread) -> String {
    let ms = |ms| grouped(ms);
    format!("p50 {} ms, p99 {} ms, max {} ms", ms(spread.p50), ms(spread.p99), ms(spread.max))
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!([grouped(0), grouped(999), grouped(1_000)], ["0", "999", "1,000"]);
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn all_but_one_is_not_100_per_cent() {
        assert_eq!(share(Share { reached: 10, of: 10, share: 1.0 }), "100 %");
        assert_eq!(share(Share { reached: 999_999, of: 1_000_000, share: 0.999_999 }), "99.999 %");
        assert_eq!(share(Share { reached: 0, of: 10, share: 0.0 }), "0.000 %");
    }
}
