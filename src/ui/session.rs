//! What a typed line does: a message to the open chat, or a command.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormill_api::MsgId;
use tokio::sync::mpsc;

use super::render::Item;
use crate::node::{CommandContext, CommandResult, Commands, Handle, Message, SendOptions, UiAction};

/// How many own messages may wait for their event, to be recognised.
const ECHOES_MAX: usize = 256;

/// One frontend's conversation with the node.
pub(super) struct Session {
    handle: Handle,
    commands: Arc<dyn Commands>,
    open: Mutex<Option<Arc<str>>>,
    echoes: Mutex<Vec<Echo>>,
    items: mpsc::UnboundedSender<Item>,
}

/// A message that was typed here and whose event is still to come.
struct Echo {
    chat: Arc<str>,
    text: String,
    id: Option<MsgId>,
}

/// What the frontend itself must do after a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct After {
    /// A command opened a chat.
    pub(super) opened: bool,
    /// The program is to end.
    pub(super) quit: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// A session whose first chat is open, and the items that it will want shown.
    pub(super) fn new(handle: Handle, commands: Arc<dyn Commands>) -> (Arc<Self>, mpsc::UnboundedReceiver<Item>) {
        let (items, receiver) = mpsc::unbounded_channel();
        let open = Mutex::new(handle.chats().first().map(|chat| chat.name.clone()));
        (Arc::new(Self { handle, commands, open, echoes: Mutex::default(), items }), receiver)
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn commands(&self) -> &Arc<dyn Commands> {
        &self.commands
    }

    /// The open chat.
    pub(super) fn open_chat(&self) -> Option<Arc<str>> {
        lock(&self.open).clone()
    }

    /// Shows something, after all that was shown before.
    pub(super) fn show(&self, item: Item) {
        // A frontend that is gone shows nothing.
        let _ = self.items.send(item);
    }

    /// Does what a line in a chat says; returns when it is done.
    pub(super) async fn line(self: &Arc<Self>, line: &str) -> After {
        match line.strip_prefix('/') {
            Some(text) if text.starts_with('/') => self.send(text).await,
            Some(command) => return self.command(command).await,
            None if line.trim().is_empty() => {}
            None => self.send(line).await,
        }
        After::default()
    }

    async fn send(&self, text: &str) {
        let Some(chat) = self.open_chat() else {
            let none = self.handle.chats().is_empty();
            let fix = if none { "this node has none: add [[chats]] to its config" } else { "open one with /chat NAME" };
            return self.show(Item::Error(format!("no chat is open; {fix}")));
        };
        self.expect_echo(&chat, text);
        let sent = self.handle.send(&chat, text, SendOptions::default()).await;
        let mut echoes = lock(&self.echoes);
        let waiting = echoes.iter().position(|echo| echo.id.is_none() && echo.chat == chat && echo.text == text);
        match (sent, waiting) {
            (Ok(id), Some(at)) => echoes[at].id = Some(id),
            (Ok(_), None) => {}
            (Err(error), waiting) => {
                waiting.map(|at| echoes.remove(at));
                drop(echoes);
                self.show(Item::Error(error.to_string()));
            }
        }
    }

    fn expect_echo(&self, chat: &Arc<str>, text: &str) {
        let mut echoes = lock(&self.echoes);
        if echoes.len() == ECHOES_MAX {
            echoes.remove(0);
        }
        echoes.push(Echo { chat: chat.clone(), text: text.to_owned(), id: None });
    }

    /// Whether this message is one that was typed here, unchanged, so that the user has it in view already. True once.
    pub(super) fn is_echo(&self, message: &Message) -> bool {
        if !message.mine {
            return false;
        }
        let mut echoes = lock(&self.echoes);
        let same_text = |echo: &Echo| echo.chat == message.chat && echo.text == message.text;
        let by_id = echoes.iter().position(|echo| echo.id == Some(message.id));
        let at = by_id.or_else(|| echoes.iter().position(|echo| echo.id.is_none() && same_text(echo)));
        at.is_some_and(|at| same_text(&echoes.remove(at)))
    }

    /// Runs a command, without its slash; returns when it is done.
    pub(super) async fn command(self: &Arc<Self>, command: &str) -> After {
        let command = command.trim();
        let (actions, mut done) = mpsc::unbounded_channel();
        let context = CommandContext { chat: self.open_chat(), actions };
        let mut after = After::default();
        let mut run = self.commands.run(command, context);
        let result = loop {
            tokio::select! {
                biased;
                Some(action) = done.recv() => self.act(action, &mut after),
                result = &mut run => break result,
            }
        };
        drop(run);
        while let Ok(action) = done.try_recv() {
            self.act(action, &mut after);
        }
        match result {
            CommandResult::Done(None) => {}
            CommandResult::Done(Some(text)) => self.show(Item::Info(text)),
            CommandResult::Failed(reason) => self.show(Item::Error(reason)),
            CommandResult::Usage(usage) => self.show(Item::Error(format!("usage: {usage}"))),
            CommandResult::Unknown(names) => {
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                self.show(Item::Error(format!("there is no command {command:?}; there are: {names}")));
            }
        }
        // A script may hold on to its context and act later.
        let session = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(action) = done.recv().await {
                session.act(action, &mut After::default());
            }
        });
        after
    }

    fn act(&self, action: UiAction, after: &mut After) {
        match action {
            UiAction::Quit => {
                after.quit = true;
                self.handle.shutdown();
            }
            UiAction::Open(chat) => {
                *lock(&self.open) = Some(chat.clone());
                after.opened = true;
                self.show(Item::Action(UiAction::Open(chat)));
            }
            shown => self.show(Item::Action(shown)),
        }
    }
}
