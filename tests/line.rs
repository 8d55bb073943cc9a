//! The line frontend under a pseudo-terminal, on a node that isn't one.
//!
//! The test runs itself as the child of a pseudo-terminal: with `RUMOR_LINE_CHILD` set it is the program under test.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rexpect::session::{PtySession, spawn_command};
use rumormill::api::{BoxFuture, MsgId};
use rumormill::node::{
    ChatInfo, CommandContext, CommandInfo, CommandResult, Commands, Draft, Event, Handle, HistoryQuery, LoadReport, Me,
    Message, NoHooks, NodeApi, NodeError, NoticeLevel, PeerInfo, Person, Place, UiAction,
};
use rumormill::room::PersonId;
use rumormill::ui::{self, Frontend, UiOptions};
use tokio::sync::broadcast;

const CHILD: &str = "RUMOR_LINE_CHILD";
const TIMEOUT_MS: u64 = 20_000;
const CTRL_C: char = 'c';

/// Every message is answered by Bob.
struct Node(broadcast::Sender<Event>);

impl Node {
    fn say(&self, who: u8, nick: &str, draft: &Draft, text: String) -> MsgId {
        let id = MsgId::of(format!("{nick}{text}").as_bytes());
        let message = Message {
            id,
            chat: draft.chat.clone(),
            from: Person { id: PersonId([who; 32]), nick: nick.to_owned() },
            text,
            time: 0,
            mine: who == 1,
            bot: false,
            synced: false,
            late: false,
            reply_to: None,
            missing: 0,
        };
        let _ = self.0.send(Event::Message(message));
        id
    }
}

impl NodeApi for Node {
    fn me(&self) -> Me {
        Me { id: PersonId([1; 32]), nick: "Alice".into() }
    }

    fn chats(&self) -> Vec<ChatInfo> {
        let info = |name: &str| ChatInfo { name: name.into(), weak: false, ephemeral: false, missing: 0 };
        vec![info("study"), info("friends")]
    }

    fn peers(&self) -> Vec<PeerInfo> {
        Vec::new()
    }

    fn publish<'a>(&'a self, draft: Draft) -> BoxFuture<'a, Result<MsgId, NodeError>> {
        let id = self.say(1, "Alice", &draft, draft.text.clone());
        if let Some(text) = draft.text.strip_prefix("later ") {
            // Comes while the next line is being typed: when its first letters have been seen.
            let (events, draft, text) = (self.0.clone(), draft.clone(), text.to_owned());
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
                while !Path::new(&std::env::var(CHILD).unwrap()).join("typing").exists() {
                    ticks.tick().await;
                }
                Node(events).say(2, "Bob", &draft, text);
            });
        } else {
            self.say(2, "Bob", &draft, format!("re: {}", draft.text));
        }
        Box::pin(async move { Ok(id) })
    }

    fn history<'a>(&'a self, _: &'a str, _: HistoryQuery) -> BoxFuture<'a, Result<Vec<Message>, NodeError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn load_history<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<LoadReport, NodeError>> {
        Box::pin(async { Ok(LoadReport::default()) })
    }

    fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }

    fn notify(&self, _: NoticeLevel, _: &str, _: &str) {}

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }

    fn shutdown(&self) {
        let _ = self.0.send(Event::Stopped);
    }
}

struct Menu;

impl Commands for Menu {
    fn list(&self) -> Vec<CommandInfo> {
        let info = |name: &str, params: &str| CommandInfo {
            name: name.to_owned(),
            aliases: Vec::new(),
            params: params.to_owned(),
            desc: "does it".to_owned(),
            place: Place::Menu,
            script: "test".to_owned(),
        };
        vec![info("chat", "<chat>"), info("exit", "")]
    }

    fn complete(&self, line: &str, _: Option<&str>) -> Vec<String> {
        let all = ["chat friends", "chat study", "exit"];
        all.into_iter().filter(|whole| whole.starts_with(line)).map(ToOwned::to_owned).collect()
    }

    fn run<'a>(&'a self, line: &'a str, context: CommandContext) -> BoxFuture<'a, CommandResult> {
        Box::pin(async move {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("chat", name) => context.actions.send(UiAction::Open(name.into())).unwrap(),
                ("exit", _) => context.actions.send(UiAction::Quit).unwrap(),
                _ => return CommandResult::Unknown(vec!["chat".to_owned(), "exit".to_owned()]),
            }
            CommandResult::Done(None)
        })
    }
}

