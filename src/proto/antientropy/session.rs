//! One reconciliation session: how far it is, and what it has yet to do.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use rumormill_api::{ExpiryRange, LinkId, Millis, MsgId, Shelf};

use super::super::wire::{Role, Root, TREE_SALT_BYTES, TreeEntry, TreeKey, TreeNode};
use super::driver::QUIET_MS;
use super::tree::{Place, listed};

/// Envelopes that one session may bring; the rest is left to the next.
pub const ITEMS_MAX: u64 = 1 << 17;
/// Messages that comparing may take.
pub const ROUNDS_MAX: u32 = 4_096;
/// Exchanges in a row that bring nothing to either end, though the digests differed, after which a session is given up.
pub const FRUITLESS_MAX: u32 = 16;
/// Bytes of envelopes after which the one that serves waits for the one that takes.
pub const PAGE_BYTES: usize = 256 << 10;
/// Pages that may be under way: two that the store writes in one commit, and two that come meanwhile.
pub const PAGES_AHEAD: u32 = 4;

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// The two hold the same now, or all that was to be had was.
    Compared,
    /// This end begins it anew later.
    PutOff,
    /// The peer fell silent, or this end couldn't go on.
    Failed,
    /// The peer declined, or is gone.
    Refused,
}

impl Ended {
    /// Whether the peer took part up to the end.
    pub(super) const fn answered(self) -> bool {
        matches!(self, Self::Compared | Self::PutOff)
    }
}

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The store makes the digest of everything.
    Rooting,
    /// The initiator waits for an answer.
    Asking,
    /// The store compares, or lists a node's children.
    Looking,
    /// The responder serves what the initiator lacks.
    Exchanging,
    /// The initiator serves what the responder lacks.
    Giving,
    /// The responder waits for what comes next.
    Ready,
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
    pub(super) salt: [u8; TREE_SALT_BYTES],
    /// What ids and digests are hashed with.
    pub(super) key: [u8; 32],
    /// What this node proves, and what the other has to. Zero for the window.
    pub(super) proofs: Proofs,
    /// Whether this node serves what it has: not in an archive that it doesn't serve.
    pub(super) shows: bool,
    /// Whether the initiator said that it serves nothing.
    pub(super) takes_only: bool,
    /// The user's synchronisation that it belongs to.
    pub(super) sync: Option<u64>,
    /// How many envelopes it may bring before it ends: then the newest come first.
    pub(super) limit: Option<u64>,
    pub(super) stage: Stage,
    /// A responder keeps the initiator's root until its own is there.
    pub(super) root: Root,
    /// Whether the responder's proof has come or gone.
    pub(super) proven: bool,
    pub(super) rounds: u32,
    pub(super) begun_at: Millis,
    /// When the peer, or this node's store, last took the session on.
    pub(super) heard_at: Millis,
    /// The peer was quiet, and another one was asked as well.
    pub(super) passed_over: bool,
    /// How many ids this node had at the beginning.
    pub(super) count: u64,
    /// How many the responder says that it has.
    pub(super) told: u64,
    /// The nodes that were asked about, in their order.
    pub(super) asked: Vec<TreeNode>,
    /// Nodes yet to be asked about.
    pub(super) asks: Vec<TreeNode>,
    /// Nodes that the peer has nothing under, yet to be taken apart.
    pub(super) splits: Vec<TreeNode>,
    /// Entries yet to be exchanged, with the ids of what is held.
    pub(super) entries: VecDeque<(TreeEntry, Vec<MsgId>)>,
    /// The exchange under way.
    pub(super) exchange: Exchange,
    /// Envelopes that wait for the exact store's answer.
    pub(super) waiting: usize,
    /// Exchanges that brought nothing.
    pub(super) fruitless: u32,
    pub(super) wanted: u64,
    pub(super) received: u64,
    /// Whether any came, new or not.
    pub(super) served: bool,
    pub(super) given: u64,
    pub(super) missing: u64,
}

