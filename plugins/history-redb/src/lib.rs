//! Durable history in a [redb](https://docs.rs/redb) database: one file, `history.redb`, in the store's folder.
//!
//! - An [`append`](History::append) is one transaction, on the disk when it returns. The caller batches: hundreds of
//!   envelopes need no more syncs than one.
//! - An envelope's bytes are stored once, whichever shelves it stands on, and hashed again on every read.
//! - Reopening after a crash takes milliseconds, since every commit records what redb would else have to rebuild.
//! - No error is for good: whatever fails, the database is closed and the next call opens it again. On a full disk a
//!   reserve of space is given back, so that pruning can make room.
//!
//! | module | what it holds |
//! |---|---|
//! | `options` | the backend's settings |
//! | `place` | the files, their locks and permissions |
//! | `opening` | creating, opening, and checking the schema |
//! | `tables`, `row` | the schema |
//! | `schema1` | what the first schema was, and how it becomes this one |
//! | `read`, `write`, `evict` | one function per question or change, within a transaction |
//! | `rebuild` | the database made anew: smaller, or out of what is left of a broken one |
//! | `fault` | redb's errors as the contract's |
//! | `ballast` | the reserve for a full disk |

mod ballast;
mod evict;
mod fault;
mod opening;
mod options;
mod place;
mod read;
mod rebuild;
mod row;
mod schema1;
mod tables;
mod write;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase as _, WriteTransaction};
use rumormill_api::{
    Appended, ArchiveRecord, Batch, Checked, Compacted, Cursor, Entry, Error, ErrorKind, ExpiryHour, ExpiryRange,
    History, HistoryConfig, Holding, Mended, MsgId, Progress, Pruned, Registry, Result, Retention, RoomTag, Shelf,
    Stats,
};

use ballast::Ballast;
use fault::{Fault, Tried};
use options::Settings;
use place::Place;

/// The name of this backend in a config.
pub const NAME: &str = "redb";

/// The database's file name, within the store's folder.
pub const FILE_NAME: &str = "history.redb";

/// Registers this backend.
pub fn register(registry: &mut Registry) {
    registry.add_history(NAME, open);
}

/// Opens the store in `config.folder`, or creates it.
///
/// Options: `cache_mib`, the memory for cached pages (1 to 4096, 24 if not given), and `ballast_mib`, the reserve on
/// disk that is given back when the disk is full (0 to 1024, 4 if not given; 0 for none).
///
/// # Errors
///
/// [`ErrorKind::Invalid`] for an unknown option, [`ErrorKind::Busy`] if another process has it open,
/// [`ErrorKind::Denied`] if files can't be read or can be read by others, [`ErrorKind::Full`],
/// [`ErrorKind::Version`] and [`ErrorKind::Corrupt`] for a file that this build can't use, which is left as it is.
pub fn open(config: HistoryConfig) -> Result<Box<dyn History>> {
    let settings = Settings::parse(&config.options)?;
    let place = place::Folder::claim(&config.folder)?;
    let ballast = Ballast::new(&config.folder, settings.ballast_bytes);
    Ok(Box::new(RedbHistory::open(Box::new(place), settings, ballast)?))
}

/// The store.
struct RedbHistory {
    // Before `place`, so that the database closes before its lock goes. `None` after a failure, until the next call.
    db: RefCell<Option<Database>>,
    place: Box<dyn Place>,
    settings: Settings,
    ballast: RefCell<Ballast>,
    // Whether something may be visible here that never got to the disk: since a failure, until the next commit.
    unproven: Cell<bool>,
}

impl RedbHistory {
    fn open(place: Box<dyn Place>, settings: Settings, mut ballast: Ballast) -> Result<Self> {
        let db = match opening::open(&*place, &settings) {
            Err(error) if error.kind() == ErrorKind::Full && ballast.release() => opening::open(&*place, &settings)?,
            opened => opened?,
        };
        ballast.restore();
        Ok(Self {
            db: RefCell::new(Some(db)),
            place,
            settings,
            ballast: RefCell::new(ballast),
            unproven: Cell::new(false),
        })
    }

