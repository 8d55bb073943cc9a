//! `rumor history check` and `rumor history compact`.

use std::fmt::Write as _;
use std::io::Write;

use rumormill::node::offline::Offline;
use rumormill::room::sanitize_line;

use super::progress::Progress;
use super::{Failure, counted};
use crate::cli::write;

pub(super) fn check(history: &mut Offline, out: &mut dyn Write) -> Result<(), Failure> {
    let mut progress = Progress::new("checking");
    let report = history.check(&mut |done, total| progress.at(done, total)).map_err(Failure::new)?;
    drop(progress);
    let read = counted(report.envelopes, "envelope");
    if report.damaged == 0 && !report.rebuilt {
        return write(out, &format!("OK: {read} read and hashed, none damaged\n"));
    }
    let mut text = format!("{read} read and hashed, {} damaged and removed\n", report.damaged);
    for (chat, lost) in &report.by_chat {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {}: {}", sanitize_line(chat), counted(*lost, "message"));
    }
    if report.rebuilt {
        text.push_str(
            "the database itself was damaged: it was made anew out of what could be read, and the old file kept\n",
        );
    }
    text.push_str(
        "what is missing is fetched from peers at the next start; \"load history\" asks them for the rest of a chat\n",
    );
    write(out, &text)
}

pub(super) fn compact(history: &mut Offline, out: &mut dyn Write) -> Result<(), Failure> {
    let mut progress = Progress::new("compacting");
    let compacted = history.compact(&mut |done, total| progress.at(done, total)).map_err(Failure::new)?;
    drop(progress);
    let (before, after) = (compacted.before_bytes, compacted.after_bytes);
    write(out, &format!("compacted: {} before, {} now\n", mib(before), mib(after)))
}

fn mib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
