//! A room on one line, to be handed to a new member.
//!
//! `rumor1` and the url-safe base64 (without padding) of `body | checksum 4`. The checksum is the beginning of the body's
//! BLAKE3 hash: it finds slips of copying, nothing more. The body is a map in deterministic CBOR:
//!
//! | key | field | type |
//! |---|---|---|
//! | 0 | suggested name of the room, 1–64 bytes | text |
//! | 1 | kind: 0 archive, 1 ephemeral | number |
//! | 2 | the room's first day, in days since the Unix epoch | number |
//! | 3 | the room's secret: with all of its history … | 32 bytes |
//! | 4 | … or what reads it from now on: epoch, chain key, room id | array: number, 32 bytes, 32 bytes |
//! | 5 | `true` if the secret comes from a passphrase (else absent) | boolean |
//! | 6 | the network's name, 1–64 bytes (absent: the open network) | text |
//! | 7 | up to 8 addresses of peers (absent when there are none) | array of text |
//! | 8 | when the invite expires, in hours since the Unix epoch (absent: never) | number |
//!
//! Who reads an invite reads the room: it belongs on a private channel. Its expiry is a courtesy to the one who is
//! invited, not a lock: the keys in it don't expire.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use rumormill_api::{ExpiryHour, Millis, PeerAddr};
use zeroize::Zeroizing;

use super::access::{Access, Ratchet};
use super::cbor::{Fault, Reader, Writer};
use super::keys::{ChainKey, HOUR_MS, RoomId};
use super::room::RoomKind;
use super::sanitize::sanitize_line;
use super::secret::RoomSecret;

/// What every invite of this version begins with.
pub const INVITE_PREFIX: &str = "rumor1";
/// Longest invite that is read, in bytes.
pub const INVITE_MAX_BYTES: usize = 4_096;
/// Most peer addresses in an invite.
pub const INVITE_MAX_PEERS: usize = 8;
/// Longest name of a room or a network in an invite, in bytes of UTF-8.
pub const INVITE_NAME_MAX_BYTES: usize = 64;
const CHECKSUM_BYTES: usize = 4;

/// An invite to a room. Never prints what it carries: [`Self::encode`] is the one way to its text.
#[derive(Clone)]
pub struct Invite {
    /// What the inviter calls the room; a suggestion.
    pub name: String,
    /// What becomes of the room's past.
    pub kind: RoomKind,
    /// The room's first day, in days since the Unix epoch.
    pub born_day: u32,
    /// How much of the room it gives.
    pub access: Access,
    /// Whether the secret comes from a passphrase.
    pub weak: bool,
    /// The name of the network that the room is on; `None` for the open one.
    pub network: Option<String>,
    /// Where to begin.
    pub peers: Vec<PeerAddr>,
    /// When it expires, in hours since the Unix epoch.
    pub expires: Option<ExpiryHour>,
}

/// Why an invite can't be written or read. Never shows any of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// Something else altogether.
    #[error("an invite begins with {INVITE_PREFIX}; this doesn't")]
    NotAnInvite,
    /// Of a later version.
    #[error(
        "this invite is of a version that this program doesn't read (it reads {INVITE_PREFIX}…): update the program"
    )]
    Version,
    /// Too long.
    #[error("an invite has at most {INVITE_MAX_BYTES} characters; this has {bytes}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A character that doesn't belong there.
    #[error("the invite was not copied whole: it can't hold what stands at character {at}")]
    Encoding {
        /// Where, counted from 1.
        at: usize,
    },
    /// A slip of copying.
    #[error("the invite was not copied whole: its checksum is wrong")]
    Checksum,
    /// Right checksum, wrong contents.
    #[error("the invite's contents aren't valid: {0}")]
    Contents(&'static str),
    /// Too late.
    #[error("the invite has expired: ask for a new one")]
    Expired,
}

impl From<Fault> for InviteError {
    fn from(fault: Fault) -> Self {
        Self::Contents(match fault {
            Fault::UnknownField => "it has a field that this program doesn't know",
            Fault::MissingField => "a field is missing",
            Fault::DuplicateField => "a field is there twice",
            Fault::TooDeep => "it is nested too deep",
            Fault::Trailing => "something follows its end",
            Fault::NonCanonical => "it isn't in the canonical encoding",
            Fault::Malformed | Fault::ForeignType | Fault::WrongType => "a field is malformed",
        })
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invite({:?}, …)", self.name)
    }
}

impl Invite {
    /// The invite's text. It is a secret.
    ///
    /// # Errors
    ///
    /// [`InviteError::Contents`] when a name, the number of peers or the pair of kind and access isn't allowed.
    pub fn encode(&self) -> Result<Zeroizing<String>, InviteError> {
        self.check()?;
        let marks = [self.weak, self.network.is_some(), !self.peers.is_empty(), self.expires.is_some()];
        let mut out = Writer::default();
        out.map(4 + marks.iter().filter(|&&there| there).count());
        out.uint(0).text(&self.name).uint(1).uint(u64::from(self.kind == RoomKind::Ephemeral));
        out.uint(2).uint(self.born_day.into());
        match &self.access {
            Access::Secret(secret) => out.uint(3).bytes(secret.as_bytes()),
            Access::From(from) => {
                out.uint(4).array(3).uint(from.epoch.into()).bytes(&from.chain_key.0).bytes(&from.room_id.0)
            }
        };
        if self.weak {
            out.uint(5).bool(true);
        }
        if let Some(network) = &self.network {
            out.uint(6).text(network);
        }
        if !self.peers.is_empty() {
            out.uint(7).array(self.peers.len());
            for peer in &self.peers {
                out.text(peer.as_str());
            }
        }
        if let Some(hour) = self.expires {
            out.uint(8).uint(hour.into());
        }
        let mut body = Zeroizing::new(out.finish());
        let checksum = checksum(&body);
        body.extend_from_slice(&checksum);
        let mut text =
            Zeroizing::new(String::with_capacity(INVITE_PREFIX.len() + BASE64URL_NOPAD.encode_len(body.len())));
        text.push_str(INVITE_PREFIX);
        BASE64URL_NOPAD.encode_append(&body, &mut text);
        Ok(text)
    }

