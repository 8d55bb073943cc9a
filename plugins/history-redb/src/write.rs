//! The changes to the shelves, each within one write transaction.

use std::collections::BTreeMap;

use redb::{ReadableTable as _, Table, WriteTransaction};
use rumormill_api::{Appended, Entry, ExpiryHour, MsgId, RoomTag, SourceGroup};

use crate::fault::Tried;
use crate::read::state_checksum;
use crate::tables::{
    ARCHIVE, ARCHIVE_ORDER, ARCHIVE_PAGES, ENVELOPES, SOURCES, STATE, TOMBSTONE_ORDER, TOMBSTONES, WINDOW,
    WINDOW_ORDER, WINDOW_SOURCES,
};

type Id = &'static [u8; 32];
type Room = &'static [u8; 16];

/// Before every room.
const FIRST_ROOM: &[u8; 16] = &[0; 16];
/// Behind every room but itself.
const LAST_ROOM: &[u8; 16] = &[0xff; 16];

/// The shelves' tables, open for writing.
pub(crate) struct Shelves<'t> {
    pub(crate) window_order: Table<'t, (u32, Id), ()>,
    pub(crate) window_sources: Table<'t, (u64, u32, Id), u32>,
    pub(crate) sources: Table<'t, u64, u64>,
    pub(crate) archive_order: Table<'t, (Room, u32, Id), u64>,
    envelopes: Table<'t, Id, &'static [u8]>,
    window: Table<'t, Id, (u32, u64, u32)>,
    archive: Table<'t, (Id, Room), (u64, u32)>,
    archive_pages: Table<'t, (Room, u64, Id), u32>,
}

impl<'t> Shelves<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Tried<Self> {
        Ok(Self {
            window_order: transaction.open_table(WINDOW_ORDER)?,
            window_sources: transaction.open_table(WINDOW_SOURCES)?,
            sources: transaction.open_table(SOURCES)?,
            archive_order: transaction.open_table(ARCHIVE_ORDER)?,
            envelopes: transaction.open_table(ENVELOPES)?,
            window: transaction.open_table(WINDOW)?,
            archive: transaction.open_table(ARCHIVE)?,
            archive_pages: transaction.open_table(ARCHIVE_PAGES)?,
        })
    }

    /// Whether the envelope was new to the window. Its source's bytes are counted apart, once for a batch.
    fn put_window(&mut self, id: &MsgId, expiry: ExpiryHour, source: SourceGroup, envelope: &[u8]) -> Tried<bool> {
        if self.window.get(&id.0)?.is_some() {
            return Ok(false);
        }
        let length = length_of(envelope);
        self.window.insert(&id.0, (expiry, source, length))?;
        self.window_order.insert((expiry, &id.0), ())?;
        self.window_sources.insert((source, expiry, &id.0), length)?;
        self.put_envelope(id, envelope)?;
        Ok(true)
    }

    /// Counts what came to the window from each source.
    fn count_sources(&mut self, came: BTreeMap<SourceGroup, u64>) -> Tried<()> {
        for (source, came) in came {
            let bytes = self.sources.get(source)?.map_or(0, |bytes| bytes.value());
            self.sources.insert(source, bytes + came)?;
        }
        Ok(())
    }

    /// Whether the envelope was new to the room.
    fn put_archive(
        &mut self,
        id: &MsgId,
        room: &RoomTag,
        expiry: ExpiryHour,
        lamport: u64,
        envelope: &[u8],
    ) -> Tried<bool> {
        if self.archive.get((&id.0, &room.0))?.is_some() {
            return Ok(false);
        }
        self.archive.insert((&id.0, &room.0), (lamport, expiry))?;
        self.archive_pages.insert((&room.0, lamport, &id.0), expiry)?;
        self.archive_order.insert((&room.0, expiry, &id.0), lamport)?;
        self.put_envelope(id, envelope)?;
        Ok(true)
    }

    /// Once for all shelves. Bytes that were damaged since are replaced by the good ones.
    fn put_envelope(&mut self, id: &MsgId, envelope: &[u8]) -> Tried<()> {
        let good = self.envelopes.get(&id.0)?.is_some_and(|stored| stored.value() == envelope);
        if !good {
            self.envelopes.insert(&id.0, envelope)?;
        }
        Ok(())
    }

    /// Whether it stood there.
    pub(crate) fn leave_window(&mut self, id: &MsgId) -> Tried<bool> {
        let Some((expiry, source, length)) = self.window.remove(&id.0)?.map(|entry| entry.value()) else {
            return Ok(false);
        };
        self.window_order.remove((expiry, &id.0))?;
        self.window_sources.remove((source, expiry, &id.0))?;
        let left = self.window_sources.range((source, 0, &[0; 32])..=(source, u32::MAX, &[0xff; 32]))?.next();
        if left.transpose()?.is_none() {
            self.sources.remove(source)?;
        } else {
            let bytes = self.sources.get(source)?.map_or(0, |bytes| bytes.value());
            self.sources.insert(source, bytes.saturating_sub(u64::from(length)))?;
        }
        self.drop_if_unused(id)?;
        Ok(true)
    }

    /// Whether it stood there.
    pub(crate) fn leave_archive(&mut self, id: &MsgId, room: &RoomTag) -> Tried<bool> {
        let Some((lamport, expiry)) = self.archive.remove((&id.0, &room.0))?.map(|entry| entry.value()) else {
            return Ok(false);
        };
        self.archive_pages.remove((&room.0, lamport, &id.0))?;
        self.archive_order.remove((&room.0, expiry, &id.0))?;
        self.drop_if_unused(id)?;
        Ok(true)
    }

    fn rooms_of(&self, id: &MsgId) -> Tried<Vec<RoomTag>> {
        let mut rooms = Vec::new();
        for entry in self.archive.range((&id.0, FIRST_ROOM)..=(&id.0, LAST_ROOM))? {
            rooms.push(RoomTag(*entry?.0.value().1));
        }
        Ok(rooms)
    }

    fn drop_if_unused(&mut self, id: &MsgId) -> Tried<()> {
        if self.window.get(&id.0)?.is_none() && self.rooms_of(id)?.is_empty() {
            self.envelopes.remove(&id.0)?;
        }
        Ok(())
    }
}

