//! Writes a database of this build's schema, to be kept in `tests/data/` as the one that every later build opens:
//!
//! ```sh
//! cargo run -p rumormill-history-redb --example pin -- plugins/history-redb/tests/data/schema-2.redb
//! ```
//!
//! Run once for a new schema, before its release; the files of released schemas are never written again.

#[path = "../tests/pinned/content.rs"]
#[allow(dead_code, reason = "the test reads what this writes")]
mod content;

use std::error::Error;
use std::path::PathBuf;

use rumormill_api::HistoryConfig;
use rumormill_history_redb::FILE_NAME;

fn main() -> Result<(), Box<dyn Error>> {
    let target = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: pin FILE")?);
    let folder = tempfile::tempdir()?;
    let config = HistoryConfig { folder: folder.path().to_owned(), ..HistoryConfig::default() };
    let mut history = rumormill_history_redb::open(config)?;
    history.append(&content::entries())?;
    history.prune(&content::retention(), content::NOW)?;
    drop(history);
    let file = folder.path().join(FILE_NAME);
    let mut db = redb::Database::open(&file)?;
    while db.compact()? {}
    drop(db);
    std::fs::copy(file, target)?;
    Ok(())
}
