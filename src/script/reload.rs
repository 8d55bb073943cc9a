//! Hot reload: stage, then swap. What counts is a hash of the script and of what it required, not the event that hinted
//! at a change.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::config::Grants;
use super::error::ScriptError;
use super::host::{Core, ScriptStatus};
use super::job::{Answer, Job, Slot};
use super::meter::{WALL_GRACE_MS, lock};
use super::shared::{ScriptState, Shared};
use super::source::{self, Dependency, Libraries, Source};
use super::worker::{self, Start};
use crate::config::ScriptConfig;
use crate::node::NoticeLevel;

/// What the host knows of one script file.
pub(super) struct Entry {
    /// The generation that runs, or ran last.
    pub(super) shared: Option<Arc<Shared>>,
    /// Where the running or last tried source came from.
    path: Option<PathBuf>,
    /// What was tried last, successful or not.
    tried: blake3::Hash,
    dependencies: Vec<Dependency>,
    missing_since: Option<Instant>,
    error: Option<String>,
}

/// What one look at the folder did.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Reconciled {
    /// Scripts that were loaded, reloaded or unloaded.
    pub(super) loaded: usize,
    /// Scripts that failed to load.
    pub(super) failed: usize,
    /// Whether something that is missing is still in its grace.
    pub(super) pending: bool,
}

impl Entry {
    /// Lets the next look load it anew.
    fn forget(&mut self) {
        self.tried = blake3::Hash::from_bytes([0; 32]);
    }

    /// Its status.
    pub(super) fn status(&self, label: &str) -> ScriptStatus {
        let shared = self.shared.as_ref();
        let registered = shared.map(|shared| shared.registered()).unwrap_or_default();
        let count = |counter: fn(&Shared) -> u64| shared.map_or(0, |shared| counter(shared));
        ScriptStatus {
            name: source::name_of(label).to_owned(),
            file: label.to_owned(),
            embedded: self.path.is_none(),
            state: shared.map_or(ScriptState::Failed, |shared| shared.state_shown()),
            generation: count(|shared| shared.generation),
            cpu: shared.map_or(Duration::ZERO, |shared| shared.cpu()),
            timers: shared.map_or(0, |shared| shared.timers.load(Ordering::Relaxed)),
            memory: shared.map_or(0, |shared| shared.memory.load(Ordering::Relaxed)),
            calls: count(|shared| shared.calls.load(Ordering::Relaxed)),
            in_calls: Duration::from_nanos(count(|shared| shared.in_calls_ns.load(Ordering::Relaxed))),
            kills: count(|shared| shared.kills.load(Ordering::Relaxed)),
            missed: count(|shared| shared.missed.load(Ordering::Relaxed)),
            handlers: registered.handlers.len(),
            commands: registered.commands.len(),
            last_error: self.error.clone().or_else(|| shared.and_then(|shared| lock(&shared.last_error).clone())),
        }
    }
}

/// A staged generation and what it required.
type Staged = (Result<Arc<Shared>, ScriptError>, Vec<Dependency>);

impl Core {
    /// Makes what runs agree with what is in the folder; the scripts of the name `anew` are loaded even if nothing changed.
    pub(super) fn reconcile(&self, now: Instant, grace: Duration, starting: bool, anew: Option<&str>) -> Reconciled {
        let _one_at_a_time = lock(&self.exchange);
        // Not before: a load that was under way would count as the one that is asked for.
        if let Some(name) = anew {
            let mut entries = lock(&self.entries);
            entries
                .iter_mut()
                .filter(|(label, _)| source::name_of(label) == name)
                .for_each(|(_, entry)| entry.forget());
        }
        let max = self.config.budgets.source_max_bytes;
        let sources = source::discover(self.config.folder.as_deref(), &self.config.files, max);
        let labels: BTreeSet<String> = sources.keys().chain(lock(&self.entries).keys()).cloned().collect();
        let mut done = Reconciled::default();
        for label in labels {
            let source = sources.get(&label);
            // A file that is gone, even if an embedded default is there to return.
            let vanished = {
                let mut entries = lock(&self.entries);
                let entry = entries.get_mut(&label);
                let path_now = source.and_then(|source| source.path.as_ref());
                match entry {
                    Some(entry) if entry.path.is_some() && path_now.is_none() => {
                        Some(*entry.missing_since.get_or_insert(now))
                    }
                    Some(entry) => {
                        entry.missing_since = None;
                        None
                    }
                    None => None,
                }
            };
            if vanished.is_some_and(|since| now.saturating_duration_since(since) < grace) {
                done.pending = true;
                continue;
            }
            match source {
                Some(source) => match self.refresh(source, starting) {
                    Some(true) => done.loaded += 1,
                    Some(false) => done.failed += 1,
                    None => {}
                },
                None => {
                    self.remove(&label);
                    done.loaded += 1;
                }
            }
        }
        done
    }

