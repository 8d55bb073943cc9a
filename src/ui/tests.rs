//! Frontends against a node that isn't one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use rumormill_api::{BoxFuture, MsgId};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc};

use super::render::{self, samples};
use super::session::Session;
use super::{Frontend, stream};
use crate::node::{
    ChatInfo, CommandContext, CommandInfo, CommandResult, Commands, Draft, Event, Handle, HistoryQuery, LoadReport, Me,
    Message, NoHooks, NodeApi, NodeError, NoticeLevel, PeerInfo, UiAction,
};
use crate::room::PersonId;

/// Acknowledges every message but the text "bad".
struct Node {
    events: broadcast::Sender<Event>,
    chats: Vec<&'static str>,
    sent: Mutex<Vec<(String, String)>>,
}

impl Node {
    fn new(chats: &[&'static str], capacity: usize) -> Arc<Self> {
        Arc::new(Self { events: broadcast::channel(capacity).0, chats: chats.to_vec(), sent: Mutex::default() })
    }

    fn handle(self: &Arc<Self>) -> Handle {
        Handle::new(Arc::clone(self) as Arc<dyn NodeApi>, Arc::new(NoHooks))
    }

    fn sent(&self) -> Vec<(String, String)> {
        self.sent.lock().unwrap().clone()
    }
}

impl NodeApi for Node {
    fn me(&self) -> Me {
        Me { id: PersonId([1; 32]), nick: "Alice".into() }
    }

    fn chats(&self) -> Vec<ChatInfo> {
        let info = |name: &&str| ChatInfo { name: (*name).into(), weak: false, ephemeral: false, missing: 0 };
        self.chats.iter().map(info).collect()
    }

    fn peers(&self) -> Vec<PeerInfo> {
        Vec::new()
    }

    fn publish<'a>(&'a self, draft: Draft) -> BoxFuture<'a, Result<MsgId, NodeError>> {
        Box::pin(async move {
            if draft.text == "bad" {
                return Err(NodeError::Vetoed("a bad word".to_owned()));
            }
            let mut message = samples::message(&draft.text);
            let mut sent = self.sent.lock().unwrap();
            sent.push((draft.chat.to_string(), draft.text.clone()));
            message.id = MsgId([u8::try_from(sent.len()).unwrap(); 32]);
            message.chat = draft.chat.clone();
            message.mine = true;
            let id = message.id;
            let _ = self.events.send(Event::Message(message));
            let _ = self.events.send(Event::Sent { chat: draft.chat, id });
            Ok(id)
        })
    }

    fn history<'a>(&'a self, _: &'a str, _: HistoryQuery) -> BoxFuture<'a, Result<Vec<Message>, NodeError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn load_history<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<LoadReport, NodeError>> {
        Box::pin(async { Ok(LoadReport::default()) })
    }

    fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn notify(&self, _: NoticeLevel, _: &str, _: &str) {}

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }

    fn shutdown(&self) {
        let _ = self.events.send(Event::Stopped);
    }
}

/// `chat NAME`, `exit`, `history`, `fail`, `usage`.
struct Menu;

impl Commands for Menu {
    fn list(&self) -> Vec<CommandInfo> {
        Vec::new()
    }

