//! A handler under way: why it runs, and what it waits for.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use mlua::Thread;

use super::api::Actions;
use super::job::Slot;
use super::shared::EventKind;
use super::time::Alarm;

/// Why a handler runs, and who waits for its end.
pub(super) enum Purpose {
    Observer(EventKind),
    Load(Slot),
    Timer(u32),
    Spawned,
    Command { slot: Slot, usage: String, actions: Rc<RefCell<Option<Actions>>> },
    Eval(Slot),
}

/// A handler under way.
pub(super) struct Task {
    pub(super) thread: Thread,
    pub(super) spent: Duration,
    pub(super) purpose: Purpose,
    /// Whether it goes back to what a bot said.
    pub(super) by_bot: bool,
    pub(super) waits: Waits,
}

/// What a handler waits for.
pub(super) enum Waits {
    /// Nothing yet, or the node.
    Node,
    /// A web server.
    Web,
    /// The time. A version that is replaced doesn't wait for its sleepers.
    Sleep(#[expect(dead_code, reason = "dropped, it doesn't ring")] Alarm),
}
