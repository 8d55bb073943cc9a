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
        file.set_len(0)?;
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
