//! `rumor sim`: the gossip engine's simulator, for those who plan a network.

mod plot;
mod print;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rumormill::proto::sim::{Phase, Plan, Progress, Report};
use rumormill::proto::wire::ENVELOPE_SIZES;
use rumormill::proto::{EAGER, EAGER_MAX};
use serde::Serialize;

use super::{Failure, write};

/// The version of what `--json` prints; raised when a field changes its meaning or goes.
const JSON_VERSION: u32 = 1;
/// Most nodes of a network. A node takes some 10 kB.
const NODES_MAX: i64 = 1_000_000;
/// Most links of a node on average: some have twice as many, and an engine takes 128.
const DEGREE_MAX: i64 = 64;
/// Most messages of a run.
const MESSAGES_MAX: i64 = 1_000_000;
/// Most pairs of a message and a node: each takes a few bits.
const PAIRS_MAX: u64 = 1_000_000_000;
/// Most messages a second.
const RATE_MAX: i64 = 10_000;
/// Longest latency of a link, in milliseconds: a handshake takes three of them, and a HELLO gets five seconds.
const LATENCY_MAX_MS: u64 = 1_000;
/// Most frames lost, in per cent.
const LOSS_MAX_PER_CENT: u64 = 50;
/// Most nodes that drop, in per cent.
const DROPPERS_MAX_PER_CENT: u64 = 90;
/// Most nodes that crash in a minute, in per cent.
const CHURN_MAX_PER_CENT: u64 = 100;
/// Longest partition, and longest wait, in milliseconds: a week, as long as an envelope lives.
const SPAN_MAX_MS: u64 = 7 * 24 * 3_600_000;

const DETAILS: &str = "\
A network of whole gossip engines in virtual time: the code that a node runs, without sockets, encryption and rooms. A ring and \
random chords connect it; a link has one latency, keeps its frames in order, and has no limit of bandwidth. The same \
arguments give the same report.

What is reported:
  coverage       live: got without a reconciliation, of the nodes that ran when a message was said;
                 in the end: of the nodes that run then
  to a node      from saying a message to each node that has got it
  to every node  from saying a message to its last node, if all have it in the end
  copies, bytes  sent for each message and node, without what TCP and encryption add
  memory         growth of the process over the nodes: engines, and the simulator itself
  cpu            of the process, from the first message that counts to the end

Examples:
  rumor sim --nodes 10000 --svg coverage.svg
  rumor sim --nodes 2000 --loss 2 --droppers 20 --churn 5
  rumor sim --partition 10m --messages 500 --rate 5 --json";

/// What to simulate.
#[derive(Args, Debug)]
#[command(after_help = DETAILS)]
pub(super) struct SimArgs {
    /// Nodes of the network
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(3..=NODES_MAX))]
    nodes: u32,
    /// Links of a node, on average
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=DEGREE_MAX))]
    degree: u32,
    /// Messages to say and to count
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=MESSAGES_MAX))]
    messages: u32,
    /// Bytes of an envelope: 512, 1024, 2048, 4096, 8192, 16384 or 32768
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = size)]
    size: usize,
    /// Messages a second, in the whole network
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    rate: u32,
    /// Who gets the full copy of a message that is passed on
    #[arg(long, value_name = "MODE", default_value = "flood")]
    mode: Mode,
    /// How many full copies a node wants of each message, with --mode adaptive; 2 unless told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(EAGER_MAX)))]
    eager: Option<u8>,
    /// Messages to say before those that count: adaptive dissemination learns from traffic
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=MESSAGES_MAX))]
    warmup: u32,
    /// Frames lost, in per cent, up to 50; the link goes on, which is harsher than TCP
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = loss)]
    loss: u64,
    /// Nodes that take everything and pass nothing on, in per cent, up to 90
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = droppers)]
    droppers: u64,
    /// Nodes that crash in a minute while messages are said, in per cent, up to 100; each is back after 1 to 30 s
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = churn)]
    churn: u64,
    /// What the links' latencies lie between, in milliseconds, up to 1000
    #[arg(long, value_name = "MIN..MAX", default_value = "10..150", value_parser = latency)]
    latency: (u64, u64),
    /// How long the two halves of the network are apart, from the first message that counts on, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = span)]
    partition: u64,
    /// How long to wait, after the last message and the partition, for what is still missing somewhere
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = span)]
    wait: u64,
    /// What decides everything random
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print one JSON object, for programs
    #[arg(long)]
    json: bool,
    /// Also write a plot of the coverage over time
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The dissemination, as the config's `[dissemination] mode` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Mode {
    /// Every link
    Flood,
    /// The links that need it; it is announced to the rest
    Adaptive,
}

