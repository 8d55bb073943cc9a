//! The profile's folder: keys, lock, and everything else that one node keeps.
//!
//! The folder has mode 0700, its files 0600; looser permissions are refused, with the fix. One node at a time uses it.
//!
//! | file | what it is |
//! |---|---|
//! | `keys` | identity, link key, storage key and filter seed; format below |
//! | `lock` | held by the running node; names its process |
//! | `lines` | the lines typed in the line frontend |
//! | `rumor.log` | the log under the line frontend |
//! | `history/` | the store's files |
//!
//! `keys` is `RUMORKEY` (8 bytes), version 1 (1 byte), four keys of 32 bytes in the order of [`Profile`]'s fields, and
//! the BLAKE3 hash (32 bytes) of all that. It is written once, whole or not at all, and never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

const KEYS: &str = "keys";
const KEYS_NEW: &str = "keys.new";
const LOCK: &str = "lock";
const LINES: &str = "lines";
const LOG: &str = "rumor.log";
const HISTORY: &str = "history";

const MAGIC: [u8; 8] = *b"RUMORKEY";
const KEYS_VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const HASH_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + 1;
const KEYS_FILE_BYTES: usize = HEAD_BYTES + 4 * KEY_BYTES + HASH_BYTES;

/// A profile: the folder and its keys. Holds the folder's lock until it is dropped.
pub struct Profile {
    /// The folder.
    pub folder: PathBuf,
    /// The seed of the person's Ed25519 key.
    pub identity_seed: Zeroizing<[u8; KEY_BYTES]>,
    /// The seed of the link key, which is never a person's identity.
    pub link_seed: Zeroizing<[u8; KEY_BYTES]>,
    /// The key under which the store's indexes and the node's own values are kept.
    pub storage_key: Zeroizing<[u8; KEY_BYTES]>,
    /// The secret seed of the dedup filter's hash functions.
    pub bloom_seed: Zeroizing<[u8; KEY_BYTES]>,
    /// Whether the keys were made just now.
    pub new: bool,
    _lock: File,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("folder", &self.folder).field("new", &self.new).finish_non_exhaustive()
    }
}

/// Why a profile can't be used. Each is a sentence that says what to do; nothing was overwritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process uses it.
    #[error(
        "another node{by} is running on {}; stop it, or give this one another folder with --state",
        folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// ` (process 123)`, or nothing.
        by: String,
    },
    /// Others than the owner may look in.
    #[error("{} holds secrets and is open to other users (mode {mode:03o}); run: chmod {fix:o} {0}", path.display())]
    Permissions {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it should have.
        fix: u32,
    },
    /// The keys are damaged.
    #[error(
        "{} is damaged ({what}); put back a copy of it, or move {} away to start as a new person with an empty history",
        path.display(), path.parent().unwrap_or(path).display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The keys were written by a newer program.
    #[error("{} has version {version}, this program reads {KEYS_VERSION}; use a newer rumor", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u8,
    },
    /// There is a history and no keys.
    #[error(
        "{} is missing, but {} holds a history that only it can open; put the file back, or move the folder away",
        path.display(), path.parent().unwrap_or(path).display()
    )]
    KeysMissing {
        /// The file that is missing.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("can't {what} {}: {source}; {}", path.display(), advice(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No random bytes.
    #[error("the system gives no random bytes ({0}); keys can't be made")]
    Random(getrandom::Error),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let this user write there, or choose another folder with --state"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space, then start again",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "choose another folder with --state",
        _ => "check the disk, or choose another folder with --state",
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Io { what, path: path.to_owned(), source }
}

impl Profile {
    /// Opens the profile in `folder`, making folder and keys if they aren't there.
    ///
    /// # Errors
    ///
    /// [`StateError`]; nothing was overwritten.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        make_folder(folder)?;
        check_mode(folder, 0o700)?;
        let lock = lock(folder)?;
        let path = folder.join(KEYS);
        let (keys, new) = match read_keys(&path)? {
            Some(keys) => (keys, false),
            None if has_history(folder)? => return Err(StateError::KeysMissing { path }),
            None => (make_keys(folder)?, true),
        };
        let key = |n: usize| {
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            key.copy_from_slice(&keys[HEAD_BYTES + n * KEY_BYTES..][..KEY_BYTES]);
            key
        };
        Ok(Self {
            folder: folder.to_owned(),
            identity_seed: key(0),
            link_seed: key(1),
            storage_key: key(2),
            bloom_seed: key(3),
            new,
            _lock: lock,
        })
    }

    /// Where the store's files belong.
    #[must_use]
    pub fn history_folder(&self) -> PathBuf {
        self.folder.join(HISTORY)
    }

    /// The folder with what scripts keep, one file a script. Made when the first of them keeps something.
    #[must_use]
    pub fn scripts_folder(&self) -> PathBuf {
        self.folder.join("scripts")
    }

    /// The folder for files that scripts write for people, a folder a script.
    #[must_use]
    pub fn files_folder(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Where the line frontend keeps what was typed.
    #[must_use]
    pub fn lines_file(&self) -> PathBuf {
        self.folder.join(LINES)
    }

    /// Where the log goes if the config doesn't say.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.folder.join(LOG)
    }
}

