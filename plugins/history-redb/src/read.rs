//! The questions, each within one read transaction that ends with the call: a long reader would pin pages.

use std::ops::Bound;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _};
use rumormill_api::{
    ArchiveRecord, Checked, Cursor, Damaged, Error, ErrorKind, ExpiryHour, ExpiryRange, Holding, MsgId, RoomTag, Shelf,
    Stats,
};

use crate::NAME;
use crate::fault::Tried;
use crate::tables::{
    ARCHIVE, ARCHIVE_ORDER, ARCHIVE_PAGES, ENVELOPES, FIRST_ID, LAST_ID, SOURCES, STATE, TOMBSTONE_ORDER, TOMBSTONES,
    WINDOW, WINDOW_ORDER,
};

/// Before every room.
const FIRST_ROOM: &[u8; 16] = &[0; 16];
/// Behind every room but itself.
const LAST_ROOM: &[u8; 16] = &[0xff; 16];

pub(crate) fn holds_all(transaction: &ReadTransaction, ids: &[MsgId]) -> Tried<Vec<Holding>> {
    let archive = transaction.open_table(ARCHIVE)?;
    let window = transaction.open_table(WINDOW)?;
    let tombstones = transaction.open_table(TOMBSTONES)?;
    let holds = |id: &MsgId| -> Tried<Holding> {
        Ok(Holding {
            window: window.get(&id.0)?.is_some(),
            archive: archive.range((&id.0, FIRST_ROOM)..=(&id.0, LAST_ROOM))?.next().transpose()?.is_some(),
            tombstone: tombstones.get(&id.0)?.is_some(),
        })
    };
    ids.iter().map(holds).collect()
}

pub(crate) fn get(transaction: &ReadTransaction, shelf: Shelf, id: &MsgId) -> Tried<Option<Bytes>> {
    let stands = match shelf {
        Shelf::Window => transaction.open_table(WINDOW)?.get(&id.0)?.is_some(),
        Shelf::Archive(room) => transaction.open_table(ARCHIVE)?.get((&id.0, &room.0))?.is_some(),
    };
    if !stands {
        return Ok(None);
    }
    let envelopes = transaction.open_table(ENVELOPES)?;
    let envelope = envelopes.get(&id.0)?;
    let envelope = envelope.as_ref().map(|envelope| envelope.value()).filter(|envelope| MsgId::of(envelope) == *id);
    match envelope {
        Some(envelope) => Ok(Some(Bytes::copy_from_slice(envelope))),
        None => {
            let text = format!("the envelope {} is damaged on the disk; it is to be fetched again", id.short());
            Err(Error::new(ErrorKind::Corrupt, NAME, text).into())
        }
    }
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
    for entry in pages.range((&room.0, 0, FIRST_ID)..(&room.0, before.lamport, &before.id.0))?.rev() {
        if records.len() == limit {
            break;
        }
        let (key, expiry) = entry?;
        let (_, lamport, id) = key.value();
        let id = MsgId(*id);
        match envelopes.get(&id.0)? {
            Some(envelope) if MsgId::of(envelope.value()) == id => records.push(ArchiveRecord {
                at: Cursor { lamport, id },
                expiry: expiry.value(),
                envelope: Bytes::copy_from_slice(envelope.value()),
            }),
            _ => damaged += 1,
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
    let from = match &after {
        Some(after) => Bound::Excluded((&room.0, after.lamport, &after.id.0)),
        None => Bound::Included((&room.0, 0, FIRST_ID)),
    };
    let to = Bound::Included((&room.0, u64::MAX, LAST_ID));
    let mut records = Vec::new();
    for entry in pages.range::<(&[u8; 16], u64, &[u8; 32])>((from, to))? {
        if records.len() == limit {
            break;
        }
        let (key, expiry) = entry?;
        let (_, lamport, id) = key.value();
        let id = MsgId(*id);
        if let Some(envelope) = envelopes.get(&id.0)?
            && MsgId::of(envelope.value()) == id
        {
            let envelope = Bytes::copy_from_slice(envelope.value());
            records.push(ArchiveRecord { at: Cursor { lamport, id }, expiry: expiry.value(), envelope });
        }
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
            let start = match after {
                Some(_) => Bound::Excluded((&room.0, first.0, first.1)),
                None => Bound::Included((&room.0, first.0, first.1)),
            };
            let range = (start, Bound::Included((&room.0, to, LAST_ID)));
            for entry in order.range::<(&[u8; 16], u32, &[u8; 32])>(range)?.take(limit) {
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

/// Hashes a part of the envelopes, and looks that none is missing which a shelf names.
pub(crate) fn check(transaction: &ReadTransaction, after: Option<&MsgId>, limit: usize) -> Tried<Checked> {
    let envelopes = transaction.open_table(ENVELOPES)?;
    let archive = transaction.open_table(ARCHIVE)?;
    let (mut present, mut damaged) = (Vec::new(), Vec::new());
    for entry in envelopes.range::<&[u8; 32]>((behind(after), Bound::Unbounded))?.take(limit) {
        let (id, envelope) = entry?;
        let id = MsgId(*id.value());
        if MsgId::of(envelope.value()) != id {
            damaged.push(id);
        }
        present.push(id);
    }
    let next = present.last().copied().filter(|_| present.len() == limit);
    let last = next.map_or(*LAST_ID, |id| id.0);
    let named = |id: &MsgId| present.binary_search(id).is_err();
    for entry in transaction.open_table(WINDOW)?.range::<&[u8; 32]>((behind(after), Bound::Included(&last)))? {
        damaged.extend(Some(MsgId(*entry?.0.value())).filter(named));
    }
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded((&id.0, LAST_ROOM)));
    for entry in archive.range::<(&[u8; 32], &[u8; 16])>((from, Bound::Included((&last, LAST_ROOM))))? {
        damaged.extend(Some(MsgId(*entry?.0.value().0)).filter(named));
    }
    damaged.sort_unstable();
    damaged.dedup();
    let rooms = |id: MsgId| {
        let mut rooms = Vec::new();
        for entry in archive.range((&id.0, FIRST_ROOM)..=(&id.0, LAST_ROOM))? {
            rooms.push(RoomTag(*entry?.0.value().1));
        }
        Ok(Damaged { id, rooms })
    };
    let damaged = damaged.into_iter().map(rooms).collect::<Tried<_>>()?;
    Ok(Checked { envelopes: present.len() as u64, damaged, next })
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
        window: transaction.open_table(WINDOW)?.len()?,
        window_bytes,
        archive: transaction.open_table(ARCHIVE)?.len()?,
        tombstones: transaction.open_table(TOMBSTONES)?.len()?,
    })
}
