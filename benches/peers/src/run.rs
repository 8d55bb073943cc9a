//! One system, one process, one line of JSON.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::load::{Done, Load, open_messages};
use crate::meter::{self, Reading};
use crate::recorder::Recorder;
use crate::systems::{Counts, Network, Plan, RumorOptions, System};
use crate::{Result, isolate};

/// How long members may take to read what their nodes have got, in seconds.
const READING_MAX_S: u64 = 5;

/// How often it is looked whether they have.
const READING_LOOK_EVERY: Duration = Duration::from_millis(5);

/// How many deliveries are timed at most in one load: past it, the list of delays would be what is measured.
const TIMED_DELIVERIES_MAX: usize = 2_000_000;

/// How many messages each node says before anything is measured.
const WARM_UP_PER_NODE: usize = 4;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct RunOptions {
    /// The system.
    #[arg(long, value_enum)]
    pub system: System,
    /// How many nodes.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=256))]
    pub nodes: u16,
    /// How long a message's text is, in bytes.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(16..=3_500))]
    pub size: u16,
    /// The loads, one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Work::Open, Work::Closed])]
    pub work: Vec<Work>,
    /// Open loop: messages a second, over all nodes.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rate: u64,
    /// Open loop: for how long, in seconds.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Closed loop: how many messages.
    #[arg(long, default_value_t = 3_000)]
    pub messages: usize,
    /// The long closed loop: how many messages.
    #[arg(long, default_value_t = 20_000)]
    pub long_messages: usize,
    /// Closed loops: none is sent after so many seconds.
    #[arg(long, default_value_t = 10.0)]
    pub closed_seconds: f64,
    /// Closed loops: how many messages are under way.
    #[arg(long, default_value_t = 64)]
    pub window: usize,
    /// How long the network is left alone before the loads, in seconds.
    #[arg(long, default_value_t = 2.0)]
    pub settle: f64,
    /// The graph's seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Threads that run the nodes. 0: one per processor.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// Count duplicates also where that costs the system time (gossipsub's metrics).
    #[arg(long)]
    pub count_duplicates: bool,
    /// Stay in the machine's own network.
    #[arg(long)]
    pub no_namespace: bool,
    /// Rumormill's own settings.
    #[command(flatten)]
    pub rumor: RumorOptions,
}

/// A load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// A rate.
    Open,
    /// A window, for few messages.
    Closed,
    /// A window, for many messages.
    Long,
}

/// What a run found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The system, and for Rumormill its settings.
    pub system: String,
    /// How many nodes.
    pub nodes: usize,
    /// How long a message's text is, in bytes.
    pub size: usize,
    /// How long a message is as the system relays it, on average, without the link's framing, in bytes.
    pub message_bytes: u64,
    /// Links, each counted at both ends; 0: not known.
    pub links: u64,
    /// Whether the process had a network namespace of its own. Else the bytes are those of everyone on this machine.
    pub isolated: bool,
    /// What the process held before the first node, in MiB.
    pub base_mib: f64,
    /// What it held at rest beyond that, per node, in MiB.
    pub rest_mib_per_node: f64,
    /// What the network sends at rest, in bytes a second. Taken off the loads' figures.
    pub idle_bytes_per_s: f64,
    /// One per load.
    pub loads: Vec<Figures>,
}

/// The figures of one load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Which load.
    pub work: Work,
    /// Messages sent.
    pub messages: usize,
    /// Deliveries: one is one node that has got one message of another.
    pub deliveries: u64,
    /// Deliveries that are missing.
    pub lost: u64,
    /// Messages that the author's node refused; their deliveries are among the lost.
    pub refused: u64,
    /// Messages delivered to the same application again.
    pub repeated: u64,
    /// Of the deliveries, those that came by repair.
    pub repaired: u64,
    /// Of the deliveries, those for which an announcement was followed up. Rumormill only.
    pub pulled: u64,
    /// Copies that a limit of the receiver put off to repair.
    pub put_off: u64,
    /// Messages that a member should have read and hasn't. Rumormill only.
    pub unread: u64,
    /// From the first message to the last delivery, in seconds.
    pub seconds: f64,
    /// CPU time of the process, the generator included, in µs.
    pub cpu_us_per_delivery: f64,
    /// Deliveries a second.
    pub deliveries_per_s: f64,
    /// What loopback carried, headers and acknowledgements included, in bytes.
    pub wire_bytes_per_delivery: f64,
    /// In how many packets.
    pub wire_packets_per_delivery: f64,
    /// Copies of messages that had been there.
    pub duplicates_per_delivery: Option<f64>,
    /// Until a node had it, in ms.
    pub p50_ms: Option<f64>,
    /// The same.
    pub p99_ms: Option<f64>,
    /// The same, the slowest.
    pub max_ms: Option<f64>,
    /// Until a member had opened, verified and shown it, in ms. Rumormill only: elsewhere everyone reads.
    pub read_p50_ms: Option<f64>,
    /// The same.
    pub read_p99_ms: Option<f64>,
    /// How long after its time the last message was sent, in ms.
    pub late_ms: f64,
    /// From the last message sent to the last delivery, in ms.
    pub drain_ms: f64,
    /// What the process held at the end beyond what it held before the first node, per node, in MiB.
    pub rss_mib_per_node: f64,
}

