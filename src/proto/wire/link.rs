//! Link messages.

use bytes::{Buf, Bytes};
use rumormill_api::{Frame, MsgId, PeerAddr};
use siphasher::sip::SipHasher24;

use super::codec::{Reader, put_blob, put_short_blob};
use super::envelope::ENVELOPE_MAX_BYTES;
use super::recon::{
    GET_MAX_IDS, HAVE_MAX_IDS, RECON_MAX_BYTES, RECON_MIN_BYTES, RECON_OVERHEAD_BYTES, ReconBody, SaltedId, SessionRef,
};
use super::record::{PEER_RECORD_MAX_BYTES, parse_addr};

/// The newest link protocol that this build speaks.
pub const LINK_VERSION: u8 = 3;
/// The oldest one: without SALT, IHAVE, IWANT, GRAFT and PRUNE. A link that agrees on it, or on version 2, isn't reconciled with.
pub const LINK_VERSION_MIN: u8 = 1;
/// Bytes before a link message's body.
pub const MESSAGE_HEADER_BYTES: usize = 3;
/// The longest HELLO body.
pub const HELLO_MAX_BYTES: usize = 1_024;
/// How many ids one IHAVE, IWANT, GRAFT or PRUNE may hold.
pub const IHAVE_MAX_IDS: usize = 1_024;
/// Length of the key of [`ShortId`]s, in bytes.
pub const SALT_KEY_BYTES: usize = 16;
/// How many records one PEERS may hold.
pub const PEERS_MAX_RECORDS: usize = 64;
/// The longest CHAFF body.
pub const CHAFF_MAX_BYTES: usize = 1_024;

const PROBE: u8 = 1;

/// What is provably wrong with a link message: an honest peer doesn't send it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Cut short, with trailing bytes, or with a field that makes no sense.
    #[error("a malformed link message")]
    Malformed,
    /// Longer than its kind may be.
    #[error("an oversized link message")]
    Oversized,
    /// Of a kind that this version doesn't know.
    #[error("a link message of an unknown kind")]
    UnknownKind,
}

macro_rules! kinds {
    ($($name:ident = $code:literal, max $max:expr, $doc:literal;)*) => {
        /// The kind of a link message.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind {
            $(#[doc = $doc] $name = $code,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The longest body of this kind, in bytes.
            #[must_use]
            pub const fn max_bytes(self) -> usize {
                match self {
                    $(Self::$name => $max,)*
                }
            }
        }
    };
}

const SESSION_BYTES: usize = 5;

/// How links from version 2 on speak of a live envelope: SipHash-2-4 (Aumasson and Bernstein 2012) of its id, under the key
/// that the *reader* of the message has told in SALT. Nobody but a node's own peers can look for ids that collide there,
/// and what a collision costs is a copy that comes later, by repair.
pub type ShortId = u64;

/// The [`ShortId`] of an envelope under a reader's key.
#[must_use]
pub fn short_id(key: &[u8; SALT_KEY_BYTES], id: &MsgId) -> ShortId {
    SipHasher24::new_with_key(key).hash(&id.0)
}

kinds! {
    Hello = 1, max HELLO_MAX_BYTES, "First on every link, once.";
    Rumor = 2, max ENVELOPE_MAX_BYTES, "An envelope, live.";
    IHaveWhole = 3, max IHAVE_MAX_IDS * 32, "Whole ids of envelopes that the sender has: of version 1, which floods, and never sent.";
    Get = 4, max SESSION_BYTES + GET_MAX_IDS * 32, "Asks for envelopes within a session.";
    PruneAll = 5, max 0, "Asks for announcements alone: of version 1, which floods, and never sent.";
    Peers = 6, max PEERS_MAX_RECORDS * (2 + PEER_RECORD_MAX_BYTES), "Signed records of other nodes.";
    Recon = 7, max RECON_OVERHEAD_BYTES + RECON_MAX_BYTES, "Reconciliation.";
    Item = 8, max SESSION_BYTES + ENVELOPE_MAX_BYTES, "An envelope that was asked for.";
    Ping = 9, max 8, "Asks for a sign of life.";
    Pong = 10, max 8, "A sign of life.";
    Chaff = 11, max CHAFF_MAX_BYTES, "Nothing, to hide when there is something.";
    Bye = 12, max 1, "The sender closes the link.";
    Salt = 13, max SALT_KEY_BYTES, "The key under which its sender wants ids to be shortened; it takes announcements from then on.";
    IHave = 14, max 4 + IHAVE_MAX_IDS * 8, "Announces live envelopes, numbered one after the other.";
    IWant = 15, max IHAVE_MAX_IDS * 4, "Asks for announced envelopes by their numbers, and for full copies of their like.";
    Graft = 16, max IHAVE_MAX_IDS * 8, "Asks for full copies of envelopes like these, or (no ids) of all.";
    Prune = 17, max IHAVE_MAX_IDS * 8, "These full copies were more than were needed: announcements do for their like.";
}

