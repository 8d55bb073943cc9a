//! All systems side by side: fresh processes, interleaved over rounds, so that what the machine does meanwhile meets
//! all of them alike. Every run is one line of JSON in a file, from which [`crate::table`] makes the table.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::run::{Report, Work};
use crate::{Result, table};

/// A run that takes longer hangs, in seconds.
const RUN_MAX_S: u64 = 120;

/// How often it is looked whether a run has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The first rate that is tried, in messages a second.
const RATE_FIRST: u64 = 250;

/// The highest rate that is tried.
const RATE_MAX: u64 = 256_000;

/// How often the span between a rate that was carried and one that wasn't is halved.
const RATE_HALVINGS: u32 = 3;

/// A rate is carried if nothing was lost, the last message was sent at most so late, in ms.
const LATE_MAX_MS: f64 = 100.0;

/// And the last delivery came at most so long after it, in ms.
const DRAIN_MAX_MS: f64 = 1_000.0;

/// The number of nodes, and the size, at which every row is measured; elsewhere only one row a system is.
const MAIN_NODES: u16 = 16;
const MAIN_SIZE: u16 = 256;

/// A text that fits into the smallest envelope, of 512 bytes, with all that a message of these rooms carries, in bytes.
const TEXT_OF_SMALLEST: u16 = 160;

/// One row of the comparison.
#[derive(Debug)]
pub struct Row {
    /// Its name in the table and the ratios.
    pub name: &'static str,
    /// What it is, in words.
    pub what: &'static str,
    /// The arguments of `peers run`.
    pub arguments: &'static [&'static str],
    /// The text's length, where it isn't the comparison's, in bytes.
    text: Option<u16>,
    /// Whether it is measured at every size and number of nodes.
    everywhere: bool,
    /// Whether its duplicates are counted only on request, in a run of their own.
    counts_on_request: bool,
}

const fn row(name: &'static str, what: &'static str, arguments: &'static [&'static str]) -> Row {
    Row { name, what, arguments, text: None, everywhere: false, counts_on_request: false }
}

/// The rows, in the table's order. The first is what the ratios divide by.
pub const ROWS: &[Row] = &[
    Row {
        everywhere: true,
        ..row("rumor", "Rumormill as it comes: memory history, rooms of two", &["--system", "rumor"])
    },
    Row {
        text: Some(TEXT_OF_SMALLEST),
        ..row("rumor-512", "a text of 160 bytes: envelopes of 512", &["--system", "rumor"])
    },
    row("rumor-eager-1", "adaptive, eager = 1", &["--system", "rumor", "--mode", "adaptive", "--eager", "1"]),
    row("rumor-eager-2", "adaptive, eager = 2", &["--system", "rumor", "--mode", "adaptive", "--eager", "2"]),
    row("rumor-flood", "flooding", &["--system", "rumor", "--mode", "flood"]),
    row("rumor-redb", "redb history: a delivery is on disk", &["--system", "rumor", "--history", "redb"]),
    row("rumor-one-room", "every node reads and verifies everything", &["--system", "rumor", "--rooms", "one"]),
    Row {
        everywhere: true,
        counts_on_request: true,
        ..row("gossipsub-signed", "strict validation", &["--system", "gossipsub-signed"])
    },
    Row {
        everywhere: true,
        counts_on_request: true,
        ..row("gossipsub-unsigned", "anonymous", &["--system", "gossipsub-unsigned"])
    },
    Row { everywhere: true, ..row("iroh-default", "active view 5", &["--system", "iroh-default"]) },
    Row { everywhere: true, ..row("iroh-best", "active view 10", &["--system", "iroh-best"]) },
];

/// What to compare.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareOptions {
    /// 16 nodes, 256 bytes, 2 rounds of short loads: under 3 minutes. Writes nothing but what it prints.
    #[arg(long)]
    pub quick: bool,
    /// How many rounds. Default: 5.
    #[arg(long)]
    pub rounds: Option<u32>,
    /// Numbers of nodes.
    #[arg(long, value_delimiter = ',', default_values_t = [8, 16, 32])]
    pub nodes: Vec<u16>,
    /// Sizes, in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [256, 1_024])]
    pub sizes: Vec<u16>,
    /// Only these rows.
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Don't look for the highest rates.
    #[arg(long)]
    pub no_rates: bool,
    /// Where every run is noted, one line of JSON each.
    #[arg(long, default_value = "target/peers.jsonl")]
    pub notes: PathBuf,
    /// Add to the notes of earlier calls, and make the table of all. Else they are replaced.
    #[arg(long)]
    pub add: bool,
    /// The file whose part between the marker lines becomes the table.
    #[arg(long)]
    pub results: Option<PathBuf>,
}

