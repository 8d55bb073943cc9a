//! Nodes that stop and start again and links that are cut, while messages are sent: then every message that was
//! acknowledged must be at every node.
//!
//! Nodes are whole ones, in this process, over TCP. Each link goes through a relay of the harness, which cuts it in the
//! middle of whatever it carries. Stores are the nodes' own; what is in them at the end is asked of the nodes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rumormill::api::{Entry, MsgId};
use rumormill::node::{Event, Handle, HistoryQuery, Node, NodeApi, SendOptions};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{AbortHandle, JoinSet};

use crate::Result;
use crate::graph::{Graph, Random};
use crate::recorder::message_text;
use crate::rumor_node::{CHAT, NodePlan};
use crate::systems::RumorOptions;

/// How long a node may take to stop, in seconds.
const STOP_MAX_S: u64 = 30;

/// How long the network may take to link at the beginning, in seconds.
const LINKING_MAX_S: u64 = 30;

/// How often it is looked whether all is there.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long a node that was stopped stays away, in ms: from, to.
const AWAY_MS: (u64, u64) = (50, 800);

/// How long a link that was cut stays cut, in ms: from, to.
const CUT_MS: (u64, u64) = (0, 500);

/// How long a text is, in bytes.
const TEXT_BYTES: usize = 64;

/// How many messages of a history are asked for. A run sends fewer.
pub const MESSAGES_MAX: usize = 5_000;

/// One run.
#[derive(Clone, Debug)]
pub struct ChurnPlan {
    /// How many nodes.
    pub nodes: usize,
    /// How many messages are sent.
    pub messages: usize,
    /// Over how long they are spread, with the stops and cuts.
    pub traffic: Duration,
    /// How many times a node is stopped and started again.
    pub stops: usize,
    /// How many times a link is cut.
    pub cuts: usize,
    /// How long after the traffic a message that isn't everywhere counts as hanging.
    pub hang_after: Duration,
    /// How long after it one counts as lost.
    pub lost_after: Duration,
    /// What is random derives from it.
    pub seed: u64,
    /// Rumormill's own settings.
    pub rumor: RumorOptions,
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Messages that were acknowledged.
    pub acknowledged: usize,
    /// Sends that were refused, because the node was stopping.
    pub refused: usize,
    /// Node by node, acknowledged messages that aren't there.
    pub missing: Vec<(usize, usize)>,
    /// Envelopes that came live.
    pub live: u64,
    /// Envelopes that came by repair.
    pub repaired: u64,
    /// Nodes stopped and started.
    pub stops: usize,
    /// Links cut.
    pub cuts: usize,
    /// How many (message, node) pairs were missing when they counted as hanging.
    pub hung: usize,
    /// From the end of the traffic, all nodes started, until all was everywhere.
    pub quiet: Duration,
}

impl Outcome {
    /// How many (message, node) pairs are lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.missing.iter().map(|(_, missing)| missing).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A link's relay: what dials it is connected to the node behind it.
struct Relay {
    address: SocketAddr,
    target: Mutex<Option<SocketAddr>>,
    carrying: Mutex<Vec<AbortHandle>>,
    /// Until when it refuses, after a cut.
    cut_until: Mutex<Option<Instant>>,
}

impl Relay {
    async fn start(tasks: &mut JoinSet<()>) -> Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| format!("no relay: {error}"))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let relay = Arc::new(Self {
            address,
            target: Mutex::default(),
            carrying: Mutex::default(),
            cut_until: Mutex::default(),
        });
        tasks.spawn(Arc::clone(&relay).run(listener));
        Ok(relay)
    }

    async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut links = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            while links.try_join_next().is_some() {}
            let target = *lock(&self.target);
            let cut = lock(&self.cut_until).is_some_and(|until| Instant::now() < until);
            let Some(target) = target.filter(|_| !cut) else { continue };
            let carry = links.spawn(async move {
                let Ok(mut far) = TcpStream::connect(target).await else { return };
                let _ = near.set_nodelay(true);
                let _ = far.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
            let mut carrying = lock(&self.carrying);
            carrying.retain(|link| !link.is_finished());
            carrying.push(carry);
        }
    }

    /// Drops both ends, with what was under way between them.
    fn cut(&self, away: Duration) {
        *lock(&self.cut_until) = Some(Instant::now() + away);
        lock(&self.carrying).drain(..).for_each(|link| link.abort());
    }
}

/// A node's place in the network: the node itself comes and goes.
struct Place {
    number: usize,
    folder: PathBuf,
    /// The relays of the links that others dial.
    incoming: Vec<Arc<Relay>>,
    /// The addresses that it dials: relays.
    peers: Vec<String>,
    rumor: RumorOptions,
    /// What its store was seen to take: cheap to look at; what is there in the end is asked of the node.
    stored: Arc<Mutex<HashSet<MsgId>>>,
    running: Mutex<Option<Running>>,
    counted: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Clone)]