/// Runs it.
///
/// # Errors
///
/// The system doesn't start, or the machine's meters can't be read.
pub fn run(options: &RunOptions) -> Result<Report> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if options.threads > 0 {
        runtime.worker_threads(options.threads);
    }
    let runtime = runtime.enable_all().build().map_err(|error| format!("no runtime: {error}"))?;
    let report = runtime.block_on(measure(options));
    // What the nodes would still do isn't waited for: the process ends.
    runtime.shutdown_background();
    report
}

async fn measure(options: &RunOptions) -> Result<Report> {
    let nodes = usize::from(options.nodes);
    let size = usize::from(options.size);
    let warm_up = nodes * WARM_UP_PER_NODE;
    let messages = warm_up + options.work.iter().map(|work| options.messages_of(*work)).sum::<usize>();
    let recorder = Arc::new(Recorder::new(nodes, messages));
    let base = meter::resident_bytes()?;
    let plan = Plan {
        graph: Graph::random(nodes, options.seed),
        size,
        recorder: Arc::clone(&recorder),
        count_duplicates: options.count_duplicates,
        rumor: options.rumor.clone(),
    };
    let network = options.system.start(plan).await?;
    let mut bench = Bench { nodes, base, idle_bytes_per_s: 0.0, recorder, network };

    tokio::time::sleep(Duration::from_secs_f64(options.settle / 2.0)).await;
    let before = meter::read()?;
    let half = Duration::from_secs_f64(options.settle / 2.0);
    tokio::time::sleep(half).await;
    let after = meter::read()?;
    if !half.is_zero() {
        bench.idle_bytes_per_s = (after.wire_bytes - before.wire_bytes) as f64 / half.as_secs_f64();
    }
    let rest_mib_per_node = bench.mib_per_node()?;

    let mut load = Load::new(Arc::clone(&bench.network), Arc::clone(&bench.recorder), nodes);
    let ready = load.closed(warm_up, warm_up, Duration::MAX).await;
    if ready.lost > 0 {
        eprintln!("peers: {} of {} deliveries were lost in the warm-up", ready.lost, warm_up * (nodes - 1));
    }
    // A node's first message derives its room's keys: what is late by that belongs to the warm-up, too.
    bench.reading(ready.messages as u64 * bench.network.readers()).await;
    let mut loads = Vec::new();
    for work in &options.work {
        loads.push(bench.load(options, *work, &mut load).await?);
    }
    let counts = bench.network.counts();
    Ok(Report {
        system: options.name(),
        nodes,
        size,
        message_bytes: counts.message_bytes,
        links: counts.links,
        isolated: isolate::inside(),
        base_mib: base as f64 / MIB,
        rest_mib_per_node,
        idle_bytes_per_s: bench.idle_bytes_per_s,
        loads,
    })
}

const MIB: f64 = 1_048_576.0;

struct Bench {
    nodes: usize,
    base: u64,
    idle_bytes_per_s: f64,
    recorder: Arc<Recorder>,
    network: Arc<dyn Network>,
}

impl Bench {
    fn mib_per_node(&self) -> Result<f64> {
        Ok(meter::resident_bytes()?.saturating_sub(self.base) as f64 / MIB / self.nodes as f64)
    }

