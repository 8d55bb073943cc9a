//! The parts of RECON's messages that speak of the tree of ids (link versions 2 and 3).

use rumormill_api::{ExpiryHour, MsgId};

use super::codec::Reader;
use super::link::Fault;

/// Bytes of a digest of a tree's node as it is sent: enough within one session, whose key nobody knows before.
pub const SHORT_BYTES: usize = 5;
/// Bytes of an id that is listed. It is compared with those under the same node only, of which at most
/// [`LEAF_MAX_IDS`](crate::proto::LEAF_MAX_IDS) that are held and as many that are gone are listed: an envelope that is missing passes
/// for one of them once in 45 million times, and more often only where all that a tree can tell apart isn't enough.
/// Then the next session, whose key is another, brings it.
pub const LISTED_BYTES: usize = 4;
/// Bytes of the digest of all that is compared.
pub const ROOT_BYTES: usize = 16;
/// How many nibbles of an id a node of the tree may stand for at most.
pub const TREE_DEPTH_MAX: u8 = 16;
/// How many hours a block has.
pub const BLOCK_HOURS: u32 = 1 << BLOCK_SHIFT;

const BLOCK_SHIFT: u32 = 8;
const ALL: u8 = 0xff;
const BLOCK: u8 = 0xfe;

/// The first bytes of a digest, hashed with the session's key.
pub type Short = [u8; SHORT_BYTES];

/// The first bytes of an id, hashed with the session's key.
pub type Listed = [u8; LISTED_BYTES];

/// The first bytes of the digest of everything, hashed with the session's key. Zero: there is nothing.
pub type Root = [u8; ROOT_BYTES];

/// An envelope's place in the tree.
pub type TreeKey = (ExpiryHour, MsgId);

/// A node of the tree over (expiry hour, id): all, 256 hours, one hour, or the ids of an hour that begin alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TreeNode {
    /// Everything.
    All,
    /// The hours whose number is this one times [`BLOCK_HOURS`] and those up to the next block.
    Block(u32),
    /// The ids of an hour that begin with `depth` nibbles.
    Ids {
        /// The expiry hour.
        hour: ExpiryHour,
        /// How many nibbles, at most [`TREE_DEPTH_MAX`]; 0: the whole hour.
        depth: u8,
        /// The nibbles, from the highest bit on; the rest is zero.
        path: u64,
    },
}

impl TreeNode {
    /// The node of a whole hour.
    #[must_use]
    pub const fn hour(hour: ExpiryHour) -> Self {
        Self::Ids { hour, depth: 0, path: 0 }
    }

    /// The block that an hour lies in.
    #[must_use]
    pub const fn block_of(hour: ExpiryHour) -> Self {
        Self::Block(hour >> BLOCK_SHIFT)
    }

    /// The child of a node of ids that stands for one nibble more; `None` for others, and at the greatest depth.
    #[must_use]
    pub fn child(self, nibble: u8) -> Option<Self> {
        match self {
            Self::Ids { hour, depth, path } if depth < TREE_DEPTH_MAX => {
                let path = path | u64::from(nibble & 0xf) << (60 - 4 * u32::from(depth));
                Some(Self::Ids { hour, depth: depth + 1, path })
            }
            _ => None,
        }
    }

    /// The first and the last key that may stand under it.
    #[must_use]
    pub fn range(self) -> (TreeKey, TreeKey) {
        let (low, high) = (MsgId([0; 32]), MsgId([0xff; 32]));
        match self {
            Self::All => ((0, low), (ExpiryHour::MAX, high)),
            Self::Block(block) => ((block << BLOCK_SHIFT, low), (block << BLOCK_SHIFT | (BLOCK_HOURS - 1), high)),
            Self::Ids { hour, depth, path } => {
                let rest = u64::MAX.checked_shr(4 * u32::from(depth)).unwrap_or(0);
                let (mut from, mut to) = (low, high);
                from.0[..8].copy_from_slice(&path.to_be_bytes());
                to.0[..8].copy_from_slice(&(path | rest).to_be_bytes());
                ((hour, from), (hour, to))
            }
        }
    }

