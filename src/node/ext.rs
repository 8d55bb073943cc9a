//! Where the Lua host, or a program that embeds a node, hooks in.

use std::sync::Arc;

use rumormill_api::{BoxFuture, MsgId};
use tokio::sync::mpsc;

use super::api::{Message, PeerInfo, SendOptions};

/// A message on its way out, before it is sealed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// The chat's name.
    pub chat: Arc<str>,
    /// The text.
    pub text: String,
    /// How to send it.
    pub options: SendOptions,
}

/// What a filter says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict<T> {
    /// Go on, with this (perhaps changed).
    Pass(T),
    /// Don't; the reason is for the user.
    Drop(String),
}

/// An envelope that came live and may be passed on: what any relay sees of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passing {
    /// Its id.
    pub id: MsgId,
    /// Its size in bytes.
    pub size: usize,
    /// The link that it came by.
    pub link: PeerInfo,
}

/// Filters on a node's messages. All run off the flood's path, on a deadline of their own; a filter that is late or
/// fails lets the message pass unless its author chose otherwise.
pub trait Hooks: Send + Sync {
    /// Before a message is sealed.
    fn on_send<'a>(&'a self, draft: Draft) -> BoxFuture<'a, Verdict<Draft>>;

    /// After a message was opened, verified and made durable, before it is shown. Messages of one chat come in order.
    fn on_receive<'a>(&'a self, message: Message) -> BoxFuture<'a, Verdict<Message>>;

    /// The same for a few messages that wait one behind the other, of one chat or of several: as many verdicts, in their
    /// order. For who pays for each asking, and not only for what is asked.
    fn on_receive_all<'a>(&'a self, messages: Vec<Message>) -> BoxFuture<'a, Vec<Verdict<Message>>> {
        Box::pin(async move {
            let mut verdicts = Vec::with_capacity(messages.len());
            for message in messages {
                verdicts.push(self.on_receive(message).await);
            }
            verdicts
        })
    }

    /// Whether [`on_relay`](Self::on_relay) wants to be asked now. The driver looks every turn: it must not block.
    fn filters_relays(&self) -> bool {
        false
    }

    /// Whether an envelope of somebody else's is passed on as it comes. Only that one waits for the answer, and for 25 ms at
    /// most; then it is passed on. Whatever the answer, the node keeps it, reads it if it can, and shows it to peers that
    /// reconcile.
    ///
    /// What a node relays must not depend on what it can read, or its peers learn which rooms it is in: who answers must
    /// know of no message's content and of no room.
    fn on_relay<'a>(&'a self, passing: Passing) -> BoxFuture<'a, bool> {
        let _ = passing;
        Box::pin(async { true })
    }
}

/// No filters.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn on_send<'a>(&'a self, draft: Draft) -> BoxFuture<'a, Verdict<Draft>> {
        Box::pin(async { Verdict::Pass(draft) })
    }

    fn on_receive<'a>(&'a self, message: Message) -> BoxFuture<'a, Verdict<Message>> {
        Box::pin(async { Verdict::Pass(message) })
    }
}

/// Where a command can be typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the menu, and everywhere as `/name`.
    Menu,
    /// Only as `/name` inside a chat.
    Chat,
}

/// What `help` and completion know of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandInfo {
    /// Its name; may hold spaces ("load history").
    pub name: String,
    /// Other names.
    pub aliases: Vec<String>,
    /// Its parameters, as shown: `<chat>`.
    pub params: String,
    /// One line.
    pub desc: String,
    /// Where it can be typed.
    pub place: Place,
    /// The script that registered it.
    pub script: String,
}

/// What a command makes the frontend do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UiAction {
    /// Print a text; not part of any chat.
    Print(String),
    /// Make this the open chat.
    Open(Arc<str>),
    /// Show messages of a chat as its history.
    History(Arc<str>, Vec<Message>),
    /// End the program cleanly.
    Quit,
}

/// Who runs a command, and where its effects go.
#[derive(Clone, Debug)]
pub struct CommandContext {
    /// The open chat.
    pub chat: Option<Arc<str>>,
    /// The frontend. Actions arrive in the order that the script made them, and before the command's result.
    pub actions: mpsc::UnboundedSender<UiAction>,
}

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandResult {
    /// Done, with an optional line.
    Done(Option<String>),
    /// Failed, with the reason.
    Failed(String),
    /// Called wrongly: how it is called, such as `chat <chat>`.
    Usage(String),
    /// No such command; the names that are close, or all.
    Unknown(Vec<String>),
}

/// The command menu.
pub trait Commands: Send + Sync {
    /// Every command that is registered now, sorted by name.
    fn list(&self) -> Vec<CommandInfo>;

    /// Completions of a line typed so far (without its leading `/`): whole replacements of the line.
    fn complete(&self, line: &str, chat: Option<&str>) -> Vec<String>;

    /// Runs a line (without its leading `/`): the longest command name that it begins with, the rest are arguments.
    fn run<'a>(&'a self, line: &'a str, context: CommandContext) -> BoxFuture<'a, CommandResult>;
}

/// No commands.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCommands;

impl Commands for NoCommands {
    fn list(&self) -> Vec<CommandInfo> {
        Vec::new()
    }

    fn complete(&self, _: &str, _: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    fn run<'a>(&'a self, _: &'a str, _: CommandContext) -> BoxFuture<'a, CommandResult> {
        Box::pin(async { CommandResult::Unknown(Vec::new()) })
    }
}
