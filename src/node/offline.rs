//! A profile's history without a running node: what `rumor history` works on.
//!
//! The profile is locked as by a node, so the two exclude each other. Every change is a durable transaction of its own
//! and leaves a history that a node starts from: interrupted at any point, nothing is lost.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rumormill_api::{
    Compacted, Cursor, Damaged, Entry, ExpiryHour, ExpiryRange, History, MsgId, Progress, Result as ApiResult, Shelf,
};

use super::api::NodeError;
use super::clock::{Clock, system_entropy};
use super::start;
use super::vault::{load_damaged, no_such_chat, save_damaged, state_key};
use crate::room::{Body, Keyring, Opened, Reject, RoomState, StorageKey, assemble};

/// How many envelopes are read and hashed between two words about progress.
const CHECK_PART: usize = 4_096;

/// How many ids are counted at a time.
const COUNT_PART: usize = 16_384;

/// What the fraction of a check is given in: ids are hashes, so the first half of all begins below the middle.
const CHECK_UNITS: u64 = 1 << 32;

/// What [`Offline::check`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// Envelopes that were read and hashed.
    pub envelopes: u64,
    /// Those that are damaged or lost, and were removed so that they are fetched again.
    pub damaged: u64,
    /// By chat: how many messages of it are among those.
    pub by_chat: BTreeMap<Arc<str>, u64>,
    /// Whether the store's structure was broken and made anew; the broken file was kept.
    pub rebuilt: bool,
}

/// A record of a chat's archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Where it stands.
    pub at: Cursor,
    /// As it was sealed.
    pub envelope: Bytes,
    /// What it says; `None` where no key of this profile opens it any more.
    pub opened: Option<Opened>,
}

/// Why an envelope isn't taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It opens with no key of the chat.
    #[error("it is no message of this chat, or was sealed before your invite to it")]
    Foreign,
    /// It opens, and isn't a proper message.
    #[error("it is forged or damaged ({})", .0.name())]
    Rejected(Reject),
}

/// What taking in did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TakenIn {
    /// Records that are new here.
    pub new: u64,
    /// Records that were here.
    pub known: u64,
}

/// The parts of [`Offline`].
pub(crate) struct Parts {
    pub(crate) history: Box<dyn History>,
    pub(crate) keyring: Keyring,
    pub(crate) storage: StorageKey,
    pub(crate) clock: Arc<dyn Clock>,
    /// Kept as long as the history is open: the profile's lock.
    #[expect(dead_code, reason = "kept for its end")]
    pub(crate) keep: Box<dyn Any + Send>,
}

/// The history of a profile that no node runs on.
pub struct Offline {
    parts: Parts,
    states: Vec<RoomState>,
    damaged: HashSet<MsgId>,
}

impl fmt::Debug for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offline").field("rooms", &self.parts.keyring.rooms().len()).finish_non_exhaustive()
    }
}

impl Offline {
    pub(crate) fn open(parts: Parts) -> ApiResult<Self> {
        let Parts { history, keyring, storage, clock, .. } = &parts;
        let states = start::states(&**history, keyring, storage, clock.now().unix)?;
        let damaged = load_damaged(&**history, storage)?;
        Ok(Self { parts, states, damaged })
    }

    fn names(&self) -> Vec<Arc<str>> {
        self.parts.keyring.rooms().iter().map(|room| Arc::clone(room.name())).collect()
    }

    /// The chat of that name.
    ///
    /// # Errors
    ///
    /// [`NodeError::NoSuchChat`], which lists the names there are.
    pub fn chat(&self, name: &str) -> Result<usize, NodeError> {
        let names = self.names();
        names.iter().position(|other| **other == *name).ok_or_else(|| no_such_chat(name, &names))
    }