/// Opens a file to append to, mode 0600 if it is new.
///
/// # Errors
///
/// [`StateError`]: it can't be opened, or others than the owner may read it.
pub fn append_private(path: &Path) -> Result<File, StateError> {
    let mut options = private();
    options.append(true).create(true);
    let file = options.open(path).map_err(failed("open", path))?;
    check_mode(path, 0o600)?;
    Ok(file)
}

/// Makes a file anew, or empties it; mode 0600 if it is new.
///
/// # Errors
///
/// The operating system's.
pub fn create_private(path: &Path) -> io::Result<File> {
    private().write(true).create(true).truncate(true).open(path)
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> Result<(), StateError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make the folder", folder))
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> Result<(), StateError> {
    fs::create_dir_all(folder).map_err(failed("make the folder", folder))
}

#[cfg(unix)]
fn check_mode(path: &Path, fix: u32) -> Result<(), StateError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_err(failed("look at", path))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(StateError::Permissions { path: path.to_owned(), mode, fix }) }
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: u32) -> Result<(), StateError> {
    Ok(())
}

fn private() -> OpenOptions {
    #[allow(unused_mut, reason = "only Unix has modes")]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn lock(folder: &Path) -> Result<File, StateError> {
    let path = folder.join(LOCK);
    let mut file =
        private().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut process = String::new();
            // The name of the holder is a courtesy.
            let _ = file.take(20).read_to_string(&mut process);
            let by = process.trim().parse::<u32>().map(|id| format!(" (process {id})")).unwrap_or_default();
            return Err(StateError::InUse { folder: folder.to_owned(), by });
        }
        Err(fs::TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed("write", &path))?;
    Ok(file)
}

type Keys = Zeroizing<[u8; KEYS_FILE_BYTES]>;

/// The keys, or `None` if the file isn't there.
fn read_keys(path: &Path) -> Result<Option<Keys>, StateError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    check_mode(path, 0o600)?;
    let corrupt = |what: String| StateError::Corrupt { path: path.to_owned(), what };
    let length = file.metadata().map_err(failed("look at", path))?.len();
    let mut keys = no_keys();
    let whole = length == KEYS_FILE_BYTES as u64;
    let read = KEYS_FILE_BYTES.min(usize::try_from(length).unwrap_or(KEYS_FILE_BYTES));
    file.read_exact(&mut keys[..read]).map_err(failed("read", path))?;
    if read < HEAD_BYTES || keys[..MAGIC.len()] != MAGIC {
        return Err(corrupt("it doesn't begin like a key file".to_owned()));
    }
    let version = keys[MAGIC.len()];
    if version > KEYS_VERSION {
        return Err(StateError::Version { path: path.to_owned(), version });
    }
    if !whole || version != KEYS_VERSION {
        return Err(corrupt(format!("it has {length} bytes instead of {KEYS_FILE_BYTES}")));
    }
    let (body, hash) = keys.split_at(KEYS_FILE_BYTES - HASH_BYTES);
    if blake3::hash(body) != *<&[u8; HASH_BYTES]>::try_from(hash).expect("the rest is as long as a hash") {
        return Err(corrupt("its checksum doesn't match".to_owned()));
    }
    Ok(Some(keys))
}

/// An all-zero buffer for keys.
fn no_keys() -> Keys {
    Zeroizing::new([0; KEYS_FILE_BYTES])
}

fn has_history(folder: &Path) -> Result<bool, StateError> {
    let path = folder.join(HISTORY);
    match fs::read_dir(&path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("read", &path)(error)),
    }
}

