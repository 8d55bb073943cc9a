//! The envelopes that a node keeps, as they were sealed.
//!
//! There are two shelves, since **what a node shows to peers never depends on what it can read**. The *window* holds
//! every unexpired envelope that passed, evicted by one rule for all; it is what reconciliation with anyone speaks of.
//! The *archive* holds the node's own rooms, apart from the window and its evictions; only who proves a room gets to
//! see it. An envelope may stand on both shelves; a backend may store its bytes once.

use std::path::PathBuf;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::hashed::Batch;
use crate::ids::{ExpiryHour, MsgId, RoomTag, SourceGroup};
use crate::registry::Options;

/// Longest name of a [`Entry::State`] value, in bytes.
pub const STATE_KEY_MAX_BYTES: usize = 64;

/// How a store is opened.
#[derive(Clone, Debug, Default)]
pub struct HistoryConfig {
    /// The folder that holds the store's files. It exists, and belongs to this node alone.
    pub folder: PathBuf,
    /// The backend's own settings.
    pub options: Options,
}

/// One of the two shelves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shelf {
    /// Every unexpired envelope that passed, readable or not.
    Window,
    /// The envelopes of one room of this node.
    Archive(RoomTag),
}

/// One thing to write. A batch of them is one atomic commit. An envelope expires when it does: all entries of one id have
/// the same expiry, and a backend may keep that of the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// An envelope for the window.
    Window {
        /// BLAKE3 of `envelope`.
        id: MsgId,
        /// When it expires.
        expiry: ExpiryHour,
        /// Where it came from.
        source: SourceGroup,
        /// The bytes as they came.
        envelope: Bytes,
    },
    /// An envelope for a room's archive.
    Archive {
        /// BLAKE3 of `envelope`.
        id: MsgId,
        /// Which room.
        room: RoomTag,
        /// When it expires (or expired).
        expiry: ExpiryHour,
        /// The message's Lamport clock: with the id, its place in [`History::page`].
        lamport: u64,
        /// The bytes as they came.
        envelope: Bytes,
    },
    /// A small value of the node's own (already encrypted by the node), committed with the rest. `None` removes it.
    State {
        /// Its name, at most [`STATE_KEY_MAX_BYTES`] bytes.
        key: String,
        /// Its value.
        value: Option<Bytes>,
    },
}

impl Entry {
    /// Checks what every backend has to check before it writes: that the id is the envelope's hash, that the name of a
    /// value isn't too long. `backend` is who says so in the error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`].
    pub fn check(&self, backend: &'static str) -> Result<()> {
        match self {
            Self::Window { id, envelope, .. } | Self::Archive { id, envelope, .. } => {
                if MsgId::of(envelope) == *id {
                    return Ok(());
                }
                let text =
                    format!("the id {} is not the hash of its envelope; nothing of the batch was written", id.short());
                Err(Error::new(ErrorKind::Invalid, backend, text))
            }
            Self::State { key, .. } if key.len() > STATE_KEY_MAX_BYTES => {
                let text = format!(
                    "the name of a state value has {} bytes, at most {STATE_KEY_MAX_BYTES} are allowed; nothing of the \
                     batch was written",
                    key.len()
                );
                Err(Error::new(ErrorKind::Invalid, backend, text))
            }
            Self::State { .. } => Ok(()),
        }
    }
}

/// What [`History::append`] did with the batch's envelopes; [`Entry::State`] isn't counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Appended {
    /// Entries that were not there before.
    pub new: usize,
    /// Entries that were there already (or stand as tombstones); nothing was changed for them.
    pub known: usize,
}

/// Where an id stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holding {
    /// It is on the window.
    pub window: bool,
    /// It is in some room's archive.
    pub archive: bool,
    /// It was evicted from the window before it expired, and must not be taken as new again.
    pub tombstone: bool,
}

impl Holding {
    /// Whether the node has had it at all.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.window || self.archive || self.tombstone
    }
}

/// A place in a room's archive, in the order (Lamport, id). Pages run backwards from it, excluding it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor {
    /// The Lamport clock.
    pub lamport: u64,
    /// The id, deciding between equals.
    pub id: MsgId,
}

impl Cursor {
    /// Behind everything: the page before it is the newest one.
    pub const END: Self = Self { lamport: u64::MAX, id: MsgId([0xff; 32]) };
}

/// One envelope of a room's archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchiveRecord {
    /// Where it stands.
    pub at: Cursor,
    /// When it expires (or expired).
    pub expiry: ExpiryHour,
    /// Its bytes, checked against the id on reading.
    pub envelope: Bytes,
}

/// A range of expiry hours, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpiryRange {
    /// The first hour.
    pub from: ExpiryHour,
    /// The last hour.
    pub to: ExpiryHour,
}

