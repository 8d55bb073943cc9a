//! What every transport must do. Run it from a backend's tests:
//!
//! ```ignore
//! use rumormill_api::testkit::transport::Fixture;
//!
//! fn fixture() -> Fixture {
//!     // transports, their configs and addresses
//! }
//! rumormill_api::transport_suite!(fixture);
//! ```
//!
//! The macro makes one `#[tokio::test]` of each case, so that a failure names what is broken.

#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::error::{ErrorKind, Result};
use crate::ids::{LinkId, PeerAddr};
use crate::transport::{
    BATCH_MAX_BYTES, Direction, DownReason, Frame, LinkEvent, LinkInfo, LinkSecret, LinkSink, Links, SendError,
    Transport, TransportConfig,
};

/// How long a case waits for an event that must come, in milliseconds.
const WAIT_MS: u64 = 20_000;
/// How long a case watches for an event that must not come, in milliseconds.
const QUIET_MS: u64 = 300;
/// More than any system's socket buffers hold for one connection, in bytes.
const IN_FLIGHT_MAX_BYTES: usize = 96 << 20;
/// How many events a node's sink holds, unless the case is about a full one.
const SINK_CAPACITY: usize = 256;

/// The backend under test. A case makes as many transports of it as it has nodes.
pub struct Fixture {
    /// Makes a transport.
    pub make: Box<dyn Fn(TransportConfig) -> Result<Arc<dyn Transport>> + Send + Sync>,
    /// An address to listen at (an entry of [`TransportConfig::listen`]) that nobody else has.
    pub listen: Box<dyn Fn() -> String + Send + Sync>,
    /// A well-formed address at which nobody listens.
    pub nowhere: PeerAddr,
    /// Addresses that no transport of this kind can dial.
    pub malformed: Vec<PeerAddr>,
    /// A malformed entry of [`TransportConfig::listen`].
    pub malformed_listen: String,
}

/// Makes a `#[tokio::test]` of every case of the suite. Takes the path of a function that returns a [`Fixture`].
#[macro_export]
macro_rules! transport_suite {
    ($fixture:path) => {
        $crate::transport_suite! { @cases $fixture:
            the_listening_address_is_real_and_can_be_dialled
            up_on_both_ends_with_one_hash_and_the_keys_of_rfc_7748
            messages_arrive_in_order
            ten_thousand_small_frames_arrive_whole
            frames_from_one_byte_to_the_limit_are_accepted
            an_unknown_link_is_gone
            a_full_queue_says_so_and_then_drains
            frames_sent_together_arrive_in_order
            of_frames_sent_together_those_before_the_refused_one_are_queued
            a_node_that_does_not_read_slows_the_sender
            close_flushes_what_was_queued
            down_comes_once_and_last
            a_dial_to_nowhere_fails
            a_malformed_address_fails_as_a_dial
            another_network_is_not_linked_to
            a_node_does_not_link_to_itself
            dropping_the_handle_closes_everything
            two_links_of_one_pair_are_distinct
            both_ends_may_dial_at_once
            a_slow_node_does_not_block_other_links
            both_directions_at_once_under_load
            a_silent_link_goes_down
            there_are_at_most_so_many_incoming_links
            many_nodes_link_to_one
            an_address_in_use_is_busy
            a_malformed_listening_address_is_invalid
            a_node_that_stops_taking_events_is_left
        }
    };
    (@cases $fixture:path: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::testkit::transport::$case(&$fixture()).await;
            }
        )*
    };
}

/// One node of a case.
struct Node {
    links: Option<Box<dyn Links>>,
    events: mpsc::Receiver<LinkEvent>,
    addr: Option<PeerAddr>,
}

fn config(secret: u8) -> TransportConfig {
    TransportConfig { secret: LinkSecret([secret; 32]), network: LinkSecret([99; 32]), ..TransportConfig::default() }
}

fn listening(fixture: &Fixture, secret: u8) -> TransportConfig {
    TransportConfig { listen: vec![(fixture.listen)()], ..config(secret) }
}

impl Node {
    async fn open(fixture: &Fixture, config: TransportConfig) -> Self {
        Self::open_with(fixture, config, SINK_CAPACITY).await
    }

