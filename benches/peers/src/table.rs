//! The table and the ratios out of the notes.

use std::fmt::Write as _;
use std::path::Path;

use crate::Result;
use crate::compare::{Found, Note, ROWS};
use crate::run::{Figures, Report, Work};

/// The lines between which the table stands in the file of results.
pub const BEGIN: &str = "<!-- bench-peers: begin. Written by cargo xtask bench-peers. -->";
/// The other one.
pub const END: &str = "<!-- bench-peers: end -->";

/// At which number of nodes and size the ratios are.
const RATIO_AT: (u16, u16) = (16, 256);

/// Whom the ratios divide by, and who is divided.
const OURS: &str = "rumor";
const PEERS: [&str; 4] = ["gossipsub-signed", "gossipsub-unsigned", "iroh-default", "iroh-best"];

/// The medians.
pub struct Table {
    lines: Vec<Line>,
}

struct Line {
    row: &'static str,
    what: &'static str,
    nodes: u16,
    size: u16,
    reports: Vec<Report>,
    duplicates: Option<f64>,
    rate: Option<u64>,
    failed: usize,
}

impl Line {
    /// The median over the rounds of a load's figure.
    fn median(&self, work: Work, figure: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        median(self.loads(work).filter_map(figure).collect())
    }

    fn loads(&self, work: Work) -> impl Iterator<Item = &Figures> {
        self.reports.iter().flat_map(move |report| report.loads.iter().filter(move |load| load.work == work))
    }

    fn of_report(&self, figure: impl Fn(&Report) -> f64) -> Option<f64> {
        median(self.reports.iter().map(figure).collect())
    }

    fn lost(&self) -> u64 {
        self.reports.iter().flat_map(|report| &report.loads).map(|load| load.lost).sum()
    }

    /// Median, least and greatest.
    fn spread(&self, work: Work, figure: impl Fn(&Figures) -> f64) -> String {
        let mut all: Vec<f64> = self.loads(work).map(figure).collect();
        all.sort_by(f64::total_cmp);
        match (median(all.clone()), all.first(), all.last()) {
            (Some(median), Some(least), Some(greatest)) if all.len() > 2 => {
                format!("{} ({}–{})", number(median), number(*least), number(*greatest))
            }
            (median, ..) => shown(median),
        }
    }
}

/// The middle one, or the mean of the two in the middle. `None` of nothing.
fn median(mut all: Vec<f64>) -> Option<f64> {
    all.retain(|value| value.is_finite());
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() {
        0 => None,
        n if n % 2 == 1 => Some(all[middle]),
        _ => Some(f64::midpoint(all[middle - 1], all[middle])),
    }
}

/// Three digits that count, thousands separated.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        size if size < 1_000.0 => format!("{value:.0}"),
        _ => {
            let digits = format!("{value:.0}");
            let mut out = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}

impl Table {
    /// Of these notes.
    #[must_use]
    pub fn of(notes: &[Note]) -> Self {
        let mut places: Vec<(u16, u16)> = notes.iter().map(|note| (note.size, note.nodes)).collect();
        places.sort_unstable();
        places.dedup();
        let mut lines = Vec::new();
        for (size, nodes) in places {
            for row in ROWS {
                let mut line = Line {
                    row: row.name,
                    what: row.what,
                    nodes,
                    size,
                    reports: Vec::new(),
                    duplicates: None,
                    rate: None,
                    failed: 0,
                };
                for note in notes.iter().filter(|note| (note.nodes, note.size, &*note.row) == (nodes, size, row.name)) {
                    match &note.found {
                        Found::Round(report) => line.reports.push((**report).clone()),
                        Found::Duplicates(report) => {
                            line.duplicates = report.loads.first().and_then(|load| load.duplicates_per_delivery);
                        }
                        Found::Rate(rate) => line.rate = Some(*rate),
                        Found::Failed(_) => line.failed += 1,
                    }
                }
                if !line.reports.is_empty() || line.failed > 0 {
                    lines.push(line);
                }
            }
        }
        Self { lines }
    }

