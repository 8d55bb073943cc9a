//! The database made anew beside the old one: as small as it gets, or out of what is left of a broken one.
//!
//! redb's own compaction moves pages to the front of the file; it leaves them as full as chance left them, two thirds on
//! average. Copied in the order of their keys through cursors, the pages of the new file are full.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use redb::{
    Builder, Database, Durability, Key, ReadTransaction, ReadableDatabase, ReadableTable as _,
    ReadableTableMetadata as _, TableDefinition, Value, WriteTransaction,
};
use rumormill_api::{Damaged, Entry, ExpiryHour, Mended, MsgId, Progress, Result, RoomTag, SourceGroup};

use crate::fault::{self, Tried};
use crate::opening::{create_tables, settle};
use crate::options::Settings;
use crate::place::Storage;
use crate::read::state_checksum;
use crate::row::{Places, envelope_in, tag, window_check};
use crate::tables::{
    ARCHIVE_ORDER, ARCHIVE_PAGES, ENVELOPES, META, ROOMS, SOURCES, STATE, TOMBSTONE_ORDER, TOMBSTONES, WINDOW_ORDER,
};
use crate::write;

/// How often progress is told, in rows.
const TELL_EVERY: u64 = 10_000;

/// How many entries of a salvaged store are written at a time.
const RESTORE_BATCH: usize = 1_000;

/// How many bytes of the new database's pages are kept in memory. Those of one being written are many.
const COPY_CACHE_MIN_BYTES: usize = 32 << 20;

fn new_database(settings: &Settings, storage: Storage) -> Result<Database> {
    let mut builder = Builder::new();
    builder.set_cache_size(settings.cache_bytes.max(COPY_CACHE_MIN_BYTES));
    builder.create_with_backend(storage).map_err(fault::in_opening)
}

fn begin(db: &Database) -> Tried<WriteTransaction> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Reads the whole database, and looks whether it is what was written. What redb itself can mend, it mends: then nothing
/// is lost.
pub(crate) fn is_broken(db: &mut Database) -> bool {
    catch_unwind(AssertUnwindSafe(|| db.check_integrity())).map_or(true, |checked| checked.is_err())
}

/// Copies `old`, which isn't broken, into the empty `new`, whose pages get full.
pub(crate) fn copy(settings: &Settings, old: Storage, new: Storage, progress: &mut Progress<'_>) -> Result<()> {
    let mut builder = Builder::new();
    builder.set_cache_size(settings.cache_bytes);
    let old = builder.open_read_only_with_backend(old).map_err(fault::in_opening)?;
    write_whole(settings, new, |to| copy_all(&old.begin_read()?, to, progress))
}

/// Makes a database in one transaction, as small as it gets.
pub(crate) fn write_whole(
    settings: &Settings,
    new: Storage,
    write: impl FnOnce(&WriteTransaction) -> Tried<()>,
) -> Result<()> {
    let mut db = new_database(settings, new)?;
    let written = (|| {
        let to = begin(&db)?;
        write(&to)?;
        to.commit()?;
        // What the writing itself freed, and the room that the file grew ahead.
        while db.compact()? {}
        Ok(())
    })();
    settle(written)
}

fn copy_all(from: &ReadTransaction, to: &WriteTransaction, progress: &mut Progress<'_>) -> Tried<()> {
    let mut told = Told { done: 0, total: rows(from)?, progress };
    told.rows(0);
    copy_table(from, to, META, &mut told)?;
    copy_table(from, to, ENVELOPES, &mut told)?;
    copy_table(from, to, WINDOW_ORDER, &mut told)?;
    copy_table(from, to, SOURCES, &mut told)?;
    copy_table(from, to, ROOMS, &mut told)?;
    copy_table(from, to, ARCHIVE_PAGES, &mut told)?;
    copy_table(from, to, ARCHIVE_ORDER, &mut told)?;
    copy_table(from, to, TOMBSTONES, &mut told)?;
    copy_table(from, to, TOMBSTONE_ORDER, &mut told)?;
    copy_table(from, to, STATE, &mut told)
}

fn rows(from: &ReadTransaction) -> Tried<u64> {
    Ok(from.open_table(ENVELOPES)?.len()?
        + from.open_table(WINDOW_ORDER)?.len()?
        + from.open_table(ARCHIVE_PAGES)?.len()? * 2
        + from.open_table(TOMBSTONES)?.len()? * 2)
}

