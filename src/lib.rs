//! Rumormill: a decentralized chat with trash traffic.
//!
//! Every node receives and relays every message of its connected component, most of it trash that it can't read, so
//! nobody can tell who talks to whom. Belonging to a room is knowing the room's secret.
//!
//! | module | what it is | may import |
//! |---|---|---|
//! | [`proto`] | the gossip engine: sans-IO, no clock, no randomness, no sockets, no disk | the api |
//! | [`room`] | everything above the flood: secrets, epochs, seal and open, signatures, invites | api, proto |
//! | [`node`] | the tokio driver: links, history thread, event bus; the handle that all others use | room, proto, api |
//! | [`script`] | the Lua host: one VM per script, sandbox, hot reload | node's handle |
//! | `bot` | what a bot's author has: tests of scripts in virtual time, the files of a new bot | everything |
//! | [`ui`] | frontends over one event stream: line, plain, json | node's handle |
//! | [`config`] | the config file | the api, room's invites |
//! | [`state`] | the profile's folder: keys, modes, lock | nothing |
//! | [`plugins`] | the composition root: the only file that names a backend crate | backends |

#[cfg(feature = "luau")]
pub mod bot;
pub mod builder;
pub mod config;
pub mod node;
pub mod plugins;
pub mod proto;
pub mod room;
#[cfg(feature = "luau")]
pub mod script;
pub mod state;
pub mod ui;

pub use builder::{Builder, room_spec};
pub use node::StartError;
pub use rumormill_api as api;
