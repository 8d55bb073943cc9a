//! Where the database lies: its files, their permissions and locks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use rumormill_api::{Error, ErrorKind, Result};

use crate::{FILE_NAME, NAME, fault};

/// The file whose lock says that the folder is in use, also while the database is closed for opening it again.
const LOCK_NAME: &str = "history.lock";

/// A database in the making: only a complete one gets the name that is opened.
const NEW_NAME: &str = "history.redb.new";

/// Where a database lies. The tests have one in memory, with faults.
pub(crate) trait Place: Send {
    /// Opens what is there.
    fn storage(&self) -> Result<Storage>;

    /// Whether there is nothing yet.
    fn is_empty(&self) -> Result<bool>;

    /// How long what is there is, in bytes.
    fn bytes(&self) -> Result<u64>;

    /// Keeps what is there under another name as well.
    fn set_aside(&self) -> Result<()>;

    /// Creates it by `init`, which gets an empty storage, all or nothing: what was there before is there until then.
    fn create(&self, init: &mut dyn FnMut(Storage) -> Result<()>) -> Result<()>;
}

/// A folder that this process has to itself while this value lives.
pub(crate) struct Folder {
    folder: PathBuf,
    // Holds the lock.
    _lock: File,
}

impl Folder {
    /// Locks the folder.
    pub(crate) fn claim(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK_NAME);
        let lock = private_file(&path).map_err(|error| fault::of_system(&format!("open {}", path.display()), error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(fault::busy()),
            // A file system without locks: redb's own, if any, has to do.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(fault::of_system(&format!("lock {}", path.display()), error));
            }
        }
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    fn open(&self, name: &str) -> Result<Storage> {
        let path = self.folder.join(name);
        let failed = |error| fault::of_system(&format!("open {}", path.display()), error);
        let file = private_file(&path).map_err(failed)?;
        refuse_shared(&path, &file.metadata().map_err(failed)?)?;
        FileBackend::new(file).map(Storage::new).map_err(fault::in_opening)
    }
}

impl Place for Folder {
    fn storage(&self) -> Result<Storage> {
        self.open(FILE_NAME)
    }

    fn is_empty(&self) -> Result<bool> {
        let path = self.folder.join(FILE_NAME);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(metadata.len() == 0),
            Ok(_) => {
                let text = format!("{} is not a file; move it away", path.display());
                Err(Error::new(ErrorKind::Invalid, NAME, text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(fault::of_system(&format!("open {}", path.display()), error)),
        }
    }

    fn bytes(&self) -> Result<u64> {
        let path = self.folder.join(FILE_NAME);
        let metadata = fs::metadata(&path);
        Ok(metadata.map_err(|error| fault::of_system(&format!("look at {}", path.display()), error))?.len())
    }

    fn set_aside(&self) -> Result<()> {
        let path = self.folder.join(FILE_NAME);
        let free = (1..).map(|n| self.folder.join(format!("{FILE_NAME}.damaged-{n}"))).find(|name| !name.exists());
        let Some(aside) = free else { return Ok(()) };
        let failed = |error| fault::of_system(&format!("keep {} as {}", path.display(), aside.display()), error);
        // A file system without hard links gets a copy.
        fs::hard_link(&path, &aside).or_else(|_| fs::copy(&path, &aside).map(drop)).map_err(failed)?;
        tracing::warn!(backend = NAME, file = %aside.display(), "the broken database was kept");
        sync_folder(&self.folder).map_err(failed)
    }

    fn create(&self, init: &mut dyn FnMut(Storage) -> Result<()>) -> Result<()> {
        let (new, path) = (self.folder.join(NEW_NAME), self.folder.join(FILE_NAME));
        let failed = |error| fault::of_system(&format!("create {}", path.display()), error);
        // What a crash left in the making was never used.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        if let Err(error) = init(self.open(NEW_NAME)?) {
            // On a full disk, what can't be completed takes the room that the rest needs.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        fs::rename(&new, &path).map_err(failed)?;
        sync_folder(&self.folder).map_err(failed)
    }
}

/// Opens or creates a file that only this user can read.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn refuse_shared(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    let text = format!("{path} has mode {mode:04o}, so others can read it; run: chmod 600 {path}");
    Err(Error::new(ErrorKind::Denied, NAME, text))
}

#[cfg(not(unix))]
fn refuse_shared(_: &Path, _: &fs::Metadata) -> Result<()> {
    Ok(())
}

/// Makes a rename durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Any of redb's storages.
#[derive(Debug)]
pub(crate) struct Storage(Box<dyn StorageBackend>);

impl Storage {
    pub(crate) fn new(storage: impl StorageBackend) -> Self {
        Self(Box::new(storage))
    }
}

type Locked<T> = std::result::Result<T, BackendError>;

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.0.query_lock_range(start, end)
    }
}
