//! Link messages: what two nodes say to each other inside a link's frames.
//!
//! A frame's plaintext is a sequence of messages `kind u8 | length u16 | body`. All integers are big-endian. Every body
//! has a fixed layout, so that there is one encoding of each message and no decoder to feed oddities to:
//!
//! | kind | name | body |
//! |---|---|---|
//! | 1 | HELLO | `version min u8 · max u8 · link key 32 · seen as: text8 · has record u8 · record` |
//! | 2 | RUMOR | an envelope, live |
//! | 3 | IHAVE | short ids, 8 bytes each |
//! | 4 | GET | `session u32 · salted ids, 32 bytes each` |
//! | 5 | PRUNE | nothing |
//! | 6 | PEERS | `count u8 · records` |
//! | 7 | RECON | `session u32 · step u8 · …`, see [`Recon`] |
//! | 8 | ITEM | `session u32 · envelope`: served because it was asked for, and never flooded again |
//! | 9, 10 | PING, PONG | 8 bytes, echoed |
//! | 11 | CHAFF | anything, ignored |
//! | 12 | BYE | nothing; the link is about to close |
//!
//! A record is `link key 32 · issued at u64 (s) · address: text8 · Ed25519 signature 64`; `text8` is `length u8 · bytes`.
//! IHAVE, PRUNE and CHAFF belong to the adaptive dissemination and to chaff: this version decodes and ignores them.

use bytes::{BufMut, Bytes, BytesMut};
use rumormill_api::transport::BATCH_MAX_BYTES;
use rumormill_api::{ExpiryHour, ExpiryRange, Frame, PeerAddr};

use super::counters::Count;
use super::envelope::ENVELOPE_MAX_BYTES;
use super::records::{PeerRecord, RECORD_MAX_BYTES};

/// The version of the link protocol.
pub const LINK_VERSION: u8 = 1;
/// What stands before a message's body, in bytes.
pub const MESSAGE_HEADER_BYTES: usize = 3;
/// The longest body of any message, in bytes.
pub const BODY_MAX_BYTES: usize = BATCH_MAX_BYTES - MESSAGE_HEADER_BYTES;
/// How many records one PEERS holds.
pub const PEERS_MAX_RECORDS: usize = 64;
/// How many ids one GET or one Have asks for or offers.
pub const IDS_MAX: usize = 256;
/// How many short ids one IHAVE announces.
pub const IHAVE_MAX_IDS: usize = 1_024;
/// The longest message of the reconciliation proper, in bytes.
pub const RECON_MAX_BYTES: usize = 32 << 10;

/// An id under a session's salt.
pub type SaltedId = [u8; 32];

/// A decoded link message. Envelopes are slices of the batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// The first message of either side.
    Hello(Hello),
    /// An envelope, live. `frame` is the whole message, ready to be relayed as it came.
    Rumor {
        /// The message with its header.
        frame: Frame,
        /// The envelope's bytes, not yet checked.
        envelope: Bytes,
    },
    /// Announced ids.
    Ihave(Vec<u64>),
    /// Ids to be served in a session.
    Get {
        /// The session.
        session: u32,
        /// What is asked for.
        ids: Vec<SaltedId>,
    },
    /// "Announce to me, don't send in full."
    Prune,
    /// Signed addresses, not yet verified.
    Peers(Vec<PeerRecord>),
    /// A step of a reconciliation.
    Recon {
        /// The session: odd ones are the dialler's, even ones the other's.
        session: u32,
        /// The step.
        step: Recon,
    },
    /// An envelope that was asked for.
    Item {
        /// The session.
        session: u32,
        /// The envelope's bytes, not yet checked.
        envelope: Bytes,
    },
    /// "Are you there?"
    Ping([u8; 8]),
    /// "I am."
    Pong([u8; 8]),
    /// Nothing.
    Chaff,
    /// The link is about to close.
    Bye,
}

/// The first message of either side of a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The oldest version that the sender speaks.
    pub version_min: u8,
    /// The newest.
    pub version_max: u8,
    /// The sender's link key (Ed25519), which must map to the handshake's X25519 key.
    pub link_key: [u8; 32],
    /// The address that the sender sees the receiver at.
    pub seen_as: Option<PeerAddr>,
    /// The sender's own address, signed.
    pub record: Option<PeerRecord>,
}

/// A step of a reconciliation. `I` is who opened the session, `R` the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recon {
    /// I: `0 · scope · salt 32 · message`. The scope is `0 · from u32 · to u32` or `1 · proof 32`.
    Open {
        /// What is compared.
        scope: WireScope,
        /// Salts the ids.
        salt: [u8; 32],
        /// The first message of the reconciliation proper.
        message: Bytes,
    },
    /// R: `1 · proof 32 · message`. The proof is zero for the window.
    Reply {
        /// That R knows the room too.
        proof: [u8; 32],
        /// The next message.
        message: Bytes,
    },
    /// I: `2 · message`; answered by another Reply.
    More(Bytes),
    /// I: `3 · last u8 · ids`: what R lacks. The last one ends the comparison.
    Have {
        /// Whether it is the last.
        last: bool,
        /// Ids to be asked for with GET.
        ids: Vec<SaltedId>,
    },
    /// Both: `4 · taken u16`: the answer to a GET is complete; its first `taken` ids were looked up.
    Served(u16),
    /// R: `5`: has all that it wanted of what I have.
    Done,
    /// I: `6`: the session is over.
    Close,
    /// Both: `7`: not this session. The same for every reason.
    Refuse,
}