/// Tells how far it is, now and then.
pub(crate) struct Told<'a, 'b> {
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) progress: &'a mut Progress<'b>,
}

impl Told<'_, '_> {
    pub(crate) fn rows(&mut self, more: u64) {
        let before = self.done;
        self.done += more;
        if self.done / TELL_EVERY != before / TELL_EVERY || more == 0 {
            (self.progress)(self.done.min(self.total), self.total);
        }
    }
}

/// Copies a table into an empty one.
pub(crate) fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
    told: &mut Told<'_, '_>,
) -> Tried<()> {
    let from = from.open_table(table)?;
    let mut to = to.open_table(table)?;
    let mut end = to.upper_bound_mut(Bound::<K::SelfType<'_>>::Unbounded)?;
    for row in from.iter()? {
        let (key, value) = row?;
        end.insert_before(key.value(), value.value())?;
        told.rows(1);
    }
    Ok(end.close()?)
}

/// What could be read of a broken database, but for the envelopes' bytes.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    pub(crate) window: BTreeMap<MsgId, (ExpiryHour, SourceGroup)>,
    pub(crate) archive: BTreeMap<(MsgId, RoomTag), (u64, ExpiryHour)>,
    pub(crate) tombstones: BTreeMap<MsgId, ExpiryHour>,
    pub(crate) state: BTreeMap<String, Bytes>,
    /// Ids that are named, and whose bytes are gone.
    pub(crate) lost: BTreeMap<MsgId, Vec<RoomTag>>,
}

impl Salvaged {
    /// What stands apart from the envelopes.
    pub(crate) fn read_the_rest(&mut self, from: &ReadTransaction) {
        let mut until = HashMap::new();
        each(from, TOMBSTONE_ORDER, |(expiry, id), ()| {
            until.insert(MsgId(*id), expiry);
        });
        each(from, TOMBSTONES, |id, expiry| {
            let id = MsgId(*id);
            if until.get(&id) == Some(&expiry) {
                self.tombstones.insert(id, expiry);
            }
        });
        each(from, STATE, |key, stored: &[u8]| {
            if let Some((checksum, value)) = stored.split_first_chunk::<32>()
                && *checksum == state_checksum(key, value)
            {
                self.state.insert(key.to_owned(), Bytes::copy_from_slice(value));
            }
        });
    }
}

/// Reads what can be read. Where an envelope's own row doesn't tell where it stands, the orders do: the window's if its
/// check is right, the archives' if both agree.
pub(crate) fn salvage(db: &impl ReadableDatabase) -> Salvaged {
    let mut salvaged = Salvaged::default();
    let Ok(Ok(from)) = catch_unwind(AssertUnwindSafe(|| db.begin_read())) else { return salvaged };

    let mut rests = HashMap::new();
    each(&from, ROOMS, |number, rest| {
        rests.insert(number, rest);
    });
    // Without the rest of its tag a room still has its number, which is all that its archive goes by.
    let room = |number| tag(number, rests.get(&number).copied().unwrap_or_default());

    let mut placed = HashMap::new();
    let mut whole = HashSet::new();
    each(&from, ENVELOPES, |id, row: &[u8]| {
        let id = MsgId(*id);
        if let Some((places, _)) = Places::read(&id, row) {
            placed.insert(id, places);
        }
        if envelope_in(&id, row).is_some() {
            whole.insert(id);
        }
    });
    let mut window = BTreeMap::new();
    each(&from, WINDOW_ORDER, |(expiry, id), (source, check)| {
        let id = MsgId(*id);
        if !placed.contains_key(&id) && check == window_check(expiry, &id, source) {
            window.insert(id, (expiry, source));
        }
    });
    let mut pages = HashMap::new();
    each(&from, ARCHIVE_PAGES, |(number, lamport, id), ()| {
        if !placed.contains_key(&MsgId(*id)) {
            pages.insert((MsgId(*id), number), lamport);
        }
    });
    let mut archive = BTreeMap::new();
    each(&from, ARCHIVE_ORDER, |(number, expiry, id), ()| {
        if let Some(lamport) = pages.get(&(MsgId(*id), number)) {
            archive.insert((MsgId(*id), room(number)), (*lamport, expiry));
        }
    });
    for (id, places) in placed {
        if let Some(source) = places.window {
            window.insert(id, (places.expiry, source));
        }
        for (number, lamport) in places.rooms {
            archive.insert((id, room(number)), (lamport, places.expiry));
        }
    }

    for (id, place) in window {
        if whole.contains(&id) {
            salvaged.window.insert(id, place);
        } else {
            salvaged.lost.entry(id).or_default();
        }
    }
    for ((id, room), place) in archive {
        if whole.contains(&id) {
            salvaged.archive.insert((id, room), place);
        } else {
            salvaged.lost.entry(id).or_default().push(room);
        }
    }
    salvaged.read_the_rest(&from);
    salvaged
}