    /// Runs `work` on the open database, opening it first if an earlier failure closed it, and closes it if `work` fails.
    fn run<T>(&self, work: impl FnOnce(&Database) -> Tried<T>) -> Result<T> {
        let mut slot = self.db.borrow_mut();
        let db = match slot.take() {
            Some(db) => db,
            None => opening::open(&*self.place, &self.settings).map_err(fault::as_reopening)?,
        };
        // A damaged page can make redb panic, in debug builds on purpose. It must cost this call, not the node.
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&db)));
        let error = match outcome {
            Ok(Ok(value)) => {
                *slot = Some(db);
                return Ok(value);
            }
            Ok(Err(Fault::Said(error))) => {
                *slot = Some(db);
                return Err(error);
            }
            Ok(Err(Fault::Store(error))) => fault::in_use(error),
            Err(_) => fault::damaged(),
        };
        tracing::warn!(backend = NAME, %error, "the history failed; it is opened again at the next call");
        self.unproven.set(true);
        drop(catch_unwind(AssertUnwindSafe(|| drop(db))));
        if error.kind() == ErrorKind::Full && self.ballast.borrow_mut().release() {
            tracing::warn!(backend = NAME, "the disk is full; the reserve was given back so that old envelopes can go");
        }
        Err(error)
    }

    /// The open database, to be replaced: until it is put back or another takes its place, the next call opens what is
    /// there.
    fn close_for_rebuild(&self) -> Result<Database> {
        match self.db.borrow_mut().take() {
            Some(db) => Ok(db),
            None => opening::open(&*self.place, &self.settings).map_err(fault::as_reopening),
        }
    }

    fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Tried<T>) -> Result<T> {
        self.run(|db| work(&db.begin_read()?))
    }

    /// One durable transaction. `work` says whether it changed anything; if not, nothing is committed.
    fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Tried<(T, bool)>) -> Result<T> {
        let unproven = self.unproven.get();
        let value = self.run(|db| {
            let mut transaction = db.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.set_quick_repair(true);
            let (value, changed) = work(&transaction)?;
            // What an earlier, failed commit may have left is acknowledged only by a commit that reached the disk.
            if changed || unproven {
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(value)
        })?;
        self.unproven.set(false);
        Ok(value)
    }

    fn append_checked(&mut self, batch: &[Entry]) -> Result<Appended> {
        if batch.is_empty() {
            return Ok(Appended::default());
        }
        // What the reserve gave back is for pruning, not for more envelopes.
        if !self.ballast.borrow_mut().restore() {
            return Err(Error::new(ErrorKind::Full, NAME, ballast::FULL));
        }
        self.write(|transaction| write::append(transaction, batch))
    }
}

impl History for RedbHistory {
    fn append(&mut self, batch: &[Entry]) -> Result<Appended> {
        batch.iter().try_for_each(|entry| entry.check(NAME))?;
        self.append_checked(batch)
    }

    fn append_batch(&mut self, batch: &Batch) -> Result<Appended> {
        batch.check(NAME)?;
        self.append_checked(batch.entries())
    }

    fn holds(&self, id: &MsgId) -> Result<Holding> {
        let mut holding = self.holds_all(std::slice::from_ref(id))?;
        Ok(holding.pop().unwrap_or_default())
    }

    fn holds_all(&self, ids: &[MsgId]) -> Result<Vec<Holding>> {
        self.read(|transaction| read::holds_all(transaction, ids))
    }

    fn get(&self, shelf: Shelf, id: &MsgId) -> Result<Option<Bytes>> {
        self.read(|transaction| read::get(transaction, shelf, id))
    }

