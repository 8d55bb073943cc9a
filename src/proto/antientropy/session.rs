//! One reconciliation session: what it compares, asks for and serves.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use rumormill_api::{ExpiryHour, ExpiryRange, LinkId, Millis, MsgId, Shelf};

use super::super::wire::{Role, SALT_BYTES, SaltedId};

/// Ids that one session may find lacking; the rest is left to the next.
pub const NEED_MAX_IDS: usize = 1 << 17;
/// Messages that comparing may take.
pub const ROUNDS_MAX: u32 = 256;

/// How far a session is.
#[derive(Debug)]
pub(super) enum Stage {
    /// The store lists the ids; a responder keeps the first message meanwhile.
    Listing(Bytes),
    /// The two sets are compared.
    Comparing(Box<Negentropy<'static, NegentropyStorageVector>>),
    /// What either lacks is asked for.
    Exchanging,
}

/// What a session compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Subject {
    pub(super) shelf: Shelf,
    pub(super) range: ExpiryRange,
}

/// A session that this node opened or takes part in.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: LinkId,
    /// This node's role.
    pub(super) role: Role,
    pub(super) number: u32,
    pub(super) subject: Subject,
    pub(super) salt: [u8; SALT_BYTES],
    /// What this node proves, and what the other has to. Zero for the window.
    pub(super) proofs: Proofs,
    /// Whether this node shows what it has: not in an archive that it doesn't serve.
    pub(super) shows: bool,
    /// The user's synchronisation that it belongs to.
    pub(super) sync: Option<u64>,
    pub(super) stage: Stage,
    pub(super) rounds: u32,
    pub(super) begun_at: Millis,
    pub(super) heard_at: Millis,
    /// What this node has, by salted id.
    ids: Vec<(SaltedId, MsgId)>,
    /// What this node is still to ask for.
    pub(super) need: BTreeSet<SaltedId>,
    /// What it has asked for.
    pub(super) outstanding: BTreeSet<SaltedId>,
    /// Whether a GET waits for its SERVED.
    pub(super) getting: bool,
    /// Whether the GET under way has brought anything.
    pub(super) got_any: bool,
    /// More was lacking than one session takes.
    pub(super) cut_short: bool,
    /// What the initiator has to announce.
    pub(super) have: BTreeSet<SaltedId>,
    /// A HAVE is being dealt with.
    pub(super) having: bool,
    /// What a GET of the other's is still to be served.
    pub(super) serving: VecDeque<MsgId>,
    /// Whether a GET of the other's is being served.
    pub(super) serves: bool,
    /// Whether the store is fetching.
    pub(super) fetching: bool,
    /// Envelopes that wait for the exact store's answer.
    pub(super) waiting: usize,
    pub(super) wanted: u64,
    pub(super) received: u64,
    pub(super) missing: u64,
}

/// The two proofs of an archive's session, and what its ids are hashed with: all secrets of the room's members.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Proofs {
    pub(super) initiator: [u8; 32],
    pub(super) responder: [u8; 32],
    pub(super) ids: [u8; 32],
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proofs(…)")
    }
}

impl Session {
    #[expect(clippy::too_many_arguments, reason = "called in two places; each argument is a field")]
    pub(super) const fn new(
        link: LinkId,
        role: Role,
        number: u32,
        subject: Subject,
        salt: [u8; SALT_BYTES],
        proofs: Proofs,
        first: Bytes,
        now: Millis,
    ) -> Self {
        Self {
            link,
            role,
            number,
            subject,
            salt,
            proofs,
            shows: true,
            sync: None,
            stage: Stage::Listing(first),
            rounds: 0,
            begun_at: now,
            heard_at: now,
            ids: Vec::new(),
            need: BTreeSet::new(),
            outstanding: BTreeSet::new(),
            getting: false,
            got_any: false,
            cut_short: false,
            have: BTreeSet::new(),
            having: false,
            serving: VecDeque::new(),
            serves: false,
            fetching: false,
            waiting: 0,
            wanted: 0,
            received: 0,
            missing: 0,
        }
    }

    pub(super) fn is_archive(&self) -> bool {
        matches!(self.subject.shelf, Shelf::Archive(_))
    }

    /// Takes in what this node has, and makes the set to be compared.
    pub(super) fn load(&mut self, ids: Vec<(ExpiryHour, MsgId)>, frame_max: u64) -> Result<(), negentropy::Error> {
        let mut set = NegentropyStorageVector::with_capacity(ids.len());
        self.ids = Vec::with_capacity(ids.len());
        for (expiry, id) in ids {
            let salted = self.salted(&id);
            // An archive's hours would be told to a responder that hasn't proven the room yet.
            let order = if self.is_archive() { 0 } else { expiry.into() };
            set.insert(order, Id::from_byte_array(salted))?;
            self.ids.push((salted, id));
        }
        set.seal()?;
        self.ids.sort_unstable();
        self.stage = Stage::Comparing(Box::new(Negentropy::owned(set, frame_max)?));
        Ok(())
    }

    /// The initiator's next message after an answer; `None`: all is compared. What was found lacking on either side is
    /// taken note of.
    pub(super) fn compare(&mut self, answer: &[u8]) -> Result<Option<Bytes>, negentropy::Error> {
        let Stage::Comparing(set) = &mut self.stage else { return Ok(None) };
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = set.reconcile_with_ids(answer, &mut have, &mut need)?;
        if self.shows {
            note(&mut self.have, have);
        }
        self.cut_short |= note(&mut self.need, need);
        self.wanted = self.need.len() as u64;
        Ok(next.filter(|_| !self.cut_short).map(Bytes::from))
    }

    /// An id as this session speaks of it.
    pub(super) fn salted(&self, id: &MsgId) -> SaltedId {
        salted(if self.is_archive() { &self.proofs.ids } else { &self.salt }, id)
    }

    /// This node's own id for one of the session's.
    pub(super) fn unsalt(&self, salted: &SaltedId) -> Option<MsgId> {
        let at = self.ids.binary_search_by(|(own, _)| own.cmp(salted)).ok()?;
        Some(self.ids[at].1)
    }

    /// Gives up on what is still lacking.
    pub(super) fn give_up(&mut self) -> u64 {
        let lost = (self.outstanding.len() + self.need.len()) as u64;
        self.outstanding.clear();
        self.need.clear();
        self.missing += lost;
        lost
    }
}

/// Takes ids in, up to the limit; whether there were more.
fn note(into: &mut BTreeSet<SaltedId>, ids: Vec<Id>) -> bool {
    for id in ids {
        if into.len() >= NEED_MAX_IDS {
            return true;
        }
        into.insert(id.to_bytes());
    }
    false
}

/// An id as a session speaks of it. The fingerprints that are compared are sums: with ids that nobody can predict, none can be
/// made to collide.
pub(super) fn salted(salt: &[u8; SALT_BYTES], id: &MsgId) -> SaltedId {
    *blake3::keyed_hash(salt, &id.0).as_bytes()
}
