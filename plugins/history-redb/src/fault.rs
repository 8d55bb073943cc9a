//! redb's errors as the contract's: a kind, and a sentence that says what to do.

use std::io;

use rumormill_api::{Error, ErrorKind};

use crate::{FILE_NAME, NAME};

/// What work within a transaction returns.
pub(crate) type Tried<T> = Result<T, Fault>;

/// Why work within a transaction failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The database failed: its handle isn't to be used any more.
    Store(redb::Error),
    /// The answer is an error, but the database is well.
    Said(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

macro_rules! from_redb {
    ($($error:ident)*) => {
        $(
            impl From<redb::$error> for Fault {
                fn from(error: redb::$error) -> Self {
                    Self::Store(error.into())
                }
            }
        )*
    };
}

from_redb!(StorageError TableError TransactionError CommitError SetDurabilityError CursorError CompactionError);

fn said(kind: ErrorKind, text: impl Into<String>) -> Error {
    Error::new(kind, NAME, text)
}

/// A failure of the operating system. `what` was to be done ("open the file …").
pub(crate) fn of_system(what: &str, error: io::Error) -> Error {
    let (kind, advice) = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::Denied, "give this user the right to read and write it")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            (ErrorKind::Full, "the disk is full: make room, nothing stored was lost")
        }
        io::ErrorKind::NotFound => (ErrorKind::Io, "create the folder first"),
        _ => (ErrorKind::Io, "check the disk and the folder"),
    };
    said(kind, format!("can't {what}; {advice}")).with_source(error)
}

/// A failure while the database is open.
pub(crate) fn in_use(error: redb::Error) -> Error {
    match error {
        // What says where a page lies is damaged: the disk isn't to blame for reading past the end.
        redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => damaged().with_source(error),
        redb::Error::Io(error) => of_system(&format!("read or write {FILE_NAME}"), error),
        // Rows come out of order only where a page is damaged.
        redb::Error::UnorderedKey
        | redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableDoesNotExist(_) => damaged().with_source(error),
        other => {
            said(ErrorKind::Io, format!("{FILE_NAME} failed; it is opened again at the next try")).with_source(other)
        }
    }
}

/// The file isn't what was written to it.
pub(crate) fn damaged() -> Error {
    said(
        ErrorKind::Corrupt,
        format!("{FILE_NAME} is damaged; move it away, and the node fetches from its peers what they still have"),
    )
}

/// The file isn't what was written to it, and most of it can be saved.
pub(crate) fn to_be_checked() -> Error {
    said(ErrorKind::Corrupt, format!("{FILE_NAME} is damaged; \"rumor history check\" saves what can be read"))
}

/// A failure to open.
pub(crate) fn in_opening(error: redb::DatabaseError) -> Error {
    use redb::{DatabaseError, StorageError};
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => busy(),
        DatabaseError::UpgradeRequired(_) => version_of_file("older"),
        DatabaseError::Storage(StorageError::Corrupted(text)) if text.contains("file format version") => {
            version_of_file("newer")
        }
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            foreign().with_source(error)
        }
        // Cut short, or as above.
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            damaged().with_source(error)
        }
        DatabaseError::Storage(StorageError::Io(error)) => of_system(&format!("open {FILE_NAME}"), error),
        other => damaged().with_source(other),
    }
}

/// Someone else has it.
pub(crate) fn busy() -> Error {
    said(
        ErrorKind::Busy,
        format!("{FILE_NAME} is open in another process; stop the other node of this profile, or use another profile"),
    )
}

/// The file is no history at all.
pub(crate) fn foreign() -> Error {
    said(
        ErrorKind::Corrupt,
        format!("{FILE_NAME} is not a history database, or its start is damaged; it was left as it is, move it away"),
    )
}

fn version_of_file(age: &str) -> Error {
    said(
        ErrorKind::Version,
        format!(
            "the file format of {FILE_NAME} is {age} than what this build reads; it was left as it is, open it with the \
             version of this program that wrote it"
        ),
    )
}

/// The file is of a schema that this build doesn't read.
pub(crate) fn schema(found: u64, known: u64) -> Error {
    let advice = if found > known {
        "update this program, or move the file away to begin an empty history"
    } else {
        "open it once with an older version of this program that converts it, or move the file away"
    };
    said(
        ErrorKind::Version,
        format!("{FILE_NAME} has schema {found}, this build reads {known}; the file was left as it is: {advice}"),
    )
}

/// What the contract permits to the calls of an open history: the rest is [`ErrorKind::Closed`].
pub(crate) fn as_reopening(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Full | ErrorKind::Io => error,
        _ => said(ErrorKind::Closed, "the history failed before and can't be opened again").with_source(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_system_have_their_kind_and_say_what_to_do() {
        for (system, kind, advice) in [
            (io::ErrorKind::PermissionDenied, ErrorKind::Denied, "give this user the right"),
            (io::ErrorKind::ReadOnlyFilesystem, ErrorKind::Denied, "give this user the right"),
            (io::ErrorKind::StorageFull, ErrorKind::Full, "make room"),
            (io::ErrorKind::QuotaExceeded, ErrorKind::Full, "make room"),
            (io::ErrorKind::NotFound, ErrorKind::Io, "create the folder"),
            (io::ErrorKind::Other, ErrorKind::Io, "check the disk"),
        ] {
            let error = of_system("open it", system.into());
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains(advice), "{error}");
        }
    }

    #[test]
    fn failures_to_open_have_their_kind() {
        use redb::{DatabaseError, StorageError};
        let kind = |error| in_opening(error).kind();
        assert_eq!(kind(DatabaseError::DatabaseAlreadyOpen), ErrorKind::Busy);
        assert_eq!(kind(DatabaseError::UpgradeRequired(2)), ErrorKind::Version);
        let newer = StorageError::Corrupted("Expected file format version <= 3, found 4".to_owned());
        assert_eq!(kind(DatabaseError::Storage(newer)), ErrorKind::Version);
        let past_the_end = StorageError::Io(io::ErrorKind::UnexpectedEof.into());
        assert_eq!(kind(DatabaseError::Storage(past_the_end)), ErrorKind::Corrupt);
        let damaged = StorageError::Corrupted("checksum".to_owned());
        assert_eq!(kind(DatabaseError::Storage(damaged)), ErrorKind::Corrupt);
    }
}
