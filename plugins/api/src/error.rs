//! One error type for every backend.

use std::fmt;

/// The result of a backend's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong: what a caller can act on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument, an option or an address is malformed. Trying again won't help.
    Invalid,
    /// No backend of that name is compiled in, or the operation isn't offered.
    Unsupported,
    /// Another process holds the resource: a locked database, a port in use.
    Busy,
    /// The disk is full or the quota is used up.
    Full,
    /// Permission denied by the operating system, or permissions looser than allowed.
    Denied,
    /// What was stored can't be what was written: a checksum or an id doesn't match.
    Corrupt,
    /// The stored format is newer or older than this build reads.
    Version,
    /// Any other failure of the operating system or the network.
    Io,
    /// The backend was closed, or failed before and must be reopened.
    Closed,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Busy => "in use",
            Self::Full => "full",
            Self::Denied => "denied",
            Self::Corrupt => "corrupt",
            Self::Version => "version mismatch",
            Self::Io => "i/o error",
            Self::Closed => "closed",
        })
    }
}

/// A backend's error: its kind, which backend, a sentence that says what to do, and the cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    backend: &'static str,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause. `context` is a sentence for the user; it never holds a secret or a message's text.
    pub fn new(kind: ErrorKind, backend: &'static str, context: impl Into<String>) -> Self {
        Self { kind, backend, context: context.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Which backend says so.
    #[must_use]
    pub const fn backend(&self) -> &'static str {
        self.backend
    }

    /// The sentence for the user.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.context
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.backend, self.context)?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
