//! The binary under a pseudo-terminal, as a person meets it, linked to a second node on loopback.
#![cfg(all(
    unix,
    feature = "transport-tcp",
    feature = "dedup-bloom",
    feature = "cipher-chacha",
    feature = "history-redb",
    feature = "luau"
))]
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};
use rexpect::session::{PtySession, spawn_command};
use support::{Node, PATIENCE, TestConfig, free_ports, secret};

const CTRL_C: char = 'c';
const CTRL_D: char = 'd';
/// How long to look out for the moment between two lines.
const COOKED_WAIT: Duration = Duration::from_secs(3);

/// Alice, at the terminal.
struct Terminal {
    session: PtySession,
}

impl Terminal {
    fn start(config: &Path, state: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rumor"));
        command.arg("--config").arg(config).arg("--state").arg(state).env("TERM", "xterm").env("NO_COLOR", "1");
        let patience_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
        Self { session: spawn_command(command, Some(patience_ms)).unwrap() }
    }

    /// Waits for a text; gives what stood before it.
    fn sees(&mut self, text: &str) -> String {
        self.session.exp_string(text).unwrap_or_else(|error| panic!("no {text:?}: {error}"))
    }

    fn types(&mut self, text: &str) {
        self.session.send(text).unwrap();
        self.session.flush().unwrap();
    }

    fn enters(&mut self, line: &str) {
        self.session.send_line(line).unwrap();
    }

    fn presses(&mut self, control: char) {
        self.session.send_control(control).unwrap();
    }

    /// Opens the menu.
    fn menu(&mut self) {
        self.presses(CTRL_C);
        self.sees("Menu (Ctrl+C leaves it):");
        self.sees("menu> ");
    }

