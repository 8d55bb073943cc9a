//! Anti-entropy: reconciling what two nodes hold, and fetching what either lacks.
//!
//! A session compares two sets of (expiry, salted id) by ranges (Meyer 2023, "Range-Based Set Reconciliation", in the
//! form of the negentropy protocol), then each end asks for what it lacks. About a room's archive the ids are keyed with
//! the room's proof key as well, and the expiry is left out: OPEN tells who isn't a member nothing about any envelope.
//!
//! ```text
//! initiator                          responder
//!   OPEN scope, salt, message   ->     lists its ids
//!                               <-   ANSWER message (or DECLINE)
//!   NEXT message                ->
//!                               <-   ANSWER message           … until nothing is left to compare
//!   GET page                    ->
//!                               <-   ITEM, ITEM, …, SERVED    … until nothing is lacking here
//!   HAVE page                   ->
//!                               <-   GET page
//!   ITEM, ITEM, …, SERVED       ->
//!                               <-   TAKEN                    … until nothing is lacking there
//!   DONE                        ->
//! ```
//!
//! Everything is paged, paced and bounded; one session a link and role. A peer that claims what it doesn't serve, serves
//! what wasn't asked for, or goes on without end costs at most the limits below. What comes this way is never relayed.

mod driver;
mod exchange;
mod proof;
mod session;
#[cfg(test)]
mod tests;

pub use driver::{CATCH_UP_EVERY_MS, RECENT_HOURS, SESSION_MAX_MS, SESSIONS_SERVED_MAX, SILENCE_MS};
pub(super) use driver::{Recon, Start};
pub use session::{NEED_MAX_IDS, ROUNDS_MAX};
