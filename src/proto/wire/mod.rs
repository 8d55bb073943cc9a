//! Everything that nodes send one another: the envelope, the link messages, and every size limit.
//!
//! # Envelope
//!
//! All that a relay sees of a message. A fixed layout, so that it is parsed without allocation and forwarded as it came:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | flags, 0 |
//! | 2 | 4 | expiry, in hours since the Unix epoch, big-endian |
//! | 6 | 24 | nonce |
//! | 30 | 32 | commitment |
//! | 62 | 8 | work, zero in version 1 |
//! | 70 | rest | ciphertext and, as the last 16 bytes, its tag |
//!
//! The whole has exactly one of the [`ENVELOPE_SIZES`]. Its id is the BLAKE3 hash of all of its bytes.
//!
//! # Link messages
//!
//! `kind u8 | length u16 | body`, several of them back to back in a frame. Bodies have fixed layouts: integers are
//! big-endian, a text or blob is preceded by its length, nothing may follow the last field, and every length is checked
//! before anything is allocated. There is one encoding of every value.
//!
//! | kind | name | body |
//! |---|---|---|
//! | 1 | HELLO | version min 1, max 1, flags 1 (bit 0: probe), recon max 2, link key 32, seen as (1 + n), record (2 + n; 0 = none) |
//! | 2 | RUMOR | an envelope, live |
//! | 3 | (version 1) | ids, 32 each; never sent |
//! | 4 | GET | session, salted ids, 32 each |
//! | 5 | (version 1) | nothing; never sent |
//! | 6 | PEERS | records, each (2 + n) |
//! | 7 | RECON | session, type 1, and by type: see [`ReconBody`] |
//! | 8 | ITEM | session, an envelope that was asked for |
//! | 9, 10 | PING, PONG | number 8 |
//! | 11 | CHAFF | anything |
//! | 12 | BYE | reason 1 |
//! | 13 | SALT | key of short ids 16 |
//! | 14 | IHAVE | number of the first 4, short ids, 8 each |
//! | 15 | IWANT | numbers, 4 each |
//! | 16 | GRAFT | short ids, 8 each; none: all |
//! | 17 | PRUNE | short ids, 8 each |
//!
//! 13 to 17 belong to version 2 and later: a link whose HELLOs agree on version 1 doesn't carry them, and is flooded.
//!
//! `session` is a number 4 of the session's initiator and a role 1: 0 when the sender of this message is the session's
//! initiator, 1 when it is the responder. A record is `link key 32 | issued at u64, Unix seconds | address (1 + n) |
//! signature 64`.

mod codec;
mod envelope;
mod link;
mod recon;
mod record;
mod tree;

pub use envelope::{
    ENVELOPE_BODY_OFFSET, ENVELOPE_COMMITMENT_OFFSET, ENVELOPE_EXPIRY_OFFSET, ENVELOPE_FLAGS, ENVELOPE_LIFE_HOURS,
    ENVELOPE_MAX_BYTES, ENVELOPE_NONCE_OFFSET, ENVELOPE_OVERHEAD_BYTES, ENVELOPE_SIZES, ENVELOPE_SKEW_MS,
    ENVELOPE_VERSION, ENVELOPE_WORK_OFFSET, Envelope, EnvelopeError, Freshness, HOUR_MS, WORK_BYTES, freshness,
};
pub use link::{
    Batch, ByeReason, CHAFF_MAX_BYTES, Fault, HELLO_MAX_BYTES, Hello, IHAVE_MAX_IDS, Kind, LINK_VERSION,
    LINK_VERSION_MIN, MESSAGE_HEADER_BYTES, Message, PEERS_MAX_RECORDS, RawMessage, SALT_KEY_BYTES, ShortId, frame,
    is_bulk, short_id,
};
pub use recon::{
    ASK_MAX_NODES, GET_MAX_IDS, HAVE_MAX_IDS, OpenScope, RECON_MAX_BYTES, RECON_MIN_BYTES, RECON_OVERHEAD_BYTES,
    ReconBody, Role, SALT_BYTES, SaltedId, SessionRef, TREE_SALT_BYTES,
};
pub use record::{PEER_RECORD_MAX_BYTES, PeerRecord, RecordError, link_key_to_x25519};
pub use tree::{
    BLOCK_HOURS, Children, LISTED_BYTES, Listed, ROOT_BYTES, Root, SHORT_BYTES, Short, TREE_DEPTH_MAX, TreeEntry,
    TreeKey, TreeNode,
};

#[cfg(test)]
mod tests;
