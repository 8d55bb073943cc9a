//! The vault, one turn after the other.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use rumormill_api::{Appended, ArchiveRecord, Cursor, ExpiryRange, Hashed, Holding, Pruned, RoomTag, Stats};
use tokio::sync::broadcast;

use super::ahead::{Part, TURN_ENVELOPES};
use super::*;
use crate::node::api::Me;
use crate::node::presenter::{self, ShownQueue};
use crate::proto::Now;
use crate::room::testing::{NOW_MS, alice, bob, room, room_of, seal_one, spec, storage};
use crate::room::{DAY_MS, HOUR_MS, Room, RoomKind, RoomSpec, Sealed};

/// What a history says about ids, and no more: which stand on the window, and which in the archive. An ephemeral room's
/// archive goes with any pruning.
#[derive(Default)]
struct Ids {
    window: BTreeMap<MsgId, ExpiryHour>,
    archive: HashSet<MsgId>,
}

impl History for Ids {
    fn append(&mut self, batch: &[Entry]) -> ApiResult<Appended> {
        for entry in batch {
            match entry {
                Entry::Window { id, expiry, .. } => drop(self.window.insert(*id, *expiry)),
                Entry::Archive { id, .. } => drop(self.archive.insert(*id)),
                Entry::State { .. } => {}
            }
        }
        Ok(Appended::default())
    }

    fn holds(&self, id: &MsgId) -> ApiResult<Holding> {
        let (window, archive) = (self.window.contains_key(id), self.archive.contains(id));
        Ok(Holding { window, archive, tombstone: false })
    }

    fn prune(&mut self, keep: &Retention, _: ExpiryHour) -> ApiResult<Pruned> {
        if !keep.ephemeral.is_empty() {
            self.archive.clear();
        }
        Ok(Pruned::default())
    }

    fn get(&self, _: Shelf, _: &MsgId) -> ApiResult<Option<Bytes>> {
        Ok(None)
    }

    fn page(&self, _: &RoomTag, _: Cursor, _: usize) -> ApiResult<Vec<ArchiveRecord>> {
        Ok(Vec::new())
    }

    fn ids(&self, _: Shelf, _: ExpiryRange) -> ApiResult<Vec<(ExpiryHour, MsgId)>> {
        Ok(self.window.iter().map(|(id, expiry)| (*expiry, *id)).collect())
    }

    fn tombstones(&self) -> ApiResult<Vec<MsgId>> {
        Ok(Vec::new())
    }

    fn state(&self, _: &str) -> ApiResult<Option<Bytes>> {
        Ok(None)
    }

    fn forget(&mut self, id: &MsgId) -> ApiResult<()> {
        self.window.remove(id);
        Ok(())
    }

    fn stats(&self) -> ApiResult<Stats> {
        Ok(Stats::default())
    }
}

/// A wall clock that stands until it is set.
struct Stands(AtomicU64);

impl Clock for Stands {
    fn now(&self) -> Now {
        Now { mono: 0, unix: self.0.load(Ordering::Relaxed) }
    }
}

struct Bench {
    vault: Vault,
    clock: Arc<Stands>,
    shown: ShownQueue,
    replies: mpsc::UnboundedReceiver<Reply>,
}