    /// The table, and what it says.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let rounds = self.lines.iter().map(|line| line.reports.len());
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let isolated = self.lines.iter().flat_map(|line| &line.reports).all(|report| report.isolated);
        let _ = writeln!(
            out,
            "Medians of {} to {} rounds, systems interleaved, each run a fresh process on {processors} processors{}.\n",
            rounds.clone().min().unwrap_or(0),
            rounds.max().unwrap_or(0),
            if isolated {
                ", in a network namespace of its own"
            } else {
                "; **not isolated: wire bytes may be others'**"
            },
        );
        out.push_str(
            "| system | nodes | text, B | relayed as, B | CPU µs per delivery | deliveries/s | wire bytes per delivery | \
             duplicates | p50 / p99 ms at 20 msg/s | CPU µs, deliveries/s in a long run | highest rate without loss, msg/s | \
             MiB per node: rest, load | lost |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for line in &self.lines {
            let cpu = |load: &Figures| load.cpu_us_per_delivery;
            let rate = |load: &Figures| load.deliveries_per_s;
            let duplicates = line.duplicates.or_else(|| line.median(Work::Closed, |load| load.duplicates_per_delivery));
            let cells = [
                format!("{}: {}", line.row, line.what),
                line.nodes.to_string(),
                line.size.to_string(),
                shown(line.of_report(|report| report.message_bytes as f64)),
                line.spread(Work::Closed, cpu),
                line.spread(Work::Closed, rate),
                shown(line.median(Work::Closed, |load| Some(load.wire_bytes_per_delivery))),
                shown(duplicates),
                format!(
                    "{} / {}",
                    shown(line.median(Work::Open, |load| load.p50_ms)),
                    shown(line.median(Work::Open, |load| load.p99_ms))
                ),
                format!("{}; {}", line.spread(Work::Long, cpu), line.spread(Work::Long, rate)),
                shown(line.rate.map(|rate| rate as f64)),
                format!(
                    "{}, {}",
                    shown(line.of_report(|report| report.rest_mib_per_node)),
                    shown(line.median(Work::Closed, |load| Some(load.rss_mib_per_node)))
                ),
                match line.failed {
                    0 => line.lost().to_string(),
                    failed => format!("{}; {failed} runs failed", line.lost()),
                },
            ];
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        out
    }

    /// The peers' figures divided by Rumormill's, one line per figure. Of a rate, less than 1 is better for Rumormill.
    #[must_use]
    pub fn ratios(&self) -> String {
        type Figure = fn(&Figures) -> Option<f64>;
        let figures: [(&str, Work, Figure); 4] = [
            ("cpu", Work::Closed, |load| Some(load.cpu_us_per_delivery)),
            ("rate", Work::Closed, |load| Some(load.deliveries_per_s)),
            ("bytes", Work::Closed, |load| Some(load.wire_bytes_per_delivery)),
            ("p99", Work::Open, |load| load.p99_ms),
        ];
        let mut out = String::new();
        for (name, work, figure) in figures {
            let of = |row: &str| {
                let here = |line: &&Line| (line.nodes, line.size) == RATIO_AT && line.row == row;
                self.lines.iter().find(here)?.median(work, figure)
            };
            let ours = of(OURS);
            let ratio = |peer| Some(of(peer)? / ours?);
            let ratios = PEERS.map(|peer| {
                let ratio = ratio(peer).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
                format!("{peer}/{OURS}={ratio}")
            });
            let _ = writeln!(out, "ratio {name} {}", ratios.join(" "));
        }
        out
    }

