//! The tree over (expiry hour, id) whose digests two nodes compare, and the store's part in a session.
//!
//! The digest of a node is a hash over the digests of its children, down to the ids that begin with the same byte, which
//! are hashed as they are. So it depends on the set alone, not on how it came about, and nobody can make two sets collide:
//! sums of ids, which are the usual fingerprints of ranges, can be, by whoever knows how they are summed. That is why it can
//! be kept from one session to the next, and only what is sent is hashed with the session's key.
//!
//! | node | digest: BLAKE3 of |
//! |---|---|
//! | ids, from two nibbles on | 0, then the ids ascending |
//! | ids, one nibble or a whole hour | 1, then for each child its nibble 1, its digest 32 |
//! | block, everything | 2, then for each hour its number 4, its digest 32 |
//!
//! Kept are the hours' digests and, of hours with many ids, those of their 256 first bytes: some 9 KiB for such an hour,
//! not the ids themselves. What changed is read again when it is next compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rumormill_api::{ExpiryHour, ExpiryRange, MsgId, Shelf};

use super::super::wire::{Children, Listed, Root, Short, TreeEntry, TreeKey, TreeNode};

/// How many ids of its own a node may list under a tree's node in place of going further down.
pub const LEAF_MAX_IDS: usize = 48;
/// How many hours are told at once; more are told by blocks first.
pub const HOURS_MAX: usize = 512;
/// Hours with more ids than that keep the digests of their first bytes.
const SMALL_HOUR_IDS: u64 = 512;
/// Ids that the store is asked for at a time, so that no reading goes on for long.
const LIST_MAX_IDS: usize = 8_192;
/// Ids that are looked at for one page of envelopes.
const SERVE_MAX_IDS: usize = 4_096;
/// Envelopes in one page.
const SERVE_MAX_ENVELOPES: usize = 128;

type Digest = [u8; 32];

/// Where ids and envelopes of one shelf come from.
pub trait Source {
    /// Why it failed.
    type Error;

    /// At most `limit` of the (expiry, id) between the two, both included, ascending.
    ///
    /// # Errors
    ///
    /// The store's.
    fn ids(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Self::Error>;

    /// The same of what was evicted and hasn't expired.
    ///
    /// # Errors
    ///
    /// The store's.
    fn gone(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Self::Error>;

    /// An envelope; `None` when it isn't there, or is damaged.
    fn envelope(&mut self, id: &MsgId) -> Option<Bytes>;
}

/// What a session asks of the store.
#[derive(Clone, Debug)]
pub struct Look {
    /// About which shelf.
    pub shelf: Shelf,
    /// Only these hours count.
    pub range: ExpiryRange,
    /// The session's key.
    pub key: [u8; 32],
    /// What.
    pub question: Question,
}

/// One question about a shelf.
#[derive(Clone, Debug)]
pub enum Question {
    /// The digest of everything.
    Root,
    /// The children of nodes: of as many as fit, at least of the first.
    Children {
        /// The nodes.
        nodes: Vec<TreeNode>,
        /// How many bytes the answer may take in a message.
        max_bytes: usize,
    },
    /// Where the shelf differs from what a peer has under nodes.
    Compare(Vec<(TreeNode, Vec<(TreeNode, Short)>)>),
    /// The next envelopes that a peer lacks by what it says it has.
    Serve {
        /// What it has.
        entries: Arc<[TreeEntry]>,
        /// Where to go on.
        from: Place,
        /// How many bytes of envelopes, give or take one.
        max_bytes: usize,
    },
    /// Nothing: answered when everything that was accepted before is durable.
    Settled,
}

/// A place in what is served.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Place {
    /// Which entry.
    pub entry: usize,
    /// After which of its keys; `None`: from its beginning.
    pub after: Option<TreeKey>,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug)]
pub enum Finding {
    /// To [`Question::Root`], with the number of ids.
    Root(Root, u64),
    /// To [`Question::Children`].
    Children(Vec<Children>),
    /// To [`Question::Compare`].
    Steps(Vec<Step>),
    /// To [`Question::Serve`].
    Page(Page),
    /// To [`Question::Settled`].
    Settled,
    /// The store failed.
    Failed,
}

