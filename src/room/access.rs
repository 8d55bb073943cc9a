//! How much of a room a member holds.

use std::fmt;

use zeroize::Zeroizing;

use super::cbor::{Fault, Reader, Writer};
use super::keys::{ChainKey, RoomId, proof_key};
use super::secret::RoomSecret;
use super::storage::{Entropy, StateError, StorageKey};

const FORMAT_VERSION: u64 = 1;

/// How much of a room a member holds.
#[derive(Clone)]
pub enum Access {
    /// The secret: all of the room's past and future.
    Secret(RoomSecret),
    /// A chain key: from its epoch on, and nothing before.
    From(Ratchet),
}

/// A place in a room's chain: reads from `epoch` on. What an invite "from now on" carries, and all that remains of an
/// `ephemeral` room once older keys are erased: persist it in the secret's stead.
#[derive(Clone, PartialEq, Eq)]
pub struct Ratchet {
    /// The first epoch that it reads, counted from `born_day`.
    pub epoch: u32,
    /// The chain key of that epoch.
    pub chain_key: ChainKey,
    /// The room's id.
    pub room_id: RoomId,
    /// The room's first day, in days since the Unix epoch.
    pub born_day: u32,
    /// The archive's proof key, which a member who once held the secret keeps. It opens nothing.
    pub proof_key: Option<[u8; 32]>,
}

impl Access {
    /// The room's id.
    #[must_use]
    pub fn room_id(&self) -> RoomId {
        match self {
            Self::Secret(secret) => RoomId::of(secret),
            Self::From(ratchet) => ratchet.room_id,
        }
    }

    /// The key that proves membership to the room's archive.
    #[must_use]
    pub fn proof_key(&self) -> Option<[u8; 32]> {
        match self {
            Self::Secret(secret) => Some(proof_key(secret)),
            Self::From(ratchet) => ratchet.proof_key,
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Access::Secret(…)",
            Self::From(_) => "Access::From(…)",
        })
    }
}

impl fmt::Debug for Ratchet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ratchet {{ epoch: {}, born_day: {}, .. }}", self.epoch, self.born_day)
    }
}

impl Ratchet {
    /// The ratchet as it is stored, sealed with the node's key. `label` binds it to its place, say the room's name in
    /// the config.
    #[must_use]
    pub fn encode(&self, label: &str, key: &StorageKey, entropy: &mut Entropy<'_>) -> Vec<u8> {
        let mut out = Writer::default();
        out.array(6).uint(FORMAT_VERSION).uint(self.epoch.into()).uint(self.born_day.into());
        out.bytes(&self.chain_key.0).bytes(&self.room_id.0);
        out.bytes(self.proof_key.as_ref().map_or(&[], |key| key));
        let encoded = Zeroizing::new(out.finish());
        key.seal_state(&purpose(label), &encoded, entropy)
    }

    /// Reads a stored ratchet.
    ///
    /// # Errors
    ///
    /// [`StateError`]: when it was altered, has another label or is another node's, or of another version.
    pub fn decode(sealed: &[u8], label: &str, key: &StorageKey) -> Result<Self, StateError> {
        let state = key.open_state(&purpose(label), sealed)?;
        let mut reader = Reader::new(&state).map_err(|_| StateError::Malformed)?;
        let fields = reader.array().map_err(|_| StateError::Malformed)?;
        if reader.uint() != Ok(FORMAT_VERSION) {
            return Err(StateError::Version);
        }
        if fields != 6 {
            return Err(StateError::Malformed);
        }
        Self::read(&mut reader).map_err(|_| StateError::Malformed)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (epoch, born_day) = (reader.u32()?, reader.u32()?);
        let (chain_key, room_id) = (ChainKey(reader.array_of()?), RoomId(reader.array_of()?));
        let proof_key = match reader.bytes()? {
            [] => None,
            bytes => Some(bytes.try_into().map_err(|_| Fault::WrongType)?),
        };
        Ok(Self { epoch, chain_key, room_id, born_day, proof_key })
    }
}

fn purpose(label: &str) -> Vec<u8> {
    [b"room ratchet\0", label.as_bytes()].concat()
}
