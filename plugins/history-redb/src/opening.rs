//! Creating and opening the database, and refusing what isn't this build's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, TableError, WriteTransaction,
};
use rumormill_api::Result;

use crate::fault::{self, Fault, Tried};
use crate::options::Settings;
use crate::place::{Place, Storage};
use crate::rebuild;
use crate::schema1;
use crate::tables::{
    ARCHIVE_ORDER, ARCHIVE_PAGES, ENVELOPES, META, META_SCHEMA, ROOMS, SCHEMA_VERSION, SOURCES, STATE, TOMBSTONE_ORDER,
    TOMBSTONES, WINDOW_ORDER,
};

/// Opens what is in `place`, or creates it. What an older build wrote is converted; what this build can't read is left as
/// it is.
pub(crate) fn open(place: &dyn Place, settings: &Settings) -> Result<Database> {
    let mut builder = Builder::new();
    builder.set_cache_size(settings.cache_bytes);
    // A damaged file can make redb panic where it expects its own invariants.
    catch_unwind(AssertUnwindSafe(|| open_with(place, settings, &builder))).unwrap_or_else(|_| Err(fault::damaged()))
}

fn open_with(place: &dyn Place, settings: &Settings, builder: &Builder) -> Result<Database> {
    if place.is_empty()? {
        place.create(&mut |storage| create(builder, storage))?;
    }
    // Looked at before anything is written, since opening for writing changes the file. After a crash redb has to mend
    // the file first, which leaves every table as it is.
    match builder.open_read_only_with_backend(place.storage()?) {
        Ok(db) => drop(readable(&db)?),
        Err(DatabaseError::RepairAborted) => {}
        Err(error) => return Err(fault::in_opening(error)),
    }
    let open = || builder.create_with_backend(place.storage()?).map_err(fault::in_opening);
    let mut db = open()?;
    if readable(&db)? == SCHEMA_VERSION {
        return Ok(db);
    }
    let broken = rebuild::is_broken(&mut db);
    drop(db);
    schema1::convert(place, settings, broken)?;
    let db = open()?;
    readable(&db)?;
    Ok(db)
}

fn create(builder: &Builder, storage: Storage) -> Result<()> {
    let db = builder.create_with_backend(storage).map_err(fault::in_opening)?;
    settle((|| {
        let mut transaction = db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        create_tables(&transaction)?;
        transaction.commit()?;
        Ok(())
    })())
}

pub(crate) fn create_tables(transaction: &WriteTransaction) -> Tried<()> {
    transaction.open_table(META)?.insert(META_SCHEMA, SCHEMA_VERSION)?;
    transaction.open_table(ENVELOPES)?;
    transaction.open_table(WINDOW_ORDER)?;
    transaction.open_table(SOURCES)?;
    transaction.open_table(ROOMS)?;
    transaction.open_table(ARCHIVE_PAGES)?;
    transaction.open_table(ARCHIVE_ORDER)?;
    transaction.open_table(TOMBSTONES)?;
    transaction.open_table(TOMBSTONE_ORDER)?;
    transaction.open_table(STATE)?;
    Ok(())
}

/// The schema, if it is one that this build reads.
fn readable(db: &impl ReadableDatabase) -> Result<u64> {
    let found = settle((|| schema_of(&db.begin_read()?))())?;
    match found {
        Some(found @ (SCHEMA_VERSION | schema1::VERSION)) => Ok(found),
        Some(other) => Err(fault::schema(other, SCHEMA_VERSION)),
        None => Err(fault::foreign()),
    }
}

fn schema_of(transaction: &ReadTransaction) -> Tried<Option<u64>> {
    match transaction.open_table(META) {
        Ok(table) => Ok(table.get(META_SCHEMA)?.map(|version| version.value())),
        Err(TableError::Storage(error)) => Err(error.into()),
        // No such table, or one of another make.
        Err(_) => Ok(None),
    }
}

pub(crate) fn settle<T>(tried: Tried<T>) -> Result<T> {
    tried.map_err(|fault| match fault {
        Fault::Store(error) => fault::in_use(error),
        Fault::Said(error) => error,
    })
}
