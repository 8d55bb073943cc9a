#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::convert::Infallible;

use proptest::prelude::*;

use super::super::super::wire::TREE_DEPTH_MAX;
use super::*;

/// A shelf of ids, whose envelopes are the ids themselves. Counts what is read.
#[derive(Clone, Default)]
struct Ids {
    held: BTreeSet<TreeKey>,
    gone: BTreeSet<TreeKey>,
    read: usize,
}

impl Source for Ids {
    type Error = Infallible;

    fn ids(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Infallible> {
        let ids: Vec<_> = self.held.range(from..=to).take(limit).copied().collect();
        self.read += ids.len();
        Ok(ids)
    }

    fn gone(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Infallible> {
        Ok(self.gone.range(from..=to).take(limit).copied().collect())
    }

    fn envelope(&mut self, id: &MsgId) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(&id.0))
    }
}

fn key(hour: ExpiryHour, number: u64) -> TreeKey {
    (hour, MsgId::of(&number.to_be_bytes()))
}

/// An id that begins with `prefix`.
fn grown(hour: ExpiryHour, prefix: &[u8], number: u64) -> TreeKey {
    let (_, mut id) = key(hour, number);
    id.0[..prefix.len()].copy_from_slice(prefix);
    (hour, id)
}

fn look(question: Question) -> Look {
    Look { shelf: Shelf::Window, range: ExpiryRange::ALL, key: [3; 32], question }
}

fn root(tree: &mut Tree, ids: &mut Ids) -> (Root, u64) {
    match tree.answer(&look(Question::Root), ids).unwrap() {
        Finding::Root(root, count) => (root, count),
        other => panic!("{other:?}"),
    }
}

