//! Whole nodes in virtual time: the real driver, vault and presenter on the memory transport and store.

#![cfg(all(feature = "transport-memory", feature = "history-memory"))]
#![allow(clippy::unwrap_used)]

mod node_support;

use std::sync::Arc;
use std::time::Duration;

use node_support::{World, pass};
use rumormill::api::{BoxFuture, Entry, ExpiryRange, MsgId, Shelf};
use rumormill::node::{Draft, Event, HistoryQuery, Hooks, Message, NodeApi, NodeError, NoticeLevel, Verdict};
use rumormill::room::MAX_TEXT_BYTES;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Only the peers that the config names.
const CLOSED: &str = "[network]\noutgoing = 0";

#[tokio::test(start_paused = true)]
async fn rooms_of_several_members_and_a_node_in_several_rooms() {
    let world = World::new();
    let mut alice = world.node("alice").chat("study", 1).chat("friends", 2).start().await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).chat("work", 3).start().await;
    let mut charlie = world.node("charlie").peers(&["alice"]).chat("friends", 2).chat("study", 1).start().await;
    bob.expect_peers(1).await;
    charlie.expect_peers(1).await;

    let sent = alice.say("study", "to the study").await;
    alice.say("friends", "to friends").await;
    bob.say("work", "to nobody here").await;
    let got = bob.expect_text("study", "to the study").await;
    assert_eq!((got.id, got.mine, got.synced, &*got.from.nick), (sent, false, false, "alice"));
    assert_eq!(charlie.expect_text("study", "to the study").await.id, sent);
    charlie.expect_text("friends", "to friends").await;
    assert!(alice.expect_text("study", "to the study").await.mine);
    charlie.say("study", "an answer").await;
    bob.expect_text("study", "an answer").await;
    alice.expect_text("study", "an answer").await;

    assert_eq!(bob.shown("to friends"), 0);
    assert_eq!(alice.shown("to nobody here") + charlie.shown("to nobody here"), 0);
    // "Sent" comes before the own message is shown, and both once.
    alice.drain();
    let of_it = |event: &Event| match event {
        Event::Sent { id, .. } => (*id == sent).then_some("sent"),
        Event::Message(message) => (message.id == sent).then_some("message"),
        _ => None,
    };
    assert_eq!(alice.seen.iter().filter_map(of_it).collect::<Vec<_>>(), ["sent", "message"]);
    let unknown = bob.try_say("friends", "x").await.unwrap_err();
    assert!(matches!(&unknown, NodeError::NoSuchChat { valid, .. } if valid.contains("study")), "{unknown}");
    assert!(matches!(bob.try_say("study", "").await, Err(NodeError::Empty)));
    for node in [alice, bob, charlie] {
        node.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_bridge_relays_what_it_cannot_read_and_a_newcomer_loads_it_from_there() {
    let world = World::new();
    let mut bridge = world.node("bridge").chat("work", 9).extra(CLOSED).start().await;
    let mut left = world.node("left").peers(&["bridge"]).chat("study", 1).extra(CLOSED).start().await;
    let mut right = world.node("right").peers(&["bridge"]).chat("study", 1).extra(CLOSED).start().await;
    bridge.expect_peers(2).await;
    left.expect_peers(1).await;
    right.expect_peers(1).await;
    for n in 0..30 {
        left.say("study", &format!("left {n}")).await;
        right.say("study", &format!("right {n}")).await;
    }
    for n in 0..30 {
        left.expect_text("study", &format!("right {n}")).await;
        right.expect_text("study", &format!("left {n}")).await;
    }
    assert_eq!(left.ids("study").await, right.ids("study").await);
    assert_eq!(bridge.count(|event| matches!(event, Event::Message(_) | Event::Gap { .. })), 0);
    left.stop().await;
    right.stop().await;

    // The newcomer joins from now on and asks the stranger.
    let mut new = world.node("new").peers(&["bridge"]).chat("study", 1).extra(CLOSED).start().await;
    new.expect_peers(1).await;
    let report = new.load("study").await;
    assert_eq!((report.answered, report.missing), (1, 0), "{report:?}");
    assert_eq!(new.history("study").await.len(), 60);
    assert!(report.oldest.is_some_and(|at| at.abs_diff(node_support::START_MS) < 3_600_000), "{report:?}");
    new.expect_text("study", "left 29").await;
    assert_eq!(new.count(|event| matches!(event, Event::Message(message) if !message.synced)), 0);
    let again = new.load("study").await;
    assert_eq!((again.answered, again.new, again.missing), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_partition_heals_and_both_sides_show_the_same_in_the_same_order() {
    let world = World::new();
    let mut alice = world.node("alice").chat("study", 1).start().await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).start().await;
    bob.expect_peers(1).await;
    alice.say("study", "before").await;
    bob.expect_text("study", "before").await;

    world.hub.partition(&["alice"], &["bob"]);
    alice.expect_peers(0).await;
    bob.expect_peers(0).await;
    for n in 0..50 {
        alice.say("study", &format!("alice {n}")).await;
        bob.say("study", &format!("bob {n}")).await;
        pass(Duration::from_secs(10)).await;
    }
    world.hub.heal();
    for n in 0..50 {
        assert!(alice.expect_text("study", &format!("bob {n}")).await.synced);
        assert!(bob.expect_text("study", &format!("alice {n}")).await.synced);
    }
    assert_eq!(alice.ids("study").await, bob.ids("study").await);
    assert_eq!(alice.ids("study").await.len(), 101);
    for n in 0..50 {
        assert_eq!((alice.shown(&format!("bob {n}")), bob.shown(&format!("alice {n}"))), (1, 1));
    }
    assert!(alice.node.chats()[0].missing == 0 && bob.node.chats()[0].missing == 0);
    // What was said on the other side long ago comes late, and is marked so.
    assert!(alice.expect_text("study", "bob 0").await.late);
}

#[tokio::test(start_paused = true)]
async fn long_texts_go_in_chunks_up_to_the_limit() {
    let world = World::new();
    let mut alice = world.node("alice").chat("study", 1).start().await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).start().await;
    bob.expect_peers(1).await;
    let longest: String = ('a'..='z').cycle().take(MAX_TEXT_BYTES).collect();
    let id = alice.say("study", &longest).await;
    let got = bob.expect_text("study", &longest).await;
    assert_eq!((got.id, got.missing), (id, 0));
    let refused = alice.try_say("study", &format!("{longest}z")).await.unwrap_err();
    assert!(
        matches!(refused, NodeError::TooLong { bytes, max } if bytes == MAX_TEXT_BYTES + 1 && max == MAX_TEXT_BYTES),
        "{refused}"
    );
    // Nothing of the refused one went out, and the next message follows the last one that did.
    alice.say("study", "short").await;
    assert_eq!(bob.expect_text("study", "short").await.missing, 0);
    pass(Duration::from_secs(10)).await;
    assert_eq!(bob.count(|event| matches!(event, Event::Gap { missing, .. } if *missing > 0)), 0);
    assert_eq!(bob.texts("study").await, [longest, "short".to_owned()]);
    assert_eq!(alice.expect_text("study", "short").await.missing, 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_text_whose_chunk_comes_last_is_shown_once_it_is_whole() {
    let world = World::new();
    let alice = world.node("alice").chat("study", 1).extra(CLOSED).start().await;
    let text = "long ".repeat(20_000);
    let long = alice.say("study", &text).await;
    alice.say("study", "after it").await;
    // One chunk isn't to be had for now.
    let chunk = *alice.store.window_ids().iter().find(|id| envelope(&alice, id).len() > 16_384).unwrap();
    let entries = take_out(&alice, chunk);

    let bobs = node_support::Store::new();
    let plan = || world.node("bob").peers(&["alice"]).chat("study", 1).extra(CLOSED).store(&bobs);
    let mut bob = plan().start().await;
    bob.expect_text("study", "after it").await;
    bob.expect_gap("study", 1).await;
    assert_eq!(bob.shown(&text), 0);
    // Not even a restart in between loses sight of it.
    bob.stop().await;
    let mut bob = plan().start().await;
    bob.expect_peers(1).await;
    pass(Duration::from_secs(1)).await;
    let _alice = put_back(alice, &entries, |alice| alice.chat("study", 1).extra(CLOSED), &world).await;
    let got = bob.expect_text("study", &text).await;
    assert_eq!((got.id, got.late), (long, true));
    assert_eq!(bob.texts("study").await, [text.clone(), "after it".to_owned()]);
    assert_eq!(bob.node.chats()[0].missing, 0);
    pass(HOUR).await;
    assert_eq!(bob.shown(&text), 1);
}

fn envelope(node: &node_support::TestNode, id: &MsgId) -> bytes::Bytes {
    node.store.with(|history| history.get(Shelf::Window, id)).unwrap().unwrap()
}

/// Puts back what was taken out, while the node is stopped: a running one knows of what it did itself alone.
async fn put_back<'a>(
    node: node_support::TestNode,
    entries: &[Entry],
    plan: impl FnOnce(node_support::Plan<'a>) -> node_support::Plan<'a>,
    world: &'a World,
) -> node_support::TestNode {
    let store = node.store.clone();
    node.stop().await;
    store.with(|history| history.append(entries)).unwrap();
    plan(world.node("alice")).store(&store).start().await
}

/// Takes an envelope out of a node's window, and gives what puts it back.
fn take_out(node: &node_support::TestNode, id: MsgId) -> Vec<Entry> {
    node.store.with(|history| {
        let envelope = history.get(Shelf::Window, &id).unwrap().unwrap();
        let all = history.ids(Shelf::Window, ExpiryRange::ALL).unwrap();
        let expiry = all.into_iter().find(|(_, other)| *other == id).unwrap().0;
        history.forget(&id).unwrap();
        vec![Entry::Window { id, expiry, source: 0, envelope }]
    })
}

#[tokio::test(start_paused = true)]
async fn equal_texts_are_two_messages() {
    let world = World::new();
    let alice = world.node("alice").chat("study", 1).start().await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).start().await;
    bob.expect_peers(1).await;
    let (first, second) = (alice.say("study", "again").await, alice.say("study", "again").await);
    assert_ne!(first, second);
    bob.expect("the second", |event| matches!(event, Event::Message(message) if message.id == second)).await;
    assert_eq!(bob.shown("again"), 2);
    assert_eq!(bob.ids("study").await, [first, second]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_shown_and_then_filled() {
    let world = World::new();
    let mut alice = world.node("alice").chat("study", 1).start().await;
    let lost = alice.say("study", "first").await;
    let entries = take_out(&alice, lost);
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).start().await;
    bob.expect_peers(1).await;
    alice.expect_peers(1).await;
    alice.say("study", "second").await;
    assert_eq!(bob.expect_text("study", "second").await.missing, 1);
    bob.expect_gap("study", 1).await;
    assert_eq!(bob.node.chats()[0].missing, 1);
    assert_eq!(bob.history("study").await[0].missing, 1);
    assert_eq!(bob.load("study").await.missing, 1);

    let _alice = put_back(alice, &entries, |alice| alice.chat("study", 1), &world).await;
    let filled = bob.expect_text("study", "first").await;
    assert!(filled.late && filled.synced);
    bob.expect_gap("study", 0).await;
    assert_eq!(bob.texts("study").await, ["first", "second"]);
    assert_eq!(bob.history("study").await[1].missing, 0);
    assert_eq!(bob.load("study").await.missing, 0);
}

#[tokio::test(start_paused = true)]
async fn in_a_live_flood_no_gap_is_cried() {
    let world = World::new();
    let mut nodes = vec![world.node("a").chat("study", 1).start().await];
    for (name, peers) in [("b", &["a"][..]), ("c", &["a", "b"]), ("d", &["b", "c"]), ("e", &["a", "d"])] {
        nodes.push(world.node(name).peers(peers).chat("study", 1).start().await);
    }
    for node in &mut nodes {
        while node.node.peers().len() < 2 {
            node.expect("a link", |event| matches!(event, Event::PeerUp(_))).await;
        }
    }
    world.hub.set_delay(Duration::from_millis(80));
    for round in 0..20 {
        for node in &nodes {
            node.say("study", &format!("round {round}")).await;
        }
        pass(Duration::from_millis(100)).await;
    }
    pass(Duration::from_secs(30)).await;
    let order = nodes[0].ids("study").await;
    assert_eq!(order.len(), 100);
    for node in &mut nodes {
        assert_eq!(node.ids("study").await, order);
        assert_eq!(node.count(|event| matches!(event, Event::Message(_))), 100);
        assert_eq!(node.count(|event| matches!(event, Event::Gap { .. })), 0);
    }
}

/// Vetoes and replaces.
struct Censor;

impl Hooks for Censor {
    fn on_send<'a>(&'a self, mut draft: Draft) -> BoxFuture<'a, Verdict<Draft>> {
        Box::pin(async move {
            if draft.text.contains("secret") {
                return Verdict::Drop("that stays here".to_owned());
            }
            draft.text = draft.text.replace("teh", "the");
            Verdict::Pass(draft)
        })
    }

    fn on_receive<'a>(&'a self, mut message: Message) -> BoxFuture<'a, Verdict<Message>> {
        Box::pin(async move {
            if message.text.contains("spam") {
                return Verdict::Drop("spam".to_owned());
            }
            message.text = message.text.to_uppercase();
            Verdict::Pass(message)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn filters_veto_and_replace() {
    let world = World::new();
    let mut alice = world.node("alice").chat("study", 1).hooks(Arc::new(Censor)).start().await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).start().await;
    bob.expect_peers(1).await;
    let vetoed = alice.try_say("study", "a secret").await.unwrap_err();
    assert!(matches!(&vetoed, NodeError::Vetoed(reason) if reason == "that stays here"), "{vetoed}");
    alice.say("study", "teh word").await;
    bob.expect_text("study", "the word").await;
    assert_eq!(bob.shown("a secret"), 0);
    // An own message is shown as it was sent, past the filter for others' messages.
    alice.expect_text("study", "the word").await;

    bob.say("study", "spam").await;
    bob.say("study", "news").await;
    alice.expect_text("study", "NEWS").await;
    assert_eq!(alice.shown("spam"), 0);
    assert_eq!(alice.counted("filtered"), 1);
    // What isn't shown is kept and relayed all the same.
    assert_eq!(alice.texts("study").await, ["the word", "spam", "news"]);
}

/// Never answers.
struct Stuck;

impl Hooks for Stuck {
    fn on_send<'a>(&'a self, draft: Draft) -> BoxFuture<'a, Verdict<Draft>> {
        Box::pin(async { Verdict::Pass(draft) })
    }

    fn on_receive<'a>(&'a self, _: Message) -> BoxFuture<'a, Verdict<Message>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_never_answers_keeps_no_node_from_relaying_nor_from_stopping() {
    let world = World::new();
    let mut alice = world.node("alice").chat("study", 1).hooks(Arc::new(Stuck)).extra(CLOSED).start().await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).extra(CLOSED).start().await;
    let mut charlie = world.node("charlie").peers(&["alice"]).chat("study", 1).extra(CLOSED).start().await;
    alice.expect_peers(2).await;
    bob.expect_peers(1).await;
    bob.say("study", "through").await;
    charlie.expect_text("study", "through").await;
    assert_eq!(alice.texts("study").await, ["through"]);
    alice.say("study", "own").await;
    bob.expect_text("study", "own").await;
    let seen = alice.stop().await;
    let shown = |text: &str| seen.iter().any(|event| matches!(event, Event::Message(message) if message.text == text));
    assert!(!shown("through") && shown("own"));
}

