//! The bodies of RECON: one reconciliation session's messages.

use bytes::Bytes;
use rumormill_api::{ExpiryHour, ExpiryRange};

use super::codec::Reader;
use super::link::Fault;

/// Bytes of a session's salt.
pub const SALT_BYTES: usize = 32;
/// How many ids one GET may ask for.
pub const GET_MAX_IDS: usize = 256;
/// How many ids one HAVE may announce.
pub const HAVE_MAX_IDS: usize = 1_024;
/// The largest reconciliation message that this node takes, and by default makes.
pub const RECON_MAX_BYTES: usize = 48 << 10;
/// The smallest limit on reconciliation messages that a peer may state (a bound of the negentropy crate).
pub const RECON_MIN_BYTES: usize = 4_096;
/// What a RECON body holds at most beside the reconciliation message itself.
pub const RECON_OVERHEAD_BYTES: usize = 5 + 1 + 41 + SALT_BYTES;

/// An id as one session speaks of it: the hash of the id, keyed with the session's salt, about a room's archive with the
/// room's key, too.
pub type SaltedId = [u8; 32];

/// Which end of a session a message's sender is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// It opened the session.
    Initiator,
    /// It answers.
    Responder,
}

impl Role {
    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// A session on a link, as its messages name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SessionRef {
    /// Chosen by the initiator, and never used by it again on this link.
    pub number: u32,
    /// Who sends this message.
    pub sender: Role,
}

impl SessionRef {
    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        out.push(match self.sender {
            Role::Initiator => 0,
            Role::Responder => 1,
        });
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Fault> {
        let number = reader.u32()?;
        let sender = match reader.u8()? {
            0 => Role::Initiator,
            1 => Role::Responder,
            _ => return Err(Fault::Malformed),
        };
        Ok(Self { number, sender })
    }
}

/// What a session is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenScope {
    /// The window, in a range of expiry hours.
    Window(ExpiryRange),
    /// A room's archive, named only by a proof of knowing the room.
    Archive([u8; 32]),
}

/// What follows the session in a RECON.
///
/// | type | sender | fields |
/// |---|---|---|
/// | 0 OPEN | initiator | scope 1; 0: from 4, to 4; 1: proof 32; then salt 32, message |
/// | 1 NEXT | initiator | message |
/// | 2 ANSWER | responder | proof 32 (zero for the window), message |
/// | 3 DECLINE | responder | nothing |
/// | 4 HAVE | initiator | salted ids that the responder lacks, 32 each |
/// | 5 TAKEN | responder | nothing: the last HAVE is dealt with |
/// | 6 SERVED | both | nothing: all of the last GET that can be served has been |
/// | 7 DONE | initiator | nothing: the session is over |
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReconBody {
    /// Opens a session.
    Open {
        /// About what.
        scope: OpenScope,
        /// The key that ids are hashed with.
        salt: [u8; SALT_BYTES],
        /// The first reconciliation message.
        message: Bytes,
    },
    /// The initiator's next reconciliation message.
    Next(Bytes),
    /// The responder's reconciliation message.
    Answer {
        /// That it knows the room, in an archive's session; else zero.
        proof: [u8; 32],
        /// The message.
        message: Bytes,
    },
    /// The responder doesn't take part, for whatever reason.
    Decline,
    /// What the initiator has and the responder lacks.
    Have(Vec<SaltedId>),
    /// The responder is through with the last HAVE.
    Taken,
    /// All of the last GET that can be served has been.
    Served,
    /// The initiator ends the session.
    Done,
}

const OPEN: u8 = 0;
const NEXT: u8 = 1;
const ANSWER: u8 = 2;
const DECLINE: u8 = 3;
const HAVE: u8 = 4;
const TAKEN: u8 = 5;
const SERVED: u8 = 6;
const DONE: u8 = 7;

impl ReconBody {
    /// Who may send it; `None`: both.
    #[must_use]
    pub const fn sender(&self) -> Option<Role> {
        match self {
            Self::Open { .. } | Self::Next(_) | Self::Have(_) | Self::Done => Some(Role::Initiator),
            Self::Answer { .. } | Self::Decline | Self::Taken => Some(Role::Responder),
            Self::Served => None,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open { scope, salt, message } => {
                out.push(OPEN);
                match scope {
                    OpenScope::Window(range) => {
                        out.push(0);
                        out.extend_from_slice(&range.from.to_be_bytes());
                        out.extend_from_slice(&range.to.to_be_bytes());
                    }
                    OpenScope::Archive(proof) => {
                        out.push(1);
                        out.extend_from_slice(proof);
                    }
                }
                out.extend_from_slice(salt);
                out.extend_from_slice(message);
            }
            Self::Next(message) => {
                out.push(NEXT);
                out.extend_from_slice(message);
            }
            Self::Answer { proof, message } => {
                out.push(ANSWER);
                out.extend_from_slice(proof);
                out.extend_from_slice(message);
            }
            Self::Decline => out.push(DECLINE),
            Self::Have(ids) => {
                out.push(HAVE);
                ids.iter().for_each(|id| out.extend_from_slice(id));
            }
            Self::Taken => out.push(TAKEN),
            Self::Served => out.push(SERVED),
            Self::Done => out.push(DONE),
        }
    }

    pub(super) fn read(mut reader: Reader) -> Result<Self, Fault> {
        let body = match reader.u8()? {
            OPEN => {
                let scope = match reader.u8()? {
                    0 => {
                        let (from, to): (ExpiryHour, ExpiryHour) = (reader.u32()?, reader.u32()?);
                        if from > to {
                            return Err(Fault::Malformed);
                        }
                        OpenScope::Window(ExpiryRange { from, to })
                    }
                    1 => OpenScope::Archive(reader.array()?),
                    _ => return Err(Fault::Malformed),
                };
                let salt = reader.array()?;
                return Ok(Self::Open { scope, salt, message: message(reader)? });
            }
            NEXT => return Ok(Self::Next(message(reader)?)),
            ANSWER => {
                let proof = reader.array()?;
                return Ok(Self::Answer { proof, message: message(reader)? });
            }
            HAVE => {
                let ids = reader.rest_of_ids(HAVE_MAX_IDS)?;
                return if ids.is_empty() { Err(Fault::Malformed) } else { Ok(Self::Have(ids)) };
            }
            SERVED => Self::Served,
            DECLINE => Self::Decline,
            TAKEN => Self::Taken,
            DONE => Self::Done,
            _ => return Err(Fault::Malformed),
        };
        reader.finish()?;
        Ok(body)
    }
}

fn message(reader: Reader) -> Result<Bytes, Fault> {
    let message = reader.rest();
    if message.is_empty() || message.len() > RECON_MAX_BYTES { Err(Fault::Malformed) } else { Ok(message) }
}
