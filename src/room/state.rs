//! What a node remembers of a room between messages.

use std::collections::{BTreeMap, BTreeSet};

use rumormill_api::{Millis, MsgId, RoomTag};

use super::cbor::{Fault, Reader, Writer};
use super::id::PersonId;
use super::keys::HOUR_MS;
use super::payload::{MAX_PARENTS, Opened};
use super::storage::{Entropy, StateError, StorageKey};

/// Most heads (messages that nothing follows yet) that are remembered; the newest are kept.
pub const MAX_HEADS: usize = 8;
/// Most missing messages that are remembered.
pub const MAX_MISSING: usize = 1_024;
/// Most senders whose last message is remembered; those who spoke longest ago are forgotten first.
pub const MAX_SENDERS: usize = 256;
/// How far others' Lamport clocks may pull ours ahead of our own clock, in milliseconds.
pub const MAX_PULL_MS: Millis = HOUR_MS / 6;

const FORMAT_VERSION: u64 = 1;
const PURPOSE: &[u8] = b"room state\0";

/// A place in the order of display: by Lamport clock, then by id.
pub type Rank = (u64, MsgId);

/// The last message of one sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Last {
    seq: u64,
    id: MsgId,
    lamport: u64,
}

/// What a node remembers of a room between messages: bounded, and small enough to be written with each of them.
/// Cloning it before a change and dropping the clone undoes the change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoomState {
    /// The highest Lamport clock seen, as far as ours lets itself be pulled.
    lamport: u64,
    /// The sequence of the own next message.
    seq: u64,
    /// The own last message.
    prev: Option<MsgId>,
    /// Messages that nothing follows yet.
    heads: BTreeSet<Rank>,
    /// Messages that others follow and that aren't here.
    missing: BTreeSet<MsgId>,
    senders: BTreeMap<PersonId, Last>,
    /// The newest message that was shown.
    newest: Option<Rank>,
}

/// What taking a message into the state showed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Noted {
    /// How many of the messages that it follows are missing.
    pub missing_now: usize,
    /// Those of them that nobody knew to be missing before.
    pub newly_missing: Vec<MsgId>,
    /// Whether it was itself missing until now.
    pub filled: bool,
    /// Whether its sender has said something else under the same sequence number: two-faced, or two devices with one key.
    pub equivocation: bool,
    /// Whether it belongs before a message that was shown already.
    pub late: bool,
}

/// What the next own message is to carry.
pub(crate) struct Next {
    pub(crate) seq: u64,
    pub(crate) prev: Option<MsgId>,
    pub(crate) parents: Vec<MsgId>,
    pub(crate) lamport: u64,
}

impl RoomState {
    /// How many messages are known to be missing.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    /// The missing messages.
    pub fn missing_ids(&self) -> impl Iterator<Item = &MsgId> {
        self.missing.iter()
    }

    /// Whether that message was here as one of those that the next ones follow: a head, or a sender's last. It may be
    /// erased since.
    #[must_use]
    pub fn remembers(&self, id: &MsgId) -> bool {
        self.prev.as_ref() == Some(id)
            || self.heads.iter().any(|(_, head)| head == id)
            || self.senders.values().any(|last| last.id == *id)
    }

    /// Stops counting messages as missing that can't come any more, say because they expired everywhere.
    pub fn give_up(&mut self, id: &MsgId) {
        self.missing.remove(id);
    }

    /// A message that was here is lost, say to a damaged disk: it counts as missing until it is here again.
    pub fn lost(&mut self, id: &MsgId) {
        if self.missing.len() < MAX_MISSING {
            self.missing.insert(*id);
        }
    }

    /// What the next message of `me` carries.
    pub(crate) fn next(&self, me: &PersonId, now_ms: Millis) -> Next {
        // After a restored backup the own messages come back from others: go on after the last of them.
        let (seq, prev) = match self.senders.get(me) {
            Some(last) if last.seq >= self.seq => (last.seq.saturating_add(1), Some(last.id)),
            _ => (self.seq, self.prev),
        };
        let heads = self.heads.iter().rev().map(|(_, id)| *id).filter(|id| Some(*id) != prev);
        let mut parents: Vec<_> = heads.take(MAX_PARENTS).collect();
        parents.sort_unstable();
        let lamport = (self.lamport + 1).clamp(now_ms, now_ms.saturating_add(MAX_PULL_MS));
        Next { seq, prev, parents, lamport }
    }

    /// Takes an own message in that was just sealed.
    pub(crate) fn sent(&mut self, message: &Opened) {
        self.seq = message.seq.saturating_add(1);
        self.prev = Some(message.id);
        self.lamport = message.lamport;
        self.follow(message);
        self.remember(message);
        self.show(message);
    }

    /// Takes a message in that was opened. `known` says whether a message is here, shown or not. To be
    /// called once for each message.
    pub(crate) fn note(&mut self, message: &Opened, now_ms: Millis, known: &mut dyn FnMut(&MsgId) -> bool) -> Noted {
        let mut noted = Noted { filled: self.missing.remove(&message.id), ..Noted::default() };
        for id in message.dependencies() {
            if self.missing.contains(id) {
                noted.missing_now += 1;
            } else if !known(id) {
                noted.missing_now += 1;
                if self.missing.len() < MAX_MISSING {
                    self.missing.insert(*id);
                    noted.newly_missing.push(*id);
                }
            }
        }
        self.lamport = self.lamport.max(message.lamport.min(now_ms.saturating_add(MAX_PULL_MS)));
        self.follow(message);
        // Whatever was missing is followed by a message that is here: it is no head.
        if noted.filled {
            self.heads.remove(&(message.lamport, message.id));
        }
        noted.equivocation = self.remember(message);
        noted.late =
            message.body.is_shown() && self.newest.is_some_and(|newest| (message.lamport, message.id) < newest);
        self.show(message);
        noted
    }

