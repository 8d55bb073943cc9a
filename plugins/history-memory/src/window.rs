//! The window's order, and who holds how much of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};

use rumormill_api::{ExpiryHour, ExpiryRange, MsgId, SourceGroup};

/// The whole range as keys of an order by (expiry, id).
pub(crate) fn bounds(range: ExpiryRange) -> RangeInclusive<(ExpiryHour, MsgId)> {
    (range.from, MsgId([0; 32]))..=(range.to, MsgId([0xff; 32]))
}

/// At most `limit` of the range behind `after`, which must not lie behind its end.
pub(crate) fn part(
    order: &BTreeSet<(ExpiryHour, MsgId)>,
    range: ExpiryRange,
    after: (ExpiryHour, MsgId),
    limit: usize,
) -> Vec<(ExpiryHour, MsgId)> {
    let (first, last) = bounds(range).into_inner();
    let from = if after < first { Bound::Included(first) } else { Bound::Excluded(after) };
    order.range((from, Bound::Included(last))).take(limit).copied().collect()
}

/// What came from one source.
#[derive(Debug, Default)]
struct Source {
    bytes: u64,
    order: BTreeSet<(ExpiryHour, MsgId)>,
}

/// The window, without the envelopes themselves.
#[derive(Debug, Default)]
pub(crate) struct Window {
    order: BTreeSet<(ExpiryHour, MsgId)>,
    sources: BTreeMap<SourceGroup, Source>,
    by_bytes: BTreeSet<(u64, SourceGroup)>,
    bytes: u64,
}

impl Window {
    pub(crate) fn insert(&mut self, id: MsgId, expiry: ExpiryHour, source: SourceGroup, bytes: u64) {
        self.order.insert((expiry, id));
        let held = self.sources.entry(source).or_default();
        self.by_bytes.remove(&(held.bytes, source));
        held.order.insert((expiry, id));
        held.bytes += bytes;
        self.by_bytes.insert((held.bytes, source));
        self.bytes += bytes;
    }

    pub(crate) fn remove(&mut self, id: MsgId, expiry: ExpiryHour, source: SourceGroup, bytes: u64) {
        self.order.remove(&(expiry, id));
        self.bytes -= bytes;
        let Some(held) = self.sources.get_mut(&source) else { return };
        self.by_bytes.remove(&(held.bytes, source));
        held.order.remove(&(expiry, id));
        held.bytes -= bytes;
        if held.order.is_empty() {
            self.sources.remove(&source);
        } else {
            self.by_bytes.insert((held.bytes, source));
        }
    }

    /// The earliest-expiring envelope of the source that holds most; of two that hold the same, the higher number gives
    /// way, since `0` is this node itself.
    pub(crate) fn next_to_evict(&self) -> Option<(ExpiryHour, MsgId)> {
        let (_, source) = self.by_bytes.last()?;
        self.sources.get(source)?.order.first().copied()
    }

    /// `range.from` must not lie behind `range.to`.
    pub(crate) fn ids(&self, range: ExpiryRange) -> Vec<(ExpiryHour, MsgId)> {
        self.order.range(bounds(range)).copied().collect()
    }

    /// `range.from` must not lie behind `range.to`, nor `after` behind its end.
    pub(crate) fn ids_after(
        &self,
        range: ExpiryRange,
        after: (ExpiryHour, MsgId),
        limit: usize,
    ) -> Vec<(ExpiryHour, MsgId)> {
        part(&self.order, range, after, limit)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
