//! A whole node in virtual time with scripts in it, and people at nodes of their own who speak to them.
//!
//! The nodes are real: what is said is signed, sealed, flooded over the transport `memory`, opened and filtered. Time is
//! tokio's paused clock. It moves only while the world waits for something, jumps from timer to timer, and stands still as long
//! as a script has something to do; a day passes in a moment, and nothing depends on how fast the machine is.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rumormill_api::{BoxFuture, MsgId, StoreFactory};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use crate::builder::Builder;
use crate::config::{Config, Format, RELAY};
use crate::node::{
    Clock, CommandContext, CommandResult, Commands, Draft, Event, Handle, HistoryQuery, Hooks, Message, NoHooks, Node,
    NodeApi, NoticeLevel, Passing, SendOptions, UiAction, Verdict, VirtualClock,
};
use crate::script::{
    Budgets, Evaluated, Host, HostConfig, Outside, PERMISSIONS, ScriptConfig, ScriptState, ScriptStatus, Web,
    WebRequest, WebResponse,
};
use crate::state::Profile;

/// What the wall clock shows when a world begins: 2027-01-15, 08:00 UTC, a Friday; in milliseconds since the Unix epoch.
pub const START_MS: u64 = 1_800_000_000_000;
/// How long a message may take from one node to the other, in milliseconds of virtual time.
const ARRIVES_WITHIN_MS: u64 = 60_000;
/// How often the world looks whether something happened, in milliseconds of virtual time.
const LOOK_EVERY_MS: u64 = 5;
/// Budgets of scripts are in real time, and a machine that runs tests is busy: they are so many times as long here.
const BUDGET_FACTOR: u64 = 10;
/// Longest time that passes at once, in seconds: a year.
pub const ADVANCE_MAX_S: f64 = 31_536_000.0;

/// The nick of the node's owner, unless told.
const OWNER: &str = "ada";
/// The folder, within the world's, of files that scripts write.
const FILES: &str = "files";
/// The folders of scripts.
const KINDS: [&str; 3] = ["commands", "hooks", "bots"];

/// How a world is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The script files that run in it.
    pub files: Vec<PathBuf>,
    /// What each is granted and configured to, by its name; those that aren't named get everything that they ask for.
    pub scripts: BTreeMap<String, ScriptConfig>,
    /// The chats, all nodes have the same.
    pub chats: Vec<String>,
    /// The nick of the node's owner.
    pub me: String,
    /// The wall clock at the start, in milliseconds since the Unix epoch.
    pub start_ms: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            scripts: BTreeMap::new(),
            chats: vec!["study".to_owned()],
            me: OWNER.to_owned(),
            start_ms: START_MS,
        }
    }
}

/// How somebody says something.
#[derive(Clone, Debug, Default)]
pub struct Saying {
    /// In which chat; the first one unless told.
    pub chat: Option<String>,
    /// The message that it answers.
    pub reply_to: Option<MsgId>,
    /// Whether their script says it.
    pub bot: bool,
}

/// A line for the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// How loud.
    pub level: NoticeLevel,
    /// Who says so.
    pub source: Arc<str>,
    /// The line.
    pub text: String,
}

/// What became of a message at the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was shown, with this text.
    Shown(String),
    /// A filter hid it, for this reason.
    Hidden(String),
}

/// A node with scripts, and those who speak to it.
pub struct World {
    inner: Inner,
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World({:?})", self.inner.setup.files)
    }
}