    /// Whether a key stands under it.
    #[must_use]
    pub fn contains(self, key: &TreeKey) -> bool {
        let (from, to) = self.range();
        (from..=to).contains(key)
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::All => out.push(ALL),
            Self::Block(block) => {
                out.push(BLOCK);
                out.extend_from_slice(&block.to_be_bytes());
            }
            Self::Ids { hour, depth, path } => {
                out.push(depth);
                out.extend_from_slice(&hour.to_be_bytes());
                out.extend_from_slice(&path.to_be_bytes()[..usize::from(depth.div_ceil(2))]);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Fault> {
        match reader.u8()? {
            ALL => Ok(Self::All),
            BLOCK => match reader.u32()? {
                block if block <= u32::MAX >> BLOCK_SHIFT => Ok(Self::Block(block)),
                _ => Err(Fault::Malformed),
            },
            depth if depth <= TREE_DEPTH_MAX => {
                let hour = reader.u32()?;
                let mut path = [0; 8];
                let given = reader.take(usize::from(depth.div_ceil(2)))?;
                path[..given.len()].copy_from_slice(&given);
                let path = u64::from_be_bytes(path);
                let rest = u64::MAX.checked_shr(4 * u32::from(depth)).unwrap_or(0);
                if path & rest == 0 { Ok(Self::Ids { hour, depth, path }) } else { Err(Fault::Malformed) }
            }
            _ => Err(Fault::Malformed),
        }
    }

    /// How many bytes it takes in a message.
    #[must_use]
    pub fn encoded_bytes(self) -> usize {
        match self {
            Self::All => 1,
            Self::Block(_) => 5,
            Self::Ids { depth, .. } => 5 + usize::from(depth.div_ceil(2)),
        }
    }
}

/// What stands under a node: its children that aren't empty, with their digests, ascending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Children {
    /// Of everything, or of a block: hours.
    Hours(Vec<(ExpiryHour, Short)>),
    /// Of everything: blocks.
    Blocks(Vec<(u32, Short)>),
    /// Of a node of ids: one nibble more.
    Nibbles(Vec<(u8, Short)>),
}

impl Children {
    /// The children of `parent` as nodes with their digests; `None` when they can't be children of it.
    #[must_use]
    pub fn of(&self, parent: TreeNode) -> Option<Vec<(TreeNode, Short)>> {
        let all: Vec<_> = match (self, parent) {
            (Self::Hours(hours), TreeNode::All | TreeNode::Block(_)) => {
                hours.iter().map(|(hour, digest)| (TreeNode::hour(*hour), *digest)).collect()
            }
            (Self::Blocks(blocks), TreeNode::All) => {
                blocks.iter().map(|(block, digest)| (TreeNode::Block(*block), *digest)).collect()
            }
            (Self::Nibbles(nibbles), TreeNode::Ids { .. }) => {
                let children = nibbles.iter().map(|(nibble, digest)| Some((parent.child(*nibble)?, *digest)));
                children.collect::<Option<_>>()?
            }
            _ => return None,
        };
        let within = all.iter().all(|(child, _)| parent.contains(&child.range().0));
        within.then_some(all)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hours(numbered) | Self::Blocks(numbered) => {
                out.push(u8::from(matches!(self, Self::Blocks(_))));
                put_count(out, numbered.len());
                let mut next = 0;
                for (number, digest) in numbered {
                    put_varint(out, number - next);
                    out.extend_from_slice(digest);
                    next = number.wrapping_add(1);
                }
            }
            Self::Nibbles(nibbles) => {
                out.push(2);
                let present = nibbles.iter().fold(0_u16, |bits, (nibble, _)| bits | 1 << nibble);
                out.extend_from_slice(&present.to_be_bytes());
                nibbles.iter().for_each(|(_, digest)| out.extend_from_slice(digest));
            }
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Fault> {
        match reader.u8()? {
            kind @ (0 | 1) => {
                let count = count(reader, SHORT_BYTES + 1)?;
                let mut numbered = Vec::with_capacity(count);
                let mut next = Some(0_u32);
                for _ in 0..count {
                    let number =
                        next.and_then(|next| next.checked_add(varint(reader).ok()?)).ok_or(Fault::Malformed)?;
                    numbered.push((number, reader.array()?));
                    next = number.checked_add(1);
                }
                match kind {
                    0 => Ok(Self::Hours(numbered)),
                    _ if numbered.iter().all(|(block, _)| *block <= u32::MAX >> BLOCK_SHIFT) => {
                        Ok(Self::Blocks(numbered))
                    }
                    _ => Err(Fault::Malformed),
                }
            }
            2 => {
                let present = reader.u16()?;
                let nibbles = (0..16).filter(|nibble| present >> nibble & 1 == 1);
                nibbles.map(|nibble| Ok((nibble, reader.array()?))).collect::<Result<_, _>>().map(Self::Nibbles)
            }
            _ => Err(Fault::Malformed),
        }
    }

    /// How many bytes it takes in a message, at most.
    #[must_use]
    pub const fn encoded_max_bytes(&self) -> usize {
        match self {
            Self::Hours(numbered) | Self::Blocks(numbered) => 6 + numbered.len() * (5 + SHORT_BYTES),
            Self::Nibbles(nibbles) => 3 + nibbles.len() * SHORT_BYTES,
        }
    }
}

/// What one end has under a node: the other serves what isn't listed, and says which of the held it wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeEntry<const ID_BYTES: usize = LISTED_BYTES> {
    /// The node.
    pub node: TreeNode,
    /// What the sender holds there.
    pub held: Vec<[u8; ID_BYTES]>,
    /// What it has had there and evicted: it can't serve it, and doesn't want it again.
    pub gone: Vec<[u8; ID_BYTES]>,
}

impl<const ID_BYTES: usize> TreeEntry<ID_BYTES> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.node.put(out);
        put_count(out, self.held.len());
        put_count(out, self.gone.len());
        self.held.iter().chain(&self.gone).for_each(|id| out.extend_from_slice(id));
    }

    fn read(reader: &mut Reader) -> Result<Self, Fault> {
        let node = TreeNode::read(reader)?;
        let (held, gone) = (count(reader, 0)?, count(reader, 0)?);
        if (held + gone) * ID_BYTES > reader.remaining() {
            return Err(Fault::Malformed);
        }
        let mut ids = |count| (0..count).map(|_| reader.array()).collect::<Result<Vec<[u8; ID_BYTES]>, _>>();
        Ok(Self { node, held: ids(held)?, gone: ids(gone)? })
    }

    /// How many bytes it takes in a message, at most.
    #[must_use]
    pub fn encoded_max_bytes(&self) -> usize {
        self.node.encoded_bytes() + 6 + (self.held.len() + self.gone.len()) * ID_BYTES
    }
}

