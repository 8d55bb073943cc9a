//! The two buffers of a link: records as they come in, and records on their way out.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use rumormill_api::Frame;
use rumormill_api::transport::{BATCH_MAX_BYTES, FRAME_MAX_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use crate::noise::{LENGTH_BYTES, TAG_BYTES};
use crate::record::{Fault, Opener, Sealer};

/// How much is taken off a queue for one write, in bytes. Past some 64 KiB a larger write gains nothing, and this is what
/// a link holds beside its queue.
pub(crate) const WRITE_BATCH_BYTES: usize = 128 << 10;
/// What either buffer has while there is little to do, in bytes.
const BUFFER_MIN_BYTES: usize = 8 << 10;
/// What the buffer for reading grows to, in bytes: at least one whole frame.
const READ_MAX_BYTES: usize = 128 << 10;

const _: () = assert!(READ_MAX_BYTES >= LENGTH_BYTES + FRAME_MAX_BYTES);

/// Bytes that came in: read in large pieces, opened where they lie, given out without a copy.
///
/// What is given out keeps the memory that was read into from being used again. There are two such pieces of memory in
/// turn, so a node that is done with one batch when it gets the next costs no allocation.
pub(crate) struct ReadBuffer {
    /// What was read and isn't opened yet, with the room behind it.
    bytes: BytesMut,
    /// The other piece of memory; batches out of it may still be around.
    spare: BytesMut,
    /// How large a piece is.
    size: usize,
    /// A record after those that were given out isn't acceptable.
    fault: Option<Fault>,
    /// A read filled all the room that there was since the last [`rest`](Self::rest).
    busy: bool,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        let (bytes, spare) = (BytesMut::with_capacity(BUFFER_MIN_BYTES), BytesMut::new());
        Self { bytes, spare, size: BUFFER_MIN_BYTES, fault: None, busy: false }
    }

    /// Opens the whole records that are here, and gives out what is in them side by side, at most [`BATCH_MAX_BYTES`].
    /// `None` when there is none left with data in it.
    pub(crate) fn open(&mut self, opener: &mut Opener) -> Result<Option<Bytes>, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let (mut taken, mut opened) = (0, 0);
        while let Some(whole) = whole(&self.bytes[taken..]).filter(|whole| *whole <= self.bytes.len() - taken) {
            if opened > 0 && opened + whole - LENGTH_BYTES > BATCH_MAX_BYTES + TAG_BYTES {
                break;
            }
            let record = taken + LENGTH_BYTES;
            taken += whole;
            // The plaintext moves to the end of what was opened before, in the same pass that decrypts it.
            match opener.open(&mut self.bytes[opened..taken], record - opened) {
                Ok(len) => opened += len,
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            }
        }
        if taken == 0 {
            return Ok(None);
        }
        let mut batch = self.bytes.split_to(taken);
        batch.truncate(opened);
        match self.fault {
            _ if opened > 0 => Ok(Some(batch.freeze())),
            Some(fault) => Err(fault),
            None => Ok(None),
        }
    }

    /// Reads once, as much as there is room for. Zero is the stream's end.
    pub(crate) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let room = self.bytes.capacity() - self.bytes.len();
        let count = ready!(pin!(from.read_buf(&mut self.bytes)).poll(context))?;
        if count == room {
            // There is more, most likely.
            self.busy = true;
            self.size = (2 * self.size).min(READ_MAX_BYTES);
        }
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self) {
        let len = self.bytes.len();
        let frame = whole(&self.bytes).unwrap_or(0);
        let room = self.bytes.capacity() - len;
        // A half of it left is enough to go on with: it saves going back to the start, where a batch may lie.
        if room >= frame.saturating_sub(len).max(self.size / 2) {
            return;
        }
        let wanted = self.size.max(frame) - len;
        if self.bytes.try_reclaim(wanted) {
            return;
        }
        if !self.spare.try_reclaim(len + wanted) {
            self.spare = BytesMut::with_capacity(len + wanted);
        }
        self.spare.extend_from_slice(&self.bytes);
        self.bytes.clear();
        std::mem::swap(&mut self.bytes, &mut self.spare);
    }

    /// To be called once in a while: gives memory back that a burst took.
    pub(crate) fn rest(&mut self) {
        if std::mem::take(&mut self.busy) || self.size == BUFFER_MIN_BYTES {
            return;
        }
        self.size = BUFFER_MIN_BYTES;
        self.spare = BytesMut::new();
        let mut small = BytesMut::with_capacity(self.bytes.len().max(BUFFER_MIN_BYTES));
        small.extend_from_slice(&self.bytes);
        self.bytes = small;
    }

    /// What it holds of memory itself, in bytes.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.spare.capacity()
    }
}

/// The size of the frame that begins here, its length included.
fn whole(bytes: &[u8]) -> Option<usize> {
    let [high, low, ..] = *bytes else { return None };
    Some(LENGTH_BYTES + usize::from(u16::from_be_bytes([high, low])))
}

/// Records ready to be written.
#[derive(Default)]
pub(crate) struct WriteBuffer {
    sealed: Vec<u8>,
    /// More than the least was needed since the last [`rest`](Self::rest).
    busy: bool,
}

impl WriteBuffer {
    /// Seals the frames, in order, in as few records as they fit into whole. Their bytes are copied once, to where they
    /// are sealed.
    pub(crate) fn pack(&mut self, frames: &[Frame], sealer: &mut Sealer) -> Result<(), Fault> {
        let now = Instant::now();
        self.sealed.clear();
        let mut rest = frames;
        while !rest.is_empty() {
            let (mut bytes, mut fit) = (0, 0);
            for frame in rest {
                if bytes + frame.len() > BATCH_MAX_BYTES {
                    break;
                }
                bytes += frame.len();
                fit += 1;
            }
            let (record, later) = rest.split_at(fit);
            rest = later;
            self.sealed.reserve(bytes + Sealer::OVERHEAD_BYTES);
            sealer.seal(record, &mut self.sealed, now)?;
        }
        self.busy |= self.sealed.len() > BUFFER_MIN_BYTES;
        Ok(())
    }

    /// What [`pack`](Self::pack) made.
    pub(crate) fn packed(&self) -> &[u8] {
        &self.sealed
    }

    /// To be called once in a while, when everything is written: gives memory back that a burst took.
    pub(crate) fn rest(&mut self) {
        if !std::mem::take(&mut self.busy) {
            self.sealed.clear();
            self.sealed.shrink_to(BUFFER_MIN_BYTES);
        }
    }

    /// What it holds of memory, in bytes.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.sealed.capacity()
    }
}
