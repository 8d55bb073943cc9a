//! The pinned vectors of reconciliation by trees (link versions 2 and 3): hexadecimal in, decoded fields out; and the digests that two
//! nodes must agree on. They stay readable for ever.
#![allow(clippy::unwrap_used, missing_docs)]

use std::convert::Infallible;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use rumormill::api::{ExpiryRange, MsgId, Shelf};
use rumormill::proto::wire::{Batch, Children, Message, OpenScope, ReconBody, Role, TreeEntry, TreeKey, TreeNode};
use rumormill::proto::{Finding, Look, Question, Source, Tree};
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn hexes<const N: usize>(all: &[[u8; N]]) -> Vec<String> {
    all.iter().map(|bytes| hex(bytes)).collect()
}

fn node(node: &TreeNode) -> Value {
    match node {
        TreeNode::All => json!("all"),
        TreeNode::Block(block) => json!({ "block": block }),
        TreeNode::Ids { hour, depth, path } => {
            json!({ "hour": hour, "path": format!("{path:016x}")[..usize::from(*depth)] })
        }
    }
}

fn children(children: &Children) -> Value {
    match children {
        Children::Hours(hours) => {
            json!({ "hours": hours.iter().map(|(hour, digest)| json!([hour, hex(digest)])).collect::<Vec<_>>() })
        }
        Children::Blocks(blocks) => {
            json!({ "blocks": blocks.iter().map(|(block, digest)| json!([block, hex(digest)])).collect::<Vec<_>>() })
        }
        Children::Nibbles(nibbles) => {
            json!({ "nibbles": nibbles.iter().map(|(nibble, digest)| json!([nibble, hex(digest)])).collect::<Vec<_>>() })
        }
    }
}

fn entries<const N: usize>(entries: &[TreeEntry<N>]) -> Value {
    let entries = entries
        .iter()
        .map(|entry| json!({ "node": node(&entry.node), "held": hexes(&entry.held), "gone": hexes(&entry.gone) }));
    json!({ "exchange": entries.collect::<Vec<_>>() })
}

fn body(body: &ReconBody) -> Value {
    match body {
        ReconBody::Begin { scope, takes_only, salt, root } => {
            let scope = match scope {
                OpenScope::Window(range) => json!({ "from": range.from, "to": range.to }),
                OpenScope::Archive(proof) => json!({ "proof": hex(proof) }),
            };
            json!({ "begin": { "scope": scope, "takes_only": takes_only, "salt": hex(salt), "root": hex(root) } })
        }
        ReconBody::Same(proof) => json!({ "same": proof.map(|proof| hex(&proof)) }),
        ReconBody::Children { proof, count, children: all } => json!({ "children": {
            "proof": hex(proof),
            "count": count,
            "of": all.iter().map(children).collect::<Vec<_>>(),
        }}),
        ReconBody::Ask(nodes) => json!({ "ask": nodes.iter().map(node).collect::<Vec<_>>() }),
        ReconBody::OldExchange(all) => entries(all),
        ReconBody::Exchange(all) => entries(all),
        ReconBody::Page => json!("page"),
        ReconBody::Go => json!("go"),
        ReconBody::Found(wanted) => json!({ "found": wanted }),
        ReconBody::Given => json!("given"),
        other => unreachable!("pinned in vectors/wire.json: {other:?}"),
    }
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/recon.json")).unwrap()
}

#[test]
fn every_pinned_message_decodes_to_its_fields_and_back() {
    let vectors = vectors();
    let mut types = std::collections::BTreeSet::new();
    for vector in vectors["messages"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let bytes = HEXLOWER.decode(vector["hex"].as_str().unwrap().as_bytes()).unwrap();
        let raw: Vec<_> = Batch::new(bytes.clone().into()).map(Result::unwrap).collect();
        assert_eq!(raw.len(), 1, "{name}");
        types.insert(bytes[8]);
        let decoded = Message::decode(&raw[0]).unwrap();
        let Message::Recon(session, decoded_body) = &decoded else { panic!("{name}: {decoded:?}") };
        let sender = if session.sender == Role::Initiator { "initiator" } else { "responder" };
        assert_eq!(
            (json!(session.number), json!(sender)),
            (vector["session"].clone(), vector["sender"].clone()),
            "{name}"
        );
        assert_eq!(body(decoded_body), vector["body"], "{name}");
        assert_eq!(decoded.encode(), bytes, "{name}");
    }
    assert_eq!(types.into_iter().collect::<Vec<_>>(), (8..=17).collect::<Vec<_>>(), "every type is pinned");
}

/// Ids out of the vectors' recipe: `count` of them, `hours` hours from `first` on.
struct Ids(Vec<TreeKey>);

impl Ids {
    fn new(recipe: &Value) -> Self {
        let of = |name: &str| recipe[name].as_u64().unwrap();
        let hour = |number: u64| u32::try_from(of("first") + number % of("hours")).unwrap();
        let mut ids: Vec<_> = (0..of("count")).map(|number| (hour(number), MsgId::of(&number.to_be_bytes()))).collect();
        ids.sort_unstable();
        Self(ids)
    }
}

impl Source for Ids {
    type Error = Infallible;

    fn ids(&mut self, from: TreeKey, to: TreeKey, limit: usize) -> Result<Vec<TreeKey>, Infallible> {
        Ok(self.0.iter().filter(|key| (from..=to).contains(*key)).take(limit).copied().collect())
    }

    fn gone(&mut self, _: TreeKey, _: TreeKey, _: usize) -> Result<Vec<TreeKey>, Infallible> {
        Ok(Vec::new())
    }

    fn envelope(&mut self, _: &MsgId) -> Option<Bytes> {
        None
    }
}

/// What [`MsgId::of`] makes of the numbers from 0 on, eight bytes big-endian each, in the hour `first` + number modulo
/// `hours`, has that root, and those children.
#[test]
fn the_digests_are_the_pinned_ones() {
    for vector in vectors()["trees"].as_array().unwrap() {
        let mut ids = Ids::new(vector);
        let key: [u8; 32] = HEXLOWER.decode(vector["key"].as_str().unwrap().as_bytes()).unwrap().try_into().unwrap();
        let look = |question| Look { shelf: Shelf::Window, range: ExpiryRange::ALL, key, question };
        let mut tree = Tree::default();
        let Ok(Finding::Root(root, _)) = tree.answer(&look(Question::Root), &mut ids) else { panic!("a root") };
        assert_eq!(hex(&root), vector["root"], "{vector}");
        let first = u32::try_from(vector["first"].as_u64().unwrap()).unwrap();
        let hour = TreeNode::hour(first);
        let nodes = vec![TreeNode::All, hour, hour.child(0xa).unwrap(), hour.child(0xa).unwrap().child(5).unwrap()];
        let question = Question::Children { nodes, max_bytes: usize::MAX };
        let Ok(Finding::Children(told)) = tree.answer(&look(question), &mut ids) else { panic!("children") };
        let told = json!(told.iter().map(children).collect::<Vec<_>>());
        assert_eq!(told, vector["children"]);
    }
}