    /// Loads or reloads a script if it or what it required changed. Whether that went well; `None` if nothing changed.
    fn refresh(&self, source: &Source, starting: bool) -> Option<bool> {
        let max = self.budgets(source.name()).source_max_bytes;
        let hash = source.hash();
        let (old, known) = {
            let entries = lock(&self.entries);
            match entries.get(&source.label) {
                Some(entry)
                    if entry.tried == hash
                        && entry.path == source.path
                        && source::unchanged(&entry.dependencies, max) =>
                {
                    return None;
                }
                Some(entry) => (entry.shared.clone(), true),
                None => (None, false),
            }
        };
        let started = Instant::now();
        let (staged, dependencies) = self.stage(source);
        let result = staged.and_then(|new| self.swap(old.as_ref(), new));
        let took = started.elapsed().as_millis();
        let mut entries = lock(&self.entries);
        let entry = entries.entry(source.label.clone()).or_insert_with(|| Entry {
            shared: None,
            path: None,
            tried: hash,
            dependencies: Vec::new(),
            missing_since: None,
            error: None,
        });
        entry.tried = hash;
        entry.path.clone_from(&source.path);
        entry.dependencies = dependencies;
        entry.missing_since = None;
        let name = source.name();
        match result {
            Ok(new) => {
                if let Some(old) = &old {
                    for event in old.inbox.take_events() {
                        new.inbox.push(event);
                    }
                }
                let refused = std::mem::take(&mut *lock(&new.refused));
                entry.shared = Some(Arc::clone(&new));
                entry.error = None;
                drop(entries);
                self.first_load(&new);
                retire(old.as_ref());
                if !starting {
                    let what = match (known, &source.path) {
                        (true, Some(_)) => "reloaded",
                        (true, None) => "back to the built-in",
                        (false, _) => "loaded",
                    };
                    self.link.say(NoticeLevel::Info, name, &format!("{what} {name} ({took} ms)"));
                }
                for permission in refused {
                    let how = new.grants.how_to_grant(&permission);
                    let text = format!("{name} asks for {permission:?}, which is not granted: to grant it, {how}");
                    self.link.say(NoticeLevel::Info, name, &text);
                }
                Some(true)
            }
            Err(error) => {
                let runs = old.as_ref().is_some_and(|old| old.is_running());
                let text = if runs { format!("{error}; the old one still runs") } else { error.to_string() };
                entry.error = Some(text.clone());
                drop(entries);
                self.link.say(NoticeLevel::Error, name, &text);
                Some(false)
            }
        }
    }

    /// Loads a new generation beside the old one.
    fn stage(&self, source: &Source) -> Staged {
        let name = source.name();
        let budgets = self.budgets(name);
        let text = match &source.text {
            Ok(text) if text.len() <= budgets.source_max_bytes => Arc::clone(text),
            Ok(_) => {
                let reason = format!("is longer than {} bytes", budgets.source_max_bytes);
                return (Err(ScriptError::of(&source.label, &reason)), Vec::new());
            }
            Err(reason) => return (Err(ScriptError::of(&source.label, reason)), Vec::new()),
        };
        let config = self.config.scripts.get(name);
        let grants = if source::is_embedded(&source.label) {
            Grants::all(name)
        } else {
            Grants::of(name, config.unwrap_or(&ScriptConfig::default()))
        };
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let settings = config.map(|config| config.settings.clone()).unwrap_or_default();
        let share = self.share(&source.label, &budgets);
        let patience = Duration::from_millis(budgets.load_ms + budgets.stuck_ms + WALL_GRACE_MS + 1_000);
        let shared = Arc::new(Shared::new(
            name,
            &source.label,
            generation,
            budgets,
            grants,
            settings,
            Arc::clone(&self.link),
            Arc::clone(&self.watchdog),
            share,
        ));
        self.watchdog.watch(&shared);
        let (slot, answer) = Slot::blocking();
        shared.expect(&slot, None);
        let dependencies = Arc::new(Mutex::new(Vec::new()));
        let start = Start {
            shared: Arc::clone(&shared),
            text,
            libraries: Libraries::of(self.config.folder.as_deref(), source.path.as_deref()),
            dependencies: Arc::clone(&dependencies),
            slot,
        };
        let result = match worker::spawn(start) {
            Err(error) => Err(ScriptError::of(&source.label, &format!("no thread for it: {error}"))),
            Ok(()) => match answer.recv_timeout(patience) {
                Ok(Answer::Loaded(result)) => result,
                _ => Err(ScriptError::of(&source.label, "did not load within its budget")),
            },
        };
        let seen = lock(&dependencies).clone();
        match result {
            Ok(()) => (Ok(shared), seen),
            Err(error) => {
                shared.end(ScriptState::Failed);
                (Err(error), seen)
            }
        }
    }

