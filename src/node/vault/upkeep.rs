//! What is done from time to time: pruning, giving up gaps, looking for damage, trying again what a failing store didn't
//! take.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use rumormill_api::{ExpiryHour, ExpiryRange, MsgId, Shelf};

use super::{Batch, RETRY_MAX_BYTES, Vault};
use crate::proto::Accepted;
use crate::room::RoomKind;

/// By which share of its quota the window may outgrow it before it is evicted: an eighth.
const QUOTA_SLACK_SHARE: u64 = 8;

/// How many messages of an archive are read and hashed at a time.
const VERIFY_PART_IDS: usize = 256;

impl Vault {
    pub(super) fn prune(&mut self, now: ExpiryHour) {
        let pruned = self.history.prune(&self.retention, now);
        // What was opened before its key goes would come back with what was erased.
        self.progress.opened.clear();
        self.progress.archived.clear();
        if let Some(pruned) = self.noted(pruned) {
            self.trees.prune(&pruned, now);
            tracing::debug!(?pruned, "pruned the history");
        }
        let now_ms = self.clock.now().unix;
        for room in self.keyring.rooms() {
            // The config has the secret still; what this erases is every old key that was derived from it.
            if room.ratchet(now_ms).is_some() {
                tracing::debug!(room = ?room.tag(), "erased old keys");
            }
        }
        // After the last of them: what is opened from now on can't have been with one of these.
        self.erasures.fetch_add(1, Ordering::Release);
        self.give_up_what_nothing_follows();
    }

    /// Evicts what is past the quota as soon as much has come in, without waiting for the next pruning. What has expired
    /// stays: that takes a clock that can be trusted.
    pub(super) fn mind_the_quota(&mut self, bytes: u64) {
        self.progress.window_bytes += bytes;
        if self.progress.window_bytes > self.retention.window_quota_bytes / QUOTA_SLACK_SHARE {
            self.progress.window_bytes = 0;
            let evicted = self.history.prune(&self.retention, 0);
            if let Some(pruned) = self.noted(evicted) {
                self.trees.prune(&pruned, 0);
            }
        }
    }

    /// In a room that forgets, a message counts as missing only as long as one that follows it is here.
    fn give_up_what_nothing_follows(&mut self) {
        let now = self.clock.now().unix;
        for room in 0..self.keyring.rooms().len() {
            if self.keyring.rooms()[room].kind() != RoomKind::Ephemeral || self.states[room].missing() == 0 {
                continue;
            }
            let shelf = Shelf::Archive(self.keyring.rooms()[room].tag());
            let ids = self.history.ids(shelf, ExpiryRange::ALL);
            let Some(ids) = self.noted(ids) else { continue };
            let mut followed = HashSet::new();
            for (_, id) in ids {
                let Some(envelope) = self.fetch(shelf, &id) else { continue };
                if let Ok(Some((_, opened))) = self.keyring.open(&envelope, now) {
                    followed.extend(opened.dependencies().copied());
                }
            }
            let gone: Vec<_> = self.states[room].missing_ids().filter(|id| !followed.contains(*id)).copied().collect();
            let state = &mut self.states[room];
            gone.iter().for_each(|id| state.give_up(id));
            if !gone.is_empty() {
                self.tell_missing(room);
            }
        }
    }

    /// Reads a part of a room's archive, and says where the next one begins. So that a long archive doesn't hold up what
    /// else the store is to do, the driver asks for one part after the other.
    pub(super) fn verify(&mut self, room: usize, after: Option<(ExpiryHour, MsgId)>) -> Option<(ExpiryHour, MsgId)> {
        let shelf = Shelf::Archive(self.keyring.rooms()[room].tag());
        let ids = self.history.ids_after(shelf, ExpiryRange::ALL, after, VERIFY_PART_IDS);
        let ids = self.noted(ids).unwrap_or_default();
        for (_, id) in &ids {
            if matches!(self.history.get(shelf, id), Ok(None)) {
                // Listed and not there: as damaged as what doesn't hash to its id.
                self.shared.count("damaged");
                self.forget_damaged(id);
            } else {
                self.fetch(shelf, id);
            }
        }
        ids.last().copied()
    }

    pub(super) fn take_up_retries(&mut self, batch: &mut Batch) {
        let retries = std::mem::take(&mut self.progress.retry);
        self.progress.retry_ids.clear();
        self.progress.retry_bytes = 0;
        self.progress.retry_wanted.store(false, Ordering::Release);
        let now = self.clock.now().unix;
        for accepted in retries {
            self.accept(batch, accepted, now);
        }
    }

    pub(super) fn keep_for_retry(&mut self, accepted: Accepted) {
        let bytes = self.progress.retry_bytes + accepted.envelope.bytes().len();
        if bytes > RETRY_MAX_BYTES {
            self.shared.count("store_overflow");
        } else if self.progress.retry_ids.insert(*accepted.envelope.id()) {
            self.progress.retry_bytes = bytes;
            self.progress.retry.push(accepted);
            self.progress.retry_wanted.store(true, Ordering::Release);
        }
    }
}
