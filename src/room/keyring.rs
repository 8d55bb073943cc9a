//! All rooms of a node.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rumormill_api::Millis;

use super::identity::Signers;
use super::locked;
use super::payload::{Claimed, Opened, verify_all};
use super::reject::Reject;
use super::room::Room;
use crate::proto::Envelope;

/// How many signatures a thread checks before it looks for more, and the least that there must be for each thread: to wake
/// one up costs as much as checking two.
const VERIFY_AT_ONCE: usize = 16;

/// What opening an envelope leads to: the message with its room's index, or `None` if it isn't ours.
pub type Opening = Result<Option<(usize, Opened)>, Reject>;

/// All rooms of a node, and which of them an envelope belongs to.
#[derive(Debug)]
pub struct Keyring {
    rooms: Vec<Room>,
    /// For all rooms together, so that what is kept of keys has one bound.
    signers: Signers,
}

impl Keyring {
    /// A keyring, in the config's order.
    #[must_use]
    pub fn new(rooms: Vec<Room>) -> Self {
        Self { rooms, signers: Signers::default() }
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
    pub fn open(&self, envelope: &Bytes, now_ms: Millis) -> Opening {
        let Some(unsealed) = self.unseal(envelope, now_ms)? else { return Ok(None) };
        self.verify_all(vec![unsealed]).next().transpose()
    }

    /// Whether an envelope is sealed with a key of one of the rooms: what a node can't read costs it no more than this.
    pub(crate) fn reads(&self, envelope: &Bytes, now_ms: Millis) -> bool {
        Envelope::parse(envelope).is_ok_and(|envelope| self.rooms.iter().any(|room| room.reads(&envelope, now_ms)))
    }

    /// The same as [`open`](Self::open) of each, in their order, on up to so many threads, this one included, when they
    /// are many.
    #[must_use]
    pub fn open_all(&self, envelopes: &[&Bytes], now_ms: Millis, threads: NonZero<usize>) -> Vec<Opening> {
        let mut openings = Vec::with_capacity(envelopes.len());
        let mut unsealed = Vec::new();
        for (at, envelope) in envelopes.iter().enumerate() {
            openings.push(match self.unseal(envelope, now_ms) {
                Ok(None) => Ok(None),
                Err(reject) => Err(reject),
                Ok(Some(claimed)) => {
                    unsealed.push((at, claimed));
                    Ok(None)
                }
            });
        }
        let helpers = (unsealed.len() / VERIFY_AT_ONCE).min(threads.get()).saturating_sub(1);
        let (waiting, verified) = (Mutex::new(unsealed), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let mut part = locked(&waiting);
                let rest = part.len().saturating_sub(VERIFY_AT_ONCE);
                let part = part.split_off(rest);
                if part.is_empty() {
                    return;
                }
                let (places, part): (Vec<_>, _) = part.into_iter().unzip();
                let part: Vec<_> = places.into_iter().zip(self.verify_all(part)).collect();
                locked(&verified).extend(part);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..helpers {
                // Without a thread more this one does it all.
                let _ = std::thread::Builder::new().name("rumor-verify".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        for (at, opened) in verified.into_inner().unwrap_or_else(PoisonError::into_inner) {
            openings[at] = opened.map(Some);
        }
        openings
    }

    /// The first half of opening, up to the signature, which is most of what it costs and can be
    /// checked on other threads.
    ///
    /// # Errors
    ///
    /// As of [`open`](Self::open), but for the signature.
    pub(crate) fn unseal(&self, envelope: &Bytes, now_ms: Millis) -> Result<Option<(usize, Claimed)>, Reject> {
        let envelope = Envelope::parse(envelope).map_err(|_| Reject::BadEnvelope)?;
        for (index, room) in self.rooms.iter().enumerate() {
            if let Some(claimed) = room.unseal(&envelope, now_ms)? {
                return Ok(Some((index, claimed)));
            }
        }
        Ok(None)
    }

    /// Whether what was unsealed is its senders'.
    fn verify_all(&self, unsealed: Vec<(usize, Claimed)>) -> impl Iterator<Item = Result<(usize, Opened), Reject>> {
        let (rooms, claimed): (Vec<_>, Vec<_>) = unsealed.into_iter().unzip();
        rooms.into_iter().zip(verify_all(claimed, &self.signers)).map(|(room, opened)| Ok((room, opened?)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::RoomState;
    use super::super::testing::{NOW_MS, alice, bob, room, seal_one};
    use super::*;

    /// Messages of both rooms and of a third, altered ones, and what is no envelope.
    fn envelopes(count: usize) -> Vec<Bytes> {
        let (rooms, mut states) = ([room(1), room(2), room(3)], vec![RoomState::default(); 3]);
        let one = |n: usize, states: &mut Vec<RoomState>| {
            let of = n % 3;
            let who = if n.is_multiple_of(2) { alice() } else { bob() };
            let mut bytes = seal_one(&rooms[of], &who, &mut states[of], &format!("words {n}")).envelope.to_vec();
            match n % 7 {
                5 => *bytes.last_mut().unwrap() ^= 1,
                6 => bytes.truncate(100),
                _ => {}
            }
            bytes.into()
        };
        (0..count).map(|n| one(n, &mut states)).collect()
    }

    #[test]
    fn many_at_once_are_opened_as_one_by_one_on_however_many_threads() {
        let keyring = Keyring::new(vec![room(1), room(2)]);
        for count in [0, 1, 2 * VERIFY_AT_ONCE, 20 * VERIFY_AT_ONCE] {
            let envelopes = envelopes(count);
            let one_by_one: Vec<_> = envelopes.iter().map(|envelope| keyring.open(envelope, NOW_MS)).collect();
            let all: Vec<_> = envelopes.iter().collect();
            for threads in [1, 2, 5] {
                assert_eq!(keyring.open_all(&all, NOW_MS, NonZero::new(threads).unwrap()), one_by_one);
            }
        }
    }
}
