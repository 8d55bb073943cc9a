//! The thread before the vault's: it opens what comes while the vault is at what came before. Most of what a message costs is the
//! check of its signature, which needs nothing but the keys.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rumormill_api::{Millis, MsgId};
use tokio::sync::mpsc;

use super::{Command, GROUP_COMMIT_MAX, Vault, waiting};
use crate::node::clock::Clock;
use crate::room::{Keyring, Opening};

/// How long commands may gather when there is no end of them, in milliseconds: a wake-up of the vault's thread and a transaction
/// each would cost more than what they are for. After a pause nothing waits.
const GATHER_MS: Millis = 1;

/// How many parts may lie between the two threads. What they bring counts as waiting for the vault.
const PARTS_MAX: usize = 64;

/// After how many envelopes a turn takes in no further part: two pages of a reconciliation, so that two others can come and be
/// opened meanwhile.
pub(super) const TURN_ENVELOPES: usize = 1_024;

/// What envelopes led to.
pub(super) type Openings = HashMap<MsgId, Opening>;

/// Commands, and what they bring, opened.
pub(super) struct Part {
    pub(super) commands: Vec<Command>,
    pub(super) opened: Openings,
    /// How often keys had been erased before.
    pub(super) erasures: u64,
}

/// What opens, before the vault.
pub(in crate::node) struct Opener {
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    threads: NonZero<usize>,
    erasures: Arc<AtomicU64>,
    commands: mpsc::Receiver<Command>,
    parts: SyncSender<Part>,
}

/// What it has opened, in the order in which it came.
pub(in crate::node) struct Parts(pub(super) Receiver<Part>);

impl Vault {
    /// What opens before this vault, on a thread of its own, and what comes from there.
    pub(in crate::node) fn opener(&self, commands: mpsc::Receiver<Command>) -> (Opener, Parts) {
        let (parts, receiver) = sync_channel(PARTS_MAX);
        let opener = Opener {
            keyring: Arc::clone(&self.keyring),
            clock: Arc::clone(&self.clock),
            threads: self.opening_threads,
            erasures: Arc::clone(&self.erasures),
            commands,
            parts,
        };
        (opener, Parts(receiver))
    }

    /// Everything that is there, as far as a turn takes it in. `None` at the end.
    pub(super) fn next_of(&self, parts: &Parts) -> Option<(Vec<Command>, Openings)> {
        let (mut commands, mut opened, mut envelopes) = (Vec::new(), Openings::new(), 0);
        let mut next = parts.0.recv().ok();
        while let Some(part) = next {
            envelopes += part.commands.iter().map(Command::envelopes).sum::<usize>();
            commands.extend(part.commands);
            // What was opened before its key was erased would come back with what was erased.
            if part.erasures == self.erasures.load(Ordering::Acquire) {
                opened.extend(part.opened);
            }
            let room = commands.len() < GROUP_COMMIT_MAX && envelopes < TURN_ENVELOPES;
            next = room.then(|| parts.0.try_recv().ok()).flatten();
        }
        (!commands.is_empty()).then_some((commands, opened))
    }
}

impl Opener {
    /// Runs until the vault is told to stop, or until there is nobody before or behind.
    pub(in crate::node) fn run(mut self) {
        let (mut last, mut running) = (0, true);
        while running && let Some(first) = self.commands.blocking_recv() {
            let mut now = self.clock.now().mono;
            if now <= last + GATHER_MS {
                gather();
                now += GATHER_MS;
            }
            last = now;
            let commands = waiting(first, &mut self.commands, GROUP_COMMIT_MAX);
            running = !commands.iter().any(|command| matches!(command, Command::Stop));
            // Read before a key is used, and written after it is erased.
            let erasures = self.erasures.load(Ordering::Acquire);
            let opened = open(&self.keyring, &commands, self.clock.now().unix, self.threads);
            running &= self.parts.send(Part { commands, opened, erasures }).is_ok();
        }
    }
}

/// Opens all that commands bring.
pub(super) fn open(keyring: &Keyring, commands: &[Command], now: Millis, threads: NonZero<usize>) -> Openings {
    let brought = commands.iter().filter_map(|command| match command {
        Command::Accept(all, _) => Some(all),
        _ => None,
    });
    let envelopes: Vec<_> = brought.flatten().map(|accepted| &accepted.envelope).collect();
    let bytes: Vec<_> = envelopes.iter().map(|envelope| envelope.bytes()).collect();
    let openings = keyring.open_all(&bytes, now, threads);
    envelopes.iter().map(|envelope| *envelope.id()).zip(openings).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the opener's own thread; there is no event to wait for: what comes is gathered"
)]
fn gather() {
    std::thread::sleep(Duration::from_millis(GATHER_MS));
}
