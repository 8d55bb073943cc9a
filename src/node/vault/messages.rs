//! Messages in and out: opening what came, sealing what is said, long texts out of their chunks.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rumormill_api::{Entry, Hashed, Millis, MsgId, Shelf};
use tokio::sync::oneshot;

use super::queries::no_such_chat;
use super::{Batch, PENDING_MANIFESTS_MAX, PENDING_MANIFESTS_MAX_PER_PERSON, Vault, Waiting, stands};
use crate::node::api::{Event, Message, NodeError, NoticeLevel, Person};
use crate::node::ext::Draft;
use crate::node::presenter::Shown;
use crate::proto::Accepted;
use crate::room::{
    Body, MAX_TEXT_BYTES, NewMessage, Opened, Rank, RoomKind, SealError, assemble, sanitize, sanitize_line,
};

impl Vault {
    /// `now`: the wall clock when the command was taken up.
    pub(super) fn accept(&mut self, batch: &mut Batch, accepted: Accepted, now: Millis) {
        let Accepted { ref envelope, expiry, source, synced, window } = accepted;
        let id = *envelope.id();
        if !batch.ids.insert(id) {
            return;
        }
        let opened = match self.progress.opened.remove(&id) {
            Some(opened) => opened,
            None if self.progress.only_relays => Ok(None),
            None => self.keyring.open(envelope.bytes(), now),
        };
        // Whether it has been shown only the store can say: a message waits until it does.
        let archived = match &opened {
            Ok(Some(_)) => self.stands(&id),
            _ => Ok(false),
        };
        let archived = match archived {
            Ok(archived) => archived,
            Err(error) => {
                self.noted::<()>(Err(error));
                batch.ids.remove(&id);
                self.keep_for_retry(accepted);
                return;
            }
        };
        if window {
            batch.write.window(envelope, expiry, source);
        }
        match opened {
            Ok(Some((room, opened))) if !archived => {
                self.take_in(batch, room, opened, expiry, envelope.clone(), synced);
            }
            Ok(_) => {}
            Err(reject) => self.shared.count(reject.name()),
        }
        batch.accepted.push(accepted);
    }

    /// A message of one of the rooms: into its archive, its place among the others noted, and shown.
    fn take_in(&mut self, batch: &mut Batch, room: usize, opened: Opened, expiry: u32, envelope: Hashed, synced: bool) {
        let id = opened.id;
        let tag = self.keyring.rooms()[room].tag();
        if self.progress.damaged.contains(&id) && !self.progress.pending.contains_key(&id) {
            // It was here and shown; only its bytes come back.
            let state = &mut self.states[room];
            batch.undo.entry(room).or_insert_with(|| state.clone());
            state.give_up(&id);
            batch.returned.insert(id);
            batch.write.archive(&envelope, tag, expiry, opened.lamport);
            batch.archived.insert(id);
            *batch.new.entry(room).or_default() += 1;
            return;
        }
        let state = &mut self.states[room];
        let before = batch.undo.entry(room).or_insert_with(|| state.clone());
        let (archived, asked, history) = (&batch.archived, &self.progress.archived, &self.history);
        let forgets = self.keyring.rooms()[room].kind() == RoomKind::Ephemeral;
        let mut known = |id: &MsgId| {
            archived.contains(id)
                || stands(asked, &**history, id).unwrap_or(false)
                // Where messages are erased, what was here and is gone is no gap.
                || forgets && before.remembers(id)
        };
        let noted = self.keyring.rooms()[room].note(state, &opened, self.clock.now().unix, &mut known);
        if noted.equivocation {
            self.shared.count("equivocation");
            self.shared.notice(
                NoticeLevel::Warning,
                "node",
                format!(
                    "{}#{} sent two different messages as the same one in {}: don't rely on what they say",
                    sanitize_line(&opened.nick),
                    opened.from.fingerprint(),
                    self.names[room]
                ),
            );
        }
        batch.write.archive(&envelope, tag, expiry, opened.lamport);
        batch.archived.insert(id);
        *batch.new.entry(room).or_default() += 1;
        let rank = (opened.lamport, id);
        let message = self.message(room, &opened, synced, noted.late, noted.missing_now, &|id| {
            batch.write.entries().iter().rev().find_map(|entry| match entry {
                Entry::Archive { id: here, envelope, .. } if here == id => Some(envelope.clone()),
                _ => None,
            })
        });
        match message {
            Some(message) => {
                self.passed(room, rank);
                batch.shown.push(Shown::Message(message));
            }
            None => {
                self.wait_for_chunks(batch, Waiting { room, manifest: opened, synced, late: noted.late });
            }
        }
    }

    /// A message is shown: what comes before it in the order of display is late from now on.
    fn passed(&mut self, room: usize, rank: Rank) {
        let newest = self.progress.newest.entry(room).or_insert(rank);
        *newest = rank.max(*newest);
    }

    /// A chunk completes a long message, or a manifest waits for its chunks.
    fn wait_for_chunks(&mut self, batch: &mut Batch, new: Waiting) {
        if batch.waiting.is_none() {
            batch.waiting = Some(self.progress.pending.clone());
        }
        let waiting = match &new.manifest.body {
            Body::Chunk { .. } => self.progress.pending.remove(&new.manifest.id),
            Body::Manifest { .. } => Some(new),
            Body::Text(_) => None,
        };
        let Some(waiting) = waiting else { return };
        let Waiting { room, ref manifest, synced, late } = waiting;
        let staged: HashMap<MsgId, Bytes> = batch
            .write
            .entries()
            .iter()
            .filter_map(|entry| match entry {
                Entry::Archive { id, envelope, .. } => Some((*id, envelope.clone())),
                _ => None,
            })
            .collect();
        let look_up = |id: &MsgId| staged.get(id).cloned();
        let rank = (manifest.lamport, manifest.id);
        let late = late || self.progress.newest.get(&room).is_some_and(|newest| rank < *newest);
        let here = |id: &MsgId| staged.contains_key(id) || self.archived(id);
        let missing = manifest.dependencies().filter(|id| !here(id)).count();
        if let Some(message) = self.message(room, manifest, synced, late, missing, &look_up) {
            self.passed(room, rank);
            batch.shown.push(Shown::Message(message));
        } else if let Some(chunk) = self.first_missing_chunk(room, manifest, &look_up) {
            self.wait_for(chunk, waiting);
        }
    }