impl World {
    /// Starts the node and its scripts; a script that fails to load is an error here.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub fn new(setup: Setup) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| format!("can't start a runtime: {error}"))?;
        let inner = runtime.block_on(Inner::start(setup, runtime.handle().clone()))?;
        Ok(Self { inner, runtime: Some(runtime) })
    }

    fn run<'a, T>(&'a mut self, act: impl AsyncFnOnce(&'a mut Inner) -> T) -> T {
        let runtime = self.runtime.as_ref().expect("it is taken by drop alone");
        runtime.block_on(act(&mut self.inner))
    }

    /// Somebody speaks: the node's owner if it is `"me"`, else somebody at a node of their own, which starts when they
    /// first speak. Returns when the message is shown or hidden here, and whatever scripts did at once is done.
    ///
    /// # Errors
    ///
    /// Why it wasn't sent or didn't arrive.
    pub fn say(&mut self, who: &str, text: &str, how: &Saying) -> Result<MsgId, String> {
        self.run(async |inner| inner.say(who, text, how).await)
    }

    /// Time passes.
    pub fn advance(&mut self, time: Duration) {
        self.run(async |inner| inner.pass(time).await);
    }

    /// The next message of the scripts (in that chat), waiting for it.
    pub fn next_said(&mut self, chat: Option<&str>, within: Duration) -> Option<Message> {
        self.run(async |inner| inner.next_said(chat, within).await)
    }

    /// The next notice that fits, waiting for it; those before it stay.
    pub fn next_notice(&mut self, fits: impl Fn(&Notice) -> bool, within: Duration) -> Option<Notice> {
        self.run(async |inner| inner.next_notice(fits, within).await)
    }

    /// Notices that nobody has taken yet.
    pub fn notices(&mut self) -> &VecDeque<Notice> {
        self.inner.drain();
        &self.inner.notices
    }

    /// What became of a message of somebody else's.
    #[must_use]
    pub fn fate(&self, id: &MsgId) -> Option<Fate> {
        self.inner.scripts.fate(id)
    }

    /// Runs a command's line, without its slash, in a chat.
    pub fn command(&mut self, line: &str, chat: Option<&str>) -> (Vec<UiAction>, CommandResult) {
        self.run(async |inner| inner.command(line, chat).await)
    }

    /// What completes a line.
    pub fn complete(&mut self, line: &str, chat: Option<&str>) -> Vec<String> {
        self.run(async |inner| inner.complete(line, chat).await)
    }

    /// Everything that was said in a chat, as the node keeps it.
    ///
    /// # Errors
    ///
    /// What the node says.
    pub fn history(&mut self, chat: &str) -> Result<Vec<Message>, String> {
        let query = HistoryQuery { limit: 10_000, before: None };
        self.run(async |inner| inner.handle.history(chat, query).await.map_err(|error| error.to_string()))
    }

    /// Saves a script or module of the script folder, as an editor would, and reloads what changed. Without a text the
    /// file is saved as it is, with a line feed more, so that the script is reloaded.
    ///
    /// # Errors
    ///
    /// The error of the script that didn't load; the version before still runs.
    pub fn reload(&mut self, file: &str, text: Option<&str>) -> Result<(), String> {
        self.run(async |inner| inner.reload(file, text).await)
    }

    /// Adds a script of that text, with everything granted that it asks for.
    ///
    /// # Errors
    ///
    /// Why it didn't load.
    pub fn add_script(&mut self, file: &str, text: &str) -> Result<(), String> {
        self.inner.labels.push(file.to_owned());
        self.inner.setup.scripts.insert(script_name(Path::new(file)), all_of(text));
        self.run(async |inner| {
            // What is granted is said when a host starts.
            inner.save(file, Some(text))?;
            inner.restart().await
        })
    }

    /// The program ends and starts again, as far as scripts can see.
    ///
    /// # Errors
    ///
    /// The error of a script that didn't load.
    pub fn restart(&mut self) -> Result<(), String> {
        self.run(async |inner| inner.restart().await)
    }

    /// What a web server answers from now on, to whatever is asked of that URL.
    pub fn web(&mut self, url: &str, answer: Result<WebResponse, String>) {
        self.inner.web.answers().insert(url.to_owned(), answer);
    }

    /// What scripts asked of the web, in its order.
    #[must_use]
    pub fn web_requests(&self) -> Vec<WebRequest> {
        self.inner.web.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The files that scripts wrote: `NAME/FILE`, and the text.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let folders = std::fs::read_dir(self.inner.files_folder()).into_iter().flatten().flatten();
        for folder in folders {
            for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let name = format!("{}/{}", folder.file_name().display(), file.file_name().display());
                found.extend(std::fs::read_to_string(file.path()).map(|text| (name, text)));
            }
        }
        found
    }

    /// Runs code in the state of a script (`bots/x.lua`).
    pub fn eval(&mut self, file: &str, code: &str) -> Evaluated {
        self.run(async |inner| {
            let evaluated = inner.scripts.host().eval(file, code).await;
            inner.settle().await;
            evaluated
        })
    }

    /// The first of the script files, below the script folder: `bots/echo.lua`.
    #[must_use]
    pub fn first_file(&self) -> Option<&str> {
        self.inner.labels.first().map(String::as_str)
    }

    /// The chats.
    #[must_use]
    pub fn chats(&self) -> &[String] {
        &self.inner.setup.chats
    }

    /// The wall clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.now().unix
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.inner.scripts.host().stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(async {
                self.inner.node.shutdown();
                for speaker in self.inner.speakers.values() {
                    speaker.shutdown();
                }
            });
            runtime.shutdown_background();
        }
    }
}