    /// Reads and hashes every envelope, and checks the structure beneath. What is damaged is removed and noted as missing,
    /// so that a node fetches it again from its peers.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn check(&mut self, progress: &mut Progress<'_>) -> ApiResult<CheckReport> {
        let mut report = CheckReport::default();
        let mut damaged: BTreeMap<MsgId, Damaged> = BTreeMap::new();
        let mut after = None;
        loop {
            let part = match self.parts.history.check(after.as_ref(), CHECK_PART) {
                Ok(part) => part,
                // A page that can't be read at all: that is for the structure's check to mend.
                Err(error) if error.kind() == rumormill_api::ErrorKind::Corrupt => break,
                Err(error) => return Err(error),
            };
            report.envelopes += part.envelopes;
            damaged.extend(part.damaged.into_iter().map(|damaged| (damaged.id, damaged)));
            after = part.next;
            let Some(MsgId([a, b, c, d, ..])) = after else { break };
            progress(u32::from_be_bytes([a, b, c, d]).into(), CHECK_UNITS);
        }
        progress(CHECK_UNITS, CHECK_UNITS);
        let mended = self.parts.history.mend(&mut |_, _| {})?;
        report.rebuilt = mended.rebuilt;
        if mended.rebuilt {
            // What was only out of its place is in it again.
            damaged = mended.lost.into_iter().map(|damaged| (damaged.id, damaged)).collect();
            // The states may be among what was lost; they are made anew from what is there.
            let Parts { history, keyring, storage, clock, .. } = &self.parts;
            self.states = start::states(&**history, keyring, storage, clock.now().unix)?;
        } else {
            damaged.keys().try_for_each(|id| self.parts.history.forget(id))?;
        }
        report.damaged = damaged.len() as u64;
        self.note_lost(damaged.into_values().collect(), &mut report)?;
        Ok(report)
    }

    fn note_lost(&mut self, damaged: Vec<Damaged>, report: &mut CheckReport) -> ApiResult<()> {
        if damaged.is_empty() && !report.rebuilt {
            return Ok(());
        }
        let names = self.names();
        let tags: Vec<_> = self.parts.keyring.rooms().iter().map(crate::room::Room::tag).collect();
        for Damaged { id, rooms } in damaged {
            for room in rooms.iter().filter_map(|tag| tags.iter().position(|own| own == tag)) {
                self.states[room].lost(&id);
                self.damaged.insert(id);
                *report.by_chat.entry(Arc::clone(&names[room])).or_default() += 1;
            }
        }
        let mut entropy = system_entropy();
        let mut entries = vec![save_damaged(&self.damaged, &self.parts.storage, &mut *entropy)];
        entries.extend((0..tags.len()).map(|room| self.state_entry(room)));
        self.parts.history.append(&entries)?;
        Ok(())
    }

    fn state_entry(&self, room: usize) -> Entry {
        let tag = self.parts.keyring.rooms()[room].tag();
        let value = self.states[room].encode(&tag, &self.parts.storage, &mut *system_entropy());
        Entry::State { key: state_key(tag), value: Some(value.into()) }
    }

    /// Makes the store's files as small as they get.
    ///
    /// # Errors
    ///
    /// The store's; it is as it was then.
    pub fn compact(&mut self, progress: &mut Progress<'_>) -> ApiResult<Compacted> {
        self.parts.history.compact(progress)
    }

    /// How many records a chat's archive has.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn count(&self, chat: usize) -> ApiResult<u64> {
        let shelf = Shelf::Archive(self.parts.keyring.rooms()[chat].tag());
        let (mut count, mut after): (u64, Option<(ExpiryHour, MsgId)>) = (0, None);
        loop {
            let ids = self.parts.history.ids_after(shelf, ExpiryRange::ALL, after, COUNT_PART)?;
            count += ids.len() as u64;
            match ids.last() {
                Some(last) => after = Some(*last),
                None => return Ok(count),
            }
        }
    }

    /// At most `limit` records of a chat behind `after`, by (Lamport, id).
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn page(&self, chat: usize, after: Option<Cursor>, limit: usize) -> ApiResult<Vec<Record>> {
        let room = &self.parts.keyring.rooms()[chat];
        let now = self.parts.clock.now().unix;
        let records = self.parts.history.page_after(&room.tag(), after, limit)?;
        Ok(records
            .into_iter()
            .map(|record| {
                let opened = room.open(&record.envelope, now).ok().flatten();
                Record { at: record.at, envelope: record.envelope, opened }
            })
            .collect())
    }

    /// The text of a message as it was said; `None` for a chunk, or for a long message whose chunks aren't all here.
    /// `beside` are envelopes that aren't stored yet.
    #[must_use]
    pub fn text(&self, chat: usize, opened: &Opened, beside: &HashMap<MsgId, Bytes>) -> Option<String> {
        let room = &self.parts.keyring.rooms()[chat];
        let now = self.parts.clock.now().unix;
        match &opened.body {
            Body::Text(text) => Some(text.clone()),
            Body::Chunk { .. } => None,
            Body::Manifest { .. } => {
                let shelf = Shelf::Archive(room.tag());
                let mut chunk = |id: &MsgId| {
                    let here = || self.parts.history.get(shelf, id).ok().flatten();
                    room.open(&beside.get(id).cloned().or_else(here)?, now).ok().flatten()
                };
                assemble(opened, &mut chunk).ok().flatten()
            }
        }
    }

    /// Whether a chat's archive has that envelope.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn has(&self, chat: usize, id: &MsgId) -> ApiResult<bool> {
        let shelf = Shelf::Archive(self.parts.keyring.rooms()[chat].tag());
        match self.parts.history.get(shelf, id) {
            Ok(found) => Ok(found.is_some()),
            // Damaged: the imported copy takes its place.
            Err(error) if error.kind() == rumormill_api::ErrorKind::Corrupt => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens an envelope as a message of a chat, with its signature.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn verify(&self, chat: usize, envelope: &Bytes) -> Result<Opened, Refusal> {
        let opened = self.parts.keyring.rooms()[chat].open(envelope, self.parts.clock.now().unix);
        opened.map_err(Refusal::Rejected)?.ok_or(Refusal::Foreign)
    }

    /// Takes verified messages into a chat's archive, as if they had been recovered from a peer: one transaction.
    ///
    /// # Errors
    ///
    /// The store's; nothing was taken in then.
    pub fn take_in(&mut self, chat: usize, messages: Vec<(Opened, Bytes)>) -> ApiResult<TakenIn> {
        let room = &self.parts.keyring.rooms()[chat];
        let (tag, now) = (room.tag(), self.parts.clock.now().unix);
        let mut state = self.states[chat].clone();
        let mut damaged = self.damaged.clone();
        let (mut taken, mut entries, mut here) = (TakenIn::default(), Vec::new(), HashSet::new());
        let history = &*self.parts.history;
        for (opened, envelope) in messages {
            let id = opened.id;
            let archived = |id: &MsgId| history.holds(id).is_ok_and(|holding| holding.archive);
            if here.contains(&id) || archived(&id) && matches!(history.get(Shelf::Archive(tag), &id), Ok(Some(_))) {
                taken.known += 1;
                continue;
            }
            taken.new += 1;
            if damaged.remove(&id) {
                // It was here before, and its place among the others is known.
                state.give_up(&id);
            } else {
                room.note(&mut state, &opened, now, &mut |id| here.contains(id) || archived(id));
            }
            here.insert(id);
            entries.push(Entry::Archive { id, room: tag, expiry: opened.expiry, lamport: opened.lamport, envelope });
        }
        if entries.is_empty() {
            return Ok(taken);
        }
        let value = state.encode(&tag, &self.parts.storage, &mut *system_entropy());
        entries.push(Entry::State { key: state_key(tag), value: Some(value.into()) });
        entries.push(save_damaged(&damaged, &self.parts.storage, &mut *system_entropy()));
        self.parts.history.append(&entries)?;
        (self.states[chat], self.damaged) = (state, damaged);
        Ok(taken)
    }
}