    pub(super) fn wait_for(&mut self, chunk: MsgId, waiting: Waiting) {
        // Past the bounds it is in the history, but not shown live. One member's can't crowd out the others'.
        let from = waiting.manifest.from;
        let of_theirs = self.progress.pending.values().filter(|other| other.manifest.from == from).count();
        if self.progress.pending.len() < PENDING_MANIFESTS_MAX && of_theirs < PENDING_MANIFESTS_MAX_PER_PERSON {
            self.progress.pending.insert(chunk, waiting);
        } else {
            self.shared.count("not_shown_live");
        }
    }

    pub(super) fn first_missing_chunk(
        &self,
        room: usize,
        manifest: &Opened,
        staged: &dyn Fn(&MsgId) -> Option<Bytes>,
    ) -> Option<MsgId> {
        let Body::Manifest { chunks, .. } = &manifest.body else { return None };
        let shelf = Shelf::Archive(self.keyring.rooms()[room].tag());
        chunks.iter().find(|id| staged(id).is_none() && !matches!(self.history.get(shelf, id), Ok(Some(_)))).copied()
    }

    /// What is shown of an opened envelope: nothing for a chunk, or for a long message whose chunks aren't all here.
    pub(super) fn message(
        &self,
        room: usize,
        opened: &Opened,
        synced: bool,
        late: bool,
        missing: usize,
        staged: &dyn Fn(&MsgId) -> Option<Bytes>,
    ) -> Option<Message> {
        let text = match &opened.body {
            Body::Text(text) => sanitize(text).into_owned(),
            Body::Chunk { .. } => return None,
            Body::Manifest { .. } => {
                let shelf = Shelf::Archive(self.keyring.rooms()[room].tag());
                let now = self.clock.now().unix;
                let mut chunk = |id: &MsgId| {
                    let envelope = staged(id).or_else(|| self.history.get(shelf, id).ok().flatten())?;
                    self.keyring.open(&envelope, now).ok().flatten().map(|(_, opened)| opened)
                };
                match assemble(opened, &mut chunk) {
                    Ok(text) => sanitize(&text?).into_owned(),
                    Err(reject) => {
                        self.shared.count(reject.name());
                        return None;
                    }
                }
            }
        };
        Some(Message {
            id: opened.id,
            chat: Arc::clone(&self.names[room]),
            from: Person { id: opened.from, nick: sanitize_line(&opened.nick).into_owned() },
            text,
            time: opened.time,
            mine: opened.from == self.identity.id(),
            bot: opened.bot,
            synced,
            late,
            reply_to: opened.reply_to,
            missing,
        })
    }

    pub(super) fn publish(
        &mut self,
        batch: &mut Batch,
        draft: &Draft,
        reply: oneshot::Sender<Result<MsgId, NodeError>>,
    ) {
        let Some(room) = self.names.iter().position(|name| *name == draft.chat) else {
            let _ = reply.send(Err(no_such_chat(&draft.chat, &self.names)));
            return;
        };
        let state = &mut self.states[room];
        let before = state.clone();
        let message = NewMessage {
            nick: self.shared.me.nick.to_string(),
            text: draft.text.clone(),
            bot: draft.options.script.is_some(),
            reply_to: draft.options.reply_to,
        };
        let now = self.clock.now().unix;
        let sealed = self.keyring.rooms()[room].seal(&self.identity, state, &message, now, &mut *self.entropy);
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                *state = before;
                let _ = reply.send(Err(match error {
                    SealError::Empty => NodeError::Empty,
                    SealError::TooLong { bytes } => NodeError::TooLong { bytes, max: MAX_TEXT_BYTES },
                    other => NodeError::Other(other.to_string()),
                }));
                return;
            }
        };
        batch.undo.entry(room).or_insert(before);
        let tag = self.keyring.rooms()[room].tag();
        let mut envelopes = Vec::with_capacity(sealed.len());
        let mut shown = None;
        for piece in sealed {
            let envelope = Hashed::of(piece.envelope);
            batch.ids.insert(*envelope.id());
            batch.archived.insert(*envelope.id());
            batch.write.window(&envelope, piece.expiry, 0);
            batch.write.archive(&envelope, tag, piece.expiry, piece.lamport);
            envelopes.push(envelope.bytes().clone());
            shown = Some(piece.opened);
        }
        let Some(opened) = shown else { return };
        self.passed(room, (opened.lamport, opened.id));
        let chat = Arc::clone(&self.names[room]);
        batch.shown.push(Shown::Sent(Event::Sent { chat: Arc::clone(&chat), id: opened.id }));
        batch.shown.push(Shown::Message(Message {
            id: opened.id,
            chat,
            from: Person { id: opened.from, nick: opened.nick.clone() },
            text: sanitize(&draft.text).into_owned(),
            time: opened.time,
            mine: true,
            bot: opened.bot,
            synced: false,
            late: false,
            reply_to: opened.reply_to,
            missing: 0,
        }));
        batch.published.push((reply, opened.id, envelopes));
    }
}