    async fn open_with(fixture: &Fixture, config: TransportConfig, capacity: usize) -> Self {
        let listens = !config.listen.is_empty();
        let transport = (fixture.make)(config).unwrap();
        let (sink, mut events) = LinkSink::channel(capacity);
        let links = Some(transport.open(sink).await.unwrap());
        // The contract: told before `open` returns.
        let addr = listens.then(|| match events.try_recv().unwrap() {
            LinkEvent::Listening(addr) => addr,
            other => panic!("expected Listening, got {other:?}"),
        });
        Self { links, events, addr }
    }

    fn links(&self) -> &dyn Links {
        self.links.as_deref().unwrap()
    }

    fn dial(&self, other: &Self) {
        self.links().dial(other.addr.as_ref().unwrap());
    }

    fn send(&self, link: LinkId, frame: impl Into<Frame>) -> Result<(), SendError> {
        self.links().try_send(link, frame.into())
    }

    async fn next(&mut self) -> LinkEvent {
        timeout(Duration::from_millis(WAIT_MS), self.events.recv()).await.expect("an event").expect("an open sink")
    }

    async fn quiet(&mut self) {
        if let Ok(Some(event)) = timeout(Duration::from_millis(QUIET_MS), self.events.recv()).await {
            panic!("expected nothing, got {event:?}");
        }
    }

    async fn up(&mut self) -> (LinkId, LinkInfo) {
        match self.next().await {
            LinkEvent::Up(link, info) => (link, info),
            other => panic!("expected Up, got {other:?}"),
        }
    }

    async fn dial_failed(&mut self, addr: &PeerAddr) {
        match self.next().await {
            LinkEvent::DialFailed(failed, why) => {
                assert_eq!(&failed, addr);
                assert!(!why.is_empty());
            }
            other => panic!("expected DialFailed, got {other:?}"),
        }
    }

    async fn batch(&mut self, link: LinkId) -> Bytes {
        loop {
            match self.next().await {
                LinkEvent::Batch(from, bytes) => {
                    assert_eq!(from, link);
                    assert!(!bytes.is_empty() && bytes.len() <= BATCH_MAX_BYTES);
                    return bytes;
                }
                LinkEvent::Drained(_) => {}
                other => panic!("expected Batch, got {other:?}"),
            }
        }
    }

    /// Reads the link until it has `len` bytes.
    async fn read(&mut self, link: LinkId, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < len {
            all.extend_from_slice(&self.batch(link).await);
        }
        assert_eq!(all.len(), len);
        all
    }

    /// The reason that the link went down for, as the next event.
    async fn down(&mut self, link: LinkId) -> DownReason {
        match self.next().await {
            LinkEvent::Down(down, reason) => {
                assert_eq!(down, link);
                reason
            }
            other => panic!("expected Down, got {other:?}"),
        }
    }

    async fn drained(&mut self, link: LinkId) {
        assert_eq!(self.next().await, LinkEvent::Drained(link));
    }

    /// Queues the frame again and again until the queue is full, and says how often that was.
    fn fill(&self, link: LinkId, frame: &Frame) -> usize {
        for count in 0..IN_FLIGHT_MAX_BYTES / frame.len() {
            match self.send(link, frame.clone()) {
                Ok(()) => {}
                Err(SendError::Full) => return count,
                Err(other) => panic!("{other:?} after {count} frames"),
            }
        }
        panic!("the queue never filled");
    }
}

/// A dialler and a listener, and their links to each other.
async fn pair(fixture: &Fixture) -> (Node, LinkId, Node, LinkId) {
    let dialler = Node::open(fixture, config(1)).await;
    let listener = Node::open(fixture, listening(fixture, 2)).await;
    linked(dialler, listener).await
}

async fn linked(mut dialler: Node, mut listener: Node) -> (Node, LinkId, Node, LinkId) {
    dialler.dial(&listener);
    let (to_listener, _) = dialler.up().await;
    let (to_dialler, _) = listener.up().await;
    (dialler, to_listener, listener, to_dialler)
}

