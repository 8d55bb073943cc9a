//! Noise-encrypted TCP links.

use rumormill_api::Registry;

/// Registers this backend.
pub fn register(registry: &mut Registry) {
    let _ = registry;
}
