//! This node's own address: which one it announces, signed with its link key.

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use rumormill_api::PeerAddr;

use crate::proto::{PeerRecord, RECORD_RENEW_MS};

/// Decides on the address and signs it.
pub(super) struct Announcer {
    key: SigningKey,
    /// What the config says, or where the node listens, or where others see it.
    addr: Option<PeerAddr>,
    /// The port that it listens on at every address of the machine, not knowing which one others reach.
    any_port: Option<u16>,
    signed_at: Option<u64>,
}

impl Announcer {
    pub(super) fn new(key: SigningKey, announce: Option<PeerAddr>) -> Self {
        Self { key, addr: announce, any_port: None, signed_at: None }
    }

    /// The transport listens there.
    pub(super) fn listening(&mut self, addr: PeerAddr) {
        let socket: Option<std::net::SocketAddr> = addr.rest().parse().ok();
        match socket {
            Some(socket) if socket.ip().is_unspecified() => self.any_port = Some(socket.port()),
            _ if self.addr.is_none() => self.addr = Some(addr),
            _ => {}
        }
    }

    /// A peer sees this node at that address. A record, if that is news.
    pub(super) fn seen_as(&mut self, addr: &PeerAddr, unix_ms: u64) -> Option<Bytes> {
        if self.addr.is_some() {
            return None;
        }
        let socket: std::net::SocketAddr = addr.rest().parse().ok()?;
        let own = std::net::SocketAddr::new(socket.ip(), self.any_port?);
        self.addr = Some(PeerAddr::new(addr.scheme(), &own.to_string()).ok()?);
        self.renew(unix_ms)
    }

    /// A newly signed record, when there is an address and the last record is old.
    pub(super) fn renew(&mut self, unix_ms: u64) -> Option<Bytes> {
        let addr = self.addr.clone()?;
        if self.signed_at.is_some_and(|at| unix_ms.abs_diff(at) < RECORD_RENEW_MS) {
            return None;
        }
        self.signed_at = Some(unix_ms);
        Some(PeerRecord::sign(&self.key, addr, unix_ms / 1_000).encode())
    }
}

/// The addresses to keep over restarts: one a line.
pub(super) fn encode_addresses(addresses: &[PeerAddr]) -> Vec<u8> {
    let lines: Vec<&str> = addresses.iter().map(PeerAddr::as_str).collect();
    lines.join("\n").into_bytes()
}

/// Reads what [`encode_addresses`] wrote; what isn't an address is left out.
pub(super) fn decode_addresses(bytes: &[u8]) -> Vec<PeerAddr> {
    String::from_utf8_lossy(bytes).lines().filter_map(|line| line.parse().ok()).collect()
}
