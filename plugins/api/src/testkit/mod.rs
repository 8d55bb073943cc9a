//! Conformance suites.

pub mod history;

pub use history::{history_suite, history_suite_durable};