/// Makes new keys: a temporary file, synced, then renamed; then the folder is synced.
#[allow(clippy::disallowed_methods, reason = "new keys come straight from the system's entropy")]
fn make_keys(folder: &Path) -> Result<Keys, StateError> {
    let mut keys = no_keys();
    keys[..MAGIC.len()].copy_from_slice(&MAGIC);
    keys[MAGIC.len()] = KEYS_VERSION;
    let body = KEYS_FILE_BYTES - HASH_BYTES;
    getrandom::fill(&mut keys[HEAD_BYTES..body]).map_err(StateError::Random)?;
    let hash = blake3::hash(&keys[..body]);
    keys[body..].copy_from_slice(hash.as_bytes());

    let temporary = folder.join(KEYS_NEW);
    match fs::remove_file(&temporary) {
        // Left by a start that was cut short; never used.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove", &temporary)(error)),
    }
    let mut options = private();
    let write = options.write(true).create_new(true).open(&temporary).and_then(|mut file| {
        file.write_all(&*keys)?;
        file.sync_all()
    });
    write.map_err(failed("write", &temporary))?;
    let path = folder.join(KEYS);
    fs::rename(&temporary, &path).map_err(failed("write", &path))?;
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write", folder))?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/profile");
        (dir, folder)
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[cfg(unix)]
    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_made_once_and_read_again() {
        let (_dir, folder) = folder();
        let first = Profile::open(&folder).unwrap();
        assert!(first.new);
        let keys = [&first.identity_seed, &first.link_seed, &first.storage_key, &first.bloom_seed].map(|key| **key);
        for (n, key) in keys.iter().enumerate() {
            assert_ne!(*key, [0; 32]);
            assert!(!keys[..n].contains(key), "all keys differ");
        }
        drop(first);
        let again = Profile::open(&folder).unwrap();
        assert!(!again.new);
        assert_eq!(
            keys,
            [&again.identity_seed, &again.link_seed, &again.storage_key, &again.bloom_seed].map(|key| **key)
        );
        let shown = format!("{again:?}");
        assert_eq!(shown, format!("Profile {{ folder: {folder:?}, new: false, .. }}"));
    }

    #[cfg(unix)]
    #[test]
    fn modes_are_private_and_looser_ones_refused_with_the_fix() {
        let (_dir, folder) = folder();
        drop(Profile::open(&folder).unwrap());
        assert_eq!(mode(&folder), 0o700);
        assert_eq!((mode(&folder.join(KEYS)), mode(&folder.join(LOCK))), (0o600, 0o600));

        set_mode(&folder, 0o750);
        let error = Profile::open(&folder).unwrap_err().to_string();
        assert!(error.ends_with(&format!("(mode 750); run: chmod 700 {}", folder.display())), "{error}");
        set_mode(&folder, 0o700);
        set_mode(&folder.join(KEYS), 0o604);
        let error = Profile::open(&folder).unwrap_err().to_string();
        assert!(error.ends_with(&format!("run: chmod 600 {}", folder.join(KEYS).display())), "{error}");
        set_mode(&folder.join(KEYS), 0o400);
        assert!(Profile::open(&folder).is_ok(), "stricter is fine");
    }

    #[test]
    fn one_node_at_a_time() {
        let (_dir, folder) = folder();
        let first = Profile::open(&folder).unwrap();
        let error = Profile::open(&folder).unwrap_err().to_string();
        let expected = format!("another node (process {}) is running on {}", std::process::id(), folder.display());
        assert!(error.starts_with(&expected), "{error}");
        drop(first);
        assert!(Profile::open(&folder).is_ok());
    }

    #[test]
    fn damaged_keys_are_refused_and_left_alone() {
        let (_dir, folder) = folder();
        drop(Profile::open(&folder).unwrap());
        let path = folder.join(KEYS);
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[HEAD_BYTES + 5] ^= 1;
        let mut newer = good.clone();
        newer[MAGIC.len()] = 2;
        let longer = [&good[..], b"x"].concat();
        let cases: [(&[u8], &str); 6] = [
            (&flipped, "its checksum doesn't match"),
            (&good[..100], "it has 100 bytes instead of 169"),
            (&longer, "it has 170 bytes instead of 169"),
            (b"", "it doesn't begin like a key file"),
            (b"something else entirely", "it doesn't begin like a key file"),
            (&newer, "use a newer rumor"),
        ];
        for (bytes, expected) in cases {
            fs::write(&path, bytes).unwrap();
            let error = Profile::open(&folder).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was overwritten");
        }
        fs::write(&path, &good).unwrap();
        assert!(Profile::open(&folder).is_ok());
    }

    #[test]
    fn a_history_without_its_keys_is_not_given_new_ones() {
        let (_dir, folder) = folder();
        let profile = Profile::open(&folder).unwrap();
        fs::create_dir(profile.history_folder()).unwrap();
        fs::write(profile.history_folder().join("window.redb"), "x").unwrap();
        drop(profile);
        fs::remove_file(folder.join(KEYS)).unwrap();
        assert!(matches!(Profile::open(&folder), Err(StateError::KeysMissing { .. })));
        assert!(!folder.join(KEYS).exists());
    }

    #[test]
    fn a_start_cut_short_leaves_nothing_in_the_way() {
        let (_dir, folder) = folder();
        make_folder(&folder).unwrap();
        fs::write(folder.join(KEYS_NEW), "half").unwrap();
        assert!(Profile::open(&folder).unwrap().new);
        assert!(!folder.join(KEYS_NEW).exists());
    }

    #[test]
    fn a_file_in_the_folders_place_is_explained() {
        let (dir, _) = folder();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Profile::open(&file).unwrap_err().to_string();
        assert!(error.contains("can't make the folder") && error.contains("--state"), "{error}");
    }

    #[test]
    fn private_files_are_appended_to() {
        let (_dir, folder) = folder();
        let profile = Profile::open(&folder).unwrap();
        for _ in 0..2 {
            append_private(&profile.log_file()).unwrap().write_all(b"x").unwrap();
        }
        assert_eq!(fs::read(profile.log_file()).unwrap(), b"xx");
        #[cfg(unix)]
        assert_eq!(mode(&profile.log_file()), 0o600);
    }
}
