//! Where the log goes.

use std::fs::File;
use std::io;
use std::sync::Mutex;

use rumormill::config::LogLevel;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Failure;

/// Starts logging to a file, or to standard error. Only this program's own crates are heard.
pub(super) fn start(level: LogLevel, file: Option<File>) -> Result<(), Failure> {
    let targets = Targets::new().with_target("rumor", tracing::level_filters::LevelFilter::from(level));
    let registry = tracing_subscriber::registry().with(targets);
    let started = match file {
        Some(file) => registry.with(fmt::layer().with_ansi(false).with_writer(Mutex::new(file))).try_init(),
        None => registry.with(fmt::layer().with_ansi(false).with_writer(io::stderr)).try_init(),
    };
    started.map_err(|error| Failure::new(format!("can't start logging: {error}")))
}