/// The node's clock, readable on the scripts' threads too: tokio's time belongs to the runtime.
struct WorldClock {
    runtime: tokio::runtime::Handle,
    clock: VirtualClock,
}

impl Clock for WorldClock {
    fn now(&self) -> crate::node::Now {
        let _inside = self.runtime.enter();
        self.clock.now()
    }
}

/// A web in which there is what the test says.
#[derive(Default)]
struct FakeWeb {
    answers: Mutex<BTreeMap<String, Result<WebResponse, String>>>,
    asked: Mutex<Vec<WebRequest>>,
}

impl FakeWeb {
    fn answers(&self) -> MutexGuard<'_, BTreeMap<String, Result<WebResponse, String>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Web for FakeWeb {
    fn fetch(&self, request: WebRequest) -> BoxFuture<'static, Result<WebResponse, String>> {
        let unknown =
            || Err(format!("no answer for {}: the test says what is there by t.http(url, answer)", request.url));
        let answer = self.answers().get(&request.url).cloned().unwrap_or_else(unknown);
        // As the real client has it.
        let answer = answer.and_then(|response| match response.body.len() > request.max_bytes {
            true => Err(format!("the answer is longer than {} bytes", request.max_bytes)),
            false => Ok(response),
        });
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        Box::pin(async move { answer })
    }
}

/// The host of the moment, and what its filters said.
struct Scripts {
    host: RwLock<Arc<Host>>,
    fates: Mutex<BTreeMap<MsgId, Fate>>,
}

impl Scripts {
    fn host(&self) -> Arc<Host> {
        Arc::clone(&self.host.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fate(&self, id: &MsgId) -> Option<Fate> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

impl Hooks for Scripts {
    fn on_send<'a>(&'a self, draft: Draft) -> BoxFuture<'a, Verdict<Draft>> {
        let host = self.host();
        Box::pin(async move { host.on_send(draft).await })
    }

    fn on_receive<'a>(&'a self, message: Message) -> BoxFuture<'a, Verdict<Message>> {
        let host = self.host();
        Box::pin(async move {
            let id = message.id;
            let verdict = host.on_receive(message).await;
            let fate = match &verdict {
                Verdict::Pass(message) => Fate::Shown(message.text.clone()),
                Verdict::Drop(reason) => Fate::Hidden(reason.clone()),
            };
            self.fates.lock().unwrap_or_else(PoisonError::into_inner).insert(id, fate);
            verdict
        })
    }

    fn filters_relays(&self) -> bool {
        self.host().filters_relays()
    }

    fn on_relay<'a>(&'a self, passing: Passing) -> BoxFuture<'a, bool> {
        let host = self.host();
        Box::pin(async move { host.on_relay(passing).await })
    }
}

struct Inner {
    setup: Setup,
    /// Names this world's nodes: all worlds of a process meet at one hub.
    number: u64,
    clock: Arc<WorldClock>,
    scripts: Arc<Scripts>,
    node: Arc<Node>,
    handle: Handle,
    events: broadcast::Receiver<Event>,
    speakers: BTreeMap<String, Arc<Node>>,
    said: VecDeque<Message>,
    notices: VecDeque<Notice>,
    web: Arc<FakeWeb>,
    /// What scripts keep; it outlives their host.
    stores: StoreFactory,
    /// The script files below the folder.
    labels: Vec<String>,
    folder: PathBuf,
    /// Removed with the world.
    temporary: TempDir,
}