/// One line of the notes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    /// The row.
    pub row: String,
    /// How many nodes.
    pub nodes: u16,
    /// The text's length, in bytes.
    pub size: u16,
    /// What was found.
    pub found: Found,
}

/// What a run was for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// A round.
    Round(Box<Report>),
    /// A run in which duplicates were counted.
    Duplicates(Box<Report>),
    /// The highest rate that was carried, in messages a second; 0 if none was.
    Rate(u64),
    /// The run failed.
    Failed(String),
}

/// Measures, notes, and prints the table and the ratios.
///
/// # Errors
///
/// A file can't be written or read, or a row's runs failed.
pub fn compare(options: &CompareOptions) -> Result<()> {
    if let Some(unknown) = options.rows.iter().find(|name| !ROWS.iter().any(|row| row.name == name.as_str())) {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        return Err(format!("there is no row '{unknown}'; valid are: {}", names.join(", ")));
    }
    let mut notes = Notes::open(options)?;
    let (nodes, sizes) = match options.quick {
        true => (vec![MAIN_NODES], vec![MAIN_SIZE]),
        false => (options.nodes.clone(), options.sizes.clone()),
    };
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 5 });
    let wanted = |row: &&Row| options.rows.is_empty() || options.rows.iter().any(|name| name == row.name);
    for size in sizes {
        for &nodes in &nodes {
            let main = (nodes, size) == (MAIN_NODES, MAIN_SIZE);
            let rows: Vec<&Row> = ROWS.iter().filter(wanted).filter(|row| main || row.everywhere).collect();
            let mut session = Session { nodes, size, quick: options.quick, notes: &mut notes };
            for round in 0..rounds {
                // Whoever runs first in one round runs last in the next.
                for at in 0..rows.len() {
                    session.round(rows[(at + round as usize) % rows.len()])?;
                }
            }
            for row in rows.iter().filter(|row| row.counts_on_request && !options.quick) {
                session.duplicates(row)?;
            }
            if main && !options.no_rates && !options.quick {
                for row in &rows {
                    session.highest_rate(row)?;
                }
            }
        }
    }
    let table = table::Table::of(&notes.all);
    println!("{}", table.markdown());
    if let Some(results) = &options.results {
        table.write(results)?;
        println!("The table is in {}.\n", results.display());
    }
    print!("{}", table.ratios());
    let failed = notes.all.iter().filter(|note| matches!(note.found, Found::Failed(_))).count();
    if failed > 0 { Err(format!("{failed} of {} runs failed", notes.all.len())) } else { Ok(()) }
}

/// The notes of this and earlier calls.
struct Notes {
    all: Vec<Note>,
    file: Option<File>,
}

impl Notes {
    fn open(options: &CompareOptions) -> Result<Self> {
        if options.quick {
            return Ok(Self { all: Vec::new(), file: None });
        }
        let path = &options.notes;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("{} can't be made: {error}", folder.display()))?;
        }
        let all = if options.add && path.exists() { read_notes(path)? } else { Vec::new() };
        let mut open = OpenOptions::new();
        let open = if options.add { open.append(true) } else { open.write(true).truncate(true) };
        let file = open.create(true).open(path);
        let file = file.map_err(|error| format!("{} can't be written: {error}", path.display()))?;
        Ok(Self { all, file: Some(file) })
    }

    fn add(&mut self, note: Note) -> Result<()> {
        if let Some(file) = &mut self.file {
            let line = serde_json::to_string(&note).map_err(|error| error.to_string())?;
            writeln!(file, "{line}").map_err(|error| format!("the notes can't be written: {error}"))?;
        }
        self.all.push(note);
        Ok(())
    }
}

/// Reads notes.
///
/// # Errors
///
/// The file can't be read, or a line isn't a note.
pub fn read_notes(path: &Path) -> Result<Vec<Note>> {
    let file = File::open(path).map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    let mut notes = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| format!("{} can't be read: {error}", path.display()))?;
        let note = serde_json::from_str(&line);
        notes.push(note.map_err(|error| format!("{}, line {}: {error}", path.display(), number + 1))?);
    }
    Ok(notes)
}

