//! Reconciliation of a million envelopes: how many bytes two nodes exchange to find out what either lacks, how long it takes, and
//! what it costs in memory. Two engines speak with each other over nothing but their messages; the ids of both lie in one redb
//! store, less what the one is to lack.
//!
//! It prints a table and fails when a figure is past its target: `cargo bench --bench recon`. With `RECON_IDS=n` there are n.
#![allow(clippy::print_stdout, reason = "a benchmark says what it measured")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::needless_range_loop, reason = "the two sides are told apart by their places in several arrays")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use rumormill::api::{
    Dedup, DedupConfig, Direction, Entry, Error, ExpiryHour, ExpiryRange, History, HistoryConfig, LinkId, LinkInfo,
    Millis, MsgId, PeerAddr, Shelf,
};
use rumormill::proto::sim::envelope;
use rumormill::proto::wire::{self, ENVELOPE_LIFE_HOURS, HOUR_MS, Hello, LINK_VERSION, Message, TreeKey};
use rumormill::proto::{
    Engine, EngineConfig, EngineEvent, Input, Now, Output, Scope, Source, Timer, Tree, previous_key,
};

/// Envelopes on either side, if the environment doesn't say.
const IDS: u64 = 1_000_000;
/// 2026-01-15 12:00 UTC, in milliseconds since the Unix epoch.
const UNIX_MS: u64 = 1_768_478_400_000;
/// Hours that the envelopes are spread over.
const HOURS: u64 = ENVELOPE_LIFE_HOURS as u64;
/// The link between the two.
const LINK: LinkId = LinkId(1);
/// Bytes of an envelope that is missing; the others' aren't looked at, and are short.
const ENVELOPE_BYTES: usize = 512;
/// Envelopes that somebody gets who has none.
const RESTORED: u64 = 20_000;
/// Envelopes a commit.
const BATCH: u64 = 10_000;

