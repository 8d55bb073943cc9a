//! The hub's faults, and virtual time.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use rumormill_api::{
    DownReason, ErrorKind, LinkEvent, LinkId, LinkSecret, LinkSink, Links, Registry, Transport, TransportConfig,
};
use rumormill_transport_memory::{Hub, MemoryTransport, NAME_MAX_BYTES, register, register_with};
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

type Node = (Box<dyn Links>, Receiver<LinkEvent>);

fn config(name: &str, secret: u8) -> TransportConfig {
    TransportConfig { listen: vec![name.to_owned()], secret: LinkSecret([secret; 32]), ..TransportConfig::default() }
}

async fn open(hub: &Hub, name: &str, secret: u8) -> Node {
    let (sink, mut events) = LinkSink::channel(16);
    let links = MemoryTransport::new(config(name, secret), hub.clone()).unwrap().open(sink).await.unwrap();
    assert!(matches!(events.recv().await.unwrap(), LinkEvent::Listening(_)));
    (links, events)
}

async fn up(node: &mut Node) -> LinkId {
    match node.1.recv().await.unwrap() {
        LinkEvent::Up(link, _) => link,
        other => panic!("expected Up, got {other:?}"),
    }
}

async fn two(hub: &Hub) -> (Node, LinkId, Node, LinkId) {
    let (mut a, mut b) = (open(hub, "a", 1).await, open(hub, "b", 2).await);
    a.0.dial(&"memory:b".parse().unwrap());
    let (to_b, to_a) = (up(&mut a).await, up(&mut b).await);
    (a, to_b, b, to_a)
}

#[tokio::test(start_paused = true)]
async fn a_partition_cuts_links_and_dials_until_healed() {
    let hub = Hub::new();
    let (mut a, to_b, mut b, to_a) = two(&hub).await;
    let mut c = open(&hub, "c", 3).await;
    c.0.dial(&"memory:b".parse().unwrap());
    let (c_to_b, _) = (up(&mut c).await, up(&mut b).await);

    hub.partition(&["a"], &["b"]);
    let cut = DownReason::Io("the hub is partitioned".to_owned());
    assert_eq!(a.1.recv().await, Some(LinkEvent::Down(to_b, cut.clone())));
    assert_eq!(b.1.recv().await, Some(LinkEvent::Down(to_a, cut)));
    for (node, other) in [(&mut a, "memory:b"), (&mut b, "memory:a")] {
        node.0.dial(&other.parse().unwrap());
        assert!(matches!(node.1.recv().await.unwrap(), LinkEvent::DialFailed(..)));
    }
    c.0.try_send(c_to_b, vec![1].into()).unwrap();
    assert!(matches!(b.1.recv().await.unwrap(), LinkEvent::Batch(..)), "the others' links stay");

    hub.heal();
    a.0.dial(&"memory:b".parse().unwrap());
    up(&mut a).await;
    up(&mut b).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_takes_no_virtual_time_or_exactly_the_delay() {
    let hub = Hub::new();
    let (a, to_b, mut b, to_a) = two(&hub).await;
    for delay in [Duration::ZERO, Duration::from_millis(250)] {
        hub.set_delay(delay);
        let start = Instant::now();
        a.0.try_send(to_b, b"hello".to_vec().into()).unwrap();
        assert_eq!(b.1.recv().await, Some(LinkEvent::Batch(to_a, b"hello".to_vec().into())));
        assert_eq!(start.elapsed(), delay);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_goes_down_in_virtual_time() {
    let hub = Hub::new();
    let (mut a, to_b, _b, _) = two(&hub).await;
    let start = Instant::now();
    let down = a.1.recv().await.unwrap();
    assert!(matches!(down, LinkEvent::Down(link, DownReason::Idle | DownReason::Remote) if link == to_b));
    assert_eq!(start.elapsed(), Duration::from_millis(TransportConfig::default().idle_timeout));
}

#[tokio::test(start_paused = true)]
async fn closing_a_link_to_a_node_that_does_not_read_takes_a_second() {
    let hub = Hub::new();
    let (mut a, to_b, b, _) = two(&hub).await;
    for _ in 0..30 {
        // More batches than the sink holds, each of a size that nothing is put together with.
        a.0.try_send(to_b, vec![1; 60_000].into()).unwrap();
    }
    let start = Instant::now();
    a.0.close(to_b);
    assert_eq!(a.1.recv().await, Some(LinkEvent::Down(to_b, DownReason::Closed)));
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    drop(b);
}

#[tokio::test]
async fn hubs_are_apart_and_the_registry_knows_both_ways() {
    let mut registry = Registry::default();
    register(&mut registry);
    assert_eq!(registry.transport_names(), ["memory"]);
    let hub = Hub::new();
    register_with(&mut registry, hub.clone());
    let (sink, _events) = LinkSink::channel(4);
    let transport = registry.transport("memory", config("a", 1)).unwrap();
    let _links = transport.open(sink).await.unwrap();

    let elsewhere = open(&Hub::new(), "a", 2).await;
    drop(elsewhere);
    let here: Arc<dyn Transport> = Arc::new(MemoryTransport::new(config("a", 2), hub).unwrap());
    let (sink, _events) = LinkSink::channel(4);
    assert_eq!(here.open(sink).await.err().unwrap().kind(), ErrorKind::Busy);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let new = |config| MemoryTransport::new(config, Hub::new()).map(drop).map_err(|error| error.kind());
    assert_eq!(new(config(&"n".repeat(NAME_MAX_BYTES), 1)), Ok(()));
    assert_eq!(new(config(&"n".repeat(NAME_MAX_BYTES + 1), 1)), Err(ErrorKind::Invalid));
    assert_eq!(new(config("", 1)), Err(ErrorKind::Invalid));
    let proxy = Some("socks5://127.0.0.1:9050".to_owned());
    assert_eq!(new(TransportConfig { proxy, ..config("a", 1) }), Err(ErrorKind::Invalid));
    let options = [("speed".to_owned(), "high".to_owned())].into();
    assert_eq!(new(TransportConfig { options, ..config("a", 1) }), Err(ErrorKind::Invalid));
}