/// One exchange.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// What the initiator has.
    pub(super) entries: Arc<[TreeEntry]>,
    /// The initiator's own ids of what it holds, over all entries.
    pub(super) ids: Vec<MsgId>,
    /// The end that takes: the last key that came.
    pub(super) last: Option<TreeKey>,
    /// The responder: which of the initiator's it has; while it takes, which it still waits for.
    pub(super) positions: Vec<u16>,
    /// The end that serves: where to go on; `None`: all is served, or the initiator serves.
    pub(super) place: Option<Place>,
    /// The initiator: what it is still to serve.
    pub(super) wants: VecDeque<MsgId>,
    /// The end that serves: pages that may still go; the end that takes: pages that came and weren't settled.
    pub(super) pages: u32,
    /// The end that takes: settled pages of which the link's rate doesn't allow the next yet.
    pub(super) unpaced: u32,
    /// The end that serves: bytes left in this page.
    pub(super) page_left: usize,
    /// Whether the store is reading.
    pub(super) reading: bool,
    /// What came in it.
    pub(super) items: u64,
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
    pub(super) fn new(
        link: LinkId,
        role: Role,
        number: u32,
        subject: Subject,
        salt: [u8; TREE_SALT_BYTES],
        proofs: Proofs,
        now: Millis,
    ) -> Self {
        let key = match subject.shelf {
            Shelf::Window => blake3::derive_key(WINDOW_CONTEXT, &salt),
            Shelf::Archive(_) => proofs.ids,
        };
        Self {
            link,
            role,
            number,
            subject,
            salt,
            key,
            proofs,
            shows: true,
            takes_only: false,
            sync: None,
            limit: None,
            stage: Stage::Rooting,
            root: Root::default(),
            proven: false,
            rounds: 0,
            begun_at: now,
            heard_at: now,
            passed_over: false,
            count: 0,
            told: 0,
            asked: Vec::new(),
            asks: Vec::new(),
            splits: Vec::new(),
            entries: VecDeque::new(),
            exchange: Exchange::default(),
            waiting: 0,
            fruitless: 0,
            wanted: 0,
            received: 0,
            served: false,
            given: 0,
            missing: 0,
        }
    }

    pub(super) const fn is_archive(&self) -> bool {
        matches!(self.subject.shelf, Shelf::Archive(_))
    }

    /// Whether it has brought all that it may.
    pub(super) fn full(&self) -> bool {
        self.received >= ITEMS_MAX || self.limit.is_some_and(|limit| self.received >= limit)
    }

    /// Whether the initiator was served nothing by a peer that has something which it lacks. Where something was given, the
    /// numbers show it, if roughly, for the two ends count at different times: what both have is at most what this end had less that.
    pub(super) const fn withheld(&self) -> bool {
        !self.served && (self.given == 0 && self.fruitless > 0 || self.given > 0 && self.told + self.given > self.count)
    }

    /// Whether this end takes envelopes now.
    pub(super) const fn takes(&self) -> bool {
        matches!((self.role, self.stage), (Role::Initiator, Stage::Exchanging) | (Role::Responder, Stage::Giving))
    }

    /// Whether this end serves envelopes now.
    pub(super) const fn serves(&self) -> bool {
        matches!((self.role, self.stage), (Role::Responder, Stage::Exchanging) | (Role::Initiator, Stage::Giving))
    }

    /// Whether the peer, and not this node's store, has been waited for for long.
    pub(super) const fn quiet(&self, now: Millis) -> bool {
        let waits = match self.stage {
            Stage::Asking => true,
            Stage::Exchanging | Stage::Giving => self.exchange.pages == 0,
            Stage::Rooting | Stage::Looking | Stage::Ready => false,
        };
        waits && now.saturating_sub(self.heard_at) >= QUIET_MS
    }

    /// Whether the envelope of this key is one that this end asked for and hasn't got: keys come in their order, so that
    /// none comes twice.
    pub(super) fn expects(&mut self, key: &TreeKey) -> bool {
        let range = self.subject.range;
        let exchange = &mut self.exchange;
        // A responder's own range is narrower than what it was told of, where the two's clocks differ. What it asked for
        // all the same, at an edge, is no fault of who gives it.
        let outside = self.role == Role::Initiator && !(range.from..=range.to).contains(&key.0);
        if outside || exchange.last.is_some_and(|last| *key <= last) {
            return false;
        }
        let at = exchange.entries.partition_point(|entry| entry.node.range().1 < *key);
        let Some(entry) = exchange.entries.get(at).filter(|entry| entry.node.contains(key)) else { return false };
        let listed = listed(&self.key, &key.1);
        let asked = match self.role {
            Role::Initiator => !entry.held.contains(&listed) && !entry.gone.contains(&listed),
            Role::Responder => {
                let before: usize = exchange.entries[..at].iter().map(|entry| entry.held.len()).sum();
                let wanted = |position| {
                    u16::try_from(position).is_ok_and(|position| exchange.positions.binary_search(&position).is_ok())
                };
                // Two ids may be listed alike, and only one of them be wanted: who gives it is at no fault.
                (before..).zip(&entry.held).any(|(position, held)| *held == listed && wanted(position))
            }
        };
        if asked {
            exchange.last = Some(*key);
            exchange.items += 1;
        }
        asked
    }

    /// Takes as many of the entries that wait as fit a message.
    pub(super) fn next_exchange(&mut self, max_bytes: usize) -> Vec<TreeEntry> {
        let (mut taken, mut ids, mut bytes) = (Vec::new(), Vec::new(), 0);
        if self.limit.is_some() {
            // Within an exchange the oldest come first: so that what is cut off is older than what came, one at a time.
            self.entries.make_contiguous().sort_unstable_by_key(|(entry, _)| entry.node.range());
        }
        // The newest first: evictions take the oldest, so that there the two may differ in what neither can mend.
        while let Some((entry, _)) = self.entries.back() {
            bytes += entry.encoded_max_bytes();
            if (bytes > max_bytes || self.limit.is_some()) && !taken.is_empty() {
                break;
            }
            taken.extend(self.entries.pop_back());
        }
        taken.sort_unstable_by_key(|(entry, _)| entry.node.range());
        let mut entries = Vec::with_capacity(taken.len());
        for (entry, held) in taken {
            entries.push(entry);
            ids.extend(held);
        }
        self.exchange = Exchange { entries: entries.clone().into(), ids, ..Exchange::default() };
        entries
    }
}

