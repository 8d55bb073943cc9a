//! Which messages are damaged, and which wait for chunks: kept over restarts, so that what was shown isn't shown again,
//! and what wasn't shown yet still is.

use std::collections::HashSet;

use bytes::Bytes;
use rumormill_api::{Entry, ErrorKind, History, MsgId, Result as ApiResult, Shelf};

use super::{Batch, DAMAGED_MAX, Vault, Waiting, state_key};
use crate::room::{Entropy, StorageKey};

/// Where the ids of damaged messages are kept.
const DAMAGED_KEY: &str = "damaged";

/// Where the ids of long messages that wait for chunks are kept.
const WAITING_KEY: &str = "waiting";

/// The version of both lists' format: this byte, then the ids.
const FORMAT_VERSION: u8 = 1;

/// A list as it is kept; `None` for an empty one.
fn sealed(
    key: &'static str,
    ids: impl Iterator<Item = MsgId>,
    storage: &StorageKey,
    entropy: &mut Entropy<'_>,
) -> Option<Bytes> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    (!ids.is_empty()).then(|| {
        let mut list = vec![FORMAT_VERSION];
        ids.iter().for_each(|id| list.extend_from_slice(&id.0));
        storage.seal_state(key.as_bytes(), &list, entropy).into()
    })
}

/// A list that is damaged counts as empty: at worst a message is shown again, or shown in the history alone.
fn load(key: &'static str, history: &dyn History, storage: &StorageKey) -> ApiResult<Vec<MsgId>> {
    let sealed = match history.state(key) {
        Err(error) if error.kind() == ErrorKind::Corrupt => None,
        other => other?,
    };
    let list = sealed.and_then(|sealed| storage.open_state(key.as_bytes(), &sealed).ok());
    Ok(match list.as_deref().map(|list| list.split_first()) {
        Some(Some((&FORMAT_VERSION, ids))) => ids.as_chunks::<32>().0.iter().map(|id| MsgId(*id)).collect(),
        _ => Vec::new(),
    })
}

/// The entry that keeps the ids of damaged messages.
pub(in crate::node) fn save_damaged(
    damaged: &HashSet<MsgId>,
    storage: &StorageKey,
    entropy: &mut Entropy<'_>,
) -> Entry {
    let value = sealed(DAMAGED_KEY, damaged.iter().take(DAMAGED_MAX).copied(), storage, entropy);
    Entry::State { key: DAMAGED_KEY.to_owned(), value }
}

/// The ids of damaged messages that haven't come back.
pub(in crate::node) fn load_damaged(history: &dyn History, storage: &StorageKey) -> ApiResult<HashSet<MsgId>> {
    Ok(load(DAMAGED_KEY, history, storage)?.into_iter().collect())
}

impl Vault {
    /// Removes a damaged envelope from every shelf. If it was a message of a room of this node, it counts as missing there
    /// and is remembered as shown.
    pub(super) fn forget_damaged(&mut self, id: &MsgId) {
        let tags: Vec<_> = self.keyring.rooms().iter().map(crate::room::Room::tag).collect();
        let stands = |tag: &_| !matches!(self.history.get(Shelf::Archive(*tag), id), Ok(None));
        let rooms: Vec<_> = (0..tags.len()).filter(|room| stands(&tags[*room])).collect();
        let forgotten = self.history.forget(id);
        self.trees.forget();
        self.progress.archived.clear();
        if self.noted(forgotten).is_none() || rooms.is_empty() {
            return;
        }
        if self.progress.damaged.len() < DAMAGED_MAX {
            self.progress.damaged.insert(*id);
        }
        let mut entries = vec![save_damaged(&self.progress.damaged, &self.storage, &mut *self.entropy)];
        for &room in &rooms {
            self.states[room].lost(id);
            let value = self.states[room].encode(&tags[room], &self.storage, &mut *self.entropy);
            entries.push(Entry::State { key: state_key(tags[room]), value: Some(value.into()) });
        }
        let kept = self.history.append(&entries);
        self.noted(kept);
        rooms.into_iter().for_each(|room| self.tell_missing(room));
    }

    /// Puts both lists beside a batch that changes them.
    pub(super) fn keep_lasting(&mut self, batch: &mut Batch) {
        if !batch.returned.is_empty() {
            let left = self.progress.damaged.difference(&batch.returned).copied();
            batch.write.state(DAMAGED_KEY.to_owned(), sealed(DAMAGED_KEY, left, &self.storage, &mut *self.entropy));
        }
        if batch.waiting.is_some() {
            let waiting = self.progress.pending.values().map(|waiting| waiting.manifest.id);
            batch.write.state(WAITING_KEY.to_owned(), sealed(WAITING_KEY, waiting, &self.storage, &mut *self.entropy));
        }
    }

    /// Takes up what was left when the node stopped: which messages are damaged, and long messages that waited for chunks.
    pub(super) fn resume(&mut self) {
        for room in 0..self.states.len() {
            if self.states[room].missing() > 0 {
                self.tell_missing(room);
            }
        }
        let damaged = load_damaged(&*self.history, &self.storage);
        self.progress.damaged = self.noted(damaged).unwrap_or_default();
        let waiting = load(WAITING_KEY, &*self.history, &self.storage);
        let now = self.clock.now().unix;
        for id in self.noted(waiting).unwrap_or_default() {
            for room in 0..self.keyring.rooms().len() {
                let shelf = Shelf::Archive(self.keyring.rooms()[room].tag());
                let Some(envelope) = self.fetch(shelf, &id) else { continue };
                let Ok(Some((_, manifest))) = self.keyring.open(&envelope, now) else { continue };
                if let Some(chunk) = self.first_missing_chunk(room, &manifest, &|_| None) {
                    self.wait_for(chunk, Waiting { room, manifest, synced: true, late: true });
                }
            }
        }
    }
}