    fn follow(&mut self, message: &Opened) {
        let followed: BTreeSet<_> = message.dependencies().collect();
        self.heads.retain(|(_, id)| !followed.contains(id));
        if message.body.is_shown() {
            self.heads.insert((message.lamport, message.id));
            if self.heads.len() > MAX_HEADS {
                self.heads.pop_first();
            }
        }
    }

    /// Remembers the sender's last message; says whether it contradicts what they said before.
    fn remember(&mut self, message: &Opened) -> bool {
        let last = Last { seq: message.seq, id: message.id, lamport: message.lamport };
        let Some(before) = self.senders.get_mut(&message.from) else {
            if self.senders.len() >= MAX_SENDERS {
                let oldest = self.senders.iter().min_by_key(|(_, last)| last.lamport).map(|(id, _)| *id);
                self.senders.remove(&oldest.expect("the table is full"));
            }
            self.senders.insert(message.from, last);
            return false;
        };
        let contradicts = (before.seq == last.seq && before.id != last.id)
            || (before.seq.checked_add(1) == Some(last.seq) && message.prev != Some(before.id));
        if last.seq > before.seq {
            *before = last;
        }
        contradicts
    }

    fn show(&mut self, message: &Opened) {
        if message.body.is_shown() {
            self.newest = self.newest.max(Some((message.lamport, message.id)));
        }
    }

    /// The state as it is stored, sealed for this room with the node's key.
    #[must_use]
    pub fn encode(&self, room: &RoomTag, key: &StorageKey, entropy: &mut Entropy<'_>) -> Vec<u8> {
        let mut out = Writer::default();
        out.array(8).uint(FORMAT_VERSION).uint(self.lamport).uint(self.seq);
        write_ids(&mut out, self.prev.iter());
        out.array(self.heads.len());
        for rank in &self.heads {
            write_rank(&mut out, rank);
        }
        write_ids(&mut out, self.missing.iter());
        out.array(self.senders.len());
        for (person, last) in &self.senders {
            out.array(4).bytes(&person.0).uint(last.seq).bytes(&last.id.0).uint(last.lamport);
        }
        out.array(usize::from(self.newest.is_some()));
        if let Some(rank) = &self.newest {
            write_rank(&mut out, rank);
        }
        key.seal_state(&purpose(room), &out.finish(), entropy)
    }

    /// Reads a stored state.
    ///
    /// # Errors
    ///
    /// [`StateError`]: when it was altered, is another room's or node's, or of another version.
    pub fn decode(sealed: &[u8], room: &RoomTag, key: &StorageKey) -> Result<Self, StateError> {
        let state = key.open_state(&purpose(room), sealed)?;
        let mut reader = Reader::new(&state).map_err(|_| StateError::Malformed)?;
        let fields = reader.array().map_err(|_| StateError::Malformed)?;
        if reader.uint() != Ok(FORMAT_VERSION) {
            return Err(StateError::Version);
        }
        if fields != 8 {
            return Err(StateError::Malformed);
        }
        Self::read(&mut reader).map_err(|_| StateError::Malformed)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (lamport, seq) = (reader.uint()?, reader.uint()?);
        let prev = read_ids(reader, 1)?.first().copied();
        let heads = (0..bounded(reader, MAX_HEADS)?).map(|_| read_rank(reader)).collect::<Result<_, _>>()?;
        let missing = read_ids(reader, MAX_MISSING)?.into_iter().collect();
        let mut senders = BTreeMap::new();
        for _ in 0..bounded(reader, MAX_SENDERS)? {
            exactly(reader, 4)?;
            let person = PersonId(reader.array_of()?);
            let (seq, id, lamport) = (reader.uint()?, MsgId(reader.array_of()?), reader.uint()?);
            senders.insert(person, Last { seq, id, lamport });
        }
        let newest = if bounded(reader, 1)? == 1 { Some(read_rank(reader)?) } else { None };
        Ok(Self { lamport, seq, prev, heads, missing, senders, newest })
    }
}

fn purpose(room: &RoomTag) -> Vec<u8> {
    [PURPOSE, &room.0].concat()
}

fn write_ids<'a>(out: &mut Writer, ids: impl ExactSizeIterator<Item = &'a MsgId>) {
    out.array(ids.len());
    for id in ids {
        out.bytes(&id.0);
    }
}

fn write_rank(out: &mut Writer, (lamport, id): &Rank) {
    out.array(2).uint(*lamport).bytes(&id.0);
}

fn bounded(reader: &mut Reader<'_>, max: usize) -> Result<usize, Fault> {
    let count = reader.array()?;
    if count <= max { Ok(count) } else { Err(Fault::WrongType) }
}

fn exactly(reader: &mut Reader<'_>, count: usize) -> Result<(), Fault> {
    if reader.array()? == count { Ok(()) } else { Err(Fault::WrongType) }
}

fn read_ids(reader: &mut Reader<'_>, max: usize) -> Result<Vec<MsgId>, Fault> {
    (0..bounded(reader, max)?).map(|_| reader.array_of().map(MsgId)).collect()
}

fn read_rank(reader: &mut Reader<'_>) -> Result<Rank, Fault> {
    exactly(reader, 2)?;
    Ok((reader.uint()?, MsgId(reader.array_of()?)))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