impl SimArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        if self.degree >= self.nodes {
            return Err(Failure::new(format!(
                "--degree {}: {} nodes have at most {} links each; take a smaller degree or more nodes",
                self.degree,
                self.nodes,
                self.nodes - 1
            )));
        }
        let pairs = u64::from(self.nodes) * (u64::from(self.messages) + u64::from(self.warmup));
        if pairs > PAIRS_MAX {
            return Err(Failure::new(format!(
                "--nodes times --messages (and --warmup) is {pairs}; at most {PAIRS_MAX} are simulated"
            )));
        }
        if self.mode == Mode::Flood && self.eager.is_some() {
            return Err(Failure::new("--eager is for --mode adaptive: with --mode flood a node sends to every link"));
        }
        Ok(Plan {
            nodes: self.nodes as usize,
            degree: self.degree as usize,
            messages: self.messages.into(),
            size: self.size,
            rate: self.rate.into(),
            warmup: self.warmup.into(),
            loss_per_mille: self.loss,
            droppers_per_mille: self.droppers,
            churn_per_mille_per_minute: self.churn,
            latency_ms: self.latency,
            partition_ms: self.partition,
            wait_ms: self.wait,
            eager: (self.mode == Mode::Adaptive).then(|| self.eager.unwrap_or(EAGER)),
            seed: self.seed,
        })
    }
}

/// What the machine took for it: differs from run to run.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
struct Measured {
    /// To make the nodes, and to let their links come up and the network warm up, in seconds.
    setup_s: f64,
    /// From the first message that counts to the end, in seconds.
    wall_s: f64,
    /// The processor time of that, in seconds; `null` where the system doesn't tell.
    cpu_s: Option<f64>,
    /// Events in a second of it.
    events_per_s: f64,
    /// Processor time for each message and node, in microseconds.
    cpu_us_per_node_per_message: Option<f64>,
    /// What the process grew by until the first message that counts, for each node, in bytes; `null` where the system doesn't tell.
    idle_bytes_per_node: Option<f64>,
    /// What it grew by until the end.
    end_bytes_per_node: Option<f64>,
}

/// All of a run, as `--json` prints it.
#[derive(Serialize)]
struct Outcome<'a> {
    version: u32,
    plan: &'a Plan,
    report: &'a Report,
    measured: Measured,
}

pub(super) fn run(args: &SimArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let plan = args.plan()?;
    if let Some(file) = &args.svg {
        // Before the run, so that a wrong path doesn't cost one.
        File::create(file).map_err(|error| Failure::new(format!("can't write {}: {error}", file.display())))?;
    }
    let bar = if args.json { ProgressBar::hidden() } else { bar() };
    let mut watch = Watch::new();
    let report = plan.run(&mut |progress| {
        watch.saw(progress.phase);
        show(&bar, progress);
    });
    bar.finish_and_clear();
    let measured = watch.measured(&plan, &report);
    if let Some(file) = &args.svg {
        let svg = plot::coverage(&plan, &report).map_err(Failure::new)?;
        fs::write(file, svg).map_err(|error| Failure::new(format!("can't write {}: {error}", file.display())))?;
    }
    if args.json {
        let outcome = Outcome { version: JSON_VERSION, plan: &plan, report: &report, measured };
        let json = serde_json::to_string(&outcome).map_err(Failure::new)?;
        return write(out, &format!("{json}\n"));
    }
    write(out, &print::summary(&plan, &report, &measured))
}

/// Drawn on standard error, if that is a terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:9} [{bar:40}] {pos}/{len} {elapsed}");
    ProgressBar::new(0).with_style(style.expect("a good template"))
}

fn show(bar: &ProgressBar, progress: Progress) {
    let message = match progress.phase {
        Phase::Building => "nodes",
        Phase::Settling => "links, ms",
        Phase::WarmUp => "warm-up",
        Phase::Messages => "messages",
        Phase::Repair => "rest, ms",
        Phase::Done => return,
    };
    if progress.done == 0 {
        bar.set_message(message);
        bar.set_length(progress.of);
    }
    bar.set_position(progress.done);
}

/// Time and memory by phase.
struct Watch {
    begun: Instant,
    rss_before: Option<u64>,
    rss_idle: Option<u64>,
    rss_end: Option<u64>,
    counting: Option<(Instant, Option<f64>)>,
    done: Option<(Instant, Option<f64>)>,
}

impl Watch {
    fn new() -> Self {
        let rss_before = rss_bytes();
        Self { begun: instant(), rss_before, rss_idle: None, rss_end: None, counting: None, done: None }
    }

    fn saw(&mut self, phase: Phase) {
        if phase == Phase::Messages && self.counting.is_none() {
            self.rss_idle = rss_bytes();
            self.counting = Some((instant(), cpu_s()));
        }
        if phase == Phase::Done {
            self.done = Some((instant(), cpu_s()));
            self.rss_end = rss_bytes();
        }
    }

