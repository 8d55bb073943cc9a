//! What handlers can be registered for.

use super::{Event, Type, must};

const MESSAGE: Type = Type::Class("Message");
const DRAFT: Type = Type::Class("Draft");
const FILTERED: &[Type] = &[Type::Maybe(&Type::Either(&[Type::Boolean, MESSAGE])), Type::Maybe(&Type::String)];

/// Every event, in the order of the reference.
pub(in crate::script) const EVENTS: &[Event] = &[
    Event {
        name: "send",
        params: &[must("msg", DRAFT, "")],
        returns: &[Type::Maybe(&Type::Either(&[Type::Boolean, DRAFT])), Type::Maybe(&Type::String)],
        needs: Some("filter"),
        may_wait: false,
        doc: "Filter: a message before it is sealed. `nil` passes it on, `false, reason` drops it, a message replaces its text.",
    },
    Event {
        name: "receive",
        params: &[must("msg", MESSAGE, "")],
        returns: FILTERED,
        needs: Some("filter"),
        may_wait: false,
        doc: "Filter: a message before it is shown, history too. Returns as for `send`.",
    },
    Event {
        name: "relay",
        params: &[must("passing", Type::Class("Passing"), "")],
        returns: &[Type::Maybe(&Type::Boolean)],
        needs: Some("relay"),
        may_wait: false,
        doc: "Filter: somebody's envelope before it is passed on as it comes. `nil` passes it on, `false` doesn't; this node \
              keeps it, reads it if it can, and shows it to peers that reconcile all the same. A filter that fails, or hasn't \
              answered in 25 ms, has passed it on.",
    },
    Event {
        name: "message",
        params: &[must("msg", MESSAGE, "")],
        returns: &[],
        needs: None,
        may_wait: true,
        doc: "A message that was shown. Own bots' words never; history only with `synced = true`, others' bots only with `bots = true`.",
    },
    Event {
        name: "join",
        params: &[must("member", Type::Class("Member"), "")],
        returns: &[],
        needs: None,
        may_wait: true,
        doc: "Somebody speaks in a chat for the first time since the program started. A room has no list of members: who only reads is not seen.",
    },
    Event {
        name: "leave",
        params: &[must("member", Type::Class("Member"), "")],
        returns: &[],
        needs: None,
        may_wait: true,
        doc: "Somebody who spoke has been silent in a chat for an hour. They may still read. `join` follows when they speak again.",
    },
    Event {
        name: "peer:up",
        params: &[must("peer", Type::Class("Peer"), "")],
        returns: &[],
        needs: None,
        may_wait: true,
        doc: "A link to a peer is up.",
    },
    Event {
        name: "peer:down",
        params: &[must("peer", Type::Class("Peer"), "")],
        returns: &[],
        needs: None,
        may_wait: true,
        doc: "A link to a peer is gone.",
    },
    Event {
        name: "gap",
        params: &[must("gap", Type::Class("Gap"), "")],
        returns: &[],
        needs: None,
        may_wait: true,
        doc: "Messages are known to be missing from a chat, or (0) no longer.",
    },
    Event {
        name: "load",
        params: &[must("saved", Type::Any, "")],
        returns: &[],
        needs: None,
        may_wait: true,
        doc: "Gets what the version before returned from `unload`, or nil. Runs when the node is there, before all else.",
    },
    Event {
        name: "unload",
        params: &[],
        returns: &[Type::Any],
        needs: None,
        may_wait: false,
        doc: "Returns a value for the next version: booleans, numbers, strings, lists, tables with string keys.",
    },
];
