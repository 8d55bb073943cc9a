//! Nodes stop and start, links are cut, messages are sent: is every acknowledged message everywhere in the end?

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints")]
#![allow(clippy::disallowed_methods, reason = "how long it takes is read off the clock")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use futures::StreamExt;
use rumormill_peers::churn::{self, ChurnPlan, MESSAGES_MAX, Outcome};
use rumormill_peers::systems::RumorOptions;

/// Whole nodes over TCP, some of which stop and start again, while links are cut and messages are sent. Then it is quiet,
/// and every message that was acknowledged must be at every node. Ends with 1 if one isn't, or if one took too long.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How many runs, each with a seed of its own.
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// How many runs at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    parallel: u8,
    /// Nodes of a run.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=64))]
    nodes: u16,
    /// Messages of a run.
    #[arg(long, default_value_t = 200)]
    messages: usize,
    /// How long messages are sent, nodes stopped and links cut, in ms.
    #[arg(long, default_value_t = 2_000)]
    traffic_ms: u64,
    /// How many times a node is stopped and started again.
    #[arg(long, default_value_t = 4)]
    stops: usize,
    /// How many times a link is cut.
    #[arg(long, default_value_t = 12)]
    cuts: usize,
    /// A run that needs more seconds of quiet is slow: a message was left to the repair that comes every minute.
    #[arg(long, default_value_t = 10)]
    slow_after: u64,
    /// After so many seconds of quiet, a message that isn't everywhere counts as hanging.
    #[arg(long, default_value_t = 90)]
    hang_after: u64,
    /// After so many seconds of quiet, it counts as lost.
    #[arg(long, default_value_t = 150)]
    lost_after: u64,
    /// The first run's seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rumormill's own settings. `--rooms` has no effect: all nodes are members of one room.
    #[command(flatten)]
    rumor: RumorOptions,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.messages > MESSAGES_MAX {
        eprintln!("rumor-churn: --messages {}: at most {MESSAGES_MAX}", arguments.messages);
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rumor-churn: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let fine = runtime.block_on(all(&arguments));
    runtime.shutdown_background();
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Sum {
    runs: u64,
    failed: u64,
    slow: u64,
    with_hangs: u64,
    lost: usize,
    acknowledged: usize,
    refused: usize,
    live: u64,
    repaired: u64,
    stops: usize,
    cuts: usize,
    quiet: Vec<Duration>,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.with_hangs += u64::from(outcome.hung > 0);
        self.lost += outcome.lost();
        self.acknowledged += outcome.acknowledged;
        self.refused += outcome.refused;
        self.live += outcome.live;
        self.repaired += outcome.repaired;
        self.stops += outcome.stops;
        self.cuts += outcome.cuts;
        self.quiet.push(outcome.quiet);
    }
}

async fn all(arguments: &Arguments) -> bool {
    let start = Instant::now();
    let runs = (0..arguments.runs).map(|run| {
        let seed = arguments.seed + run;
        let plan = ChurnPlan {
            nodes: usize::from(arguments.nodes),
            messages: arguments.messages,
            traffic: Duration::from_millis(arguments.traffic_ms),
            stops: arguments.stops,
            cuts: arguments.cuts,
            hang_after: Duration::from_secs(arguments.hang_after),
            lost_after: Duration::from_secs(arguments.lost_after),
            seed,
            rumor: arguments.rumor.clone(),
        };
        async move { (seed, churn::run(plan).await) }
    });
    let mut runs = futures::stream::iter(runs).buffer_unordered(usize::from(arguments.parallel));
    let mut sum = Sum::default();
    while let Some((seed, outcome)) = runs.next().await {
        match outcome {
            Ok(outcome) => {
                let slow = outcome.quiet > Duration::from_secs(arguments.slow_after);
                sum.slow += u64::from(slow);
                if slow || outcome.hung > 0 || outcome.lost() > 0 {
                    println!(
                        "seed {seed}: {} of {} messages × {} nodes hung, lost at (node, messages): {:?}; complete after {:.1} s",
                        outcome.hung,
                        outcome.acknowledged,
                        arguments.nodes,
                        outcome.missing,
                        outcome.quiet.as_secs_f64()
                    );
                }
                sum.add(&outcome);
            }
            Err(reason) => {
                println!("seed {seed}: failed: {reason}");
                sum.failed += 1;
            }
        }
    }
    report(&mut sum, start.elapsed());
    sum.failed == 0 && sum.with_hangs == 0 && sum.lost == 0 && sum.runs == arguments.runs
}

fn report(sum: &mut Sum, time: Duration) {
    sum.quiet.sort_unstable();
    let quiet = |part: f64| {
        let at = (part * sum.quiet.len() as f64).ceil() as usize;
        sum.quiet.get(at.saturating_sub(1)).copied().unwrap_or_default().as_secs_f64()
    };
    println!(
        "runs {} failed {} slow {} hung {} lost {} acknowledged {} refused {} live {} repaired {} stops {} cuts {} \
         quiet_p50_s {:.2} quiet_p99_s {:.2} quiet_max_s {:.2} time_s {:.0}",
        sum.runs,
        sum.failed,
        sum.slow,
        sum.with_hangs,
        sum.lost,
        sum.acknowledged,
        sum.refused,
        sum.live,
        sum.repaired,
        sum.stops,
        sum.cuts,
        quiet(0.5),
        quiet(0.99),
        quiet(1.0),
        time.as_secs_f64()
    );
}
