//! One room: its keys, sealing and opening.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use rumormill_api::cipher::NONCE_BYTES;
use rumormill_api::{CipherSuite, ExpiryHour, Header, Millis, MsgId, OpenError, RoomCipher, RoomTag};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::access::{Access, Ratchet};
use super::identity::{Identity, Signers};
use super::keys::{Chain, ChainKey, EPHEMERAL_WINDOW_DAYS, HOUR_MS, LIFETIME_HOURS, RoomId, day_of, days_of};
use super::locked;
use super::payload::{self, Body, CHUNK_BYTES, Claimed, MAX_NICK_BYTES, MAX_TEXT_BYTES, Opened, Place, verify_all};
use super::reject::Reject;
use super::state::{Noted, RoomState};
use super::storage::{Entropy, StorageKey};
use crate::proto::Envelope;
use crate::proto::wire::{ENVELOPE_FLAGS, ENVELOPE_MAX_BYTES, ENVELOPE_VERSION};

/// How many epochs' ciphers a room keeps at hand.
const CIPHERS_MAX: usize = 32;

/// What becomes of a room's past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoomKind {
    /// The history is kept, and any holder of the secret can recover it.
    Archive,
    /// Keys ratchet, and old ones are erased: what was said can't be read again once the envelopes' life is over.
    Ephemeral,
}

/// What a room is made of.
#[derive(Clone, Debug)]
pub struct RoomSpec {
    /// Its name in this node's config.
    pub name: Arc<str>,
    /// How much of it this node holds.
    pub access: Access,
    /// What becomes of its past.
    pub kind: RoomKind,
    /// Its first day, in days since the Unix epoch: all members must agree on it. 0 for a bare secret. For
    /// [`Access::From`], the ratchet's own counts.
    pub born_day: u32,
    /// Whether its secret comes from a passphrase.
    pub weak: bool,
}

/// A text to be said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewMessage {
    /// What the sender calls themselves; at most [`MAX_NICK_BYTES`].
    pub nick: String,
    /// What they say; at most [`MAX_TEXT_BYTES`].
    pub text: String,
    /// Whether a script says it.
    pub bot: bool,
    /// The message that it answers.
    pub reply_to: Option<MsgId>,
}

/// One sealed envelope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Its id.
    pub id: MsgId,
    /// Its bytes.
    pub envelope: Bytes,
    /// When it expires.
    pub expiry: ExpiryHour,
    /// Its Lamport clock.
    pub lamport: u64,
    /// What opening it would give.
    pub opened: Opened,
}

/// Why nothing was sealed. The state may have changed: drop it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// No text.
    #[error("the message is empty")]
    Empty,
    /// Too much text.
    #[error("the message has {bytes} bytes; at most {MAX_TEXT_BYTES} can be sent")]
    TooLong {
        /// How much.
        bytes: usize,
    },
    /// Too long a nick.
    #[error("the nick has {bytes} bytes; at most {MAX_NICK_BYTES} can be sent")]
    NickTooLong {
        /// How long.
        bytes: usize,
    },
    /// The clock shows a day before the room's first, or before the first that this member can read.
    #[error("there is no key for today: the clock is before the room's first day, or before the invite's")]
    NoKey,
}

/// A room that this node belongs to. Keys don't change; those of the epochs in use are cached.
pub struct Room {
    name: Arc<str>,
    kind: RoomKind,
    weak: bool,
    born_day: u32,
    id: RoomId,
    tag: RoomTag,
    proof_key: Option<Zeroizing<[u8; 32]>>,
    suite: Arc<dyn CipherSuite>,
    keys: Mutex<Keys>,
    signers: Signers,
}

struct Keys {
    chain: Chain,
    /// By epoch.
    ciphers: BTreeMap<u32, Arc<dyn RoomCipher>>,
}