/// What is to be done about a difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Ask for its children.
    Ask(TreeNode),
    /// The peer has nothing there: compare the children with nothing.
    Split(TreeNode),
    /// Exchange what either lacks there; the ids are those of the entry's `held`, in their order.
    Exchange(TreeEntry, Vec<MsgId>),
}

/// Envelopes to serve.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Page {
    /// The envelopes, in the order of their keys.
    pub envelopes: Vec<Bytes>,
    /// Where to go on; `None`: that was all.
    pub next: Option<Place>,
    /// Which of the peer's held ids, counted over all entries, this node has (or has had and doesn't want again).
    pub known: Vec<u16>,
}

/// One hour's digests.
#[derive(Debug)]
struct Hour {
    digest: Digest,
    count: u64,
    /// By the ids' first byte, if there are many.
    bytes: Option<Box<[(Digest, u64); 256]>>,
    stale: Stale,
}

/// What of an hour has changed since its digests were made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stale {
    Nothing,
    /// The ids that begin with these bytes.
    Bytes([u64; 4]),
    Everything,
}

/// The digests of one shelf, kept between sessions.
#[derive(Debug, Default)]
pub struct Tree {
    loaded: bool,
    hours: BTreeMap<ExpiryHour, Hour>,
}

impl Tree {
    /// Says that an id came or went.
    pub fn touch(&mut self, (expiry, id): TreeKey) {
        if !self.loaded {
            return;
        }
        let hour = self.hours.entry(expiry).or_insert_with(Hour::unread);
        let mut bytes = match hour.stale {
            Stale::Everything => return,
            _ if hour.bytes.is_none() => {
                hour.stale = Stale::Everything;
                return;
            }
            Stale::Bytes(bytes) => bytes,
            Stale::Nothing => [0; 4],
        };
        bytes[usize::from(id.0[0] >> 6)] |= 1 << (id.0[0] & 0x3f);
        hour.stale = Stale::Bytes(bytes);
    }

    /// Says that what expired before `hour` is gone.
    pub fn expire(&mut self, hour: ExpiryHour) {
        self.hours = self.hours.split_off(&hour);
    }

    /// Says that anything may have changed.
    pub fn forget(&mut self) {
        self.loaded = false;
        self.hours.clear();
    }

    /// Answers a question about the shelf that this is the tree of.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn answer<S: Source>(&mut self, look: &Look, source: &mut S) -> Result<Finding, S::Error> {
        let mut view = View { tree: self, source, range: look.range, key: &look.key };
        Ok(match &look.question {
            Question::Root => {
                view.freshen()?;
                let (root, count) = view.root();
                Finding::Root(root, count)
            }
            Question::Children { nodes, max_bytes } => {
                view.freshen()?;
                Finding::Children(view.tell(nodes, *max_bytes)?)
            }
            Question::Compare(peers) => {
                view.freshen()?;
                let mut steps = Vec::new();
                for (node, children) in peers {
                    view.compare(*node, children, &mut steps)?;
                }
                Finding::Steps(steps)
            }
            Question::Serve { entries, from, max_bytes } => Finding::Page(view.serve(entries, *from, *max_bytes)?),
            Question::Settled => Finding::Settled,
        })
    }
}

impl Hour {
    const fn unread() -> Self {
        Self { digest: [0; 32], count: 0, bytes: None, stale: Stale::Everything }
    }

    /// The children of an hour, or of one of its nibbles, from what is kept.
    fn children(bytes: &[(Digest, u64); 256], nibble: Option<u8>) -> Vec<(u8, Digest, u64)> {
        match nibble {
            Some(high) => {
                let children = (0_u8..16).map(|low| (low, bytes[usize::from(high << 4 | low)]));
                children
                    .filter(|(_, (_, count))| *count > 0)
                    .map(|(low, (digest, count))| (low, digest, count))
                    .collect()
            }
            None => (0_u8..16)
                .filter_map(|high| {
                    let below = Self::children(bytes, Some(high));
                    let count = below.iter().map(|(_, _, count)| count).sum();
                    (count > 0).then(|| (high, inner(&below), count))
                })
                .collect(),
        }
    }
}

/// Makes an hour's digests out of its ids, ascending.
#[derive(Debug, Default)]
struct Builder {
    bytes: Option<Box<[(Digest, u64); 256]>>,
    at: u8,
    gathered: Vec<u8>,
    count: u64,
}

