//! One JSON object a line. Its `event` says what it is:
//!
//! | event | fields |
//! |---|---|
//! | `ready` | `listen`: addresses |
//! | `message` | `chat`, `from` (nick), `from_id` (key, 64 hexadecimal digits), `text`, `id`, `time` (milliseconds since the Unix epoch), `mine`, `synced`, `bot`, `late`, `missing`, `reply_to` (an id or null) |
//! | `history` | the same, one for each message of `show history` |
//! | `sent` | `chat`, `id`: an own message is durable |
//! | `peer_up`, `peer_down` | `addr`, `outgoing`, `fingerprint` |
//! | `gap` | `chat`, `missing`: how many messages are known to be missing |
//! | `notice` | `level` (`info`, `warning`, `error`), `source`, `text` |
//! | `error` | `text`: why what was asked for was not done |
//! | `stopped` | none; always the last |

use serde_json::{Value, json};

use super::plain::level_name;
use super::render::{Item, Render, skipped};
use crate::node::{Event, Message, PeerInfo, UiAction};
use crate::room::{sanitize, sanitize_line};

pub(super) struct Json;

impl Render for Json {
    fn render(&mut self, item: &Item, out: &mut String) {
        let mut object = |value: Value| {
            out.push_str(&value.to_string());
            out.push('\n');
        };
        let notice = |level: &str, source: &str, text: &str| json!({"event": "notice", "level": level, "source": sanitize_line(source), "text": sanitize(text)});
        match item {
            Item::Event(event) => match event {
                Event::Ready { listen } => object(json!({"event": "ready", "listen": listen})),
                Event::Message(message) => object(message_object("message", message)),
                Event::Sent { chat, id } => object(json!({"event": "sent", "chat": &**chat, "id": id.to_string()})),
                Event::PeerUp(peer) => object(peer_object("peer_up", peer)),
                Event::PeerDown(peer) => object(peer_object("peer_down", peer)),
                Event::Gap { chat, missing } => object(json!({"event": "gap", "chat": &**chat, "missing": missing})),
                Event::Notice { level, source, text } => object(notice(level_name(*level), source, text)),
                Event::Stopped => object(json!({"event": "stopped"})),
                _ => {}
            },
            Item::Skipped(events) => object(notice("warning", "rumor", &skipped(*events))),
            Item::Action(UiAction::Print(text)) | Item::Info(text) => object(notice("info", "rumor", text)),
            Item::Action(UiAction::Open(chat)) => object(notice("info", "rumor", &format!("{chat} is open"))),
            Item::Action(UiAction::History(_, messages)) => {
                for message in messages {
                    object(message_object("history", message));
                }
            }
            Item::Action(UiAction::Quit) => {}
            Item::Error(text) => object(json!({"event": "error", "text": sanitize(text)})),
        }
    }
}

fn message_object(event: &str, message: &Message) -> Value {
    json!({
        "event": event,
        "chat": &*message.chat,
        "from": sanitize_line(&message.from.nick),
        "from_id": message.from.id.to_string(),
        "text": sanitize(&message.text),
        "id": message.id.to_string(),
        "time": message.time,
        "mine": message.mine,
        "synced": message.synced,
        "bot": message.bot,
        "late": message.late,
        "missing": message.missing,
        "reply_to": message.reply_to.map(|id| id.to_string()),
    })
}

fn peer_object(event: &str, peer: &PeerInfo) -> Value {
    json!({"event": event, "addr": peer.addr.as_str(), "outgoing": peer.outgoing, "fingerprint": sanitize_line(&peer.fingerprint)})
}

#[cfg(test)]
mod tests {
    use super::super::render::samples;
    use super::*;

    fn render(item: &Item) -> Vec<Value> {
        let mut out = String::new();
        Json.render(item, &mut out);
        out.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
    }

    #[test]
    fn messages_have_every_field() {
        let shown = render(&Item::Event(Event::Message(samples::message("a\n\"b\"\u{202e}"))));
        let expected = json!({
            "event": "message", "chat": "study", "from": "Bob", "from_id": "07".repeat(32), "text": "a\n\"b\"",
            "id": "ab".repeat(32), "time": 1_000_000_000_000_u64, "mine": false, "synced": false, "bot": false,
            "late": false, "missing": 0, "reply_to": null,
        });
        assert_eq!(shown, [expected]);
    }

    #[test]
    fn events_are_named_as_documented() {
        let history = UiAction::History("study".into(), vec![samples::message("x"), samples::message("y")]);
        let names = |item: &Item| -> Vec<String> {
            render(item).iter().map(|object| object["event"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(names(&Item::Action(history)), ["history", "history"]);
        assert_eq!(names(&Item::Event(Event::Ready { listen: vec![samples::peer().addr] })), ["ready"]);
        assert_eq!(names(&Item::Event(Event::PeerUp(samples::peer()))), ["peer_up"]);
        assert_eq!(names(&Item::Event(Event::PeerDown(samples::peer()))), ["peer_down"]);
        assert_eq!(names(&Item::Event(Event::Gap { chat: "a".into(), missing: 1 })), ["gap"]);
        assert_eq!(names(&Item::Event(Event::Stopped)), ["stopped"]);
        assert_eq!(names(&Item::Skipped(5)), ["notice"]);
        assert_eq!(names(&Item::Action(UiAction::Open("a".into()))), ["notice"]);
        assert_eq!(names(&Item::Error(String::new())), ["error"]);
    }
}
