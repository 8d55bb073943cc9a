//! Conformance suites.

pub mod dedup;
pub mod history;

pub use dedup::dedup_suite;
pub use history::{history_suite, history_suite_durable};
pub mod cipher;
pub mod transport;