    /// Hands over from the old generation to the new: `unload()`, then `load(saved)`. On failure the old one goes on.
    fn swap(&self, old: Option<&Arc<Shared>>, new: Arc<Shared>) -> Result<Arc<Shared>, ScriptError> {
        let give_up = |error: ScriptError| {
            new.end(ScriptState::Failed);
            if let Some(old) = old {
                old.inbox.push_urgent(Job::Thaw);
            }
            Err(error)
        };
        if let Some(error) = self.conflict(&new) {
            return give_up(error);
        }
        let mut saved = None;
        if let Some(old) = old.filter(|old| old.is_running()) {
            let budget = old.budgets.handler_ms * 2;
            match ask(old, budget, |slot| Job::Unload { slot }) {
                Some(Answer::Saved(Ok(value))) => saved = value,
                // The new one may be what mends it: what was to be saved is lost, and said to be.
                Some(Answer::Saved(Err(error))) => old.report(&error),
                _ => old.report(&ScriptError::of(&old.label, "its \"unload\" handler did not end within its budget")),
            }
        }
        // Before the node has started there is nothing that "load" observers could do: they run when it has.
        if self.link.node().is_none() {
            return Ok(new);
        }
        new.loaded.store(true, Ordering::Relaxed);
        match ask(&new, new.budgets.handler_ms, |slot| Job::Load { saved, slot }) {
            Some(Answer::Loaded(Ok(()))) => Ok(new),
            Some(Answer::Loaded(Err(error))) => give_up(error),
            _ => give_up(ScriptError::of(&new.label, "its \"load\" handler did not end within its budget")),
        }
    }

    /// Runs the `load` observers of a generation that was loaded before the node had started, once; before anything that
    /// it is told from now on. Never waits. When one fails, the script ends as if it had not loaded.
    pub(super) fn first_load(&self, script: &Arc<Shared>) {
        let Some((_, runtime)) = self.link.node() else { return };
        if script.loaded.swap(true, Ordering::Relaxed) {
            return;
        }
        let (slot, answer) = Slot::awaited();
        script.expect(&slot, None);
        script.inbox.push_urgent(Job::Load { saved: None, slot });
        let script = Arc::clone(script);
        runtime.spawn(async move {
            if let Ok(Answer::Loaded(Err(error))) = answer.await {
                script.report(&error);
                script.end(ScriptState::Failed);
            }
        });
    }

    /// A command that another script has already.
    fn conflict(&self, new: &Arc<Shared>) -> Option<ScriptError> {
        let registered = new.registered();
        for other in self.running().iter().filter(|other| other.label != new.label) {
            let taken = other.registered();
            let taken: BTreeSet<&str> = taken
                .commands
                .iter()
                .flat_map(|spec| std::iter::once(&spec.name).chain(&spec.aliases))
                .map(String::as_str)
                .collect();
            for spec in &registered.commands {
                for name in std::iter::once(&spec.name).chain(&spec.aliases) {
                    if taken.contains(name.as_str()) {
                        let reason = format!("the command {name:?} is registered by {} already", other.label);
                        return Some(ScriptError::of(&new.label, &reason));
                    }
                }
            }
        }
        None
    }

    /// Unloads a script whose file is gone.
    fn remove(&self, label: &str) {
        let Some(entry) = lock(&self.entries).remove(label) else { return };
        let Some(shared) = entry.shared else { return };
        unload(&shared);
        let name = Arc::clone(&shared.name);
        retire(Some(&shared));
        self.link.say(NoticeLevel::Info, &name, &format!("unloaded {name}"));
    }

    /// Unloads everything.
    pub(super) fn unload_all(&self) {
        let _one_at_a_time = lock(&self.exchange);
        let entries = std::mem::take(&mut *lock(&self.entries));
        for shared in entries.into_values().filter_map(|entry| entry.shared) {
            unload(&shared);
            shared.end(ScriptState::Stopped);
        }
    }
}

/// Runs a script's `unload` handlers; what they save goes nowhere.
fn unload(shared: &Arc<Shared>) {
    if let Some(Answer::Saved(Err(error))) = ask(shared, shared.budgets.handler_ms, |slot| Job::Unload { slot }) {
        shared.report(&error);
    }
}

/// Lets a replaced generation finish what is under way. It hears nothing new: its registrations are not looked up.
fn retire(shared: Option<&Arc<Shared>>) {
    if let Some(shared) = shared {
        shared.inbox.push_urgent(Job::Retire);
    }
}

/// Asks a script and waits, on its budget.
fn ask(shared: &Arc<Shared>, budget_ms: u64, job: impl FnOnce(Slot) -> Job) -> Option<Answer> {
    let (slot, answer) = Slot::blocking();
    shared.expect(&slot, None);
    shared.inbox.push_urgent(job(slot.clone()));
    drop(slot);
    // A handler may be running before it.
    let patience = budget_ms + shared.budgets.handler_ms + 2 * WALL_GRACE_MS + 100;
    answer.recv_timeout(Duration::from_millis(patience)).ok()
}
