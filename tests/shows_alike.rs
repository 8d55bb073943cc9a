//! What a node shows doesn't depend on what it can read: a member of a room and a stranger to it, who get the same from the same
//! peers, say the same to them, byte for byte and message for message, over a run with evictions, expiry and a restart.
//!
//! Both have the same keys, the same name, the same clock and the same randomness, so that what they say needs no normal form:
//! what differs is the one's `[[chats]]`. Each runs in a world of its own; the peers are scripted and know the room, so that they
//! can ask for what only a member would treat as anything special.

#![cfg(all(
    feature = "transport-memory",
    feature = "history-memory",
    feature = "dedup-bloom",
    feature = "cipher-chacha"
))]
#![allow(clippy::unwrap_used)]

mod node_support;
mod peer_support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use node_support::{DOUBTING, START_MS, Store, TestNode, World, pass};
use peer_support::Linked;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rumormill::api::{Entry, ExpiryHour, ExpiryRange, LinkEvent, LinkId, Links, MsgId, PeerAddr, Shelf};
use rumormill::node::Event;
use rumormill::proto::sim;
use rumormill::proto::wire::{
    Batch, Children, ENVELOPE_LIFE_HOURS, Envelope, HOUR_MS, Kind, Listed, Message, OpenScope, PeerRecord, ReconBody,
    Role, SessionRef, Short, TreeEntry, TreeKey, TreeNode, frame,
};
use rumormill::room::{Access, Identity, NewMessage, Room, RoomKind, RoomSecret, RoomSpec, RoomState, StorageKey};
use rumormill_cipher_chacha::ChaCha;
use rumormill_transport_memory::{Hub, MemoryTransport};
use tokio::sync::mpsc;

/// The secret's byte of the room that the member is in.
const ROOM: u8 = 1;
/// The smallest quota that a config may have; all that is said here is some four times that.
const QUOTA: &str = "[window]\nquota = \"1MiB\"\n[network]\noutgoing = 0\n";
/// One text fills an envelope of 16 KiB.
const TEXT_BYTES: usize = 12_000;
/// One that takes two chunks.
const LONG_TEXT_BYTES: usize = 40_000;
/// How often a peer that hears nothing asks whether the node is there: a link on which nothing comes is taken for dead.
const PING_EVERY: Duration = Duration::from_millis(19_009);
/// What the key of a session about the window is derived from its salt for.
const WINDOW_CONTEXT: &str = "rumormill reconciliation of the window v2";

/// A node that answers every PING, and each of this node's sessions in another way.
struct Peer {
    links: Arc<dyn Links>,
    link: LinkId,
    /// What came of the sessions that it opened.
    inbox: mpsc::UnboundedReceiver<(SessionRef, Told)>,
    told: Arc<Mutex<Vec<(u64, Bytes)>>>,
    sessions: u32,
}

/// What came in a session.
#[derive(Debug)]
enum Told {
    Body(ReconBody),
    Item(Bytes),
}

/// What a dump of a node's window found.
#[derive(Default, Debug)]
struct Dump {
    served: Vec<MsgId>,
    /// Of what it was told of, what it would like to have.
    wanted: Vec<MsgId>,
}

fn victim() -> PeerAddr {
    "memory:victim".parse().unwrap()
}

fn key_of(envelope: &Bytes) -> TreeKey {
    (Envelope::parse(envelope).unwrap().expiry(), MsgId::of(envelope))
}

impl Peer {
    /// Links up and says HELLO, with a record that shows an honest clock. `offers` is what it serves when the node opens a
    /// session and that peer is asked.
    async fn connect(hub: &Hub, name: &str, seed: u8, now_ms: u64, offers: Vec<Bytes>) -> Self {
        let linked =
            Linked::dial(&victim(), seed, |config| Arc::new(MemoryTransport::new(config, hub.clone()).unwrap())).await;
        let record = PeerRecord::sign(&linked.key, format!("memory:{name}").parse().unwrap(), now_ms / 1_000);
        linked.send(linked.hello(|hello| hello.record = Some(record.encode())));
        linked.send(Message::Salt([seed; 16]).encode());
        let Linked { links, link, events, .. } = linked;
        let (forward, inbox) = mpsc::unbounded_channel();
        let told = Arc::default();
        let answering = Answering {
            links: Arc::clone(&links),
            link,
            forward,
            told: Arc::clone(&told),
            offers,
            opened: 0,
            asked: 0,
        };
        tokio::spawn(answering.run(events));
        Self { links, link, inbox, told, sessions: 0 }
    }