    /// The modes that an editor changes. The terminal's master side tells them too.
    fn modes(&self) -> LocalFlags {
        let master = self.session.process().get_file_handle().unwrap();
        tcgetattr(&master).unwrap().local_flags & (LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// Waits until no line is being edited; on a busy machine that moment can pass unseen.
    #[expect(clippy::disallowed_methods, reason = "the patience of a test is the wall clock's")]
    fn expects_cooked_mode(&self) {
        let until = Instant::now() + COOKED_WAIT;
        while !self.modes().contains(LocalFlags::ISIG) && Instant::now() < until {
            std::thread::yield_now();
        }
    }

    /// Waits for the end: what is shown last, exit code 0, and the terminal as a shell wants it. Gives all that was shown.
    fn ends_cleanly(mut self) -> String {
        let before = self.sees("-- stopped; everything sent is saved");
        assert!(!before.contains("error"), "{before:?}");
        let rest = self.session.exp_eof().unwrap_or_else(|error| panic!("no end: {error}"));
        // Before or after the last line, which waits a moment for a prompt.
        let shown = before + &rest;
        let (on, off) = (shown.rfind("\u{1b}[?2004h"), shown.rfind("\u{1b}[?2004l"));
        assert!(off.is_some() && on < off, "bracketed paste is switched off: {shown:?}");
        // As the terminal was before: rexpect gives it without echo.
        assert_eq!(self.modes(), LocalFlags::ICANON | LocalFlags::ISIG, "the modes are back");
        let status = self.session.process().wait().unwrap();
        let status = format!("{status:?}");
        assert!(status.starts_with("Exited(") && status.ends_with(", 0)"), "{status}");
        shown
    }
}

/// Alice at a terminal in two rooms, and Bob as a program in the first of them.
fn linked(folder: &Path) -> (Terminal, Node) {
    let [alice, bob] = free_ports::<2>();
    let lan = || "[network]\nlan = true".to_owned();
    let study = || ("study", secret(1));
    let bob_config =
        TestConfig { name: "bob", port: bob, peers: vec![], chats: vec![study()], extra: lan() }.write(folder);
    let alice_config = TestConfig {
        name: "alice",
        port: alice,
        peers: vec![bob],
        chats: vec![study(), ("friends", secret(2))],
        extra: lan(),
    }
    .write(folder);
    let mut bob = Node::start(&bob_config, &folder.join("bob"));
    let mut alice = Terminal::start(&alice_config, &folder.join("alice"));
    bob.expect_peers(1);
    alice.sees("study> ");
    assert!(alice.modes().is_empty(), "a line is being edited");
    (alice, bob)
}

#[test]
fn a_chat_whose_typing_nothing_disturbs() {
    let folder = tempfile::tempdir().unwrap();
    let (mut alice, mut bob) = linked(folder.path());

    alice.enters("hello Bob");
    bob.expect_text("study", "hello Bob");
    bob.say("hello Alice");
    let before = alice.sees(": hello Alice");
    assert!(!before.contains(": hello Bob"), "an own line stands where it was typed, once: {before:?}");
    alice.sees("study> ");

    // Two messages come while a line is half typed. It is painted again below each, and sent whole.
    alice.types("half of ");
    alice.sees("half of ");
    for text in ["first", "second"] {
        bob.say(text);
        alice.sees(&format!(": {text}"));
        alice.sees("study> half of ");
    }
    alice.types("a li");
    bob.say("third");
    alice.sees(": third");
    alice.sees("study> half of a li");
    alice.enters("ne");
    bob.expect_text("study", "half of a line");

    // The menu keeps a half-typed line and gives it back.
    alice.sees("study> ");
    alice.types("kept");
    alice.sees("kept");
    alice.menu();
    alice.presses(CTRL_C);
    alice.sees("study> kept");
    alice.enters("");
    bob.expect_text("study", "kept");

    alice.sees("study> ");
    alice.presses(CTRL_D);
    alice.ends_cleanly();
    assert!(bob.stop().success());
    let texts = |node: &mut Node| -> Vec<String> {
        node.show_history(50).iter().map(|event| event["text"].as_str().unwrap().to_owned()).collect()
    };
    let mut alice = Node::start(&folder.path().join("alice.toml"), &folder.path().join("alice"));
    let expected = ["hello Bob", "hello Alice", "first", "second", "third", "half of a line", "kept"];
    assert_eq!(texts(&mut alice), expected, "everything is there after the restart, once");
}

#[test]
fn every_command_works_in_the_menu_and_with_a_slash() {
    let folder = tempfile::tempdir().unwrap();
    let (mut alice, mut bob) = linked(folder.path());
    let id = bob.say("to be found")["id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 64);
    alice.sees(": to be found");

    // In the menu. Only `chat` leaves it.
    alice.menu();
    for (command, answer) in [
        ("help", "Commands (in a chat with a / before them):"),
        ("load history", "study: 0 new messages from 1 peer; complete since "),
        ("show history", "-- history of study: 1 message"),
        ("show history nonsense", "-- usage: show history [<count>]"),
        ("nonsense", "there is no command \"nonsense\"; there are: chat, chats, exit, help, "),
        ("chat", "Your chats:"),
    ] {
        alice.enters(command);
        alice.sees(answer);
        if command == "show history" {
            alice.sees(": to be found");
        }
        alice.sees("menu> ");
    }
    alice.enters("chat friends");
    alice.sees("-- friends is open");
    alice.sees("friends> ");

    // With a slash, without the menu.
    for (command, answer) in [
        ("/help", "show history [<count>]"),
        ("/show history", "-- history of friends: nothing yet"),
        ("/load history", "friends: 0 new messages from 1 peer; complete."),
        ("/chat nowhere", "There is no chat \"nowhere\"."),
    ] {
        alice.enters(command);
        alice.sees(answer);
        alice.sees("friends> ");
    }
    alice.enters("/chat study");
    alice.sees("study> ");
    alice.enters("/show history");
    alice.sees(": to be found");
    alice.sees("study> ");

    alice.enters("/exit");
    alice.ends_cleanly();
}

#[test]
fn exit_works_in_the_menu() {
    let folder = tempfile::tempdir().unwrap();
    let (mut alice, _bob) = linked(folder.path());
    alice.menu();
    alice.enters("exit");
    alice.ends_cleanly();
}

#[test]
fn a_signal_leaves_what_is_typed_on_the_screen_and_the_shell_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mut alice, _bob) = linked(folder.path());
    alice.types("half of a line");
    alice.sees("half of a line");
    alice.session.process_mut().signal(Signal::SIGTERM).unwrap();
    let shown = alice.ends_cleanly();
    // The editor may be painting its line for the last time just then.
    assert!(shown.contains("\u{1b}[?2004l\r\n"), "{shown:?}");
}

#[test]
fn ctrl_c_while_a_line_is_at_work_opens_the_menu_too() {
    let folder = tempfile::tempdir().unwrap();
    let scripts = folder.path().join("scripts/commands");
    std::fs::create_dir_all(&scripts).unwrap();
    std::fs::write(scripts.join("busy.lua"), "rumor.command('busy', { run = function() while true do end end })")
        .unwrap();
    let [port] = free_ports::<1>();
    let extra = "[lua]\nfolder = \"scripts\"\nhandler_ms = 1000".to_owned();
    let config = TestConfig { name: "alice", port, peers: vec![], chats: vec![("study", secret(1))], extra };
    let mut alice = Terminal::start(&config.write(folder.path()), &folder.path().join("state"));
    alice.sees("study> ");
    alice.enters("/busy");
    // While the command runs, the terminal is as a shell has it, and makes a signal of Ctrl+C. Should the command end
    // before the key is pressed, the editor sees the key: the menu opens in either case.
    alice.expects_cooked_mode();
    alice.presses(CTRL_C);
    alice.sees("Menu (Ctrl+C leaves it):");
    alice.sees("menu> ");
    alice.presses(CTRL_C);
    alice.sees("study> ");
    alice.presses(CTRL_D);
    alice.ends_cleanly();
}