/// Every row of a table that can be read: from the front up to the damage, and from the back down to it. A row may come
/// twice.
pub(crate) fn each<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    table: TableDefinition<'static, K, V>,
    mut row: impl FnMut(K::SelfType<'_>, V::SelfType<'_>),
) {
    let mut read = |backwards: bool| -> bool {
        let whole = catch_unwind(AssertUnwindSafe(|| -> Tried<()> {
            let table = from.open_table(table)?;
            let mut rows = table.iter()?;
            while let Some(next) = if backwards { rows.next_back() } else { rows.next() } {
                let (key, value) = next?;
                row(key.value(), value.value());
            }
            Ok(())
        }));
        matches!(whole, Ok(Ok(())))
    };
    if !read(false) {
        read(true);
    }
}

/// Finds an envelope's bytes in its row, if they are whole.
pub(crate) type EnvelopeIn = for<'r> fn(&MsgId, &'r [u8]) -> Option<&'r [u8]>;

/// Writes what was salvaged of `old` into the empty `new`.
pub(crate) fn restore(
    settings: &Settings,
    (old, envelope_in): (&impl ReadableDatabase, EnvelopeIn),
    new: Storage,
    salvaged: &Salvaged,
    progress: &mut Progress<'_>,
) -> Result<Mended> {
    let db = new_database(settings, new)?;
    let restored = (|| {
        let transaction = begin(&db)?;
        create_tables(&transaction)?;
        let from = old.begin_read()?;
        let envelopes = from.open_table(ENVELOPES)?;
        let read = |id: &MsgId| {
            let read = || Some(Bytes::copy_from_slice(envelope_in(id, envelopes.get(&id.0).ok()??.value())?));
            catch_unwind(AssertUnwindSafe(read)).ok().flatten()
        };
        let mut lost = salvaged.lost.clone();
        let mut kept = HashSet::new();
        let total = (salvaged.window.len() + salvaged.archive.len()) as u64;
        let mut told = Told { done: 0, total, progress };
        let mut batch = Vec::new();
        for (id, (expiry, source)) in &salvaged.window {
            match read(id) {
                Some(envelope) => {
                    kept.insert(*id);
                    batch.push(Entry::Window { id: *id, expiry: *expiry, source: *source, envelope });
                }
                None => drop(lost.entry(*id).or_default()),
            }
            flush(&transaction, &mut batch, RESTORE_BATCH)?;
            told.rows(1);
        }
        for ((id, room), (lamport, expiry)) in &salvaged.archive {
            match read(id) {
                Some(envelope) => {
                    kept.insert(*id);
                    batch.push(Entry::Archive { id: *id, room: *room, expiry: *expiry, lamport: *lamport, envelope });
                }
                None => lost.entry(*id).or_default().push(*room),
            }
            flush(&transaction, &mut batch, RESTORE_BATCH)?;
            told.rows(1);
        }
        batch.extend(
            salvaged.state.iter().map(|(key, value)| Entry::State { key: key.clone(), value: Some(value.clone()) }),
        );
        flush(&transaction, &mut batch, 1)?;
        write::bury(&transaction, salvaged.tombstones.iter().map(|(id, expiry)| (*id, *expiry)))?;
        transaction.commit()?;
        let lost = lost.into_iter().map(|(id, rooms)| Damaged { id, rooms }).collect();
        Ok(Mended { rebuilt: true, kept: kept.len() as u64, lost })
    })();
    settle(restored)
}

/// Writes a batch that has grown to `least`.
fn flush(transaction: &WriteTransaction, batch: &mut Vec<Entry>, least: usize) -> Tried<()> {
    if batch.len() >= least {
        write::append(transaction, batch)?;
        batch.clear();
    }
    Ok(())
}