impl ExpiryRange {
    /// Every hour there is.
    pub const ALL: Self = Self { from: 0, to: ExpiryHour::MAX };
}

/// What [`History::prune`] keeps.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The window's quota in bytes of envelopes. Past it, the source that holds most gives up its earliest-expiring
    /// envelopes first.
    pub window_quota_bytes: u64,
    /// Rooms whose archive goes with the window (ephemeral rooms): their expired envelopes are removed.
    pub ephemeral: Vec<RoomTag>,
}

/// What [`History::prune`] removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Envelopes that had expired and left the window.
    pub expired: usize,
    /// Unexpired envelopes evicted by the quota; each left a tombstone.
    pub evicted: usize,
    /// Expired envelopes removed from ephemeral rooms' archives.
    pub archive: usize,
    /// Tombstones that expired.
    pub tombstones: usize,
}

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Envelopes on the window.
    pub window: u64,
    /// Their bytes.
    pub window_bytes: u64,
    /// Envelopes in archives.
    pub archive: u64,
    /// Tombstones.
    pub tombstones: u64,
}

/// One part of [`History::check`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// Envelopes that were read and hashed.
    pub envelopes: u64,
    /// Those of them that no longer hash to their ids, or of which the store can't tell any more where they stand.
    pub damaged: Vec<Damaged>,
    /// Where the next part begins; `None` at the end.
    pub next: Option<MsgId>,
}

/// A record whose bytes are damaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged {
    /// The id of what it was.
    pub id: MsgId,
    /// The rooms whose archives it stands in.
    pub rooms: Vec<RoomTag>,
}

/// What [`History::mend`] found and did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mended {
    /// Whether the store's structure was broken and made anew out of what could be read. The broken files are kept
    /// beside it.
    pub rebuilt: bool,
    /// Envelopes that were carried over.
    pub kept: u64,
    /// Those that couldn't be, as far as what is left names them.
    pub lost: Vec<Damaged>,
}

/// What [`History::compact`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compacted {
    /// What the store took on the disk before, in bytes.
    pub before_bytes: u64,
    /// What it takes now, in bytes.
    pub after_bytes: u64,
}

/// How far a long operation is: what is done, and how much there is to do, in a unit of its own.
pub type Progress<'a> = dyn FnMut(u64, u64) + 'a;

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "history", format!("this backend has no {what}: it keeps nothing on a disk"))
}

/// The envelopes that this node keeps: bytes as they were sealed, never re-encoded. Lives on a thread of its own, or
/// on whichever calls it if it [never waits](History::never_waits).
///
/// Permitted errors: [`Full`](crate::ErrorKind::Full), [`Io`](crate::ErrorKind::Io) and
/// [`Closed`](crate::ErrorKind::Closed) from any method, each meaning that nothing of the call was done;
/// [`Corrupt`](crate::ErrorKind::Corrupt) from reads, meaning that this entry can't be served (the node refetches it from
/// peers); [`Invalid`](crate::ErrorKind::Invalid) for an entry whose `id` isn't its envelope's hash or whose state
/// key is too long. An error never costs what was acknowledged before it.
pub trait History: Send {
    /// Whether no call ever waits: for a disk, a lock, another process. The node then appends to it, and asks whether
    /// something [is there](Self::holds), from a task; else, as unless told, everything is done from a thread of its own, whose
    /// wake-ups cost more than what memory takes to keep an envelope.
    fn never_waits(&self) -> bool {
        false
    }

    /// Writes the batch: atomic, durable when it returns, idempotent by id and shelf. An unexpired id that stands as a
    /// tombstone isn't taken into the window again (but may enter an archive).
    ///
    /// # Errors
    ///
    /// As the trait says; then nothing of the batch was written.
    fn append(&mut self, batch: &[Entry]) -> Result<Appended>;

    /// As [`append`](Self::append), of entries whose ids are known to be right: a backend need not hash them again. What
    /// it has is checked when it is read, all the same.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append).
    fn append_batch(&mut self, batch: &Batch) -> Result<Appended> {
        self.append(batch.entries())
    }

    /// Where `id` stands.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn holds(&self, id: &MsgId) -> Result<Holding>;

