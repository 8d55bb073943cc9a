//! What a row of the envelopes' table says: where the envelope stands, then its bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | [check](Places::read) of what follows, up to the envelope |
//! | 2 | how many rooms, and in the topmost bit whether it is on the window |
//! | 4 | expiry |
//! | 8 | source, if it is on the window |
//! | 16 each | rooms: number, Lamport |
//! | the rest | the envelope |
//!
//! All numbers are little-endian. With one room that is 34 bytes: seven envelopes of 512 bytes still fill a page.

use rumormill_api::{Error, ErrorKind, ExpiryHour, MsgId, RoomTag, SourceGroup};

use crate::NAME;
use crate::fault::Tried;

/// How many archives an envelope may stand in.
pub(crate) const ROOMS_MAX: usize = ON_WINDOW as usize - 1;

const ON_WINDOW: u16 = 1 << 15;
const CHECK_BYTES: usize = 4;
const FIXED_BYTES: usize = CHECK_BYTES + 2 + 4;
const SOURCE_BYTES: usize = 8;
const ROOM_BYTES: usize = 16;

/// A room within this file: the first half of its tag, which is a keyed hash. That two of a thousand rooms share it has a
/// probability of 3 × 10⁻¹⁴.
pub(crate) const fn room_number(room: &RoomTag) -> u64 {
    halves(room).0
}

/// The two halves of a tag, in its order.
pub(crate) const fn halves(room: &RoomTag) -> (u64, u64) {
    let both = u128::from_be_bytes(room.0);
    ((both >> 64) as u64, both as u64)
}

pub(crate) const fn tag(number: u64, rest: u64) -> RoomTag {
    RoomTag((((number as u128) << 64) | rest as u128).to_be_bytes())
}

/// Where an envelope stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Places {
    pub(crate) expiry: ExpiryHour,
    /// Where it came from, if it is on the window.
    pub(crate) window: Option<SourceGroup>,
    /// The rooms whose archives it stands in, with the message's Lamport clock.
    pub(crate) rooms: Vec<(u64, u64)>,
}

impl Places {
    /// Whether it stands nowhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.window.is_none() && self.rooms.is_empty()
    }

    /// The message's Lamport clock in a room's archive.
    pub(crate) fn lamport(&self, room: u64) -> Option<u64> {
        self.rooms.iter().find(|(here, _)| *here == room).map(|(_, lamport)| *lamport)
    }

    /// Takes a row apart: where it stands, and the envelope's bytes, which aren't looked at. `None` where the check says
    /// that it isn't what was written.
    pub(crate) fn read<'r>(id: &MsgId, row: &'r [u8]) -> Option<(Self, &'r [u8])> {
        let (check, rest) = row.split_first_chunk::<CHECK_BYTES>()?;
        let (counts, places) = rest.split_first_chunk::<2>()?;
        let counts = u16::from_le_bytes(*counts);
        let (on_window, rooms) = (counts & ON_WINDOW != 0, usize::from(counts & !ON_WINDOW));
        let length = 2 + 4 + if on_window { SOURCE_BYTES } else { 0 } + rooms * ROOM_BYTES;
        let (checked, envelope) = rest.split_at_checked(length)?;
        if *check != place_check(id, checked) {
            return None;
        }
        let (expiry, mut places) = places.split_first_chunk::<4>()?;
        let mut next = || -> Option<u64> {
            let (number, rest) = places.split_first_chunk::<8>()?;
            places = rest;
            Some(u64::from_le_bytes(*number))
        };
        let window = if on_window { Some(next()?) } else { None };
        let rooms = (0..rooms).map(|_| Some((next()?, next()?))).collect::<Option<_>>()?;
        Some((Self { expiry: u32::from_le_bytes(*expiry), window, rooms }, envelope))
    }

    /// What stands before the envelope's bytes.
    ///
    /// # Errors
    ///
    /// More than [`ROOMS_MAX`] rooms.
    pub(crate) fn head(&self, id: &MsgId) -> Tried<Vec<u8>> {
        let rooms = u16::try_from(self.rooms.len()).ok().filter(|rooms| usize::from(*rooms) <= ROOMS_MAX);
        let Some(rooms) = rooms else {
            let text =
                format!("the envelope {} stands in {} rooms, at most {ROOMS_MAX} fit", id.short(), self.rooms.len());
            return Err(Error::new(ErrorKind::Invalid, NAME, text).into());
        };
        let mut head = Vec::with_capacity(FIXED_BYTES + SOURCE_BYTES + self.rooms.len() * ROOM_BYTES);
        head.extend([0; CHECK_BYTES]);
        head.extend((rooms | if self.window.is_some() { ON_WINDOW } else { 0 }).to_le_bytes());
        head.extend(self.expiry.to_le_bytes());
        self.window.iter().for_each(|source| head.extend(source.to_le_bytes()));
        for (room, lamport) in &self.rooms {
            head.extend(room.to_le_bytes());
            head.extend(lamport.to_le_bytes());
        }
        let check = place_check(id, &head[CHECK_BYTES..]);
        head[..CHECK_BYTES].copy_from_slice(&check);
        Ok(head)
    }
}