/// A frame that says what it is: its length and number, then filling.
fn numbered(number: u32, len: usize) -> Frame {
    let mut frame = Vec::with_capacity(len.max(8));
    frame.extend_from_slice(&(len.max(8) as u32).to_be_bytes());
    frame.extend_from_slice(&number.to_be_bytes());
    frame.resize(len.max(8), number as u8);
    frame.into()
}

/// Takes a batch of numbered frames apart; panics unless it holds whole ones, the next ones.
fn check_numbered(batch: &[u8], next: &mut u32) {
    let mut rest = batch;
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        assert!(len <= rest.len(), "a batch ends within a frame");
        let (frame, later) = rest.split_at(len);
        assert_eq!(frame, numbered(*next, len), "frame {next} is next");
        *next += 1;
        rest = later;
    }
}

fn hex32(text: &str) -> [u8; 32] {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
}

/// `Listening` names the transport's scheme and an address that others can dial, though the config left the port open.
pub async fn the_listening_address_is_real_and_can_be_dialled(fixture: &Fixture) {
    let config = listening(fixture, 2);
    let scheme = (fixture.make)(config.clone()).unwrap().scheme();
    let listener = Node::open(fixture, config).await;
    let addr = listener.addr.clone().unwrap();
    assert_eq!(addr.scheme(), scheme);
    assert!(!addr.rest().ends_with(":0"), "{addr} is not a real port");
    let dialler = Node::open(fixture, self::config(1)).await;
    linked(dialler, listener).await;
}

