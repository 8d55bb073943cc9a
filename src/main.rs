//! The `rumor` binary.

fn main() {}