#[tokio::test(start_paused = true)]
async fn a_clock_wrong_by_hours_loses_nothing() {
    for ahead in [-5_i64, 5, -23, 23] {
        let world = World::new();
        let mut alice = world.node("alice").chat("study", 1).start().await;
        let plan = world.node("bob").peers(&["alice"]).chat("study", 1).clock_ahead_ms(ahead * 3_600_000);
        let mut bob = plan.start().await;
        bob.expect_peers(1).await;
        let first = alice.say("study", "by the right clock").await;
        bob.say("study", "by the wrong clock").await;
        if ahead < 2 {
            // What bob says expires early, but not yet.
            alice.expect_text("study", "by the wrong clock").await;
        } else {
            // What he says is from the future; alice takes it once its time has come.
            pass(Duration::from_secs(24 * 3_600)).await;
            alice.load("study").await;
            alice.expect_text("study", "by the wrong clock").await;
        }
        if ahead > -2 {
            bob.expect_text("study", "by the right clock").await;
        } else {
            pass(Duration::from_secs(24 * 3_600)).await;
            bob.load("study").await;
            bob.expect_text("study", "by the right clock").await;
        }
        // No clock is poisoned: what comes next is ordered after both.
        let last = alice.say("study", "last").await;
        assert_eq!(alice.ids("study").await.len(), 3, "{ahead}");
        assert!(alice.ids("study").await.contains(&first), "{ahead}");
        assert_eq!(alice.ids("study").await.last(), Some(&last), "{ahead}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_where_it_was() {
    let world = World::new();
    let store = node_support::Store::new();
    let plan = || world.node("alice").chat("study", 1).store(&store);
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).start().await;
    let mut expected = Vec::new();
    for run in 0..3 {
        let mut alice = plan().start().await;
        alice.expect_peers(1).await;
        for n in 0..5 {
            let text = format!("run {run}, {n}");
            alice.say("study", &text).await;
            bob.expect_text("study", &text).await;
            expected.push(text);
        }
        assert_eq!(alice.texts("study").await, expected);
        let seen = alice.stop().await;
        let shown = seen.iter().filter(|event| matches!(event, Event::Message(_))).count();
        assert_eq!(shown, 5, "what was there before isn't shown again");
    }
    assert_eq!(bob.texts("study").await, expected);
    assert_eq!(bob.counted("equivocation"), 0);
    assert_eq!(bob.count(|event| matches!(event, Event::Gap { .. })), 0);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_room_state_is_made_anew_out_of_the_archive() {
    let world = World::new();
    let store = node_support::Store::new();
    let plan = || world.node("alice").chat("study", 1).store(&store);
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).start().await;
    let mut alice = plan().start().await;
    alice.expect_peers(1).await;
    // More than one page of them.
    for n in 0..1_100 {
        alice.say("study", &format!("before {n}")).await;
    }
    bob.expect_text("study", "before 1099").await;
    bob.say("study", "an answer").await;
    alice.expect_text("study", "an answer").await;
    alice.stop().await;

    let key = room_state_key(&world, "alice", 1);
    let whole = store.with(|history| history.state(&key)).unwrap().expect("the room's state is there");
    let mut broken = whole.to_vec();
    *broken.last_mut().unwrap() ^= 1;
    store.with(|history| history.append(&[Entry::State { key, value: Some(broken.into()) }])).unwrap();

    let mut alice = plan().start().await;
    alice.expect_peers(1).await;
    alice.say("study", "after").await;
    assert_eq!(bob.expect_text("study", "after").await.missing, 0);
    assert_eq!(bob.counted("equivocation"), 0, "no sequence number was used twice");
    assert_eq!(alice.texts("study").await.last().map(String::as_str), Some("after"));
    assert_eq!(alice.node.chats()[0].missing, 0);
}

/// The name under which a node keeps a room's state.
fn room_state_key(world: &World, name: &str, secret: u8) -> String {
    use rumormill::room::{Access, RoomSecret, StorageKey};
    let storage = StorageKey::new(world.storage_key(name));
    let tag = storage.room_tag(&Access::Secret(RoomSecret::new([secret; 32])).room_id());
    format!("room/{}", data_encoding::HEXLOWER.encode(&tag.0))
}

#[tokio::test(start_paused = true)]
async fn a_room_by_passphrase_is_shown_as_weak() {
    let world = World::new();
    let chat = "name = \"pub\"\npassphrase = \"correct horse battery staple\"";
    let mut alice = world.node("alice").chat_of(chat).chat("study", 1).start().await;
    let mut bob = world.node("bob").peers(&["alice"]).chat_of(chat).start().await;
    bob.expect_peers(1).await;
    assert_eq!(alice.node.chats().iter().map(|chat| chat.weak).collect::<Vec<_>>(), [true, false]);
    let warning = alice
        .expect_ever("a warning", |event| matches!(event, Event::Notice { level: NoticeLevel::Warning, .. }))
        .await;
    assert!(matches!(&warning, Event::Notice { text, .. } if text.contains("pub") && text.contains("guessed")));
    alice.say("pub", "cheers").await;
    bob.expect_text("pub", "cheers").await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_only_dial_meet_at_one_that_listens() {
    let world = World::new();
    let mut hub = world.node("hub").start().await;
    let mut alice = world.node("alice").dial_only().peers(&["hub"]).chat("study", 1).start().await;
    let mut bob = world.node("bob").dial_only().peers(&["hub"]).chat("study", 1).start().await;
    hub.expect_peers(2).await;
    alice.expect_peers(1).await;
    bob.expect_peers(1).await;
    alice.say("study", "hello").await;
    bob.expect_text("study", "hello").await;
    bob.say("study", "hello to you").await;
    alice.expect_text("study", "hello to you").await;
    assert!(hub.node.chats().is_empty());
    assert_eq!(hub.store.window_ids().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_history() {
    let world = World::new();
    let alice = world.node("alice").chat("study", 1).start().await;
    let mut ids = Vec::new();
    for n in 0..25 {
        ids.push(alice.say("study", &n.to_string()).await);
    }
    let page = async |limit, before| {
        let page = alice.node.history("study", HistoryQuery { limit, before }).await.unwrap();
        page.into_iter().map(|message| message.id).collect::<Vec<_>>()
    };
    assert_eq!(page(10, None).await, ids[15..]);
    assert_eq!(page(10, Some(ids[15])).await, ids[5..15]);
    assert_eq!(page(10, Some(ids[5])).await, ids[..5]);
    assert!(page(10, Some(ids[0])).await.is_empty());
    assert!(page(0, None).await.is_empty());
    let stranger = HistoryQuery { limit: 1, before: Some(MsgId([7; 32])) };
    let refused = alice.node.history("study", stranger).await.unwrap_err();
    assert!(refused.to_string().contains("isn't in this chat's history"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_archive_keeps_what_the_window_let_go_and_a_member_loads_it() {
    let world = World::new();
    let mut alice = world.node("alice").chat("study", 1).start().await;
    alice.say("study", "long ago").await;
    // Somebody has to confirm the time.
    let rita = world.node("rita").peers(&["alice"]).start().await;
    pass(9 * DAY).await;
    assert!(alice.store.window_ids().is_empty(), "the window lets go of what expired");
    rita.stop().await;
    alice.expect_peers(0).await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).start().await;
    bob.expect_peers(1).await;
    alice.expect_peers(1).await;
    assert!(bob.texts("study").await.is_empty());
    let report = bob.load("study").await;
    assert_eq!((report.answered, report.new, report.missing), (1, 1, 0), "{report:?}");
    assert_eq!(bob.texts("study").await, ["long ago"]);
    // A stranger gets nothing of it.
    let mut eve = world.node("eve").peers(&["alice"]).chat("study", 2).start().await;
    eve.expect_peers(1).await;
    assert_eq!(eve.load("study").await.new, 0);
    assert_eq!(eve.store.with(|history| history.stats()).unwrap().archive, 0);
}

#[tokio::test(start_paused = true)]
async fn an_archive_is_loaded_by_parts_the_newest_first() {
    let world = World::new();
    let mut alice = world.node("alice").chat("study", 1).extra(CLOSED).start().await;
    let rita = world.node("rita").peers(&["alice"]).extra(CLOSED).start().await;
    let mut said = Vec::new();
    for n in 0..60 {
        said.push(n.to_string());
        alice.say("study", &n.to_string()).await;
        pass(HOUR).await;
    }
    pass(9 * DAY).await;
    assert!(alice.store.window_ids().is_empty());
    rita.stop().await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).extra(CLOSED).start().await;
    bob.expect_peers(1).await;
    alice.expect_peers(1).await;
    let mut here = 0;
    // On both sides of what there is: one less, all of it, and more than is left.
    for (limit, new, more) in
        [(1, 1, true), (24, 24, true), (34, 34, true), (1, 1, true), (1, 0, false), (1_000, 0, false)]
    {
        let report = bob.load_some("study", limit).await;
        assert_eq!((report.answered, report.new, report.more), (1, new, more), "limit {limit}: {report:?}");
        here += usize::try_from(new).unwrap();
        assert_eq!(bob.texts("study").await, said[60 - here..], "limit {limit}");
    }

    // What comes with the window comes in any case.
    for n in 60..65 {
        said.push(n.to_string());
        alice.say("study", &n.to_string()).await;
    }
    let mut carol = world.node("carol").peers(&["alice"]).chat("study", 1).extra(CLOSED).start().await;
    carol.expect_peers(1).await;
    let report = carol.load_some("study", 2).await;
    assert!(report.more, "{report:?}");
    assert_eq!(carol.texts("study").await, said[58..]);
    let report = carol.load("study").await;
    assert_eq!((report.new, report.more), (58, false), "without a limit the rest comes");
    assert_eq!(carol.texts("study").await, said);
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_room_forgets_and_cries_no_gap_over_it() {
    let world = World::new();
    let chat = format!(
        "name = \"talk\"\nsecret = {:?}\nkind = \"ephemeral\"",
        data_encoding::BASE64URL_NOPAD.encode(&[4; 32])
    );
    let mut alice = world.node("alice").chat_of(&chat).start().await;
    let mut bob = world.node("bob").peers(&["alice"]).chat_of(&chat).start().await;
    bob.expect_peers(1).await;
    alice.say("talk", "fleeting").await;
    bob.expect_text("talk", "fleeting").await;
    pass(12 * DAY).await;
    assert!(alice.texts("talk").await.is_empty());
    assert!(bob.texts("talk").await.is_empty());
    assert_eq!(bob.store.with(|history| history.stats()).unwrap().archive, 0);
    alice.say("talk", "anew").await;
    assert_eq!(bob.expect_text("talk", "anew").await.missing, 0);
    bob.say("talk", "and back").await;
    assert_eq!(alice.expect_text("talk", "and back").await.missing, 0);
    pass(Duration::from_secs(10)).await;
    for node in [&mut alice, &mut bob] {
        assert_eq!(node.count(|event| matches!(event, Event::Gap { .. })), 0);
        assert_eq!(node.node.chats()[0].missing, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_before_the_end_reaches_the_peers_and_the_disk() {
    let world = World::new();
    let alice = world.node("alice").chat("study", 1).start().await;
    let mut bob = world.node("bob").peers(&["alice"]).chat("study", 1).start().await;
    bob.expect_peers(1).await;
    let store = alice.store.clone();
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(alice.say("study", &n.to_string()).await);
    }
    let node = Arc::clone(&alice.node);
    alice.stop().await;
    for (n, id) in ids.iter().enumerate() {
        assert!(store.with(|history| history.holds(id)).unwrap().archive);
        assert_eq!(bob.expect_text("study", &n.to_string()).await.id, *id);
        assert!(!bob.expect_text("study", &n.to_string()).await.synced);
    }
    // Afterwards it answers, and says that it has stopped.
    let draft = Draft { chat: "study".into(), text: "too late".into(), options: Default::default() };
    assert!(matches!(node.publish(draft).await, Err(NodeError::Stopping)));
    assert!(matches!(node.load_history("study").await, Err(NodeError::Stopping)));
    node.shutdown();
}
