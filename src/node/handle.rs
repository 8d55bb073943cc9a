//! The real node behind a [`Handle`](super::Handle).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rumormill_api::{BoxFuture, MsgId};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::api::{ChatInfo, Event, HistoryQuery, LoadReport, Me, Message, NodeApi, NodeError, NoticeLevel, PeerInfo};
use super::driver::Request;
use super::ext::Draft;
use super::shared::Shared;
use super::vault::{Command, no_such_chat};

/// A running node.
pub struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) vault: mpsc::Sender<Command>,
    pub(super) driver: mpsc::Sender<Request>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.shared.me.nick)
    }
}

impl Node {
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, NodeError>>) -> Command,
    ) -> Result<T, NodeError> {
        if self.shared.stopping() {
            return Err(NodeError::Stopping);
        }
        let (reply, answer) = oneshot::channel();
        self.vault.send(command(reply)).await.map_err(|_| NodeError::Stopping)?;
        answer.await.map_err(|_| NodeError::Stopping)?
    }

    async fn load(&self, chat: &str, limit: Option<u64>) -> Result<LoadReport, NodeError> {
        let names: Vec<Arc<str>> = self.shared.chats().into_iter().map(|chat| chat.name).collect();
        let room = names.iter().position(|name| **name == *chat).ok_or_else(|| no_such_chat(chat, &names))?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Load { room, chat: Arc::clone(&names[room]), limit, reply };
        self.driver.send(request).await.map_err(|_| NodeError::Stopping)?;
        answer.await.map_err(|_| NodeError::Stopping)
    }
}

impl NodeApi for Node {
    fn me(&self) -> Me {
        self.shared.me.clone()
    }

    fn chats(&self) -> Vec<ChatInfo> {
        self.shared.chats()
    }

    fn peers(&self) -> Vec<PeerInfo> {
        self.shared.peers()
    }

    fn publish<'a>(&'a self, draft: Draft) -> BoxFuture<'a, Result<MsgId, NodeError>> {
        Box::pin(self.ask(|reply| Command::Publish(draft, reply)))
    }

    fn history<'a>(&'a self, chat: &'a str, query: HistoryQuery) -> BoxFuture<'a, Result<Vec<Message>, NodeError>> {
        Box::pin(self.ask(move |reply| Command::History(chat.to_owned(), query, reply)))
    }

    fn load_history<'a>(&'a self, chat: &'a str) -> BoxFuture<'a, Result<LoadReport, NodeError>> {
        Box::pin(self.load(chat, None))
    }

    fn load_newest<'a>(&'a self, chat: &'a str, limit: u64) -> BoxFuture<'a, Result<LoadReport, NodeError>> {
        Box::pin(self.load(chat, Some(limit)))
    }

    fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    fn notify(&self, level: NoticeLevel, source: &str, text: &str) {
        self.shared.notice(level, source, text);
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.shared.counters()
    }

    fn shutdown(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        // A full queue means that the driver is busy; it sees `stopping` at the next turn of its housekeeping.
        let _ = self.driver.try_send(Request::Stop);
    }
}