    async fn load(&self, options: &RunOptions, work: Work, load: &mut Load) -> Result<Figures> {
        let messages = options.messages_of(work);
        let timing = work == Work::Open && messages * (self.nodes - 1) <= TIMED_DELIVERIES_MAX;
        self.recorder.set_timing(timing);
        let reads = self.recorder.reads();
        let counts = self.network.counts();
        let start = meter::read()?;
        let limit = Duration::from_secs_f64(options.closed_seconds);
        let done = match work {
            Work::Open => load.open(options.rate, Duration::from_secs_f64(options.seconds)).await,
            Work::Closed | Work::Long => load.closed(messages, options.window, limit).await,
        };
        let unread = self.reading(reads + done.messages as u64 * self.network.readers()).await;
        let end = meter::read()?;
        let now = self.network.counts();
        self.recorder.set_timing(false);
        self.figures(work, done, unread, (start, end), (counts, now))
    }

    /// Waits until the members have read so many messages; says how many are missing.
    async fn reading(&self, wanted: u64) -> u64 {
        let until = tokio::time::Instant::now() + Duration::from_secs(READING_MAX_S);
        while self.recorder.reads() < wanted && tokio::time::Instant::now() < until {
            tokio::time::sleep(READING_LOOK_EVERY).await;
        }
        wanted.saturating_sub(self.recorder.reads())
    }

    fn figures(
        &self,
        work: Work,
        done: Done,
        unread: u64,
        (start, end): (Reading, Reading),
        (before, after): (Counts, Counts),
    ) -> Result<Figures> {
        self.network.report_delays();
        let (mut delivered, mut read) = self.recorder.take_delays();
        delivered.sort_unstable();
        read.sort_unstable();
        let per_delivery = |what: f64| if done.deliveries > 0 { what / done.deliveries as f64 } else { f64::NAN };
        let seconds = done.time.as_secs_f64();
        let idle = self.idle_bytes_per_s * seconds;
        let duplicates = after.duplicates.zip(before.duplicates).map(|(after, before)| after.saturating_sub(before));
        Ok(Figures {
            work,
            messages: done.messages,
            deliveries: done.deliveries,
            lost: done.lost,
            refused: done.refused,
            repeated: self.recorder.repeated(done.first..done.first + done.messages, self.nodes as u64 - 1),
            repaired: after.repaired - before.repaired,
            pulled: after.pulled - before.pulled,
            put_off: after.put_off - before.put_off,
            unread,
            seconds,
            cpu_us_per_delivery: per_delivery((end.cpu - start.cpu).as_secs_f64() * 1e6),
            deliveries_per_s: done.deliveries as f64 / seconds,
            wire_bytes_per_delivery: per_delivery(((end.wire_bytes - start.wire_bytes) as f64 - idle).max(0.0)),
            wire_packets_per_delivery: per_delivery((end.wire_packets - start.wire_packets) as f64),
            duplicates_per_delivery: duplicates.map(|count| per_delivery(count as f64)),
            p50_ms: percentile_ms(&delivered, 0.50),
            p99_ms: percentile_ms(&delivered, 0.99),
            max_ms: percentile_ms(&delivered, 1.0),
            read_p50_ms: percentile_ms(&read, 0.50),
            read_p99_ms: percentile_ms(&read, 0.99),
            late_ms: done.late.as_secs_f64() * 1e3,
            drain_ms: done.drain.as_secs_f64() * 1e3,
            rss_mib_per_node: self.mib_per_node()?,
        })
    }
}

/// The delay below which that part of all delays lies, in ms. The delays are in ns, sorted.
fn percentile_ms(sorted: &[u64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = (part * sorted.len() as f64).ceil() as usize;
    Some(sorted[at.saturating_sub(1).min(last)] as f64 / 1e6)
}

impl RunOptions {
    fn messages_of(&self, work: Work) -> usize {
        match work {
            Work::Open => open_messages(self.rate, Duration::from_secs_f64(self.seconds)),
            Work::Closed => self.messages,
            Work::Long => self.long_messages,
        }
    }

    fn name(&self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self.system);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let delays: Vec<u64> = (1..=100).map(|ms| ms * 1_000_000).collect();
        assert_eq!(percentile_ms(&delays, 0.50), Some(50.0));
        assert_eq!(percentile_ms(&delays, 0.99), Some(99.0));
        assert_eq!(percentile_ms(&delays, 1.0), Some(100.0));
        assert_eq!(percentile_ms(&delays[..1], 0.50), Some(1.0));
        assert_eq!(percentile_ms(&[], 0.50), None);
    }
}
