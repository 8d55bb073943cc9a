//! What the store is asked: a page of a history, how a chat stands, and what a node starts from.

use std::collections::HashSet;
use std::sync::Arc;

use rumormill_api::{Cursor, ErrorKind, ExpiryRange, History, MsgId, Result as ApiResult, RoomTag, Shelf};

use super::{ADDRESSES_KEY, HISTORY_LIMIT_MAX, Standing, Trees, Vault};
use crate::node::api::{HistoryQuery, Message, NodeError};
use crate::proto::TreeLoader;
use crate::room::{Body, Opened, Room, RoomKind, RoomState, StorageKey, display_order};

impl Vault {
    pub(super) fn history(&mut self, chat: &str, query: HistoryQuery) -> Result<Vec<Message>, NodeError> {
        let room = self.names.iter().position(|name| **name == *chat).ok_or_else(|| no_such_chat(chat, &self.names))?;
        let tag = self.keyring.rooms()[room].tag();
        let limit = query.limit.min(HISTORY_LIMIT_MAX);
        let now = self.clock.now().unix;
        let mut before = match query.before {
            None => Cursor::END,
            Some(id) => {
                let envelope = self.fetch(Shelf::Archive(tag), &id);
                let opened = envelope.and_then(|envelope| self.keyring.open(&envelope, now).ok().flatten());
                let (_, opened) = opened
                    .ok_or_else(|| NodeError::Other(format!("message {} isn't in this chat's history", id.short())))?;
                Cursor { lamport: opened.lamport, id }
            }
        };
        let mut found: Vec<Opened> = Vec::new();
        let mut texts = 0;
        while texts < limit {
            let page = self.history.page(&tag, before, limit - texts);
            let page = page.map_err(|error| NodeError::Store(error.to_string()))?;
            let Some(first) = page.first() else { break };
            before = first.at;
            // Chunks stand in the archive beside the messages that they are parts of; they are no messages.
            let mut opened: Vec<Opened> = page
                .iter()
                .filter_map(|record| self.keyring.open(&record.envelope, now).ok().flatten())
                .map(|(_, opened)| opened)
                .filter(|opened| !matches!(opened.body, Body::Chunk { .. }))
                .collect();
            texts += opened.len();
            opened.append(&mut found);
            found = opened;
        }
        let gaps: HashSet<_> = self.states[room].missing_ids().collect();
        let of = &self.keyring.rooms()[room];
        let forgets = of.kind() == RoomKind::Ephemeral || of.reads_from_now_on();
        let misses = |id: &MsgId| if forgets { gaps.contains(id) } else { !self.archived(id) };
        let messages = display_order(&found).into_iter().filter_map(|at| {
            let opened = &found[at];
            let missing = opened.dependencies().filter(|id| misses(id)).count();
            self.message(room, opened, false, false, missing, &|_| None)
        });
        Ok(messages.collect())
    }

    pub(super) fn standing(&mut self, chat: usize) -> Standing {
        let tag = self.keyring.rooms()[chat].tag();
        let shelf = Shelf::Archive(tag);
        // Expiry follows the time of sending, so the earliest to expire is the oldest, to within an hour.
        let ids = self.history.ids_after(shelf, ExpiryRange::ALL, None, 1);
        let first = self.noted(ids).and_then(|ids| ids.first().copied());
        let now = self.clock.now().unix;
        let oldest = first
            .and_then(|(_, id)| self.fetch(shelf, &id))
            .and_then(|envelope| self.keyring.open(&envelope, now).ok().flatten())
            .map(|(_, opened)| opened.time);
        Standing {
            new: self.progress.new.get(&chat).copied().unwrap_or(0),
            missing: self.states[chat].missing() as u64,
            oldest,
        }
    }
}

/// How many ids are read at a time, so that they are never all in memory at once.
const SEEN_PAGE_IDS: usize = 8_192;

/// Hands over every id on the window and every tombstone: what deduplication starts from. What reconciliation starts from comes
/// back, read at the same time.
pub(in crate::node) fn seen(history: &dyn History, see: &mut dyn FnMut(&MsgId)) -> ApiResult<Trees> {
    let (mut loader, mut after) = (TreeLoader::default(), None);
    loop {
        let ids = history.ids_after(Shelf::Window, ExpiryRange::ALL, after, SEEN_PAGE_IDS)?;
        for key in &ids {
            see(&key.1);
            loader.push(*key);
        }
        after = ids.last().copied();
        if ids.len() < SEEN_PAGE_IDS {
            break;
        }
    }
    let mut after = None;
    loop {
        let ids = history.tombstones_after(after, SEEN_PAGE_IDS)?;
        ids.iter().for_each(&mut *see);
        after = ids.last().copied();
        if ids.len() < SEEN_PAGE_IDS {
            break;
        }
    }
    Ok(Trees::of_window(loader.finish()))
}

/// The states of the rooms as they were kept; `None` for a room that is new, or whose state is damaged.
pub(in crate::node) fn load_states(
    history: &dyn History,
    storage: &StorageKey,
    rooms: &[Room],
) -> ApiResult<Vec<Option<RoomState>>> {
    rooms
        .iter()
        .map(|room| {
            let tag = room.tag();
            let sealed = match history.state(&state_key(tag)) {
                Err(error) if error.kind() == ErrorKind::Corrupt => None,
                other => other?,
            };
            Ok(sealed.and_then(|sealed| RoomState::decode(&sealed, &tag, storage).ok()))
        })
        .collect()
}

/// The addresses that [`Command::SaveAddresses`](super::Command::SaveAddresses) kept.
pub(in crate::node) fn load_addresses(history: &dyn History, storage: &StorageKey) -> ApiResult<Option<Vec<u8>>> {
    let sealed = history.state(ADDRESSES_KEY)?;
    Ok(sealed.and_then(|sealed| storage.open_state(ADDRESSES_KEY.as_bytes(), &sealed).ok()).map(|bytes| bytes.to_vec()))
}

pub(in crate::node) fn state_key(room: RoomTag) -> String {
    format!("room/{}", data_encoding::HEXLOWER.encode(&room.0))
}

pub(in crate::node) fn no_such_chat(name: &str, names: &[Arc<str>]) -> NodeError {
    let valid: Vec<&str> = names.iter().map(|name| &**name).collect();
    let valid = if valid.is_empty() { "none (add [[chats]] to the config)".to_owned() } else { valid.join(", ") };
    NodeError::NoSuchChat { name: name.to_owned(), valid }
}

/// The rooms whose archives are kept no longer than the window.
pub(in crate::node) fn ephemeral(rooms: &[Room]) -> Vec<RoomTag> {
    rooms.iter().filter(|room| room.kind() == RoomKind::Ephemeral).map(Room::tag).collect()
}