    /// Where each of `ids` stands, in their order: one question about many costs a store less than many questions.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn holds_all(&self, ids: &[MsgId]) -> Result<Vec<Holding>> {
        ids.iter().map(|id| self.holds(id)).collect()
    }

    /// The envelope of `id` if it stands on `shelf`. Re-hashed on every read.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes no longer hash to `id`.
    fn get(&self, shelf: Shelf, id: &MsgId) -> Result<Option<Bytes>>;

    /// At most `limit` records of a room's archive before `before`, in ascending order of (Lamport, id), being the last
    /// ones before it. A damaged record is left out and counted by the backend's log.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn page(&self, room: &RoomTag, before: Cursor, limit: usize) -> Result<Vec<ArchiveRecord>>;

    /// The (expiry, id) pairs on `shelf` in the range, ascending: what anti-entropy compares.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn ids(&self, shelf: Shelf, range: ExpiryRange) -> Result<Vec<(ExpiryHour, MsgId)>>;

    /// At most `limit` of the pairs that [`ids`](Self::ids) lists, the first ones behind `after`: a long list by parts,
    /// none of which holds the store up.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn ids_after(
        &self,
        shelf: Shelf,
        range: ExpiryRange,
        after: Option<(ExpiryHour, MsgId)>,
        limit: usize,
    ) -> Result<Vec<(ExpiryHour, MsgId)>> {
        let mut ids = self.ids(shelf, range)?;
        ids.retain(|id| after.is_none_or(|after| *id > after));
        ids.truncate(limit);
        Ok(ids)
    }

    /// At most `limit` records of a room's archive behind `after`, in ascending order of (Lamport, id), being the first
    /// ones: [`page`](Self::page) in the other direction. A damaged record is left out.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn page_after(&self, room: &RoomTag, after: Option<Cursor>, limit: usize) -> Result<Vec<ArchiveRecord>> {
        let mut records = self.page(room, Cursor::END, usize::MAX)?;
        records.retain(|record| after.is_none_or(|after| record.at > after));
        records.truncate(limit);
        Ok(records)
    }

    /// The unexpired tombstones, in no particular order: with the window's ids, what deduplication starts from.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn tombstones(&self) -> Result<Vec<MsgId>>;

    /// At most `limit` of the [`tombstones`](Self::tombstones), ascending, the first ones behind `after`.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn tombstones_after(&self, after: Option<MsgId>, limit: usize) -> Result<Vec<MsgId>> {
        let mut ids = self.tombstones()?;
        ids.retain(|id| after.is_none_or(|after| *id > after));
        ids.sort_unstable();
        ids.truncate(limit);
        Ok(ids)
    }

    /// At most `limit` of the (expiry, id) pairs of unexpired tombstones between the two, both included, ascending: the first
    /// ones. By default none, with which a backend doesn't pass the conformance suite: what was evicted would be offered by
    /// peers again and again.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn tombstones_between(
        &self,
        from: (ExpiryHour, MsgId),
        to: (ExpiryHour, MsgId),
        limit: usize,
    ) -> Result<Vec<(ExpiryHour, MsgId)>> {
        let _ = (from, to, limit);
        Ok(Vec::new())
    }

    /// A value written by [`Entry::State`].
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn state(&self, key: &str) -> Result<Option<Bytes>>;

    /// Removes what has expired before `now` (an envelope of the hour `now` itself stays) and, past the quota, what the rule evicts. Atomic and durable.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn prune(&mut self, keep: &Retention, now: ExpiryHour) -> Result<Pruned>;

    /// Removes a record whose bytes are damaged from every shelf, without leaving a tombstone, so that it can be fetched
    /// again. A tombstone that stood before stays.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn forget(&mut self, id: &MsgId) -> Result<()>;

    /// How much there is.
    ///
    /// # Errors
    ///
    /// As the trait says.
    fn stats(&self) -> Result<Stats>;

    /// Reads and hashes at most `limit` envelopes whose ids come behind `after`, whichever shelves they stand on, in the
    /// order of their ids. What is damaged is named and stays as it is. A record that goes bad on a disk does so with
    /// its neighbours: let [`mend`](Self::mend) look at the structure before [`forget`](Self::forget) removes it.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where nothing lies on a disk; else as the trait says.
    fn check(&self, after: Option<&MsgId>, limit: usize) -> Result<Checked> {
        let _ = (after, limit);
        Err(unsupported("check"))
    }

    /// Checks the structure beneath the records (pages, indexes). If it is broken, the store is made anew out of what can
    /// be read of it, and the broken files are kept under another name.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where nothing lies on a disk; else as the trait says, and then the
    /// store is as it was.
    fn mend(&mut self, progress: &mut Progress<'_>) -> Result<Mended> {
        let _ = progress;
        Err(unsupported("structure to check"))
    }

    /// Makes the files as small as what they hold allows. All or nothing: interrupted, the store is as it was.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where nothing lies on a disk; [`Full`](crate::ErrorKind::Full)
    /// where the disk has no room for the smaller copy beside the old one; else as the trait says.
    fn compact(&mut self, progress: &mut Progress<'_>) -> Result<Compacted> {
        let _ = progress;
        Err(unsupported("files to compact"))
    }
}
