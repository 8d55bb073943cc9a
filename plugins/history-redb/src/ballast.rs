//! A reserve of disk space. A database can't even delete on a full disk, since a deletion writes before it frees; so a
//! file of constant size lies beside it and is given back when the disk is full. Until it is restored, the store takes
//! no more envelopes: what was given back is for pruning.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::NAME;
use crate::place::private_file;

/// The file's name, within the store's folder.
pub(crate) const FILE_NAME: &str = "history.ballast";

/// What to say where the reserve can't be restored.
pub(crate) const FULL: &str = "the disk is full; make room or lower the window's quota. What was stored is safe";

/// How much is written at a time, in bytes.
const CHUNK_BYTES: usize = 1 << 16;

/// The reserve.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    bytes: usize,
    there: bool,
}

impl Ballast {
    /// A reserve of so many bytes, 0 for none.
    pub(crate) fn new(folder: &Path, bytes: usize) -> Self {
        let path = folder.join(FILE_NAME);
        let there = bytes == 0 || fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes as u64);
        Self { path, bytes, there }
    }

    /// Gives the space back. `false` if there was none.
    pub(crate) fn release(&mut self) -> bool {
        let released = self.bytes > 0 && fs::remove_file(&self.path).is_ok();
        self.there &= !released;
        released
    }

    /// Takes the space again if it isn't taken. `false` if the disk has not enough.
    pub(crate) fn restore(&mut self) -> bool {
        if !self.there {
            self.there = self.fill().map_or_else(
                |error| {
                    // Half a reserve would take the room that pruning needs.
                    let _ = fs::remove_file(&self.path);
                    tracing::warn!(backend = NAME, %error, "can't keep a reserve of disk space");
                    // Where it fails for another reason, the store is not held up: it has no reserve then.
                    !is_full(&error)
                },
                |()| true,
            );
        }
        self.there
    }

    /// Zeros are written, since a file of holes takes no space.
    fn fill(&self) -> io::Result<()> {
        let mut file = private_file(&self.path)?;
        if file.metadata()?.len() > 0 {
            file.set_len(0)?;
        }
        let chunk = [0; CHUNK_BYTES];
        let mut left = self.bytes;
        while left > 0 {
            let written = file.write(&chunk[..left.min(CHUNK_BYTES)])?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            left -= written;
        }
        file.sync_all()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::WriteZero
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const BYTES: usize = 3 * CHUNK_BYTES + 1;

    #[test]
    fn it_takes_its_space_and_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let mut ballast = Ballast::new(folder.path(), BYTES);
        assert!(ballast.restore());
        assert_eq!(fs::metadata(&path).unwrap().len(), BYTES as u64);
        assert!(ballast.release());
        assert!(!path.exists());
        assert!(!ballast.release(), "there is nothing more to give");
        assert!(ballast.restore());
        assert!(path.exists());
    }

    #[test]
    fn what_a_crash_left_half_full_is_filled_up() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE_NAME), b"half").unwrap();
        assert!(Ballast::new(folder.path(), BYTES).restore());
        assert_eq!(fs::read(folder.path().join(FILE_NAME)).unwrap(), [0; BYTES]);
    }

    #[test]
    fn of_no_size_it_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut ballast = Ballast::new(folder.path(), 0);
        assert!(ballast.restore());
        assert!(!ballast.release());
        assert!(!folder.path().join(FILE_NAME).exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn on_a_full_disk_it_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        assert!(!Ballast::new(folder.path(), BYTES).restore());
        assert!(!path.exists());
    }
}