impl Builder {
    fn push(&mut self, id: &MsgId) {
        if id.0[0] != self.at {
            self.close();
            self.at = id.0[0];
        }
        if self.gathered.is_empty() {
            self.gathered.push(0);
        }
        self.gathered.extend_from_slice(&id.0);
        self.count += 1;
    }

    fn close(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let count = (self.gathered.len() / 32) as u64;
        let bytes = self.bytes.get_or_insert_with(|| Box::new([([0; 32], 0); 256]));
        bytes[usize::from(self.at)] = (hash(&self.gathered), count);
        self.gathered.clear();
    }

    fn finish(mut self) -> Hour {
        self.close();
        let Some(bytes) = self.bytes else { return Hour { stale: Stale::Nothing, ..Hour::unread() } };
        let digest = inner(&Hour::children(&bytes, None));
        let bytes = (self.count > SMALL_HOUR_IDS).then_some(bytes);
        Hour { digest, count: self.count, bytes, stale: Stale::Nothing }
    }
}

/// Makes a tree out of its ids, ascending, without ever having all of them.
#[derive(Debug, Default)]
pub struct TreeLoader {
    hours: BTreeMap<ExpiryHour, Hour>,
    building: Option<(ExpiryHour, Builder)>,
}

impl TreeLoader {
    /// Takes in the next id.
    pub fn push(&mut self, (expiry, id): TreeKey) {
        if self.building.as_ref().is_none_or(|(hour, _)| *hour != expiry) {
            self.close();
            self.building = Some((expiry, Builder::default()));
        }
        if let Some((_, builder)) = &mut self.building {
            builder.push(&id);
        }
    }

    fn close(&mut self) {
        if let Some((hour, builder)) = self.building.take() {
            self.hours.insert(hour, builder.finish());
        }
    }

    /// The tree of all of them.
    #[must_use]
    pub fn finish(mut self) -> Tree {
        self.close();
        Tree { loaded: true, hours: self.hours }
    }
}

/// A shelf as one session sees it.
struct View<'a, S> {
    tree: &'a mut Tree,
    source: &'a mut S,
    range: ExpiryRange,
    key: &'a [u8; 32],
}

