//! Accepting links: the listening sockets, and the bounded set of handshakes under way.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumormill_api::{Direction, Error, ErrorKind, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::addr::{HostPort, peer_addr};
use crate::record::Session;
use crate::shared::Shared;
use crate::{NAME, handshake, link};

/// How long to wait after the system refused to accept (no descriptors left, for example), in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 50;

/// The handshakes under way for incoming links, oldest first.
///
/// When there are as many as allowed, a new one ends the oldest: sockets that say nothing can't keep an honest peer out,
/// who needs a round trip.
pub(crate) struct HalfOpen {
    max: usize,
    state: Mutex<HalfOpenState>,
}

#[derive(Default)]
struct HalfOpenState {
    next: u64,
    tasks: VecDeque<(u64, AbortHandle)>,
}

impl HalfOpen {
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max.max(1), state: Mutex::default() }
    }

    /// Starts a handshake, which gets its number.
    fn start(&self, spawn: impl FnOnce(u64) -> AbortHandle) {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        // Spawned under the lock, so that it can't finish before it stands in the list.
        let task = spawn(id);
        state.tasks.push_back((id, task));
        let evicted = if state.tasks.len() > self.max { state.tasks.pop_front() } else { None };
        drop(state);
        if let Some((_, task)) = evicted {
            task.abort();
        }
    }

    /// A handshake ended. `false` when it was evicted just before.
    fn finish(&self, id: u64) -> bool {
        let mut state = self.state();
        let found = state.tasks.binary_search_by_key(&id, |(id, _)| *id);
        found.is_ok_and(|at| state.tasks.remove(at).is_some())
    }

    /// Ends the oldest handshake.
    fn evict(&self) {
        let oldest = self.state().tasks.pop_front();
        if let Some((_, task)) = oldest {
            task.abort();
        }
    }

    /// How many are under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state().tasks.len()
    }

    fn state(&self) -> MutexGuard<'_, HalfOpenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens on an address of the config.
pub(crate) async fn bind(text: &str) -> Result<TcpListener> {
    let addr = HostPort::parse(text).ok_or_else(|| {
        let hint = "expected HOST:PORT, for example 0.0.0.0:4001 or [::]:4001";
        Error::new(ErrorKind::Invalid, NAME, format!("can't listen on {text:?}: {hint}"))
    })?;
    let bound = match addr.resolve().await {
        Ok(addrs) => TcpListener::bind(&addrs[..]).await,
        Err(error) => Err(error),
    };
    bound.map_err(|error| bind_error(text, error))
}

pub(crate) fn bind_error(text: &str, error: io::Error) -> Error {
    let (kind, hint) = match error.kind() {
        io::ErrorKind::AddrInUse => {
            (ErrorKind::Busy, "another program, perhaps another node, uses it; stop that one or choose another port")
        }
        io::ErrorKind::PermissionDenied => {
            (ErrorKind::Denied, "the system forbids it; choose a port of 1024 or above, or grant the permission")
        }
        io::ErrorKind::AddrNotAvailable => {
            (ErrorKind::Invalid, "this machine has no such address; 0.0.0.0 and [::] stand for all that it has")
        }
        _ => (ErrorKind::Io, "the system reported an error"),
    };
    Error::new(kind, NAME, format!("can't listen on {text}: {hint}")).with_source(error)
}

/// Accepts until the transport is closed.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.closed() => return,
        };
        match accepted {
            // With no room, closing without a word is all that a stranger gets.
            Ok((stream, remote)) if shared.has_room() => {
                shared
                    .half_open
                    .start(|id| tokio::spawn(half_open(Arc::clone(&shared), id, stream, remote)).abort_handle());
            }
            Ok(_) => tracing::debug!("closed a connection: there are as many incoming links as allowed"),
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                shared.half_open.evict();
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

async fn half_open(shared: Arc<Shared>, id: u64, mut stream: TcpStream, remote: SocketAddr) {
    let shaken = tokio::select! {
        shaken = timeout(shared.limits.handshake_timeout, shake(&mut stream, &shared)) => shaken.ok().flatten(),
        () = shared.closed() => None,
    };
    if !shared.half_open.finish(id) {
        return;
    }
    if let Some(session) = shaken {
        link::run(&shared, stream, session, Direction::Incoming, peer_addr(remote)).await;
    }
}

async fn shake(stream: &mut TcpStream, shared: &Shared) -> Option<Session> {
    stream.set_nodelay(true).ok()?;
    match handshake::respond(stream, &shared.keys).await {
        Ok(session) => Some(session),
        Err(error) => {
            tracing::debug!(%error, "an incoming connection didn't become a link");
            None
        }
    }
}
