//! The lines of an export: JSON objects, the first one saying what it is.
//!
//! Version 1. First line: `{"rumor_export":1,"chat":"study"}`. Then a line for each record of the chat's archive, by
//! Lamport clock and id. `envelope` is the sealed message, base64 without padding, URL alphabet: it is what an import
//! verifies and keeps. The other fields are what it says, for people and programs that read an export; an import refuses
//! a line where they differ from it.

use rumormill::api::{Bytes, MsgId};
use rumormill::node::offline::Offline;
use rumormill::room::{Body, Opened, sanitize, sanitize_line};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The version of the format.
pub(super) const EXPORT_VERSION: u32 = 1;

/// The longest line that is read, in bytes: the longest text, escaped, and the largest envelope are shorter.
pub(super) const LINE_MAX_BYTES: usize = 2 << 20;

/// The first line.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) rumor_export: u32,
    pub(super) chat: String,
}

/// One record.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lamport: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nick: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// `true` for a chunk of a long text, which stands in a line after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<bool>,
    pub(super) envelope: String,
}

impl Line {
    /// What an export says of a record.
    pub(super) fn of(
        history: &Offline,
        chat: usize,
        id: &MsgId,
        envelope: &Bytes,
        opened: Option<&Opened>,
        beside: &HashMap<MsgId, Bytes>,
    ) -> Self {
        let mut line = Self {
            id: id.to_string(),
            time: None,
            lamport: None,
            from: None,
            nick: None,
            bot: None,
            reply_to: None,
            text: None,
            part: None,
            envelope: data_encoding::BASE64URL_NOPAD.encode(envelope),
        };
        let Some(opened) = opened else { return line };
        line.time = Some(opened.time);
        line.lamport = Some(opened.lamport);
        line.from = Some(opened.from.to_string());
        if matches!(opened.body, Body::Chunk { .. }) {
            line.part = Some(true);
            return line;
        }
        line.nick = Some(sanitize_line(&opened.nick).into_owned());
        line.bot = opened.bot.then_some(true);
        line.reply_to = opened.reply_to.map(|id| id.to_string());
        line.text = history.text(chat, opened, beside).map(|text| sanitize(&text).into_owned());
        line
    }

    /// The first field in which this line differs from what the sealed message says.
    pub(super) fn differs(&self, truth: &Self) -> Option<&'static str> {
        let fields = [
            ("id", self.id == truth.id),
            ("time", self.time.is_none() || self.time == truth.time),
            ("lamport", self.lamport.is_none() || self.lamport == truth.lamport),
            ("from", self.from.is_none() || self.from == truth.from),
            ("nick", self.nick.is_none() || self.nick == truth.nick),
            ("bot", self.bot.is_none() || self.bot == truth.bot),
            ("reply_to", self.reply_to.is_none() || self.reply_to == truth.reply_to),
            // The text of a long message whose chunks aren't here can't be compared; it isn't kept either.
            ("text", self.text.is_none() || truth.text.is_none() && truth.part.is_none() || self.text == truth.text),
            ("part", self.part.is_none() || self.part == truth.part),
        ];
        fields.into_iter().find(|(_, same)| !same).map(|(name, _)| name)
    }
}
