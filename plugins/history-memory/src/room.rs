//! One room's archive.

use std::collections::BTreeMap;
use std::ops::Bound;

use rumormill_api::{Cursor, ExpiryHour};

use crate::order::Order;

/// One room's envelopes, in the order of display and in the order of expiry.
#[derive(Debug, Default)]
pub(crate) struct Room {
    by_clock: BTreeMap<Cursor, ExpiryHour>,
    by_expiry: Order,
}

impl Room {
    pub(crate) fn insert(&mut self, at: Cursor, expiry: ExpiryHour) {
        self.by_clock.insert(at, expiry);
        self.by_expiry.insert(expiry, at.id);
    }

    pub(crate) fn remove(&mut self, at: Cursor, expiry: ExpiryHour) {
        self.by_clock.remove(&at);
        self.by_expiry.remove(expiry, at.id);
    }

    /// Everything before `at`, backwards.
    pub(crate) fn before(&self, at: Cursor) -> impl Iterator<Item = (Cursor, ExpiryHour)> {
        self.by_clock.range(..at).rev().map(|(at, expiry)| (*at, *expiry))
    }

    pub(crate) const fn order(&self) -> &Order {
        &self.by_expiry
    }

    /// Everything behind `at`.
    pub(crate) fn after(&self, at: Option<Cursor>) -> impl Iterator<Item = (Cursor, ExpiryHour)> {
        let from = at.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_clock.range((from, Bound::Unbounded)).map(|(at, expiry)| (*at, *expiry))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_clock.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_clock.is_empty()
    }
}