/// An envelope is at most 32 KiB, far below what a length holds.
fn length_of(envelope: &[u8]) -> u32 {
    u32::try_from(envelope.len()).unwrap_or(u32::MAX)
}

/// Writes the batch, whose entries were checked. Besides what it did: whether anything changed.
pub(crate) fn append(transaction: &WriteTransaction, batch: &[Entry]) -> Tried<(Appended, bool)> {
    let mut shelves = Shelves::open(transaction)?;
    let tombstones = transaction.open_table(TOMBSTONES)?;
    let mut state = transaction.open_table(STATE)?;
    let mut appended = Appended::default();
    let mut came = BTreeMap::new();
    let mut values = false;
    for entry in batch {
        let new = match entry {
            Entry::Window { id, expiry, source, envelope } => {
                let new = tombstones.get(&id.0)?.is_none() && shelves.put_window(id, *expiry, *source, envelope)?;
                if new {
                    *came.entry(*source).or_default() += u64::from(length_of(envelope));
                }
                new
            }
            Entry::Archive { id, room, expiry, lamport, envelope } => {
                shelves.put_archive(id, room, *expiry, *lamport, envelope)?
            }
            Entry::State { key, value } => {
                match value {
                    Some(value) => {
                        let stored = [&state_checksum(key, value)[..], value].concat();
                        state.insert(key.as_str(), stored.as_slice())?;
                    }
                    None => {
                        state.remove(key.as_str())?;
                    }
                }
                values = true;
                continue;
            }
        };
        if new {
            appended.new += 1;
        } else {
            appended.known += 1;
        }
    }
    shelves.count_sources(came)?;
    Ok((appended, values || appended.new > 0))
}

/// Removes an id from every shelf. Besides: whether anything changed.
pub(crate) fn forget(transaction: &WriteTransaction, id: &MsgId) -> Tried<((), bool)> {
    let mut shelves = Shelves::open(transaction)?;
    let mut changed = shelves.leave_window(id)?;
    for room in shelves.rooms_of(id)? {
        changed |= shelves.leave_archive(id, &room)?;
    }
    Ok(((), changed))
}

/// Notes ids as evicted.
pub(crate) fn bury(transaction: &WriteTransaction, ids: impl Iterator<Item = (MsgId, ExpiryHour)>) -> Tried<()> {
    let mut tombstones = transaction.open_table(TOMBSTONES)?;
    let mut order = transaction.open_table(TOMBSTONE_ORDER)?;
    for (id, expiry) in ids {
        tombstones.insert(&id.0, expiry)?;
        order.insert((expiry, &id.0), ())?;
    }
    Ok(())
}
