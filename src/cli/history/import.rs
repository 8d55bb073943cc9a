//! `rumor history import`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use rumormill::api::{Bytes, MsgId};
use rumormill::node::offline::{Offline, TakenIn};
use rumormill::room::Opened;

use super::line::{EXPORT_VERSION, Header, LINE_MAX_BYTES, Line};
use super::progress::Progress;
use super::{Failure, counted};
use crate::cli::write;

/// How many messages are taken in by one transaction.
const BATCH_MESSAGES: usize = 1_000;

/// How many bytes of envelopes are taken in by one transaction, at most by a message more.
const BATCH_BYTES: usize = 4 << 20;

pub(super) fn import(history: &mut Offline, chat: usize, file: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(format!("can't read {}: {error}", file.display()));
    let (source, total): (Box<dyn Read>, u64) = if file == Path::new("-") {
        (Box::new(io::stdin().lock()), 0)
    } else {
        let file = File::open(file).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        (Box::new(file), length)
    };
    let mut import =
        Import { history, chat, batch: Vec::new(), beside: HashMap::new(), bytes: 0, taken: TakenIn::default() };
    let mut progress = Progress::new("importing");
    let mut reader = BufReader::new(source);
    let (mut line, mut number, mut read) = (Vec::new(), 0_u64, 0_u64);
    let ended = loop {
        line.clear();
        number += 1;
        let length = (&mut reader).take(LINE_MAX_BYTES as u64 + 1).read_until(b'\n', &mut line).map_err(failed)?;
        if length == 0 {
            break Ok(());
        }
        read += length as u64;
        let taken = if length > LINE_MAX_BYTES {
            Err(format!("it has more than {LINE_MAX_BYTES} bytes"))
        } else if number == 1 {
            header(&line)
        } else {
            import.line(line.trim_ascii_end())
        };
        if let Err(problem) = taken {
            break Err(format!("{}, line {number}: {problem}", file.display()));
        }
        if import.batch.len() >= BATCH_MESSAGES || import.bytes >= BATCH_BYTES {
            import.flush()?;
            progress.at(read, total.max(read));
        }
    };
    // What comes before a bad line was verified, and is kept.
    import.flush()?;
    drop(progress);
    let TakenIn { new, known } = import.taken;
    match ended {
        Ok(()) if number == 1 => Err(Failure::new(format!("{} is empty", file.display()))),
        Ok(()) => write(out, &format!("{} new, {known} were here already\n", counted(new, "message"))),
        Err(problem) => Err(Failure::new(format!(
            "{problem}\nThe lines before it were taken in ({new} new, {known} were here already), nothing from it on."
        ))),
    }
}

fn header(line: &[u8]) -> Result<(), String> {
    let wrong = "it isn't the first line of what rumor history export --format jsonl writes";
    let header: Header = serde_json::from_slice(line).map_err(|_| wrong.to_owned())?;
    if header.rumor_export == EXPORT_VERSION {
        Ok(())
    } else {
        let version = header.rumor_export;
        Err(format!("the export has version {version}, this program reads {EXPORT_VERSION}; use a newer rumor"))
    }
}

/// An import under way.
struct Import<'a> {
    history: &'a mut Offline,
    chat: usize,
    batch: Vec<(Opened, Bytes)>,
    /// The envelopes of the batch.
    beside: HashMap<MsgId, Bytes>,
    bytes: usize,
    taken: TakenIn,
}

impl Import<'_> {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let line: Line = serde_json::from_slice(line).map_err(|error| {
            // serde_json counts lines within this one.
            let error = error.to_string();
            format!("it is no record of an export: {}", error.split(" at line").next().unwrap_or(&error))
        })?;
        let envelope = data_encoding::BASE64URL_NOPAD
            .decode(line.envelope.as_bytes())
            .map_err(|_| "its envelope isn't base64 (URL alphabet, without padding)".to_owned())?;
        let envelope = Bytes::from(envelope);
        let id = MsgId::of(&envelope);
        if line.id != id.to_string() {
            return Err(format!("its envelope is another than its id says: it hashes to {id}"));
        }
        if self.beside.contains_key(&id) || self.history.has(self.chat, &id).map_err(|error| error.to_string())? {
            self.taken.known += 1;
            return Ok(());
        }
        let opened = self.history.verify(self.chat, &envelope).map_err(|refusal| refusal.to_string())?;
        let truth = Line::of(self.history, self.chat, &id, &envelope, Some(&opened), &self.beside);
        if let Some(field) = line.differs(&truth) {
            return Err(format!("its {field} isn't what the sealed message says"));
        }
        self.bytes += envelope.len();
        self.beside.insert(id, envelope.clone());
        self.batch.push((opened, envelope));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.beside.clear();
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let taken = self.history.take_in(self.chat, batch).map_err(Failure::new)?;
        self.taken.new += taken.new;
        self.taken.known += taken.known;
        Ok(())
    }
}
