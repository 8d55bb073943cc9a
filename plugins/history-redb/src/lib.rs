//! Durable history in a redb database.

use rumormill_api::Registry;

/// Registers this backend.
pub fn register(registry: &mut Registry) {
    let _ = registry;
}
