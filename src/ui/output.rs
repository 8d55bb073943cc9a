//! The one writer of standard output: a thread behind a bounded queue, so that a slow or stuck reader never holds up
//! anything but the frontend's own task.

use std::io;
use std::thread;

use tokio::sync::{mpsc, oneshot};

/// How many texts may wait to be written.
const QUEUE_MAX: usize = 256;
/// About how many bytes are written at once.
const WRITE_BYTES: usize = 64 << 10;

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Output {
    queue: mpsc::Sender<String>,
    ended: oneshot::Receiver<()>,
}

/// The other end doesn't read any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl Output {
    /// Starts the writer. It ends when the sink fails, or when all is written after [`finish`](Self::finish).
    pub(super) fn start(mut sink: impl FnMut(&str) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let (queue, mut texts) = mpsc::channel::<String>(QUEUE_MAX);
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            while let Some(mut text) = texts.blocking_recv() {
                while text.len() < WRITE_BYTES
                    && let Ok(more) = texts.try_recv()
                {
                    text.push_str(&more);
                }
                if sink(&text).is_err() {
                    break;
                }
            }
            // Dropped or received: either way the end is known.
            let _ = end.send(());
        })?;
        Ok(Self { queue, ended })
    }

    /// Hands over a text, waiting while the queue is full.
    pub(super) async fn write(&self, text: String) -> Result<(), Closed> {
        self.queue.send(text).await.map_err(|_| Closed)
    }

    /// Resolves when the other end doesn't read any more.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) {
        drop(self.queue);
        // An error means that the thread ended without saying so.
        let _ = self.ended.await;
    }
}
