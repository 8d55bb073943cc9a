//! The schema. Its version changes with any change here, and the tests keep a file of every version that was released.

use redb::TableDefinition;

/// The version of the schema that this build writes and reads.
pub(crate) const SCHEMA_VERSION: u64 = 1;

/// [`META`]'s key of the schema version.
pub(crate) const META_SCHEMA: &str = "rumormill.history.schema";

/// A table whose entries are given by their keys alone.
type Set<K> = TableDefinition<'static, K, ()>;
type Table<K, V> = TableDefinition<'static, K, V>;
type Id = &'static [u8; 32];
type Room = &'static [u8; 16];

/// What the file is.
pub(crate) const META: Table<&str, u64> = TableDefinition::new("meta");

/// Every envelope that stands on some shelf, once: id → bytes.
pub(crate) const ENVELOPES: Table<Id, &[u8]> = TableDefinition::new("envelopes");

/// The window by id: id → (expiry, source, length in bytes).
pub(crate) const WINDOW: Table<Id, (u32, u64, u32)> = TableDefinition::new("window");

/// The window in the order that reconciliation compares: (expiry, id).
pub(crate) const WINDOW_ORDER: Set<(u32, Id)> = TableDefinition::new("window_order");

/// The window in the order that eviction takes from: (source, expiry, id) → length in bytes.
pub(crate) const WINDOW_SOURCES: Table<(u64, u32, Id), u32> = TableDefinition::new("window_sources");

/// How many bytes of the window each source holds: source → bytes. A source without an envelope has no entry.
pub(crate) const SOURCES: Table<u64, u64> = TableDefinition::new("sources");

/// The archives by id: (id, room) → (Lamport, expiry).
pub(crate) const ARCHIVE: Table<(Id, Room), (u64, u32)> = TableDefinition::new("archive");

/// The archives in the order of their pages: (room, Lamport, id) → expiry.
pub(crate) const ARCHIVE_PAGES: Table<(Room, u64, Id), u32> = TableDefinition::new("archive_pages");

/// The archives in the order that reconciliation compares: (room, expiry, id) → Lamport.
pub(crate) const ARCHIVE_ORDER: Table<(Room, u32, Id), u64> = TableDefinition::new("archive_order");

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
