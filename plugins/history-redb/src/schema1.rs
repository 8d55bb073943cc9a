//! The first schema, and how a database of it becomes one of this build's. It is written anew beside the old file, which
//! stays as it is until the new one is whole.
//!
//! It kept what is known of an envelope in tables by its id, beside the orders: three for the window, three for the
//! archives, all with the room's whole tag.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{
    Builder, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable as _, ReadableTableMetadata as _,
    WriteTransaction,
};
use rumormill_api::{ExpiryHour, MsgId, Progress, Result, RoomTag};

use crate::fault::{self, Tried};
use crate::opening::create_tables;
use crate::options::Settings;
use crate::place::Place;
use crate::rebuild::{Salvaged, Told, copy_table, each, restore, write_whole};
use crate::row::{Places, halves, room_number, window_check};
use crate::tables::{
    ARCHIVE_ORDER, ARCHIVE_PAGES, ENVELOPES, Id, ROOMS, SOURCES, STATE, Set, TOMBSTONE_ORDER, TOMBSTONES, Table,
    WINDOW_ORDER,
};
use crate::{FILE_NAME, NAME};

/// The version of this schema.
pub(crate) const VERSION: u64 = 1;

type Room = &'static [u8; 16];

/// id → (expiry, source, length in bytes).
const WINDOW_V1: Table<Id, (u32, u64, u32)> = Table::new("window");
/// (expiry, id).
const WINDOW_ORDER_V1: Set<(u32, Id)> = Set::new("window_order");
/// (source, expiry, id) → length in bytes.
const WINDOW_SOURCES_V1: Table<(u64, u32, Id), u32> = Table::new("window_sources");
/// (id, room) → (Lamport, expiry).
const ARCHIVE_V1: Table<(Id, Room), (u64, u32)> = Table::new("archive");
/// (room, Lamport, id) → expiry.
const ARCHIVE_PAGES_V1: Table<(Room, u64, Id), u32> = Table::new("archive_pages");
/// (room, expiry, id) → Lamport.
const ARCHIVE_ORDER_V1: Table<(Room, u32, Id), u64> = Table::new("archive_order");

/// Before every room.
const FIRST_ROOM: &[u8; 16] = &[0; 16];
/// Behind every room but itself.
const LAST_ROOM: &[u8; 16] = &[0xff; 16];

/// Replaces what is in `place`, which nothing has open. Of what is `broken` all that can be read is taken over, and the old
/// file kept.
pub(crate) fn convert(place: &dyn Place, settings: &Settings, broken: bool) -> Result<()> {
    tracing::info!(backend = NAME, "{FILE_NAME} is converted to schema 2; a million messages take half a minute");
    if broken {
        place.set_aside()?;
    }
    place.create(&mut |new| {
        let old = open(place, settings)?;
        if broken {
            let mended = restore(settings, (&old, whole), new, &salvage(&old), &mut |_, _| {})?;
            tracing::warn!(backend = NAME, kept = mended.kept, lost = mended.lost.len(), "{FILE_NAME} was damaged");
            return Ok(());
        }
        write_whole(settings, new, |to| {
            create_tables(to)?;
            let progress: &mut Progress<'_> =
                &mut |done, total| tracing::debug!(backend = NAME, done, total, "converting");
            copy_all(&old.begin_read()?, to, progress)
        })
    })
}

fn open(place: &dyn Place, settings: &Settings) -> Result<redb::ReadOnlyDatabase> {
    let mut builder = Builder::new();
    builder.set_cache_size(settings.cache_bytes);
    match builder.open_read_only_with_backend(place.storage()?) {
        Err(DatabaseError::RepairAborted) => {
            // It wasn't closed as it should: for writing, redb mends it first.
            drop(builder.create_with_backend(place.storage()?).map_err(fault::in_opening)?);
            builder.open_read_only_with_backend(place.storage()?)
        }
        opened => opened,
    }
    .map_err(fault::in_opening)
}

