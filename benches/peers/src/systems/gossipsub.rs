//! libp2p's gossipsub at its defaults (a mesh of 6), over TCP, Noise and yamux.
//!
//! Messages go by their author's key and sequence number (signed), or by their content's hash (unsigned: there is
//! nothing else to tell them apart by). There is no mDNS, no UPnP and no DNS in this build.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use libp2p::gossipsub::{
    Behaviour, ConfigBuilder, Event, IdentTopic, Message, MessageAuthenticity, MessageId, MetricsConfig, ValidationMode,
};
use libp2p::identity::Keypair;
use libp2p::metrics::Registry;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};
use tokio::sync::{mpsc, oneshot};

use super::{Counts, Network, Plan};
use crate::Result;
use crate::recorder::{Recorder, message_text};

/// How long the nodes may take to link and to form their meshes, in seconds.
const LINKING_MAX_S: u64 = 30;

/// How many peers gossipsub wants in a mesh at least (`mesh_n_low`'s default).
const MESH_MIN: usize = 5;

/// How many messages may wait for a node's task to take them up.
const COMMANDS_MAX: usize = 64;

/// Longer than any run: a link without traffic stays.
const IDLE_MAX: Duration = Duration::from_secs(3_600);

const TOPIC: &str = "bench";

/// The counters that are read off gossipsub's metrics: copies of messages, and messages.
const COPIES: &str = "topic_msg_recv_counts_unfiltered_total";
const MESSAGES: &str = "topic_msg_recv_counts_total";

enum Command {
    Publish(String, oneshot::Sender<Result<()>>),
    /// How many peers are in the mesh?
    Mesh(oneshot::Sender<usize>),
    Dial(Multiaddr),
}

struct Gossipsub {
    nodes: Vec<mpsc::Sender<Command>>,
    registries: Vec<Registry>,
    size: usize,
    links: Arc<AtomicU64>,
}

/// Starts the nodes, and waits until all are linked and have their meshes.
pub(super) async fn start(plan: Plan, signed: bool) -> Result<Arc<dyn Network>> {
    let links = Arc::new(AtomicU64::new(0));
    let mut nodes = Vec::new();
    let mut addresses: Vec<Multiaddr> = Vec::new();
    let mut registries = Vec::new();
    for node in 0..plan.graph.nodes() {
        let mut registry = plan.count_duplicates.then(Registry::default);
        let mut swarm = swarm(signed, registry.as_mut())?;
        let here = "/ip4/127.0.0.1/tcp/0".parse::<Multiaddr>().map_err(|error| error.to_string())?;
        swarm.listen_on(here).map_err(|error| format!("node {node} can't listen: {error}"))?;
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        registries.extend(registry);
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        tokio::spawn(run(node, swarm, inbox, Arc::clone(&plan.recorder), Arc::clone(&links)));
        for peer in plan.graph.dials(node) {
            send(&commands, Command::Dial(addresses[peer].clone())).await?;
        }
        addresses.push(address);
        nodes.push(commands);
    }
    let meshed = async {
        for (at, node) in nodes.iter().enumerate() {
            loop {
                let (reply, mesh) = oneshot::channel();
                send(node, Command::Mesh(reply)).await?;
                if mesh.await.map_err(|error| error.to_string())? >= plan.graph.degree(at).min(MESH_MIN) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok::<_, String>(())
    };
    tokio::time::timeout(Duration::from_secs(LINKING_MAX_S), meshed)
        .await
        .map_err(|_| format!("the nodes aren't meshed after {LINKING_MAX_S} s"))??;
    Ok(Arc::new(Gossipsub { nodes, registries, size: plan.size, links }))
}

async fn send(node: &mpsc::Sender<Command>, command: Command) -> Result<()> {
    node.send(command).await.map_err(|_| "the node has ended".to_owned())
}

fn swarm(signed: bool, registry: Option<&mut Registry>) -> Result<Swarm<Behaviour>> {
    let key = Keypair::generate_ed25519();
    let mut config = ConfigBuilder::default();
    let authenticity = if signed {
        config.validation_mode(ValidationMode::Strict);
        MessageAuthenticity::Signed(key.clone())
    } else {
        config.validation_mode(ValidationMode::Anonymous).message_id_fn(|message: &Message| {
            let mut hasher = DefaultHasher::new();
            message.data.hash(&mut hasher);
            MessageId::from(hasher.finish().to_be_bytes().to_vec())
        });
        MessageAuthenticity::Anonymous
    };
    let config = config.build().map_err(|error| error.to_string())?;
    let mut behaviour: Behaviour = Behaviour::new(authenticity, config)?;
    if let Some(registry) = registry {
        behaviour = behaviour.with_metrics(registry, MetricsConfig::default());
    }
    behaviour.subscribe(&IdentTopic::new(TOPIC)).map_err(|error| error.to_string())?;
    let builder = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .map_err(|error| error.to_string())?
        .with_behaviour(|_| behaviour)
        .map_err(|error| error.to_string())?;
    Ok(builder.with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_MAX)).build())
}