/// What the key of a session about the window is derived from the salt for.
const WINDOW_CONTEXT: &str = "rumormill reconciliation of the window v2";

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::super::wire::Listed;
    use super::*;

    /// Two ids that a session with this key lists alike.
    fn alike(key: &[u8; 32]) -> (MsgId, MsgId) {
        let mut seen: HashMap<Listed, MsgId> = HashMap::new();
        let ids = (0_u64..).map(|number| MsgId::of(&number.to_be_bytes()));
        let pair = ids.filter_map(|id| Some((seen.insert(listed(key, &id), id)?, id))).next();
        pair.expect("four bytes are used up at last")
    }

    #[test]
    fn of_two_that_are_listed_alike_either_may_be_given_once() {
        let subject = Subject { shelf: Shelf::Window, range: ExpiryRange::ALL };
        let fresh = || Session::new(LinkId(1), Role::Responder, 1, subject, [7; TREE_SALT_BYTES], Proofs::default(), 0);
        let (one, other) = alike(&fresh().key);
        let held = vec![listed(&fresh().key, &one), listed(&fresh().key, &other), [0; 4]];
        let entries: Arc<[_]> = vec![TreeEntry { node: TreeNode::All, held, gone: vec![] }].into();
        for wanted in [vec![0], vec![1], vec![0, 1]] {
            for id in [one, other] {
                let mut session = fresh();
                session.exchange =
                    Exchange { entries: entries.clone(), positions: wanted.clone(), ..Exchange::default() };
                assert!(session.expects(&(5, id)), "{wanted:?}");
                assert!(!session.expects(&(5, id)), "twice");
            }
        }
        let mut session = fresh();
        session.exchange = Exchange { entries, positions: vec![2], ..Exchange::default() };
        assert!(!session.expects(&(5, one)), "neither is wanted");
    }
}
