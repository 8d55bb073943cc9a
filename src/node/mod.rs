//! The tokio driver of one node, and the handle through which scripts and frontends use it.
//!
//! | file | what it is |
//! |---|---|
//! | `api` | what scripts, frontends and gateways see of a node |
//! | `ext` | where the Lua host, or a program that embeds a node, hooks in |
//! | `start`, `handle` | a node's parts wired together; the real node behind the handle |
//! | `driver` | one task that owns the engine: links, timers and answers in, effects out |
//! | `outbox` | what one turn of the driver gathers for the links and the vault |
//! | `vault` | the store and the rooms, on a thread of their own or in a task: group commit, open, acknowledge |
//! | `relays` | the driver's way to the `relay` filter |
//! | `presenter` | `receive` filters, then the event bus |
//! | `announce` | this node's own address, signed |
//! | `clock` | the one place that reads clocks and asks for randomness |

mod announce;
mod api;
mod clock;
mod driver;
mod ext;
mod handle;
pub mod offline;
mod outbox;
mod presenter;
mod relays;
mod shared;
mod start;
mod vault;
mod watch;

pub use crate::proto::{Dissemination, EAGER, EAGER_MAX};
pub use api::{
    ChatInfo, Event, Handle, HistoryQuery, LoadReport, Me, Message, NodeApi, NodeError, NoticeLevel, PeerInfo, Person,
    SendOptions,
};
pub(crate) use clock::Entropy;
pub use clock::{Clock, SystemClock, VirtualClock};
pub(crate) use driver::LINK_EVENTS_MAX;
pub use ext::{
    CommandContext, CommandInfo, CommandResult, Commands, Draft, Hooks, NoCommands, NoHooks, Passing, Place, UiAction,
    Verdict,
};
pub use handle::Node;
pub use start::StartError;

pub use crate::proto::Now;
pub(crate) use start::{Parts, event_bus};
