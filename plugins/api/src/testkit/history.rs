//! Conformance of a [`History`].
//!
//! Every case is a function that takes the backend's factory and panics where the contract is broken. A backend runs them
//! all, one `#[test]` a case, by
//!
//! ```ignore
//! rumormill_api::history_suite!(open);          // fn open(config: HistoryConfig) -> Result<Box<dyn History>>
//! rumormill_api::history_suite_durable!(open);  // besides, if the store is to outlive its process
//! ```
//!
//! or in one test by [`history_suite`] and [`history_suite_durable`]. Each case gets an empty folder of its own.

#![allow(clippy::unwrap_used, reason = "a conformance suite fails by panicking")]

mod durable;
mod forget;
mod paging;
mod prune;
mod shelves;
mod state;

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use tempfile::TempDir;

pub use self::{durable::*, forget::*, paging::*, prune::*, shelves::*, state::*};
use crate::error::Result;
use crate::history::{Entry, History, HistoryConfig, Retention};
use crate::ids::{ExpiryHour, MsgId, RoomTag, SourceGroup};

/// How a backend is made: what it registers.
pub type Factory = dyn Fn(HistoryConfig) -> Result<Box<dyn History>>;

/// Runs every case for any history, in order.
pub fn history_suite(make: &Factory) {
    CASES.iter().for_each(|(_, case)| case(make));
}

/// Runs every case for a history that outlives its process, in order.
pub fn history_suite_durable(make: &Factory) {
    DURABLE_CASES.iter().for_each(|(_, case)| case(make));
}

/// Builds the table of the cases and the macro that makes a `#[test]` of each.
macro_rules! cases {
    ($dollar:tt $(#[$doc:meta])* $table:ident, $suite:ident: $($case:ident)*) => {
        $(#[$doc])*
        pub const $table: &[(&str, fn(&Factory))] = &[$((stringify!($case), $case)),*];

        $(#[$doc])*
        #[macro_export]
        macro_rules! $suite {
            ($dollar make:expr) => {
                $(
                    #[test]
                    fn $case() {
                        $dollar crate::testkit::history::$case(&$dollar make);
                    }
                )*
            };
        }
    };
}

cases! { $
    /// The cases for any history.
    CASES, history_suite:
    an_empty_store_holds_nothing
    an_empty_batch_changes_nothing
    bytes_come_back_as_they_came
    many_are_held_as_each_is
    append_is_idempotent_by_id
    a_duplicate_within_a_batch_counts_once
    the_first_entry_of_an_id_stays
    shelves_stand_apart
    an_envelope_stands_on_both_shelves
    one_envelope_stands_in_two_rooms
    a_wrong_id_is_refused_with_its_whole_batch
    a_hashed_batch_is_written_as_its_entries_are
    holds_says_where_an_id_stands
    ids_are_ascending
    ids_take_both_ends_of_the_range
    ids_of_a_room_are_its_own
    a_range_backwards_is_empty
    ten_thousand_envelopes
    a_page_is_in_order_of_clock_then_id
    a_page_ends_before_its_cursor
    pages_have_no_gaps_and_no_repeats
    pages_stay_put_while_newer_envelopes_arrive
    a_page_of_nothing_is_empty
    lists_by_parts_are_the_lists
    clocks_at_the_ends_of_their_range
    state_is_put_replaced_and_removed
    state_keeps_its_bytes
    state_is_written_with_its_batch
    the_last_state_of_a_batch_stays
    the_name_of_a_state_has_a_limit
    prune_removes_only_what_has_expired
    at_the_quota_nothing_is_evicted
    the_source_that_holds_most_gives_way
    the_earliest_to_expire_is_evicted_first
    a_flooding_source_evicts_only_itself
    a_quota_of_nothing_empties_the_window
    an_evicted_envelope_is_not_taken_again
    an_evicted_envelope_may_enter_an_archive
    tombstones_are_listed
    tombstones_between_two_places_are_listed
    tombstones_expire
    what_expired_leaves_no_tombstone
    eviction_leaves_the_archive_readable
    an_archive_is_kept_past_expiry
    an_ephemeral_archive_goes_with_the_window
    pruning_twice_removes_nothing_more
    the_quota_counts_the_window_alone
    forget_removes_from_every_shelf
    forget_lets_the_envelope_come_back
    forget_touches_nothing_else
    forget_keeps_an_earlier_tombstone
    stats_follow_what_is_done
}

cases! { $
    /// The cases for a history that outlives its process.
    DURABLE_CASES, history_suite_durable:
    reopened_everything_is_there
    reopened_the_bytes_are_the_same
    reopened_pages_are_in_order
    reopened_tombstones_still_refuse
    reopened_tombstones_are_listed_in_order
    reopened_what_was_pruned_stays_away
    reopened_what_was_forgotten_stays_away
    reopened_a_refused_batch_left_nothing
    reopened_removed_state_stays_removed
    reopened_eviction_is_still_fair
    reopened_often_nothing_is_lost
}

/// A store in a folder of its own.
struct Store {
    // Dropped first: a store closes before its folder goes.
    history: Box<dyn History>,
    _folder: TempDir,
}

impl Store {
    fn open(make: &Factory) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { history: open_in(make, &folder), _folder: folder }
    }

    /// Appends, and says (new, known).
    fn put(&mut self, batch: &[Entry]) -> (usize, usize) {
        put(&mut *self.history, batch)
    }
}

impl Deref for Store {
    type Target = dyn History;

    fn deref(&self) -> &Self::Target {
        &*self.history
    }
}

impl DerefMut for Store {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.history
    }
}

fn open_in(make: &Factory, folder: &TempDir) -> Box<dyn History> {
    make(HistoryConfig { folder: folder.path().to_owned(), ..HistoryConfig::default() }).unwrap()
}

fn put(history: &mut dyn History, batch: &[Entry]) -> (usize, usize) {
    let appended = history.append(batch).unwrap();
    (appended.new, appended.known)
}

/// The `n`th envelope of the suite: `bytes` bytes that nothing else has.
fn envelope(n: u64, bytes: usize) -> Bytes {
    let mut envelope = vec![0; bytes];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut envelope);
    envelope.into()
}

