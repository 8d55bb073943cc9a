//! The database made anew beside the old one: as small as it gets, or out of what is left of a broken one.
//!
//! redb's own compaction moves pages to the front of the file; it leaves them as full as chance left them, two thirds on
//! average. Copied in the order of their keys through cursors, the pages of the new file are full.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
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
use crate::tables::{
    ARCHIVE, ARCHIVE_ORDER, ARCHIVE_PAGES, ENVELOPES, META, SOURCES, STATE, TOMBSTONE_ORDER, TOMBSTONES, WINDOW,
    WINDOW_ORDER, WINDOW_SOURCES,
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

/// Copies `old` into the empty `new`, whose pages get full.
pub(crate) fn copy(settings: &Settings, old: Storage, new: Storage, progress: &mut Progress<'_>) -> Result<()> {
    let mut builder = Builder::new();
    builder.set_cache_size(settings.cache_bytes);
    let old = builder.open_read_only_with_backend(old).map_err(fault::in_opening)?;
    let mut db = new_database(settings, new)?;
    let copied = (|| {
        let (from, to) = (old.begin_read()?, begin(&db)?);
        copy_all(&from, &to, progress)?;
        to.commit()?;
        // What the copying itself freed, and the room that the file grew ahead.
        while db.compact()? {}
        Ok(())
    })();
    settle(copied)
}

fn copy_all(from: &ReadTransaction, to: &WriteTransaction, progress: &mut Progress<'_>) -> Tried<()> {
    let mut told = Told { done: 0, total: rows(from)?, progress };
    told.rows(0);
    copy_table(from, to, META, &mut told)?;
    copy_table(from, to, ENVELOPES, &mut told)?;
    copy_table(from, to, WINDOW, &mut told)?;
    copy_table(from, to, WINDOW_ORDER, &mut told)?;
    copy_table(from, to, WINDOW_SOURCES, &mut told)?;
    copy_table(from, to, SOURCES, &mut told)?;
    copy_table(from, to, ARCHIVE, &mut told)?;
    copy_table(from, to, ARCHIVE_PAGES, &mut told)?;
    copy_table(from, to, ARCHIVE_ORDER, &mut told)?;
    copy_table(from, to, TOMBSTONES, &mut told)?;
    copy_table(from, to, TOMBSTONE_ORDER, &mut told)?;
    copy_table(from, to, STATE, &mut told)
}

fn rows(from: &ReadTransaction) -> Tried<u64> {
    Ok(from.open_table(ENVELOPES)?.len()?
        + from.open_table(WINDOW)?.len()? * 3
        + from.open_table(ARCHIVE)?.len()? * 3
        + from.open_table(TOMBSTONES)?.len()? * 2)
}

struct Told<'a, 'b> {
    done: u64,
    total: u64,
    progress: &'a mut Progress<'b>,
}

impl Told<'_, '_> {
    fn rows(&mut self, more: u64) {
        let before = self.done;
        self.done += more;
        if self.done / TELL_EVERY != before / TELL_EVERY || more == 0 {
            (self.progress)(self.done.min(self.total), self.total);
        }
    }
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
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
    window: BTreeMap<MsgId, (ExpiryHour, SourceGroup)>,
    archive: BTreeMap<(MsgId, RoomTag), (u64, ExpiryHour)>,
    tombstones: BTreeMap<MsgId, ExpiryHour>,
    state: BTreeMap<String, Bytes>,
    /// Ids that are named, and whose bytes are gone.
    lost: BTreeMap<MsgId, Vec<RoomTag>>,
}

/// Reads what can be read. Of what stands in three indexes, only what two of them agree on is believed: an index has no
/// hash of its own.
pub(crate) fn salvage(db: &Database) -> Salvaged {
    let mut salvaged = Salvaged::default();
    let Ok(Ok(from)) = catch_unwind(AssertUnwindSafe(|| db.begin_read())) else { return salvaged };

    let mut window = Votes::default();
    each(&from, WINDOW, |id, (expiry, source, _)| window.count(MsgId(*id), 0, (expiry, Some(source))));
    each(&from, WINDOW_SOURCES, |(source, expiry, id), _| window.count(MsgId(*id), 1, (expiry, Some(source))));
    each(&from, WINDOW_ORDER, |(expiry, id), ()| window.count(MsgId(*id), 2, (expiry, None)));
    let mut archive = Votes::default();
    each(&from, ARCHIVE, |(id, room), place| archive.count((MsgId(*id), RoomTag(*room)), 0, place));
    each(&from, ARCHIVE_PAGES, |(room, lamport, id), expiry| {
        archive.count((MsgId(*id), RoomTag(*room)), 1, (lamport, expiry));
    });
    each(&from, ARCHIVE_ORDER, |(room, expiry, id), lamport| {
        archive.count((MsgId(*id), RoomTag(*room)), 2, (lamport, expiry));
    });
    let mut whole = HashSet::new();
    each(&from, ENVELOPES, |id, envelope| {
        let id = MsgId(*id);
        if MsgId::of(envelope) == id {
            whole.insert(id);
        }
    });

    for (id, [own, source, hour]) in window.0 {
        let hour = hour.map(|(expiry, _)| expiry);
        let place = own
            .filter(|own| source == Some(*own) || hour == Some(own.0))
            .or_else(|| source.filter(|source| hour == Some(source.0)));
        match place {
            Some((expiry, Some(source))) if whole.contains(&id) => drop(salvaged.window.insert(id, (expiry, source))),
            Some(_) => drop(salvaged.lost.entry(id).or_default()),
            None => {}
        }
    }
    for ((id, room), places) in archive.0 {
        match agreed(&places) {
            Some(place) if whole.contains(&id) => drop(salvaged.archive.insert((id, room), place)),
            Some(_) => salvaged.lost.entry(id).or_default().push(room),
            None => {}
        }
    }
    let mut until = HashMap::new();
    each(&from, TOMBSTONE_ORDER, |(expiry, id), ()| {
        until.insert(MsgId(*id), expiry);
    });
    each(&from, TOMBSTONES, |id, expiry| {
        let id = MsgId(*id);
        if until.get(&id) == Some(&expiry) {
            salvaged.tombstones.insert(id, expiry);
        }
    });
    each(&from, STATE, |key, stored: &[u8]| {
        if let Some((checksum, value)) = stored.split_first_chunk::<32>()
            && *checksum == state_checksum(key, value)
        {
            salvaged.state.insert(key.to_owned(), Bytes::copy_from_slice(value));
        }
    });
    salvaged
}

/// What each of three indexes says of an entry.
struct Votes<K, V>(HashMap<K, [Option<V>; 3]>);

impl<K, V> Default for Votes<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V> Votes<K, V> {
    fn count(&mut self, key: K, index: usize, value: V) {
        self.0.entry(key).or_insert([const { None }; 3])[index] = Some(value);
    }
}

/// What two of three say.
fn agreed<V: Copy + PartialEq>(places: &[Option<V>; 3]) -> Option<V> {
    let [a, b, c] = *places;
    if a.is_some() && (a == b || a == c) { a } else { b.filter(|_| b == c) }
}

/// Every row of a table that can be read: from the front up to the damage, and from the back down to it. A row may come
/// twice.
fn each<K: Key + 'static, V: Value + 'static>(
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

/// Writes what was salvaged of `old` into the empty `new`.
pub(crate) fn restore(
    settings: &Settings,
    old: &Database,
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
            let read = || Some(Bytes::copy_from_slice(envelopes.get(&id.0).ok()??.value()));
            catch_unwind(AssertUnwindSafe(read)).ok().flatten().filter(|envelope| MsgId::of(envelope) == *id)
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
