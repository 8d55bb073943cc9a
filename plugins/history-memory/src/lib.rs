//! History in memory, gone when the node stops: for tests, simulations and nodes that are to leave no trace.
//!
//! It keeps the contract of [`History`] to the letter except for durability, and evicts by the same rule as the durable
//! backend, so a test on it says something about the real one.

mod order;
mod room;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use rumormill_api::{
    Appended, ArchiveRecord, Batch, Cursor, Entry, Error, ErrorKind, ExpiryHour, ExpiryRange, History, HistoryConfig,
    Holding, MsgId, Pruned, Registry, Result, Retention, RoomTag, Shelf, SourceGroup, Stats,
};

use room::Room;
use window::Window;

/// The name of this backend in a config.
pub const NAME: &str = "memory";

/// Registers this backend.
pub fn register(registry: &mut Registry) {
    registry.add_history(NAME, open);
}

/// An empty store. `config.folder` isn't touched.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] if `config` has options: this backend knows none.
pub fn open(config: HistoryConfig) -> Result<Box<dyn History>> {
    if let Some(option) = config.options.keys().next() {
        let text = format!("there is no option {option:?}; the history {NAME:?} has no options");
        return Err(Error::new(ErrorKind::Invalid, NAME, text));
    }
    Ok(Box::new(MemoryHistory::default()))
}

/// Where an envelope stands, and its bytes once for all of its places.
#[derive(Debug)]
struct Held {
    envelope: Bytes,
    window: Option<(ExpiryHour, SourceGroup)>,
    rooms: BTreeMap<RoomTag, (u64, ExpiryHour)>,
}

/// The store.
#[derive(Debug, Default)]
pub struct MemoryHistory {
    held: HashMap<MsgId, Held>,
    window: Window,
    archive: BTreeMap<RoomTag, Room>,
    tombstones: HashSet<MsgId>,
    tombstone_order: BTreeSet<(ExpiryHour, MsgId)>,
    state: BTreeMap<String, Bytes>,
}

impl MemoryHistory {
    fn held_mut(&mut self, id: MsgId, envelope: &Bytes) -> &mut Held {
        self.held.entry(id).or_insert_with(|| Held { envelope: envelope.clone(), window: None, rooms: BTreeMap::new() })
    }

    /// Whether the envelope was new to the window.
    fn put_window(&mut self, id: MsgId, expiry: ExpiryHour, source: SourceGroup, envelope: &Bytes) -> bool {
        if self.tombstones.contains(&id) {
            return false;
        }
        let held = self.held_mut(id, envelope);
        if held.window.is_some() {
            return false;
        }
        held.window = Some((expiry, source));
        self.window.insert(id, expiry, source, envelope.len() as u64);
        true
    }

    /// Whether the envelope was new to the room.
    fn put_archive(&mut self, id: MsgId, room: RoomTag, expiry: ExpiryHour, lamport: u64, envelope: &Bytes) -> bool {
        let held = self.held_mut(id, envelope);
        if held.rooms.contains_key(&room) {
            return false;
        }
        held.rooms.insert(room, (lamport, expiry));
        self.archive.entry(room).or_default().insert(Cursor { lamport, id }, expiry);
        true
    }

    fn leave_window(&mut self, id: &MsgId) {
        let Some(held) = self.held.get_mut(id) else { return };
        if let Some((expiry, source)) = held.window.take() {
            self.window.remove(*id, expiry, source, held.envelope.len() as u64);
        }
        self.drop_if_unused(id);
    }

    fn leave_archive(&mut self, room: &RoomTag, id: &MsgId) {
        let Some(held) = self.held.get_mut(id) else { return };
        if let (Some((lamport, expiry)), Some(shelf)) = (held.rooms.remove(room), self.archive.get_mut(room)) {
            shelf.remove(Cursor { lamport, id: *id }, expiry);
            if shelf.is_empty() {
                self.archive.remove(room);
            }
        }
        self.drop_if_unused(id);
    }

    fn drop_if_unused(&mut self, id: &MsgId) {
        if self.held.get(id).is_some_and(|held| held.window.is_none() && held.rooms.is_empty()) {
            self.held.remove(id);
        }
    }

    /// Entries that were checked.
    fn write(&mut self, batch: &[Entry]) -> Appended {
        let mut appended = Appended::default();
        for entry in batch {
            let new = match entry {
                Entry::Window { id, expiry, source, envelope } => self.put_window(*id, *expiry, *source, envelope),
                Entry::Archive { id, room, expiry, lamport, envelope } => {
                    self.put_archive(*id, *room, *expiry, *lamport, envelope)
                }
                Entry::State { key, value } => {
                    match value {
                        Some(value) => self.state.insert(key.clone(), value.clone()),
                        None => self.state.remove(key),
                    };
                    continue;
                }
            };
            if new {
                appended.new += 1;
            } else {
                appended.known += 1;
            }
        }
        appended
    }
}

impl History for MemoryHistory {
    fn never_waits(&self) -> bool {
        true
    }

    fn append(&mut self, batch: &[Entry]) -> Result<Appended> {
        batch.iter().try_for_each(|entry| entry.check(NAME))?;
        Ok(self.write(batch))
    }

    fn append_batch(&mut self, batch: &Batch) -> Result<Appended> {
        batch.check(NAME)?;
        Ok(self.write(batch.entries()))
    }

    fn holds(&self, id: &MsgId) -> Result<Holding> {
        let held = self.held.get(id);
        Ok(Holding {
            window: held.is_some_and(|held| held.window.is_some()),
            archive: held.is_some_and(|held| !held.rooms.is_empty()),
            tombstone: self.tombstones.contains(id),
        })
    }

