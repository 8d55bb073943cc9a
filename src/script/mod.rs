//! The Lua host: commands, filters and observers in Luau.
//!
//! One state per script on an OS thread of its own, never a tokio worker. A script that fails, is slow or is hostile
//! delays neither the flood, nor another script, nor the terminal: queues to scripts are bounded, answers have
//! deadlines that a watchdog thread keeps, and late answers are ignored.
//!
//! | module | what it is |
//! |---|---|
//! | `api` | what scripts call, one file per namespace; `api::table` describes it |
//! | [`reference`](mod@reference) | that table as Markdown and as definitions for editors |
//! | `sandbox`, `prelude.luau` | the state, with everything unbounded taken out or bounded |
//! | `worker`, `convert`, `job` | a script's thread, its coroutines, what they return, and its queue |
//! | `op`, `people` | what handlers wait for; who speaks in which chat |
//! | `meter`, `watchdog` | budgets: a flag that the interrupt reads and the watchdog sets |
//! | `share` | what the calls of a script may use together |
//! | `host`, `filters`, `line` | the node's way to the scripts: hooks, events, command lines |
//! | `time` | the clock that scripts see; virtual time waits for their threads |
//! | `outside`, `store`, `web` | what a host takes from outside beside the time: the web, where scripts keep values |
//! | `source`, `require` | where scripts and their modules come from |
//! | `reload`, `watch` | hot reload: stage, then swap; what is watched and how often it is looked at |

// A script may take so much of a user's time, not of the simulation's: budgets, deadlines, rates and the time since a
// file was saved are all measured off the flood's path, on threads of their own.
#![allow(clippy::disallowed_methods, reason = "budgets and deadlines of scripts are in real time")]

mod api;
mod bucket;
mod config;
mod convert;
mod error;
mod filters;
mod host;
mod job;
mod line;
mod lint;
mod meter;
mod op;
mod outside;
mod people;
pub mod reference;
mod reload;
mod require;
mod sandbox;
mod share;
mod shared;
mod show;
mod source;
mod store;
mod task;
mod time;
mod watch;
mod watchdog;
#[cfg(feature = "http")]
mod web;
mod worker;

/// Where scripts' log lines and the host's go: below the program's own name, which is what its log listens to.
const LOG_TARGET: &str = "rumormill::script";

pub use crate::config::{PERMISSIONS, ScriptConfig};
pub use config::{Budgets, HostConfig};
pub use error::ScriptError;
pub use host::{Host, HostError, ScriptStatus};
pub use job::Evaluated;
pub use lint::{Problem, check_source, declared_permissions};
pub use outside::{NoWeb, Outside, Web, WebRequest, WebResponse};
pub use shared::ScriptState;
pub(crate) use show::shown;
pub use source::is_script_name;
pub use watch::Pace;