#[test]
fn line_child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, events) = broadcast::channel(64);
        let handle = Handle::new(Arc::new(Node(sender)), Arc::new(NoHooks));
        let mut options = UiOptions::detect(|| 0);
        options.lines_file = Some(Path::new(&folder).join("lines"));
        ui::run(Frontend::Line, handle, Arc::new(Menu), events, options).await.unwrap();
    });
}

fn start(folder: &Path, terminal: &str) -> PtySession {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "line_child", "--nocapture"])
        .env(CHILD, folder)
        .env("TERM", terminal)
        .env("NO_COLOR", "1");
    spawn_command(command, Some(TIMEOUT_MS)).unwrap()
}

#[test]
fn chatting_in_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = start(folder.path(), "xterm");
    terminal.exp_string("You are Alice#01010101").unwrap();
    terminal.exp_string("study> ").unwrap();

    // An own message stands where it was typed, and is not printed again.
    terminal.send_line("hello").unwrap();
    let before = terminal.exp_string("[study] Bob#02020202: re: hello").unwrap();
    assert!(!before.contains("Alice#01010101: hello"), "{before:?}");
    terminal.exp_string("study> ").unwrap();

    // A message comes while a line is half typed: the line is painted again below it, and nothing of it is lost.
    terminal.send_line("later interrupting").unwrap();
    terminal.exp_string("study> ").unwrap();
    terminal.send("half of ").unwrap();
    terminal.flush().unwrap();
    terminal.exp_string("of ").unwrap();
    std::fs::write(folder.path().join("typing"), "").unwrap();
    terminal.exp_string("Bob#02020202: interrupting").unwrap();
    terminal.exp_string("study> half of ").unwrap();

    // The menu keeps the half-typed line, and gives it back.
    terminal.send_control(CTRL_C).unwrap();
    terminal.exp_string("chat <chat>  does it").unwrap();
    terminal.exp_string("menu> ").unwrap();
    terminal.send_control(CTRL_C).unwrap();
    terminal.exp_string("study> half of ").unwrap();
    terminal.send_line("a line").unwrap();
    terminal.exp_string("re: half of a line").unwrap();
    terminal.exp_string("study> ").unwrap();

    // A command of the menu, completed by Tab; it leaves the menu.
    terminal.send_control(CTRL_C).unwrap();
    terminal.exp_string("menu> ").unwrap();
    terminal.send("chat f\t").unwrap();
    terminal.flush().unwrap();
    terminal.exp_string("friends").unwrap();
    terminal.send_line("").unwrap();
    terminal.exp_string("friends is open").unwrap();
    terminal.exp_string("friends> ").unwrap();
    terminal.send_line("/nonsense").unwrap();
    terminal.exp_string("there is no command \"nonsense\"; there are: chat, exit").unwrap();
    terminal.exp_string("friends> ").unwrap();

    terminal.send_line("/exit").unwrap();
    terminal.exp_string("stopped; everything sent is saved").unwrap();
    terminal.exp_string("test result: ok").unwrap();

    let lines = folder.path().join("lines");
    assert!(std::fs::read_to_string(&lines).unwrap().contains("half of a line\n"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(lines).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn ctrl_d_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = start(folder.path(), "xterm");
    terminal.exp_string("study> ").unwrap();
    terminal.send_control('d').unwrap();
    terminal.exp_string("stopped; everything sent is saved").unwrap();
    terminal.exp_string("test result: ok").unwrap();
}

#[test]
fn a_dumb_terminal_gets_no_prompt_and_no_escapes() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = start(folder.path(), "dumb");
    terminal.send_line("hello").unwrap();
    let before = terminal.exp_string("re: hello").unwrap();
    assert!(!before.contains("study> ") && !before.contains('\u{1b}'), "{before:?}");
    terminal.send_line("/exit").unwrap();
    let before = terminal.exp_string("test result: ok").unwrap();
    assert!(before.contains("stopped; everything sent is saved") && !before.contains('\u{1b}'), "{before:?}");
}
