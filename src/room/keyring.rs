//! All rooms of a node.

use bytes::Bytes;
use rumormill_api::Millis;

use super::payload::Opened;
use super::reject::Reject;
use super::room::Room;
use crate::proto::Envelope;

/// All rooms of a node, and which of them an envelope belongs to.
#[derive(Debug)]
pub struct Keyring {
    rooms: Vec<Room>,
}

impl Keyring {
    /// A keyring, in the config's order.
    #[must_use]
    pub const fn new(rooms: Vec<Room>) -> Self {
        Self { rooms }
    }

    /// The rooms, in the config's order.
    #[must_use]
    pub fn rooms(&self) -> &[Room] {
        &self.rooms
    }

    /// A room by its name in the config, with its index.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(usize, &Room)> {
        self.rooms.iter().enumerate().find(|(_, room)| &**room.name() == name)
    }

    /// Opens an envelope with whichever room's key fits, and says which room's. `None`: it isn't ours, as most aren't.
    ///
    /// # Errors
    ///
    /// [`Reject`] when it is sealed with a key of ours and isn't a proper message, or when it isn't an envelope at all.
    pub fn open(&self, envelope: &Bytes, now_ms: Millis) -> Result<Option<(usize, Opened)>, Reject> {
        let envelope = Envelope::parse(envelope).map_err(|_| Reject::BadEnvelope)?;
        for (index, room) in self.rooms.iter().enumerate() {
            if let Some(opened) = room.open_parsed(&envelope, now_ms)? {
                return Ok(Some((index, opened)));
            }
        }
        Ok(None)
    }
}
