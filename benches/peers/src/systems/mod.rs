//! One adapter per system. Each runs N whole nodes in this process, linked over loopback.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;

use crate::Result;
use crate::graph::Graph;
use crate::recorder::Recorder;

#[cfg(feature = "gossipsub")]
pub mod gossipsub;
#[cfg(feature = "iroh")]
pub mod iroh;
#[cfg(feature = "rumor")]
pub mod rumor;

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Rumormill: TCP, Noise, sealed and signed envelopes, history.
    Rumor,
    /// libp2p gossipsub over TCP, Noise, yamux; messages signed by their author and checked by everyone.
    GossipsubSigned,
    /// The same without signatures; messages go by their content's hash.
    GossipsubUnsigned,
    /// iroh-gossip over QUIC, with its defaults.
    IrohDefault,
    /// iroh-gossip with an active view of 10.
    IrohBest,
}

/// A running network of whole nodes.
pub trait Network: Send + Sync {
    /// Node `from` says the message of that number. Returns once the system has taken it.
    fn publish(self: Arc<Self>, from: usize, message: usize) -> BoxFuture<'static, Result<()>>;

    /// What the nodes have counted so far.
    fn counts(&self) -> Counts;

    /// How many members read each message, where not everyone does.
    fn readers(&self) -> u64 {
        0
    }

    /// Hands the recorder the delays that the system found out on its own.
    fn report_delays(&self) {}
}

/// What the nodes of a network have counted, added up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Copies of messages that had been here. `None`: this run doesn't count them.
    pub duplicates: Option<u64>,
    /// Messages that came because they were asked for, not in the flood.
    pub repaired: u64,
    /// Messages that came because an announcement of them was followed up.
    pub pulled: u64,
    /// Messages left to repair by a limit of the receiving node.
    pub put_off: u64,
    /// How long a message is as it is relayed, on average, in bytes; 0 before the first one.
    pub message_bytes: u64,
    /// Links up.
    pub links: u64,
}

/// What is started.
pub struct Plan {
    /// Who dials whom.
    pub graph: Graph,
    /// How long a message's text is, in bytes.
    pub size: usize,
    /// Who is told of deliveries.
    pub recorder: Arc<Recorder>,
    /// Whether duplicates are counted where that costs.
    pub count_duplicates: bool,
    /// Rumormill's own settings.
    pub rumor: RumorOptions,
}

/// Rumormill's own settings.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct RumorOptions {
    /// The history backend: memory or redb. Default: memory to measure; redb under churn, where a node that starts
    /// again has only what it kept.
    #[arg(long)]
    pub history: Option<String>,
    /// Rooms: of two members each, or one of all nodes.
    #[arg(long, value_enum, default_value_t = Rooms::Pairs)]
    pub rooms: Rooms,
    /// How messages spread: flood or adaptive. Default: the program's.
    #[arg(long)]
    pub mode: Option<String>,
    /// Adaptive: how many full copies a message is wanted in. Default: the program's.
    #[arg(long)]
    pub eager: Option<u8>,
    /// Further lines of each node's config file; \n separates them.
    #[arg(long, default_value = "")]
    pub config: String,
}

impl RumorOptions {
    /// The lines of a config file that say so.
    #[must_use]
    pub fn config_lines(&self) -> String {
        let mut lines = String::new();
        if self.mode.is_some() || self.eager.is_some() {
            lines.push_str("[dissemination]\n");
        }
        if let Some(mode) = &self.mode {
            lines.push_str(&format!("mode = {mode:?}\n"));
        }
        if let Some(eager) = self.eager {
            lines.push_str(&format!("eager = {eager}\n"));
        }
        lines + &self.config.replace("\\n", "\n")
    }
}

/// Who can read what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Rooms {
    /// Two members a room: everyone else relays what they can't read.
    Pairs,
    /// One room of which every node is a member.
    One,
}

impl System {
    /// Starts the nodes, and waits until all are linked.
    ///
    /// # Errors
    ///
    /// A node doesn't start or doesn't link, or the system isn't compiled in.
    pub async fn start(self, plan: Plan) -> Result<Arc<dyn Network>> {
        match self {
            #[cfg(feature = "rumor")]
            Self::Rumor => rumor::start(plan).await,
            #[cfg(feature = "gossipsub")]
            Self::GossipsubSigned => gossipsub::start(plan, true).await,
            #[cfg(feature = "gossipsub")]
            Self::GossipsubUnsigned => gossipsub::start(plan, false).await,
            #[cfg(feature = "iroh")]
            Self::IrohDefault => iroh::start(plan, None).await,
            #[cfg(feature = "iroh")]
            Self::IrohBest => iroh::start(plan, Some(iroh::BEST_ACTIVE_VIEW)).await,
            #[allow(unreachable_patterns, reason = "with every feature, every system is there")]
            _ => Err(format!("{self:?} isn't compiled in; valid are cargo's features rumor, gossipsub, iroh")),
        }
    }
}