struct Running {
    node: Arc<Node>,
    handle: Handle,
    /// Taken by who waits for its end.
    events: Arc<tokio::sync::Mutex<broadcast::Receiver<Event>>>,
}

impl Place {
    async fn start(&self) -> Result<()> {
        let stored = Arc::clone(&self.stored);
        let history = self.rumor.history.as_deref().unwrap_or("redb");
        if history == "memory" {
            lock(&stored).clear();
        }
        let plan = NodePlan {
            node: self.number,
            peers: self.peers.clone(),
            room: 0,
            history: history.to_owned(),
            config: self.rumor.config_lines(),
        };
        let on_append = Arc::new(move |batch: &[Entry]| {
            let mut stored = lock(&stored);
            stored.extend(batch.iter().filter_map(|entry| match entry {
                Entry::Window { id, .. } => Some(*id),
                Entry::Archive { .. } | Entry::State { .. } => None,
            }));
        });
        let started = plan.start(&self.folder, on_append).await?;
        let address: SocketAddr = started.address.parse().map_err(|_| "a node's address is no address".to_owned())?;
        for relay in &self.incoming {
            *lock(&relay.target) = Some(address);
        }
        let events = Arc::new(tokio::sync::Mutex::new(started.events));
        *lock(&self.running) = Some(Running { node: started.node, handle: started.handle, events });
        Ok(())
    }

    fn handle(&self) -> Option<Handle> {
        lock(&self.running).as_ref().map(|running| running.handle.clone())
    }

    fn node(&self) -> Option<Arc<Node>> {
        lock(&self.running).as_ref().map(|running| Arc::clone(&running.node))
    }

    fn note_counters(&self, node: &Node) {
        let mut counted = lock(&self.counted);
        for (name, count) in node.counters() {
            *counted.entry(name).or_default() += count;
        }
    }

    /// Stops the node and waits for its end: everything that it acknowledged is in its store then.
    async fn stop(&self) -> Result<()> {
        let Some(running) = lock(&self.running).take() else { return Ok(()) };
        for relay in &self.incoming {
            *lock(&relay.target) = None;
        }
        running.node.shutdown();
        let mut events = running.events.lock().await;
        let stopped = async {
            loop {
                match events.recv().await {
                    Ok(Event::Stopped) | Err(RecvError::Closed) => break,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                }
            }
        };
        let stopped = tokio::time::timeout(Duration::from_secs(STOP_MAX_S), stopped).await;
        self.note_counters(&running.node);
        stopped.map_err(|_| format!("node {} doesn't stop within {STOP_MAX_S} s", self.number))
    }
}

struct World {
    plan: ChurnPlan,
    places: Vec<Arc<Place>>,
    relays: Vec<Arc<Relay>>,
    /// Ends with the world.
    _tasks: JoinSet<()>,
    _folder: TempDir,
}

/// One run.
///
/// # Errors
///
/// A node doesn't start or stop, or the network doesn't link at the beginning.
pub async fn run(plan: ChurnPlan) -> Result<Outcome> {
    let world = World::start(plan).await?;
    world.linked().await?;
    let mut outcome = Outcome { stops: world.plan.stops, cuts: world.plan.cuts, ..Outcome::default() };
    let acknowledged = world.traffic(&mut outcome).await?;
    outcome.acknowledged = acknowledged.len();
    world.settle(&acknowledged, &mut outcome).await?;
    for place in &world.places {
        place.stop().await?;
        let counted = lock(&place.counted);
        outcome.live += counted.get("accepted").copied().unwrap_or(0);
        outcome.repaired += counted.get("item_accepted").copied().unwrap_or(0);
    }
    Ok(outcome)
}

impl World {
    async fn start(plan: ChurnPlan) -> Result<Self> {
        let graph = Graph::random(plan.nodes, plan.seed);
        let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let mut tasks = JoinSet::new();
        let mut relays = BTreeMap::new();
        for link in graph.links() {
            relays.insert(link, Relay::start(&mut tasks).await?);
        }
        let mut places = Vec::new();
        for number in 0..plan.nodes {
            let of = |fits: &dyn Fn(&(usize, usize)) -> bool| {
                relays.iter().filter(|(link, _)| fits(link)).map(|(_, relay)| Arc::clone(relay)).collect::<Vec<_>>()
            };
            let place = Place {
                number,
                folder: folder.path().join(format!("n{number}")),
                incoming: of(&|(listens, _)| *listens == number),
                peers: of(&|(_, dials)| *dials == number).iter().map(|relay| relay.address.to_string()).collect(),
                rumor: plan.rumor.clone(),
                stored: Arc::default(),
                running: Mutex::default(),
                counted: Mutex::default(),
            };
            place.start().await?;
            places.push(Arc::new(place));
        }
        Ok(Self { plan, places, relays: relays.into_values().collect(), _tasks: tasks, _folder: folder })
    }

