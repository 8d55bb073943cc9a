//! One function a decoder: bytes in, and nothing may happen but an error.
//!
//! A target checks more than the absence of a panic wherever there is something to hold a decoder to: what decodes
//! encodes to the same bytes, and an error text carries no control character to a terminal.

mod invite;
mod mutate;
mod room;
mod seeds;
mod wire;

use std::path::Path;

use rumormill::config::{Config, Format};

pub use invite::invite;
pub use mutate::Mutator;
pub use room::payload;
pub use seeds::seeds;
pub use wire::{envelope, frame, link_message};

/// A target by name.
pub struct Target {
    /// As the file under `fuzz_targets/` is named.
    pub name: &'static str,
    /// One execution.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "config", run: config },
    Target { name: "envelope", run: envelope },
    Target { name: "frame", run: frame },
    Target { name: "invite", run: invite },
    Target { name: "link_message", run: link_message },
    Target { name: "payload", run: payload },
];

/// A config's text, as TOML and as JSON.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A config may name files that hold secrets: those on this machine are none of the fuzzer's business.
    if text.contains("_file") {
        return;
    }
    for (format, name) in [(Format::Toml, "fuzz.toml"), (Format::Json, "fuzz.json")] {
        if let Err(error) = Config::parse(text, format, Path::new(name), None) {
            let shown = error.to_string();
            assert!(!shown.is_empty(), "an error says something");
            assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "an error is printable: {shown:?}");
        }
    }
}
