//! [`Store`]: values that a script keeps over restarts.
//!
//! Neither the window nor the archive: what scripts write must not wait for the node's one writer, nor make it wait, and
//! a script's values are its own, in a file of its own that its user can delete.

use std::sync::Arc;

use crate::error::Result;

/// Longest key, in bytes.
pub const STORE_KEY_MAX_BYTES: usize = 1_024;

/// Opens the store of the name that is given, creating it if it isn't there.
pub type StoreFactory = Arc<dyn Fn(&str) -> Result<Box<dyn Store>> + Send + Sync>;

/// One script's values by key. The host holds them in memory and bounds them; a store makes them durable.
///
/// # Errors
///
/// [`Full`](crate::ErrorKind::Full) or [`Io`](crate::ErrorKind::Io) when nothing of the batch was written,
/// [`Corrupt`](crate::ErrorKind::Corrupt) or [`Version`](crate::ErrorKind::Version) for what this build can't read; the
/// file is left as it is then. [`Busy`](crate::ErrorKind::Busy) when another process has it open.
pub trait Store: Send {
    /// Everything there is, sorted by key.
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>>;

    /// Writes values (`None` deletes): all of them or none, and durable when it returns. A key that comes twice has the
    /// later value.
    fn write(&mut self, changes: &[(String, Option<Vec<u8>>)]) -> Result<()>;
}
