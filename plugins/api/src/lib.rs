//! The contract between Rumormill's core and its backends.
//!
//! A backend is a crate that depends on this one alone, implements one of the traits below and offers a
//! `register` function for the [`Registry`]. Nothing here knows a room's content, a user or a script: a backend moves,
//! remembers, seals or forgets opaque envelopes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`ids`] | the identifiers and units that everything else speaks in |
//! | [`error`] | one error type: kind, backend, context, source |
//! | [`dedup`] | [`Dedup`]: has this envelope been here? |
//! | [`cipher`] | [`CipherSuite`], [`RoomCipher`]: sealing and opening with a room's key |
//! | [`hashed`] | [`Hashed`]: an envelope with its id; [`Batch`]: what is written in one commit |
//! | [`history`] | [`History`]: the two shelves of envelopes that a node keeps |
//! | [`store`] | [`Store`]: values that a script keeps over restarts |
//! | [`transport`] | [`Transport`], [`Links`], [`LinkSink`]: links to other nodes |
//! | [`queue`] | [`SendQueue`]: the bounded queue of a link, for transports to build on |
//! | [`registry`] | [`Registry`]: backends by name |
//! | `testkit` | conformance suites, one per trait (feature `testkit`) |

pub mod cipher;
pub mod dedup;
pub mod error;
pub mod hashed;
pub mod history;
pub mod ids;
pub mod queue;
pub mod registry;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod transport;

pub use bytes::Bytes;
pub use cipher::{CipherSuite, EpochKey, Header, OpenError, RoomCipher};
pub use dedup::{Dedup, DedupConfig, Rotation, Seen, Turn};
pub use error::{Error, ErrorKind, Result};
pub use hashed::{Batch, Hashed};
pub use history::{
    Appended, ArchiveRecord, Checked, Compacted, Cursor, Damaged, Entry, ExpiryRange, History, HistoryConfig, Holding,
    Mended, Progress, Pruned, Retention, STATE_KEY_MAX_BYTES, Shelf, Stats,
};
pub use ids::{ExpiryHour, LinkId, Millis, MsgId, PeerAddr, RoomTag, SourceGroup};
pub use queue::SendQueue;
pub use registry::{Options, Registry};
pub use store::{STORE_KEY_MAX_BYTES, Store, StoreFactory};
pub use transport::{
    BoxFuture, Direction, DownReason, Frame, LinkEvent, LinkInfo, LinkSecret, LinkSink, Links, SendError, Transport,
    TransportConfig,
};