/// A scope as it stands on the wire: a room is proven, never named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WireScope {
    /// The window, in a range of expiry hours.
    Window(ExpiryRange),
    /// The archive of the room that this proof is of.
    Archive([u8; 32]),
}

const HELLO: u8 = 1;
const RUMOR: u8 = 2;
const IHAVE: u8 = 3;
const GET: u8 = 4;
const PRUNE: u8 = 5;
const PEERS: u8 = 6;
const RECON: u8 = 7;
const ITEM: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const CHAFF: u8 = 11;
const BYE: u8 = 12;

impl Message {
    /// Encodes it, header and all.
    #[must_use]
    pub fn encode(&self) -> Frame {
        let mut out = BytesMut::with_capacity(64);
        out.put_bytes(0, MESSAGE_HEADER_BYTES);
        out[0] = self.encode_body(&mut out);
        let length = out.len() - MESSAGE_HEADER_BYTES;
        debug_assert!(length <= BODY_MAX_BYTES, "a message of {length} bytes was made");
        let length = u16::try_from(length).expect("a body is shorter than a frame");
        out[1..MESSAGE_HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
        out.freeze()
    }

    fn encode_body(&self, out: &mut BytesMut) -> u8 {
        match self {
            Self::Hello(hello) => {
                out.put_u8(hello.version_min);
                out.put_u8(hello.version_max);
                out.put_slice(&hello.link_key);
                put_text8(out, hello.seen_as.as_ref().map_or("", PeerAddr::as_str));
                out.put_u8(u8::from(hello.record.is_some()));
                if let Some(record) = &hello.record {
                    record.put(out);
                }
                HELLO
            }
            Self::Rumor { envelope, .. } => {
                out.put_slice(envelope);
                RUMOR
            }
            Self::Ihave(ids) => {
                ids.iter().for_each(|id| out.put_u64(*id));
                IHAVE
            }
            Self::Get { session, ids } => {
                out.put_u32(*session);
                ids.iter().for_each(|id| out.put_slice(id));
                GET
            }
            Self::Prune => PRUNE,
            Self::Peers(records) => {
                out.put_u8(u8::try_from(records.len()).expect("at most PEERS_MAX_RECORDS"));
                records.iter().for_each(|record| record.put(out));
                PEERS
            }
            Self::Recon { session, step } => {
                out.put_u32(*session);
                step.put(out);
                RECON
            }
            Self::Item { session, envelope } => {
                out.put_u32(*session);
                out.put_slice(envelope);
                ITEM
            }
            Self::Ping(token) => {
                out.put_slice(token);
                PING
            }
            Self::Pong(token) => {
                out.put_slice(token);
                PONG
            }
            Self::Chaff => CHAFF,
            Self::Bye => BYE,
        }
    }

    /// A RUMOR of an envelope.
    #[must_use]
    pub fn rumor(envelope: &Bytes) -> Frame {
        Self::Rumor { frame: Bytes::new(), envelope: envelope.clone() }.encode()
    }

    /// Takes the next message off a batch.
    ///
    /// # Errors
    ///
    /// What it is counted as; every one of them is a provable fault of the peer.
    pub fn decode_next(batch: &mut Bytes) -> Result<Self, Count> {
        if batch.len() < MESSAGE_HEADER_BYTES {
            return Err(Count::Malformed);
        }
        let kind = batch[0];
        let length = usize::from(u16::from_be_bytes([batch[1], batch[2]]));
        if batch.len() < MESSAGE_HEADER_BYTES + length {
            return Err(Count::Malformed);
        }
        let max = match kind {
            HELLO => 2 + 32 + 256 + 1 + RECORD_MAX_BYTES,
            RUMOR => ENVELOPE_MAX_BYTES,
            IHAVE => IHAVE_MAX_IDS * 8,
            GET => 4 + IDS_MAX * 32,
            PEERS => 1 + PEERS_MAX_RECORDS * RECORD_MAX_BYTES,
            RECON => RECON_MAX_BYTES + 128,
            ITEM => 4 + ENVELOPE_MAX_BYTES,
            PRUNE | BYE => 0,
            PING | PONG => 8,
            CHAFF => BODY_MAX_BYTES,
            _ => return Err(Count::UnknownKind),
        };
        if length > max {
            return Err(Count::Oversized);
        }
        let frame = batch.split_to(MESSAGE_HEADER_BYTES + length);
        let mut body = Reader(frame.slice(MESSAGE_HEADER_BYTES..));
        let message = Self::decode_body(kind, frame, &mut body).ok_or(Count::Malformed)?;
        if body.0.is_empty() { Ok(message) } else { Err(Count::Malformed) }
    }

    fn decode_body(kind: u8, frame: Frame, body: &mut Reader) -> Option<Self> {
        Some(match kind {
            HELLO => Self::Hello(Hello {
                version_min: body.u8()?,
                version_max: body.u8()?,
                link_key: body.array()?,
                seen_as: match body.text8()? {
                    text if text.is_empty() => None,
                    text => Some(std::str::from_utf8(&text).ok()?.parse().ok()?),
                },
                record: if body.bool()? { Some(PeerRecord::read(body)?) } else { None },
            }),
            RUMOR => Self::Rumor { frame, envelope: body.rest() },
            IHAVE => {
                let mut ids = Vec::with_capacity(body.0.len() / 8);
                while !body.0.is_empty() {
                    ids.push(u64::from_be_bytes(body.array()?));
                }
                Self::Ihave(ids)
            }
            GET => Self::Get { session: body.u32()?, ids: body.ids()? },
            PRUNE => Self::Prune,
            PEERS => {
                let count = usize::from(body.u8()?);
                if count > PEERS_MAX_RECORDS {
                    return None;
                }
                Self::Peers((0..count).map(|_| PeerRecord::read(body)).collect::<Option<_>>()?)
            }
            RECON => Self::Recon { session: body.u32()?, step: Recon::read(body)? },
            ITEM => Self::Item { session: body.u32()?, envelope: body.rest() },
            PING => Self::Ping(body.array()?),
            PONG => Self::Pong(body.array()?),
            CHAFF => {
                body.rest();
                Self::Chaff
            }
            BYE => Self::Bye,
            _ => return None,
        })
    }
}

impl Recon {
    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Open { scope, salt, message } => {
                out.put_u8(0);
                match scope {
                    WireScope::Window(range) => {
                        out.put_u8(0);
                        out.put_u32(range.from);
                        out.put_u32(range.to);
                    }
                    WireScope::Archive(proof) => {
                        out.put_u8(1);
                        out.put_slice(proof);
                    }
                }
                out.put_slice(salt);
                out.put_slice(message);
            }
            Self::Reply { proof, message } => {
                out.put_u8(1);
                out.put_slice(proof);
                out.put_slice(message);
            }
            Self::More(message) => {
                out.put_u8(2);
                out.put_slice(message);
            }
            Self::Have { last, ids } => {
                out.put_u8(3);
                out.put_u8(u8::from(*last));
                ids.iter().for_each(|id| out.put_slice(id));
            }
            Self::Served(taken) => {
                out.put_u8(4);
                out.put_u16(*taken);
            }
            Self::Done => out.put_u8(5),
            Self::Close => out.put_u8(6),
            Self::Refuse => out.put_u8(7),
        }
    }

    fn read(body: &mut Reader) -> Option<Self> {
        Some(match body.u8()? {
            0 => {
                let scope = match body.u8()? {
                    0 => WireScope::Window(ExpiryRange { from: body.hour()?, to: body.hour()? }),
                    1 => WireScope::Archive(body.array()?),
                    _ => return None,
                };
                Self::Open { scope, salt: body.array()?, message: body.recon()? }
            }
            1 => Self::Reply { proof: body.array()?, message: body.recon()? },
            2 => Self::More(body.recon()?),
            3 => Self::Have { last: body.bool()?, ids: body.ids()? },
            4 => Self::Served(u16::from_be_bytes(body.array()?)),
            5 => Self::Done,
            6 => Self::Close,
            7 => Self::Refuse,
            _ => return None,
        })
    }
}

pub(super) fn put_text8(out: &mut BytesMut, text: &str) {
    out.put_u8(u8::try_from(text.len()).expect("addresses are at most 255 bytes"));
    out.put_slice(text.as_bytes());
}

/// Reads a body front to back; `None` when it ends too early.
pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    fn take(&mut self, n: usize) -> Option<Bytes> {
        (self.0.len() >= n).then(|| self.0.split_to(n))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.as_ref().try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn hour(&mut self) -> Option<ExpiryHour> {
        self.u32()
    }

    fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn text8(&mut self) -> Option<Bytes> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn rest(&mut self) -> Bytes {
        self.0.split_to(self.0.len())
    }

    fn recon(&mut self) -> Option<Bytes> {
        (self.0.len() <= RECON_MAX_BYTES).then(|| self.rest())
    }

    fn ids(&mut self) -> Option<Vec<SaltedId>> {
        if !self.0.len().is_multiple_of(32) || self.0.len() > IDS_MAX * 32 {
            return None;
        }
        let mut ids = Vec::with_capacity(self.0.len() / 32);
        while !self.0.is_empty() {
            ids.push(self.array()?);
        }
        Some(ids)
    }
}
