//! `rumor history export`.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use rumormill::api::{Cursor, MsgId};
use rumormill::node::offline::{Offline, Record};
use rumormill::room::{Opened, display_order, sanitize_line};
use serde::{Deserialize, Serialize};

use super::line::{EXPORT_VERSION, Header, Line};
use super::progress::Progress;
use super::{Failure, Format, counted, markdown};
use crate::cli::write;

/// How many records are read at a time, and written between two notes of where an interrupted export goes on.
const PAGE_RECORDS: usize = 1_000;

/// The chat that is exported.
pub(super) struct Chat {
    pub(super) number: usize,
    pub(super) name: String,
}

/// Where an export that was interrupted goes on. Stands beside the unfinished file.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Place {
    version: u32,
    chat: String,
    markdown: bool,
    /// The last record that is in the file.
    lamport: u64,
    id: String,
    records: u64,
    /// How long the file was then, in bytes: what follows is cut off.
    bytes: u64,
    /// The last day that got a heading.
    day: Option<String>,
}

/// Writes a chat to standard output.
pub(super) fn to(history: &Offline, chat: &Chat, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let mut pages = Pages::new(history, chat, format, None)?;
    write(out, &pages.opening()?)?;
    while let Some(text) = pages.next()? {
        write(out, &text)?;
    }
    Ok(())
}

/// Writes a chat to a file, going on with what an interrupted export left.
pub(super) fn to_file(
    history: &Offline,
    chat: &Chat,
    format: Format,
    file: &Path,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if file.exists() {
        return Err(Failure::new(format!("{} is there already; name another file, or remove it", file.display())));
    }
    let (part, note) = (beside(file, ".part"), beside(file, ".part.at"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Failure::new(format!("can't write {}: {error}", path.display()))
    };
    let place = read_place(&note, chat, format)?;
    let mut pages = Pages::new(history, chat, format, place.as_ref())?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    // It holds what was said: it is for the owner alone, as the profile is.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut target = options.open(&part).map_err(failed(&part))?;
    let mut bytes = place.as_ref().map_or(0, |place| place.bytes);
    let there = target.metadata().map_err(failed(&part))?.len();
    if there < bytes {
        let (part, note) = (part.display(), note.display());
        return Err(Failure::new(format!("{part} is shorter than {note} says; remove both to begin anew")));
    }
    target.set_len(bytes).map_err(failed(&part))?;
    target.seek(io::SeekFrom::Start(bytes)).map_err(failed(&part))?;
    let mut target = BufWriter::new(target);
    let mut put = |text: &str, target: &mut BufWriter<File>| {
        bytes += text.len() as u64;
        target.write_all(text.as_bytes()).map(|()| bytes).map_err(failed(&part))
    };
    if place.is_none() {
        put(&pages.opening()?, &mut target)?;
    }
    while let Some(text) = pages.next()? {
        let bytes = put(&text, &mut target)?;
        target.flush().and_then(|()| target.get_ref().sync_data()).map_err(failed(&part))?;
        write_place(&note, &pages.place(bytes)).map_err(failed(&note))?;
    }
    target.flush().and_then(|()| target.get_ref().sync_all()).map_err(failed(&part))?;
    drop(target);
    fs::rename(&part, file).map_err(failed(file))?;
    match fs::remove_file(&note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&note)(error)),
        _ => {}
    }
    write(out, &format!("{} of {} written to {}\n", pages.written(), sanitize_line(&chat.name), file.display()))
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read_place(note: &Path, chat: &Chat, format: Format) -> Result<Option<Place>, Failure> {
    let text = match fs::read_to_string(note) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::new(format!("can't read {}: {error}", note.display()))),
    };
    let place: Option<Place> = serde_json::from_str(&text).ok();
    match place {
        Some(place)
            if place.version == EXPORT_VERSION
                && place.chat == chat.name
                && place.markdown == (format == Format::Markdown)
                && place.id.parse::<MsgId>().is_ok() =>
        {
            Ok(Some(place))
        }
        _ => Err(Failure::new(format!(
            "{} is left of another export; finish that one first, or remove it with the .part file beside it",
            note.display()
        ))),
    }
}

/// All or nothing, by a rename.
fn write_place(note: &Path, place: &Place) -> io::Result<()> {
    let new = beside(note, ".new");
    fs::write(&new, serde_json::to_string(place)?)?;
    fs::rename(&new, note)
}

/// The text of an export, page by page.
struct Pages<'a> {
    history: &'a Offline,
    chat: &'a Chat,
    format: Format,
    after: Option<Cursor>,
    records: u64,
    total: u64,
    day: Option<String>,
    progress: Progress,
}

impl<'a> Pages<'a> {
    fn new(history: &'a Offline, chat: &'a Chat, format: Format, place: Option<&Place>) -> Result<Self, Failure> {
        let after = place.and_then(|place| Some(Cursor { lamport: place.lamport, id: place.id.parse().ok()? }));
        Ok(Self {
            history,
            chat,
            format,
            after,
            records: place.map_or(0, |place| place.records),
            total: history.count(chat.number).map_err(Failure::new)?,
            day: place.and_then(|place| place.day.clone()),
            progress: Progress::new("exporting"),
        })
    }

    fn opening(&self) -> Result<String, Failure> {
        match self.format {
            Format::Jsonl => {
                json(&Header { rumor_export: EXPORT_VERSION, chat: sanitize_line(&self.chat.name).into_owned() })
            }
            Format::Markdown => Ok(markdown::title(&self.chat.name)),
        }
    }

    /// The next page; `None` at the end.
    fn next(&mut self) -> Result<Option<String>, Failure> {
        let page = self.history.page(self.chat.number, self.after, PAGE_RECORDS).map_err(Failure::new)?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some(last.at);
        self.records += page.len() as u64;
        let text = match self.format {
            Format::Jsonl => self.lines(&page)?,
            Format::Markdown => self.markdown(page),
        };
        self.progress.at(self.records, self.total);
        Ok(Some(text))
    }

    fn lines(&self, page: &[Record]) -> Result<String, Failure> {
        let mut text = String::new();
        for Record { at, envelope, opened } in page {
            let line = Line::of(self.history, self.chat.number, &at.id, envelope, opened.as_ref(), &HashMap::new());
            text.push_str(&json(&line)?);
        }
        Ok(text)
    }

    /// Within a page, in the order of display.
    fn markdown(&mut self, page: Vec<Record>) -> String {
        let opened: Vec<Opened> = page.into_iter().filter_map(|record| record.opened).collect();
        let mut text = String::new();
        for at in display_order(&opened) {
            if let Some(said) = self.history.text(self.chat.number, &opened[at], &HashMap::new()) {
                text.push_str(&markdown::message(&opened[at], &said, &mut self.day));
            }
        }
        text
    }

    fn place(&self, bytes: u64) -> Place {
        let after = self.after.unwrap_or(Cursor { lamport: 0, id: MsgId([0; 32]) });
        Place {
            version: EXPORT_VERSION,
            chat: self.chat.name.clone(),
            markdown: self.format == Format::Markdown,
            lamport: after.lamport,
            id: after.id.to_string(),
            records: self.records,
            bytes,
            day: self.day.clone(),
        }
    }

    fn written(&self) -> String {
        counted(self.records, "record")
    }
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string(value).map_err(|error| Failure::new(format!("can't write JSON: {error}")))?;
    text.push('\n');
    Ok(text)
}
