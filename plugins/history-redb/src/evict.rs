//! Pruning: what has expired, then what lies past the quota.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use redb::{ReadableTable as _, WriteTransaction};
use rumormill_api::{ExpiryHour, MsgId, Pruned, Retention, SourceGroup};

use crate::fault::Tried;
use crate::row::room_number;
use crate::tables::{FIRST_ID, LAST_ID, TOMBSTONE_ORDER, TOMBSTONES};
use crate::write::Shelves;

/// How many envelopes of a source are looked up at a time. The window's order has all sources' in one.
pub(crate) const READ_AHEAD: usize = 256;

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
        let (key, _) = entry?;
        let (expiry, id) = key.value();
        expired.push((expiry, MsgId(*id)));
    }
    for (expiry, id) in &expired {
        pruned.expired += usize::from(shelves.leave_window(*expiry, id)?.is_some());
    }
    // A damaged row doesn't tell its bytes when it goes: with its hour they are forgotten.
    shelves.sources.retain(|(_, expiry), _| expiry >= now)?;
    for room in &keep.ephemeral {
        let room = room_number(room);
        let mut expired = Vec::new();
        for entry in shelves.archive_order.range((room, 0, FIRST_ID)..(room, now, FIRST_ID))? {
            expired.push(MsgId(*entry?.0.value().2));
        }
        for id in &expired {
            let left = shelves.leave_archive(id, room)? || shelves.forget_unreadable(id)?;
            pruned.archive += usize::from(left);
        }
    }
    Ok(())
}

/// The source that holds most gives up its earliest-expiring envelope, until the quota is kept. Of two that hold the
/// same, the higher number gives way, since `0` is this node itself.
fn evict(transaction: &WriteTransaction, shelves: &mut Shelves<'_>, quota_bytes: u64) -> Tried<usize> {
    let mut held = BTreeMap::<_, Held>::new();
    let mut total: u64 = 0;
    for entry in shelves.sources.iter()? {
        let (key, bytes) = entry?;
        let (source, expiry) = key.value();
        let held = held.entry(source).or_default();
        held.bytes += bytes.value();
        held.hours.push_back(expiry);
        total += bytes.value();
    }
    if total <= quota_bytes {
        return Ok(0);
    }
    let mut by_bytes: BTreeSet<_> = held.iter().map(|(source, held)| (held.bytes, *source)).collect();
    let mut tombstones = transaction.open_table(TOMBSTONES)?;
    let mut order = transaction.open_table(TOMBSTONE_ORDER)?;
    let mut evicted = 0;
    while total > quota_bytes
        && let Some((_, source)) = by_bytes.pop_last()
        && let Some(held) = held.get_mut(&source)
    {
        let Some((expiry, id)) = held.earliest(shelves, source)? else {
            // Only where a count is damaged. What isn't there can't go.
            total = total.saturating_sub(held.bytes);
            continue;
        };
        let bytes = shelves.leave_window(expiry, &id)?.unwrap_or_default();
        tombstones.insert(&id.0, expiry)?;
        order.insert((expiry, &id.0), ())?;
        total = total.saturating_sub(bytes);
        held.bytes = held.bytes.saturating_sub(bytes);
        by_bytes.insert((held.bytes, source));
        evicted += 1;
    }
    Ok(evicted)
}

/// What a source holds, and the first of it in the order of expiry.
#[derive(Default)]
struct Held {
    bytes: u64,
    /// The hours in which something of it expires, as far as they weren't read to their end.
    hours: VecDeque<ExpiryHour>,
    /// The first of these is read up to here.
    read: Option<MsgId>,
    next: VecDeque<(ExpiryHour, MsgId)>,
}

impl Held {
    fn earliest(&mut self, shelves: &Shelves<'_>, source: SourceGroup) -> Tried<Option<(ExpiryHour, MsgId)>> {
        while self.next.is_empty()
            && let Some(&hour) = self.hours.front()
        {
            let from =
                self.read.as_ref().map_or(Bound::Included((hour, FIRST_ID)), |id| Bound::Excluded((hour, &id.0)));
            let rest = shelves.window_order.range::<(u32, &[u8; 32])>((from, Bound::Included((hour, LAST_ID))))?;
            for entry in rest {
                let (key, value) = entry?;
                if value.value().0 == source {
                    self.next.push_back((hour, MsgId(*key.value().1)));
                }
                if self.next.len() == READ_AHEAD {
                    break;
                }
            }
            self.read = self.next.back().filter(|_| self.next.len() == READ_AHEAD).map(|(_, id)| *id);
            if self.read.is_none() {
                self.hours.pop_front();
            }
        }
        Ok(self.next.pop_front())
    }
}
