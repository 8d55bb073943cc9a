//! Lines for people: `20:04 [study] Bob#07070707: hello`.

use std::fmt::Write;

use rumormill_api::Millis;

use super::render::{Item, Render, skipped};
use super::time;
use crate::node::{Event, Message, NoticeLevel, PeerInfo, UiAction};
use crate::room::{PersonId, sanitize, sanitize_line};

/// What continues a text of several lines.
const INDENT: &str = "\n    ";

/// ANSI colours that are readable on dark and on light ground.
const COLORS: [u8; 10] = [31, 32, 33, 34, 35, 36, 91, 94, 95, 96];

pub(super) struct Human {
    pub(super) color: bool,
    pub(super) now: fn() -> Millis,
}

impl Render for Human {
    fn render(&mut self, item: &Item, out: &mut String) {
        match item {
            Item::Event(Event::Message(message)) => self.message(message, out),
            Item::Event(event) => {
                if let Some(text) = self.event(event) {
                    self.aside(&text, out);
                }
            }
            Item::Skipped(events) => self.aside(&skipped(*events), out),
            Item::Action(UiAction::Print(text)) | Item::Info(text) => {
                out.push_str(&sanitize(text));
                out.push('\n');
            }
            Item::Action(UiAction::Open(chat)) => self.aside(&format!("{} is open", sanitize_line(chat)), out),
            Item::Action(UiAction::History(chat, messages)) => {
                let count = match messages.len() {
                    0 => "nothing yet".to_owned(),
                    1 => "1 message".to_owned(),
                    count => format!("{count} messages"),
                };
                self.aside(&format!("history of {}: {count}", sanitize_line(chat)), out);
                for message in messages {
                    self.message(message, out);
                }
            }
            Item::Action(UiAction::Quit) => {}
            Item::Error(text) => self.aside(text, out),
        }
    }
}

impl Human {
    fn message(&self, message: &Message, out: &mut String) {
        if message.missing > 0 {
            self.aside(
                &format!("{} missing in {} before this", messages(message.missing), sanitize_line(&message.chat)),
                out,
            );
        }
        let when = time::short(message.time, (self.now)());
        let chat = sanitize_line(&message.chat);
        let who = format!("{}#{}", sanitize_line(&message.from.nick), message.from.id.fingerprint());
        let who = if self.color { format!("\u{1b}[{}m{who}\u{1b}[0m", color(&message.from.id)) } else { who };
        let bot = if message.bot { " (bot)" } else { "" };
        let late = if message.late { " (late)" } else { "" };
        let text = sanitize(&message.text).replace('\n', INDENT);
        // Writing to a String can't fail.
        let _ = writeln!(out, "{when} [{chat}] {who}{bot}{late}: {text}");
    }

    fn event(&self, event: &Event) -> Option<String> {
        Some(match event {
            Event::Ready { listen } if listen.is_empty() => "ready; not listening".to_owned(),
            Event::Ready { listen } => {
                let listen: Vec<&str> = listen.iter().map(|addr| addr.as_str()).collect();
                format!("ready; listening on {}", listen.join(", "))
            }
            Event::PeerUp(peer) => format!("linked {}", link(peer)),
            Event::PeerDown(peer) => format!("link lost {}", link(peer)),
            Event::Gap { chat, missing: 0 } => format!("{}: nothing is missing any more", sanitize_line(chat)),
            Event::Gap { chat, missing } => format!("{}: {} missing", sanitize_line(chat), messages(*missing)),
            Event::Notice { level, source, text } => {
                let level = match level {
                    NoticeLevel::Info => "",
                    NoticeLevel::Warning => "warning: ",
                    NoticeLevel::Error => "error: ",
                };
                format!("{level}{}: {}", sanitize_line(source), sanitize(text))
            }
            Event::Stopped => "stopped; everything sent is saved".to_owned(),
            _ => return None,
        })
    }

    /// A line that isn't a message.
    fn aside(&self, text: &str, out: &mut String) {
        let text = sanitize(text).replace('\n', INDENT);
        let (dim, reset) = if self.color { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
        let _ = writeln!(out, "{dim}-- {text}{reset}");
    }
}

fn messages(count: usize) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

fn link(peer: &PeerInfo) -> String {
    let direction = if peer.outgoing { "to" } else { "from" };
    format!("{direction} {} ({})", peer.addr, sanitize_line(&peer.fingerprint))
}

/// The colour of a person: from the key, so that a borrowed nick doesn't look the same.
fn color(id: &PersonId) -> u8 {
    let sum = id.0.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    COLORS[sum % COLORS.len()]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::render::samples;
    use super::*;

    fn render(item: &Item) -> String {
        let mut out = String::new();
        Human { color: false, now: || 1_000_000_000_000 }.render(item, &mut out);
        out
    }

    #[test]
    fn messages_name_chat_nick_and_key() {
        let shown = render(&Item::Event(Event::Message(samples::message("hello\nworld"))));
        assert_eq!(shown, "01:46 [study] Bob#07070707: hello\n    world\n");
        let mut strange = samples::message("x\u{1b}]0;title\u{7}");
        strange.from.nick = "B\u{1b}[2J".to_owned();
        strange.bot = true;
        strange.missing = 2;
        let shown = render(&Item::Event(Event::Message(strange)));
        assert_eq!(shown, "-- 2 messages missing in study before this\n01:46 [study] B[2J#07070707 (bot): x]0;title\n");
    }

    #[test]
    fn nicks_are_coloured_from_the_key_alone() {
        let mut out = String::new();
        let mut human = Human { color: true, now: || 0 };
        human.render(&Item::Event(Event::Message(samples::message("x"))), &mut out);
        assert!(out.contains("\u{1b}[") && out.contains("mBob#07070707\u{1b}[0m: x"), "{out:?}");
        let colors: std::collections::BTreeSet<u8> = (0..50).map(|n| color(&PersonId([n; 32]))).collect();
        assert!(colors.len() > 3, "different keys, different colours");
    }

    #[test]
    fn other_events_are_asides() {
        assert_eq!(
            render(&Item::Event(Event::PeerUp(samples::peer()))),
            "-- linked to tcp:127.0.0.1:4002 (01020304)\n"
        );
        assert_eq!(
            render(&Item::Event(Event::Gap { chat: "study".into(), missing: 1 })),
            "-- study: 1 message missing\n"
        );
        assert_eq!(render(&Item::Action(UiAction::Print("a\nb".to_owned()))), "a\nb\n");
        let history = UiAction::History(Arc::from("study"), vec![samples::message("x")]);
        assert_eq!(render(&Item::Action(history)), "-- history of study: 1 message\n01:46 [study] Bob#07070707: x\n");
        assert!(render(&Item::Skipped(3)).contains("3 events were skipped"));
        assert_eq!(render(&Item::Error("no\u{1b}".to_owned())), "-- no\n");
    }
}