    fn complete(&self, _: &str, _: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    fn run<'a>(&'a self, line: &'a str, context: CommandContext) -> BoxFuture<'a, CommandResult> {
        Box::pin(async move {
            let act = |action| context.actions.send(action).unwrap();
            match line.split_once(' ').unwrap_or((line, "")) {
                ("chat", name) => act(UiAction::Open(name.into())),
                ("exit", _) => act(UiAction::Quit),
                ("history", _) => {
                    let messages = ["one", "two"].map(samples::message).to_vec();
                    act(UiAction::Print("first".to_owned()));
                    act(UiAction::History(context.chat.clone().unwrap(), messages));
                    return CommandResult::Done(Some("last".to_owned()));
                }
                ("fail", _) => return CommandResult::Failed("it broke".to_owned()),
                ("usage", _) => return CommandResult::Usage("usage <x>".to_owned()),
                _ => return CommandResult::Unknown(vec!["chat".to_owned(), "exit".to_owned()]),
            }
            CommandResult::Done(None)
        })
    }
}

/// Where a frontend writes in a test.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

async fn run(kind: Frontend, node: &Arc<Node>, input: impl Read + Send + 'static) -> String {
    let written = Written::default();
    let events = node.events.subscribe();
    stream::run(render::of(kind, false, || 0), node.handle(), Arc::new(Menu), events, input, written.clone())
        .await
        .unwrap();
    written.text()
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["event"].as_str().unwrap()).collect()
}

fn pair(chat: &str, text: &str) -> (String, String) {
    (chat.to_owned(), text.to_owned())
}

#[tokio::test]
async fn lines_are_messages_to_the_open_chat_until_the_input_ends() {
    let node = Node::new(&["study", "friends"], 64);
    let shown = objects(&run(Frontend::Json, &node, "hello\n\n  \n/chat friends\n//slash\nbad".as_bytes()).await);
    assert_eq!(node.sent(), [pair("study", "hello"), pair("friends", "/slash")]);
    let count = |name| names(&shown).iter().filter(|event| **event == name).count();
    assert_eq!((count("message"), count("sent"), count("error"), count("stopped")), (2, 2, 1, 1), "{shown:?}");
    assert_eq!(names(&shown).last(), Some(&"stopped"));
    let error = shown.iter().find(|object| object["event"] == "error").unwrap();
    assert_eq!(error["text"], "not sent: a bad word");
}

#[tokio::test]
async fn commands_show_what_they_did_in_order() {
    let node = Node::new(&["study"], 64);
    let shown = objects(&run(Frontend::Json, &node, "/history\n/fail\n/usage\n/nothing\n".as_bytes()).await);
    assert_eq!(names(&shown), ["notice", "history", "history", "notice", "error", "error", "error", "stopped"]);
    let texts: Vec<&str> = shown.iter().filter_map(|object| object["text"].as_str()).collect();
    let unknown = "there is no command \"nothing\"; there are: chat, exit";
    assert_eq!(texts, ["first", "one", "two", "last", "it broke", "usage: usage <x>", unknown]);
}

/// An input that never ends, like a terminal or a pipe that is kept open.
struct Endless(std::sync::mpsc::Receiver<u8>);

impl Read for Endless {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(0)
    }
}

#[tokio::test]
async fn exit_ends_although_the_input_goes_on() {
    let node = Node::new(&["study"], 64);
    let (_keep, endless) = std::sync::mpsc::channel();
    let input = "/exit\n".as_bytes().chain(Endless(endless));
    assert_eq!(names(&objects(&run(Frontend::Json, &node, input).await)), ["stopped"]);
}

#[tokio::test]
async fn plain_and_human_lines() {
    let node = Node::new(&["study"], 64);
    let shown = run(Frontend::Plain, &node, "a\n".as_bytes()).await;
    assert!(shown.starts_with("message\t2001-09-09T01:46:40.000Z\tstudy\tBob#07070707\t"), "{shown}");
    assert!(shown.contains("\tmine\ta\n") && shown.ends_with("\nstopped\t\t\t\t\t\t\n"), "{shown}");
    let shown = run(Frontend::Line, &node, "a\n".as_bytes()).await;
    assert!(shown.contains("[study] Bob#07070707: a\n") && !shown.contains('\u{1b}'), "{shown}");
}

#[tokio::test]
async fn a_node_without_chats_says_so() {
    let node = Node::new(&[], 64);
    let shown = run(Frontend::Plain, &node, "a\n".as_bytes()).await;
    assert!(shown.starts_with("error\t\t\t\t\t\tno chat is open; this node has none"), "{shown}");
}

