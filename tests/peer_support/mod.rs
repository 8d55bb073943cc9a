//! A scripted peer, which a node knows by its link alone: it says what it pleases, be it what no honest node would.
#![allow(dead_code, clippy::unwrap_used, reason = "shared by tests and a benchmark, each of which uses a part")]

use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use rumormill::api::{LinkEvent, LinkId, LinkSecret, LinkSink, Links, PeerAddr, Transport, TransportConfig};
use rumormill::proto::wire::{Hello, LINK_VERSION, LINK_VERSION_MIN, Message, RECON_MAX_BYTES};
use tokio::sync::mpsc;

/// What may have come and not been looked at before the transport waits.
const EVENTS_MAX: usize = 4_096;

/// A link to a node.
pub(crate) struct Linked {
    pub(crate) links: Arc<dyn Links>,
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    pub(crate) link: LinkId,
    /// The peer's own.
    pub(crate) key: SigningKey,
    /// Where the node is.
    node: PeerAddr,
}

impl Linked {
    /// Links up with a node of the open network, with the key of that seed; says nothing yet.
    pub(crate) async fn dial(
        node: &PeerAddr,
        seed: u8,
        transport: impl FnOnce(TransportConfig) -> Arc<dyn Transport>,
    ) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let network = LinkSecret(blake3::derive_key("rumormill network key v1", b"open"));
        let config =
            TransportConfig { secret: LinkSecret(key.to_scalar_bytes()), network, ..TransportConfig::default() };
        let (sink, mut events) = LinkSink::channel(EVENTS_MAX);
        let links: Arc<dyn Links> = transport(config).open(sink).await.unwrap().into();
        links.dial(node);
        let link = loop {
            match events.recv().await.expect("the transport goes on") {
                LinkEvent::Up(link, _) => break link,
                LinkEvent::DialFailed(addr, reason) => panic!("{addr}: {reason}"),
                _ => {}
            }
        };
        Self { links, events, link, key, node: node.clone() }
    }

    /// The HELLO of a peer of every version that there is, which has no address of its own; after a change.
    pub(crate) fn hello(&self, change: impl FnOnce(&mut Hello)) -> Bytes {
        let mut hello = Hello {
            version_min: LINK_VERSION_MIN,
            version_max: LINK_VERSION,
            probe: false,
            recon_max: u16::try_from(RECON_MAX_BYTES).unwrap(),
            link_key: self.key.verifying_key().to_bytes(),
            seen_as: self.node.clone(),
            record: None,
        };
        change(&mut hello);
        Message::Hello(hello).encode()
    }

    pub(crate) fn send(&self, frame: Bytes) {
        self.links.try_send(self.link, frame).expect("the link is up and its queue has room");
    }
}