    fn get(&self, shelf: Shelf, id: &MsgId) -> Result<Option<Bytes>> {
        let Some(held) = self.held.get(id) else { return Ok(None) };
        let stands = match shelf {
            Shelf::Window => held.window.is_some(),
            Shelf::Archive(room) => held.rooms.contains_key(&room),
        };
        if !stands {
            return Ok(None);
        }
        if MsgId::of(&held.envelope) != *id {
            return Err(Error::new(ErrorKind::Corrupt, NAME, format!("the envelope {} is damaged", id.short())));
        }
        Ok(Some(held.envelope.clone()))
    }

    fn page(&self, room: &RoomTag, before: Cursor, limit: usize) -> Result<Vec<ArchiveRecord>> {
        let Some(shelf) = self.archive.get(room) else { return Ok(Vec::new()) };
        let mut records: Vec<_> = shelf
            .before(before)
            .filter_map(|(at, expiry)| {
                let envelope = self.held.get(&at.id)?.envelope.clone();
                Some(ArchiveRecord { at, expiry, envelope })
            })
            .take(limit)
            .collect();
        records.reverse();
        Ok(records)
    }

    fn ids(&self, shelf: Shelf, range: ExpiryRange) -> Result<Vec<(ExpiryHour, MsgId)>> {
        if range.from > range.to {
            return Ok(Vec::new());
        }
        Ok(match shelf {
            Shelf::Window => self.window.order().ids(range),
            Shelf::Archive(room) => self.archive.get(&room).map_or_else(Vec::new, |shelf| shelf.order().ids(range)),
        })
    }

    fn ids_after(
        &self,
        shelf: Shelf,
        range: ExpiryRange,
        after: Option<(ExpiryHour, MsgId)>,
        limit: usize,
    ) -> Result<Vec<(ExpiryHour, MsgId)>> {
        let Some(after) = after else {
            let mut ids = self.ids(shelf, range)?;
            ids.truncate(limit);
            return Ok(ids);
        };
        if range.from > range.to || after.0 > range.to {
            return Ok(Vec::new());
        }
        Ok(match shelf {
            Shelf::Window => self.window.order().ids_after(range, after, limit),
            Shelf::Archive(room) => {
                self.archive.get(&room).map_or_else(Vec::new, |shelf| shelf.order().ids_after(range, after, limit))
            }
        })
    }

    fn page_after(&self, room: &RoomTag, after: Option<Cursor>, limit: usize) -> Result<Vec<ArchiveRecord>> {
        let Some(shelf) = self.archive.get(room) else { return Ok(Vec::new()) };
        let record = |(at, expiry): (Cursor, ExpiryHour)| {
            let envelope = self.held.get(&at.id)?.envelope.clone();
            Some(ArchiveRecord { at, expiry, envelope })
        };
        Ok(shelf.after(after).filter_map(record).take(limit).collect())
    }

    fn tombstones(&self) -> Result<Vec<MsgId>> {
        Ok(self.tombstone_order.iter().map(|(_, id)| *id).collect())
    }

    fn tombstones_between(
        &self,
        from: (ExpiryHour, MsgId),
        to: (ExpiryHour, MsgId),
        limit: usize,
    ) -> Result<Vec<(ExpiryHour, MsgId)>> {
        if from > to {
            return Ok(Vec::new());
        }
        Ok(self.tombstone_order.range(from..=to).take(limit).copied().collect())
    }

    fn state(&self, key: &str) -> Result<Option<Bytes>> {
        Ok(self.state.get(key).cloned())
    }

    fn prune(&mut self, keep: &Retention, now: ExpiryHour) -> Result<Pruned> {
        let mut pruned = Pruned::default();

        let kept = self.tombstone_order.split_off(&(now, MsgId([0; 32])));
        for (_, id) in std::mem::replace(&mut self.tombstone_order, kept) {
            self.tombstones.remove(&id);
            pruned.tombstones += 1;
        }

        if let Some(last) = now.checked_sub(1) {
            let expired = ExpiryRange { from: 0, to: last };
            for (_, id) in self.window.order().ids(expired) {
                self.leave_window(&id);
                pruned.expired += 1;
            }
            for room in &keep.ephemeral {
                for (_, id) in self.archive.get(room).map_or_else(Vec::new, |shelf| shelf.order().ids(expired)) {
                    self.leave_archive(room, &id);
                    pruned.archive += 1;
                }
            }
        }

        while self.window.bytes() > keep.window_quota_bytes {
            let Some((expiry, id)) = self.window.next_to_evict() else { break };
            self.leave_window(&id);
            self.tombstones.insert(id);
            self.tombstone_order.insert((expiry, id));
            pruned.evicted += 1;
        }
        Ok(pruned)
    }

    fn forget(&mut self, id: &MsgId) -> Result<()> {
        let rooms: Vec<_> = self.held.get(id).map_or_else(Vec::new, |held| held.rooms.keys().copied().collect());
        for room in rooms {
            self.leave_archive(&room, id);
        }
        self.leave_window(id);
        Ok(())
    }

    fn stats(&self) -> Result<Stats> {
        Ok(Stats {
            window: self.window.order().len() as u64,
            window_bytes: self.window.bytes(),
            archive: self.archive.values().map(|room| room.len() as u64).sum(),
            tombstones: self.tombstones.len() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    rumormill_api::history_suite!(open);

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        let options = [("cache_mib".to_owned(), "1".to_owned())].into();
        let error = open(HistoryConfig { options, ..HistoryConfig::default() }).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("cache_mib"), "{error}");
    }

    #[test]
    fn it_is_registered_under_its_name() {
        let mut registry = Registry::default();
        register(&mut registry);
        assert_eq!(registry.history_names(), [NAME]);
        assert!(registry.history(NAME, HistoryConfig::default()).is_ok());
    }
}