/// The runs of one size and number of nodes.
struct Session<'a> {
    nodes: u16,
    size: u16,
    quick: bool,
    notes: &'a mut Notes,
}

impl Session<'_> {
    fn note(&mut self, row: &Row, found: Found) -> Result<()> {
        if let Found::Failed(reason) = &found {
            eprintln!("peers: {} failed: {reason}", row.name);
        }
        self.notes.add(Note { row: row.name.to_owned(), nodes: self.nodes, size: self.size, found })
    }

    fn round(&mut self, row: &Row) -> Result<()> {
        let loads: &[&str] = match self.quick {
            true => &["--settle", "1", "--work", "open,closed", "--seconds", "2.5", "--closed-seconds", "2.5"],
            false => &["--work", "open,closed,long", "--seconds", "5", "--closed-seconds", "5"],
        };
        let report = self.run(row, loads);
        if let Ok(report) = &report {
            eprintln!("{}", table::progress(row.name, report));
        }
        let found = report.map_or_else(Found::Failed, |report| Found::Round(Box::new(report)));
        self.note(row, found)
    }

    fn duplicates(&mut self, row: &Row) -> Result<()> {
        let loads = ["--work", "closed", "--messages", "1000", "--closed-seconds", "2.5", "--count-duplicates"];
        let found = self.run(row, &loads).map_or_else(Found::Failed, |report| Found::Duplicates(Box::new(report)));
        self.note(row, found)
    }

    /// Doubles the rate until it isn't carried, then halves the span.
    fn highest_rate(&mut self, row: &Row) -> Result<()> {
        let (mut carried, mut refused) = (0, None);
        let mut rate = RATE_FIRST;
        while refused.is_none() && rate <= RATE_MAX {
            match self.carries(row, rate) {
                Ok(true) => (carried, rate) = (rate, rate * 2),
                Ok(false) => refused = Some(rate),
                Err(reason) => return self.note(row, Found::Failed(reason)),
            }
        }
        if let Some(mut refused) = refused {
            for _ in 0..RATE_HALVINGS {
                let middle = carried.midpoint(refused);
                match self.carries(row, middle) {
                    Ok(true) => carried = middle,
                    Ok(false) => refused = middle,
                    Err(reason) => return self.note(row, Found::Failed(reason)),
                }
            }
        }
        eprintln!("{:<20} carries {carried} messages a second", row.name);
        self.note(row, Found::Rate(carried))
    }

    fn carries(&self, row: &Row, rate: u64) -> Result<bool> {
        let rate = rate.to_string();
        let report = self.run(row, &["--settle", "1", "--work", "open", "--seconds", "2", "--rate", &rate])?;
        let load = report.loads.iter().find(|load| load.work == Work::Open).ok_or("the run has no open loop")?;
        let carried = load.lost == 0 && load.late_ms <= LATE_MAX_MS && load.drain_ms <= DRAIN_MAX_MS;
        eprintln!(
            "{:<20} {rate} messages/s: lost {}, late {:.0} ms, drained after {:.0} ms",
            row.name, load.lost, load.late_ms, load.drain_ms
        );
        Ok(carried)
    }

    /// One run, in a process of its own.
    fn run(&self, row: &Row, loads: &[&str]) -> Result<Report> {
        let program = std::env::current_exe().map_err(|error| format!("this program isn't found: {error}"))?;
        let mut command = Command::new(program);
        command.arg("run").args(row.arguments).args(loads);
        let size = row.text.unwrap_or(self.size);
        command.args(["--nodes", &self.nodes.to_string(), "--size", &size.to_string()]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the run can't be started: {error}"))?;
        let until = Instant::now() + Duration::from_secs(RUN_MAX_S);
        let status = loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                // The run's one line fits into a pipe, so that it never waits for it to be read.
                None if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
                None => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("no end after {RUN_MAX_S} s"));
                }
            }
        };
        let mut line = String::new();
        if let Some(mut out) = child.stdout.take() {
            out.read_to_string(&mut line).map_err(|error| error.to_string())?;
        }
        if !status.success() {
            return Err(status.to_string());
        }
        serde_json::from_str(&line).map_err(|error| format!("the run printed no report: {error}"))
    }
}
