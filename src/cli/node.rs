//! `rumor --config FILE`: runs a node.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rumormill::Builder;
use rumormill::config::Config;
use rumormill::node::{Commands, Event, Handle};
use rumormill::state::{Profile, append_private};
use rumormill::ui::{self, Frontend, UiOptions};
use tokio::sync::broadcast;

use super::{Failure, NodeArgs, log, now};

/// How long background work may take to notice the end, in milliseconds. Everything acknowledged is on disk by then.
const LEFTOVERS_MS: u64 = 500;

pub(super) fn run(args: &NodeArgs) -> Result<(), Failure> {
    let Some(file) = &args.config else { return Err(Failure::new("--config FILE is missing")) };
    let config = load(file, args.state.as_deref())?;
    let scripts = scripts(&config);
    let frontend = args.frontend();
    let mut options = UiOptions::detect(now);
    let terminal = frontend == Frontend::Line && options.terminal;

    let profile = Profile::open(&config.state).map_err(Failure::new)?;
    options.lines_file = Some(profile.lines_file());
    let log_file = config.log.file.clone().or_else(|| terminal.then(|| profile.log_file()));
    let log_file = log_file.map(|path| append_private(&path)).transpose().map_err(Failure::new)?;
    log::start(args.log_level.unwrap_or(config.log.level), log_file)?;

    launch(Launch { config, profile, scripts, frontend, options, terminal, headless: false })
}

/// Reads a config, and puts the profile's folder where the command line says.
pub(super) fn load(file: &Path, state: Option<&Path>) -> Result<Config, Failure> {
    let mut config = Config::load_with(file, &rumormill::plugins::compiled_in()).map_err(Failure::new)?;
    if let Some(state) = state {
        config.state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
    }
    Ok(config)
}

/// A node to be, and how it is shown.
pub(super) struct Launch {
    pub(super) config: Config,
    pub(super) profile: Profile,
    pub(super) scripts: Scripts,
    pub(super) frontend: Frontend,
    pub(super) options: UiOptions,
    pub(super) terminal: bool,
    /// Whether nobody types.
    pub(super) headless: bool,
}

/// Runs a node until it is told to stop.
pub(super) fn launch(launch: Launch) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("can't start the runtime: {error}")))?;
    let result = runtime.block_on(serve(launch));
    runtime.shutdown_timeout(Duration::from_millis(LEFTOVERS_MS));
    result
}

async fn serve(launch: Launch) -> Result<(), Failure> {
    let Launch { config, profile, scripts, frontend, options, terminal, headless } = launch;
    let mut signals = Signals::listen(terminal)?;
    let Started { handle, commands, events, stop_scripts } = start_node(config, profile, scripts).await?;
    let stop = handle.clone();
    let frontend = async {
        match headless {
            true => ui::run_headless(frontend, handle, commands, events, options).await,
            false => ui::run(frontend, handle, commands, events, options).await,
        }
    };
    tokio::pin!(frontend);
    let ended = tokio::select! {
        ended = &mut frontend => Some(ended),
        () = signals.next() => {
            stop.shutdown();
            None
        }
    };
    let ended = match ended {
        Some(ended) => ended.map_err(Failure::new),
        None => tokio::select! {
            ended = &mut frontend => ended.map_err(Failure::new),
            () = signals.next() => Err(Failure::new("told to stop twice: ended before everything was written")),
        },
    };
    // The scripts' `unload` observers run now; they take as long as their budgets, on no thread of the runtime.
    if let Err(error) = tokio::task::spawn_blocking(stop_scripts).await {
        tracing::error!(%error, "stopping the scripts failed");
    }
    ended
}

/// A running node, as a frontend needs it.
struct Started {
    handle: Handle,
    commands: Arc<dyn Commands>,
    /// Subscribed before the node started, so that nothing is missed.
    events: broadcast::Receiver<Event>,
    /// Ends the script host; blocks until it has ended.
    stop_scripts: Box<dyn FnOnce() + Send>,
}

/// How the script host is set up.
#[cfg(feature = "luau")]
pub(super) type Scripts = rumormill::script::HostConfig;
/// Without Lua there is nothing to set up.
#[cfg(not(feature = "luau"))]
pub(super) struct Scripts;

/// Without Lua there is nothing to set up.
#[cfg(not(feature = "luau"))]
const fn scripts(_: &Config) -> Scripts {
    Scripts
}

/// What the config says about scripts.
#[cfg(feature = "luau")]
pub(super) fn scripts(config: &Config) -> Scripts {
    use rumormill::script::{Budgets, HostConfig};
    HostConfig {
        folder: config.lua.folder.clone(),
        budgets: Budgets::of(&config.lua.limits),
        scripts: config.scripts.clone(),
        watch: true,
        ..HostConfig::default()
    }
}

/// Starts the script host and the node.
#[cfg(feature = "luau")]
async fn start_node(config: Config, profile: Profile, mut host: Scripts) -> Result<Started, Failure> {
    use rumormill::script::Host;
    // Each script's values lie in a file of their own beside the node's database.
    if cfg!(feature = "store-redb") {
        let path = profile.scripts_folder().display().to_string();
        let stores = rumormill::plugins::compiled_in().store("redb", [("path".to_owned(), path)].into());
        host.outside.stores = stores.map_err(Failure::new)?;
    }
    host.outside.files = Some(profile.files_folder());
    // Loading scripts takes as long as they take: not on a thread of the runtime.
    let host = tokio::task::spawn_blocking(|| Host::start(host)).await.map_err(Failure::new)?.map_err(Failure::new)?;
    let status = super::scripts::file(&config.state);
    let builder = Builder::new(config, profile).hooks(host.clone());
    let events = builder.subscribe();
    let node = builder.start().await.map_err(Failure::new)?;
    let handle = Handle::new(node, host.clone());
    host.attach(handle.clone());
    let writer = tokio::spawn(super::scripts::publish(Arc::clone(&host), status.clone()));
    let scripts = Arc::clone(&host);
    let stop = move || {
        writer.abort();
        scripts.stop();
        // What a node that has stopped wrote is shown to nobody.
        let _ = std::fs::remove_file(status);
    };
    Ok(Started { handle, commands: host, events, stop_scripts: Box::new(stop) })
}

/// Starts the node. Without Lua there are no commands and no filters.
#[cfg(not(feature = "luau"))]
async fn start_node(config: Config, profile: Profile, Scripts: Scripts) -> Result<Started, Failure> {
    use rumormill::node::{NoCommands, NoHooks};
    let builder = Builder::new(config, profile);
    let events = builder.subscribe();
    let node = builder.start().await.map_err(Failure::new)?;
    let handle = Handle::new(node, Arc::new(NoHooks));
    Ok(Started { handle, commands: Arc::new(NoCommands), events, stop_scripts: Box::new(|| ()) })
}

/// The signals that end the program.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminal: bool,
}

#[cfg(unix)]
impl Signals {
    fn listen(terminal: bool) -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|error| Failure::new(format!("can't listen for signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminal,
        })
    }

    /// The next signal to end. At a terminal Ctrl+C is the menu's; between two prompts, when it comes as a signal, it
    /// is ignored.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.hang_up.recv() => return,
                _ = self.interrupt.recv() => if !self.terminal { return },
            }
        }
    }
}

#[cfg(not(unix))]
struct Signals {
    terminal: bool,
}

#[cfg(not(unix))]
impl Signals {
    fn listen(terminal: bool) -> Result<Self, Failure> {
        Ok(Self { terminal })
    }

    async fn next(&mut self) {
        loop {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            if !self.terminal {
                return;
            }
        }
    }
}
