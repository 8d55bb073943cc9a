//! The two buffers of a link: records as they come in, and records on their way out.

use std::io;

use rumormill_api::Frame;
use rumormill_api::transport::{BATCH_MAX_BYTES, FRAME_MAX_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use crate::noise::{LENGTH_BYTES, Session};

/// How much is taken off a queue for one write, in bytes. Past some 64 KiB a larger write gains nothing, and this is what
/// a link holds beside its queue.
pub(crate) const WRITE_BATCH_BYTES: usize = 128 << 10;
/// What either buffer keeps while there is little to do, in bytes.
const BUFFER_MIN_BYTES: usize = 8 << 10;
/// What the buffer for reading grows to, in bytes: at least one whole frame.
const READ_MAX_BYTES: usize = 128 << 10;

const _: () = assert!(READ_MAX_BYTES >= LENGTH_BYTES + FRAME_MAX_BYTES);

/// Bytes that came in: read in large pieces, given out as records.
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; BUFFER_MIN_BYTES], start: 0, end: 0 }
    }

    /// The next whole record, without its length.
    pub(crate) fn record(&mut self) -> Option<&[u8]> {
        let whole = self.whole().filter(|whole| *whole <= self.end - self.start)?;
        let record = self.start + LENGTH_BYTES..self.start + whole;
        self.start += whole;
        Some(&self.bytes[record])
    }

    /// Reads once, as much as there is room for. Zero is the stream's end. Cancel safe.
    pub(crate) async fn fill<R: AsyncRead + Unpin>(&mut self, from: &mut R) -> io::Result<usize> {
        self.make_room();
        let count = from.read(&mut self.bytes[self.end..]).await?;
        self.end += count;
        Ok(count)
    }

    /// The size of the frame that begins here, its length included.
    fn whole(&self) -> Option<usize> {
        let [high, low, ..] = self.bytes[self.start..self.end] else { return None };
        Some(LENGTH_BYTES + usize::from(u16::from_be_bytes([high, low])))
    }

    fn make_room(&mut self) {
        let full = self.end == self.bytes.len();
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        // A read that filled the buffer says that there is more; one frame must fit in any case.
        let doubled = if full { (2 * self.bytes.len()).min(READ_MAX_BYTES) } else { 0 };
        let wanted = self.whole().unwrap_or(0).max(doubled);
        if wanted > self.bytes.len() {
            self.bytes.resize(wanted, 0);
        }
    }
}

/// Records ready to be written.
pub(crate) struct WriteBuffer {
    /// The frames of one record, side by side.
    plain: Vec<u8>,
    /// Its length is its capacity in use, so that growing alone is paid for, not every write.
    sealed: Vec<u8>,
    used: usize,
}

impl WriteBuffer {
    pub(crate) fn new() -> Self {
        Self { plain: Vec::new(), sealed: Vec::new(), used: 0 }
    }

    /// Seals the frames, in order, in as few records as they fit into whole.
    pub(crate) fn pack(&mut self, frames: &[Frame], session: &mut Session) -> Result<(), snow::Error> {
        let now = Instant::now();
        self.used = 0;
        let mut rest = frames;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fit = rest
                .iter()
                .take_while(|frame| {
                    bytes += frame.len();
                    bytes <= BATCH_MAX_BYTES
                })
                .count();
            let (record, later) = rest.split_at(fit);
            rest = later;
            let plain: &[u8] = if let [single] = record {
                single
            } else {
                self.plain.clear();
                for frame in record {
                    self.plain.extend_from_slice(frame);
                }
                &self.plain
            };
            let needed = self.used + plain.len() + Session::OVERHEAD_BYTES;
            if needed > self.sealed.len() {
                self.sealed.resize(needed.next_power_of_two(), 0);
            }
            self.used += session.seal(plain, &mut self.sealed[self.used..], now)?;
        }
        Ok(())
    }

    /// What [`pack`](Self::pack) made.
    pub(crate) fn packed(&self) -> &[u8] {
        &self.sealed[..self.used]
    }

    /// Gives memory back after a burst.
    pub(crate) fn shrink(&mut self) {
        self.plain.clear();
        self.plain.shrink_to(BUFFER_MIN_BYTES);
        self.used = 0;
        self.sealed.truncate(BUFFER_MIN_BYTES);
        self.sealed.shrink_to(BUFFER_MIN_BYTES);
    }
}