impl Inner {
    async fn start(setup: Setup, runtime: tokio::runtime::Handle) -> Result<Self, String> {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let temporary = tempfile::tempdir().map_err(|error| format!("can't make a folder: {error}"))?;
        let folder = temporary.path().join("scripts");
        let labels = place(&setup.files, &folder)?;
        let clock = Arc::new(WorldClock { runtime, clock: VirtualClock::starting_at(setup.start_ms) });
        let web = Arc::new(FakeWeb::default());
        let stores =
            crate::plugins::compiled_in().store("memory", BTreeMap::default()).map_err(|error| error.to_string())?;
        let outside = Outside {
            web: Arc::clone(&web) as Arc<dyn Web>,
            stores: Arc::clone(&stores),
            files: Some(temporary.path().join(FILES)),
        };
        let host = start_host(&setup, &folder, &clock, outside).await?;
        let scripts = Arc::new(Scripts { host: RwLock::new(Arc::clone(&host)), fates: Mutex::default() });
        let config = node_config(&setup, &setup.me, number, true)?;
        let profile = Profile::open(&temporary.path().join("me")).map_err(|error| error.to_string())?;
        let builder = Builder::new(config, profile)
            .hooks(Arc::clone(&scripts) as Arc<dyn Hooks>)
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .store_inline();
        let events = builder.subscribe();
        let node = builder.start().await.map_err(|error| error.to_string())?;
        let handle = Handle::new(Arc::clone(&node) as Arc<dyn NodeApi>, Arc::clone(&scripts) as Arc<dyn Hooks>);
        host.attach(handle.clone());
        let mut inner = Self {
            setup,
            number,
            clock,
            scripts,
            node,
            handle,
            events,
            speakers: BTreeMap::new(),
            said: VecDeque::new(),
            notices: VecDeque::new(),
            web,
            stores,
            labels,
            folder,
            temporary,
        };
        inner.settle().await;
        inner.loaded()?;
        Ok(inner)
    }

    fn files_folder(&self) -> PathBuf {
        self.temporary.path().join(FILES)
    }

    /// The error of a script under test that doesn't run.
    fn loaded(&self) -> Result<(), String> {
        let status = self.scripts.host().status();
        let stopped =
            |script: &&ScriptStatus| self.labels.contains(&script.file) && script.state != ScriptState::Running;
        match status.iter().find(stopped) {
            Some(script) => Err(script.last_error.clone().unwrap_or_else(|| format!("{} doesn't run", script.file))),
            None => Ok(()),
        }
    }