impl Keys {
    /// The cipher of an epoch; `None` before the first that can be read.
    fn cipher(&mut self, suite: &dyn CipherSuite, epoch: u32) -> Option<&Arc<dyn RoomCipher>> {
        if !self.ciphers.contains_key(&epoch) {
            let cipher = suite.room(&self.chain.key(epoch)?.epoch_key()).into();
            if self.ciphers.len() >= CIPHERS_MAX {
                // Old epochs are read once in a while, new ones all the time.
                self.ciphers.pop_first();
            }
            self.ciphers.insert(epoch, cipher);
        }
        self.ciphers.get(&epoch)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({:?}, {:?}, {:?})", self.name, self.kind, self.tag)
    }
}

impl Room {
    /// A room. `suite` seals, `storage` gives it the tag that the store knows it by.
    #[must_use]
    pub fn new(spec: RoomSpec, suite: Arc<dyn CipherSuite>, storage: &StorageKey) -> Self {
        let id = spec.access.room_id();
        let proof_key = spec.access.proof_key().map(Zeroizing::new);
        let (born_day, chain) = match &spec.access {
            Access::Secret(secret) => (spec.born_day, Chain::new(0, ChainKey::start(secret))),
            Access::From(ratchet) => (ratchet.born_day, Chain::new(ratchet.epoch, ratchet.chain_key.clone())),
        };
        Self {
            name: spec.name,
            kind: spec.kind,
            weak: spec.weak,
            born_day,
            id,
            tag: storage.room_tag(&id),
            proof_key,
            suite,
            keys: Mutex::new(Keys { chain, ciphers: BTreeMap::new() }),
            signers: Signers::default(),
        }
    }

    /// Its name in this node's config.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What becomes of its past.
    #[must_use]
    pub const fn kind(&self) -> RoomKind {
        self.kind
    }

    /// Whether its secret comes from a passphrase, which can be guessed.
    #[must_use]
    pub const fn weak(&self) -> bool {
        self.weak
    }

    /// Its first day, in days since the Unix epoch.
    #[must_use]
    pub const fn born_day(&self) -> u32 {
        self.born_day
    }

    /// The room as this node's store knows it.
    #[must_use]
    pub const fn tag(&self) -> RoomTag {
        self.tag
    }

    /// The key that proves membership to the room's archive; `None` for a member from now on, who has no part in it.
    #[must_use]
    pub fn proof_key(&self) -> Option<[u8; 32]> {
        self.proof_key.as_deref().copied()
    }

    /// What the members know the room by.
    #[must_use]
    pub const fn room_id(&self) -> RoomId {
        self.id
    }

    /// What reads the room from today on and nothing before: for an invite without history. `None` if there is no key
    /// for today.
    #[must_use]
    pub fn from_now_on(&self, now_ms: Millis) -> Option<Ratchet> {
        self.ratchet_at(day_of(now_ms).checked_sub(self.born_day)?, None)
    }

    /// Erases, in an `ephemeral` room, the keys that no living envelope is sealed with, for good, and returns what to
    /// persist in their stead. `None` in an archive room, and when there is nothing older to erase.
    ///
    /// A clock that is wrongly ahead erases keys that are still needed: call it only with a time that others confirm.
    #[must_use]
    pub fn ratchet(&self, now_ms: Millis) -> Option<Ratchet> {
        if self.kind == RoomKind::Archive {
            return None;
        }
        let epoch = day_of(now_ms).saturating_sub(EPHEMERAL_WINDOW_DAYS).checked_sub(self.born_day)?;
        {
            let mut keys = self.keys();
            if epoch <= keys.chain.first_epoch() {
                return None;
            }
            keys.chain.forget_before(epoch);
            keys.ciphers.retain(|&e, _| e >= epoch);
        }
        self.ratchet_at(epoch, self.proof_key())
    }

    fn ratchet_at(&self, epoch: u32, proof_key: Option<[u8; 32]>) -> Option<Ratchet> {
        let chain_key = self.keys().chain.key(epoch)?;
        Some(Ratchet { epoch, chain_key, room_id: self.id, born_day: self.born_day, proof_key })
    }

