//! `rumor room new`, `rumor room invite` and `rumor room join`.

use std::io::{BufRead, Read, Write};
use std::net::IpAddr;
use std::path::Path;

use rumormill::api::PeerAddr;
use rumormill::config::{Config, NAME_MAX_BYTES, OPEN_NETWORK, SECRET_BYTES, Secret, check_name};
use rumormill::room::{Access, HOUR_MS, INVITE_MAX_BYTES, INVITE_MAX_PEERS, Invite, Room, RoomKind, StorageKey};
use zeroize::Zeroizing;

use super::{Failure, now, write};

/// Longest life of an invite, in hours: ten years.
pub(super) const EXPIRES_MAX_HOURS: u32 = 10 * 365 * 24;

/// Prints a `[[chats]]` entry with a fresh secret.
#[allow(clippy::disallowed_methods, reason = "a new secret comes straight from the system's entropy")]
pub(super) fn new(name: &str, ephemeral: bool, out: &mut dyn Write) -> Result<(), Failure> {
    check_name(name, NAME_MAX_BYTES).map_err(|problem| Failure::new(format!("--name {problem}")))?;
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(&mut *bytes).map_err(|error| Failure::new(format!("the system gives no random bytes: {error}")))?;
    let secret = Secret::new(*bytes).to_base64();
    let kind = if ephemeral { "kind = \"ephemeral\"\n" } else { "" };
    let snippet = Zeroizing::new(format!("[[chats]]\nname = {}\nsecret = \"{}\"\n{kind}", quoted(name), *secret));
    write(out, &snippet)
}

/// Prints an invite to a chat: with all that this config's node can read, or from the beginning of today (UTC) on, the
/// first day whose key it carries. It names up to [`INVITE_MAX_PEERS`] of the config's own addresses.
pub(super) fn invite(
    file: &Path,
    chat: &str,
    from_now: bool,
    expires: Option<u32>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let registry = rumormill::plugins::compiled_in();
    let config = Config::load_with(file, &registry).map_err(Failure::new)?;
    let Some(found) = config.chats.iter().find(|known| known.name == chat) else {
        let names: Vec<&str> = config.chats.iter().map(|chat| chat.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(Failure::new(format!("{} has no chat {chat:?}; it has: {names}", file.display())));
    };
    let mut spec = rumormill::room_spec(found).map_err(Failure::new)?;
    let now = now();
    if from_now {
        let cipher = registry.cipher(&config.backends.cipher, ()).map_err(Failure::new)?;
        // Nothing is stored: the storage key doesn't matter.
        let room = Room::new(spec.clone(), cipher, &StorageKey::new([0; 32]));
        let ratchet = room.from_now_on(now);
        let ratchet = ratchet.ok_or_else(|| Failure::new("there is no key for today: set the clock right"))?;
        (spec.access, spec.weak) = (Access::From(ratchet), false);
    }
    let hour = |ms: u64| u32::try_from(ms.div_ceil(HOUR_MS)).unwrap_or(u32::MAX);
    let invite = Invite {
        name: chat.to_owned(),
        kind: spec.kind,
        born_day: spec.born_day,
        access: spec.access,
        weak: spec.weak,
        network: (config.network.name != OPEN_NETWORK).then(|| config.network.name.clone()),
        peers: own_addresses(&config),
        expires: expires.map(|hours| hour(now).saturating_add(hours)),
    };
    let text = invite.encode().map_err(Failure::new)?;
    write(out, &Zeroizing::new(format!("{}\n", *text)))
}

/// Where others can reach a node of this config, as far as the config knows.
fn own_addresses(config: &Config) -> Vec<PeerAddr> {
    let listened = || config.listen.iter().filter_map(|addr| addr.parse().ok());
    let all: Vec<PeerAddr> = if config.announce.is_empty() { listened().collect() } else { config.announce.clone() };
    all.into_iter().filter(|addr| is_reachable(addr.as_str())).take(INVITE_MAX_PEERS).collect()
}

/// Whether `SCHEME:HOST:PORT` names one place: neither every address of a machine nor any port.
fn is_reachable(addr: &str) -> bool {
    let Some((host, port)) = addr.split_once(':').and_then(|(_, rest)| rest.rsplit_once(':')) else { return true };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    port != "0" && !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

/// Reads an invite, never from the arguments, which every user of the machine can see; prints the `[[chats]]` entry.
pub(super) fn join(name: Option<&str>, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<(), Failure> {
    let mut text = Zeroizing::new(String::new());
    // The first line that isn't empty; white space around it is forgiven, as far as that goes.
    let mut input = input.take(2 * INVITE_MAX_BYTES as u64);
    while text.trim().is_empty() {
        let read = input.read_line(&mut text);
        if read.map_err(|error| Failure::new(format!("can't read an invite from standard input: {error}")))? == 0 {
            break;
        }
    }
    let invite = text.trim();
    if invite.is_empty() {
        return Err(Failure::new("standard input holds no invite; run: rumor room join < FILE"));
    }
    let parsed = Invite::decode(invite, now()).map_err(Failure::new)?;
    let name = name.unwrap_or(&parsed.name);
    check_name(name, NAME_MAX_BYTES)
        .map_err(|problem| Failure::new(format!("the chat's name {problem}; use --name")))?;

    let mut snippet = Zeroizing::new(String::new());
    if let Some(network) = &parsed.network {
        *snippet +=
            &format!("# The chat is on this network; the config's [network] must say:\n# name = {}\n", quoted(network));
    }
    if !parsed.peers.is_empty() {
        let peers: Vec<String> = parsed.peers.iter().map(|peer| quoted(peer.as_str())).collect();
        *snippet += &format!(
            "# Nodes to begin with; add them to the peers at the top of the config:\n# peers = [{}]\n\n",
            peers.join(", ")
        );
    }
    if matches!(parsed.access, Access::From(_)) {
        *snippet += "# Reads what is said from the day of the invite on.\n";
    }
    *snippet += &format!("[[chats]]\nname = {}\ninvite = \"{invite}\"\n", quoted(name));
    if parsed.kind == RoomKind::Ephemeral {
        *snippet += "kind = \"ephemeral\"\n";
    }
    write(out, &snippet)
}

/// A TOML string. None of these texts has control characters, so that two escapes are enough.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_name_one_place_are_handed_on() {
        for addr in ["tcp:127.0.0.1:4001", "tcp:[::1]:4001", "tcp:node.example.org:4001", "memory:x"] {
            assert!(is_reachable(addr), "{addr}");
        }
        for addr in ["tcp:0.0.0.0:4001", "tcp:[::]:4001", "tcp:127.0.0.1:0"] {
            assert!(!is_reachable(addr), "{addr}");
        }
    }
}
