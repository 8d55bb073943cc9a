//! Everything above the flood: secrets, epochs, seal and open, signatures, invites.
//!
//! | file | what it holds |
//! |---|---|
//! | `secret.rs`, `keys.rs`, `access.rs` | from a secret or a passphrase to the keys of each day |
//! | `identity.rs`, `id.rs` | who says something |
//! | `payload.rs`, `cbor.rs`, `reject.rs` | what is inside a seal, and all that may be wrong with it |
//! | `room.rs`, `keyring.rs` | sealing and opening envelopes |
//! | `state.rs`, `order.rs` | what follows what: gaps, equivocation, order of display |
//! | `sanitize.rs` | others' texts, made fit for a terminal |
//! | `storage.rs` | sealing what is written to the own disk |
//! | `invite.rs` | a room on one line |

mod access;
mod cbor;
mod id;
mod identity;
mod invite;
mod keyring;
mod keys;
mod multiples;
mod order;
mod payload;
mod reject;
#[allow(clippy::module_inception, reason = "the file about a room, in the folder about rooms")]
mod room;
mod sanitize;
mod secret;
mod state;
mod storage;
#[cfg(test)]
pub(crate) mod testing;

pub use access::{Access, Ratchet};
pub use id::PersonId;
pub use identity::{Identity, SIGNATURE_BYTES, verify};
pub use invite::{INVITE_MAX_BYTES, INVITE_MAX_PEERS, INVITE_NAME_MAX_BYTES, INVITE_PREFIX, Invite, InviteError};
pub use keyring::{Keyring, Opening};
pub use keys::{
    ChainKey, DAY_MS, EPHEMERAL_WINDOW_DAYS, EPOCH_HOURS, HOUR_MS, LIFETIME_HOURS, RoomId, day_of, days_of, proof_key,
};
pub use order::display_order;
pub use payload::{Body, CHUNK_BYTES, MAX_CHUNKS, MAX_NICK_BYTES, MAX_PARENTS, MAX_TEXT_BYTES, Opened, assemble};
pub use reject::Reject;
pub use room::{NewMessage, Room, RoomKind, RoomSpec, SealError, Sealed};
pub use sanitize::{sanitize, sanitize_line};
pub use secret::{
    ARGON2_LANES, ARGON2_MEMORY_KIB, ARGON2_PASSES, PASSPHRASE_MIN_CHARS, RoomSecret, SECRET_BYTES, SecretError,
};
pub use state::{MAX_HEADS, MAX_MISSING, MAX_PULL_MS, MAX_SENDERS, Noted, Rank, RoomState};
pub use storage::{Entropy, STATE_OVERHEAD_BYTES, StateError, StorageKey};

/// Nothing that panics runs under this module's locks; were it so, what they guard, caches and lists, would still be right.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
