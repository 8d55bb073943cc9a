//! What is inside a seal: one message, or a part of a long one.
//!
//! The plaintext is `length u16 big-endian | payload | zeros`, as long as the smallest envelope that holds it. The
//! payload is a map in deterministic CBOR (see `cbor.rs`):
//!
//! | key | field | type |
//! |---|---|---|
//! | 0 | room id | 32 bytes |
//! | 1 | sender (Ed25519) | 32 bytes |
//! | 2 | sequence of the sender's messages in this room, from 0 | number |
//! | 3 | the sender's previous message here; absent at sequence 0 | 32 bytes |
//! | 4 | causal parents, ascending, without the previous one; absent when there are none | array of 1–2 × 32 bytes |
//! | 5 | Lamport clock | number |
//! | 6 | time, in milliseconds since the Unix epoch | number |
//! | 7 | kind: 0 text, 1 chunk, 2 manifest | number |
//! | 8 | body | map, by kind |
//! | 9 | signature | 64 bytes |
//!
//! | body of | fields |
//! |---|---|
//! | text | 0 nick, 1 text, 2 `true` if a script said it (else absent), 3 the message that it answers (or absent) |
//! | chunk | 0 index, 1 bytes |
//! | manifest | 0 nick, 2 and 3 as a text's, 4 ids of the chunks in order, 5 bytes of the text, 6 BLAKE3 of the text |
//!
//! The signature is over `DOMAIN | epoch u32 | version | flags | expiry_hour u32 | nonce` and the encoded fields 0–8: nobody
//! can put another's words into another room, epoch or envelope. An envelope is a function of key, header and payload,
//! so one message can't appear under two ids.

use rumormill_api::{ExpiryHour, Header, Millis, MsgId};

use super::cbor::{Fault, Reader, Writer};
use super::id::PersonId;
use super::identity::{Identity, SIGNATURE_BYTES, Signers, settle};
use super::keys::{DAY_MS, RoomId};
use super::reject::Reject;
use crate::proto::Envelope;

/// Longest nick, in bytes of UTF-8.
pub const MAX_NICK_BYTES: usize = 64;
/// Longest text, in bytes of UTF-8. What doesn't fit into one envelope is cut into chunks.
pub const MAX_TEXT_BYTES: usize = 256 * 1024;
/// Most causal parents of a message, its sender's previous one not counted.
pub const MAX_PARENTS: usize = 2;
/// Bytes of a text in each of its chunks but the last.
pub const CHUNK_BYTES: usize = 32_000;
/// Most chunks of a text.
pub const MAX_CHUNKS: usize = MAX_TEXT_BYTES.div_ceil(CHUNK_BYTES);
/// How far another's clock may be from the epoch's day, in milliseconds.
const CLOCK_SLACK_MS: Millis = DAY_MS;

const DOMAIN: &[u8] = b"rumormill message signature v1\0";
/// Bytes of the length in front of the payload.
const LENGTH_BYTES: usize = 2;

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A text, as the sender wrote it: not sanitized.
    Text(String),
    /// A part of a long text. Not shown by itself.
    Chunk {
        /// Which part, from 0.
        index: u32,
        /// The bytes; a character may be cut at the end.
        bytes: Vec<u8>,
    },
    /// A long text, whose parts are messages of their own.
    Manifest {
        /// The chunks' ids, in order.
        chunks: Vec<MsgId>,
        /// Bytes of the whole text.
        bytes: u32,
        /// BLAKE3 of the whole text.
        hash: [u8; 32],
    },
}

impl Body {
    /// Whether a message of it is one that people see.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        !matches!(self, Self::Chunk { .. })
    }
}

/// A message that was opened and whose signature is the sender's. `nick` and texts are as the sender wrote them: run
/// them through [`sanitize`](super::sanitize()) before they are shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The envelope's id.
    pub id: MsgId,
    /// Who says it.
    pub from: PersonId,
    /// What they call themselves; empty for a chunk.
    pub nick: String,
    /// The how-manieth message of the sender in this room, from 0.
    pub seq: u64,
    /// The sender's message before it.
    pub prev: Option<MsgId>,
    /// Messages that it follows, beside `prev`.
    pub parents: Vec<MsgId>,
    /// The Lamport clock: milliseconds, but ahead of the sender's clock when it has to be.
    pub lamport: u64,
    /// When the sender says it was, in milliseconds since the Unix epoch.
    pub time: Millis,
    /// When the envelope expires.
    pub expiry: ExpiryHour,
    /// Whether a script said it.
    pub bot: bool,
    /// The message that it answers.
    pub reply_to: Option<MsgId>,
    /// What it says.
    pub body: Body,
}

