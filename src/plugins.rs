//! The composition root: the only file that names a backend crate, one `cfg` line each.

use rumormill_api::Registry;

/// A registry with every backend that this build was compiled with.
#[must_use]
pub fn compiled_in() -> Registry {
    #[allow(unused_mut, reason = "a build without any backend adds nothing")]
    let mut registry = Registry::default();
    #[cfg(feature = "transport-tcp")]
    rumormill_transport_tcp::register(&mut registry);
    #[cfg(feature = "transport-memory")]
    rumormill_transport_memory::register(&mut registry);
    #[cfg(feature = "dedup-bloom")]
    rumormill_dedup_bloom::register(&mut registry);
    #[cfg(feature = "dedup-exact")]
    rumormill_dedup_exact::register(&mut registry);
    #[cfg(feature = "cipher-chacha")]
    rumormill_cipher_chacha::register(&mut registry);
    #[cfg(feature = "history-redb")]
    rumormill_history_redb::register(&mut registry);
    #[cfg(feature = "history-memory")]
    rumormill_history_memory::register(&mut registry);
    #[cfg(feature = "store-redb")]
    rumormill_store_redb::register(&mut registry);
    #[cfg(feature = "store-memory")]
    rumormill_store_memory::register(&mut registry);
    registry
}
