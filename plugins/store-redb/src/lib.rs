//! Scripts' values, each script's in a redb database of its own: `NAME.redb` in the folder that the option `path` names.
//!
//! Every write is one transaction, synced before it returns. The file is open to its owner alone.

use std::fs::{self, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use rumormill_api::{Error, ErrorKind, Options, Registry, Result, Store, StoreFactory};

/// This backend's name.
pub const NAME: &str = "redb";
/// The format that this build writes.
pub const SCHEMA_VERSION: u64 = 1;
/// Memory that a store's database may use as its cache, in bytes.
const CACHE_MAX_BYTES: usize = 1 << 20;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_SCHEMA: &str = "schema";
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

/// Adds it to a registry.
pub fn register(registry: &mut Registry) {
    registry.add_store(NAME, |options: Options| {
        let Some(folder) = options.get("path") else {
            return Err(Error::new(ErrorKind::Invalid, NAME, "needs the option `path`: the folder of the stores"));
        };
        Ok(factory(PathBuf::from(folder)))
    });
}

/// Stores by name, in a folder that is made when the first is opened.
#[must_use]
pub fn factory(folder: PathBuf) -> StoreFactory {
    Arc::new(move |name| {
        let path = folder.join(file_name(name)?);
        Ok(Box::new(RedbStore::open(&path)?))
    })
}

/// The file of a script's store. Letters, digits, `_` and `-` are all that a script's name has.
fn file_name(name: &str) -> Result<String> {
    let good = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if good {
        return Ok(format!("{name}.redb"));
    }
    Err(Error::new(ErrorKind::Invalid, NAME, format!("{name:?} can't be a store's name")))
}

#[derive(Debug)]
struct RedbStore {
    database: Database,
    path: PathBuf,
}

impl RedbStore {
    fn open(path: &Path) -> Result<Self> {
        // A damaged file can make redb panic where it expects its own invariants.
        catch_unwind(AssertUnwindSafe(|| Self::open_checked(path)))
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Corrupt, NAME, damaged(path))))
    }

    fn open_checked(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            make_folder(folder).map_err(|error| {
                let context = format!("can't make the folder {}", folder.display());
                Error::new(ErrorKind::Io, NAME, context).with_source(error)
            })?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        owner_only(&mut options);
        let file = options.open(path).map_err(|error| {
            let context = format!("can't open {}", path.display());
            Error::new(ErrorKind::Io, NAME, context).with_source(error)
        })?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_MAX_BYTES);
        let database = FileBackend::new(file)
            .and_then(|backend| builder.create_with_backend(backend))
            .map_err(|error| opening(path, error))?;
        let store = Self { database, path: path.to_owned() };
        store.check()?;
        Ok(store)
    }

    /// Whether the format is this build's; a new file gets it.
    fn check(&self) -> Result<()> {
        let found = (|| {
            let transaction = self.database.begin_write()?;
            let found = {
                let mut meta = transaction.open_table(META)?;
                transaction.open_table(VALUES)?;
                let found = meta.get(META_SCHEMA)?.map(|version| version.value());
                if found.is_none() {
                    meta.insert(META_SCHEMA, SCHEMA_VERSION)?;
                }
                found
            };
            // A file of another format stays as it is.
            match found {
                None => transaction.commit()?,
                Some(_) => transaction.abort()?,
            }
            Ok::<_, redb::Error>(found)
        })();
        match found.map_err(|error| self.failed(error))? {
            None | Some(SCHEMA_VERSION) => Ok(()),
            Some(other) => Err(Error::new(
                ErrorKind::Version,
                NAME,
                format!(
                    "{} has format {other}, this build reads {SCHEMA_VERSION}: update the program, or move the file away",
                    self.path.display()
                ),
            )),
        }
    }

    fn failed(&self, error: redb::Error) -> Error {
        let kind = match &error {
            redb::Error::Corrupted(_) => ErrorKind::Corrupt,
            redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => ErrorKind::Full,
            redb::Error::PreviousIo => ErrorKind::Closed,
            _ => ErrorKind::Io,
        };
        let context = match kind {
            ErrorKind::Corrupt => damaged(&self.path),
            _ => self.path.display().to_string(),
        };
        Error::new(kind, NAME, context).with_source(error)
    }
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>> {
        let read = || {
            let transaction = self.database.begin_read()?;
            let table = transaction.open_table(VALUES)?;
            let mut all = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                all.push((key.value().to_owned(), value.value().to_vec()));
            }
            Ok::<_, redb::Error>(all)
        };
        let all = catch_unwind(AssertUnwindSafe(read))
            .map_err(|_| Error::new(ErrorKind::Corrupt, NAME, damaged(&self.path)))?;
        all.map_err(|error| self.failed(error))
    }

    fn write(&mut self, changes: &[(String, Option<Vec<u8>>)]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let write = || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.set_quick_repair(true);
            {
                let mut table = transaction.open_table(VALUES)?;
                for (key, value) in changes {
                    match value {
                        Some(value) => drop(table.insert(key.as_str(), value.as_slice())?),
                        None => drop(table.remove(key.as_str())?),
                    }
                }
            }
            transaction.commit()?;
            Ok::<_, redb::Error>(())
        };
        write().map_err(|error| self.failed(error))
    }
}

