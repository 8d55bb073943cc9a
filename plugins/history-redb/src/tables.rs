//! The schema. Its version changes with any change here, and the tests keep a file of every version that was released.
//!
//! What is known of an envelope stands before its bytes, in one row ([`Places`](crate::row::Places)); the other tables
//! are orders of it, each by what one question asks for. So an envelope costs one row and one for each order that it
//! stands in, and what is left of a broken database says of itself where it belongs.

use redb::TableDefinition;

/// The version of the schema that this build writes and reads. One of version 1 is converted ([`schema1`](crate::schema1)).
pub(crate) const SCHEMA_VERSION: u64 = 2;

/// [`META`]'s key of the schema version.
pub(crate) const META_SCHEMA: &str = "rumormill.history.schema";

/// A table whose entries are given by their keys alone.
pub(crate) type Set<K> = TableDefinition<'static, K, ()>;
pub(crate) type Table<K, V> = TableDefinition<'static, K, V>;
pub(crate) type Id = &'static [u8; 32];

/// What the file is.
pub(crate) const META: Table<&str, u64> = TableDefinition::new("meta");

/// Every envelope that stands on some shelf, once: id → where it stands, then its bytes.
pub(crate) const ENVELOPES: Table<Id, &[u8]> = TableDefinition::new("envelopes");

/// The window in the order that reconciliation compares: (expiry, id) → source, and a
/// [check](crate::row::window_check) of the three.
pub(crate) const WINDOW_ORDER: Table<(u32, Id), (u64, u32)> = TableDefinition::new("window_order");

/// How many bytes of the window each source holds, by the hour they expire in: (source, expiry) → bytes. Where there is
/// no envelope there is no entry.
pub(crate) const SOURCES: Table<(u64, u32), u64> = TableDefinition::new("sources");

/// What the archives' tables call a room, in full: its [number](crate::row::room_number) → the rest of its tag.
pub(crate) const ROOMS: Table<u64, u64> = TableDefinition::new("rooms");

/// The archives in the order of their pages: (room, Lamport, id).
pub(crate) const ARCHIVE_PAGES: Set<(u64, u64, Id)> = TableDefinition::new("archive_pages");

/// The archives in the order that reconciliation compares: (room, expiry, id).
pub(crate) const ARCHIVE_ORDER: Set<(u64, u32, Id)> = TableDefinition::new("archive_order");

/// What was evicted from the window and hasn't expired: id → expiry.
pub(crate) const TOMBSTONES: Table<Id, u32> = TableDefinition::new("tombstones");

/// The tombstones in the order they go: (expiry, id).
pub(crate) const TOMBSTONE_ORDER: Set<(u32, Id)> = TableDefinition::new("tombstone_order");

/// The node's own values: name → BLAKE3 of name and value, then the value.
pub(crate) const STATE: Table<&str, &[u8]> = TableDefinition::new("state");

/// Before every id.
pub(crate) const FIRST_ID: &[u8; 32] = &[0; 32];

/// Behind every id but itself.
pub(crate) const LAST_ID: &[u8; 32] = &[0xff; 32];
