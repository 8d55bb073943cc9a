//! One event a line, seven columns separated by tabs, empty where a column has nothing to say:
//!
//! | column | what |
//! |---|---|
//! | 1 event | `ready`, `message`, `sent`, `peer_up`, `peer_down`, `gap`, `history`, `notice`, `error`, `stopped` |
//! | 2 time | of a message: RFC 3339, UTC |
//! | 3 chat | its name |
//! | 4 from | of a message: `nick#fingerprint`; of a link: its fingerprint; of a notice: who says so |
//! | 5 id | of a message: 64 hexadecimal digits |
//! | 6 flags | comma-separated: `mine`, `synced`, `bot`, `late`; of a link `outgoing`; of a notice its level |
//! | 7 text | the text; for `ready` the addresses, for a link the address, for `gap` how many messages are missing |
//!
//! In every column `\` is written `\\`, a line feed `\n`, a tab `\t`.

use super::render::{Item, Render, skipped};
use super::time;
use crate::node::{Event, Message, NoticeLevel, PeerInfo, UiAction};
use crate::room::sanitize;

pub(super) struct Plain;

impl Render for Plain {
    fn render(&mut self, item: &Item, out: &mut String) {
        let mut row = |columns: [&str; 7]| {
            for (n, column) in columns.into_iter().enumerate() {
                if n > 0 {
                    out.push('\t');
                }
                escape(column, out);
            }
            out.push('\n');
        };
        match item {
            Item::Event(event) => match event {
                Event::Ready { listen } => {
                    let listen: Vec<&str> = listen.iter().map(|addr| addr.as_str()).collect();
                    row(["ready", "", "", "", "", "", &listen.join(" ")]);
                }
                Event::Message(message) => message_row("message", message, row),
                Event::Sent { chat, id } => row(["sent", "", chat, "", &id.to_string(), "", ""]),
                Event::PeerUp(peer) => peer_row("peer_up", peer, row),
                Event::PeerDown(peer) => peer_row("peer_down", peer, row),
                Event::Gap { chat, missing } => row(["gap", "", chat, "", "", "", &missing.to_string()]),
                Event::Notice { level, source, text } => row(["notice", "", "", source, "", level_name(*level), text]),
                Event::Stopped => row(["stopped", "", "", "", "", "", ""]),
                _ => {}
            },
            Item::Skipped(events) => row(["notice", "", "", "rumor", "", "warning", &skipped(*events)]),
            Item::Action(UiAction::Print(text)) | Item::Info(text) => {
                row(["notice", "", "", "rumor", "", "info", text])
            }
            Item::Action(UiAction::Open(chat)) => {
                row(["notice", "", chat, "rumor", "", "info", &format!("{chat} is open")])
            }
            Item::Action(UiAction::History(_, messages)) => {
                for message in messages {
                    message_row("history", message, &mut row);
                }
            }
            Item::Action(UiAction::Quit) => {}
            Item::Error(text) => row(["error", "", "", "", "", "", text]),
        }
    }
}

fn message_row(event: &str, message: &Message, mut row: impl FnMut([&str; 7])) {
    let flags = [(message.mine, "mine"), (message.synced, "synced"), (message.bot, "bot"), (message.late, "late")];
    let flags: Vec<&str> = flags.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
    let who = format!("{}#{}", message.from.nick, message.from.id.fingerprint());
    row([
        event,
        &time::rfc3339(message.time),
        &message.chat,
        &who,
        &message.id.to_string(),
        &flags.join(","),
        &message.text,
    ]);
}

fn peer_row(event: &str, peer: &PeerInfo, mut row: impl FnMut([&str; 7])) {
    let flag = if peer.outgoing { "outgoing" } else { "" };
    row([event, "", "", &peer.fingerprint, "", flag, peer.addr.as_str()]);
}

pub(super) fn level_name(level: NoticeLevel) -> &'static str {
    match level {
        NoticeLevel::Info => "info",
        NoticeLevel::Warning => "warning",
        NoticeLevel::Error => "error",
    }
}

fn escape(column: &str, out: &mut String) {
    // Tabs are escaped before the sanitizer would turn them into spaces.
    let escaped = column.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n");
    out.push_str(&sanitize(&escaped));
}

#[cfg(test)]
mod tests {
    use super::super::render::samples;
    use super::*;

    fn render(item: &Item) -> String {
        let mut out = String::new();
        Plain.render(item, &mut out);
        out
    }

    #[test]
    fn every_line_has_seven_columns() {
        let mut message = samples::message("a\tb\nc\\n\u{1b}[31m");
        message.mine = true;
        message.late = true;
        let id = "ab".repeat(32);
        assert_eq!(
            render(&Item::Event(Event::Message(message.clone()))),
            format!("message\t2001-09-09T01:46:40.000Z\tstudy\tBob#07070707\t{id}\tmine,late\ta\\tb\\nc\\\\n[31m\n")
        );
        assert_eq!(
            render(&Item::Event(Event::PeerDown(samples::peer()))),
            "peer_down\t\t\t01020304\t\toutgoing\ttcp:127.0.0.1:4002\n"
        );
        let items = [
            Item::Event(Event::Ready { listen: vec![samples::peer().addr] }),
            Item::Event(Event::Sent { chat: "study".into(), id: message.id }),
            Item::Event(Event::Gap { chat: "study".into(), missing: 2 }),
            Item::Event(Event::Notice { level: NoticeLevel::Warning, source: "node".into(), text: "x".to_owned() }),
            Item::Event(Event::Stopped),
            Item::Skipped(1),
            Item::Action(UiAction::Open("study".into())),
            Item::Action(UiAction::History("study".into(), vec![message.clone(), message])),
            Item::Error("no".to_owned()),
        ];
        for item in items {
            let shown = render(&item);
            assert!(!shown.is_empty());
            for line in shown.lines() {
                assert_eq!(line.split('\t').count(), 7, "{line:?}");
            }
        }
    }
}
