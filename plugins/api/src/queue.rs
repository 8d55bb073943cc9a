//! What a link has waiting to be written: a bounded queue with the semantics that [`Links::try_send`] promises, for any
//! transport to build on.
//!
//! [`Links::try_send`]: crate::transport::Links::try_send

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::transport::{BATCH_MAX_BYTES, Frame, SendError};

/// What a queued frame costs beside its own bytes: its slot, and its share of the heap. Without it a queue of one-byte
/// frames would hold many times its bound.
pub const FRAME_OVERHEAD_BYTES: usize = 64;

/// Bytes of frames that can wait which are written at a time: what is pressing comes after them at most.
pub const BULK_TAKE_BYTES: usize = 16 << 10;

/// The frames of one link, oldest first: any number of senders, one writer. Those that can wait ([bulk](Self::push_bulk)) go
/// after the others, within a bound of their own.
///
/// The lock is held for pushes and pops alone, never over a copy, a system call or an await.
#[derive(Debug)]
pub struct SendQueue {
    max_bytes: usize,
    state: Mutex<State>,
    ready: Notify,
    drained: Notify,
    closed: Notify,
}

#[derive(Debug, Default)]
struct State {
    pressing: Lane,
    bulk: Lane,
    full: bool,
    closed: bool,
}

impl State {
    const fn check(&self, frame: &Frame) -> Result<(), SendError> {
        if frame.is_empty() || frame.len() > BATCH_MAX_BYTES {
            return Err(SendError::Invalid);
        }
        if self.closed { Err(SendError::Gone) } else { Ok(()) }
    }

    /// Takes a frame out, or leaves it with the error.
    fn push(&mut self, frame: &mut Frame, max_bytes: usize) -> Result<(), SendError> {
        self.check(frame)?;
        let pushed = self.pressing.push(frame, max_bytes);
        self.full |= pushed.is_err();
        pushed
    }

    /// The same with one that can wait.
    fn push_bulk(&mut self, frame: &mut Frame, max_bytes: usize) -> Result<(), SendError> {
        self.check(frame)?;
        self.bulk.push(frame, max_bytes)
    }
}

/// Frames in their order, each counted with [`FRAME_OVERHEAD_BYTES`].
#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Lane {
    /// Takes a frame out if there is room for it, or nothing else here.
    fn push(&mut self, frame: &mut Frame, max_bytes: usize) -> Result<(), SendError> {
        let cost = frame.len() + FRAME_OVERHEAD_BYTES;
        if !self.frames.is_empty() && self.bytes + cost > max_bytes {
            return Err(SendError::Full);
        }
        self.bytes += cost;
        self.frames.push_back(std::mem::take(frame));
        Ok(())
    }

    /// Moves those that fit into `into`, or `one` though it doesn't; says how many bytes they have.
    fn take(&mut self, into: &mut Vec<Frame>, max_bytes: usize, one: bool) -> usize {
        let mut taken = 0;
        while let Some(frame) = self.frames.pop_front_if(|frame| one && taken == 0 || taken + frame.len() <= max_bytes)
        {
            taken += frame.len();
            self.bytes -= frame.len() + FRAME_OVERHEAD_BYTES;
            into.push(frame);
        }
        taken
    }
}