/// Entries up to the end: at least one, ascending, none within another.
pub(super) fn entries<const ID_BYTES: usize>(mut reader: Reader) -> Result<Vec<TreeEntry<ID_BYTES>>, Fault> {
    let mut entries: Vec<TreeEntry<ID_BYTES>> = Vec::new();
    while reader.remaining() > 0 {
        let entry = TreeEntry::read(&mut reader)?;
        if entries.last().is_some_and(|before| before.node.range().1 >= entry.node.range().0) {
            return Err(Fault::Malformed);
        }
        entries.push(entry);
    }
    if entries.is_empty() { Err(Fault::Malformed) } else { Ok(entries) }
}

/// Nodes up to the end: at least one, at most `max`.
pub(super) fn nodes(mut reader: Reader, max: usize) -> Result<Vec<TreeNode>, Fault> {
    let mut nodes = Vec::new();
    while reader.remaining() > 0 {
        if nodes.len() == max {
            return Err(Fault::Malformed);
        }
        nodes.push(TreeNode::read(&mut reader)?);
    }
    if nodes.is_empty() { Err(Fault::Malformed) } else { Ok(nodes) }
}

/// Children of nodes up to the end: of at least one.
pub(super) fn answers(mut reader: Reader) -> Result<Vec<Children>, Fault> {
    let mut answers = Vec::new();
    while reader.remaining() > 0 {
        answers.push(Children::read(&mut reader)?);
    }
    if answers.is_empty() { Err(Fault::Malformed) } else { Ok(answers) }
}

/// Positions, ascending, up to the end.
pub(super) fn positions(mut reader: Reader) -> Result<Vec<u16>, Fault> {
    let mut positions: Vec<u16> = Vec::with_capacity(reader.remaining() / 2);
    while reader.remaining() > 0 {
        let position = reader.u16()?;
        if positions.last().is_some_and(|before| *before >= position) {
            return Err(Fault::Malformed);
        }
        positions.push(position);
    }
    Ok(positions)
}

/// Appends a number in groups of seven bits, the lowest first; the highest bit says that another follows.
fn put_varint(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put_varint(out, u32::try_from(count).expect("a message holds fewer"));
}

/// Refuses what [`put_varint`] doesn't write.
fn varint(reader: &mut Reader) -> Result<u32, Fault> {
    let mut number = 0_u32;
    for at in 0..5 {
        let byte = reader.u8()?;
        let bits = u32::from(byte & 0x7f);
        if at == 4 && bits > 0xf {
            break;
        }
        number |= bits << (7 * at);
        if byte < 0x80 {
            return if at > 0 && byte == 0 { Err(Fault::Malformed) } else { Ok(number) };
        }
    }
    Err(Fault::Malformed)
}

/// A count of what takes at least `each` bytes in what is left.
fn count(reader: &mut Reader, each: usize) -> Result<usize, Fault> {
    let count = usize::try_from(varint(reader)?).map_err(|_| Fault::Malformed)?;
    if count > reader.remaining() || count * each > reader.remaining() { Err(Fault::Malformed) } else { Ok(count) }
}