    /// Seals a text: several envelopes when it is long, the one that people see last. `state` is changed as if they
    /// were sent: clone it before, and keep the clone if storing them fails.
    ///
    /// # Errors
    ///
    /// [`SealError`].
    pub fn seal(
        &self,
        identity: &Identity,
        state: &mut RoomState,
        message: &NewMessage,
        now_ms: Millis,
        entropy: &mut Entropy<'_>,
    ) -> Result<Vec<Sealed>, SealError> {
        let bytes = message.text.len();
        if bytes == 0 {
            return Err(SealError::Empty);
        }
        if bytes > MAX_TEXT_BYTES {
            return Err(SealError::TooLong { bytes });
        }
        if message.nick.len() > MAX_NICK_BYTES {
            return Err(SealError::NickTooLong { bytes: message.nick.len() });
        }
        let mut sealer = Sealer { room: self, identity, message, now_ms, day: day_of(now_ms) };
        if bytes < ENVELOPE_MAX_BYTES
            && let Some(sealed) = sealer.seal(state, Body::Text(message.text.clone()), entropy)?
        {
            return Ok(vec![sealed]);
        }
        sealer.seal_chunked(state, entropy)
    }

    /// Takes an opened message into the state. To be called once for each message; `known` says whether a message is
    /// here already, shown or not.
    pub fn note(
        &self,
        state: &mut RoomState,
        opened: &Opened,
        now_ms: Millis,
        known: &mut dyn FnMut(&MsgId) -> bool,
    ) -> Noted {
        // What a message of the first day follows may be of the day before, which this member will never read: no gap.
        let may_be_older = self.reads_from_now_on() && day_of(opened.time) <= self.first_day();
        state.note(opened, now_ms, &mut |id| may_be_older || known(id))
    }

    /// Whether this member reads only what came after the invite, and has no part in the archive.
    #[must_use]
    pub const fn reads_from_now_on(&self) -> bool {
        self.proof_key.is_none()
    }

    /// The first day that can be read, in days since the Unix epoch.
    fn first_day(&self) -> u32 {
        self.born_day.saturating_add(self.keys().chain.first_epoch())
    }

    /// Opens an envelope; `None` if it isn't this room's.
    ///
    /// # Errors
    ///
    /// [`Reject`] when it is sealed with a key of this room and isn't a proper message of it.
    pub fn open(&self, envelope: &Bytes, now_ms: Millis) -> Result<Option<Opened>, Reject> {
        let envelope = Envelope::parse(envelope).map_err(|_| Reject::BadEnvelope)?;
        let Some(claimed) = self.unseal(&envelope, now_ms)? else { return Ok(None) };
        verify_all(vec![claimed], &self.signers).next().transpose()
    }

    /// Whether an envelope is sealed with a key of this room's.
    pub(crate) fn reads(&self, envelope: &Envelope, now_ms: Millis) -> bool {
        self.find_cipher(envelope, now_ms).is_some()
    }

    /// The first half of opening, up to the signature.
    pub(crate) fn unseal(&self, envelope: &Envelope, now_ms: Millis) -> Result<Option<Claimed>, Reject> {
        let found = self.find_cipher(envelope, now_ms);
        found.map(|(day, cipher)| self.unseal_with(&*cipher, day, envelope)).transpose()
    }

    /// The cipher that an envelope is sealed with, and its day; `None` if it isn't this room's.
    fn find_cipher(&self, envelope: &Envelope, now_ms: Millis) -> Option<(u32, Arc<dyn RoomCipher>)> {
        let header = envelope.header();
        let commitment = envelope.commitment();
        // Most envelopes are none of this room's: one lock for all the days that are tried.
        let mut keys = self.keys();
        days_of(header.expiry_hour, now_ms).find_map(|day| {
            let cipher = keys.cipher(&*self.suite, day.checked_sub(self.born_day)?)?;
            bool::from(cipher.commitment(&header.nonce).ct_eq(&commitment)).then(|| (day, Arc::clone(cipher)))
        })
    }

