//! What the author of a bot has: a world in virtual time to test a script in, and a runner for such tests.
//!
//! | module | what it is |
//! |---|---|
//! | [`world`] | a whole node with scripts in it, and people who speak to them; for tests in Rust too |
//! | [`runner`] | finds and runs `*_test.lua` |
//! | `verbs` | what such a test calls: `t.say`, `t.expect`, `t.advance` |
//! | [`checker`] | checks how scripts use the API, and whether they load |
//! | [`starter`] | the files of a new bot |

pub mod checker;
pub mod runner;
pub mod starter;
mod verbs;
pub mod world;
