//! `rumor room new`.

use std::io::Write;

use rumormill::config::{NAME_MAX_BYTES, SECRET_BYTES, Secret, check_name};
use zeroize::Zeroizing;

use super::{Failure, write};

/// Prints a `[[chats]]` entry with a fresh secret.
#[allow(clippy::disallowed_methods, reason = "a new secret comes straight from the system's entropy")]
pub(super) fn new(name: &str, ephemeral: bool, out: &mut dyn Write) -> Result<(), Failure> {
    check_name(name, NAME_MAX_BYTES).map_err(|problem| Failure::new(format!("--name {problem}")))?;
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(&mut *bytes).map_err(|error| Failure::new(format!("the system gives no random bytes: {error}")))?;
    let secret = Secret::new(*bytes).to_base64();
    let kind = if ephemeral { "kind = \"ephemeral\"\n" } else { "" };
    // A name has no control characters, so that escaping for Rust is escaping for TOML.
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    let snippet = Zeroizing::new(format!("[[chats]]\nname = \"{name}\"\nsecret = \"{}\"\n{kind}", *secret));
    write(out, &snippet)
}
