//! Who speaks in which chat: what `join` and `leave` are made of. A room has no list of members.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::MemberInfo;
use crate::room::PersonId;

/// How long somebody must be silent to have left, in milliseconds.
pub(super) const LEAVE_AFTER_MS: u64 = 3_600_000;
/// How often it is looked for who has left, in milliseconds.
pub(super) const LEAVE_LOOK_MS: u64 = 60_000;
/// Most people that are remembered of one chat; who comes on top is not announced.
pub(super) const PEOPLE_MAX: usize = 10_000;

/// Who has spoken lately, by chat, and when by the clock's own time.
#[derive(Default)]
pub(super) struct People {
    chats: BTreeMap<Arc<str>, HashMap<PersonId, (MemberInfo, Instant)>>,
}

impl People {
    /// Somebody speaks. Whether they have joined by it.
    pub(super) fn spoke(&mut self, member: MemberInfo, now: Instant) -> bool {
        let chat = self.chats.entry(Arc::clone(&member.chat)).or_default();
        if let Some((known, last)) = chat.get_mut(&member.person.id) {
            *known = MemberInfo { messages: known.messages + 1, ..member };
            *last = now;
            return false;
        }
        if chat.len() >= PEOPLE_MAX {
            return false;
        }
        chat.insert(member.person.id, (member, now));
        true
    }

    /// Who has left, in the order of chats and keys.
    pub(super) fn left(&mut self, now: Instant) -> Vec<MemberInfo> {
        let mut gone = Vec::new();
        for chat in self.chats.values_mut() {
            let mut silent: Vec<_> = chat
                .extract_if(|_, (_, last)| {
                    now.saturating_duration_since(*last) >= Duration::from_millis(LEAVE_AFTER_MS)
                })
                .map(|(_, (member, _))| member)
                .collect();
            silent.sort_by_key(|member| member.person.id);
            gone.append(&mut silent);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Person;

    fn member(n: u64) -> MemberInfo {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        let person = Person { id: PersonId(id), nick: "x".to_owned() };
        MemberInfo { person, chat: "study".into(), last: 0, messages: 1, mine: false, bot: false }
    }

    #[test]
    fn who_speaks_joins_and_who_is_silent_leaves() {
        let hour = Duration::from_millis(LEAVE_AFTER_MS);
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut people = People::default();
        assert!(people.spoke(member(1), start));
        assert!(!people.spoke(member(1), start + minute));
        assert!(people.left(start + hour).is_empty());
        let left = people.left(start + hour + minute);
        assert_eq!((left.len(), left[0].messages), (1, 2));
        assert!(people.spoke(member(1), start + hour * 2));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let start = Instant::now();
        let mut people = People::default();
        let joined = (0..PEOPLE_MAX as u64 + 1).filter(|n| people.spoke(member(*n), start)).count();
        assert_eq!(joined, PEOPLE_MAX);
    }
}
