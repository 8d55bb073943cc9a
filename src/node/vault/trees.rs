//! What reconciliation asks of the store.

use std::collections::BTreeMap;

use bytes::Bytes;
use rumormill_api::{Entry, Error, ExpiryHour, ExpiryRange, History, MsgId, Pruned, RoomTag, Shelf};

use super::Vault;
use crate::proto::wire::TreeKey;
use crate::proto::{Finding, Look, Source, Tree, previous_key};

/// The digests of the window and, once someone has compared them, of the rooms' archives.
#[derive(Debug, Default)]
pub(in crate::node) struct Trees {
    window: Tree,
    rooms: BTreeMap<RoomTag, Tree>,
    /// Something went while a tree was being read.
    forgotten: bool,
}

impl Trees {
    pub(super) fn of_window(window: Tree) -> Self {
        Self { window, ..Self::default() }
    }

    /// Takes in what was written.
    pub(super) fn note(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Window { id, expiry, .. } => self.window.touch((*expiry, *id)),
                Entry::Archive { id, room, expiry, .. } => {
                    if let Some(tree) = self.rooms.get_mut(room) {
                        tree.touch((*expiry, *id));
                    }
                }
                Entry::State { .. } => {}
            }
        }
    }

    /// Takes in what was removed: everything that had expired before `now`, and which envelopes else isn't known.
    pub(super) fn prune(&mut self, pruned: &Pruned, now: ExpiryHour) {
        if pruned.evicted > 0 {
            self.window.forget();
        } else {
            self.window.expire(now);
        }
        if pruned.archive > 0 {
            self.rooms.clear();
        }
    }

    /// Anything may have changed.
    pub(super) fn forget(&mut self) {
        self.window.forget();
        self.rooms.clear();
        self.forgotten = true;
    }

    fn tree(&mut self, shelf: Shelf) -> &mut Tree {
        match shelf {
            Shelf::Window => &mut self.window,
            Shelf::Archive(room) => self.rooms.entry(room).or_default(),
        }
    }
}

impl Vault {
    pub(super) fn look(&mut self, look: &Look) -> Finding {
        // Out of its place, so that what is read meanwhile may find damage, and say so.
        let mut tree = std::mem::take(self.trees.tree(look.shelf));
        self.trees.forgotten = false;
        let finding = tree.answer(look, &mut Reading { vault: self, shelf: look.shelf });
        if self.trees.forgotten || finding.is_err() {
            tree.forget();
        }
        *self.trees.tree(look.shelf) = tree;
        self.noted(finding).unwrap_or(Finding::Failed)
    }
}

/// The first part that the store is asked for, in ids: most questions are about few; each further part is twice as large.
const FIRST_PART_IDS: usize = 64;
/// The largest part, in ids.
const PART_MAX_IDS: usize = 8_192;

/// At most `limit` of what stands on a shelf between the two, both included.
pub(in crate::node) fn ids_between(
    history: &dyn History,
    shelf: Shelf,
    from: TreeKey,
    to: TreeKey,
    limit: usize,
) -> Result<Vec<TreeKey>, Error> {
    let range = ExpiryRange { from: from.0, to: to.0 };
    let mut ids = Vec::new();
    let (mut after, mut part) = (previous_key(from), FIRST_PART_IDS);
    while ids.len() < limit {
        let wanted = part.min(limit - ids.len());
        let read = history.ids_after(shelf, range, after, wanted)?;
        let within = read.iter().take_while(|key| **key <= to).count();
        ids.extend_from_slice(&read[..within]);
        if within < wanted {
            break;
        }
        after = read.last().copied();
        part = (part * 2).min(PART_MAX_IDS);
    }
    Ok(ids)
}

/// One shelf of the vault's store.
struct Reading<'a> {
    vault: &'a mut Vault,
    shelf: Shelf,
}

impl Source for Reading<'_> {
    type Error = Error;

    fn ids(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Error> {
        ids_between(&*self.vault.history, self.shelf, from, to, limit)
    }

    fn gone(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Error> {
        match self.shelf {
            Shelf::Window => self.vault.history.tombstones_between(from, to, limit),
            Shelf::Archive(_) => Ok(Vec::new()),
        }
    }

    fn envelope(&mut self, id: &MsgId) -> Option<Bytes> {
        self.vault.fetch(self.shelf, id)
    }
}