impl Bench {
    /// Of a member of these rooms.
    fn new(rooms: Vec<Room>) -> Self {
        let history: Box<dyn History> = Box::new(Ids::default());
        let me = Me { id: bob().id(), nick: "bob".into() };
        let shared = Shared::new(me, Vec::new(), broadcast::channel(64).0);
        let clock = Arc::new(Stands(AtomicU64::new(NOW_MS)));
        let (presenter, shown) = presenter::queue(Arc::clone(&shared));
        let (to_driver, replies) = mpsc::unbounded_channel();
        let ephemeral = ephemeral(&rooms);
        let vault = Vault {
            trees: seen(&*history, &mut |_| {}).unwrap(),
            history,
            names: rooms.iter().map(|room| Arc::clone(room.name())).collect(),
            states: vec![RoomState::default(); rooms.len()],
            keyring: Arc::new(Keyring::new(rooms)),
            identity: bob(),
            storage: storage(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Box::new(|out| out.fill(7)),
            presenter,
            shared,
            replies: to_driver,
            retention: Retention { window_quota_bytes: 1 << 30, ephemeral },
            progress: Progress::default(),
            opening_threads: NonZero::<usize>::MIN,
            erasures: Arc::default(),
        };
        Self { vault, clock, shown, replies }
    }

    /// How many messages a turn of these shows.
    fn turn(&mut self, commands: Vec<Command>) -> usize {
        assert!(self.vault.turn(commands));
        std::iter::from_fn(|| self.shown.try_next()).filter(|shown| matches!(shown, Shown::Message(_))).count()
    }
}

fn accept(sealed: &Sealed, window: bool) -> Command {
    let envelope = Hashed::of(sealed.envelope.clone());
    Command::accept(vec![Accepted { envelope, expiry: sealed.expiry, source: 1, synced: !window, window }])
}

/// A message of a room's first day in these tests.
fn said(room: &Room) -> Sealed {
    seal_one(room, &alice(), &mut RoomState::default(), "words")
}

#[test]
fn what_comes_twice_in_a_turn_is_shown_once_whatever_is_asked_between() {
    let sealed = said(&room(1));
    for between in [None, Some(Command::Fetch(SessionId(1), Shelf::Window, Vec::new()))] {
        let mut bench = Bench::new(vec![room(1)]);
        let commands = [Some(accept(&sealed, true)), between, Some(accept(&sealed, false))];
        assert_eq!(bench.turn(commands.into_iter().flatten().collect()), 1);
        assert_eq!(bench.turn(vec![accept(&sealed, false)]), 0);
    }
}

#[test]
fn what_is_erased_in_a_turn_does_not_come_back_in_it() {
    let ephemeral = || room_of(RoomSpec { kind: RoomKind::Ephemeral, ..spec(1) });
    let sealed = said(&ephemeral());
    for (prunes, comes_back) in [(false, true), (true, false)] {
        let mut bench = Bench::new(vec![ephemeral()]);
        let now = NOW_MS + 30 * DAY_MS;
        bench.clock.0.store(now, Ordering::Relaxed);
        let prune = prunes.then_some(Command::Prune((now / HOUR_MS) as ExpiryHour));
        let commands = prune.into_iter().chain([accept(&sealed, false)]).collect();
        assert_eq!(bench.turn(commands), usize::from(comes_back), "pruned: {prunes}");
        assert_eq!(bench.vault.history.holds(&sealed.id).unwrap().archive, comes_back);
    }
}

#[test]
fn what_was_opened_before_its_key_was_erased_does_not_come_back() {
    let ephemeral = || room_of(RoomSpec { kind: RoomKind::Ephemeral, ..spec(1) });
    for prunes in [false, true] {
        let mut bench = Bench::new(vec![ephemeral()]);
        let (commands, queue) = mpsc::channel(2);
        let (opener, parts) = bench.vault.opener(queue);
        commands.try_send(accept(&said(&ephemeral()), false)).unwrap();
        commands.try_send(Command::Stop).unwrap();
        let now = NOW_MS + 30 * DAY_MS;
        bench.clock.0.store(now, Ordering::Relaxed);
        opener.run();
        if prunes {
            bench.turn(vec![Command::Prune((now / HOUR_MS) as ExpiryHour)]);
        }
        let (commands, opened) = bench.vault.next_of(&parts).unwrap();
        assert_eq!(opened.len(), usize::from(!prunes));
        assert!(!bench.vault.turn_of(commands, opened), "told to stop");
        assert_eq!(bench.shown.try_next().is_some(), !prunes);
        assert!(bench.vault.next_of(&parts).is_none(), "nobody is before it any more");
    }
}

#[test]
fn a_turn_takes_in_two_pages_and_leaves_the_rest_to_the_next() {
    let bench = Bench::new(Vec::new());
    let (sender, receiver) = std::sync::mpsc::sync_channel(4);
    let (parts, page) = (Parts(receiver), TURN_ENVELOPES / 2);
    let envelope = said(&room(2));
    for envelopes in [page, page - 1, 1, 1] {
        let one = || match accept(&envelope, true) {
            Command::Accept(all, _) => all,
            _ => Vec::new(),
        };
        let all = std::iter::repeat_with(one).flatten().take(envelopes).collect();
        sender.send(Part { commands: vec![Command::accept(all)], opened: Openings::new(), erasures: 0 }).unwrap();
    }
    drop(sender);
    let turns = std::iter::from_fn(|| bench.vault.next_of(&parts)).map(|(commands, _)| commands.len());
    assert_eq!(turns.collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn on_its_threads_it_shows_in_the_order_in_which_it_came_and_ends_when_told() {
    let Bench { vault, mut shown, .. } = Bench::new(vec![room(1)]);
    let mut state = RoomState::default();
    let all: Vec<_> = (0..100).map(|n| seal_one(&room(1), &alice(), &mut state, &n.to_string())).collect();
    let (commands, queue) = mpsc::channel(VAULT_QUEUE_MAX);
    let (opener, parts) = vault.opener(queue);
    let threads = [std::thread::spawn(|| opener.run()), std::thread::spawn(move || vault.run(&parts))];
    all.iter().for_each(|sealed| commands.blocking_send(accept(sealed, true)).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for sealed in &all {
        let next = runtime.block_on(shown.next());
        assert!(matches!(next, Some(Shown::Message(message)) if message.id == sealed.id));
    }
    commands.blocking_send(Command::Stop).unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn what_is_listed_and_not_there_is_forgotten_so_that_it_comes_back() {
    let mut bench = Bench::new(vec![room(1)]);
    let sealed = said(&room(1));
    // This history lists the same for every shelf, and has the bytes of nothing.
    bench.turn(vec![accept(&sealed, true)]);
    assert_eq!(bench.vault.verify(0, None), Some((sealed.expiry, sealed.id)));
    assert!(!bench.vault.history.holds(&sealed.id).unwrap().window);
    assert_eq!(bench.vault.verify(0, None), None);
}

#[test]
fn a_page_is_answered_for_once_it_is_durable() {
    let mut bench = Bench::new(vec![room(1)]);
    let sealed = said(&room(1));
    let look =
        Box::new(Look { shelf: Shelf::Window, range: ExpiryRange::ALL, key: [0; 32], question: Question::Settled });
    bench.turn(vec![accept(&sealed, true), Command::Look(SessionId(1), look)]);
    assert!(matches!(bench.replies.try_recv(), Ok(Reply::Found(_, Finding::Settled))));
    assert!(bench.vault.history.holds(&sealed.id).unwrap().window);
}

#[test]
fn a_task_does_little_more_than_relaying_itself_and_nothing_of_what_it_can_read() {
    let bench = Bench::new(vec![room(1)]);
    let foreign = |count| {
        let sealed = said(&room(2));
        let one = || Accepted {
            envelope: Hashed::of(sealed.envelope.clone()),
            expiry: sealed.expiry,
            source: 1,
            synced: false,
            window: true,
        };
        Command::accept(std::iter::repeat_with(one).take(count).collect())
    };
    let id = MsgId([1; 32]);
    for (commands, itself) in [
        (vec![foreign(1), Command::Ask(id), foreign(2)], true),
        (vec![foreign(TASK_ENVELOPES_MAX)], true),
        (vec![foreign(TASK_ENVELOPES_MAX), foreign(1)], false),
        (vec![accept(&said(&room(1)), true)], false),
        (vec![foreign(1), accept(&said(&room(1)), true)], false),
        (vec![Command::Prune(1)], false),
        (vec![Command::Stop], false),
    ] {
        assert_eq!(bench.vault.only_relays(&commands), itself);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_a_task_it_keeps_all_and_shows_what_it_can_read() {
    let Bench { vault, mut shown, mut replies, .. } = Bench::new(vec![room(1)]);
    let (own, foreign) = (said(&room(1)), said(&room(2)));
    let (commands, queue) = mpsc::channel(64);
    let task = tokio::spawn(vault.run_as_task(queue));
    commands.send(accept(&foreign, true)).await.unwrap();
    commands.send(accept(&own, true)).await.unwrap();
    assert!(matches!(shown.next().await, Some(Shown::Message(message)) if message.id == own.id));
    for id in [own.id, foreign.id] {
        commands.send(Command::Ask(id)).await.unwrap();
        assert!(matches!(replies.recv().await, Some(Reply::Known(known, true)) if known == id));
    }
    commands.send(Command::Stop).await.unwrap();
    task.await.unwrap();
}
