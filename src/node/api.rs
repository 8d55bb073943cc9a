//! What scripts, frontends and gateways see of a node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rumormill_api::{BoxFuture, Millis, MsgId, PeerAddr};
use tokio::sync::broadcast;

use crate::room::PersonId;

/// Who said something. The signature was verified; the nick is only what they call themselves, stripped of control,
/// escape and bidi characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// The key.
    pub id: PersonId,
    /// The name that they go by.
    pub nick: String,
}

/// A message that this node could read. All texts are stripped of control, escape and bidi characters (line feeds stay).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The envelope's id.
    pub id: MsgId,
    /// The chat's name in this node's config.
    pub chat: Arc<str>,
    /// Who said it.
    pub from: Person,
    /// What was said.
    pub text: String,
    /// When the sender says it was, in milliseconds since the Unix epoch.
    pub time: Millis,
    /// Whether this node said it.
    pub mine: bool,
    /// Whether a script said it: the sender's signed bot flag.
    pub bot: bool,
    /// Whether it came because this node asked for it (repair, history), and not live.
    pub synced: bool,
    /// Whether it was placed before messages that were shown already.
    pub late: bool,
    /// The message that it answers.
    pub reply_to: Option<MsgId>,
    /// How many of the messages that it follows are missing here.
    pub missing: usize,
}

/// How loud a notice is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoticeLevel {
    /// For information.
    Info,
    /// Something to look at.
    Warning,
    /// Something failed.
    Error,
}

/// What happens at a node, for everyone who subscribed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The node listens and is ready.
    Ready {
        /// Where it listens.
        listen: Vec<PeerAddr>,
    },
    /// A message was received or sent, is durable, and is shown for the first time.
    Message(Message),
    /// An own message is durable ("sent").
    Sent {
        /// The chat.
        chat: Arc<str>,
        /// The message.
        id: MsgId,
    },
    /// A link to a peer is up.
    PeerUp(PeerInfo),
    /// A link to a peer is gone.
    PeerDown(PeerInfo),
    /// Messages are known to be missing from a chat, or (0) no longer.
    Gap {
        /// The chat.
        chat: Arc<str>,
        /// How many are known to be missing now.
        missing: usize,
    },
    /// Progress of loading a chat's history.
    Loading {
        /// The chat.
        chat: Arc<str>,
        /// Received so far.
        received: u64,
        /// Known to be wanted so far.
        wanted: u64,
    },
    /// A line for the user, not part of any chat.
    Notice {
        /// How loud.
        level: NoticeLevel,
        /// Who says so: "node", or a script's name.
        source: Arc<str>,
        /// The line.
        text: String,
    },
    /// The node has stopped; everything acknowledged is on disk.
    Stopped,
}

/// Who this node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Me {
    /// The key.
    pub id: PersonId,
    /// The nick.
    pub nick: Arc<str>,
}

/// A chat of this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChatInfo {
    /// Its name in the config.
    pub name: Arc<str>,
    /// Whether its secret comes from a passphrase, which can be guessed.
    pub weak: bool,
    /// Whether its history is not kept past the window.
    pub ephemeral: bool,
    /// How many messages are known to be missing.
    pub missing: usize,
}

/// A linked peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerInfo {
    /// The address that it was dialled at or is seen at.
    pub addr: PeerAddr,
    /// Whether this node dialled.
    pub outgoing: bool,
    /// The public link key's first eight hexadecimal digits. A link key is never a person's identity.
    pub fingerprint: String,
}

/// How to send.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SendOptions {
    /// The message that is answered.
    pub reply_to: Option<MsgId>,
    /// The script that sends it, if one does: sets the signed bot flag.
    pub script: Option<Arc<str>>,
}

/// Which part of a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// How many messages at most, the newest ones.
    pub limit: usize,
    /// Only those before this message.
    pub before: Option<MsgId>,
}

/// How loading a history ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoadReport {
    /// Peers that answered.
    pub answered: u32,
    /// Peers that refused or fell silent.
    pub failed: u32,
    /// Messages of this chat that are new here.
    pub new: u64,
    /// Messages that are known to be missing still.
    pub missing: u64,
    /// Whether the limit was reached: archives may have more, which another call goes on with.
    pub more: bool,
    /// When the oldest message that is here was said, in milliseconds since the Unix epoch.
    pub oldest: Option<Millis>,
}