const _: () = assert!(HAVE_MAX_IDS * 32 + SESSION_BYTES < RECON_MAX_BYTES, "a full HAVE fits a RECON");
const _: () = assert!(
    Kind::Recon.max_bytes() + MESSAGE_HEADER_BYTES <= rumormill_api::transport::BATCH_MAX_BYTES,
    "the largest message fits a frame"
);

/// One link message, not decoded yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawMessage {
    /// Its kind.
    pub kind: Kind,
    /// All of it, header included: what is sent on when it is relayed.
    pub frame: Frame,
}

impl RawMessage {
    /// What follows the header.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.frame.slice(MESSAGE_HEADER_BYTES..)
    }
}

/// The messages of a frame, as slices of it. Ends at the first fault.
#[derive(Clone, Debug)]
pub struct Batch {
    rest: Bytes,
}

impl Batch {
    /// The messages in `bytes`.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    fn read(&mut self) -> Result<RawMessage, Fault> {
        let [code, high, low] = *self.rest.first_chunk().ok_or(Fault::Malformed)?;
        let kind = Kind::from_code(code).ok_or(Fault::UnknownKind)?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > kind.max_bytes() {
            return Err(Fault::Oversized);
        }
        if self.rest.len() < MESSAGE_HEADER_BYTES + len {
            return Err(Fault::Malformed);
        }
        Ok(RawMessage { kind, frame: self.rest.split_to(MESSAGE_HEADER_BYTES + len) })
    }
}

impl Iterator for Batch {
    type Item = Result<RawMessage, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.rest.has_remaining() {
            return None;
        }
        let message = self.read();
        if message.is_err() {
            self.rest.clear();
        }
        Some(message)
    }
}

/// The first message on every link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The oldest link protocol that the sender speaks.
    pub version_min: u8,
    /// The newest.
    pub version_max: u8,
    /// The sender dialled only to see whether someone answers, and closes the link after the other HELLO.
    pub probe: bool,
    /// The largest reconciliation message that it takes, in bytes.
    pub recon_max: u16,
    /// The Ed25519 form of its link key; its X25519 form is what the handshake proved.
    pub link_key: [u8; 32],
    /// Where it sees the other: the address that it dialled, or the one that the connection comes from.
    pub seen_as: PeerAddr,
    /// Its signed record, if it can be dialled. Not decoded: a malformed one is a fault of the record, not the link's.
    pub record: Option<Bytes>,
}

/// Why a peer closes a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByeReason {
    /// It is stopping.
    Stopping,
    /// There is another link between the two.
    Duplicate,
    /// The link was a probe.
    Probe,
    /// It has too many links.
    Full,
    /// The other end did what an honest peer doesn't.
    Fault,
    /// A reason that this version doesn't know.
    Other(u8),
}

impl ByeReason {
    const fn code(self) -> u8 {
        match self {
            Self::Stopping => 0,
            Self::Duplicate => 1,
            Self::Probe => 2,
            Self::Full => 3,
            Self::Fault => 4,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Stopping,
            1 => Self::Duplicate,
            2 => Self::Probe,
            3 => Self::Full,
            4 => Self::Fault,
            code => Self::Other(code),
        }
    }
}