    fn send(&self, message: &Message) {
        self.send_frame(message.encode());
    }

    fn say(&self, envelope: &Bytes) {
        self.send_frame(frame(Kind::Rumor, envelope));
    }

    fn send_frame(&self, frame: Bytes) {
        if let Err(error) = self.links.try_send(self.link, frame) {
            let told = self.told.lock().unwrap();
            let last: Vec<_> = told[told.len().saturating_sub(8)..].iter().map(in_words).collect();
            panic!("{error:?}; the last that it was told: {last:#?}");
        }
    }

    fn recon(&self, number: u32, body: ReconBody) {
        self.send(&Message::Recon(SessionRef { number, sender: Role::Initiator }, body));
    }

    async fn next(&mut self, number: u32) -> Told {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), self.inbox.recv()).await;
            let (reference, told) = next.expect("the node answers").expect("the link stays");
            if reference.number == number {
                return told;
            }
        }
    }

    /// Whether it agrees to a session about an archive that this peer can't prove.
    async fn archive_is_declined(&mut self) -> bool {
        self.sessions += 1;
        let number = self.sessions;
        let (scope, salt) = (OpenScope::Archive([7; 32]), [3; 16]);
        self.recon(number, ReconBody::Begin { scope, takes_only: true, salt, root: [1; 16] });
        matches!(self.next(number).await, Told::Body(ReconBody::Decline))
    }

    /// Reconciles the whole window as a peer that lacks everything but `claims`, and doesn't give what is wanted of them.
    async fn dump(&mut self, claims: &[TreeKey]) -> Dump {
        self.sessions += 1;
        let number = self.sessions;
        let mut salt = [0x5a; 16];
        salt[..4].copy_from_slice(&number.to_be_bytes());
        let key = blake3::derive_key(WINDOW_CONTEXT, &salt);
        let short = |id: &MsgId| -> Listed { blake3::keyed_hash(&key, &id.0).as_bytes()[..4].try_into().unwrap() };
        let scope = OpenScope::Window(ExpiryRange::ALL);
        self.recon(number, ReconBody::Begin { scope, takes_only: false, salt, root: [1; 16] });
        let hours = match self.next(number).await {
            Told::Body(ReconBody::Children { children, .. }) => match &children[..] {
                [Children::Hours(hours)] => hours.iter().map(|(hour, _)| *hour).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let mut by_hour: BTreeMap<ExpiryHour, Vec<MsgId>> = hours.into_iter().map(|hour| (hour, Vec::new())).collect();
        for (hour, id) in claims {
            by_hour.entry(*hour).or_default().push(*id);
        }
        // What lies under the hours, too: a part of the answer is a digest of each of their nibbles.
        self.recon(number, ReconBody::Ask(by_hour.keys().map(|hour| TreeNode::hour(*hour)).collect()));
        match self.next(number).await {
            Told::Body(ReconBody::Children { children, .. }) => assert_eq!(children.len(), by_hour.len()),
            other => panic!("{other:?}"),
        }
        let entry = |(hour, ids): (&ExpiryHour, &Vec<MsgId>)| TreeEntry {
            node: TreeNode::hour(*hour),
            held: ids.iter().map(short).collect(),
            gone: Vec::new(),
        };
        self.recon(number, ReconBody::Exchange(by_hour.iter().map(entry).collect()));
        let claimed: Vec<MsgId> = by_hour.into_values().flatten().collect();
        let mut dump = Dump::default();
        loop {
            match self.next(number).await {
                Told::Item(envelope) => dump.served.push(MsgId::of(&envelope)),
                Told::Body(ReconBody::Page) => self.recon(number, ReconBody::Go),
                Told::Body(ReconBody::Found(positions)) => {
                    dump.wanted = positions.into_iter().map(|position| claimed[usize::from(position)]).collect();
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        if !dump.wanted.is_empty() {
            self.recon(number, ReconBody::Given);
        }
        self.recon(number, ReconBody::Done);
        dump
    }
}

/// Takes what a peer is told, and answers it.
struct Answering {
    links: Arc<dyn Links>,
    link: LinkId,
    forward: mpsc::UnboundedSender<(SessionRef, Told)>,
    told: Arc<Mutex<Vec<(u64, Bytes)>>>,
    offers: Vec<Bytes>,
    opened: u32,
    /// ASKs of the session under way.
    asked: u32,
}

impl Answering {
    async fn run(mut self, mut events: mpsc::Receiver<LinkEvent>) {
        let start = tokio::time::Instant::now();
        let mut silence = tokio::time::interval(PING_EVERY);
        loop {
            let event = tokio::select! {
                biased;
                event = events.recv() => event,
                _ = silence.tick() => {
                    self.send(&Message::Ping(0));
                    continue;
                }
            };
            let Some(event) = event else { return };
            let LinkEvent::Batch(_, batch) = event else { continue };
            for raw in Batch::new(batch) {
                let raw = raw.unwrap();
                let at = u64::try_from(start.elapsed().as_millis()).unwrap();
                self.told.lock().unwrap().push((at, raw.frame.clone()));
                self.answer(Message::decode(&raw).unwrap());
            }
        }
    }

    fn send(&self, message: &Message) {
        // The node may be stopping.
        let _ = self.links.try_send(self.link, message.encode());
    }

    fn answer(&mut self, message: Message) {
        match message {
            Message::Ping(number) => self.send(&Message::Pong(number)),
            Message::Recon(reference, body) if reference.sender == Role::Initiator => {
                self.respond(reference.number, body)
            }
            Message::Recon(reference, body) => drop(self.forward.send((reference, Told::Body(body)))),
            Message::Item(reference, envelope) if reference.sender == Role::Responder => {
                drop(self.forward.send((reference, Told::Item(envelope))));
            }
            _ => {}
        }
    }

    /// The node opened a session: one after the other it is told that both have the same, that this peer doesn't take part, and
    /// that everything differs.
    fn respond(&mut self, number: u32, body: ReconBody) {
        let reference = SessionRef { number, sender: Role::Responder };
        let children = |children| ReconBody::Children { proof: [0; 32], count: 9, children };
        let differing: Short = [9; 5];
        let answer = match body {
            ReconBody::Begin { scope: OpenScope::Archive(_), .. } => panic!("nobody asked for an archive"),
            ReconBody::Begin { scope: OpenScope::Window(range), .. } => {
                self.opened += 1;
                self.asked = 0;
                match self.opened % 3 {
                    0 => ReconBody::Same(None),
                    1 => {
                        children(vec![Children::Hours((range.from..range.to).map(|hour| (hour, differing)).collect())])
                    }
                    _ => ReconBody::Decline,
                }
            }
            ReconBody::Ask(nodes) => {
                self.asked += 1;
                let nibbles = || Children::Nibbles((0..16).map(|nibble| (nibble, differing)).collect());
                if self.asked > 3 { ReconBody::Decline } else { children(nodes.iter().map(|_| nibbles()).collect()) }
            }
            ReconBody::Exchange(entries) => {
                // What it has never seen comes as an ITEM; of the rest everything is wanted.
                self.offers.sort_by_key(key_of);
                for envelope in std::mem::take(&mut self.offers) {
                    match entries.iter().any(|entry| entry.node.contains(&key_of(&envelope))) {
                        true => self.send(&Message::Item(reference, envelope)),
                        false => self.offers.push(envelope),
                    }
                }
                let held: usize = entries.iter().map(|entry| entry.held.len()).sum();
                ReconBody::Found((0..u16::try_from(held).unwrap()).collect())
            }
            ReconBody::Page => ReconBody::Go,
            _ => return,
        };
        self.send(&Message::Recon(reference, answer));
    }
}

/// Somebody of the room, and somebody of another one, who speak without a node of theirs.
struct Speakers {
    rooms: [(Room, RoomState); 2],
    identity: Identity,
    rng: ChaCha8Rng,
}

impl Speakers {
    fn new() -> Self {
        let room = |secret: u8| {
            let access = Access::Secret(RoomSecret::new([secret; 32]));
            let spec = RoomSpec { name: "study".into(), access, kind: RoomKind::Archive, born_day: 0, weak: false };
            (Room::new(spec, Arc::new(ChaCha), &StorageKey::new([0; 32])), RoomState::default())
        };
        Self {
            rooms: [room(ROOM), room(ROOM + 1)],
            identity: Identity::from_seed(&[0x77; 32]),
            rng: ChaCha8Rng::seed_from_u64(1),
        }
    }

    /// What is said at a time in the member's room (0) or the other: the envelopes of one text.
    fn say(&mut self, room: usize, bytes: usize, now_ms: u64) -> Vec<Bytes> {
        let message =
            NewMessage { nick: "somebody".to_owned(), text: "word ".repeat(bytes / 5), bot: false, reply_to: None };
        let (room, state) = &mut self.rooms[room];
        let sealed = room.seal(&self.identity, state, &message, now_ms, &mut |out| self.rng.fill_bytes(out));
        sealed.unwrap().into_iter().map(|sealed| sealed.envelope).collect()
    }
}

/// What a run of one node led to.
struct Run {
    /// By peer and life of the node: when it said what.
    told: Vec<(String, Vec<(u64, Bytes)>)>,
    /// The window and its tombstones at the end.
    window: Vec<(ExpiryHour, MsgId)>,
    tombstones: Vec<MsgId>,
    /// How many of the room's messages it showed.
    shown: usize,
}

/// A virtual millisecond in which nothing of the node's own is due, so that what a peer does has no company whose turn may be
/// before or after.
async fn odd_moment() {
    pass(Duration::from_millis(137)).await;
}

async fn start(world: &World, member: bool, store: &Store, extra: &str, life: u64) -> TestNode {
    let plan = world.node("victim").extra(extra).store(store).entropy(life);
    let plan = if member { plan.chat("study", ROOM) } else { plan };
    plan.start().await
}

fn window(store: &Store) -> Vec<(ExpiryHour, MsgId)> {
    store.with(|history| history.ids(Shelf::Window, ExpiryRange::ALL)).unwrap()
}

fn evicted(store: &Store) -> Vec<MsgId> {
    store.with(|history| history.tombstones()).unwrap()
}

/// Runs a node through everything. `keys`: the world whose node has the same keys.
#[expect(clippy::too_many_lines, reason = "a script, to be read from the top")]
async fn run(member: bool, keys: &World) -> Run {
    let world = World::new();
    world.same_keys(keys, "victim");
    let store = Store::new();
    let mut told = Vec::new();
    let mut speakers = Speakers::new();

    let node = start(&world, member, &store, QUOTA, 1).await;
    odd_moment().await;
    let late: Vec<Bytes> = (0..4).flat_map(|n| speakers.say(n % 2, 300, START_MS)).collect();
    let feeder = Peer::connect(&world.hub, "feeder", 0xfe, world.now_ms(), late[..2].to_vec()).await;
    odd_moment().await;
    let mut probe = Peer::connect(&world.hub, "probe", 0xbe, world.now_ms(), late[2..].to_vec()).await;
    odd_moment().await;

    // Some four times the quota, in both rooms in turn. Of what is readable some is missing, some comes twice, some late, and
    // some in parts; some expires within hours.
    let mut said: Vec<Bytes> = Vec::new();
    let mut kept_back = Vec::new();
    let hour = ExpiryHour::try_from(START_MS / HOUR_MS).unwrap();
    for n in 0..240_u64 {
        let (room, now) = (usize::from(n % 3 == 2), world.now_ms());
        let envelopes = match n {
            _ if n % 40 == 7 => speakers.say(room, LONG_TEXT_BYTES, now),
            // Said almost a life ago: it expires while this runs.
            _ if n % 20 == 11 => speakers.say(room, 300, now - (u64::from(ENVELOPE_LIFE_HOURS) - 3) * HOUR_MS),
            _ if n % 20 == 13 => vec![sim::envelope(hour + 3, 9, n, 512).into_bytes()],
            _ => speakers.say(room, TEXT_BYTES, now),
        };
        for envelope in envelopes {
            if n % 30 == 3 {
                kept_back.push(envelope);
                continue;
            }
            feeder.say(&envelope);
            if n % 5 == 0 {
                odd_moment().await;
                probe.say(&envelope);
            }
            said.push(envelope);
        }
        if n % 50 == 49 {
            let back = kept_back.remove(0);
            probe.say(&back);
            said.push(back);
        }
        pass(Duration::from_millis(2_003)).await;
    }

    let (held, gone) = (window(&store), evicted(&store));
    assert!(held.len() > 20 && gone.len() > 100, "{} held, {} evicted", held.len(), gone.len());
    let keys_of =
        |ids: &[MsgId]| -> Vec<TreeKey> { said.iter().map(key_of).filter(|(_, id)| ids.contains(id)).collect() };
    // Held, evicted, and never seen: of the room and of none.
    let unknown: Vec<TreeKey> = kept_back.iter().map(key_of).collect();
    let claims: Vec<TreeKey> = [&held[..8], &keys_of(&gone), &unknown].concat();
    let dump = probe.dump(&claims).await;
    assert_eq!(dump.served.len(), held.len() - 8, "all that it didn't have");
    let mut wanted = dump.wanted.clone();
    wanted.sort_unstable();
    let mut expected: Vec<MsgId> = unknown.iter().map(|(_, id)| *id).collect();
    expected.sort_unstable();
    assert_eq!(wanted, expected, "what was evicted isn't wanted again");
    odd_moment().await;
    assert!(probe.archive_is_declined().await);
    odd_moment().await;
    probe.send(&Message::IWant((0..64).collect()));
    odd_moment().await;
    probe.send(&Message::Graft(Vec::new()));
    odd_moment().await;

    // Everything once more, evicted or not, from the one that hasn't said it and from the one that has.
    for (n, envelope) in said.iter().enumerate() {
        if n % 2 == 0 {
            probe.say(envelope)
        } else {
            feeder.say(envelope)
        }
        pass(Duration::from_millis(503)).await;
    }
    probe.dump(&[]).await;
    odd_moment().await;

    // What was said for hours only expires, and is removed; then it comes again.
    pass(Duration::from_millis(5 * HOUR_MS + 41)).await;
    let expired = said.iter().filter(|envelope| key_of(envelope).0 <= hour + 3).count();
    assert!(expired >= 8 && window(&store).iter().all(|(expiry, _)| *expiry > hour + 3), "{expired} expired");
    for envelope in said.iter().chain(&kept_back) {
        probe.say(envelope);
        pass(Duration::from_millis(101)).await;
    }
    probe.dump(&claims).await;
    odd_moment().await;
    let mut shown = 0;
    let events = node.stop().await;
    shown += events.iter().filter(|event| matches!(event, Event::Message(_))).count();
    for (name, peer) in [("feeder", feeder), ("probe", probe)] {
        told.push((format!("{name}, before the restart"), peer.told.lock().unwrap().clone()));
    }

    // Started again, it knows what its store knows: the archive must make no difference.
    let node = start(&world, member, &store, QUOTA, 2).await;
    odd_moment().await;
    let feeder = Peer::connect(&world.hub, "feeder", 0xfe, world.now_ms(), Vec::new()).await;
    odd_moment().await;
    let mut probe = Peer::connect(&world.hub, "probe", 0xbe, world.now_ms(), Vec::new()).await;
    odd_moment().await;
    probe.dump(&claims).await;
    odd_moment().await;
    for envelope in said.iter().chain(&late) {
        probe.say(envelope);
        pass(Duration::from_millis(101)).await;
    }
    probe.dump(&claims).await;
    pass(Duration::from_millis(180_011)).await;
    let events = node.stop().await;
    shown += events.iter().filter(|event| matches!(event, Event::Message(_))).count();
    for (name, peer) in [("feeder", feeder), ("probe", probe)] {
        told.push((format!("{name}, after the restart"), peer.told.lock().unwrap().clone()));
    }
    let mut tombstones = evicted(&store);
    tombstones.sort_unstable();
    Run { told, window: window(&store), tombstones, shown }
}

fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(future)
}

/// What was told, for people.
fn in_words((at, bytes): &(u64, Bytes)) -> String {
    let message = Batch::new(bytes.clone()).next().unwrap().unwrap();
    let text = format!("{:?}", Message::decode(&message).unwrap());
    format!("at {at} ms {} bytes: {text:.300}", bytes.len())
}

#[track_caller]
fn assert_alike(member: &Run, stranger: &Run) {
    for ((who, member), (_, stranger)) in member.told.iter().zip(&stranger.told) {
        let same = member.iter().zip(stranger).take_while(|(one, other)| one == other).count();
        let around =
            |told: &[(u64, Bytes)]| told.iter().skip(same.saturating_sub(2)).take(5).map(in_words).collect::<Vec<_>>();
        assert!(
            same == member.len() && same == stranger.len(),
            "the {who}, is told the same for {same} messages, then by the member {:#?} and by the stranger {:#?}",
            around(member),
            around(stranger)
        );
    }
    assert_eq!(member.window, stranger.window);
    assert_eq!(member.tombstones, stranger.tombstones);
}

#[test]
fn a_member_and_a_stranger_show_the_same_over_a_run_with_evictions_expiry_and_a_restart() {
    let keys = in_virtual_time(async { World::new() });
    let member = in_virtual_time(run(true, &keys));
    let stranger = in_virtual_time(run(false, &keys));
    assert!(member.shown > 100, "the member reads: {}", member.shown);
    assert_eq!(stranger.shown, 0);
    let kinds = |run: &Run| {
        let told = run.told.iter().flat_map(|(_, told)| told);
        told.map(|(_, bytes)| Batch::new(bytes.clone()).next().unwrap().unwrap().kind).collect::<Vec<_>>()
    };
    let kinds = kinds(&member);
    for kind in [Kind::Hello, Kind::Rumor, Kind::Recon, Kind::Item, Kind::Pong] {
        assert!(kinds.contains(&kind), "{kind:?} was never said");
    }
    assert_alike(&member, &stranger);
}

/// A node whose filter rules nothing out, so that its store decides about every id. The member has some of what is said in its
/// archive already, as after `rumor history import`, which the window knows nothing of.
async fn run_with_an_imported_archive(member: bool, keys: &World) -> Run {
    let world = World::new();
    world.same_keys(keys, "victim");
    let store = Store::new();
    let mut speakers = Speakers::new();
    let said: Vec<Bytes> = (0..12).flat_map(|n| speakers.say(n % 2, 300, START_MS)).collect();
    if member {
        let access = Access::Secret(RoomSecret::new([ROOM; 32]));
        let spec = RoomSpec { name: "study".into(), access, kind: RoomKind::Archive, born_day: 0, weak: false };
        let room = Room::new(spec, Arc::new(ChaCha), &StorageKey::new(world.storage_key("victim")));
        let imported: Vec<Entry> = said
            .iter()
            .filter_map(|envelope| room.open(envelope, START_MS).unwrap().map(|opened| (opened, envelope)))
            .map(|(opened, envelope)| Entry::Archive {
                id: opened.id,
                room: room.tag(),
                expiry: opened.expiry,
                lamport: opened.lamport,
                envelope: envelope.clone(),
            })
            .collect();
        assert_eq!(imported.len(), 6);
        store.with(|history| history.append(&imported)).unwrap();
    }
    let node = start(&world, member, &store, &format!("dedup = {DOUBTING:?}\n{QUOTA}"), 1).await;
    odd_moment().await;
    let feeder = Peer::connect(&world.hub, "feeder", 0xfe, world.now_ms(), Vec::new()).await;
    odd_moment().await;
    let mut probe = Peer::connect(&world.hub, "probe", 0xbe, world.now_ms(), Vec::new()).await;
    odd_moment().await;
    for envelope in &said {
        feeder.say(envelope);
        odd_moment().await;
    }
    assert_eq!(probe.dump(&[]).await.served.len(), said.len(), "member: {member}");
    odd_moment().await;
    for envelope in &said {
        probe.say(envelope);
        odd_moment().await;
    }
    let events = node.stop().await;
    let shown = events.iter().filter(|event| matches!(event, Event::Message(_))).count();
    let told = [("feeder", feeder), ("probe", probe)];
    let told = told.map(|(name, peer)| (name.to_owned(), peer.told.lock().unwrap().clone())).into();
    Run { told, window: window(&store), tombstones: Vec::new(), shown }
}

#[test]
fn an_imported_archive_changes_nothing_of_what_is_relayed() {
    let keys = in_virtual_time(async { World::new() });
    let member = in_virtual_time(run_with_an_imported_archive(true, &keys));
    let stranger = in_virtual_time(run_with_an_imported_archive(false, &keys));
    assert_eq!((member.shown, stranger.shown), (0, 0), "what was imported isn't shown as new");
    assert_alike(&member, &stranger);
}