impl Opened {
    /// All messages that must come before it: the sender's previous one, the parents, and a manifest's chunks.
    pub fn dependencies(&self) -> impl Iterator<Item = &MsgId> {
        let chunks = match &self.body {
            Body::Manifest { chunks, .. } => chunks.as_slice(),
            Body::Text(_) | Body::Chunk { .. } => &[],
        };
        self.prev.iter().chain(&self.parents).chain(chunks)
    }
}

/// Where a payload belongs: what its signature covers beside itself.
pub(crate) struct Place<'a> {
    pub(crate) room: RoomId,
    /// The day of the epoch, counted from the Unix epoch.
    pub(crate) day: u32,
    /// The epoch, counted from the room's first day.
    pub(crate) epoch: u32,
    pub(crate) header: &'a Header,
}

impl Place<'_> {
    fn signed(&self, fields: &[u8]) -> Vec<u8> {
        let header = self.header;
        let mut out = Vec::with_capacity(DOMAIN.len() + 34 + fields.len());
        out.extend_from_slice(DOMAIN);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&[header.version, header.flags]);
        out.extend_from_slice(&header.expiry_hour.to_be_bytes());
        out.extend_from_slice(&header.nonce);
        out.extend_from_slice(fields);
        out
    }

    /// The times that may be claimed under this epoch's key.
    fn admits(&self, time: Millis) -> bool {
        let start = u64::from(self.day) * DAY_MS;
        (start.saturating_sub(CLOCK_SLACK_MS)..start + DAY_MS + CLOCK_SLACK_MS).contains(&time)
    }
}

/// Encodes and signs. `message.id` isn't used.
pub(crate) fn encode(message: &Opened, place: &Place<'_>, identity: &Identity) -> Vec<u8> {
    let fields = encode_fields(message, &place.room);
    let signature = identity.sign(&place.signed(&fields));
    let count = 8 + usize::from(message.prev.is_some()) + usize::from(!message.parents.is_empty());
    let mut out = Writer::default();
    out.map(count).raw(&fields).uint(9).bytes(&signature);
    out.finish()
}

/// Fields 0 to 8, without the map's head: what is signed.
fn encode_fields(message: &Opened, room: &RoomId) -> Vec<u8> {
    let mut out = Writer::default();
    out.uint(0).bytes(&room.0).uint(1).bytes(&message.from.0).uint(2).uint(message.seq);
    if let Some(prev) = &message.prev {
        out.uint(3).bytes(&prev.0);
    }
    if !message.parents.is_empty() {
        out.uint(4);
        write_ids(&mut out, &message.parents);
    }
    out.uint(5).uint(message.lamport).uint(6).uint(message.time).uint(7);
    let marks = usize::from(message.bot) + usize::from(message.reply_to.is_some());
    match &message.body {
        Body::Text(text) => {
            out.uint(0).uint(8).map(2 + marks).uint(0).text(&message.nick).uint(1).text(text);
            write_marks(&mut out, message);
        }
        Body::Chunk { index, bytes } => {
            out.uint(1).uint(8).map(2).uint(0).uint((*index).into()).uint(1).bytes(bytes);
        }
        Body::Manifest { chunks, bytes, hash } => {
            out.uint(2).uint(8).map(4 + marks).uint(0).text(&message.nick);
            write_marks(&mut out, message);
            out.uint(4);
            write_ids(&mut out, chunks);
            out.uint(5).uint((*bytes).into()).uint(6).bytes(hash);
        }
    }
    out.finish()
}

fn write_marks(out: &mut Writer, message: &Opened) {
    if message.bot {
        out.uint(2).bool(true);
    }
    if let Some(reply_to) = &message.reply_to {
        out.uint(3).bytes(&reply_to.0);
    }
}

fn write_ids(out: &mut Writer, ids: &[MsgId]) {
    out.array(ids.len());
    for id in ids {
        out.bytes(&id.0);
    }
}

