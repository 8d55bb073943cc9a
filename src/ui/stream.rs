//! Frontends without line editing: lines in, lines out.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use super::output::Output;
use super::render::{Item, Render};
use super::session::Session;
use super::{UiError, input};
use crate::node::{Commands, Event, Handle};

/// How long a reader of the output that has fallen asleep may hold up the end, in milliseconds.
pub(super) const LAST_WORDS_MS: u64 = 2_000;

pub(super) async fn run(
    render: Box<dyn Render>,
    handle: Handle,
    commands: Arc<dyn Commands>,
    events: broadcast::Receiver<Event>,
    input: impl Read + Send + 'static,
    mut output: impl Write + Send + 'static,
) -> Result<(), UiError> {
    let started = input::lines(input).and_then(|lines| {
        let output = Output::start(move |text| {
            output.write_all(text.as_bytes())?;
            output.flush()
        })?;
        Ok((lines, output))
    });
    let (mut lines, output) = started.inspect_err(|_| handle.shutdown()).map_err(UiError::Thread)?;
    let (session, mut items) = Session::new(handle, commands);

    let typing = {
        let session = Arc::clone(&session);
        // One after another, so that `/chat x` holds for the lines that follow it.
        tokio::spawn(async move {
            while let Some(typed) = lines.recv().await {
                match typed {
                    Ok(line) => drop(session.line(&line).await),
                    Err(problem) => session.show(Item::Error(problem)),
                }
            }
            session.handle().shutdown();
        })
    };

    let mut screen = Screen::new(render, output, &session);
    let mut events = events;
    loop {
        tokio::select! {
            biased;
            Some(item) = items.recv() => screen.show(&item).await,
            event = events.recv() => match event {
                Ok(Event::Stopped) | Err(RecvError::Closed) => break,
                Ok(event) => screen.show(&Item::Event(event)).await,
                Err(RecvError::Lagged(skipped)) => screen.show(&Item::Skipped(skipped)).await,
            },
            () = screen.closed() => screen.give_up(),
        }
    }
    typing.abort();
    while let Ok(item) = items.try_recv() {
        screen.show(&item).await;
    }
    screen.show(&Item::Event(Event::Stopped)).await;
    screen.finish().await;
    Ok(())
}

/// Renders items and writes them; ends the node when nobody reads them.
pub(super) struct Screen {
    render: Box<dyn Render>,
    output: Option<Output>,
    handle: Handle,
    /// Whether the node has stopped, as a task sees it that is never held up by the output.
    stopped: watch::Receiver<bool>,
}

impl Screen {
    pub(super) fn new(render: Box<dyn Render>, output: Output, session: &Session) -> Self {
        let handle = session.handle().clone();
        let (stop, stopped) = watch::channel(false);
        let mut events = handle.subscribe();
        tokio::spawn(async move {
            while !matches!(events.recv().await, Ok(Event::Stopped) | Err(RecvError::Closed)) {}
            stop.send_replace(true);
        });
        Self { render, output: Some(output), handle, stopped }
    }

    /// Shows an item, waiting for a slow reader; not for ever once the node has stopped.
    pub(super) async fn show(&mut self, item: &Item) {
        let mut text = String::new();
        self.render.render(item, &mut text);
        self.draw(text).await;
    }

    /// Writes a text as it is, on the same terms.
    pub(super) async fn draw(&mut self, text: String) {
        let Some(output) = self.output.as_ref().filter(|_| !text.is_empty()) else { return };
        let mut stopped = self.stopped.clone();
        let patience = async {
            // An error means that the watching task is gone, and the node with it.
            let _ = stopped.wait_for(|stopped| *stopped).await;
            tokio::time::sleep(Duration::from_millis(LAST_WORDS_MS)).await;
        };
        let written = tokio::select! {
            biased;
            written = output.write(text) => written.is_ok(),
            () = patience => false,
        };
        if !written {
            self.give_up();
        }
    }

    /// Resolves when nobody reads any more; never again after [`give_up`](Self::give_up).
    pub(super) async fn closed(&self) {
        match &self.output {
            Some(output) => output.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Ends the node: nobody reads what it says.
    pub(super) fn give_up(&mut self) {
        self.output = None;
        self.handle.shutdown();
    }

    /// Waits until all is written, but not for ever.
    pub(super) async fn finish(self) {
        if let Some(output) = self.output {
            // Late: the reader is asleep, and has had its chance.
            let _ = tokio::time::timeout(Duration::from_millis(LAST_WORDS_MS), output.finish()).await;
        }
    }
}