    async fn linked(&self) -> Result<()> {
        let wanted = self.relays.len() * 2;
        let until = Instant::now() + Duration::from_secs(LINKING_MAX_S);
        while self.places.iter().filter_map(|place| place.node()).map(|node| node.peers().len()).sum::<usize>() < wanted
        {
            if Instant::now() > until {
                return Err(format!("the nodes aren't linked after {LINKING_MAX_S} s"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Messages, stops and cuts, all spread over the same time. The ids of what was acknowledged.
    async fn traffic(&self, outcome: &mut Outcome) -> Result<BTreeSet<MsgId>> {
        let mut random = Random::new(self.plan.seed ^ 0x6368_7572_6e21);
        let span = u64::try_from(self.plan.traffic.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut between = |from: u64, to: u64| from + random.draw() % (to - from).max(1);
        enum Do {
            Say(usize),
            Stop(usize, Duration),
            Cut(usize, Duration),
        }
        let mut todo: Vec<(u64, Do)> = Vec::new();
        for message in 0..self.plan.messages {
            todo.push((between(0, span), Do::Say(message)));
        }
        for _ in 0..self.plan.stops {
            let node = between(0, self.places.len() as u64) as usize;
            let away = Duration::from_millis(between(AWAY_MS.0, AWAY_MS.1));
            todo.push((between(0, span), Do::Stop(node, away)));
        }
        for _ in 0..self.plan.cuts {
            let link = between(0, self.relays.len() as u64) as usize;
            let away = Duration::from_millis(between(CUT_MS.0, CUT_MS.1));
            todo.push((between(0, span), Do::Cut(link, away)));
        }
        todo.sort_by_key(|(at, _)| *at);

        let start = tokio::time::Instant::now();
        let mut sends: JoinSet<Option<MsgId>> = JoinSet::new();
        let mut stops: JoinSet<Result<()>> = JoinSet::new();
        // A node is away once at a time.
        let mut busy: Vec<Arc<tokio::sync::Mutex<()>>> = Vec::new();
        busy.resize_with(self.places.len(), Arc::default);
        for (at, what) in todo {
            tokio::time::sleep_until(start + Duration::from_millis(at)).await;
            match what {
                Do::Say(message) => {
                    // Whoever runs, beginning with the one whose turn it is.
                    let turns = (0..self.places.len()).map(|turn| (message + turn) % self.places.len());
                    let Some(handle) = turns.map(|at| &self.places[at]).find_map(|place| place.handle()) else {
                        outcome.refused += 1;
                        continue;
                    };
                    sends.spawn(async move {
                        let text = message_text(message, TEXT_BYTES);
                        handle.send(CHAT, &text, SendOptions::default()).await.ok()
                    });
                }
                Do::Stop(node, away) => {
                    let (place, busy) = (Arc::clone(&self.places[node]), Arc::clone(&busy[node]));
                    stops.spawn(async move {
                        let _busy = busy.lock().await;
                        place.stop().await?;
                        tokio::time::sleep(away).await;
                        place.start().await
                    });
                }
                Do::Cut(link, away) => self.relays[link].cut(away),
            }
        }
        let mut acknowledged = BTreeSet::new();
        while let Some(sent) = sends.join_next().await {
            match sent.map_err(|error| error.to_string())? {
                Some(id) => drop(acknowledged.insert(id)),
                None => outcome.refused += 1,
            }
        }
        while let Some(stop) = stops.join_next().await {
            stop.map_err(|error| error.to_string())??;
        }
        Ok(acknowledged)
    }

    /// Waits until everything is everywhere, or for as long as the plan says.
    async fn settle(&self, acknowledged: &BTreeSet<MsgId>, outcome: &mut Outcome) -> Result<()> {
        let start = Instant::now();
        let mut hung = None;
        loop {
            let missing = self.missing(acknowledged);
            outcome.quiet = start.elapsed();
            if missing == 0 || outcome.quiet >= self.plan.lost_after {
                break;
            }
            if outcome.quiet >= self.plan.hang_after {
                hung.get_or_insert(missing);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        outcome.hung = hung.unwrap_or(0);
        // What counts is what the nodes themselves show.
        for place in &self.places {
            let node = place.node().ok_or("a node that was started doesn't run")?;
            let query = HistoryQuery { limit: MESSAGES_MAX, before: None };
            let history = node.history(CHAT, query).await.map_err(|error| error.to_string())?;
            let shown: HashSet<MsgId> = history.iter().map(|message| message.id).collect();
            let missing = acknowledged.iter().filter(|id| !shown.contains(*id)).count();
            if missing > 0 {
                outcome.missing.push((place.number, missing));
            }
        }
        Ok(())
    }

    fn missing(&self, acknowledged: &BTreeSet<MsgId>) -> usize {
        let missing = |place: &Arc<Place>| {
            let stored = lock(&place.stored);
            acknowledged.iter().filter(|id| !stored.contains(*id)).count()
        };
        self.places.iter().map(missing).sum()
    }
}
