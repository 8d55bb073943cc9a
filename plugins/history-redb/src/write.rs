//! The changes to the shelves, each within one write transaction.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use bytes::Bytes;
use redb::{Key, ReadableTable as _, Table, Value, WriteTransaction};
use rumormill_api::{Appended, Entry, ExpiryHour, MsgId, RoomTag};

use crate::fault::Tried;
use crate::read::state_checksum;
use crate::row::{Places, halves, room_number, window_check};
use crate::tables::{
    ARCHIVE_ORDER, ARCHIVE_PAGES, ENVELOPES, Id, ROOMS, SOURCES, STATE, TOMBSTONE_ORDER, TOMBSTONES, WINDOW_ORDER,
};

/// The shelves' tables, open for writing.
pub(crate) struct Shelves<'t> {
    pub(crate) window_order: Table<'t, (u32, Id), (u64, u32)>,
    pub(crate) sources: Table<'t, (u64, u32), u64>,
    pub(crate) archive_order: Table<'t, (u64, u32, Id), ()>,
    envelopes: Table<'t, Id, &'static [u8]>,
    archive_pages: Table<'t, (u64, u64, Id), ()>,
    rooms: Table<'t, u64, u64>,
}

/// An envelope of a batch, as it is to stand: written once, however many entries are about it.
struct Touched<'b> {
    places: Places,
    envelope: &'b Bytes,
    /// What is new of it.
    to_window: bool,
    new_rooms: usize,
}

impl<'t> Shelves<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Tried<Self> {
        Ok(Self {
            window_order: transaction.open_table(WINDOW_ORDER)?,
            sources: transaction.open_table(SOURCES)?,
            archive_order: transaction.open_table(ARCHIVE_ORDER)?,
            envelopes: transaction.open_table(ENVELOPES)?,
            archive_pages: transaction.open_table(ARCHIVE_PAGES)?,
            rooms: transaction.open_table(ROOMS)?,
        })
    }

    /// An envelope as it stands: nowhere if its row is damaged. It expires when it does: where a row says when, an entry
    /// doesn't change it.
    fn touch<'b>(&self, id: &MsgId, expiry: ExpiryHour, envelope: &'b Bytes) -> Tried<Touched<'b>> {
        let places = self.places(id)?.unwrap_or(Places { expiry, ..Places::default() });
        Ok(Touched { places, envelope, to_window: false, new_rooms: 0 })
    }

    fn places(&self, id: &MsgId) -> Tried<Option<Places>> {
        let row = self.envelopes.get(&id.0)?;
        Ok(row.and_then(|row| Places::read(id, row.value()).map(|(places, _)| places)))
    }

    fn write(&mut self, id: &MsgId, places: &Places, envelope: &[u8]) -> Tried<()> {
        let head = places.head(id)?;
        let mut row = self.envelopes.insert_reserve(&id.0, head.len() + envelope.len())?;
        row.as_mut()[..head.len()].copy_from_slice(&head);
        row.as_mut()[head.len()..].copy_from_slice(envelope);
        Ok(())
    }

    /// Notes the full tag of a room.
    fn name_room(&mut self, room: &RoomTag) -> Tried<()> {
        let (number, rest) = halves(room);
        if self.rooms.get(number)?.is_none_or(|noted| noted.value() != rest) {
            self.rooms.insert(number, rest)?;
        }
        Ok(())
    }

    /// Writes what is new. The bytes are written with it, so that ones that were damaged since are replaced by good ones.
    fn put(&mut self, touched: &BTreeMap<MsgId, Touched<'_>>) -> Tried<()> {
        let mut came = BTreeMap::<_, u64>::new();
        for (id, Touched { places, envelope, to_window, new_rooms }) in touched {
            if !to_window && *new_rooms == 0 {
                continue;
            }
            self.write(id, places, envelope)?;
            if let Some(source) = places.window.filter(|_| *to_window) {
                let check = window_check(places.expiry, id, source);
                // It may stand there already where its row was damaged.
                if self.window_order.insert((places.expiry, &id.0), (source, check))?.is_none() {
                    *came.entry((source, places.expiry)).or_default() += envelope.len() as u64;
                }
            }
            for (room, lamport) in places.rooms.iter().rev().take(*new_rooms) {
                self.archive_pages.insert((*room, *lamport, &id.0), ())?;
                self.archive_order.insert((*room, places.expiry, &id.0), ())?;
            }
        }
        for (key, came) in came {
            let bytes = self.sources.get(key)?.map_or(0, |bytes| bytes.value());
            self.sources.insert(key, bytes + came)?;
        }
        Ok(())
    }

    /// How many bytes left the window, or `None` if it didn't stand there.
    pub(crate) fn leave_window(&mut self, expiry: ExpiryHour, id: &MsgId) -> Tried<Option<u64>> {
        let Some(source) = self.window_order.remove((expiry, &id.0))?.map(|entry| entry.value().0) else {
            return Ok(None);
        };
        let bytes = self.unshelve(id, |places| places.window = None)?;
        let key = (source, expiry);
        let left = self.sources.get(key)?.map_or(0, |held| held.value().saturating_sub(bytes));
        if left == 0 {
            self.sources.remove(key)?;
        } else {
            self.sources.insert(key, left)?;
        }
        Ok(Some(bytes))
    }

    /// Whether it stood there.
    pub(crate) fn leave_archive(&mut self, id: &MsgId, room: u64) -> Tried<bool> {
        let Some(places) = self.places(id)? else { return Ok(false) };
        let Some(lamport) = places.lamport(room) else { return Ok(false) };
        self.archive_pages.remove((room, lamport, &id.0))?;
        self.archive_order.remove((room, places.expiry, &id.0))?;
        self.unshelve(id, |places| places.rooms.retain(|(here, _)| *here != room))?;
        Ok(true)
    }

    /// Takes an envelope from a shelf by `change`; its bytes go with the last one. Says how many bytes it has: none where
    /// its row is damaged, which is then left as it is.
    fn unshelve(&mut self, id: &MsgId, change: impl FnOnce(&mut Places)) -> Tried<u64> {
        let stored = self.envelopes.get(&id.0)?.and_then(|row| {
            let (places, envelope) = Places::read(id, row.value())?;
            Some((places, Bytes::copy_from_slice(envelope)))
        });
        let Some((mut places, envelope)) = stored else { return Ok(0) };
        change(&mut places);
        if places.is_empty() {
            self.envelopes.remove(&id.0)?;
        } else {
            self.write(id, &places, &envelope)?;
        }
        Ok(envelope.len() as u64)
    }

    /// Removes an id from every shelf. Whether it stood on any.
    pub(crate) fn forget(&mut self, id: &MsgId) -> Tried<bool> {
        let Some(places) = self.places(id)? else { return self.forget_unreadable(id) };
        for (room, _) in &places.rooms {
            self.leave_archive(id, *room)?;
        }
        self.leave_window(places.expiry, id)?;
        Ok(true)
    }

    /// Removes an id whose row is damaged or lost. Which orders it stands in only all their entries tell.
    pub(crate) fn forget_unreadable(&mut self, id: &MsgId) -> Tried<bool> {
        let mut changed = self.envelopes.remove(&id.0)?.is_some();
        for expiry in keys_of(&self.window_order, |(expiry, here)| (*here == id.0).then_some(expiry))? {
            changed |= self.leave_window(expiry, id)?.is_some();
        }
        for (room, lamport) in
            keys_of(&self.archive_pages, |(room, lamport, here)| (*here == id.0).then_some((room, lamport)))?
        {
            changed |= self.archive_pages.remove((room, lamport, &id.0))?.is_some();
        }
        for (room, expiry) in
            keys_of(&self.archive_order, |(room, expiry, here)| (*here == id.0).then_some((room, expiry)))?
        {
            changed |= self.archive_order.remove((room, expiry, &id.0))?.is_some();
        }
        Ok(changed)
    }
}

