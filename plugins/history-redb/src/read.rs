//! The questions, each within one read transaction that ends with the call: a long reader would pin pages.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata as _};
use rumormill_api::{
    ArchiveRecord, Checked, Cursor, Damaged, Error, ErrorKind, ExpiryHour, ExpiryRange, Holding, MsgId, RoomTag, Shelf,
    Stats,
};

use crate::NAME;
use crate::fault::Tried;
use crate::row::{Places, room_number, tag};
use crate::tables::{
    ARCHIVE_ORDER, ARCHIVE_PAGES, ENVELOPES, FIRST_ID, LAST_ID, ROOMS, SOURCES, STATE, TOMBSTONE_ORDER, TOMBSTONES,
    WINDOW_ORDER,
};

pub(crate) fn holds_all(transaction: &ReadTransaction, ids: &[MsgId]) -> Tried<Vec<Holding>> {
    let envelopes = transaction.open_table(ENVELOPES)?;
    let tombstones = transaction.open_table(TOMBSTONES)?;
    let holds = |id: &MsgId| -> Tried<Holding> {
        let row = envelopes.get(&id.0)?;
        // One whose row is damaged is as good as gone: it may come again.
        let places = row.as_ref().and_then(|row| Places::read(id, row.value())).map(|(places, _)| places);
        Ok(Holding {
            window: places.as_ref().is_some_and(|places| places.window.is_some()),
            archive: places.as_ref().is_some_and(|places| !places.rooms.is_empty()),
            tombstone: tombstones.get(&id.0)?.is_some(),
        })
    };
    ids.iter().map(holds).collect()
}

pub(crate) fn get(transaction: &ReadTransaction, shelf: Shelf, id: &MsgId) -> Tried<Option<Bytes>> {
    let envelopes = transaction.open_table(ENVELOPES)?;
    let Some(row) = envelopes.get(&id.0)? else { return Ok(None) };
    if let Some((places, envelope)) = Places::read(id, row.value()) {
        let stands = match shelf {
            Shelf::Window => places.window.is_some(),
            Shelf::Archive(room) => places.lamport(room_number(&room)).is_some(),
        };
        if !stands {
            return Ok(None);
        }
        if MsgId::of(envelope) == *id {
            return Ok(Some(Bytes::copy_from_slice(envelope)));
        }
    } else if !lists(transaction, shelf, id)? {
        return Ok(None);
    }
    let text = format!("the envelope {} is damaged on the disk; it is to be fetched again", id.short());
    Err(Error::new(ErrorKind::Corrupt, NAME, text).into())
}

/// Whether a shelf's order names an id whose row doesn't tell where it stands: all of its entries have to be looked at.
fn lists(transaction: &ReadTransaction, shelf: Shelf, id: &MsgId) -> Tried<bool> {
    let mut found = false;
    match shelf {
        Shelf::Window => {
            for entry in transaction.open_table(WINDOW_ORDER)?.iter()? {
                found |= *entry?.0.value().1 == id.0;
            }
        }
        Shelf::Archive(room) => {
            let room = room_number(&room);
            let order = transaction.open_table(ARCHIVE_ORDER)?;
            for entry in order.range((room, 0, FIRST_ID)..=(room, ExpiryHour::MAX, LAST_ID))? {
                found |= *entry?.0.value().2 == id.0;
            }
        }
    }
    Ok(found)
}

/// A record of a room's archive, unless its row is damaged or gone.
fn record(
    envelopes: &impl ReadableTable<&'static [u8; 32], &'static [u8]>,
    lamport: u64,
    id: MsgId,
) -> Tried<Option<ArchiveRecord>> {
    let row = envelopes.get(&id.0)?;
    let read = row.as_ref().and_then(|row| Places::read(&id, row.value()));
    Ok(read.filter(|(_, envelope)| MsgId::of(envelope) == id).map(|(places, envelope)| ArchiveRecord {
        at: Cursor { lamport, id },
        expiry: places.expiry,
        envelope: Bytes::copy_from_slice(envelope),
    }))
}