/// A node: its network, and the application that takes in what comes.
async fn run(
    node: usize,
    mut swarm: Swarm<Behaviour>,
    mut inbox: mpsc::Receiver<Command>,
    recorder: Arc<Recorder>,
    links: Arc<AtomicU64>,
) {
    let topic = IdentTopic::new(TOPIC);
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(Event::Message { message, .. }) => recorder.delivered(node, &message.data),
                SwarmEvent::Behaviour(Event::SlowPeer { failed_messages, .. }) => {
                    eprintln!("peers: node {node}: a peer is too slow: {failed_messages:?}");
                }
                SwarmEvent::ConnectionEstablished { .. } => {
                    links.fetch_add(1, Ordering::Relaxed);
                }
                SwarmEvent::ConnectionClosed { cause, .. } => {
                    links.fetch_sub(1, Ordering::Relaxed);
                    eprintln!("peers: node {node}: a link is down: {cause:?}");
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => {
                    eprintln!("peers: node {node}: dialling failed: {error}");
                }
                _ => {}
            },
            command = inbox.recv() => match command {
                Some(Command::Publish(text, reply)) => {
                    let sent = swarm.behaviour_mut().publish(topic.hash(), text);
                    let _ = reply.send(sent.map(drop).map_err(|error| error.to_string()));
                }
                Some(Command::Mesh(reply)) => {
                    let _ = reply.send(swarm.behaviour().mesh_peers(&topic.hash()).count());
                }
                Some(Command::Dial(address)) => {
                    if let Err(error) = swarm.dial(address) {
                        eprintln!("peers: node {node}: can't dial: {error}");
                    }
                }
                None => return,
            },
        }
    }
}

impl Network for Gossipsub {
    fn publish(self: Arc<Self>, from: usize, message: usize) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let (reply, sent) = oneshot::channel();
            send(&self.nodes[from], Command::Publish(message_text(message, self.size), reply)).await?;
            sent.await.map_err(|error| error.to_string())?
        })
    }

    fn counts(&self) -> Counts {
        let sum = |name| self.registries.iter().map(|registry| metric(registry, name)).sum::<u64>();
        let counted = !self.registries.is_empty();
        Counts {
            duplicates: counted.then(|| sum(COPIES).saturating_sub(sum(MESSAGES))),
            message_bytes: self.size as u64,
            links: self.links.load(Ordering::Relaxed),
            ..Counts::default()
        }
    }
}

/// A counter of a node's metrics, over all its labels.
fn metric(registry: &Registry, name: &str) -> u64 {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, registry).is_err() {
        return 0;
    }
    let lines = text.lines().filter(|line| line.starts_with(name) && line.as_bytes().get(name.len()) == Some(&b'{'));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