/// Both ends come up, agree on the handshake's hash, and see each other's public keys, which are X25519's: the secrets
/// and public keys are those of RFC 7748, section 6.1.
pub async fn up_on_both_ends_with_one_hash_and_the_keys_of_rfc_7748(fixture: &Fixture) {
    let alice = LinkSecret(hex32("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob = LinkSecret(hex32("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let mut dialler = Node::open(fixture, TransportConfig { secret: alice, ..config(0) }).await;
    let mut listener = Node::open(fixture, TransportConfig { secret: bob, ..listening(fixture, 0) }).await;
    dialler.dial(&listener);
    let (_, at_dialler) = dialler.up().await;
    let (_, at_listener) = listener.up().await;
    assert_eq!(at_dialler.handshake_hash, at_listener.handshake_hash);
    assert_ne!(at_dialler.handshake_hash, [0; 32]);
    assert_eq!(at_listener.peer, hex32("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    assert_eq!(at_dialler.peer, hex32("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    assert_eq!(at_dialler.direction, Direction::Outgoing(listener.addr.clone().unwrap()));
    assert_eq!(at_listener.direction, Direction::Incoming);
    assert_eq!(Some(&at_dialler.remote), listener.addr.as_ref());
}

/// Messages of mixed sizes arrive in the order queued, in both directions.
pub async fn messages_arrive_in_order(fixture: &Fixture) {
    let (mut a, to_b, mut b, to_a) = pair(fixture).await;
    let sizes = [8, 300, 9, 65_000, 1_024, 20_000, 8, 40_000];
    let total: usize = sizes.iter().sum();
    for (number, len) in (0..).zip(sizes) {
        a.send(to_b, numbered(number, len)).unwrap();
        b.send(to_a, numbered(number, len)).unwrap();
    }
    for (node, link) in [(&mut a, to_b), (&mut b, to_a)] {
        let (mut next, mut bytes) = (0, 0);
        while bytes < total {
            let batch = node.batch(link).await;
            bytes += batch.len();
            check_numbered(&batch, &mut next);
        }
        assert_eq!(next as usize, sizes.len());
    }
}

/// Many small frames are put together, each batch holds whole ones, and none is lost.
pub async fn ten_thousand_small_frames_arrive_whole(fixture: &Fixture) {
    const FRAMES: u32 = 10_000;
    let (a, to_b, mut b, to_a) = pair(fixture).await;
    for number in 0..FRAMES {
        a.send(to_b, numbered(number, 8 + number as usize % 50)).unwrap();
    }
    let (mut next, mut batches) = (0, 0);
    while next < FRAMES {
        check_numbered(&b.batch(to_a).await, &mut next);
        batches += 1;
    }
    assert_eq!(next, FRAMES);
    assert!(batches < FRAMES / 2, "{FRAMES} frames came in {batches} batches: nothing is put together");
}

/// One byte and the limit are accepted; nothing, and one byte more than the limit, aren't.
pub async fn frames_from_one_byte_to_the_limit_are_accepted(fixture: &Fixture) {
    let (a, to_b, mut b, to_a) = pair(fixture).await;
    assert_eq!(a.send(to_b, Bytes::new()), Err(SendError::Invalid));
    assert_eq!(a.send(to_b, vec![1; BATCH_MAX_BYTES + 1]), Err(SendError::Invalid));
    a.send(to_b, vec![2; 1]).unwrap();
    assert_eq!(b.read(to_a, 1).await, [2]);
    a.send(to_b, vec![3; BATCH_MAX_BYTES]).unwrap();
    assert_eq!(b.batch(to_a).await, vec![3; BATCH_MAX_BYTES]);
}

/// A link that never was, and one that is closed, are gone; closing them again does nothing.
pub async fn an_unknown_link_is_gone(fixture: &Fixture) {
    let (mut a, to_b, mut b, to_a) = pair(fixture).await;
    let unknown = LinkId(u64::MAX);
    assert_eq!(a.send(unknown, vec![1]), Err(SendError::Gone));
    a.links().close(unknown);
    a.links().close(to_b);
    assert_eq!(a.send(to_b, vec![1]), Err(SendError::Gone), "from the moment of closing");
    assert_eq!(a.down(to_b).await, DownReason::Closed);
    assert_eq!(b.down(to_a).await, DownReason::Remote);
    assert_eq!(a.send(to_b, vec![1]), Err(SendError::Gone));
    assert_eq!(b.send(to_a, vec![1]), Err(SendError::Gone));
    a.links().close(to_b);
    a.quiet().await;
}

/// A full queue answers `Full`, says `Drained` once the other end reads, and what it had accepted arrives, no more.
pub async fn a_full_queue_says_so_and_then_drains(fixture: &Fixture) {
    let queue_max_bytes = 256 << 10;
    let mut a = Node::open(fixture, TransportConfig { queue_max_bytes, ..config(1) }).await;
    let mut b = Node::open_with(fixture, listening(fixture, 2), 2).await;
    a.dial(&b);
    let (to_b, _) = a.up().await;
    let (to_a, _) = b.up().await;
    let frame = Frame::from(vec![5; 1_000]);
    let accepted = a.fill(to_b, &frame);
    assert!(accepted >= 100, "a queue of {queue_max_bytes} bytes took {accepted} frames of {}", frame.len());
    let (read, ()) = tokio::join!(b.read(to_a, accepted * frame.len()), a.drained(to_b));
    assert!(read.iter().all(|byte| *byte == 5));
    a.send(to_b, vec![6]).unwrap();
    assert_eq!(b.read(to_a, 1).await, [6]);
    a.quiet().await;
}

/// Frames that are sent together arrive as if they had been sent one by one.
pub async fn frames_sent_together_arrive_in_order(fixture: &Fixture) {
    let (a, to_b, mut b, to_a) = pair(fixture).await;
    let (mut sent, mut received) = (0, 0);
    while sent < 2_000 {
        let mut frames: Vec<_> = (sent..sent + 1 + sent % 97).map(|n| numbered(n, 8 + n as usize % 700)).collect();
        sent += frames.len() as u32;
        a.links().try_send_all(to_b, &mut frames).unwrap();
        assert!(frames.is_empty());
    }
    while received < sent {
        check_numbered(&b.batch(to_a).await, &mut received);
    }
    assert_eq!(a.links().try_send_all(to_b, &mut Vec::new()), Ok(()));
}

/// Of frames that are sent together, an error names the first that isn't queued: it and what comes after it stay, and what
/// came before it arrives.
pub async fn of_frames_sent_together_those_before_the_refused_one_are_queued(fixture: &Fixture) {
    let (mut a, to_b, mut b, to_a) = pair(fixture).await;
    for (bad, len) in [(vec![], 0), (vec![9; BATCH_MAX_BYTES + 1], BATCH_MAX_BYTES + 1)] {
        let mut frames: Vec<Frame> = vec![vec![1].into(), vec![2].into(), bad.into(), vec![3].into()];
        assert_eq!(a.links().try_send_all(to_b, &mut frames), Err(SendError::Invalid));
        assert_eq!(frames.iter().map(Frame::len).collect::<Vec<_>>(), [len, 1]);
        assert_eq!(b.read(to_a, 2).await, [1, 2]);
    }

    let queue_max_bytes = 64 << 10;
    let mut c = Node::open(fixture, TransportConfig { queue_max_bytes, ..config(3) }).await;
    c.dial(&b);
    let (to_b_full, _) = c.up().await;
    let (to_c, _) = b.up().await;
    let total = 1_000;
    let mut frames: Vec<Frame> = (0..total).map(|n| numbered(n, 1_000)).collect();
    assert_eq!(c.links().try_send_all(to_b_full, &mut frames), Err(SendError::Full));
    let queued = total - frames.len() as u32;
    assert!(queued > 0 && queued as usize * 1_000 <= queue_max_bytes, "{queued} frames of 1,000 bytes were queued");
    assert_eq!(frames[0], numbered(queued, 1_000));
    let mut received = 0;
    while received < queued {
        check_numbered(&b.batch(to_c).await, &mut received);
    }
    c.drained(to_b_full).await;

    a.links().close(to_b);
    let mut frames = vec![Frame::from(vec![1])];
    assert_eq!(a.links().try_send_all(to_b, &mut frames), Err(SendError::Gone));
    assert_eq!(frames.len(), 1);
    assert_eq!(a.down(to_b).await, DownReason::Closed);
}

/// While the receiving node doesn't take its events, the sender is soon stopped, instead of anything growing.
pub async fn a_node_that_does_not_read_slows_the_sender(fixture: &Fixture) {
    let mut a = Node::open(fixture, TransportConfig { queue_max_bytes: 256 << 10, ..config(1) }).await;
    let mut b = Node::open_with(fixture, listening(fixture, 2), 1).await;
    a.dial(&b);
    let (to_b, _) = a.up().await;
    let (to_a, _) = b.up().await;
    let frame = Frame::from(vec![7; 32 << 10]);
    let mut accepted = 0;
    loop {
        accepted += a.fill(to_b, &frame);
        assert!(accepted * frame.len() < IN_FLIGHT_MAX_BYTES, "nothing stops the sender");
        match timeout(Duration::from_millis(QUIET_MS), a.events.recv()).await {
            Ok(event) => assert_eq!(event, Some(LinkEvent::Drained(to_b))),
            Err(_) => break,
        }
    }
    b.read(to_a, accepted * frame.len()).await;
    a.drained(to_b).await;
}

/// What was queued before `close` arrives, then `Remote` there and `Closed` here.
pub async fn close_flushes_what_was_queued(fixture: &Fixture) {
    let (mut a, to_b, mut b, to_a) = pair(fixture).await;
    for number in 0..2_000 {
        a.send(to_b, numbered(number, 500)).unwrap();
    }
    a.links().close(to_b);
    let mut next = 0;
    while next < 2_000 {
        check_numbered(&b.batch(to_a).await, &mut next);
    }
    assert_eq!(b.down(to_a).await, DownReason::Remote);
    assert_eq!(a.down(to_b).await, DownReason::Closed);
}

/// One `Down` for one `Up`, and nothing of that link after it, even if both ends close at once.
pub async fn down_comes_once_and_last(fixture: &Fixture) {
    let (mut a, to_b, mut b, to_a) = pair(fixture).await;
    for _ in 0..100 {
        a.send(to_b, vec![1; 1_000]).unwrap();
        b.send(to_a, vec![1; 1_000]).unwrap();
    }
    a.links().close(to_b);
    b.links().close(to_a);
    a.links().close(to_b);
    for (node, link) in [(&mut a, to_b), (&mut b, to_a)] {
        loop {
            match node.next().await {
                LinkEvent::Batch(from, _) => assert_eq!(from, link),
                LinkEvent::Down(down, _) => break assert_eq!(down, link),
                other => panic!("expected Batch or Down, got {other:?}"),
            }
        }
        node.quiet().await;
    }
}

/// A well-formed address where nobody is ends in `DialFailed`.
pub async fn a_dial_to_nowhere_fails(fixture: &Fixture) {
    let mut node = Node::open(fixture, config(1)).await;
    node.links().dial(&fixture.nowhere);
    node.dial_failed(&fixture.nowhere).await;
    node.quiet().await;
}

/// So does an address that isn't one, and one of another scheme.
pub async fn a_malformed_address_fails_as_a_dial(fixture: &Fixture) {
    let mut node = Node::open(fixture, config(1)).await;
    let foreign: PeerAddr = "no-such-scheme:x".parse().unwrap();
    for addr in fixture.malformed.iter().chain([&foreign]) {
        node.links().dial(addr);
        node.dial_failed(addr).await;
    }
}

/// Another network's key: no `Up` on either end, `DialFailed` at the dialler; the listener goes on.
pub async fn another_network_is_not_linked_to(fixture: &Fixture) {
    let network = LinkSecret([98; 32]);
    let mut stranger = Node::open(fixture, TransportConfig { network, ..config(3) }).await;
    let mut listener = Node::open(fixture, listening(fixture, 2)).await;
    stranger.dial(&listener);
    stranger.dial_failed(listener.addr.as_ref().unwrap()).await;
    listener.quiet().await;
    let dialler = Node::open(fixture, config(1)).await;
    linked(dialler, listener).await;
}

/// A node that dials itself gets `DialFailed` and no link, at neither end.
pub async fn a_node_does_not_link_to_itself(fixture: &Fixture) {
    let mut node = Node::open(fixture, listening(fixture, 1)).await;
    let addr = node.addr.clone().unwrap();
    node.links().dial(&addr);
    node.dial_failed(&addr).await;
    node.quiet().await;
}

/// Dropping the handle closes every link, stops listening, and lets go of the sink.
pub async fn dropping_the_handle_closes_everything(fixture: &Fixture) {
    let (mut a, to_b, mut b, to_a) = pair(fixture).await;
    let mut c = Node::open(fixture, config(3)).await;
    c.dial(&b);
    let (c_to_b, _) = c.up().await;
    let (b_to_c, _) = b.up().await;
    b.send(to_a, vec![9; 9]).unwrap();
    b.links = None;
    assert_eq!(a.read(to_b, 9).await, [9; 9], "what was queued is flushed");
    assert_eq!(a.down(to_b).await, DownReason::Remote);
    assert_eq!(c.down(c_to_b).await, DownReason::Remote);
    let mut down = HashSet::new();
    while let Some(event) = timeout(Duration::from_millis(WAIT_MS), b.events.recv()).await.expect("the sink's end") {
        match event {
            LinkEvent::Down(link, DownReason::Closed) => assert!(down.insert(link)),
            other => panic!("expected Down, got {other:?}"),
        }
    }
    assert_eq!(down, HashSet::from([to_a, b_to_c]));
    a.dial(&b);
    a.dial_failed(b.addr.as_ref().unwrap()).await;
}

/// Two links between the same nodes have ids, hashes and contents of their own.
pub async fn two_links_of_one_pair_are_distinct(fixture: &Fixture) {
    let (mut a, first_to_b, mut b, first_to_a) = pair(fixture).await;
    a.dial(&b);
    let (second_to_b, at_a) = a.up().await;
    let (second_to_a, at_b) = b.up().await;
    a.dial(&b);
    let (third_to_b, third_at_a) = a.up().await;
    let (third_to_a, _) = b.up().await;
    assert_eq!(HashSet::from([first_to_b, second_to_b, third_to_b]).len(), 3);
    assert_eq!(HashSet::from([first_to_a, second_to_a, third_to_a]).len(), 3);
    assert_eq!(at_a.handshake_hash, at_b.handshake_hash);
    assert_ne!(at_a.handshake_hash, third_at_a.handshake_hash);
    a.send(second_to_b, vec![2]).unwrap();
    assert_eq!(b.read(second_to_a, 1).await, [2]);
    a.send(first_to_b, vec![1]).unwrap();
    assert_eq!(b.read(first_to_a, 1).await, [1]);
    a.links().close(first_to_b);
    assert_eq!(b.down(first_to_a).await, DownReason::Remote);
    a.send(second_to_b, vec![3]).unwrap();
    assert_eq!(b.read(second_to_a, 1).await, [3]);
}

/// Two nodes that dial each other at once get two links, and both work.
pub async fn both_ends_may_dial_at_once(fixture: &Fixture) {
    let mut a = Node::open(fixture, listening(fixture, 1)).await;
    let mut b = Node::open(fixture, listening(fixture, 2)).await;
    a.dial(&b);
    b.dial(&a);
    let (a1, b1, a2, b2) = (a.up().await, b.up().await, a.up().await, b.up().await);
    for mine in [&a1, &a2] {
        let theirs = [&b1, &b2].into_iter().find(|theirs| theirs.1.handshake_hash == mine.1.handshake_hash).unwrap();
        assert_ne!(mine.1.direction == Direction::Incoming, theirs.1.direction == Direction::Incoming);
        a.send(mine.0, vec![4; 4]).unwrap();
        assert_eq!(b.read(theirs.0, 4).await, [4; 4]);
    }
}

/// A node that doesn't read fills its own link's queue; the sender's other links go on.
pub async fn a_slow_node_does_not_block_other_links(fixture: &Fixture) {
    let mut a = Node::open(fixture, TransportConfig { queue_max_bytes: 64 << 10, ..config(1) }).await;
    let slow = Node::open_with(fixture, listening(fixture, 2), 1).await;
    let mut quick = Node::open(fixture, listening(fixture, 3)).await;
    a.dial(&slow);
    let (to_slow, _) = a.up().await;
    a.dial(&quick);
    let (to_quick, _) = a.up().await;
    let (from_a, _) = quick.up().await;
    let frame = Frame::from(vec![7; 32 << 10]);
    for number in 0..200 {
        while a.send(to_slow, frame.clone()).is_ok() {}
        a.send(to_quick, numbered(number, 100)).unwrap();
        let mut next = number;
        check_numbered(&quick.batch(from_a).await, &mut next);
        assert_eq!(next, number + 1);
    }
    drop(slow);
}

/// Both ends send megabytes to each other through small queues and sinks, and neither stops.
pub async fn both_directions_at_once_under_load(fixture: &Fixture) {
    const FRAMES: u32 = 4_000;
    const FRAME_BYTES: usize = 2_000;
    let queue_max_bytes = 64 << 10;
    let mut a = Node::open_with(fixture, TransportConfig { queue_max_bytes, ..config(1) }, 2).await;
    let mut b = Node::open_with(fixture, TransportConfig { queue_max_bytes, ..listening(fixture, 2) }, 2).await;
    a.dial(&b);
    let (to_b, _) = a.up().await;
    let (to_a, _) = b.up().await;
    async fn both(node: &mut Node, link: LinkId) {
        let (mut sent, mut received) = (0, 0);
        let mut full = false;
        loop {
            while sent < FRAMES && !full {
                match node.send(link, numbered(sent, FRAME_BYTES)) {
                    Ok(()) => sent += 1,
                    Err(SendError::Full) => full = true,
                    Err(other) => panic!("{other:?}"),
                }
            }
            if sent == FRAMES && received == FRAMES {
                return;
            }
            match node.next().await {
                LinkEvent::Batch(_, batch) => check_numbered(&batch, &mut received),
                LinkEvent::Drained(_) => full = false,
                other => panic!("expected Batch or Drained, got {other:?}"),
            }
        }
    }
    tokio::join!(both(&mut a, to_b), both(&mut b, to_a));
}

/// Nothing heard for the idle time-out: the link goes down, here as `Idle`.
pub async fn a_silent_link_goes_down(fixture: &Fixture) {
    let a = Node::open(fixture, TransportConfig { idle_timeout: 100, ..config(1) }).await;
    let b = Node::open(fixture, listening(fixture, 2)).await;
    let (mut a, to_b, mut b, to_a) = linked(a, b).await;
    assert_eq!(a.down(to_b).await, DownReason::Idle);
    assert_eq!(b.down(to_a).await, DownReason::Remote);
}

/// Beyond the configured number of incoming links there is no further one, until one goes down.
pub async fn there_are_at_most_so_many_incoming_links(fixture: &Fixture) {
    let b = Node::open(fixture, TransportConfig { incoming_max: 2, ..listening(fixture, 2) }).await;
    let (a, _, b, to_a) = linked(Node::open(fixture, config(1)).await, b).await;
    let (_c, _, mut b, _) = linked(Node::open(fixture, config(3)).await, b).await;
    let mut d = Node::open(fixture, config(4)).await;
    d.dial(&b);
    d.dial_failed(b.addr.as_ref().unwrap()).await;
    b.quiet().await;
    drop(a);
    assert_eq!(b.down(to_a).await, DownReason::Remote);
    linked(d, b).await;
}

/// Many nodes link to one at once, and each talks over its own link.
pub async fn many_nodes_link_to_one(fixture: &Fixture) {
    const NODES: u8 = 40;
    let mut hub = Node::open(fixture, listening(fixture, 200)).await;
    let mut nodes = Vec::new();
    for secret in 1..=NODES {
        let node = Node::open(fixture, config(secret)).await;
        node.dial(&hub);
        nodes.push(node);
    }
    let mut links = HashSet::new();
    for _ in 0..NODES {
        let (link, _) = hub.up().await;
        assert!(links.insert(link));
        hub.send(link, b"welcome".to_vec()).unwrap();
    }
    for (number, node) in nodes.iter_mut().enumerate() {
        let (link, _) = node.up().await;
        assert_eq!(node.read(link, 7).await, b"welcome");
        node.send(link, vec![number as u8; 1 + number]).unwrap();
    }
    let mut heard = vec![0; usize::from(NODES)];
    while (0..).zip(&heard).any(|(number, bytes): (usize, &usize)| *bytes < number + 1) {
        match hub.next().await {
            LinkEvent::Batch(link, bytes) => {
                assert!(links.contains(&link));
                heard[usize::from(bytes[0])] += bytes.len();
            }
            other => panic!("expected Batch, got {other:?}"),
        }
    }
}

/// Listening where somebody else does is `Busy`, with the address in the text.
pub async fn an_address_in_use_is_busy(fixture: &Fixture) {
    let first = Node::open(fixture, listening(fixture, 1)).await;
    let taken = first.addr.as_ref().unwrap().rest().to_owned();
    let second = (fixture.make)(TransportConfig { listen: vec![taken.clone()], ..config(2) }).unwrap();
    let (sink, _events) = LinkSink::channel(SINK_CAPACITY);
    let error = second.open(sink).await.err().expect("an address in use");
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.context().contains(&taken), "{error} names the address");
}

/// Listening at what isn't an address is `Invalid`, with the address in the text; what was opened before it is closed.
pub async fn a_malformed_listening_address_is_invalid(fixture: &Fixture) {
    let good = (fixture.listen)();
    let listen = vec![good.clone(), fixture.malformed_listen.clone()];
    let (sink, _events) = LinkSink::channel(SINK_CAPACITY);
    let opened = match (fixture.make)(TransportConfig { listen, ..config(1) }) {
        Ok(transport) => transport.open(sink).await.map(drop),
        Err(error) => Err(error),
    };
    let error = opened.expect_err("a malformed address");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.context().contains(&fixture.malformed_listen), "{error} names the address");
    Node::open(fixture, TransportConfig { listen: vec![good], ..config(1) }).await;
}

/// A node whose end of the sink is gone: its links end.
pub async fn a_node_that_stops_taking_events_is_left(fixture: &Fixture) {
    let (mut a, to_b, b, to_a) = pair(fixture).await;
    let Node { links, events, .. } = b;
    drop(events);
    a.send(to_b, vec![1]).unwrap();
    assert_eq!(a.down(to_b).await, DownReason::Remote);
    assert_eq!(links.unwrap().try_send(to_a, vec![1].into()), Err(SendError::Gone));
}
