//! The bodies of RECON: one reconciliation session's messages.

use bytes::Bytes;
use rumormill_api::{ExpiryHour, ExpiryRange};

use super::codec::Reader;
use super::link::Fault;
use super::tree::{self, Children, ROOT_BYTES, Root, SHORT_BYTES, TreeEntry, TreeNode};

/// Bytes of the salt of a session of link version 1.
pub const SALT_BYTES: usize = 32;
/// Bytes of a session's salt.
pub const TREE_SALT_BYTES: usize = 16;
/// How many ids one GET may ask for.
pub const GET_MAX_IDS: usize = 256;
/// How many ids one HAVE may announce.
pub const HAVE_MAX_IDS: usize = 1_024;
/// How many nodes one ASK may ask about.
pub const ASK_MAX_NODES: usize = 256;
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
/// Types 0 to 6 are of link version 1 alone, whose sessions compared by sums of ids; they are still read, and declined.
/// Type 12 is of link version 2 alone, whose listed ids have 5 bytes; it is still read, and no session with such a peer is
/// taken part in. The other types are of all versions that have them.
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
/// | 8 BEGIN | initiator | scope as in OPEN, flags 1 (bit 0: takes only), salt 16, root 16 |
/// | 9 SAME | responder | nothing, or about an archive the proof 32: both hold the same |
/// | 10 CHILDREN | responder | proof 32 (zero for the window, and after the first), how many it has in all 4, then the children of the first of the asked-for nodes |
/// | 11 ASK | initiator | nodes |
/// | 12 | initiator | as EXCHANGE, but 5 bytes an id |
/// | 13 PAGE | both | nothing: a page of ITEMs is over; the next needs a GO |
/// | 14 GO | both | nothing: another page may come |
/// | 15 FOUND | responder | all of the last EXCHANGE is served; positions, 2 each, among its held ids, that are wanted |
/// | 16 GIVEN | initiator | nothing: all that was wanted and can be served has been |
/// | 17 EXCHANGE | initiator | entries: what it has under nodes; ascending, none within another |
///
/// A node is a depth 1 (0 to 16), an hour 4 and that many nibbles of ids, two in a byte; or 0xfe and a block's number 4; or
/// 0xff for everything. Children are a type 1, then by type: 0 hours and 1 blocks: a count, then for each the distance
/// from the number after the one before and a digest 5; 2 nibbles: a bit for each of the sixteen 2, then digests 5 each.
/// An entry is a node, two counts, that many held and evicted short ids 4 each. Counts and distances are written in groups
/// of seven bits, lowest first.
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
    /// Opens a session.
    Begin {
        /// About what.
        scope: OpenScope,
        /// The initiator serves nothing in this session.
        takes_only: bool,
        /// What, with the room's key about an archive, the session's key is derived from.
        salt: [u8; TREE_SALT_BYTES],
        /// The digest of all that the initiator has.
        root: Root,
    },
    /// The responder has the same. About an archive, with its proof of knowing the room.
    Same(Option<[u8; 32]>),
    /// What the responder has under the first of the nodes that were asked for, in their order; the rest is to be asked for
    /// again.
    Children {
        /// That it knows the room, in the first answer of an archive's session; else zero.
        proof: [u8; 32],
        /// How many envelopes the responder has in all: to show how far the session is.
        count: u32,
        /// By node.
        children: Vec<Children>,
    },
    /// Asks for nodes' children.
    Ask(Vec<TreeNode>),
    /// What the initiator of link version 2 has under nodes.
    OldExchange(Vec<TreeEntry<SHORT_BYTES>>),
    /// What the initiator has under nodes. The responder serves the rest.
    Exchange(Vec<TreeEntry>),
    /// A page of items is over.
    Page,
    /// Another page may come.
    Go,
    /// All of the last EXCHANGE is served; these of its held ids, counted over all entries, are wanted.
    Found(Vec<u16>),
    /// All that was wanted is served.
    Given,
}

const OPEN: u8 = 0;
const NEXT: u8 = 1;
const ANSWER: u8 = 2;
const DECLINE: u8 = 3;
const HAVE: u8 = 4;
const TAKEN: u8 = 5;
const SERVED: u8 = 6;
const DONE: u8 = 7;
const BEGIN: u8 = 8;
const SAME: u8 = 9;
const CHILDREN: u8 = 10;
const ASK: u8 = 11;
const OLD_EXCHANGE: u8 = 12;
const PAGE: u8 = 13;
const GO: u8 = 14;
const FOUND: u8 = 15;
const GIVEN: u8 = 16;
const EXCHANGE: u8 = 17;