/// Why a node refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// No chat of that name.
    #[error("there is no chat {name:?}; your chats: {valid}")]
    NoSuchChat {
        /// What was asked for.
        name: String,
        /// The names there are, comma-separated.
        valid: String,
    },
    /// The text is empty once stripped.
    #[error("the message is empty")]
    Empty,
    /// The text is too long.
    #[error("the message has {bytes} bytes; at most {max} can be sent")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A script's filter dropped it.
    #[error("not sent: {0}")]
    Vetoed(String),
    /// The store failed: nothing was acknowledged.
    #[error("not saved: {0}")]
    Store(String),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

/// What a node offers. The real one is made by [`crate::Builder`]; tests of scripts and frontends may fake it.
pub trait NodeApi: Send + Sync {
    /// Who this node is.
    fn me(&self) -> Me;

    /// Its chats, in the config's order.
    fn chats(&self) -> Vec<ChatInfo>;

    /// The peers that it is linked to now.
    fn peers(&self) -> Vec<PeerInfo>;

    /// Seals a message, makes it durable and hands it to the flood. Returns once it is durable. Runs no filters:
    /// [`Handle::send`] does.
    fn publish<'a>(&'a self, draft: super::Draft) -> BoxFuture<'a, Result<MsgId, NodeError>>;

    /// Messages of a chat, oldest first, in the order that is the same at every node that has the same messages.
    fn history<'a>(&'a self, chat: &'a str, query: HistoryQuery) -> BoxFuture<'a, Result<Vec<Message>, NodeError>>;

    /// Asks the linked peers for what of a chat's history is missing here. Returns when all have answered or failed.
    fn load_history<'a>(&'a self, chat: &'a str) -> BoxFuture<'a, Result<LoadReport, NodeError>>;

    /// As [`load_history`](Self::load_history), but of at most `limit` (from 1 on) messages out of other members' archives, the
    /// newest first to within an hour; of a long message each part counts. What comes with the window isn't bounded: that is
    /// compared as a whole, with anyone, and to end it after so many messages of a chat would show what this node reads.
    ///
    /// By default all are loaded, for fakes that have no archives.
    fn load_newest<'a>(&'a self, chat: &'a str, limit: u64) -> BoxFuture<'a, Result<LoadReport, NodeError>> {
        let _ = limit;
        self.load_history(chat)
    }

    /// Everything that happens from now on. A reader that falls too far behind gets `Lagged`.
    fn subscribe(&self) -> broadcast::Receiver<Event>;

    /// Shows a line to the user, through every frontend.
    fn notify(&self, level: NoticeLevel, source: &str, text: &str);

    /// What was dropped or refused so far, by name.
    fn counters(&self) -> BTreeMap<&'static str, u64>;

    /// Begins to stop. [`Event::Stopped`] follows when everything acknowledged is on disk.
    fn shutdown(&self);
}

/// A node, for everyone but its maker. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    node: Arc<dyn NodeApi>,
    hooks: Arc<dyn super::Hooks>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.node.me().nick)
    }
}

impl std::ops::Deref for Handle {
    type Target = dyn NodeApi;

    fn deref(&self) -> &Self::Target {
        &*self.node
    }
}

impl Handle {
    /// A handle to a node whose outgoing messages pass `hooks`.
    #[must_use]
    pub fn new(node: Arc<dyn NodeApi>, hooks: Arc<dyn super::Hooks>) -> Self {
        Self { node, hooks }
    }

    /// Sends a text: through the `send` filters, then [`NodeApi::publish`].
    ///
    /// # Errors
    ///
    /// [`NodeError`], and then nothing was sent.
    pub async fn send(&self, chat: &str, text: &str, options: SendOptions) -> Result<MsgId, NodeError> {
        let draft = super::Draft { chat: chat.into(), text: text.to_owned(), options };
        match self.hooks.on_send(draft).await {
            super::Verdict::Pass(draft) => self.node.publish(draft).await,
            super::Verdict::Drop(reason) => Err(NodeError::Vetoed(reason)),
        }
    }
}
