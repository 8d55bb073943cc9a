//! Watches the script folder. Events of the file system are hints; the folder is looked at once it is quiet.
//!
//! Directories are watched, since a watched file goes deaf at the first rename-over; a poll sees what inotify can't
//! (symlinks, network mounts, a replaced directory).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use notify::{EventKind as FsEvent, RecursiveMode, Watcher};

use super::config::HostConfig;
use super::host::Core;
use super::source::{FOLDERS, folder_of};

/// The waiting times of the hot reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long the folder must be quiet after a change.
    pub quiet: Duration,
    /// How often it is looked at without any sign.
    pub poll: Duration,
    /// How long a file may be missing before its script is unloaded: some editors make it vanish for a moment.
    pub grace: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(150), poll: Duration::from_secs(2), grace: Duration::from_millis(500) }
    }
}

/// The thread that watches the folder.
pub(super) struct Reloader {
    hints: Sender<()>,
    stopped: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Reloader {
    /// Starts it.
    pub(super) fn start(core: &Arc<Core>, pace: Pace) -> std::io::Result<Self> {
        let (hints, heard) = channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let mut watch = Watch::new(directories(&core.config), hints.clone());
        watch.refresh();
        let core = Arc::downgrade(core);
        let stop = Arc::clone(&stopped);
        let thread = thread::Builder::new()
            .name("lua-reload".into())
            .spawn(move || watch_loop(&core, &mut watch, &heard, &stop, pace))?;
        Ok(Self { hints, stopped, thread })
    }

    /// Ends it, and waits for it.
    pub(super) fn stop(self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = self.hints.send(());
        if self.thread.thread().id() != thread::current().id() {
            drop(self.thread.join());
        }
    }
}

fn watch_loop(core: &Weak<Core>, watch: &mut Watch, heard: &Receiver<()>, stopped: &AtomicBool, pace: Pace) {
    let mut wait = pace.poll;
    loop {
        let hint = heard.recv_timeout(wait);
        if hint.is_ok() {
            // Until it is quiet; a folder that never is, is looked at every poll all the same.
            let latest = Instant::now() + pace.poll.max(pace.quiet);
            while !stopped.load(Ordering::SeqCst) && Instant::now() < latest {
                if heard.recv_timeout(pace.quiet) != Ok(()) {
                    break;
                }
            }
        }
        if stopped.load(Ordering::SeqCst) || hint == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        let Some(core) = core.upgrade() else { return };
        watch.refresh();
        let done = core.reconcile(Instant::now(), pace.grace, false, None);
        wait = if done.pending { pace.grace.min(pace.poll) } else { pace.poll };
    }
}

/// The directories where scripts and their modules may be.
fn directories(config: &HostConfig) -> Vec<PathBuf> {
    let mut wanted = Vec::new();
    if let Some(folder) = &config.folder {
        wanted.extend([folder.clone(), folder.join("lib")]);
        for kind in FOLDERS {
            wanted.extend([folder.join(kind), folder.join(kind).join("lib")]);
        }
    }
    for file in &config.files {
        let beside = file.parent().map(Path::to_owned).unwrap_or_default();
        wanted.extend([beside.join("lib"), beside]);
        wanted.extend(folder_of(file).map(|folder| folder.join("lib")));
    }
    wanted.sort();
    wanted.dedup();
    wanted
}

/// Watched directories. Re-established when one of them was replaced.
struct Watch {
    /// What is watched, as far as it is there.
    wanted: Vec<PathBuf>,
    hints: Sender<()>,
    watcher: Option<notify::RecommendedWatcher>,
    watched: Vec<(PathBuf, Identity)>,
}

/// What tells a directory from one that took its place.
type Identity = (u64, u64);

impl Watch {
    fn new(wanted: Vec<PathBuf>, hints: Sender<()>) -> Self {
        Self { wanted, hints, watcher: None, watched: Vec::new() }
    }

    /// Watches the directories that are there now.
    fn refresh(&mut self) {
        let now: Vec<_> = self.wanted.iter().filter_map(|path| identity(path).map(|id| (path.clone(), id))).collect();
        if now == self.watched && self.watcher.is_some() {
            return;
        }
        let hints = self.hints.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Plain reads raise events too: a load must not trigger itself.
            if !matches!(event, Ok(notify::Event { kind: FsEvent::Access(_), .. })) {
                let _ = hints.send(());
            }
        });
        self.watcher = match watcher {
            Ok(mut watcher) => {
                for (path, _) in &now {
                    if let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) {
                        tracing::warn!(target: super::LOG_TARGET, "{} is only polled: {error}", path.display());
                    }
                }
                Some(watcher)
            }
            Err(error) => {
                tracing::warn!(target: super::LOG_TARGET, "the script folder is only polled: {error}");
                None
            }
        };
        self.watched = now;
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    Some((meta.dev(), meta.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir).map(|_| (0, 0))
}