    fn measured(&self, plan: &Plan, report: &Report) -> Measured {
        let (Some((from, cpu_from)), Some((to, cpu_to))) = (self.counting, self.done) else {
            return Measured::default();
        };
        let wall_s = (to - from).as_secs_f64();
        let cpu_s = cpu_from.zip(cpu_to).map(|(from, to)| to - from);
        let pairs = plan.nodes as f64 * report.messages as f64;
        let growth = |rss: Option<u64>| {
            let grown = self.rss_before.zip(rss).map(|(before, now)| now.saturating_sub(before));
            grown.map(|grown| grown as f64 / plan.nodes as f64)
        };
        Measured {
            setup_s: (from - self.begun).as_secs_f64(),
            wall_s,
            cpu_s,
            events_per_s: report.events as f64 / wall_s.max(1e-9),
            cpu_us_per_node_per_message: cpu_s.map(|cpu| cpu * 1e6 / pairs.max(1.0)),
            idle_bytes_per_node: growth(self.rss_idle),
            end_bytes_per_node: growth(self.rss_end),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "how long a simulation takes is measured, and decides nothing in it")]
fn instant() -> Instant {
    Instant::now()
}

/// Processor time of this process, in seconds.
fn cpu_s() -> Option<f64> {
    #[cfg(unix)]
    {
        use nix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok()?;
        Some(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
    }
    #[cfg(not(unix))]
    None
}

/// What this process has in memory, in bytes, where `/proc` tells (Linux).
fn rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

fn size(text: &str) -> Result<usize, String> {
    let found = text.parse().ok().filter(|bytes| ENVELOPE_SIZES.contains(bytes));
    found.ok_or_else(|| {
        let sizes: Vec<String> = ENVELOPE_SIZES.iter().map(ToString::to_string).collect();
        format!("an envelope has one of these sizes: {}", sizes.join(", "))
    })
}

/// Per cent with at most one decimal, as per mille.
fn per_mille(text: &str, max_per_cent: u64) -> Result<u64, String> {
    let (whole, tenths) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let parsed = digits(whole).zip(digits(tenths).filter(|_| tenths.len() == 1));
    let parsed = parsed.and_then(|(whole, tenths)| whole.checked_mul(10)?.checked_add(tenths));
    parsed
        .filter(|per_mille| *per_mille <= max_per_cent * 10)
        .ok_or_else(|| format!("write per cent from 0 to {max_per_cent}, with at most one decimal, such as 2 or 0.5"))
}

fn loss(text: &str) -> Result<u64, String> {
    per_mille(text, LOSS_MAX_PER_CENT)
}

fn droppers(text: &str) -> Result<u64, String> {
    per_mille(text, DROPPERS_MAX_PER_CENT)
}

fn churn(text: &str) -> Result<u64, String> {
    per_mille(text, CHURN_MAX_PER_CENT)
}

fn latency(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once("..").and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)));
    parsed
        .filter(|(min, max)| min <= max && *max <= LATENCY_MAX_MS)
        .ok_or_else(|| format!("write MIN..MAX in milliseconds, at most {LATENCY_MAX_MS}, such as 10..150"))
}

/// A span of time, in milliseconds.
fn span(text: &str) -> Result<u64, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 24 * 3_600_000)];
    let parsed = units.iter().find_map(|(unit, ms)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*ms));
    parsed
        .filter(|ms| *ms <= SPAN_MAX_MS)
        .ok_or_else(|| "write a whole number with ms, s, m, h or d, at most 7d, such as 90s or 10m".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn per_cents_are_taken_up_to_their_limit() {
        assert_eq!([loss("0"), loss("0.5"), loss("2"), loss("50")], [Ok(0), Ok(5), Ok(20), Ok(500)]);
        assert_eq!([droppers("90.0"), churn("100")], [Ok(900), Ok(1_000)]);
        for bad in ["50.1", "51", "-1", "+1", "1.25", "1.", ".5", "", "x", "1e1", "99999999999999999999"] {
            assert!(loss(bad).unwrap_err().contains("from 0 to 50"), "{bad}");
        }
        assert!(droppers("90.1").is_err() && churn("100.1").is_err());
    }

    #[test]
    fn latencies_are_a_range_of_milliseconds() {
        assert_eq!(
            [latency("10..150"), latency("0..0"), latency("5..1000")],
            [Ok((10, 150)), Ok((0, 0)), Ok((5, 1_000))]
        );
        for bad in ["10", "150..10", "10..1001", "10..=20", "10ms..20ms", "..5", "5..", "-1..5", ""] {
            assert!(latency(bad).unwrap_err().contains("such as 10..150"), "{bad}");
        }
    }

    #[test]
    fn spans_have_a_unit() {
        assert_eq!([span("0s"), span("90s"), span("250ms"), span("10m")], [Ok(0), Ok(90_000), Ok(250), Ok(600_000)]);
        assert_eq!([span("168h"), span("7d")], [Ok(SPAN_MAX_MS), Ok(SPAN_MAX_MS)]);
        for bad in ["90", "169h", "8d", "1.5h", "-1s", "1 w", "s", "", "99999999999999999999d"] {
            assert!(span(bad).unwrap_err().contains("such as 90s"), "{bad}");
        }
    }

    #[test]
    fn sizes_are_those_of_envelopes() {
        assert_eq!([size("512"), size("32768")], [Ok(512), Ok(32_768)]);
        for bad in ["0", "511", "513", "65536", "1K", ""] {
            assert!(size(bad).unwrap_err().contains("512, 1024"), "{bad}");
        }
    }
}
