//! Small things that simulations and tests need.

use std::collections::HashSet;

use rumormill_api::{Dedup, ExpiryHour, Header, Millis, MsgId, Seen};

use crate::proto::wire::{ENVELOPE_OVERHEAD_BYTES, ENVELOPE_VERSION, Envelope};

/// A dedup that is always right and forgets nothing.
#[derive(Clone, Debug, Default)]
pub struct ExactDedup(HashSet<MsgId>);

impl Dedup for ExactDedup {
    fn check_and_insert(&mut self, id: &MsgId, _now: Millis) -> Seen {
        if self.0.insert(*id) { Seen::Fresh } else { Seen::Certain }
    }

    fn check(&self, id: &MsgId) -> Seen {
        if self.0.contains(id) { Seen::Certain } else { Seen::Fresh }
    }
}

/// A dedup that never knows: a filter of which nothing but false positives is left.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysMaybe;

impl Dedup for AlwaysMaybe {
    fn check_and_insert(&mut self, _id: &MsgId, _now: Millis) -> Seen {
        Seen::Maybe
    }

    fn check(&self, _id: &MsgId) -> Seen {
        Seen::Maybe
    }
}

/// A well-formed envelope of `size` bytes (one of the classes) that nobody can open; `number` makes it unique, and the first byte of
/// its commitment is `room`.
///
/// # Panics
///
/// When `size` isn't one of [`ENVELOPE_SIZES`](crate::proto::wire::ENVELOPE_SIZES).
#[must_use]
pub fn envelope(expiry: ExpiryHour, room: u8, number: u64, size: usize) -> Envelope {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    let header = Header { version: ENVELOPE_VERSION, flags: 0, expiry_hour: expiry, nonce };
    let mut commitment = [0; 32];
    commitment[0] = room;
    let body = vec![0x5a; size - ENVELOPE_OVERHEAD_BYTES];
    Envelope::assemble(&header, &commitment, &body, &[0; 16]).expect("a size out of ENVELOPE_SIZES")
}