/// A payload that was decoded: it isn't known yet whether it is the sender's.
#[derive(Debug)]
pub(crate) struct Claimed {
    opened: Opened,
    signed: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
    /// Whether the times in it may be claimed under its epoch's key.
    in_time: bool,
}

impl Claimed {
    fn settled(self, good: bool) -> Result<Opened, Reject> {
        if !good {
            return Err(Reject::BadSignature);
        }
        if self.in_time { Ok(self.opened) } else { Err(Reject::ExpiredEpoch) }
    }
}

/// Checks whether these are their senders': most of what opening costs.
pub(crate) fn verify_all(claimed: Vec<Claimed>, signers: &Signers) -> impl Iterator<Item = Result<Opened, Reject>> {
    let check = |claimed: &Claimed| {
        (signers.check(&claimed.opened.from, &claimed.signed, &claimed.signature), claimed.signature)
    };
    let good = settle(&claimed.iter().map(check).collect::<Vec<_>>());
    claimed.into_iter().zip(good).map(|(claimed, good)| claimed.settled(good))
}

/// Decodes a payload strictly, for this place.
pub(crate) fn decode(payload: &[u8], place: &Place<'_>, id: MsgId) -> Result<Claimed, Reject> {
    let mut reader = Reader::new(payload)?;
    let mut fields = reader.map()?;
    let start = reader.position();
    fields.need(&mut reader, 0)?;
    let room = RoomId(reader.array_of()?);
    fields.need(&mut reader, 1)?;
    let from = PersonId(reader.array_of()?);
    fields.need(&mut reader, 2)?;
    let seq = reader.uint()?;
    let prev = if fields.has(&mut reader, 3)? { Some(MsgId(reader.array_of()?)) } else { None };
    let parents = if fields.has(&mut reader, 4)? { read_parents(&mut reader, prev.as_ref())? } else { Vec::new() };
    fields.need(&mut reader, 5)?;
    let lamport = reader.uint()?;
    fields.need(&mut reader, 6)?;
    let time = reader.uint()?;
    fields.need(&mut reader, 7)?;
    let kind = reader.uint()?;
    fields.need(&mut reader, 8)?;
    let Said { nick, bot, reply_to, body } = read_body(&mut reader, kind)?;
    let end = reader.position();
    fields.need(&mut reader, 9)?;
    let signature: [u8; SIGNATURE_BYTES] = reader.array_of()?;
    fields.end()?;

    if (seq == 0) != prev.is_none() {
        return Err(Reject::BadPayload);
    }
    if room != place.room {
        return Err(Reject::ForeignRoom);
    }
    let in_time = place.admits(time) && place.admits(lamport);
    let expiry = place.header.expiry_hour;
    let opened = Opened { id, from, nick, seq, prev, parents, lamport, time, expiry, bot, reply_to, body };
    Ok(Claimed { opened, signed: place.signed(&payload[start..end]), signature, in_time })
}

fn read_parents(reader: &mut Reader<'_>, prev: Option<&MsgId>) -> Result<Vec<MsgId>, Reject> {
    let count = reader.array()?;
    if count > MAX_PARENTS {
        return Err(Reject::TooManyParents);
    }
    let parents = read_ids(reader, count)?;
    let ascending = parents.is_sorted_by(|a, b| a < b);
    if count == 0 || !ascending || prev.is_some_and(|prev| parents.contains(prev)) {
        return Err(Reject::NonCanonical);
    }
    Ok(parents)
}

fn read_ids(reader: &mut Reader<'_>, count: usize) -> Result<Vec<MsgId>, Fault> {
    (0..count).map(|_| reader.array_of().map(MsgId)).collect()
}

struct Said {
    nick: String,
    bot: bool,
    reply_to: Option<MsgId>,
    body: Body,
}