impl<S: Source> View<'_, S> {
    /// Reads what has changed since it was last looked at.
    fn freshen(&mut self) -> Result<(), S::Error> {
        if !self.tree.loaded {
            let (from, to) = TreeNode::All.range();
            let mut loader = TreeLoader::default();
            self.each((from, to), &mut |key| loader.push(key))?;
            *self.tree = loader.finish();
        }
        if self.range.from > self.range.to {
            return Ok(());
        }
        let stale = self.tree.hours.range(self.range.from..=self.range.to);
        let stale: Vec<_> = stale.filter(|(_, hour)| hour.stale != Stale::Nothing).map(|(hour, _)| *hour).collect();
        for hour in stale {
            self.read_again(hour)?;
        }
        Ok(())
    }

    fn read_again(&mut self, expiry: ExpiryHour) -> Result<(), S::Error> {
        let Some(hour) = self.tree.hours.get_mut(&expiry) else { return Ok(()) };
        let (stale, bytes) = (hour.stale, hour.bytes.take());
        let fresh = match (stale, bytes) {
            (Stale::Bytes(changed), Some(mut bytes)) => {
                for byte in 0..=u8::MAX {
                    if changed[usize::from(byte >> 6)] >> (byte & 0x3f) & 1 == 0 {
                        continue;
                    }
                    let node = TreeNode::Ids { hour: expiry, depth: 2, path: u64::from(byte) << 56 };
                    let mut gathered = vec![0];
                    self.each(node.range(), &mut |(_, id)| gathered.extend_from_slice(&id.0))?;
                    let count = (gathered.len() / 32) as u64;
                    bytes[usize::from(byte)] = if count == 0 { ([0; 32], 0) } else { (hash(&gathered), count) };
                }
                let count = bytes.iter().map(|(_, count)| count).sum();
                let digest = inner(&Hour::children(&bytes, None));
                Hour { digest, count, bytes: (count > SMALL_HOUR_IDS).then_some(bytes), stale: Stale::Nothing }
            }
            _ => {
                let mut builder = Builder::default();
                self.each(TreeNode::hour(expiry).range(), &mut |(_, id)| builder.push(&id))?;
                builder.finish()
            }
        };
        if fresh.count == 0 {
            self.tree.hours.remove(&expiry);
        } else {
            self.tree.hours.insert(expiry, fresh);
        }
        Ok(())
    }

    /// Every key between the two, in order.
    fn each(&mut self, (from, to): (TreeKey, TreeKey), f: &mut dyn FnMut(TreeKey)) -> Result<(), S::Error> {
        let mut from = Some(from);
        while let Some(start) = from {
            let ids = self.source.ids(start, to, LIST_MAX_IDS)?;
            from = if ids.len() < LIST_MAX_IDS { None } else { ids.last().copied().and_then(next_key) };
            ids.into_iter().for_each(&mut *f);
        }
        Ok(())
    }

    /// A node's keys, as far as this session speaks of them.
    fn bounds(&self, node: TreeNode) -> (TreeKey, TreeKey) {
        let (from, to) = node.range();
        let (low, high) = (MsgId([0; 32]), MsgId([0xff; 32]));
        (from.max((self.range.from, low)), to.min((self.range.to, high)))
    }

    fn root(&self) -> (Root, u64) {
        let hours: Vec<_> = self.hours(TreeNode::All).collect();
        let mut root = Root::default();
        if !hours.is_empty() {
            let size = root.len();
            root.copy_from_slice(&blake3::keyed_hash(self.key, &of_hours(&hours)).as_bytes()[..size]);
        }
        (root, hours.iter().map(|(_, _, count)| count).sum())
    }

    fn hours(&self, node: TreeNode) -> impl Iterator<Item = (ExpiryHour, Digest, u64)> {
        let (from, to) = self.bounds(node);
        let hours = (from <= to).then(|| self.tree.hours.range(from.0..=to.0));
        hours.into_iter().flatten().filter(|(_, hour)| hour.count > 0).map(|(at, hour)| (*at, hour.digest, hour.count))
    }

    /// A node's children with their digests and how many ids they have. `blocks`: of everything, the blocks.
    fn children(&mut self, node: TreeNode, blocks: bool) -> Result<Vec<(TreeNode, Digest, u64)>, S::Error> {
        let TreeNode::Ids { hour, depth, path } = node else {
            if !blocks {
                return Ok(self
                    .hours(node)
                    .map(|(hour, digest, count)| (TreeNode::hour(hour), digest, count))
                    .collect());
            }
            let mut grouped: BTreeMap<TreeNode, Vec<(ExpiryHour, Digest, u64)>> = BTreeMap::new();
            for hour in self.hours(node) {
                grouped.entry(TreeNode::block_of(hour.0)).or_default().push(hour);
            }
            let count = |hours: &[(_, _, u64)]| hours.iter().map(|(_, _, count)| count).sum();
            return Ok(grouped.into_iter().map(|(block, hours)| (block, of_hours(&hours), count(&hours))).collect());
        };
        if !(self.range.from..=self.range.to).contains(&hour) {
            return Ok(Vec::new());
        }
        let kept = self.tree.hours.get(&hour).and_then(|hour| hour.bytes.as_deref());
        let children = match (depth, kept) {
            (0, Some(bytes)) => Hour::children(bytes, None),
            (1, Some(bytes)) => Hour::children(bytes, Some((path >> 60) as u8)),
            _ => {
                let mut ids = Vec::new();
                self.each(node.range(), &mut |(_, id)| ids.push(id))?;
                by_nibble(&ids, depth)
            }
        };
        let children = children.into_iter();
        Ok(children.filter_map(|(nibble, digest, count)| Some((node.child(nibble)?, digest, count))).collect())
    }

    fn short(&self, bytes: &[u8; 32]) -> Short {
        short(self.key, bytes)
    }

    fn tell(&mut self, nodes: &[TreeNode], max_bytes: usize) -> Result<Vec<Children>, S::Error> {
        let (mut told, mut bytes) = (Vec::new(), 0);
        for node in nodes {
            let children = match *node {
                TreeNode::All if self.hours(*node).nth(HOURS_MAX).is_some() => {
                    let blocks = self.children(*node, true)?.into_iter();
                    Children::Blocks(
                        blocks
                            .filter_map(|(block, digest, _)| match block {
                                TreeNode::Block(block) => Some((block, self.short(&digest))),
                                _ => None,
                            })
                            .collect(),
                    )
                }
                TreeNode::All | TreeNode::Block(_) => {
                    Children::Hours(self.hours(*node).map(|(hour, digest, _)| (hour, self.short(&digest))).collect())
                }
                TreeNode::Ids { depth, .. } => {
                    let children = self.children(*node, false)?.into_iter();
                    Children::Nibbles(
                        children
                            .filter_map(|(child, digest, _)| match child {
                                TreeNode::Ids { path, .. } => {
                                    Some(((path >> (60 - 4 * u32::from(depth)) & 0xf) as u8, self.short(&digest)))
                                }
                                _ => None,
                            })
                            .collect(),
                    )
                }
            };
            bytes += children.encoded_max_bytes();
            if bytes > max_bytes && !told.is_empty() {
                break;
            }
            told.push(children);
        }
        Ok(told)
    }

    fn compare(&mut self, node: TreeNode, peers: &[(TreeNode, Short)], steps: &mut Vec<Step>) -> Result<(), S::Error> {
        let by_block = match peers.first() {
            Some((first, _)) => matches!(first, TreeNode::Block(_)),
            None => node == TreeNode::All && self.hours(node).nth(HOURS_MAX).is_some(),
        };
        let mut own = self.children(node, by_block)?.into_iter().peekable();
        let mut peers = peers.iter().peekable();
        loop {
            let (child, count, peer_has) = match (own.peek(), peers.peek()) {
                (None, None) => return Ok(()),
                (Some((mine, digest, count)), Some((theirs, said))) if mine == theirs => {
                    let step = (*mine, *count, true);
                    let same = self.short(digest) == *said;
                    own.next();
                    peers.next();
                    if same {
                        continue;
                    }
                    step
                }
                (Some((mine, _, count)), theirs) if theirs.is_none_or(|(theirs, _)| mine < theirs) => {
                    let step = (*mine, *count, false);
                    own.next();
                    step
                }
                (_, Some((theirs, _))) => {
                    let step = (*theirs, 0, true);
                    peers.next();
                    step
                }
                (Some(_), None) => return Ok(()),
            };
            steps.extend(self.step(child, count, peer_has)?);
        }
    }

    /// What to do about a node that differs.
    fn step(&mut self, node: TreeNode, count: u64, peer_has: bool) -> Result<Option<Step>, S::Error> {
        let down = || if peer_has { Step::Ask(node) } else { Step::Split(node) };
        let deepest = matches!(node, TreeNode::Ids { depth, .. } if depth == super::super::wire::TREE_DEPTH_MAX);
        let limit = if deepest { LIST_MAX_IDS } else { LEAF_MAX_IDS };
        if count > limit as u64 {
            return Ok((!deepest).then(down));
        }
        let (from, to) = self.bounds(node);
        if from > to {
            return Ok(None);
        }
        let ids = self.source.ids(from, to, limit + 1)?;
        let gone = if peer_has { self.source.gone(from, to, limit + 1)? } else { Vec::new() };
        if ids.len().max(gone.len()) > limit {
            return Ok((!deepest).then(down));
        }
        if ids.is_empty() && !peer_has {
            return Ok(None);
        }
        let listed = |keys: &[TreeKey]| keys.iter().map(|(_, id)| listed(self.key, id)).collect();
        let entry = TreeEntry { node, held: listed(&ids), gone: listed(&gone) };
        Ok(Some(Step::Exchange(entry, ids.into_iter().map(|(_, id)| id).collect())))
    }

    fn serve(&mut self, entries: &[TreeEntry], place: Place, max_bytes: usize) -> Result<Page, S::Error> {
        let mut page = Page::default();
        let (mut bytes, mut looked) = (0, 0);
        let mut offset: usize = entries.iter().take(place.entry).map(|entry| entry.held.len()).sum();
        let mut after = place.after;
        for (at, entry) in entries.iter().enumerate().skip(place.entry) {
            let held: BTreeMap<Listed, usize> = entry.held.iter().enumerate().map(|(at, id)| (*id, at)).collect();
            let (start, to) = self.bounds(entry.node);
            let mut from = match after.take() {
                Some(key) => next_key(key).map(|key| key.max(start)),
                None => Some(start),
            };
            while let Some(start) = from.filter(|from| *from <= to) {
                let limit = SERVE_MAX_ENVELOPES * 4;
                let ids = self.source.ids(start, to, limit)?;
                from = if ids.len() < limit { None } else { ids.last().copied().and_then(next_key) };
                for key in ids {
                    looked += 1;
                    let listed = listed(self.key, &key.1);
                    if let Some(position) = held.get(&listed) {
                        page.known.push(position_of(offset + position));
                    } else if !entry.gone.contains(&listed)
                        && let Some(envelope) = self.source.envelope(&key.1)
                    {
                        bytes += envelope.len();
                        page.envelopes.push(envelope);
                    }
                    if bytes >= max_bytes || looked >= SERVE_MAX_IDS || page.envelopes.len() >= SERVE_MAX_ENVELOPES {
                        page.next = Some(Place { entry: at, after: Some(key) });
                        return Ok(page);
                    }
                }
            }
            if !held.is_empty() && start <= to {
                for (_, id) in self.source.gone(start, to, LIST_MAX_IDS)? {
                    if let Some(position) = held.get(&listed(self.key, &id)) {
                        page.known.push(position_of(offset + position));
                    }
                }
            }
            offset += entry.held.len();
        }
        Ok(page)
    }
}