/// How long an envelope of the suite is where its length doesn't matter.
const ENVELOPE_BYTES: usize = 512;

fn id(n: u64) -> MsgId {
    MsgId::of(&envelope(n, ENVELOPE_BYTES))
}

fn window(n: u64, expiry: ExpiryHour, source: SourceGroup) -> Entry {
    Entry::Window { id: id(n), expiry, source, envelope: envelope(n, ENVELOPE_BYTES) }
}

fn archive(n: u64, room: RoomTag, expiry: ExpiryHour, lamport: u64) -> Entry {
    Entry::Archive { id: id(n), room, expiry, lamport, envelope: envelope(n, ENVELOPE_BYTES) }
}

fn state(key: &str, value: Option<&'static [u8]>) -> Entry {
    Entry::State { key: key.to_owned(), value: value.map(Bytes::from_static) }
}

const STUDY: RoomTag = RoomTag([1; 16]);
const FRIENDS: RoomTag = RoomTag([2; 16]);

/// Room for so many envelopes of [`ENVELOPE_BYTES`].
fn quota(envelopes: u64) -> Retention {
    Retention { window_quota_bytes: envelopes * ENVELOPE_BYTES as u64, ephemeral: Vec::new() }
}

/// Nothing is evicted for lack of room.
fn roomy() -> Retention {
    Retention { window_quota_bytes: u64::MAX, ephemeral: Vec::new() }
}

/// The ids of `numbers`, ascending.
fn sorted_ids(numbers: impl IntoIterator<Item = u64>) -> Vec<MsgId> {
    let mut ids: Vec<_> = numbers.into_iter().map(id).collect();
    ids.sort_unstable();
    ids
}