/// The envelope's bytes in a row, wherever they begin: also where what stands before them is damaged.
pub(crate) fn envelope_in<'r>(id: &MsgId, row: &'r [u8]) -> Option<&'r [u8]> {
    /// Nearly every envelope stands in one room, or none.
    const LIKELY_ROOMS_MAX: usize = 2;
    let whole = |envelope: &&[u8]| MsgId::of(envelope) == *id;
    if let Some((_, envelope)) = Places::read(id, row) {
        return Some(envelope).filter(whole);
    }
    let starts = (0..=LIKELY_ROOMS_MAX).flat_map(|rooms| [0, SOURCE_BYTES].map(|source| source + rooms * ROOM_BYTES));
    starts.filter_map(|more| row.get(FIXED_BYTES + more..)).find(whole)
}

/// What an entry of the window's order is checked by where the rest is damaged: an index has no hash of its own.
pub(crate) fn window_check(expiry: ExpiryHour, id: &MsgId, source: SourceGroup) -> u32 {
    u32::from_le_bytes(place_check(id, &[&expiry.to_le_bytes()[..], &source.to_le_bytes()].concat()))
}

/// The first bytes of BLAKE3 over id and place.
fn place_check(id: &MsgId, place: &[u8]) -> [u8; CHECK_BYTES] {
    let [a, b, c, d, ..] = MsgId::of(&[&id.0, place].concat()).0;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ENVELOPE: &[u8] = b"sealed";

    fn id() -> MsgId {
        MsgId::of(ENVELOPE)
    }

    fn row(places: &Places) -> Vec<u8> {
        [places.head(&id()).unwrap(), ENVELOPE.to_vec()].concat()
    }

    fn samples() -> Vec<Places> {
        let rooms: Vec<_> = (0..300).map(|n| (u64::MAX - n, n)).collect();
        let mut samples = Vec::new();
        for count in [0, 1, 2, 300] {
            for window in [None, Some(0), Some(u64::MAX)] {
                samples.push(Places { expiry: 70_000 + count as u32, window, rooms: rooms[..count].to_vec() });
            }
        }
        samples
    }

    #[test]
    fn a_row_says_where_the_envelope_stands_and_has_its_bytes() {
        for places in samples() {
            assert_eq!(Places::read(&id(), &row(&places)), Some((places.clone(), ENVELOPE)));
        }
    }

    #[test]
    fn with_one_room_seven_small_envelopes_fill_a_page() {
        // redb: four bytes a page, and four for each row's end.
        const PAGE_BYTES: usize = 4_096;
        let places = Places { expiry: 1, window: Some(2), rooms: vec![(3, 4)] };
        let head = places.head(&id()).unwrap().len();
        assert!(4 + 7 * (4 + 32 + head + 512) <= PAGE_BYTES, "{head}");
    }

    #[test]
    fn a_bit_that_changed_is_noticed_and_the_envelope_found_all_the_same() {
        for places in samples().into_iter().filter(|places| places.rooms.len() <= 2) {
            let whole = row(&places);
            for bit in 0..(whole.len() - ENVELOPE.len()) * 8 {
                let mut row = whole.clone();
                row[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Places::read(&id(), &row), None, "bit {bit} of {places:?}");
                assert_eq!(envelope_in(&id(), &row), Some(ENVELOPE), "bit {bit} of {places:?}");
            }
            assert_eq!(Places::read(&MsgId([7; 32]), &whole), None, "another id's row");
            for length in 0..whole.len() - ENVELOPE.len() {
                assert_eq!(Places::read(&id(), &whole[..length]), None);
                assert_eq!(envelope_in(&id(), &whole[..length]), None);
            }
        }
    }

    #[test]
    fn as_many_rooms_as_fit_and_not_one_more() {
        let mut places = Places { rooms: vec![(1, 2); ROOMS_MAX], ..Places::default() };
        assert_eq!(Places::read(&id(), &row(&places)).unwrap().0, places);
        places.rooms.push((1, 2));
        assert!(places.head(&id()).is_err());
    }

    #[test]
    fn a_tag_is_its_two_halves() {
        let room = RoomTag(std::array::from_fn(|n| n as u8));
        let (number, rest) = halves(&room);
        assert_eq!((number, rest), (0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f));
        assert_eq!(tag(number, rest), room);
        assert_eq!(room_number(&room), number);
    }

    #[test]
    fn the_check_of_the_windows_order_is_of_all_three() {
        let check = window_check(1, &id(), 2);
        assert_ne!(check, window_check(2, &id(), 2));
        assert_ne!(check, window_check(1, &id(), 3));
        assert_ne!(check, window_check(1, &MsgId([7; 32]), 2));
    }
}
