//! iroh-gossip over QUIC on loopback: no relay, no address lookup but a list in memory, no port mapper, no DNS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{PortmapperConfig, presets};
use iroh::protocol::Router;
use iroh::{Endpoint, RelayMode};
use iroh_gossip::api::{Event, GossipReceiver, GossipSender};
use iroh_gossip::net::Gossip;
use iroh_gossip::proto::HyparviewConfig;
use iroh_gossip::{ALPN, TopicId};

use super::{Counts, Network, Plan};
use crate::Result;
use crate::recorder::{Recorder, message_text};

/// How many peers a node keeps at its best setting. The default is 5.
pub const BEST_ACTIVE_VIEW: usize = 10;

/// How long the nodes may take to join, in seconds.
const JOINING_MAX_S: u64 = 30;

const TOPIC: TopicId = TopicId::from_bytes([7; 32]);

struct Iroh {
    senders: Vec<GossipSender>,
    gossips: Vec<Gossip>,
    recorder: Arc<Recorder>,
    size: usize,
    /// Dropped, they would close the endpoints.
    _routers: Vec<Router>,
}

/// Starts the nodes, and waits until all have joined.
pub(super) async fn start(plan: Plan, active_view: Option<usize>) -> Result<Arc<dyn Network>> {
    let addresses = MemoryLookup::new();
    let (mut senders, mut gossips, mut routers) = (Vec::new(), Vec::new(), Vec::new());
    let mut ids = Vec::new();
    for node in 0..plan.graph.nodes() {
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .portmapper_config(PortmapperConfig::Disabled)
            .clear_address_lookup()
            .address_lookup(addresses.clone())
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")
            .map_err(|error| error.to_string())?;
        let endpoint = endpoint.bind().await.map_err(|error| format!("node {node} can't listen: {error}"))?;
        addresses.add_endpoint_info(endpoint.addr());
        ids.push(endpoint.id());
        let mut builder = Gossip::builder();
        if let Some(active_view_capacity) = active_view {
            builder = builder.membership_config(HyparviewConfig { active_view_capacity, ..HyparviewConfig::default() });
        }
        let gossip = builder.spawn(endpoint.clone());
        routers.push(Router::builder(endpoint).accept(ALPN, gossip.clone()).spawn());

        let bootstrap: Vec<_> = plan.graph.dials(node).map(|peer| ids[peer]).collect();
        let first = bootstrap.is_empty();
        let mut topic = gossip.subscribe(TOPIC, bootstrap).await.map_err(|error| error.to_string())?;
        if !first {
            tokio::time::timeout(Duration::from_secs(JOINING_MAX_S), topic.joined())
                .await
                .map_err(|_| format!("node {node} hasn't joined after {JOINING_MAX_S} s"))?
                .map_err(|error| error.to_string())?;
        }
        let (sender, receiver) = topic.split();
        tokio::spawn(read(node, receiver, Arc::clone(&plan.recorder)));
        senders.push(sender);
        gossips.push(gossip);
    }
    Ok(Arc::new(Iroh { senders, gossips, recorder: plan.recorder, size: plan.size, _routers: routers }))
}

/// The application: it takes in what comes.
async fn read(node: usize, mut receiver: GossipReceiver, recorder: Arc<Recorder>) {
    while let Some(event) = receiver.next().await {
        match event {
            Ok(Event::Received(message)) => recorder.delivered(node, &message.content),
            Ok(Event::Lagged) => eprintln!("peers: node {node}: events were missed"),
            Ok(_) => {}
            Err(error) => eprintln!("peers: node {node}: {error}"),
        }
    }
    eprintln!("peers: node {node}: the topic is closed");
}

impl Network for Iroh {
    fn publish(self: Arc<Self>, from: usize, message: usize) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let text = Bytes::from(message_text(message, self.size));
            self.senders[from].broadcast(text).await.map_err(|error| error.to_string())
        })
    }

    fn counts(&self) -> Counts {
        let metrics = || self.gossips.iter().map(Gossip::metrics);
        let received: u64 = metrics().map(|metrics| metrics.msgs_data_recv.get()).sum();
        let up: u64 = metrics().map(|metrics| metrics.neighbor_up.get()).sum();
        let down: u64 = metrics().map(|metrics| metrics.neighbor_down.get()).sum();
        Counts {
            duplicates: Some(received.saturating_sub(self.recorder.deliveries())),
            message_bytes: self.size as u64,
            links: up.saturating_sub(down),
            ..Counts::default()
        }
    }
}