/// What `pick` takes of all keys of a table.
fn keys_of<K: Key + 'static, V: Value + 'static, T>(
    table: &Table<'_, K, V>,
    pick: impl Fn(K::SelfType<'_>) -> Option<T>,
) -> Tried<Vec<T>> {
    let mut picked = Vec::new();
    for entry in table.iter()? {
        picked.extend(pick(entry?.0.value()));
    }
    Ok(picked)
}

/// Writes the batch, whose entries were checked. Besides what it did: whether anything changed.
pub(crate) fn append(transaction: &WriteTransaction, batch: &[Entry]) -> Tried<(Appended, bool)> {
    let mut shelves = Shelves::open(transaction)?;
    let tombstones = transaction.open_table(TOMBSTONES)?;
    let mut state = transaction.open_table(STATE)?;
    let mut appended = Appended::default();
    let (mut touched, mut rooms) = (BTreeMap::new(), BTreeSet::new());
    let mut values = false;
    for entry in batch {
        let (id, expiry, envelope) = match entry {
            Entry::Window { id, expiry, envelope, .. } | Entry::Archive { id, expiry, envelope, .. } => {
                (id, *expiry, envelope)
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
        let touched = match touched.entry(*id) {
            btree_map::Entry::Occupied(here) => here.into_mut(),
            btree_map::Entry::Vacant(place) => place.insert(shelves.touch(id, expiry, envelope)?),
        };
        let new = match entry {
            Entry::Window { source, .. } => {
                let new = touched.places.window.is_none() && tombstones.get(&id.0)?.is_none();
                if new {
                    touched.places.window = Some(*source);
                    touched.to_window = true;
                }
                new
            }
            Entry::Archive { room, lamport, .. } => {
                let number = room_number(room);
                let new = touched.places.lamport(number).is_none();
                if new {
                    rooms.insert(*room);
                    touched.places.rooms.push((number, *lamport));
                    touched.new_rooms += 1;
                }
                new
            }
            Entry::State { .. } => continue,
        };
        if new {
            appended.new += 1;
        } else {
            appended.known += 1;
        }
    }
    rooms.iter().try_for_each(|room| shelves.name_room(room))?;
    shelves.put(&touched)?;
    Ok((appended, values || appended.new > 0))
}

/// Removes an id from every shelf. Besides: whether anything changed.
pub(crate) fn forget(transaction: &WriteTransaction, id: &MsgId) -> Tried<((), bool)> {
    let changed = Shelves::open(transaction)?.forget(id)?;
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
