//! What a frontend shows, and how it becomes text.

use rumormill_api::Millis;

use super::{Frontend, human::Human, json::Json, plain::Plain};
use crate::node::{Event, UiAction};

/// One thing to show.
#[derive(Debug)]
pub(super) enum Item {
    /// Something happened at the node.
    Event(Event),
    /// The frontend fell behind: so many events were skipped.
    Skipped(u64),
    /// A command wants something shown.
    Action(UiAction),
    /// A line for the user.
    Info(String),
    /// What the user asked for failed.
    Error(String),
}

/// Turns items into whole lines, appended to `out`. Every text in them is sanitized.
pub(super) trait Render: Send + Sync {
    fn render(&mut self, item: &Item, out: &mut String);
}

pub(super) fn of(kind: Frontend, color: bool, now: fn() -> Millis) -> Box<dyn Render> {
    match kind {
        Frontend::Line => Box::new(Human { color, now }),
        Frontend::Plain => Box::new(Plain),
        Frontend::Json => Box::new(Json),
    }
}

/// How the number of skipped events is said.
pub(super) fn skipped(events: u64) -> String {
    format!("{events} events were skipped: the output is read too slowly (messages are kept: show history)")
}

#[cfg(test)]
pub(super) mod samples {
    use std::sync::Arc;

    use rumormill_api::MsgId;

    use crate::node::{Message, PeerInfo, Person};
    use crate::room::PersonId;

    pub(in crate::ui) fn message(text: &str) -> Message {
        Message {
            id: MsgId([0xab; 32]),
            chat: Arc::from("study"),
            from: Person { id: PersonId([7; 32]), nick: "Bob".to_owned() },
            text: text.to_owned(),
            time: 1_000_000_000_000,
            mine: false,
            bot: false,
            synced: false,
            late: false,
            reply_to: None,
            missing: 0,
        }
    }

    pub(in crate::ui) fn peer() -> PeerInfo {
        PeerInfo {
            addr: "tcp:127.0.0.1:4002".parse().expect("it is an address"),
            outgoing: true,
            fingerprint: "01020304".to_owned(),
        }
    }
}