impl SendQueue {
    /// An empty queue for `max_bytes`, each frame counted with [`FRAME_OVERHEAD_BYTES`]. An empty queue takes any valid
    /// frame, so that a small bound never locks a link up.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Mutex::default(), ready: Notify::new(), drained: Notify::new(), closed: Notify::new() }
    }

    /// Queues a frame.
    ///
    /// # Errors
    ///
    /// [`SendError::Invalid`] for an empty frame and one longer than [`BATCH_MAX_BYTES`], [`SendError::Gone`] once
    /// closed, [`SendError::Full`] when the bound is reached. Nothing was queued then.
    pub fn push(&self, mut frame: Frame) -> Result<(), SendError> {
        let mut state = self.lock();
        let idle = state.pressing.frames.is_empty();
        let pushed = state.push(&mut frame, self.max_bytes);
        drop(state);
        if idle && pushed.is_ok() {
            self.ready.notify_one();
        }
        pushed
    }

    /// Queues frames in their order, with one look at the queue and one wake-up of who takes them. Those that were queued
    /// are taken out of `frames`.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push), about the first frame that wasn't queued.
    pub fn push_all(&self, frames: &mut Vec<Frame>) -> Result<(), SendError> {
        self.queue(frames, |state| state.pressing.frames.is_empty(), |state, frame| state.push(frame, self.max_bytes))
    }

    /// Queues frames that can wait, as [`push_all`](Self::push_all) does the others. The bound is that of the others, but
    /// counted apart, and no [`drained`](Self::drained) follows when it is reached.
    ///
    /// # Errors
    ///
    /// As [`push_all`](Self::push_all).
    pub fn push_bulk(&self, frames: &mut Vec<Frame>) -> Result<(), SendError> {
        self.queue(frames, |state| state.bulk.frames.is_empty(), |state, frame| state.push_bulk(frame, self.max_bytes))
    }

    fn queue(
        &self,
        frames: &mut Vec<Frame>,
        idle: impl FnOnce(&State) -> bool,
        mut push: impl FnMut(&mut State, &mut Frame) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let mut queued = 0;
        let mut state = self.lock();
        let idle = idle(&state);
        let result = frames.iter_mut().try_for_each(|frame| {
            push(&mut state, frame)?;
            queued += 1;
            Ok(())
        });
        drop(state);
        if idle && queued > 0 {
            self.ready.notify_one();
        }
        frames.drain(..queued);
        result
    }

    /// Waits for frames and moves as many into `into` as fit `max_bytes`, at least one. `false` when the queue is closed
    /// and empty. Cancel safe. For one caller at a time.
    pub async fn take(&self, into: &mut Vec<Frame>, max_bytes: usize) -> bool {
        loop {
            match self.try_take(into, max_bytes) {
                Some(taken) => return taken,
                None => self.ready.notified().await,
            }
        }
    }

    fn try_take(&self, into: &mut Vec<Frame>, max_bytes: usize) -> Option<bool> {
        let mut state = self.lock();
        if state.pressing.frames.is_empty() && state.bulk.frames.is_empty() {
            return state.closed.then_some(false);
        }
        let taken = if state.pressing.bytes <= max_bytes {
            // All of it, as is usual.
            into.extend(state.pressing.frames.drain(..));
            std::mem::take(&mut state.pressing.bytes)
        } else {
            state.pressing.take(into, max_bytes, true)
        };
        state.bulk.take(into, BULK_TAKE_BYTES.min(max_bytes.saturating_sub(taken)), taken == 0);
        let drained = state.full && state.pressing.bytes < self.max_bytes.div_ceil(2);
        if drained {
            state.full = false;
        }
        let more = !state.pressing.frames.is_empty() || !state.bulk.frames.is_empty();
        drop(state);
        if drained {
            self.drained.notify_one();
        }
        if more {
            self.ready.notify_one();
        }
        Some(true)
    }

    /// Waits until a queue that answered [`SendError::Full`] is below half of its bound: the moment for
    /// [`LinkEvent::Drained`](crate::transport::LinkEvent::Drained).
    pub async fn drained(&self) {
        self.drained.notified().await;
    }

    /// Takes no more frames; those queued can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
        self.closed.notify_one();
    }

    /// Waits until [`close`](Self::close) was called. For one caller.
    pub async fn closed(&self) {
        while !self.is_closed() {
            self.closed.notified().await;
        }
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.pressing.frames.is_empty() && state.bulk.frames.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn frame(len: usize) -> Frame {
        vec![7; len].into()
    }

    #[test]
    fn a_frame_is_valid_from_one_byte_to_the_batch_limit() {
        let queue = SendQueue::new(1 << 20);
        assert_eq!(queue.push(frame(0)), Err(SendError::Invalid));
        assert_eq!(queue.push(frame(1)), Ok(()));
        assert_eq!(queue.push(frame(BATCH_MAX_BYTES)), Ok(()));
        assert_eq!(queue.push(frame(BATCH_MAX_BYTES + 1)), Err(SendError::Invalid));
    }

    #[test]
    fn the_bound_counts_the_overhead_of_every_frame() {
        let queue = SendQueue::new(10 * (1 + FRAME_OVERHEAD_BYTES));
        for _ in 0..10 {
            assert_eq!(queue.push(frame(1)), Ok(()));
        }
        assert_eq!(queue.push(frame(1)), Err(SendError::Full));
    }

    #[test]
    fn an_empty_queue_takes_a_frame_beyond_its_bound() {
        let queue = SendQueue::new(1);
        assert_eq!(queue.push(frame(1000)), Ok(()));
        assert_eq!(queue.push(frame(1)), Err(SendError::Full));
    }

    #[tokio::test(start_paused = true)]
    async fn drained_comes_once_below_half_and_only_after_full() {
        let cost = 36 + FRAME_OVERHEAD_BYTES;
        let queue = SendQueue::new(4 * cost);
        let drained = async || timeout(Duration::from_millis(1), queue.drained()).await.is_ok();
        let mut out = Vec::new();
        for _ in 0..4 {
            queue.push(frame(36)).unwrap();
        }
        assert_eq!(queue.push(frame(36)), Err(SendError::Full));
        assert!(queue.take(&mut out, 36).await);
        assert!(queue.take(&mut out, 36).await);
        assert!(!drained().await, "exactly half is not below half");
        assert!(queue.take(&mut out, 36).await);
        assert!(drained().await);
        assert!(queue.take(&mut out, 36).await);
        assert!(!drained().await, "once for one Full");
        queue.push(frame(36)).unwrap();
        assert!(queue.take(&mut out, 36).await);
        assert!(!drained().await, "never without a Full");
        assert_eq!(out.len(), 5);
    }

    #[tokio::test]
    async fn frames_pushed_together_are_taken_together() {
        let queue = SendQueue::new(1 << 20);
        let mut frames: Vec<Frame> = (1..=9_u8).map(|n| vec![n; 10].into()).collect();
        assert_eq!(queue.push_all(&mut frames), Ok(()));
        assert!(frames.is_empty());
        assert_eq!(queue.push_all(&mut frames), Ok(()), "nothing is always taken");
        let mut out = Vec::new();
        assert!(queue.take(&mut out, 1 << 20).await);
        assert_eq!(out.iter().map(|f| f[0]).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[tokio::test]
    async fn of_frames_pushed_together_those_before_the_refused_one_are_queued() {
        let queue = SendQueue::new(2 * (10 + FRAME_OVERHEAD_BYTES));
        let mut frames: Vec<Frame> = (1..=4_u8).map(|n| vec![n; 10].into()).collect();
        assert_eq!(queue.push_all(&mut frames), Err(SendError::Full));
        assert_eq!(frames.iter().map(|f| f[0]).collect::<Vec<_>>(), [3, 4]);
        let mut out = Vec::new();
        assert!(queue.take(&mut out, 1 << 20).await);
        assert_eq!(out.len(), 2);
        assert!(timeout(Duration::from_secs(1), queue.drained()).await.is_ok(), "it had been full");

        let mut frames = vec![frame(1), frame(0), frame(1)];
        assert_eq!(queue.push_all(&mut frames), Err(SendError::Invalid));
        assert_eq!(frames, [frame(0), frame(1)]);
        queue.close();
        assert_eq!(queue.push_all(&mut frames.split_off(1)), Err(SendError::Gone));
    }

    #[tokio::test]
    async fn take_keeps_the_order_and_splits_by_bytes() {
        let queue = SendQueue::new(1 << 20);
        for n in 1..=9_u8 {
            queue.push(vec![n; 10].into()).unwrap();
        }
        let mut out = Vec::new();
        assert!(queue.take(&mut out, 25).await);
        assert_eq!(out.len(), 2);
        assert!(queue.take(&mut out, 1).await, "at least one");
        assert_eq!(out.len(), 3);
        assert!(queue.take(&mut out, 1 << 20).await);
        assert_eq!(out.iter().map(|f| f[0]).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn what_can_wait_goes_after_the_rest_and_a_part_at_a_time() {
        let queue = SendQueue::new(1 << 20);
        let mut frames: Vec<Frame> = std::iter::repeat_with(|| vec![9; 1_000].into()).take(100).collect();
        queue.push_bulk(&mut frames).unwrap();
        assert!(frames.is_empty());
        queue.push(vec![1; 10].into()).unwrap();
        let mut out = Vec::new();
        assert!(queue.take(&mut out, 1 << 20).await);
        assert_eq!((out[0][0], out.len()), (1, 1 + BULK_TAKE_BYTES / 1_000), "the pressing one first");
        queue.push(vec![2; 10].into()).unwrap();
        out.clear();
        assert!(queue.take(&mut out, 1 << 20).await);
        assert_eq!(out[0][0], 2, "though it came later");
        out.clear();
        while !queue.is_empty() {
            assert!(queue.take(&mut out, 1).await, "at least one");
        }
        assert_eq!(out.len(), 100 - 2 * (BULK_TAKE_BYTES / 1_000));
    }

    #[test]
    fn what_can_wait_has_a_bound_of_its_own() {
        let queue = SendQueue::new(10 * (100 + FRAME_OVERHEAD_BYTES));
        let mut frames = vec![frame(100); 12];
        assert_eq!(queue.push_bulk(&mut frames), Err(SendError::Full));
        assert_eq!(frames, [frame(100), frame(100)], "those before the refused one are queued");
        assert_eq!(queue.push(frame(100)), Ok(()));
        queue.close();
        assert_eq!(queue.push_bulk(&mut vec![frame(1)]), Err(SendError::Gone));
        assert_eq!(queue.push_bulk(&mut vec![frame(0)]), Err(SendError::Invalid));
    }

    #[tokio::test]
    async fn a_closed_queue_refuses_frames_but_gives_out_what_it_has() {
        let queue = SendQueue::new(1 << 20);
        queue.push(frame(5)).unwrap();
        queue.close();
        queue.closed().await;
        assert_eq!(queue.push(frame(5)), Err(SendError::Gone));
        let mut out = Vec::new();
        assert!(queue.take(&mut out, 100).await);
        assert!(!queue.take(&mut out, 100).await);
        assert_eq!(out.len(), 1);
    }
}
