//! The window's order, and who holds how much of it.

use std::collections::BTreeMap;

use rumormill_api::{ExpiryHour, MsgId, SourceGroup};

use crate::order::Order;

/// What came from one source.
#[derive(Debug, Default)]
struct Source {
    bytes: u64,
    order: Order,
}

/// The window, without the envelopes themselves.
#[derive(Debug, Default)]
pub(crate) struct Window {
    order: Order,
    sources: BTreeMap<SourceGroup, Source>,
    bytes: u64,
}

impl Window {
    pub(crate) fn insert(&mut self, id: MsgId, expiry: ExpiryHour, source: SourceGroup, bytes: u64) {
        self.order.insert(expiry, id);
        let held = self.sources.entry(source).or_default();
        held.order.insert(expiry, id);
        held.bytes += bytes;
        self.bytes += bytes;
    }

    pub(crate) fn remove(&mut self, id: MsgId, expiry: ExpiryHour, source: SourceGroup, bytes: u64) {
        self.order.remove(expiry, id);
        self.bytes -= bytes;
        let Some(held) = self.sources.get_mut(&source) else { return };
        held.order.remove(expiry, id);
        held.bytes -= bytes;
        if held.order.is_empty() {
            self.sources.remove(&source);
        }
    }

    /// The earliest-expiring envelope of the source that holds most; of two that hold the same, the higher number gives
    /// way, since `0` is this node itself.
    pub(crate) fn next_to_evict(&self) -> Option<(ExpiryHour, MsgId)> {
        let (_, most) = self.sources.iter().max_by_key(|(source, held)| (held.bytes, **source))?;
        most.order.first()
    }

    pub(crate) const fn order(&self) -> &Order {
        &self.order
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}