    fn page(&self, room: &RoomTag, before: Cursor, limit: usize) -> Result<Vec<ArchiveRecord>> {
        self.read(|transaction| read::page(transaction, room, before, limit))
    }

    fn ids(&self, shelf: Shelf, range: ExpiryRange) -> Result<Vec<(ExpiryHour, MsgId)>> {
        self.read(|transaction| read::ids(transaction, shelf, range))
    }

    fn tombstones_between(
        &self,
        from: (ExpiryHour, MsgId),
        to: (ExpiryHour, MsgId),
        limit: usize,
    ) -> Result<Vec<(ExpiryHour, MsgId)>> {
        self.read(|transaction| read::tombstones_between(transaction, from, to, limit))
    }

    fn tombstones(&self) -> Result<Vec<MsgId>> {
        self.read(read::tombstones)
    }

    fn state(&self, key: &str) -> Result<Option<Bytes>> {
        self.read(|transaction| read::state(transaction, key))
    }

    fn prune(&mut self, keep: &Retention, now: ExpiryHour) -> Result<Pruned> {
        let pruned = self.write(|transaction| evict::prune(transaction, keep, now))?;
        self.ballast.borrow_mut().restore();
        Ok(pruned)
    }

    fn forget(&mut self, id: &MsgId) -> Result<()> {
        self.write(|transaction| write::forget(transaction, id))
    }

    fn stats(&self) -> Result<Stats> {
        self.read(read::stats)
    }

    fn ids_after(
        &self,
        shelf: Shelf,
        range: ExpiryRange,
        after: Option<(ExpiryHour, MsgId)>,
        limit: usize,
    ) -> Result<Vec<(ExpiryHour, MsgId)>> {
        self.read(|transaction| read::ids_after(transaction, shelf, range, after, limit))
    }

    fn page_after(&self, room: &RoomTag, after: Option<Cursor>, limit: usize) -> Result<Vec<ArchiveRecord>> {
        self.read(|transaction| read::page_after(transaction, room, after, limit))
    }

    fn tombstones_after(&self, after: Option<MsgId>, limit: usize) -> Result<Vec<MsgId>> {
        self.read(|transaction| read::tombstones_after(transaction, after, limit))
    }

    fn check(&self, after: Option<&MsgId>, limit: usize) -> Result<Checked> {
        self.read(|transaction| read::check(transaction, after, limit))
    }

    fn mend(&mut self, progress: &mut Progress<'_>) -> Result<Mended> {
        let mut db = self.close_for_rebuild()?;
        if !rebuild::is_broken(&mut db) {
            *self.db.borrow_mut() = Some(db);
            return Ok(Mended::default());
        }
        // All in memory but the envelopes, which are read from the old file as the new one is written.
        let salvaged = rebuild::salvage(&db);
        self.place.set_aside()?;
        let mut mended = Mended::default();
        let (settings, mut old) = (self.settings, Some(db));
        self.place.create(&mut |storage| {
            let db = old.take().ok_or_else(fault::damaged)?;
            mended = rebuild::restore(&settings, (&db, row::envelope_in), storage, &salvaged, progress)?;
            // Closing writes to the old file, which the new one is about to replace.
            drop(catch_unwind(AssertUnwindSafe(|| drop(db))));
            Ok(())
        })?;
        Ok(mended)
    }

    fn compact(&mut self, progress: &mut Progress<'_>) -> Result<Compacted> {
        let mut db = self.close_for_rebuild()?;
        // Copied, what is damaged would pass for what was written.
        if rebuild::is_broken(&mut db) {
            return Err(fault::to_be_checked());
        }
        drop(db);
        let before_bytes = self.place.bytes()?;
        let (place, settings) = (&*self.place, self.settings);
        place.create(&mut |storage| rebuild::copy(&settings, place.storage()?, storage, progress))?;
        Ok(Compacted { before_bytes, after_bytes: self.place.bytes()? })
    }
}
