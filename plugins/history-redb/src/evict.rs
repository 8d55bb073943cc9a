//! Pruning: what has expired, then what lies past the quota.

use std::collections::BTreeSet;

use redb::{ReadableTable as _, WriteTransaction};
use rumormill_api::{ExpiryHour, MsgId, Pruned, Retention, SourceGroup};

use crate::fault::Tried;
use crate::tables::{FIRST_ID, LAST_ID, TOMBSTONE_ORDER, TOMBSTONES};
use crate::write::Shelves;

/// Besides what went: whether anything did.
pub(crate) fn prune(transaction: &WriteTransaction, keep: &Retention, now: ExpiryHour) -> Tried<(Pruned, bool)> {
    let mut shelves = Shelves::open(transaction)?;
    let mut pruned = Pruned { tombstones: expire_tombstones(transaction, now)?, ..Pruned::default() };
    expire(&mut shelves, keep, now, &mut pruned)?;
    pruned.evicted = evict(transaction, &mut shelves, keep.window_quota_bytes)?;
    Ok((pruned, pruned != Pruned::default()))
}

fn expire_tombstones(transaction: &WriteTransaction, now: ExpiryHour) -> Tried<usize> {
    let mut order = transaction.open_table(TOMBSTONE_ORDER)?;
    let mut tombstones = transaction.open_table(TOMBSTONES)?;
    let mut expired = Vec::new();
    for entry in order.range((0, FIRST_ID)..(now, FIRST_ID))? {
        let (key, _) = entry?;
        let (expiry, id) = key.value();
        expired.push((expiry, *id));
    }
    for (expiry, id) in &expired {
        order.remove((*expiry, id))?;
        tombstones.remove(id)?;
    }
    Ok(expired.len())
}

fn expire(shelves: &mut Shelves<'_>, keep: &Retention, now: ExpiryHour, pruned: &mut Pruned) -> Tried<()> {
    let mut expired = Vec::new();
    for entry in shelves.window_order.range((0, FIRST_ID)..(now, FIRST_ID))? {
        expired.push(MsgId(*entry?.0.value().1));
    }
    for id in &expired {
        pruned.expired += usize::from(shelves.leave_window(id)?);
    }
    for room in &keep.ephemeral {
        expired.clear();
        for entry in shelves.archive_order.range((&room.0, 0, FIRST_ID)..(&room.0, now, FIRST_ID))? {
            expired.push(MsgId(*entry?.0.value().2));
        }
        for id in &expired {
            pruned.archive += usize::from(shelves.leave_archive(id, room)?);
        }
    }
    Ok(())
}

/// The source that holds most gives up its earliest-expiring envelope, until the quota is kept. Of two that hold the
/// same, the higher number gives way, since `0` is this node itself.
fn evict(transaction: &WriteTransaction, shelves: &mut Shelves<'_>, quota_bytes: u64) -> Tried<usize> {
    let mut by_bytes = BTreeSet::new();
    let mut total: u64 = 0;
    for entry in shelves.sources.iter()? {
        let (source, bytes) = entry?;
        by_bytes.insert((bytes.value(), source.value()));
        total += bytes.value();
    }
    if total <= quota_bytes {
        return Ok(0);
    }
    let mut tombstones = transaction.open_table(TOMBSTONES)?;
    let mut order = transaction.open_table(TOMBSTONE_ORDER)?;
    let mut evicted = 0;
    while total > quota_bytes {
        let Some((bytes, source)) = by_bytes.pop_last() else { break };
        let Some((expiry, id, length)) = earliest(shelves, source)? else { continue };
        if !shelves.leave_window(&id)? {
            // Only a damaged index names what isn't there; without its entry the loop comes to an end.
            shelves.window_sources.remove((source, expiry, &id.0))?;
            by_bytes.insert((bytes, source));
            continue;
        }
        tombstones.insert(&id.0, expiry)?;
        order.insert((expiry, &id.0), ())?;
        total = total.saturating_sub(length);
        by_bytes.insert((bytes.saturating_sub(length), source));
        evicted += 1;
    }
    Ok(evicted)
}

fn earliest(shelves: &Shelves<'_>, source: SourceGroup) -> Tried<Option<(ExpiryHour, MsgId, u64)>> {
    let mut range = shelves.window_sources.range((source, 0, FIRST_ID)..=(source, ExpiryHour::MAX, LAST_ID))?;
    let Some(entry) = range.next() else { return Ok(None) };
    let (key, length) = entry?;
    let (_, expiry, id) = key.value();
    Ok(Some((expiry, MsgId(*id), u64::from(length.value()))))
}