/// Entries come out of a message, which holds fewer ids than that.
fn position_of(position: usize) -> u16 {
    u16::try_from(position).unwrap_or(u16::MAX)
}

/// A digest as a session speaks of it.
pub(super) fn short(key: &[u8; 32], digest: &Digest) -> Short {
    first(blake3::keyed_hash(key, digest))
}

/// An id as a session speaks of it.
pub(super) fn listed(key: &[u8; 32], id: &MsgId) -> Listed {
    first(blake3::keyed_hash(key, &id.0))
}

fn first<const N: usize>(hash: blake3::Hash) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&hash.as_bytes()[..N]);
    first
}

/// The key right after; `None` after the last.
fn next_key((hour, mut id): TreeKey) -> Option<TreeKey> {
    for byte in id.0.iter_mut().rev() {
        let (next, carry) = byte.overflowing_add(1);
        *byte = next;
        if !carry {
            return Some((hour, id));
        }
    }
    hour.checked_add(1).map(|hour| (hour, id))
}

/// The key right before; `None` before the first.
#[must_use]
pub fn previous_key((hour, mut id): TreeKey) -> Option<TreeKey> {
    for byte in id.0.iter_mut().rev() {
        let (next, borrow) = byte.overflowing_sub(1);
        *byte = next;
        if !borrow {
            return Some((hour, id));
        }
    }
    hour.checked_sub(1).map(|hour| (hour, id))
}

