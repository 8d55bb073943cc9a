//! One established link: a task that reads and writes until either ends.
//!
//! Reading and writing are two futures of one task, so the session's lock is never contended; it is held for one
//! record's cryptography and never across an await.
//!
//! Ending: [`Links::close`](rumormill_api::Links::close) closes the queue. The writer then writes what is left and shuts
//! its direction down, the reader goes on until the other end has done the same, and [`CLOSE_FLUSH_MS`] bounds it all.
//! So neither end's last words are lost to a reset.
//!
//! A link counts as idle, and goes down, when nothing is heard for the idle time-out, and likewise when a write makes no
//! progress for that long. While the node itself is too busy to take events nothing is read, and nothing counts.

use std::io;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rumormill_api::{Direction, DownReason, LinkEvent, LinkId, LinkInfo, PeerAddr, SendQueue};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::buffer::{ReadBuffer, WRITE_BATCH_BYTES, WriteBuffer};
use crate::handshake::closed_by_peer;
use crate::noise::Session;
use crate::shared::Shared;

/// How long closing waits for what is queued to be written, in milliseconds.
pub(crate) const CLOSE_FLUSH_MS: u64 = 1_000;

/// Runs a link from its `Up` to its `Down`.
pub(crate) async fn run(
    shared: &Shared,
    mut stream: TcpStream,
    session: Session,
    direction: Direction,
    remote: PeerAddr,
) {
    let incoming = direction == Direction::Incoming;
    let Some((id, queue)) = shared.add(incoming) else {
        if let Direction::Outgoing(addr) = direction {
            shared.tell(LinkEvent::DialFailed(addr, "the transport was closed".to_owned())).await;
        }
        return;
    };
    let _entry = Entry { shared, id };
    let info = LinkInfo { peer: session.peer, direction, remote, handshake_hash: session.handshake_hash };
    if !shared.tell(LinkEvent::Up(id, info)).await {
        return;
    }

    let session = Mutex::new(session);
    let (read_half, write_half) = stream.split();
    let end = Link { shared, id, queue: &queue, session: &session }.exchange(read_half, write_half).await;

    // The socket is closed and the link unknown before the node hears of it.
    drop(stream);
    drop(_entry);
    shared.tell(LinkEvent::Down(id, end)).await;
}

/// The link's place in the table, also when the task is ended from outside.
struct Entry<'a> {
    shared: &'a Shared,
    id: LinkId,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.shared.remove(self.id);
    }
}

#[derive(Clone, Copy)]
struct Link<'a> {
    shared: &'a Shared,
    id: LinkId,
    queue: &'a SendQueue,
    session: &'a Mutex<Session>,
}

impl Link<'_> {
    async fn exchange(self, read_half: ReadHalf<'_>, write_half: WriteHalf<'_>) -> DownReason {
        let mut reading = pin!(self.read(read_half));
        let mut writing = pin!(self.write(write_half));
        let mut draining = pin!(self.announce_drained());
        let mut deadline = pin!(async {
            self.queue.closed().await;
            tokio::time::sleep(Duration::from_millis(CLOSE_FLUSH_MS)).await;
        });
        let mut written = None;
        let reason = loop {
            tokio::select! {
                reason = &mut reading => break reason,
                result = &mut writing, if written.is_none() => {
                    // After an error there may still be something to read, such as the other end's last words.
                    self.queue.close();
                    written = Some(result);
                }
                () = &mut draining => break DownReason::Closed,
                () = &mut deadline => break DownReason::Closed,
            }
        };
        match (written, reason) {
            (_, fault @ DownReason::Fault(_)) => fault,
            (Some(Err(reason)), _) => reason,
            (_, _) if self.queue.is_closed() => DownReason::Closed,
            (_, reason) => reason,
        }
    }

    async fn announce_drained(self) {
        loop {
            self.queue.drained().await;
            if !self.shared.tell(LinkEvent::Drained(self.id)).await {
                return;
            }
        }
    }

    /// Reads until the end. While the node is busy nothing is read, so the other end has to slow down.
    async fn read(self, mut half: ReadHalf<'_>) -> DownReason {
        let mut buffer = ReadBuffer::new();
        loop {
            loop {
                let opened = {
                    let Some(record) = buffer.record() else { break };
                    self.session.lock().unwrap_or_else(PoisonError::into_inner).open(record)
                };
                match opened {
                    Ok(Some(plain)) => {
                        if !self.shared.tell(LinkEvent::Batch(self.id, plain.into())).await {
                            return DownReason::Closed;
                        }
                    }
                    Ok(None) => {}
                    Err(fault) => return DownReason::Fault(fault),
                }
            }
            match timeout(self.shared.limits.idle_timeout, buffer.fill(&mut half)).await {
                Ok(Ok(0)) => return DownReason::Remote,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return io_reason(&error),
                Err(_) => return DownReason::Idle,
            }
        }
    }

    /// Writes until the queue is closed and empty: per wake-up everything that is queued, in as few records and writes
    /// as it fits into.
    async fn write(self, mut half: WriteHalf<'_>) -> Result<(), DownReason> {
        let mut frames = Vec::new();
        let mut buffer = WriteBuffer::new();
        while self.queue.take(&mut frames, WRITE_BATCH_BYTES).await {
            buffer
                .pack(&frames, &mut self.session.lock().unwrap_or_else(PoisonError::into_inner))
                .map_err(|error| DownReason::Io(error.to_string()))?;
            frames.clear();
            let mut rest = buffer.packed();
            while !rest.is_empty() {
                match timeout(self.shared.limits.idle_timeout, half.write(rest)).await {
                    Ok(Ok(0)) => return Err(DownReason::Remote),
                    Ok(Ok(count)) => rest = &rest[count..],
                    Ok(Err(error)) => return Err(io_reason(&error)),
                    Err(_) => return Err(DownReason::Idle),
                }
            }
            if self.queue.is_empty() {
                buffer.shrink();
                frames.shrink_to(64);
            }
        }
        half.shutdown().await.map_err(|error| io_reason(&error))
    }
}

fn io_reason(error: &io::Error) -> DownReason {
    if closed_by_peer(error) { DownReason::Remote } else { DownReason::Io(error.to_string()) }
}
