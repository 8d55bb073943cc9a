//! Identifiers and units.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// A point in time or a duration, in milliseconds. Whether it counts from the Unix epoch or from the node's start is
/// said where it is used.
pub type Millis = u64;

/// An envelope's expiry, in whole hours since the Unix epoch.
pub type ExpiryHour = u32;

/// Which link (or group of links) an envelope came from: what the window's eviction is fair by. `0` is this node itself.
pub type SourceGroup = u64;

/// BLAKE3 of all of an envelope's bytes, so that a corrupted copy can never shadow the good one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MsgId(pub [u8; 32]);

impl MsgId {
    /// The id of an envelope: the BLAKE3 hash of its bytes.
    #[must_use]
    pub fn of(envelope: &[u8]) -> Self {
        Self(*blake3::hash(envelope).as_bytes())
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal digits: for logs and for people.
    #[must_use]
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Display for MsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for MsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MsgId({})", self.short())
    }
}

impl FromStr for MsgId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "ids", "a message id is 64 lower-case hexadecimal digits"))
    }
}

/// A room as the store knows it: a keyed hash of the room's id under a key of this node, so that a stolen disk shows no
/// room id and two nodes' disks can't be matched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomTag(pub [u8; 16]);

impl fmt::Debug for RoomTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomTag({})", HEXLOWER.encode(&self.0[..4]))
    }
}

/// One link of this node, never reused while the node runs. Ids are given out by [`crate::LinkSink::next_link`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// Longest textual address that is accepted, in bytes.
pub const PEER_ADDR_MAX_BYTES: usize = 255;

/// Where a node can be dialled: `scheme:rest`, for example `tcp:127.0.0.1:4001` or `memory:alice`.
///
/// Holds only printable ASCII without spaces, at most [`PEER_ADDR_MAX_BYTES`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerAddr(Box<str>);

impl PeerAddr {
    /// Builds an address out of its two parts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the result isn't a valid address.
    pub fn new(scheme: &str, rest: &str) -> Result<Self, Error> {
        format!("{scheme}:{rest}").parse()
    }

    /// The transport that can dial it.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// What comes after the scheme: the transport's own notation.
    #[must_use]
    pub fn rest(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, rest)| rest)
    }

    /// The whole address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PeerAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let valid = text.len() <= PEER_ADDR_MAX_BYTES
            && text.bytes().all(|b| b.is_ascii_graphic())
            && text.split_once(':').is_some_and(|(scheme, rest)| {
                !rest.is_empty()
                    && !scheme.is_empty()
                    && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            });
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(Error::new(
                ErrorKind::Invalid,
                "ids",
                "an address is SCHEME:REST in printable ASCII, at most 255 bytes, for example tcp:127.0.0.1:4001",
            ))
        }
    }
}

impl TryFrom<String> for PeerAddr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<PeerAddr> for String {
    fn from(addr: PeerAddr) -> Self {
        addr.0.into()
    }
}