fn main() -> ExitCode {
    // `cargo test --benches` runs it, too; then a small number will do.
    let testing = !std::env::args().any(|arg| arg == "--bench");
    let given = std::env::var("RECON_IDS").ok().and_then(|ids| ids.parse().ok());
    let ids = given.unwrap_or(if testing { 20_000 } else { IDS });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = HistoryConfig { folder: folder.path().to_owned(), ..HistoryConfig::default() };
    let mut history = rumormill::plugins::compiled_in().history("redb", config).expect("redb is compiled in");
    let first = hour() + 1;
    let began = Instant::now();
    for batch in 0..ids / BATCH.min(ids) {
        let entries: Vec<_> = (batch * BATCH..(batch + 1) * BATCH)
            .map(|number| {
                let envelope = Bytes::copy_from_slice(&number.to_be_bytes());
                let expiry = first + u32::try_from(number * HOURS / ids).expect("hours fit");
                Entry::Window { id: MsgId::of(&envelope), expiry, source: 1, envelope }
            })
            .collect();
        history.append(&entries).expect("the disk takes it");
    }
    println!("{ids} ids over {HOURS} hours in redb, written in {:.1?}", began.elapsed());

    let before = memory("VmRSS");
    peak_from_now();
    let began = Instant::now();
    let mut trees = [Tree::default(), Tree::default()];
    let build = time_root(&mut trees[0], &*history);
    let (resident, peak) = (memory("VmRSS").saturating_sub(before), memory("VmHWM").saturating_sub(before));
    time_root(&mut trees[1], &*history);
    println!(
        "digests of all, from nothing: {build:.0?} a side ({:.0?} both); {resident} KiB kept, {peak} KiB at most",
        began.elapsed()
    );
    // What redb caches of its pages is its own, 24 MiB at most, and in that figure.
    target("building the session, ms", build.as_secs_f64() * 1e3, 1e3);
    target("memory for building it, KiB", peak as f64, 100.0 * 1024.0);
    println!();
    println!("| what one side lacks | bytes beyond the envelopes | messages | time, both sides |");
    println!("|---|---|---|---|");
    let newest = first + u32::try_from(HOURS).expect("hours fit") - 1;
    let cases: [(&str, u64, bool, f64); 4] = [
        ("nothing", 0, true, 100.0),
        ("1", 1, false, 4_096.0),
        ("1,000 of the newest", 1_000, true, 45_000.0),
        ("1,000 scattered", 1_000, false, 1e6),
    ];
    for (what, missing, recent, most) in cases {
        for (way, initiator_lacks) in [("the initiator", true), ("the responder", false)] {
            if missing == 0 && !initiator_lacks {
                continue;
            }
            let extra: BTreeMap<TreeKey, Bytes> = (0..missing)
                .map(|number| {
                    let hour = if recent {
                        newest
                    } else {
                        first + u32::try_from(number * HOURS / missing).expect("hours fit")
                    };
                    let envelope = envelope(hour, 1, number, ENVELOPE_BYTES);
                    ((hour, envelope.id()), envelope.into_bytes())
                })
                .collect();
            let mut best: Option<(usize, usize, Duration)> = None;
            for _ in 0..5 {
                let run = reconcile(&*history, &mut trees, &extra, initiator_lacks);
                best = Some(best.map_or(run, |best| if run.2 < best.2 { run } else { best }));
            }
            let (bytes, messages, time) = best.expect("five runs");
            let whose = if missing == 0 { String::new() } else { format!(", {way}") };
            println!("| {what}{whose} | {bytes} | {messages} | {:.1} ms |", time.as_secs_f64() * 1e3);
            target(what, bytes as f64, most);
            if missing == 0 {
                target("nothing, ms", time.as_secs_f64() * 1e3, 50.0);
            }
        }
    }
    println!();
    restore();
    let idle = std::mem::size_of::<(LinkId, u64)>() * 4;
    println!("an idle link has no session: some {idle} bytes of when it was last compared with, and of its rates");
    if MISSED.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Somebody who has nothing gets everything: what it costs beyond the envelopes.
fn restore() {
    let registry = rumormill::plugins::compiled_in();
    let empty = registry.history("memory", HistoryConfig::default()).expect("the memory store is compiled in");
    let first = hour() + 1;
    let extra: BTreeMap<TreeKey, Bytes> = (0..RESTORED)
        .map(|number| {
            let envelope = envelope(
                first + u32::try_from(number * HOURS / RESTORED).expect("hours fit"),
                1,
                number,
                ENVELOPE_BYTES,
            );
            ((envelope.expiry(), envelope.id()), envelope.into_bytes())
        })
        .collect();
    let (bytes, messages, _) = reconcile(&*empty, &mut [Tree::default(), Tree::default()], &extra, true);
    let all = (RESTORED * ENVELOPE_BYTES as u64 + bytes as u64) as f64 / (RESTORED * ENVELOPE_BYTES as u64) as f64;
    println!("{RESTORED} envelopes to somebody who has none: {messages} messages, {all:.4} times the envelopes' bytes");
    target("restoring, times the envelopes", all, 1.1);
}

/// Set by [`target`].
static MISSED: AtomicBool = AtomicBool::new(false);

/// Says so when a figure is past its target, and has the benchmark fail at its end, so that nobody has to compare them.
fn target(what: &str, figure: f64, most: f64) {
    if figure > most {
        println!("MISSED: {what}: {figure:.1}, and at most {most:.1} is the target");
        MISSED.store(true, Ordering::Relaxed);
    }
}

fn hour() -> ExpiryHour {
    u32::try_from(UNIX_MS / HOUR_MS).expect("hours fit")
}

fn time_root(tree: &mut Tree, history: &dyn History) -> Duration {
    use rumormill::proto::{Look, Question};
    let look = Look { shelf: Shelf::Window, range: ExpiryRange::ALL, key: [1; 32], question: Question::Root };
    let began = Instant::now();
    tree.answer(&look, &mut Side::new(history, &BTreeMap::new(), &HashMap::new())).expect("the disk gives it");
    began.elapsed()
}

/// One side's shelf: the store, and what it has besides.
struct Side<'a> {
    history: &'a dyn History,
    extra: &'a BTreeMap<TreeKey, Bytes>,
    by_id: &'a HashMap<MsgId, Bytes>,
}