    /// Reads an invite; white space around it, as copying leaves it, doesn't matter.
    ///
    /// # Errors
    ///
    /// [`InviteError`], [`InviteError::Expired`] among them.
    pub fn decode(text: &str, now_ms: Millis) -> Result<Self, InviteError> {
        let invite: Self = text.parse()?;
        match invite.expires {
            Some(hour) if now_ms >= Millis::from(hour) * HOUR_MS => Err(InviteError::Expired),
            _ => Ok(invite),
        }
    }

    fn check(&self) -> Result<(), InviteError> {
        let fits = |name: &str| (1..=INVITE_NAME_MAX_BYTES).contains(&name.len()) && sanitize_line(name) == name;
        if !fits(&self.name) {
            return Err(InviteError::Contents("a room's name has 1 to 64 bytes and no control characters"));
        }
        if !self.network.as_deref().is_none_or(fits) {
            return Err(InviteError::Contents("a network's name has 1 to 64 bytes and no control characters"));
        }
        if self.peers.len() > INVITE_MAX_PEERS {
            return Err(InviteError::Contents("it names at most 8 peers"));
        }
        match &self.access {
            Access::From(from) if from.born_day != self.born_day => {
                Err(InviteError::Contents("its keys are of another first day than the room's"))
            }
            Access::From(_) if self.weak => {
                Err(InviteError::Contents("only a secret can come from a passphrase, and it gives none"))
            }
            _ => Ok(()),
        }
    }

    fn read(body: &[u8]) -> Result<Self, InviteError> {
        let mut reader = Reader::new(body)?;
        let mut fields = reader.map()?;
        fields.need(&mut reader, 0)?;
        let name = reader.text()?.to_owned();
        fields.need(&mut reader, 1)?;
        let kind = match reader.uint()? {
            0 => RoomKind::Archive,
            1 => RoomKind::Ephemeral,
            _ => return Err(InviteError::Contents("the room is of a kind that this program doesn't know")),
        };
        fields.need(&mut reader, 2)?;
        let born_day = reader.u32()?;
        let secret = if fields.has(&mut reader, 3)? { Some(RoomSecret::new(reader.array_of()?)) } else { None };
        let from = if fields.has(&mut reader, 4)? { Some(read_from(&mut reader, born_day)?) } else { None };
        let access = match (secret, from) {
            (Some(secret), None) => Access::Secret(secret),
            (None, Some(from)) => Access::From(from),
            _ => return Err(InviteError::Contents("it gives either the room's secret or a key from now on")),
        };
        let weak = fields.has(&mut reader, 5)?;
        if weak && !reader.bool()? {
            return Err(Fault::NonCanonical.into());
        }
        let network = if fields.has(&mut reader, 6)? { Some(reader.text()?.to_owned()) } else { None };
        let peers = if fields.has(&mut reader, 7)? { read_peers(&mut reader)? } else { Vec::new() };
        let expires = if fields.has(&mut reader, 8)? { Some(reader.u32()?) } else { None };
        fields.end()?;
        let invite = Self { name, kind, born_day, access, weak, network, peers, expires };
        invite.check()?;
        Ok(invite)
    }
}

fn read_from(reader: &mut Reader<'_>, born_day: u32) -> Result<Ratchet, InviteError> {
    if reader.array()? != 3 {
        return Err(Fault::WrongType.into());
    }
    let (epoch, chain_key, room_id) = (reader.u32()?, ChainKey(reader.array_of()?), RoomId(reader.array_of()?));
    Ok(Ratchet { epoch, chain_key, room_id, born_day, proof_key: None })
}

fn read_peers(reader: &mut Reader<'_>) -> Result<Vec<PeerAddr>, InviteError> {
    let count = reader.array()?;
    if count == 0 {
        return Err(Fault::NonCanonical.into());
    }
    if count > INVITE_MAX_PEERS {
        return Err(InviteError::Contents("it names at most 8 peers"));
    }
    (0..count)
        .map(|_| reader.text()?.parse().map_err(|_| InviteError::Contents("the address of a peer is malformed")))
        .collect()
}

impl FromStr for Invite {
    type Err = InviteError;

    /// Reads an invite without looking at its expiry.
    fn from_str(text: &str) -> Result<Self, InviteError> {
        let text = text.trim();
        if text.len() > INVITE_MAX_BYTES {
            return Err(InviteError::TooLong { bytes: text.len() });
        }
        let Some(encoded) = text.strip_prefix(INVITE_PREFIX) else {
            let other = text.strip_prefix("rumor").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            return Err(if other { InviteError::Version } else { InviteError::NotAnInvite });
        };
        let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if let Some(at) = encoded.bytes().position(|b| !alphabet(b)) {
            return Err(InviteError::Encoding { at: INVITE_PREFIX.len() + at + 1 });
        }
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| InviteError::Checksum)?);
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(InviteError::Checksum)?;
        if checksum(body) != *sum {
            return Err(InviteError::Checksum);
        }
        Self::read(body)
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    *blake3::hash(body).as_bytes().first_chunk().expect("a hash has 32 bytes")
}

#[cfg(test)]
#[path = "invite_tests.rs"]
mod tests;
