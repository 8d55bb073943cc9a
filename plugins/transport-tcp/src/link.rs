//! One established link: a task that reads and writes until either ends.
//!
//! Reading and writing are two futures of one task, and each has its own half of the session: there is no lock.
//!
//! Ending: [`Links::close`](rumormill_api::Links::close) closes the queue. The writer then writes what is left and shuts
//! its direction down, the reader goes on until the other end has done the same, and [`CLOSE_FLUSH_MS`] bounds it all.
//! So neither end's last words are lost to a reset.
//!
//! A link counts as idle, and goes down, when nothing is heard for the idle time-out, and likewise when a write makes no
//! progress for that long. While the node itself is too busy to take events nothing is read, and nothing counts.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rumormill_api::{Direction, DownReason, LinkEvent, LinkId, LinkInfo, PeerAddr, SendQueue};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use crate::buffer::{ReadBuffer, WRITE_BATCH_BYTES, WriteBuffer};
use crate::handshake::closed_by_peer;
use crate::record::{Opener, Sealer, Session};
use crate::shared::Shared;

/// How long closing waits for what is queued to be written, in milliseconds.
pub(crate) const CLOSE_FLUSH_MS: u64 = 1_000;
/// How long a link's buffers keep what a burst made of them, in milliseconds: once to twice this.
const REST_MS: u64 = 5_000;
/// How many slots the list of the frames of one write keeps: those of [`WRITE_BATCH_BYTES`] in the smallest envelopes, and
/// many announcements.
const FRAMES_KEPT: usize = 1_024;

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

    let (read_half, write_half) = stream.split();
    let clocks = Clocks::new(shared.limits.idle_timeout);
    let link = Link { shared, id, queue: &queue, clocks: &clocks };
    let end = link.exchange((read_half, session.opener), (write_half, session.sealer)).await;

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

/// What the two directions wait for, and since when: one timer for both, instead of one for every read and write.
struct Clocks {
    start: Instant,
    idle_timeout: Duration,
    reading: Waiting,
    writing: Waiting,
    /// The buffers are to give back what they don't need.
    rest: [AtomicBool; 2],
}

/// Since when something is waited for, in microseconds after the link's start; [`NOT_WAITING`] if nothing is.
struct Waiting(AtomicU64);

const NOT_WAITING: u64 = u64::MAX;

impl Waiting {
    fn begin(&self, clocks: &Clocks) {
        let since = u64::try_from(clocks.start.elapsed().as_micros()).unwrap_or(NOT_WAITING - 1);
        self.0.store(since, Ordering::Relaxed);
    }

    fn end(&self) {
        self.0.store(NOT_WAITING, Ordering::Relaxed);
    }

    fn since(&self, start: Instant) -> Option<Instant> {
        let since = self.0.load(Ordering::Relaxed);
        (since != NOT_WAITING).then(|| start + Duration::from_micros(since))
    }
}

impl Clocks {
    fn new(idle_timeout: Duration) -> Self {
        let not_waiting = || Waiting(AtomicU64::new(NOT_WAITING));
        let rest = [AtomicBool::new(false), AtomicBool::new(false)];
        Self { start: Instant::now(), idle_timeout, reading: not_waiting(), writing: not_waiting(), rest }
    }

    /// Until one direction has waited for the idle time-out. On its way it reminds the buffers to rest.
    async fn idle(&self) {
        let mut rest_at = self.start + Duration::from_millis(REST_MS);
        loop {
            let now = Instant::now();
            let waits = [&self.reading, &self.writing].into_iter().filter_map(|waiting| waiting.since(self.start));
            // What begins to wait later is due later.
            let due = waits.min().unwrap_or(now) + self.idle_timeout;
            if due <= now {
                return;
            }
            if rest_at <= now {
                rest_at = now + Duration::from_millis(REST_MS);
                self.rest.iter().for_each(|rest| rest.store(true, Ordering::Relaxed));
            }
            tokio::time::sleep_until(due.min(rest_at)).await;
        }
    }