/// A link message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// First on every link, once.
    Hello(Hello),
    /// An envelope, live; its structure isn't checked yet.
    Rumor(Bytes),
    /// Whole ids of envelopes that the sender has; of version 1.
    IHaveWhole(Vec<MsgId>),
    /// Asks for envelopes within a session.
    Get(SessionRef, Vec<SaltedId>),
    /// Asks for announcements alone; of version 1.
    PruneAll,
    /// Signed records of other nodes, not decoded yet.
    Peers(Vec<Bytes>),
    /// Reconciliation.
    Recon(SessionRef, ReconBody),
    /// An envelope that was asked for; its structure isn't checked yet.
    Item(SessionRef, Bytes),
    /// Asks for a sign of life.
    Ping(u64),
    /// A sign of life, with the number of the PING.
    Pong(u64),
    /// Nothing.
    Chaff(Bytes),
    /// The sender closes the link.
    Bye(ByeReason),
    /// The key of [`ShortId`]s that are meant for its sender.
    Salt([u8; SALT_KEY_BYTES]),
    /// Announces envelopes: the number of the first, and their ids, at least one. Numbers go on by one an id, and wrap.
    IHave(u32, Vec<ShortId>),
    /// Asks for announced envelopes by their numbers, at least one.
    IWant(Vec<u32>),
    /// Asks for full copies of envelopes like these; of all, if there is none.
    Graft(Vec<ShortId>),
    /// These full copies were more than were needed; at least one.
    Prune(Vec<ShortId>),
}

impl Message {
    /// Decodes a message's body.
    ///
    /// # Errors
    ///
    /// [`Fault::Malformed`].
    pub fn decode(raw: &RawMessage) -> Result<Self, Fault> {
        let mut reader = Reader::new(raw.body());
        let message = match raw.kind {
            Kind::Hello => return hello(reader).map(Self::Hello),
            Kind::Rumor => return Ok(Self::Rumor(reader.rest())),
            Kind::IHaveWhole => {
                let ids = reader.rest_of_ids(IHAVE_MAX_IDS)?;
                return Ok(Self::IHaveWhole(ids.into_iter().map(MsgId).collect()));
            }
            Kind::IHave => return Ok(Self::IHave(reader.u32()?, some(reader.rest_of(u64::from_be_bytes))?)),
            Kind::IWant => return Ok(Self::IWant(some(reader.rest_of(u32::from_be_bytes))?)),
            Kind::Graft => return reader.rest_of(u64::from_be_bytes).map(Self::Graft),
            Kind::Prune => return Ok(Self::Prune(some(reader.rest_of(u64::from_be_bytes))?)),
            Kind::Salt => Self::Salt(reader.array()?),
            Kind::Get => {
                let session = SessionRef::read(&mut reader)?;
                let ids = reader.rest_of_ids(GET_MAX_IDS)?;
                return if ids.is_empty() { Err(Fault::Malformed) } else { Ok(Self::Get(session, ids)) };
            }
            Kind::Peers => return peers(reader).map(Self::Peers),
            Kind::Recon => {
                let session = SessionRef::read(&mut reader)?;
                let body = ReconBody::read(reader)?;
                return match body.sender() {
                    Some(sender) if sender != session.sender => Err(Fault::Malformed),
                    _ => Ok(Self::Recon(session, body)),
                };
            }
            Kind::Item => {
                let session = SessionRef::read(&mut reader)?;
                return Ok(Self::Item(session, reader.rest()));
            }
            Kind::Chaff => return Ok(Self::Chaff(reader.rest())),
            Kind::PruneAll => Self::PruneAll,
            Kind::Ping => Self::Ping(reader.u64()?),
            Kind::Pong => Self::Pong(reader.u64()?),
            Kind::Bye => Self::Bye(ByeReason::from_code(reader.u8()?)),
        };
        reader.finish()?;
        Ok(message)
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Rumor(_) => Kind::Rumor,
            Self::IHaveWhole(_) => Kind::IHaveWhole,
            Self::Get(..) => Kind::Get,
            Self::PruneAll => Kind::PruneAll,
            Self::Peers(_) => Kind::Peers,
            Self::Recon(..) => Kind::Recon,
            Self::Item(..) => Kind::Item,
            Self::Ping(_) => Kind::Ping,
            Self::Pong(_) => Kind::Pong,
            Self::Chaff(_) => Kind::Chaff,
            Self::Bye(_) => Kind::Bye,
            Self::Salt(_) => Kind::Salt,
            Self::IHave(..) => Kind::IHave,
            Self::IWant(_) => Kind::IWant,
            Self::Graft(_) => Kind::Graft,
            Self::Prune(_) => Kind::Prune,
        }
    }

    /// The message's bytes, header included.
    #[must_use]
    pub fn encode(&self) -> Frame {
        let mut body = Vec::new();
        match self {
            Self::Hello(hello) => put_hello(&mut body, hello),
            Self::Rumor(bytes) | Self::Chaff(bytes) => return frame(self.kind(), bytes),
            Self::IHaveWhole(ids) => ids.iter().for_each(|id| body.extend_from_slice(&id.0)),
            Self::Get(session, ids) => {
                session.put(&mut body);
                ids.iter().for_each(|id| body.extend_from_slice(id));
            }
            Self::PruneAll => {}
            Self::Peers(records) => records.iter().for_each(|record| put_blob(&mut body, record)),
            Self::Recon(session, recon) => {
                session.put(&mut body);
                recon.put(&mut body);
            }
            Self::Item(session, envelope) => {
                session.put(&mut body);
                body.extend_from_slice(envelope);
            }
            Self::Ping(number) | Self::Pong(number) => body.extend_from_slice(&number.to_be_bytes()),
            Self::Bye(reason) => body.push(reason.code()),
            Self::Salt(key) => body.extend_from_slice(key),
            Self::IHave(first, ids) => {
                body.extend_from_slice(&first.to_be_bytes());
                put_short_ids(&mut body, ids);
            }
            Self::IWant(numbers) => numbers.iter().for_each(|number| body.extend_from_slice(&number.to_be_bytes())),
            Self::Graft(ids) | Self::Prune(ids) => put_short_ids(&mut body, ids),
        }
        frame(self.kind(), &body)
    }
}

