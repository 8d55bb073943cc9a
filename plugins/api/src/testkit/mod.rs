//! Conformance suites.

pub mod dedup;
pub mod history;
pub mod store;

pub use dedup::dedup_suite;
pub use history::{history_suite, history_suite_durable};
pub use store::store_suite;
pub mod cipher;
pub mod transport;