    fn take_rest(&self, direction: usize) -> bool {
        self.rest[direction].load(Ordering::Relaxed) && self.rest[direction].swap(false, Ordering::Relaxed)
    }
}

const READING: usize = 0;
const WRITING: usize = 1;

#[derive(Clone, Copy)]
struct Link<'a> {
    shared: &'a Shared,
    id: LinkId,
    queue: &'a SendQueue,
    clocks: &'a Clocks,
}

impl Link<'_> {
    async fn exchange(self, reader: (ReadHalf<'_>, Opener), writer: (WriteHalf<'_>, Sealer)) -> DownReason {
        // Polled first: the buffers hear of their rest in the same turn.
        let mut idle = pin!(self.clocks.idle());
        let mut reading = pin!(self.read(reader.0, reader.1));
        let mut writing = pin!(self.write(writer.0, writer.1));
        let mut draining = pin!(self.announce_drained());
        let mut deadline = pin!(async {
            self.queue.closed().await;
            tokio::time::sleep(Duration::from_millis(CLOSE_FLUSH_MS)).await;
        });
        let mut written = None;
        let reason = loop {
            tokio::select! {
                biased;
                () = &mut idle => break DownReason::Idle,
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

    /// Reads until the end: per read one event with all that came. While the node is busy nothing is read, so the other
    /// end has to slow down.
    async fn read(self, mut half: ReadHalf<'_>, mut opener: Opener) -> DownReason {
        let mut buffer = ReadBuffer::new();
        loop {
            match buffer.open(&mut opener) {
                Ok(Some(batch)) => {
                    if !self.shared.tell(LinkEvent::Batch(self.id, batch)).await {
                        return DownReason::Closed;
                    }
                    continue;
                }
                Ok(None) => {}
                Err(fault) => return DownReason::Fault(fault),
            }
            self.clocks.reading.begin(self.clocks);
            let read = poll_fn(|context| {
                if self.clocks.take_rest(READING) {
                    buffer.rest();
                }
                buffer.poll_fill(context, &mut half)
            });
            let read = read.await;
            self.clocks.reading.end();
            match read {
                Ok(0) => return DownReason::Remote,
                Ok(_) => {}
                Err(error) => return io_reason(&error),
            }
        }
    }

    /// Writes until the queue is closed and empty: per wake-up everything that is queued, in as few records and writes
    /// as it fits into.
    async fn write(self, mut half: WriteHalf<'_>, mut sealer: Sealer) -> Result<(), DownReason> {
        let mut frames = Vec::new();
        let mut buffer = WriteBuffer::default();
        loop {
            let more = {
                let mut taking = pin!(self.queue.take(&mut frames, WRITE_BATCH_BYTES));
                poll_fn(|context| {
                    if self.clocks.take_rest(WRITING) {
                        buffer.rest();
                    }
                    taking.as_mut().poll(context)
                })
                .await
            };
            if !more {
                break;
            }
            buffer.pack(&frames, &mut sealer).map_err(|fault| DownReason::Io(fault.to_owned()))?;
            frames.clear();
            if frames.capacity() > FRAMES_KEPT {
                frames = Vec::new();
            }
            let mut rest = buffer.packed();
            while !rest.is_empty() {
                self.clocks.writing.begin(self.clocks);
                let written = half.write(rest).await;
                self.clocks.writing.end();
                match written {
                    Ok(0) => return Err(DownReason::Remote),
                    Ok(count) => rest = &rest[count..],
                    Err(error) => return Err(io_reason(&error)),
                }
            }
        }
        half.shutdown().await.map_err(|error| io_reason(&error))
    }
}

fn io_reason(error: &io::Error) -> DownReason {
    if closed_by_peer(error) { DownReason::Remote } else { DownReason::Io(error.to_string()) }
}
