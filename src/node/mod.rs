//! The tokio driver of one node, and the handle through which scripts and frontends use it.

mod api;
mod ext;

pub use api::{
    ChatInfo, Event, Handle, HistoryQuery, LoadReport, Me, Message, NodeApi, NodeError, NoticeLevel, PeerInfo, Person,
    SendOptions,
};
pub use ext::{CommandContext, CommandInfo, CommandResult, Commands, Draft, Hooks, NoHooks, Place, UiAction, Verdict};