fn damaged(path: &Path) -> String {
    format!("{} is damaged: move it away, and the script begins anew", path.display())
}

fn opening(path: &Path, error: DatabaseError) -> Error {
    let (kind, context) = match &error {
        DatabaseError::DatabaseAlreadyOpen => {
            (ErrorKind::Busy, format!("{} is in use by another process", path.display()))
        }
        DatabaseError::UpgradeRequired(version) => (
            ErrorKind::Version,
            format!("{} has redb's format {version}: update the program, or move the file away", path.display()),
        ),
        DatabaseError::Storage(StorageError::Corrupted(_)) | DatabaseError::RepairAborted => {
            (ErrorKind::Corrupt, damaged(path))
        }
        DatabaseError::Storage(StorageError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => {
            (ErrorKind::Corrupt, damaged(path))
        }
        _ => (ErrorKind::Io, format!("can't open {}", path.display())),
    };
    Error::new(kind, NAME, context).with_source(error)
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn owner_only(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

#[cfg(not(unix))]
fn owner_only(_: &mut OpenOptions) {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn conforms() {
        let dir = tempfile::tempdir().unwrap();
        let open = factory(dir.path().join("scripts"));
        rumormill_api::testkit::store_suite(|name| open(name));
    }

    #[test]
    fn names_stay_in_the_folder() {
        for name in ["karma", "load_history", "a-b", "ä"] {
            assert!(file_name(name).is_ok(), "{name}");
        }
        for name in ["", "..", "a/b", "a.b", "a\0"] {
            assert!(file_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_not_a_store_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let open = factory(dir.path().to_owned());
        fs::write(dir.path().join("text.redb"), "this is no database, but a text").unwrap();
        let error = open("text").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("text.redb")).unwrap(), "this is no database, but a text");

        let newer = Database::create(dir.path().join("newer.redb")).unwrap();
        let transaction = newer.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(META_SCHEMA, SCHEMA_VERSION + 1).unwrap();
        transaction.commit().unwrap();
        drop(newer);
        let error = open("newer").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Version, "{error}");
        assert!(error.to_string().contains("format 2, this build reads 1"), "{error}");
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let open = factory(dir.path().to_owned());
        let first = open("karma").unwrap();
        assert_eq!(open("karma").err().unwrap().kind(), ErrorKind::Busy);
        drop(first);
        assert!(open("karma").is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let open = factory(dir.path().join("scripts"));
        drop(open("karma").unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("scripts")), 0o700);
        assert_eq!(mode(&dir.path().join("scripts/karma.redb")), 0o600);
    }
}