impl<'a> Side<'a> {
    fn new(history: &'a dyn History, extra: &'a BTreeMap<TreeKey, Bytes>, by_id: &'a HashMap<MsgId, Bytes>) -> Self {
        Self { history, extra, by_id }
    }
}

impl Side<'_> {
    /// By parts, the first ones small, as the node reads its store.
    fn stored(&self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Error> {
        let range = ExpiryRange { from: from.0, to: to.0 };
        let (mut ids, mut after, mut part) = (Vec::new(), previous_key(from), 64);
        while ids.len() < limit {
            let wanted = limit.min(part);
            let read = self.history.ids_after(Shelf::Window, range, after, wanted)?;
            let within = read.iter().take_while(|key| **key <= to).count();
            ids.extend_from_slice(&read[..within]);
            if within < wanted {
                break;
            }
            after = read.last().copied();
            part = (part * 2).min(8_192);
        }
        ids.truncate(limit);
        Ok(ids)
    }
}

impl Source for Side<'_> {
    type Error = Error;

    fn ids(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Error> {
        let mut ids = self.stored(from, to, limit)?;
        let stored = ids.len();
        ids.extend(self.extra.range(from..=to).map(|(key, _)| *key));
        if ids.len() > stored {
            ids.sort_unstable();
        }
        ids.truncate(limit);
        Ok(ids)
    }

    fn gone(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Error> {
        self.history.tombstones_between(from, to, limit)
    }

    fn envelope(&mut self, id: &MsgId) -> Option<Bytes> {
        self.by_id.get(id).cloned()
    }
}

/// Bytes and messages that go to and fro beyond the envelopes, and the time until the session is over.
fn reconcile(
    history: &dyn History,
    trees: &mut [Tree; 2],
    extra: &BTreeMap<TreeKey, Bytes>,
    initiator_lacks: bool,
) -> (usize, usize, Duration) {
    let (first, second) = (engine(0), engine(1));
    let (mut engines, mut timers) = ([first.0, second.0], [first.1, second.1]);
    let mut extras = [BTreeMap::new(), BTreeMap::new()];
    extras[usize::from(initiator_lacks)] = extra.clone();
    let by_id: HashMap<MsgId, Bytes> = extra.iter().map(|((_, id), envelope)| (*id, envelope.clone())).collect();
    for (tree, extra) in trees.iter_mut().zip(&extras) {
        extra.keys().for_each(|key| tree.touch(*key));
        // A node keeps its digests fresh as it compares each minute: what is new by then isn't part of this.
        time_root_of(tree, &mut Side::new(history, extra, &by_id));
    }
    let mut now = Now { mono: 1_000, unix: UNIX_MS };
    let began = Instant::now();
    engines[0].handle(Input::Sync { token: 1, scope: Scope::Window(ExpiryRange::ALL), link: Some(LINK) }, now);
    let (mut bytes, mut messages, mut got, mut ended) = (0, 0, BTreeSet::new(), false);
    while !ended {
        let mut moved = false;
        for at in 0..2 {
            let outputs: Vec<_> = engines[at].outputs().collect();
            moved |= !outputs.is_empty();
            for output in outputs {
                match output {
                    Output::Send(_, frame) => {
                        bytes += frame.len();
                        messages += 1;
                        engines[1 - at].handle(Input::Batch(LINK, frame), now);
                    }
                    Output::Look(session, look) => {
                        let mut side = Side::new(history, &extras[at], &by_id);
                        let finding = trees[at].answer(&look, &mut side).expect("the disk gives it");
                        engines[at].handle(Input::Found(session, finding), now);
                    }
                    Output::Fetch(session, _, ids) => {
                        let mut side = Side::new(history, &extras[at], &by_id);
                        let found = ids.iter().filter_map(|id| side.envelope(id)).collect();
                        engines[at].handle(Input::Fetched(session, found), now);
                    }
                    Output::Accept(accepted) => {
                        bytes -= accepted.envelope.bytes().len();
                        got.insert(*accepted.envelope.id());
                    }
                    Output::SetTimer(timer, due) => drop(timers[at].insert(due, timer)),
                    Output::Event(EngineEvent::SyncEnded { answered, .. }) => {
                        assert_eq!(answered, 1, "the other side answers");
                        ended = true;
                    }
                    _ => {}
                }
            }
        }
        if !moved && !ended {
            // A link is served at a rate: what waits for it waits in virtual time, which isn't measured.
            let (at, due) = (0..2)
                .filter_map(|at| timers[at].first_key_value().map(|(due, _)| (at, *due)))
                .min_by_key(|(_, due)| *due)
                .expect("somebody waits for what doesn't come");
            let timer = timers[at].remove(&due).expect("it was there");
            now.mono = due.max(now.mono);
            engines[at].handle(Input::Timer(timer), now);
        }
    }
    let time = began.elapsed();
    assert_eq!(got, extra.keys().map(|(_, id)| *id).collect(), "all that was lacking, and nothing else");
    // What the one lacked goes again.
    for (tree, extra) in trees.iter_mut().zip(&extras) {
        extra.keys().for_each(|key| tree.touch(*key));
        time_root_of(tree, &mut Side::new(history, &BTreeMap::new(), &HashMap::new()));
    }
    (bytes, messages, time)
}

fn time_root_of(tree: &mut Tree, side: &mut Side<'_>) {
    use rumormill::proto::{Look, Question};
    let look = Look { shelf: Shelf::Window, range: ExpiryRange::ALL, key: [1; 32], question: Question::Root };
    tree.answer(&look, side).expect("the disk gives it");
}

/// One of two engines that are linked, and the timers that it has set.
fn engine(number: u8) -> (Engine<Box<dyn Dedup>>, BTreeMap<Millis, Timer>) {
    let now = Now { mono: 0, unix: UNIX_MS };
    let key = |number: u8| SigningKey::from_bytes(&[number + 1; 32]).verifying_key();
    let config = EngineConfig {
        link_key: key(number).to_bytes(),
        own: key(number).to_montgomery().to_bytes(),
        reconcile_on_connect: false,
        ..EngineConfig::default()
    };
    let dedup = rumormill::plugins::compiled_in().dedup("exact", DedupConfig::default());
    let mut engine = Engine::new(config, dedup.expect("the backend is compiled in"), [number; 32]);
    let address = |number: u8| PeerAddr::new("tcp", &format!("192.0.2.{number}:4001")).expect("an address");
    let other = 1 - number;
    let info = LinkInfo {
        peer: key(other).to_montgomery().to_bytes(),
        direction: Direction::Incoming,
        remote: address(other),
        handshake_hash: [9; 32],
    };
    let hello = Hello {
        version_min: LINK_VERSION,
        version_max: LINK_VERSION,
        probe: false,
        recon_max: EngineConfig::default().recon_max_bytes,
        link_key: key(other).to_bytes(),
        seen_as: address(number),
        record: None,
    };
    engine.handle(Input::LinkUp(LINK, info), now);
    engine.handle(Input::Batch(LINK, Message::Hello(hello).encode()), now);
    let timers = engine.outputs().filter_map(|output| match output {
        Output::SetTimer(timer, due) => Some((due, timer)),
        _ => None,
    });
    let timers = timers.collect();
    assert_eq!(engine.links().count(), 1, "the link is up");
    assert!(wire::link_key_to_x25519(&key(number).to_bytes()).is_some());
    (engine, timers)
}

/// A line of `/proc/self/status`, in KiB; 0 where there is none.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// Has the kernel measure the peak anew, where it can.
fn peak_from_now() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
