//! The order in which messages are shown.
//!
//! Causal first: a message comes after everything that it follows, as far as that is here. Among those that are free to
//! come next, the lowest (Lamport clock, id) does. The order depends on the set of messages alone, not on how they
//! arrived, so two nodes with the same messages show the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::payload::Opened;
use super::state::Rank;

/// The order of display: indices into `messages`. What a message follows and isn't among them counts for nothing. A
/// message that is there twice counts once, at its first index. Should messages claim to follow one another in a circle,
/// the circle is opened at its lowest (Lamport clock, id).
#[must_use]
pub fn display_order(messages: &[Opened]) -> Vec<usize> {
    let mut index = BTreeMap::new();
    for (at, message) in messages.iter().enumerate() {
        index.entry(message.id).or_insert(at);
    }
    let rank = |at: usize| -> Rank { (messages[at].lamport, messages[at].id) };
    let mut follows = vec![BTreeSet::new(); messages.len()];
    let mut followers = vec![Vec::new(); messages.len()];
    for &at in index.values() {
        follows[at] = messages[at].dependencies().filter_map(|id| index.get(id)).copied().collect();
        follows[at].remove(&at);
        for &before in &follows[at] {
            followers[before].push(at);
        }
    }

    let (mut free, mut waiting) = (BinaryHeap::new(), BTreeSet::new());
    for &at in index.values() {
        if follows[at].is_empty() {
            free.push(Reverse((rank(at), at)));
        } else {
            waiting.insert((rank(at), at));
        }
    }
    let mut out = Vec::with_capacity(index.len());
    loop {
        let at = match (free.pop(), waiting.first()) {
            (Some(Reverse((_, at))), _) => at,
            (None, Some(&(_, start))) => {
                let at = lowest_of_circle(start, &follows, rank);
                waiting.remove(&(rank(at), at));
                at
            }
            (None, None) => return out,
        };
        out.push(at);
        for &follower in &followers[at] {
            follows[follower].remove(&at);
            // One that a circle was opened at is no longer waiting.
            if follows[follower].is_empty() && waiting.remove(&(rank(follower), follower)) {
                free.push(Reverse((rank(follower), follower)));
            }
        }
    }
}

/// The lowest message of the circle that is reached from `start` by going, again and again, to the lowest message that
/// is followed. Ids are hashes, so that nobody can make a circle; but then nobody should rely on it here.
fn lowest_of_circle(start: usize, follows: &[BTreeSet<usize>], rank: impl Fn(usize) -> Rank) -> usize {
    let (mut path, mut places) = (Vec::new(), BTreeMap::new());
    let mut at = start;
    while !places.contains_key(&at) {
        places.insert(at, path.len());
        path.push(at);
        at = follows[at].iter().copied().min_by_key(|&before| rank(before)).expect("one that waits follows another");
    }
    path[places[&at]..].iter().copied().min_by_key(|&at| rank(at)).expect("a circle has a message")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use rumormill_api::MsgId;

    use super::super::Body;
    use super::super::testing::{alice, id};
    use super::*;

    fn message(at: u8, lamport: u64, follows: &[u8]) -> Opened {
        Opened {
            id: id(at),
            from: alice().id(),
            nick: String::new(),
            seq: 0,
            prev: None,
            parents: follows.iter().map(|&at| id(at)).collect(),
            lamport,
            time: 0,
            expiry: 0,
            bot: false,
            reply_to: None,
            body: Body::Text("x".to_owned()),
        }
    }

    fn shown(messages: &[Opened]) -> Vec<u8> {
        display_order(messages).into_iter().map(|at| messages[at].id.0[0]).collect()
    }

    #[test]
    fn by_clock_and_then_by_id() {
        assert_eq!(shown(&[message(3, 7, &[]), message(1, 9, &[]), message(2, 7, &[])]), [2, 3, 1]);
    }

    #[test]
    fn what_is_followed_comes_first_whatever_its_clock() {
        assert_eq!(shown(&[message(1, 5, &[2]), message(2, 900, &[])]), [2, 1]);
    }

    #[test]
    fn what_is_missing_holds_nothing_up() {
        assert_eq!(shown(&[message(1, 5, &[77]), message(2, 4, &[1, 78])]), [1, 2]);
    }

    #[test]
    fn circles_open_at_the_lowest() {
        let circle = [message(1, 5, &[3]), message(2, 4, &[1]), message(3, 6, &[2]), message(4, 1, &[3, 4])];
        assert_eq!(shown(&circle), [2, 3, 4, 1]);
    }

    #[test]
    fn one_that_is_there_twice_is_shown_once() {
        assert_eq!(shown(&[message(1, 5, &[]), message(2, 4, &[]), message(1, 5, &[])]), [2, 1]);
    }

    proptest! {
        #[test]
        fn the_same_whatever_the_arrival(
            claims in prop::collection::vec((0_u64..6, prop::collection::vec(0_u8..24, 0..3)), 1..20),
            order in prop::collection::vec(any::<u64>(), 20),
        ) {
            // Any claims at all: gaps, circles, messages that follow themselves.
            let here: Vec<_> = (0..).zip(&claims).map(|(at, (lamport, follows))| message(at, *lamport, follows)).collect();
            let mut keyed: Vec<_> = order.iter().zip(here.clone()).collect();
            keyed.sort_by_key(|(key, _)| **key);
            let there: Vec<_> = keyed.into_iter().map(|(_, message)| message).collect();
            prop_assert_eq!(shown(&here), shown(&there));
            prop_assert_eq!(display_order(&here).len(), here.len());
        }

        #[test]
        fn causes_come_first(claims in prop::collection::vec((0_u64..6, prop::collection::vec(0_u8..24, 0..3)), 1..20)) {
            // Messages that follow only earlier ones, as honest ones do.
            let here: Vec<_> = (0_u8..).zip(&claims)
                .map(|(at, (lamport, follows))| {
                    let follows: Vec<_> = follows.iter().copied().filter(|&before| before < at).collect();
                    message(at, *lamport, &follows)
                })
                .collect();
            let order = display_order(&here);
            let place = |id: &MsgId| order.iter().position(|&at| here[at].id == *id);
            for message in &here {
                for before in message.dependencies() {
                    prop_assert!(place(before) < place(&message.id));
                }
            }
        }
    }
}