pub(crate) fn page(
    transaction: &ReadTransaction,
    room: &RoomTag,
    before: Cursor,
    limit: usize,
) -> Tried<Vec<ArchiveRecord>> {
    let pages = transaction.open_table(ARCHIVE_PAGES)?;
    let envelopes = transaction.open_table(ENVELOPES)?;
    let mut records = Vec::new();
    let mut damaged = 0_usize;
    let room = room_number(room);
    for entry in pages.range((room, 0, FIRST_ID)..(room, before.lamport, &before.id.0))?.rev() {
        if records.len() == limit {
            break;
        }
        let (key, _) = entry?;
        let (_, lamport, id) = key.value();
        match record(&envelopes, lamport, MsgId(*id))? {
            Some(record) => records.push(record),
            None => damaged += 1,
        }
    }
    if damaged > 0 {
        tracing::warn!(backend = NAME, damaged, "damaged envelopes were left out of a page");
    }
    records.reverse();
    Ok(records)
}

pub(crate) fn page_after(
    transaction: &ReadTransaction,
    room: &RoomTag,
    after: Option<Cursor>,
    limit: usize,
) -> Tried<Vec<ArchiveRecord>> {
    let pages = transaction.open_table(ARCHIVE_PAGES)?;
    let envelopes = transaction.open_table(ENVELOPES)?;
    let room = room_number(room);
    let from = match &after {
        Some(after) => Bound::Excluded((room, after.lamport, &after.id.0)),
        None => Bound::Included((room, 0, FIRST_ID)),
    };
    let to = Bound::Included((room, u64::MAX, LAST_ID));
    let mut records = Vec::new();
    for entry in pages.range::<(u64, u64, &[u8; 32])>((from, to))? {
        if records.len() == limit {
            break;
        }
        let (key, _) = entry?;
        let (_, lamport, id) = key.value();
        records.extend(record(&envelopes, lamport, MsgId(*id))?);
    }
    Ok(records)
}

pub(crate) fn ids(transaction: &ReadTransaction, shelf: Shelf, range: ExpiryRange) -> Tried<Vec<(ExpiryHour, MsgId)>> {
    ids_after(transaction, shelf, range, None, usize::MAX)
}

pub(crate) fn ids_after(
    transaction: &ReadTransaction,
    shelf: Shelf,
    range: ExpiryRange,
    after: Option<(ExpiryHour, MsgId)>,
    limit: usize,
) -> Tried<Vec<(ExpiryHour, MsgId)>> {
    let ExpiryRange { from, to } = range;
    let mut ids = Vec::new();
    if from > to || after.is_some_and(|(hour, _)| hour > to) {
        return Ok(ids);
    }
    let after = after.filter(|(hour, _)| *hour >= from);
    let first = after.as_ref().map_or((from, FIRST_ID), |(hour, id)| (*hour, &id.0));
    let start = |key| if after.is_some() { Bound::Excluded(key) } else { Bound::Included(key) };
    match shelf {
        Shelf::Window => {
            let range = (start(first), Bound::Included((to, LAST_ID)));
            for entry in transaction.open_table(WINDOW_ORDER)?.range::<(u32, &[u8; 32])>(range)?.take(limit) {
                let (key, _) = entry?;
                let (expiry, id) = key.value();
                ids.push((expiry, MsgId(*id)));
            }
        }
        Shelf::Archive(room) => {
            let order = transaction.open_table(ARCHIVE_ORDER)?;
            let room = room_number(&room);
            let start = match after {
                Some(_) => Bound::Excluded((room, first.0, first.1)),
                None => Bound::Included((room, first.0, first.1)),
            };
            let range = (start, Bound::Included((room, to, LAST_ID)));
            for entry in order.range::<(u64, u32, &[u8; 32])>(range)?.take(limit) {
                let (key, _) = entry?;
                let (_, expiry, id) = key.value();
                ids.push((expiry, MsgId(*id)));
            }
        }
    }
    Ok(ids)
}

/// Everything behind an id.
fn behind(after: Option<&MsgId>) -> Bound<&[u8; 32]> {
    after.map_or(Bound::Unbounded, |id| Bound::Excluded(&id.0))
}

pub(crate) fn tombstones_after(transaction: &ReadTransaction, after: Option<MsgId>, limit: usize) -> Tried<Vec<MsgId>> {
    let table = transaction.open_table(TOMBSTONES)?;
    let range = (behind(after.as_ref()), Bound::Unbounded);
    let mut ids = Vec::new();
    for entry in table.range::<&[u8; 32]>(range)?.take(limit) {
        ids.push(MsgId(*entry?.0.value()));
    }
    Ok(ids)
}

