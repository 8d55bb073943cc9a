//! The way into the vault: bounded in commands, and in the bytes of envelopes that aren't durable yet.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::Command;
use crate::proto::Accepted;

/// How many bytes of envelopes may be on their way into the store: past it the driver waits, and so do the peers.
pub(super) const VAULT_QUEUE_MAX_BYTES: usize = 4 << 20;

impl Command {
    /// To keep, open and show these.
    pub(in crate::node) const fn accept(all: Vec<Accepted>) -> Self {
        Self::Accept(all, None)
    }

    /// How many it brings.
    pub(super) const fn envelopes(&self) -> usize {
        match self {
            Self::Accept(all, _) => all.len(),
            _ => 0,
        }
    }
}

/// The driver's end of the vault's queue: bounded in commands and in bytes.
pub(in crate::node) struct ToVault {
    commands: mpsc::Sender<Command>,
    bytes: Arc<Semaphore>,
}

impl ToVault {
    pub(in crate::node) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands, bytes: Arc::new(Semaphore::new(VAULT_QUEUE_MAX_BYTES)) }
    }

    /// Waits until the command has a place. Does nothing once the vault is gone, which only happens at the end.
    pub(in crate::node) async fn send(&self, mut command: Command) {
        if let Command::Accept(all, share) = &mut command {
            let bytes: usize = all.iter().map(|accepted| accepted.envelope.bytes().len()).sum();
            let bytes = u32::try_from(bytes.min(VAULT_QUEUE_MAX_BYTES)).expect("the bound is below 4 GiB");
            *share = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.ok();
        }
        let _ = self.commands.send(command).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use rumormill_api::Hashed;
    use tokio::time::timeout;

    use super::*;

    fn accepted(bytes: usize) -> Command {
        let envelope = Hashed::of(vec![1; bytes].into());
        Command::accept(vec![Accepted { envelope, expiry: 0, source: 1, synced: false, window: true }])
    }

    #[tokio::test(start_paused = true)]
    async fn the_driver_waits_past_the_bound_until_something_is_durable() {
        let (commands, mut queue) = mpsc::channel(16);
        let vault = ToVault::new(commands);
        let sent = async |bytes| timeout(Duration::from_secs(1), vault.send(accepted(bytes))).await.is_ok();
        assert!(sent(VAULT_QUEUE_MAX_BYTES - 1).await);
        assert!(sent(1).await);
        assert!(!sent(1).await, "a byte too many");
        vault.send(Command::Retry).await;
        let first = queue.recv().await.unwrap();
        assert!(!sent(1).await, "taken up isn't durable");
        drop(first);
        assert!(sent(1).await);
        drop(queue.recv().await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_the_bound_at_once_has_it_for_itself() {
        let (commands, mut queue) = mpsc::channel(16);
        let vault = ToVault::new(commands);
        vault.send(accepted(VAULT_QUEUE_MAX_BYTES + 1)).await;
        assert!(timeout(Duration::from_secs(1), vault.send(accepted(1))).await.is_err());
        drop(queue.recv().await.unwrap());
        vault.send(accepted(1)).await;
    }
}
