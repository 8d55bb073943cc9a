//! Rumormill beside the peers it is measured against: the same graph, the same messages, the same clock.
//!
//! | module | what it is |
//! |---|---|
//! | [`graph`] | who is linked to whom: the same random graph for every system |
//! | [`systems`] | one adapter per system: N whole nodes in this process, on loopback |
//! | [`recorder`] | counts and times deliveries, and wakes the generator |
//! | [`load`] | the generators: a closed loop with a window, an open loop at a rate |
//! | [`meter`] | CPU, memory and wire bytes, read off the kernel |
//! | [`run`] | one system, one workload, one line of JSON |
//! | `rumor_node` | one whole node of Rumormill, with a history that tells what it has made durable |
//! | [`compare`], [`table`] | all systems, interleaved over rounds; the table and the ratios |
//! | `churn` | Rumormill's nodes stop and start, links are cut: is every acknowledged message everywhere in the end? |
//! | [`isolate`] | a network namespace that has nothing but loopback |

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "command-line tools print")]

#[cfg(feature = "rumor")]
pub mod churn;
pub mod compare;
pub mod graph;
pub mod isolate;
pub mod load;
pub mod meter;
pub mod recorder;
#[cfg(feature = "rumor")]
pub mod rumor_node;
pub mod run;
pub mod systems;
pub mod table;

/// What failed, as a sentence.
pub type Result<T> = std::result::Result<T, String>;