fn hash(bytes: &[u8]) -> Digest {
    *blake3::hash(bytes).as_bytes()
}

fn inner(children: &[(u8, Digest, u64)]) -> Digest {
    let mut out = vec![1];
    for (nibble, digest, _) in children {
        out.push(*nibble);
        out.extend_from_slice(digest);
    }
    hash(&out)
}

fn of_hours(hours: &[(ExpiryHour, Digest, u64)]) -> Digest {
    let mut out = vec![2];
    for (hour, digest, _) in hours {
        out.extend_from_slice(&hour.to_be_bytes());
        out.extend_from_slice(digest);
    }
    hash(&out)
}

/// The children of a node of `depth` nibbles whose ids, ascending, are these.
fn by_nibble(ids: &[MsgId], depth: u8) -> Vec<(u8, Digest, u64)> {
    let nibble = |id: &MsgId| {
        let byte = id.0[usize::from(depth / 2)];
        if depth.is_multiple_of(2) { byte >> 4 } else { byte & 0xf }
    };
    ids.chunk_by(|one, next| nibble(one) == nibble(next))
        .map(|group| {
            let digest = if depth == 0 {
                inner(&by_nibble(group, 1))
            } else {
                let mut out = Vec::with_capacity(1 + group.len() * 32);
                out.push(0);
                group.iter().for_each(|id| out.extend_from_slice(&id.0));
                hash(&out)
            };
            (nibble(&group[0]), digest, group.len() as u64)
        })
        .collect()
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