    /// Lets everything happen that needs no time: it stands still until then.
    async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.drain();
    }

    /// Takes in what the node said.
    fn drain(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(Event::Message(message)) if message.mine && message.bot => self.said.push_back(message),
                Ok(Event::Notice { level, source, text }) => self.notices.push_back(Notice { level, source, text }),
                Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return,
            }
        }
    }

    /// Time passes, and what happens meanwhile is taken in before there is too much of it.
    async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            tokio::time::sleep_until(until.min(Instant::now() + Duration::from_secs(60))).await;
            self.drain();
        }
        self.settle().await;
    }

    /// The first chat, or the one that was named.
    fn chat(&self, named: Option<&str>) -> Result<String, String> {
        let Some(name) = named else {
            return self.setup.chats.first().cloned().ok_or_else(|| "this world has no chats".to_owned());
        };
        if self.setup.chats.iter().any(|chat| chat == name) {
            return Ok(name.to_owned());
        }
        Err(format!("there is no chat {name:?}; this test's chats: {}", self.setup.chats.join(", ")))
    }

    async fn say(&mut self, who: &str, text: &str, how: &Saying) -> Result<MsgId, String> {
        let chat = self.chat(how.chat.as_deref())?;
        let script = how.bot.then(|| who.into());
        let options = SendOptions { reply_to: how.reply_to, script };
        if who == "me" {
            let sent = self.handle.send(&chat, text, options).await.map_err(|error| error.to_string());
            self.settle().await;
            return sent;
        }
        let speaker = self.speaker(who).await?;
        let speaker = Handle::new(speaker as Arc<dyn NodeApi>, Arc::new(NoHooks));
        let id = speaker.send(&chat, text, options).await.map_err(|error| error.to_string())?;
        let until = Instant::now() + Duration::from_millis(ARRIVES_WITHIN_MS);
        while self.scripts.fate(&id).is_none() {
            if Instant::now() >= until {
                return Err(format!("what {who} said did not arrive within {} s", ARRIVES_WITHIN_MS / 1_000));
            }
            tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
        }
        self.settle().await;
        Ok(id)
    }

    /// Somebody's node, linked to this one.
    async fn speaker(&mut self, who: &str) -> Result<Arc<Node>, String> {
        if let Some(node) = self.speakers.get(who) {
            return Ok(Arc::clone(node));
        }
        let config = node_config(&self.setup, who, self.number, false)?;
        let folder = self.temporary.path().join(format!("speaker-{}", self.speakers.len()));
        let profile = Profile::open(&folder).map_err(|error| error.to_string())?;
        let builder = Builder::new(config, profile).clock(Arc::clone(&self.clock) as Arc<dyn Clock>).store_inline();
        let node = builder.start().await.map_err(|error| format!("{who}: {error}"))?;
        self.speakers.insert(who.to_owned(), Arc::clone(&node));
        let until = Instant::now() + Duration::from_millis(ARRIVES_WITHIN_MS);
        while node.peers().is_empty() || self.node.peers().len() < self.speakers.len() {
            if Instant::now() >= until {
                return Err(format!("{who}'s node did not link to this one"));
            }
            tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
        }
        self.settle().await;
        Ok(node)
    }

    async fn next_said(&mut self, chat: Option<&str>, within: Duration) -> Option<Message> {
        let until = Instant::now() + within;
        loop {
            self.drain();
            if let Some(at) = self.said.iter().position(|message| chat.is_none_or(|chat| *message.chat == *chat)) {
                return self.said.remove(at);
            }
            if Instant::now() >= until {
                return None;
            }
            tokio::time::sleep_until(until.min(Instant::now() + Duration::from_millis(LOOK_EVERY_MS))).await;
        }
    }

    async fn next_notice(&mut self, fits: impl Fn(&Notice) -> bool, within: Duration) -> Option<Notice> {
        let until = Instant::now() + within;
        loop {
            self.drain();
            if let Some(at) = self.notices.iter().position(&fits) {
                return self.notices.remove(at);
            }
            if Instant::now() >= until {
                return None;
            }
            tokio::time::sleep_until(until.min(Instant::now() + Duration::from_millis(LOOK_EVERY_MS))).await;
        }
    }

    async fn command(&mut self, line: &str, chat: Option<&str>) -> (Vec<UiAction>, CommandResult) {
        let (actions, mut made) = mpsc::unbounded_channel();
        let context = CommandContext { chat: chat.map(Into::into), actions };
        let host = self.scripts.host();
        let result = host.run(line, context).await;
        self.settle().await;
        let mut list = Vec::new();
        while let Ok(action) = made.try_recv() {
            list.push(action);
        }
        (list, result)
    }

    async fn complete(&mut self, line: &str, chat: Option<&str>) -> Vec<String> {
        let (host, line, chat) = (self.scripts.host(), line.to_owned(), chat.map(ToOwned::to_owned));
        let words = tokio::task::spawn_blocking(move || host.complete(&line, chat.as_deref())).await;
        words.unwrap_or_default()
    }

    /// Writes a file of the script folder.
    fn save(&self, file: &str, text: Option<&str>) -> Result<(), String> {
        if file.split('/').any(|part| part.is_empty() || part == "..") {
            return Err(format!("{file:?} is no file of the script folder, such as bots/echo.lua"));
        }
        let path = self.folder.join(file);
        let failed = |error: std::io::Error| format!("can't save {file}: {error}");
        let text = match text {
            Some(text) => text.to_owned(),
            None => std::fs::read_to_string(&path).map_err(failed)? + "\n",
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&path, text).map_err(failed)
    }

    async fn reload(&mut self, file: &str, text: Option<&str>) -> Result<(), String> {
        self.save(file, text)?;
        self.drain();
        let seen = self.notices.len();
        let host = self.scripts.host();
        tokio::task::spawn_blocking(move || host.reload()).await.map_err(|error| error.to_string())?;
        self.settle().await;
        let error = (seen..self.notices.len()).find(|at| self.notices[*at].level == NoticeLevel::Error);
        match error.and_then(|at| self.notices.remove(at)) {
            Some(notice) => Err(notice.text),
            None => Ok(()),
        }
    }

    async fn restart(&mut self) -> Result<(), String> {
        let old = self.scripts.host();
        tokio::task::spawn_blocking(move || old.stop()).await.map_err(|error| error.to_string())?;
        let outside = Outside {
            web: Arc::clone(&self.web) as Arc<dyn Web>,
            stores: Arc::clone(&self.stores),
            files: Some(self.files_folder()),
        };
        let host = start_host(&self.setup, &self.folder, &self.clock, outside).await?;
        *self.scripts.host.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&host);
        host.attach(self.handle.clone());
        self.settle().await;
        self.loaded()
    }
}