    /// Puts the table and the ratios between the marker lines of the file.
    ///
    /// # Errors
    ///
    /// The file can't be read or written, or doesn't have the marker lines.
    pub fn write(&self, results: &Path) -> Result<()> {
        let wrong = |error: std::io::Error| format!("{}: {error}", results.display());
        let text = std::fs::read_to_string(results).map_err(wrong)?;
        let table = format!("\n{}\n```text\n{}```\n\n", self.markdown(), self.ratios());
        let text = replaced(&text, &table)
            .ok_or_else(|| format!("{} lacks the lines {BEGIN:?} and {END:?}", results.display()))?;
        std::fs::write(results, text).map_err(wrong)
    }
}

/// The text with `new` between the marker lines.
fn replaced(text: &str, new: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{new}{END}{after}"))
}

/// One run, in a line for who waits.
#[must_use]
pub fn progress(row: &str, report: &Report) -> String {
    let mut out = format!("{row:<20} N={:<3} {:>4} B", report.nodes, report.size);
    for load in &report.loads {
        let work = match load.work {
            Work::Open => "open",
            Work::Closed => "closed",
            Work::Long => "long",
        };
        let _ = match load.work {
            Work::Open => write!(out, "  {work}: {} / {} ms", shown(load.p50_ms), shown(load.p99_ms)),
            Work::Closed | Work::Long => write!(
                out,
                "  {work}: {} µs, {}/s, {} B",
                number(load.cpu_us_per_delivery),
                number(load.deliveries_per_s),
                number(load.wire_bytes_per_delivery)
            ),
        };
        if load.lost > 0 {
            let _ = write!(out, ", {} LOST", load.lost);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(work: Work, cpu: f64) -> Figures {
        Figures {
            work,
            messages: 10,
            deliveries: 150,
            lost: 0,
            refused: 0,
            repeated: 0,
            repaired: 0,
            pulled: 0,
            put_off: 0,
            unread: 0,
            seconds: 1.0,
            cpu_us_per_delivery: cpu,
            deliveries_per_s: 1e6 / cpu,
            wire_bytes_per_delivery: cpu,
            wire_packets_per_delivery: 1.0,
            duplicates_per_delivery: None,
            p50_ms: Some(cpu / 10.0),
            p99_ms: Some(cpu),
            max_ms: None,
            read_p50_ms: None,
            read_p99_ms: None,
            late_ms: 0.0,
            drain_ms: 0.0,
            rss_mib_per_node: 1.0,
        }
    }

    fn note(row: &str, cpu: f64) -> Note {
        let report = Report {
            system: row.to_owned(),
            nodes: 16,
            size: 256,
            message_bytes: 512,
            links: 96,
            isolated: true,
            base_mib: 1.0,
            rest_mib_per_node: 1.0,
            idle_bytes_per_s: 0.0,
            loads: vec![figures(Work::Open, cpu), figures(Work::Closed, cpu)],
        };
        Note { row: row.to_owned(), nodes: 16, size: 256, found: Found::Round(Box::new(report)) }
    }

    #[test]
    fn ratios_are_of_medians() {
        let mut notes: Vec<_> = [4.0, 5.0, 100.0].map(|cpu| note("rumor", cpu)).into();
        notes.extend([50.0, 50.0].map(|cpu| note("iroh-best", cpu)));
        let ratios = Table::of(&notes).ratios();
        let first = ratios.lines().next().unwrap();
        assert_eq!(
            first,
            "ratio cpu gossipsub-signed/rumor=- gossipsub-unsigned/rumor=- iroh-default/rumor=- iroh-best/rumor=10.000"
        );
        assert!(ratios.lines().nth(1).unwrap().ends_with("iroh-best/rumor=0.100"), "{ratios}");
        assert_eq!(ratios.lines().count(), 4);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![1.0, 2.0]), Some(1.5));
        assert_eq!(median(vec![f64::NAN, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let all = [0.0, 0.125, 5.678, 56.78, 567.8, 5_678.9, 1_234_567.0].map(number);
        assert_eq!(all, ["0", "0.12", "5.68", "56.8", "568", "5,679", "1,234,567"]);
    }

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        assert_eq!(replaced(&text, "new\n").unwrap(), format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(replaced("no markers", "new"), None);
    }
}