/// Whether a link message is of reconciliation, which gives way to the live flood.
#[must_use]
pub fn is_bulk(frame: &Frame) -> bool {
    let code = frame.first().copied().unwrap_or(0);
    matches!(Kind::from_code(code), Some(Kind::Recon | Kind::Get | Kind::Item))
}

/// A link message out of its kind and body. The body must not be longer than [`Kind::max_bytes`].
#[must_use]
pub fn frame(kind: Kind, body: &[u8]) -> Frame {
    debug_assert!(body.len() <= kind.max_bytes(), "{kind:?} of {} bytes", body.len());
    let len = u16::try_from(body.len()).expect("bodies are shorter than a frame");
    let mut out = Vec::with_capacity(MESSAGE_HEADER_BYTES + body.len());
    out.push(kind as u8);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(body);
    out.into()
}

fn put_short_ids(out: &mut Vec<u8>, ids: &[ShortId]) {
    ids.iter().for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
}

/// A list that mustn't be empty.
fn some<T>(list: Result<Vec<T>, Fault>) -> Result<Vec<T>, Fault> {
    list.and_then(|list| if list.is_empty() { Err(Fault::Malformed) } else { Ok(list) })
}

fn put_hello(out: &mut Vec<u8>, hello: &Hello) {
    out.extend_from_slice(&[hello.version_min, hello.version_max, if hello.probe { PROBE } else { 0 }]);
    out.extend_from_slice(&hello.recon_max.to_be_bytes());
    out.extend_from_slice(&hello.link_key);
    put_short_blob(out, hello.seen_as.as_str().as_bytes());
    put_blob(out, hello.record.as_deref().unwrap_or_default());
}

fn hello(mut reader: Reader) -> Result<Hello, Fault> {
    let (version_min, version_max) = (reader.u8()?, reader.u8()?);
    let flags = reader.u8()?;
    let recon_max = reader.u16()?;
    let link_key = reader.array()?;
    let seen_as = parse_addr(&reader.short_blob()?)?;
    let record = reader.blob()?;
    reader.finish()?;
    if version_min > version_max || flags > PROBE || usize::from(recon_max) < RECON_MIN_BYTES {
        return Err(Fault::Malformed);
    }
    let record = (!record.is_empty()).then_some(record);
    Ok(Hello { version_min, version_max, probe: flags == PROBE, recon_max, link_key, seen_as, record })
}

fn peers(mut reader: Reader) -> Result<Vec<Bytes>, Fault> {
    let mut records = Vec::new();
    while reader.remaining() > 0 {
        let record = reader.blob()?;
        if records.len() == PEERS_MAX_RECORDS || record.len() > PEER_RECORD_MAX_BYTES {
            return Err(Fault::Malformed);
        }
        records.push(record);
    }
    Ok(records)
}