#[tokio::test]
async fn long_lines_are_refused_and_the_next_is_taken() {
    let node = Node::new(&["study"], 64);
    let input = io::Cursor::new(format!("{}\nb\n", "x".repeat(super::INPUT_LINE_MAX_BYTES + 1)));
    let shown = objects(&run(Frontend::Json, &node, input).await);
    assert!(shown[0]["text"].as_str().unwrap().contains("65536 bytes"), "{shown:?}");
    assert_eq!(node.sent(), [pair("study", "b")]);
}

#[tokio::test]
async fn a_frontend_that_falls_behind_says_how_much_it_skipped() {
    let node = Node::new(&["study"], 4);
    let events = node.events.subscribe();
    for _ in 0..10 {
        node.events.send(Event::Message(samples::message("x"))).unwrap();
    }
    let written = Written::default();
    let render = render::of(Frontend::Json, false, || 0);
    stream::run(render, node.handle(), Arc::new(Menu), events, io::empty(), written.clone()).await.unwrap();
    let shown = objects(&written.text());
    // Six fell out of the four places before the frontend began, and perhaps one more by the end of the input.
    let notice = shown.iter().find(|object| object["event"] == "notice").unwrap();
    let skipped: u64 = notice["text"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
    let messages = names(&shown).iter().filter(|name| **name == "message").count() as u64;
    assert_eq!(skipped + messages, 10, "{shown:?}");
    assert_eq!(names(&shown).last(), Some(&"stopped"));
}

/// A reader that has gone away.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_closed_output_ends_the_node_without_an_error() {
    let node = Node::new(&["study"], 64);
    let events = node.events.subscribe();
    let (_keep, endless) = std::sync::mpsc::channel();
    node.events.send(Event::Message(samples::message("x"))).unwrap();
    let render = render::of(Frontend::Plain, false, || 0);
    let ended = stream::run(render, node.handle(), Arc::new(Menu), events, Endless(endless), Gone).await;
    assert!(ended.is_ok());
}

/// A reader that has fallen asleep.
struct Asleep(std::sync::mpsc::Receiver<()>);

impl Write for Asleep {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_reader_holds_up_neither_the_node_nor_the_end() {
    let node = Node::new(&["study"], 8);
    let events = node.events.subscribe();
    let (_keep, asleep) = std::sync::mpsc::channel();
    let (_keep_too, endless) = std::sync::mpsc::channel();
    let render = render::of(Frontend::Plain, false, || 0);
    let frontend = stream::run(render, node.handle(), Arc::new(Menu), events, Endless(endless), Asleep(asleep));
    let frontend = tokio::spawn(frontend);
    for _ in 0..2_000 {
        node.events.send(Event::Message(samples::message("x"))).unwrap();
        tokio::task::yield_now().await;
    }
    node.shutdown();
    frontend.await.unwrap().unwrap();
}

#[tokio::test]
async fn typed_messages_are_recognised_once_and_only_unchanged() {
    let node = Node::new(&["study"], 64);
    let mut events = node.events.subscribe();
    let (session, _items): (Arc<Session>, mpsc::UnboundedReceiver<_>) = Session::new(node.handle(), Arc::new(Menu));
    session.line("hello").await;
    let Event::Message(message) = events.recv().await.unwrap() else { panic!("the message comes first") };
    let mut changed = message.clone();
    changed.text = "HELLO".to_owned();
    let mut theirs = message.clone();
    theirs.mine = false;
    assert!(!session.is_echo(&theirs));
    assert!(session.is_echo(&message));
    assert!(!session.is_echo(&message), "once");

    session.line("hello").await;
    changed.id = MsgId([2; 32]);
    assert!(!session.is_echo(&changed), "a filter changed it, so it is shown");
    session.line("bad").await;
    assert!(!session.is_echo(&samples::message("bad")));
}