/// Copies script files, and the modules beside them, into a script folder. Their labels.
fn place(files: &[PathBuf], folder: &Path) -> Result<Vec<String>, String> {
    let mut labels = Vec::new();
    for file in files {
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        let file = std::path::absolute(file).map_err(failed)?;
        let parent = file.parent().unwrap_or(Path::new("/"));
        let kind = parent.file_name().and_then(|name| name.to_str()).filter(|name| KINDS.contains(name));
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("script.lua");
        let into = folder.join(kind.unwrap_or("bots"));
        std::fs::create_dir_all(&into).map_err(failed)?;
        std::fs::copy(&file, into.join(name)).map_err(failed)?;
        copy_modules(&parent.join("lib"), &into.join("lib"), 0).map_err(failed)?;
        if let (Some(_), Some(above)) = (kind, parent.parent()) {
            copy_modules(&above.join("lib"), &folder.join("lib"), 0).map_err(failed)?;
        }
        labels.push(format!("{}/{name}", kind.unwrap_or("bots")));
    }
    Ok(labels)
}

/// Deepest folder of modules that is copied.
const MODULE_DEPTH_MAX: usize = 8;

fn copy_modules(from: &Path, to: &Path, depth: usize) -> std::io::Result<()> {
    let Ok(entries) = std::fs::read_dir(from) else { return Ok(()) };
    if depth >= MODULE_DEPTH_MAX {
        return Ok(());
    }
    std::fs::create_dir_all(to)?;
    for entry in entries.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_modules(&path, &target, depth + 1)?;
        } else if path.extension().is_some_and(|extension| extension == "lua") {
            std::fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// A script's name in the config.
pub(super) fn script_name(file: &Path) -> String {
    file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned()
}

/// Everything that a script asks for, in all chats.
pub(super) fn all_of(text: &str) -> ScriptConfig {
    let declared = crate::script::declared_permissions(text);
    if declared.iter().any(|name| name == RELAY) {
        return ScriptConfig { allow: vec![RELAY.to_owned()], ..ScriptConfig::default() };
    }
    let hosts = declared.into_iter().filter(|name| name.starts_with("http:"));
    ScriptConfig {
        rooms: vec!["*".to_owned()],
        allow: PERMISSIONS.iter().filter(|name| **name != RELAY).map(|name| (*name).to_owned()).chain(hosts).collect(),
        ..ScriptConfig::default()
    }
}

async fn start_host(
    setup: &Setup,
    folder: &Path,
    clock: &Arc<WorldClock>,
    outside: Outside,
) -> Result<Arc<Host>, String> {
    let mut scripts = setup.scripts.clone();
    for file in &setup.files {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        scripts.entry(script_name(file)).or_insert_with(|| all_of(&text));
    }
    let usual = Budgets::default();
    let config = HostConfig {
        folder: Some(folder.to_owned()),
        files: Vec::new(),
        budgets: Budgets {
            filter_ms: usual.filter_ms * BUDGET_FACTOR,
            handler_ms: usual.handler_ms * BUDGET_FACTOR,
            load_ms: usual.load_ms * BUDGET_FACTOR,
            // What a test expects depends on no machine's speed.
            cpu_percent: 100,
            ..usual
        },
        scripts,
        watch: false,
        clock: Some(Arc::clone(clock) as Arc<dyn Clock>),
        outside,
    };
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let host = tokio::task::spawn_blocking(|| Host::start(config)).await.map_err(|error| error.to_string())?;
    host.map_err(|error| error.to_string())
}

/// A node's config: everybody has the same chats, and the speakers are linked to the node of the scripts.
fn node_config(setup: &Setup, name: &str, number: u64, listens: bool) -> Result<Config, String> {
    let address = format!("\"memory:world-{number}\"");
    let (listen, peers) = if listens { (address.as_str(), "") } else { ("", address.as_str()) };
    let mut text = format!(
        "version = 1\nname = {name:?}\nlisten = [{listen}]\npeers = [{peers}]\n\
         [backends]\ntransports = [\"memory\"]\nhistory = \"memory\"\n[dedup]\ncapacity = 1024\n"
    );
    for chat in &setup.chats {
        let secret = data_encoding::BASE64URL_NOPAD.encode(blake3::hash(chat.as_bytes()).as_bytes());
        let _ = writeln!(text, "[[chats]]\nname = {chat:?}\nsecret = {secret:?}");
    }
    Config::parse(&text, Format::Toml, Path::new("world.toml"), None).map_err(|error| error.to_string())
}
