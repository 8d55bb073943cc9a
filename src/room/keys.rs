//! The key schedule of a room.
//!
//! ```text
//! secret ──KDF──> room id                         who is meant; inside the seal only
//!        ──KDF──> archive proof key               proves membership, opens nothing
//!        ──KDF──> CK_0 ──KDF──> CK_1 ──> … CK_e   one step per 24 h of the room's life
//!                                         └─KDF──> epoch key e
//! ```
//!
//! Every KDF is BLAKE3's `derive_key` under a context of its own, so none of the results tells anything of another, and
//! nothing leads back from a chain key to the one before it.

use std::collections::BTreeMap;
use std::fmt;

use rumormill_api::{EpochKey, ExpiryHour, Millis};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::secret::RoomSecret;
use crate::proto::wire::ENVELOPE_LIFE_HOURS;
pub use crate::proto::wire::HOUR_MS;

/// Length of an epoch, in hours.
pub const EPOCH_HOURS: u32 = 24;
/// Length of a day, in milliseconds: that of an epoch.
pub const DAY_MS: Millis = EPOCH_HOURS as Millis * HOUR_MS;
/// How long an envelope lives, in hours.
pub const LIFETIME_HOURS: u32 = ENVELOPE_LIFE_HOURS;
/// How many days back an ephemeral room can still be read: an envelope's life, and a day for clocks that differ.
pub const EPHEMERAL_WINDOW_DAYS: u32 = LIFETIME_HOURS / 24 + 1;
/// Every how many epochs a chain key is remembered, so that an old epoch's key is at most so many steps away.
const CHECKPOINT_EPOCHS: u32 = 256;

const CHAIN_START_CONTEXT: &str = "rumormill 2026 room chain start v1";
const CHAIN_STEP_CONTEXT: &str = "rumormill 2026 room chain step v1";
const EPOCH_CONTEXT: &str = "rumormill 2026 room epoch key v1";
const ROOM_ID_CONTEXT: &str = "rumormill 2026 room id v1";
const PROOF_CONTEXT: &str = "rumormill 2026 room archive proof v1";

/// What all members of a room, and only they, know it by. Travels inside the seal only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoomId(pub [u8; 32]);

impl RoomId {
    /// The id of the room with this secret.
    #[must_use]
    pub fn of(secret: &RoomSecret) -> Self {
        Self(blake3::derive_key(ROOM_ID_CONTEXT, secret.as_bytes()))
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomId(…)")
    }
}

/// The key that proves membership when a room's archive is asked for: equal at all members, and useless for opening
/// envelopes.
#[must_use]
pub fn proof_key(secret: &RoomSecret) -> [u8; 32] {
    blake3::derive_key(PROOF_CONTEXT, secret.as_bytes())
}

/// `CK_e`: from it all epoch keys from `e` on derive, and none before. Erased when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ChainKey(pub [u8; 32]);

impl ChainKey {
    /// `CK_0`.
    #[must_use]
    pub fn start(secret: &RoomSecret) -> Self {
        Self(blake3::derive_key(CHAIN_START_CONTEXT, secret.as_bytes()))
    }

    /// `CK_{e+1}` of `CK_e`.
    #[must_use]
    pub fn next(&self) -> Self {
        Self(blake3::derive_key(CHAIN_STEP_CONTEXT, &self.0))
    }

    /// The epoch's key.
    #[must_use]
    pub fn epoch_key(&self) -> EpochKey {
        EpochKey(blake3::derive_key(EPOCH_CONTEXT, &self.0))
    }
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainKey(…)")
    }
}

/// The day of a time, counted from the Unix epoch.
#[must_use]
pub fn day_of(unix_ms: Millis) -> u32 {
    u32::try_from(unix_ms / DAY_MS).unwrap_or(u32::MAX)
}

/// The days whose keys an envelope of this expiry may be sealed with: from the day before it was sealed, if it was
/// given its full life, to the day on which it expires; none after tomorrow, which nobody has reached yet.
///
/// For an envelope that comes live these are yesterday, today and tomorrow.
#[must_use]
pub fn days_of(expiry: ExpiryHour, now_ms: Millis) -> std::ops::RangeInclusive<u32> {
    let first = (expiry.saturating_sub(LIFETIME_HOURS) / EPOCH_HOURS).saturating_sub(1);
    let last = expiry / EPOCH_HOURS;
    first..=last.min(day_of(now_ms).saturating_add(1))
}

/// The chain of one room, from the oldest chain key that is known, with checkpoints.
pub(crate) struct Chain {
    /// Never empty: the first is the oldest key known. Boxed, so that the map's own moves leave no copies behind.
    checkpoints: BTreeMap<u32, Box<ChainKey>>,
}

impl Chain {
    /// A chain that begins at an epoch.
    pub(crate) fn new(epoch: u32, key: ChainKey) -> Self {
        Self { checkpoints: BTreeMap::from([(epoch, Box::new(key))]) }
    }

    /// The oldest epoch whose key is known.
    pub(crate) fn first_epoch(&self) -> u32 {
        *self.checkpoints.first_key_value().expect("a chain always has its first key").0
    }

    /// The key of an epoch; `None` before the first. Remembers checkpoints on its way.
    pub(crate) fn key(&mut self, epoch: u32) -> Option<ChainKey> {
        let (&at, key) = self.checkpoints.range(..=epoch).next_back()?;
        let mut key = ChainKey::clone(key);
        for step in at..epoch {
            if step != at && step % CHECKPOINT_EPOCHS == 0 {
                self.checkpoints.insert(step, Box::new(key.clone()));
            }
            key = key.next();
        }
        Some(key)
    }

    /// Forgets all keys before an epoch, for good. Does nothing when they are forgotten already.
    pub(crate) fn forget_before(&mut self, epoch: u32) {
        if epoch <= self.first_epoch() {
            return;
        }
        let key = self.key(epoch).expect("the epoch is after the first");
        self.checkpoints.retain(|&e, _| e > epoch);
        self.checkpoints.insert(epoch, Box::new(key));
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
