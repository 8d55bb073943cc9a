//! Anti-entropy: reconciling what two nodes hold, and fetching what either lacks.
//!
//! A session compares two sets of (expiry, id) by the digests of a [tree](Tree) over them, from the root down to where they
//! differ, then either end gets what it lacks. This is range-based set reconciliation (Meyer 2023) with ranges that are
//! fixed, so that their digests can be kept between sessions: two nodes with a million envelopes each see within a
//! millisecond and a hundred bytes that they hold the same, where the negentropy protocol, which this node once spoke, has to
//! list, salt and sort them all for every session, since its fingerprints are sums, which can be made to collide. What is
//! sent of ids and digests is hashed with the session's key and cut to four and five bytes.
//!
//! About a room's archive that key comes from the room's, too: BEGIN tells who isn't a member nothing about any envelope.
//!
//! ```text
//! initiator                            responder
//!   BEGIN scope, salt, root      ->
//!                                <-    SAME, the end; or DECLINE; or
//!                                <-    CHILDREN of everything
//!   ASK nodes                    ->
//!                                <-    CHILDREN of them               … down to where few ids are left
//!   EXCHANGE what it has there   ->
//!                                <-    ITEM, ITEM, …, PAGE            a page waits for its GO
//!   GO                           ->
//!                                <-    ITEM, …, FOUND what it wants
//!   ITEM, ITEM, …, GIVEN         ->                                   … until nothing is left that differs
//!   DONE                         ->
//! ```
//!
//! A responder keeps next to nothing: the digests, which all sessions share, and the exchange under way. Where a session
//! ends, by whatever cause, the next one goes on: what came is there.
//!
//! Everything is paged, paced and bounded; one session a link and role, one at a time about the window, so that nothing comes
//! twice, but for one whose other end is quiet: another peer is asked meanwhile. A page comes when the one before is durable. A peer that claims what it doesn't serve, serves what wasn't asked
//! for, or goes on without end costs at most the limits below. What comes this way is never relayed.

mod driver;
mod exchange;
mod proof;
mod session;
#[cfg(test)]
mod tests;
mod tree;

pub use driver::{
    CATCH_UP_EVERY_MS, FRUITLESS_PAUSE_MS, QUIET_MS, RECENT_HOURS, SESSION_MAX_MS, SESSIONS_SERVED_MAX, SILENCE_MS,
    TREE_LINK_VERSION,
};
pub(super) use driver::{Recon, Start};
pub use session::{FRUITLESS_MAX, ITEMS_MAX, PAGE_BYTES, PAGES_AHEAD, ROUNDS_MAX};
pub use tree::{
    Finding, HOURS_MAX, LEAF_MAX_IDS, Look, Page, Place, Question, Source, Step, Tree, TreeLoader, previous_key,
};
