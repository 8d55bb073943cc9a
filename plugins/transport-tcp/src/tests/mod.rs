//! What the conformance suite can't see: the bytes, the clock, and peers that misbehave.
#![allow(clippy::unwrap_used)]

mod hostile;
mod records;
mod settings;
mod socks;
mod vectors;

use std::time::Duration;

use rumormill_api::{LinkEvent, LinkId, LinkSecret, LinkSink, TransportConfig};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::TcpTransport;
use crate::noise::Keys;
use crate::shared::TcpLinks;

const NETWORK: [u8; 32] = [99; 32];

fn config(secret: u8) -> TransportConfig {
    TransportConfig {
        listen: vec!["127.0.0.1:0".to_owned()],
        secret: LinkSecret([secret; 32]),
        network: LinkSecret(NETWORK),
        ..TransportConfig::default()
    }
}

fn keys(secret: u8) -> Keys {
    Keys::new(LinkSecret([secret; 32]), LinkSecret(NETWORK))
}

/// A node that listens, where, and its events.
async fn node(config: TransportConfig) -> (TcpLinks, String, Receiver<LinkEvent>) {
    let (sink, mut events) = LinkSink::channel(64);
    let links = TcpTransport::new(config).unwrap().open_links(sink).await.unwrap();
    let LinkEvent::Listening(addr) = events.try_recv().unwrap() else { panic!("expected Listening") };
    (links, addr.rest().to_owned(), events)
}

async fn next(events: &mut Receiver<LinkEvent>) -> LinkEvent {
    timeout(Duration::from_secs(20), events.recv()).await.expect("an event").expect("an open sink")
}

async fn up(events: &mut Receiver<LinkEvent>) -> LinkId {
    match next(events).await {
        LinkEvent::Up(link, _) => link,
        other => panic!("expected Up, got {other:?}"),
    }
}

async fn connect(addr: &str) -> TcpStream {
    TcpStream::connect(addr).await.unwrap()
}