/// Hashes a part of the envelopes, and what is said of them.
pub(crate) fn check(transaction: &ReadTransaction, after: Option<&MsgId>, limit: usize) -> Tried<Checked> {
    let envelopes = transaction.open_table(ENVELOPES)?;
    let rooms = transaction.open_table(ROOMS)?;
    let (mut count, mut last) = (0, None);
    let mut damaged = BTreeMap::new();
    let mut unplaced = false;
    for row in envelopes.range::<&[u8; 32]>((behind(after), Bound::Unbounded))?.take(limit) {
        let (id, row) = row?;
        let id = MsgId(*id.value());
        match Places::read(&id, row.value()) {
            Some((_, envelope)) if MsgId::of(envelope) == id => {}
            Some((places, _)) => {
                drop(damaged.insert(id, places.rooms.iter().map(|(room, _)| *room).collect::<BTreeSet<_>>()))
            }
            None => {
                damaged.insert(id, BTreeSet::new());
                unplaced = true;
            }
        }
        (count, last) = (count + 1, Some(id));
    }
    if unplaced {
        // Where it belongs its own row doesn't tell any more.
        for entry in transaction.open_table(ARCHIVE_ORDER)?.iter()? {
            let (key, _) = entry?;
            let (room, _, id) = key.value();
            if let Some(rooms) = damaged.get_mut(&MsgId(*id)) {
                rooms.insert(room);
            }
        }
    }
    let tags = |(id, numbers): (MsgId, BTreeSet<u64>)| {
        let tags = numbers.into_iter().map(|number| Ok(tag(number, rooms.get(number)?.map_or(0, |rest| rest.value()))));
        Ok(Damaged { id, rooms: tags.collect::<Tried<_>>()? })
    };
    let damaged = damaged.into_iter().map(tags).collect::<Tried<_>>()?;
    Ok(Checked { envelopes: count as u64, damaged, next: last.filter(|_| count == limit) })
}

pub(crate) fn tombstones_between(
    transaction: &ReadTransaction,
    from: (ExpiryHour, MsgId),
    to: (ExpiryHour, MsgId),
    limit: usize,
) -> Tried<Vec<(ExpiryHour, MsgId)>> {
    let mut ids = Vec::new();
    if from > to {
        return Ok(ids);
    }
    let order = transaction.open_table(TOMBSTONE_ORDER)?;
    for entry in order.range((from.0, &from.1.0)..=(to.0, &to.1.0))?.take(limit) {
        let (key, _) = entry?;
        let (expiry, id) = key.value();
        ids.push((expiry, MsgId(*id)));
    }
    Ok(ids)
}

pub(crate) fn tombstones(transaction: &ReadTransaction) -> Tried<Vec<MsgId>> {
    let mut ids = Vec::new();
    for entry in transaction.open_table(TOMBSTONES)?.iter()? {
        ids.push(MsgId(*entry?.0.value()));
    }
    Ok(ids)
}

pub(crate) fn state(transaction: &ReadTransaction, key: &str) -> Tried<Option<Bytes>> {
    let table = transaction.open_table(STATE)?;
    let Some(stored) = table.get(key)? else { return Ok(None) };
    match stored.value().split_first_chunk::<32>() {
        Some((checksum, value)) if *checksum == state_checksum(key, value) => Ok(Some(Bytes::copy_from_slice(value))),
        _ => {
            let text = format!("the value {key:?} is damaged on the disk");
            Err(Error::new(ErrorKind::Corrupt, NAME, text).into())
        }
    }
}

/// What a value is checked by on reading. The name is part of it, with its length.
pub(crate) fn state_checksum(key: &str, value: &[u8]) -> [u8; 32] {
    let length = (key.len() as u64).to_le_bytes();
    MsgId::of(&[&length, key.as_bytes(), value].concat()).0
}

pub(crate) fn stats(transaction: &ReadTransaction) -> Tried<Stats> {
    let mut window_bytes = 0;
    for entry in transaction.open_table(SOURCES)?.iter()? {
        window_bytes += entry?.1.value();
    }
    Ok(Stats {
        window: transaction.open_table(WINDOW_ORDER)?.len()?,
        window_bytes,
        archive: transaction.open_table(ARCHIVE_PAGES)?.len()?,
        tombstones: transaction.open_table(TOMBSTONES)?.len()?,
    })
}