fn read_body(reader: &mut Reader<'_>, kind: u64) -> Result<Said, Reject> {
    let mut fields = reader.map()?;
    let said = match kind {
        0 => {
            fields.need(reader, 0)?;
            let nick = read_nick(reader)?;
            fields.need(reader, 1)?;
            let text = reader.text()?;
            if text.is_empty() {
                return Err(Reject::BadPayload);
            }
            let (bot, reply_to) = read_marks(reader, &mut fields)?;
            Said { nick, bot, reply_to, body: Body::Text(text.to_owned()) }
        }
        1 => {
            fields.need(reader, 0)?;
            let index = reader.u32()?;
            fields.need(reader, 1)?;
            let bytes = reader.bytes()?.to_vec();
            if index as usize >= MAX_CHUNKS || bytes.is_empty() || bytes.len() > CHUNK_BYTES {
                return Err(Reject::BadPayload);
            }
            Said { nick: String::new(), bot: false, reply_to: None, body: Body::Chunk { index, bytes } }
        }
        2 => {
            fields.need(reader, 0)?;
            let nick = read_nick(reader)?;
            let (bot, reply_to) = read_marks(reader, &mut fields)?;
            fields.need(reader, 4)?;
            let count = reader.array()?;
            if count > MAX_CHUNKS {
                return Err(Reject::BadPayload);
            }
            let chunks = read_ids(reader, count)?;
            fields.need(reader, 5)?;
            let bytes = reader.u32()?;
            fields.need(reader, 6)?;
            let hash = reader.array_of()?;
            let total = bytes as usize;
            if total == 0 || total > MAX_TEXT_BYTES || total.div_ceil(CHUNK_BYTES) != count {
                return Err(Reject::BadPayload);
            }
            Said { nick, bot, reply_to, body: Body::Manifest { chunks, bytes, hash } }
        }
        _ => return Err(Reject::BadPayload),
    };
    fields.end()?;
    Ok(said)
}

fn read_nick(reader: &mut Reader<'_>) -> Result<String, Reject> {
    let nick = reader.text()?;
    if nick.len() > MAX_NICK_BYTES { Err(Reject::BadPayload) } else { Ok(nick.to_owned()) }
}

fn read_marks(reader: &mut Reader<'_>, fields: &mut super::cbor::Fields) -> Result<(bool, Option<MsgId>), Reject> {
    let bot = fields.has(reader, 2)?;
    if bot && !reader.bool()? {
        return Err(Reject::NonCanonical);
    }
    let reply_to = if fields.has(reader, 3)? { Some(MsgId(reader.array_of()?)) } else { None };
    Ok((bot, reply_to))
}

/// Pads a payload to the smallest envelope that holds it; `None` if none does.
pub(crate) fn pad(payload: &[u8]) -> Option<Vec<u8>> {
    let needed = LENGTH_BYTES + payload.len();
    let size = Envelope::body_sizes().into_iter().find(|&size| size >= needed)?;
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(&u16::try_from(payload.len()).ok()?.to_be_bytes());
    out.extend_from_slice(payload);
    out.resize(size, 0);
    Some(out)
}

/// Takes the padding off, and insists on its being the one that [`pad`] makes.
pub(crate) fn unpad(plaintext: &[u8]) -> Result<&[u8], Reject> {
    let (length, rest) = plaintext.split_first_chunk::<LENGTH_BYTES>().ok_or(Reject::BadPadding)?;
    let (payload, zeros) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(Reject::BadPadding)?;
    let needed = LENGTH_BYTES + payload.len();
    let size = Envelope::body_sizes().into_iter().find(|&size| size >= needed);
    if size != Some(plaintext.len()) || zeros.iter().any(|&byte| byte != 0) {
        return Err(Reject::BadPadding);
    }
    Ok(payload)
}

/// Puts a long text together. `chunk` looks a message up by its id; `None` while one is missing.
///
/// # Errors
///
/// [`Reject::BadChunks`] when a chunk isn't the manifest's sender's, isn't the one that the manifest means, or the
/// whole isn't the text that it promises. [`Reject::BadPayload`] when `manifest` isn't a manifest.
pub fn assemble(manifest: &Opened, chunk: &mut dyn FnMut(&MsgId) -> Option<Opened>) -> Result<Option<String>, Reject> {
    let Body::Manifest { chunks, bytes, hash } = &manifest.body else {
        return Err(Reject::BadPayload);
    };
    let mut text = Vec::with_capacity(*bytes as usize);
    for (at, id) in chunks.iter().enumerate() {
        let Some(part) = chunk(id) else {
            return Ok(None);
        };
        match part.body {
            Body::Chunk { index, bytes } if index as usize == at && part.from == manifest.from => {
                text.extend_from_slice(&bytes);
            }
            _ => return Err(Reject::BadChunks),
        }
    }
    if text.len() != *bytes as usize || blake3::hash(&text) != *hash {
        return Err(Reject::BadChunks);
    }
    String::from_utf8(text).map(Some).map_err(|_| Reject::BadChunks)
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