const TAKES_ONLY: u8 = 1;

impl OpenScope {
    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Window(range) => {
                out.push(0);
                out.extend_from_slice(&range.from.to_be_bytes());
                out.extend_from_slice(&range.to.to_be_bytes());
            }
            Self::Archive(proof) => {
                out.push(1);
                out.extend_from_slice(&proof);
            }
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Fault> {
        match reader.u8()? {
            0 => {
                let (from, to): (ExpiryHour, ExpiryHour) = (reader.u32()?, reader.u32()?);
                if from > to {
                    return Err(Fault::Malformed);
                }
                Ok(Self::Window(ExpiryRange { from, to }))
            }
            1 => Ok(Self::Archive(reader.array()?)),
            _ => Err(Fault::Malformed),
        }
    }
}

impl ReconBody {
    /// Who may send it; `None`: both.
    #[must_use]
    pub const fn sender(&self) -> Option<Role> {
        match self {
            Self::Open { .. }
            | Self::Next(_)
            | Self::Have(_)
            | Self::Done
            | Self::Begin { .. }
            | Self::Ask(_)
            | Self::OldExchange(_)
            | Self::Exchange(_)
            | Self::Given => Some(Role::Initiator),
            Self::Answer { .. }
            | Self::Decline
            | Self::Taken
            | Self::Same(_)
            | Self::Children { .. }
            | Self::Found(_) => Some(Role::Responder),
            Self::Served | Self::Page | Self::Go => None,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open { scope, salt, message } => {
                out.push(OPEN);
                scope.put(out);
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
            Self::Begin { scope, takes_only, salt, root } => {
                out.push(BEGIN);
                scope.put(out);
                out.push(if *takes_only { TAKES_ONLY } else { 0 });
                out.extend_from_slice(salt);
                out.extend_from_slice(root);
            }
            Self::Same(proof) => {
                out.push(SAME);
                out.extend(proof.iter().flatten());
            }
            Self::Children { proof, count, children } => {
                out.push(CHILDREN);
                out.extend_from_slice(proof);
                out.extend_from_slice(&count.to_be_bytes());
                children.iter().for_each(|children| children.put(out));
            }
            Self::Ask(nodes) => {
                out.push(ASK);
                nodes.iter().for_each(|node| node.put(out));
            }
            Self::OldExchange(entries) => {
                out.push(OLD_EXCHANGE);
                entries.iter().for_each(|entry| entry.put(out));
            }
            Self::Exchange(entries) => {
                out.push(EXCHANGE);
                entries.iter().for_each(|entry| entry.put(out));
            }
            Self::Page => out.push(PAGE),
            Self::Go => out.push(GO),
            Self::Found(positions) => {
                out.push(FOUND);
                positions.iter().for_each(|position| out.extend_from_slice(&position.to_be_bytes()));
            }
            Self::Given => out.push(GIVEN),
        }
    }

    pub(super) fn read(mut reader: Reader) -> Result<Self, Fault> {
        let body = match reader.u8()? {
            OPEN => {
                let scope = OpenScope::read(&mut reader)?;
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
            BEGIN => {
                let scope = OpenScope::read(&mut reader)?;
                let flags = reader.u8()?;
                if flags > TAKES_ONLY {
                    return Err(Fault::Malformed);
                }
                let salt = reader.array()?;
                let root = reader.array::<ROOT_BYTES>()?;
                Self::Begin { scope, takes_only: flags == TAKES_ONLY, salt, root }
            }
            SAME if reader.remaining() == 0 => Self::Same(None),
            SAME => Self::Same(Some(reader.array()?)),
            CHILDREN => {
                let (proof, count) = (reader.array()?, reader.u32()?);
                return Ok(Self::Children { proof, count, children: tree::answers(reader)? });
            }
            ASK => return tree::nodes(reader, ASK_MAX_NODES).map(Self::Ask),
            OLD_EXCHANGE => return tree::entries(reader).map(Self::OldExchange),
            EXCHANGE => return tree::entries(reader).map(Self::Exchange),
            FOUND => return tree::positions(reader).map(Self::Found),
            PAGE => Self::Page,
            GO => Self::Go,
            GIVEN => Self::Given,
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