fn children(tree: &mut Tree, ids: &mut Ids, node: TreeNode) -> Vec<(TreeNode, Short)> {
    match tree.answer(&look(Question::Children { nodes: vec![node], max_bytes: 1 }), ids).unwrap() {
        Finding::Children(children) => children[0].of(node).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// What two find out about each other, as the messages of a session lead them: what either lacks.
fn differences(a: (&mut Tree, &mut Ids), b: (&mut Tree, &mut Ids)) -> (BTreeSet<MsgId>, BTreeSet<MsgId>) {
    let (mut asks, mut only_a, mut only_b) = (vec![(TreeNode::All, true)], BTreeSet::new(), BTreeSet::new());
    while let Some((node, peer_has)) = asks.pop() {
        let peers = if peer_has { children(b.0, b.1, node) } else { Vec::new() };
        let Finding::Steps(steps) = a.0.answer(&look(Question::Compare(vec![(node, peers)])), a.1).unwrap() else {
            panic!("steps are asked for");
        };
        for step in steps {
            let (entry, ids) = match step {
                Step::Ask(node) => {
                    asks.push((node, true));
                    continue;
                }
                Step::Split(node) => {
                    asks.push((node, false));
                    continue;
                }
                Step::Exchange(entry, ids) => (entry, ids),
            };
            let entries: Arc<[TreeEntry]> = vec![entry].into();
            let (mut place, mut known) = (Some(Place::default()), BTreeSet::new());
            while let Some(from) = place {
                let question = Question::Serve { entries: Arc::clone(&entries), from, max_bytes: 320 };
                let Finding::Page(page) = b.0.answer(&look(question), b.1).unwrap() else { panic!("a page") };
                only_b.extend(page.envelopes.iter().map(|bytes| MsgId(bytes.as_ref().try_into().unwrap())));
                known.extend(page.known);
                place = page.next;
            }
            let lacking = (0_u16..).zip(ids).filter(|(at, _)| !known.contains(at));
            only_a.extend(lacking.map(|(_, id)| id));
        }
    }
    (only_a, only_b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn digests_depend_on_the_set_alone(
        changes in prop::collection::vec((0_u32..3, 0_u64..2_000, any::<bool>()), 0..400),
        looks in prop::collection::vec(any::<bool>(), 400),
    ) {
        let mut ids = Ids::default();
        // Above the number from which on first bytes are kept.
        ids.held.extend((0..900).map(|number| key(1, number)));
        let mut tree = Tree::default();
        for ((hour, number, comes), looked) in changes.into_iter().zip(looks) {
            let key = key(hour, number);
            if comes {
                ids.held.insert(key);
            } else {
                ids.held.remove(&key);
            }
            tree.touch(key);
            if looked {
                root(&mut tree, &mut ids);
            }
        }
        let mut fresh = Tree::default();
        prop_assert_eq!(root(&mut tree, &mut ids), root(&mut fresh, &mut ids));
        prop_assert_eq!(root(&mut tree, &mut ids).1, ids.held.len() as u64);
        let mut loader = TreeLoader::default();
        ids.held.iter().for_each(|key| loader.push(*key));
        prop_assert_eq!(root(&mut loader.finish(), &mut ids), root(&mut fresh, &mut ids));
        // The kept digests are those that the ids give.
        let mut node = TreeNode::hour(1);
        for nibble in [4, 2] {
            let kept = children(&mut tree, &mut ids, node);
            let gathered: Vec<_> = ids.held.iter().filter(|key| node.contains(key)).map(|(_, id)| *id).collect();
            let TreeNode::Ids { depth, .. } = node else { unreachable!() };
            let given = by_nibble(&gathered, depth).into_iter();
            let given: Vec<_> =
                given.map(|(nibble, digest, _)| (node.child(nibble).unwrap(), short(&[3; 32], &digest))).collect();
            prop_assert_eq!(kept, given);
            node = node.child(nibble).unwrap();
        }
    }

    #[test]
    fn either_end_finds_what_the_other_lacks(
        common in 0_u64..2_000,
        only_a in 0_u64..300,
        only_b in 0_u64..300,
        hours in 1_u32..40,
        grown_ids in 0_u64..200,
    ) {
        let of = |from: u64, count: u64| (from..from + count).map(move |n| key(u32::try_from(n % u64::from(hours)).unwrap(), n));
        let (mut a, mut b) = (Ids::default(), Ids::default());
        a.held.extend(of(0, common).chain(of(10_000, only_a)));
        b.held.extend(of(0, common).chain(of(20_000, only_b)));
        // Somebody made ids that begin alike, and one has them all, the other each second.
        for number in 0..grown_ids {
            let key = grown(0, &[7; 6], number);
            a.held.insert(key);
            if number % 2 == 0 {
                b.held.insert(key);
            }
        }
        let lacks = |one: &Ids, other: &Ids| one.held.difference(&other.held).map(|(_, id)| *id).collect::<BTreeSet<_>>();
        let (mut tree_a, mut tree_b) = (Tree::default(), Tree::default());
        let found = differences((&mut tree_a, &mut a), (&mut tree_b, &mut b));
        prop_assert_eq!(found, (lacks(&a, &b), lacks(&b, &a)));
    }
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let mut ids = Ids::default();
    ids.held.extend((0..100_000_u64).map(|number| key(u32::try_from(number % 10).unwrap(), number)));
    let mut tree = Tree::default();
    let before = root(&mut tree, &mut ids);
    assert_eq!(ids.read, 100_000);
    assert_eq!(root(&mut tree, &mut ids), before);
    assert_eq!(ids.read, 100_000);
    let new = key(3, 1_000_000);
    ids.held.insert(new);
    tree.touch(new);
    assert_ne!(root(&mut tree, &mut ids), before);
    assert!(ids.read < 100_200, "the ids of an hour that begin with the same byte: {}", ids.read - 100_000);
    tree.expire(5);
    ids.held = ids.held.split_off(&(5, MsgId([0; 32])));
    let read = ids.read;
    assert_eq!(root(&mut tree, &mut ids), root(&mut Tree::default(), &mut ids.clone()));
    assert_eq!(ids.read, read);
}

#[test]
fn a_long_archive_is_told_by_blocks() {
    let mut ids = Ids::default();
    ids.held.extend((0..u32::try_from(HOURS_MAX).unwrap()).map(|hour| key(hour, hour.into())));
    assert_eq!(children(&mut Tree::default(), &mut ids, TreeNode::All).len(), HOURS_MAX);
    ids.held.insert(key(9_999, 5_001));
    let blocks = children(&mut Tree::default(), &mut ids, TreeNode::All);
    let expected = [0, 1, 9_999 / 256].map(TreeNode::Block);
    assert_eq!(blocks.iter().map(|(block, _)| *block).collect::<Vec<_>>(), expected);
    let mut other = ids.clone();
    other.held.insert(key(300, 5_077));
    let found = differences((&mut Tree::default(), &mut ids), (&mut Tree::default(), &mut other));
    assert_eq!(found, (BTreeSet::new(), BTreeSet::from([key(300, 5_077).1])));
    let found = differences((&mut Tree::default(), &mut other), (&mut Tree::default(), &mut Ids::default()));
    assert_eq!(found.0.len(), other.held.len(), "everything, by blocks that only one has");
}

#[test]
fn a_range_hides_what_lies_outside() {
    let mut ids = Ids::default();
    ids.held.extend((0..50).map(|number| key(u32::try_from(number).unwrap(), number)));
    let mut look = look(Question::Root);
    look.range = ExpiryRange { from: 10, to: 19 };
    let mut tree = Tree::default();
    assert!(matches!(tree.answer(&look, &mut ids).unwrap(), Finding::Root(_, 10)));
    let entries = vec![TreeEntry { node: TreeNode::All, held: vec![], gone: vec![] }];
    look.question = Question::Serve { entries: entries.into(), from: Place::default(), max_bytes: usize::MAX };
    let Finding::Page(page) = tree.answer(&look, &mut ids).unwrap() else { panic!("a page") };
    assert_eq!((page.envelopes.len(), page.next), (10, None));
    look.range = ExpiryRange { from: 20, to: 10 };
    look.question = Question::Root;
    assert!(matches!(tree.answer(&look, &mut ids).unwrap(), Finding::Root(root, 0) if root == Root::default()));
}

#[test]
fn ids_that_begin_alike_to_the_greatest_depth_are_listed() {
    let mut ids = Ids::default();
    ids.held.extend((0..200).map(|number| grown(0, &[1; 8], number)));
    let mut other = ids.clone();
    let lacking = grown(0, &[1; 8], 1_000);
    other.held.insert(lacking);
    let found = differences((&mut Tree::default(), &mut ids), (&mut Tree::default(), &mut other));
    assert_eq!(found, (BTreeSet::new(), BTreeSet::from([lacking.1])));
    assert_eq!(usize::from(TREE_DEPTH_MAX), 2 * 8);
}