    fn unseal_with(&self, cipher: &dyn RoomCipher, day: u32, envelope: &Envelope) -> Result<Claimed, Reject> {
        let header = envelope.header();
        let mut body = Zeroizing::new(envelope.ciphertext().to_vec());
        match cipher.open(&header, &envelope.commitment(), &mut body, &envelope.tag()) {
            Ok(()) => {}
            Err(OpenError::NotMine | OpenError::Broken) => return Err(Reject::BrokenTag),
        }
        let payload = payload::unpad(&body)?;
        payload::decode(payload, &self.place(day, &header), envelope.id())
    }

    fn place<'a>(&self, day: u32, header: &'a Header) -> Place<'a> {
        Place { room: self.id, day, epoch: day - self.born_day, header }
    }

    /// The cipher of a day; `None` before the first that can be read.
    fn cipher(&self, day: u32) -> Option<Arc<dyn RoomCipher>> {
        let epoch = day.checked_sub(self.born_day)?;
        self.keys().cipher(&*self.suite, epoch).map(Arc::clone)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        locked(&self.keys)
    }
}

struct Sealer<'a> {
    room: &'a Room,
    identity: &'a Identity,
    message: &'a NewMessage,
    now_ms: Millis,
    day: u32,
}

impl Sealer<'_> {
    /// Seals one body; `None` if it doesn't fit into an envelope, and then the state is as it was.
    fn seal(
        &mut self,
        state: &mut RoomState,
        body: Body,
        entropy: &mut Entropy<'_>,
    ) -> Result<Option<Sealed>, SealError> {
        let me = self.identity.id();
        let next = state.next(&me, self.now_ms);
        let shown = body.is_shown();
        let expiry = u32::try_from(self.now_ms / HOUR_MS).unwrap_or(u32::MAX).saturating_add(LIFETIME_HOURS);
        let mut header =
            Header { version: ENVELOPE_VERSION, flags: ENVELOPE_FLAGS, expiry_hour: expiry, nonce: [0; NONCE_BYTES] };
        entropy(&mut header.nonce);
        let mut opened = Opened {
            id: MsgId([0; 32]),
            from: me,
            nick: if shown { self.message.nick.clone() } else { String::new() },
            seq: next.seq,
            prev: next.prev,
            parents: if shown { next.parents } else { Vec::new() },
            lamport: next.lamport,
            time: self.now_ms,
            expiry,
            bot: shown && self.message.bot,
            reply_to: self.message.reply_to.filter(|_| shown),
            body,
        };
        let cipher = self.room.cipher(self.day).ok_or(SealError::NoKey)?;
        let payload = payload::encode(&opened, &self.room.place(self.day, &header), self.identity);
        let Some(mut plaintext) = payload::pad(&payload) else {
            return Ok(None);
        };
        let (commitment, tag) = cipher.seal(&header, &mut plaintext);
        let envelope = Envelope::assemble(&header, &commitment, &plaintext, &tag)
            .expect("a padded payload has the size of an envelope's body")
            .into_bytes();
        opened.id = MsgId::of(&envelope);
        state.sent(&opened);
        Ok(Some(Sealed { id: opened.id, envelope, expiry, lamport: opened.lamport, opened }))
    }

    fn seal_chunked(&mut self, state: &mut RoomState, entropy: &mut Entropy<'_>) -> Result<Vec<Sealed>, SealError> {
        let text = self.message.text.as_bytes();
        let mut out = Vec::with_capacity(text.len().div_ceil(CHUNK_BYTES) + 1);
        for (index, bytes) in (0..).zip(text.chunks(CHUNK_BYTES)) {
            let body = Body::Chunk { index, bytes: bytes.to_vec() };
            out.push(self.seal(state, body, entropy)?.expect("a chunk's size is chosen to fit"));
        }
        let body = Body::Manifest {
            chunks: out.iter().map(|sealed: &Sealed| sealed.id).collect(),
            bytes: u32::try_from(text.len()).expect("the text is at most MAX_TEXT_BYTES"),
            hash: *blake3::hash(text).as_bytes(),
        };
        out.push(self.seal(state, body, entropy)?.expect("a manifest of MAX_CHUNKS fits"));
        Ok(out)
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