/// Table by table in the order of its keys, so that the new pages get full.
fn copy_all(from: &ReadTransaction, to: &WriteTransaction, progress: &mut Progress<'_>) -> Tried<()> {
    let window = from.open_table(WINDOW_V1)?;
    let archive = from.open_table(ARCHIVE_V1)?;
    let envelopes = from.open_table(ENVELOPES)?;
    let total = envelopes.len()? + window.len()? * 2 + archive.len()? * 2;
    let mut told = Told { done: 0, total, progress };

    let mut rests = HashMap::new();
    let mut table = to.open_table(ENVELOPES)?;
    let mut end = table.upper_bound_mut(Bound::<&[u8; 32]>::Unbounded)?;
    for row in envelopes.iter()? {
        let (id, envelope) = row?;
        let id = MsgId(*id.value());
        let mut places = Places::default();
        if let Some(entry) = window.get(&id.0)? {
            let (expiry, source, _) = entry.value();
            (places.expiry, places.window) = (expiry, Some(source));
        }
        for entry in archive.range((&id.0, FIRST_ROOM)..=(&id.0, LAST_ROOM))? {
            let (key, value) = entry?;
            let (number, rest) = halves(&RoomTag(*key.value().1));
            let (lamport, expiry) = value.value();
            places.expiry = expiry;
            places.rooms.push((number, lamport));
            rests.insert(number, rest);
        }
        end.insert_before(&id.0, [&places.head(&id)?, envelope.value()].concat().as_slice())?;
        told.rows(1);
    }
    end.close()?;

    let mut table = to.open_table(WINDOW_ORDER)?;
    let mut end = table.upper_bound_mut(Bound::<(u32, &[u8; 32])>::Unbounded)?;
    for entry in from.open_table(WINDOW_ORDER_V1)?.iter()? {
        let (key, _) = entry?;
        let (expiry, id) = key.value();
        let source = window.get(id)?.map_or(0, |entry| entry.value().1);
        end.insert_before((expiry, id), (source, window_check(expiry, &MsgId(*id), source)))?;
        told.rows(1);
    }
    end.close()?;

    let mut sources = to.open_table(SOURCES)?;
    let mut held = BTreeMap::<_, u64>::new();
    for entry in from.open_table(WINDOW_SOURCES_V1)?.iter()? {
        let (key, length) = entry?;
        let (source, expiry, _) = key.value();
        *held.entry((source, expiry)).or_default() += u64::from(length.value());
        told.rows(1);
    }
    for (key, bytes) in held {
        sources.insert(key, bytes)?;
    }

    let mut rooms = to.open_table(ROOMS)?;
    for (number, rest) in rests {
        rooms.insert(number, rest)?;
    }
    let mut table = to.open_table(ARCHIVE_PAGES)?;
    let mut end = table.upper_bound_mut(Bound::<(u64, u64, &[u8; 32])>::Unbounded)?;
    for entry in from.open_table(ARCHIVE_PAGES_V1)?.iter()? {
        let (key, _) = entry?;
        let (room, lamport, id) = key.value();
        end.insert_before((room_number(&RoomTag(*room)), lamport, id), ())?;
        told.rows(1);
    }
    end.close()?;
    let mut table = to.open_table(ARCHIVE_ORDER)?;
    let mut end = table.upper_bound_mut(Bound::<(u64, u32, &[u8; 32])>::Unbounded)?;
    for entry in from.open_table(ARCHIVE_ORDER_V1)?.iter()? {
        let (key, _) = entry?;
        let (room, expiry, id) = key.value();
        end.insert_before((room_number(&RoomTag(*room)), expiry, id), ())?;
        told.rows(1);
    }
    end.close()?;

    copy_table(from, to, TOMBSTONES, &mut told)?;
    copy_table(from, to, TOMBSTONE_ORDER, &mut told)?;
    copy_table(from, to, STATE, &mut told)
}

/// An envelope's row was the envelope.
fn whole<'r>(id: &MsgId, row: &'r [u8]) -> Option<&'r [u8]> {
    Some(row).filter(|envelope| MsgId::of(envelope) == *id)
}

/// Reads what can be read. Of what stands in three indexes, only what two of them agree on is believed: an index has no
/// hash of its own.
fn salvage(db: &impl ReadableDatabase) -> Salvaged {
    let mut salvaged = Salvaged::default();
    let Ok(Ok(from)) = catch_unwind(AssertUnwindSafe(|| db.begin_read())) else { return salvaged };

    let mut window = Votes::default();
    each(&from, WINDOW_V1, |id, (expiry, source, _)| window.count(MsgId(*id), 0, (expiry, Some(source))));
    each(&from, WINDOW_SOURCES_V1, |(source, expiry, id), _| window.count(MsgId(*id), 1, (expiry, Some(source))));
    each(&from, WINDOW_ORDER_V1, |(expiry, id), ()| window.count(MsgId(*id), 2, (expiry, None)));
    let mut archive = Votes::default();
    each(&from, ARCHIVE_V1, |(id, room), place| archive.count((MsgId(*id), RoomTag(*room)), 0, place));
    each(&from, ARCHIVE_PAGES_V1, |(room, lamport, id), expiry| {
        archive.count((MsgId(*id), RoomTag(*room)), 1, (lamport, expiry));
    });
    each(&from, ARCHIVE_ORDER_V1, |(room, expiry, id), lamport| {
        archive.count((MsgId(*id), RoomTag(*room)), 2, (lamport, expiry));
    });
    let mut present = HashSet::new();
    each(&from, ENVELOPES, |id, row| {
        let id = MsgId(*id);
        if whole(&id, row).is_some() {
            present.insert(id);
        }
    });

    for (id, [own, source, hour]) in window.0 {
        let hour = hour.map(|(expiry, _): (ExpiryHour, _)| expiry);
        let place = own
            .filter(|own| source == Some(*own) || hour == Some(own.0))
            .or_else(|| source.filter(|source| hour == Some(source.0)));
        match place {
            Some((expiry, Some(source))) if present.contains(&id) => {
                salvaged.window.insert(id, (expiry, source));
            }
            Some(_) => drop(salvaged.lost.entry(id).or_default()),
            None => {}
        }
    }
    for ((id, room), places) in archive.0 {
        match agreed(&places) {
            Some(place) if present.contains(&id) => drop(salvaged.archive.insert((id, room), place)),
            Some(_) => salvaged.lost.entry(id).or_default().push(room),
            None => {}
        }
    }
    salvaged.read_the_rest(&from);
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
