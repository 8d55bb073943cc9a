//! `HOST:PORT`, where HOST is an IPv4 address, an IPv6 address in brackets, or a DNS name.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rumormill_api::PeerAddr;

/// The scheme of this transport's addresses.
pub(crate) const SCHEME: &str = "tcp";
/// Longest DNS name, in bytes (RFC 1035, 2.3.4; in its textual form).
const NAME_MAX_BYTES: usize = 253;
/// What a malformed address is answered with.
pub(crate) const EXPECTED: &str = "expected tcp:HOST:PORT, HOST being an IPv4 address, an IPv6 address in brackets or \
    a DNS name, for example tcp:192.0.2.1:4001 or tcp:[2001:db8::1]:4001";

/// The machine's half of an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, yet to be resolved: by the system, or by the proxy.
    Name(String),
}

/// An address, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HostPort {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl HostPort {
    /// Parses `HOST:PORT`. `None` when malformed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let port = port.parse().ok()?;
        let host = if let Some(inner) = host.strip_prefix('[') {
            Host::Ip(IpAddr::V6(inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?))
        } else if let Ok(ip) = host.parse::<IpAddr>() {
            if ip.is_ipv6() {
                return None;
            }
            Host::Ip(ip)
        } else if is_name(host) {
            Host::Name(host.to_owned())
        } else {
            return None;
        };
        Some(Self { host, port })
    }

    /// The same for an address to dial: of this scheme, and with a port.
    pub(crate) fn of_peer(addr: &PeerAddr) -> Option<Self> {
        if addr.scheme() != SCHEME {
            return None;
        }
        Self::parse(addr.rest()).filter(|parsed| parsed.port != 0)
    }

    /// The socket addresses that it stands for; a name is asked of the system's resolver.
    pub(crate) async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => Ok(tokio::net::lookup_host((name.as_str(), self.port)).await?.collect()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Whether it looks like a DNS name: labels of letters, digits, hyphens and underscores, the last one not a number (or
/// it would be a mistyped IPv4 address).
fn is_name(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    text.len() <= NAME_MAX_BYTES
        && labels.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
        })
        && labels.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()))
}

/// A socket address in this transport's notation.
pub(crate) fn peer_addr(addr: SocketAddr) -> PeerAddr {
    // An IPv6 scope (`%3`) means nothing to others; and an IPv4 address is the same one when a socket for both kinds
    // shows it as `::ffff:192.0.2.1`.
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    PeerAddr::new(SCHEME, &addr.to_string()).expect("a socket address is short printable ASCII")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_valid_parses_and_prints_as_it_was() {
        for text in ["127.0.0.1:4001", "[::1]:65535", "example.org:1", "a-b.example.org.:80", "localhost:0"] {
            assert_eq!(HostPort::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let long = format!("{}:1", "a.".repeat(NAME_MAX_BYTES));
        for text in [
            "",
            ":",
            "host",
            "host:",
            ":1",
            "host:65536",
            "host:+1",
            "host:-1",
            "::1:80",
            "[::1:80",
            "[::1]",
            "[1.2.3.4]:5",
            "1.2.3:4",
            "1.2.3.400:5",
            "ho st:1",
            "a..b:1",
            "-a:1",
            "a/b:1",
            "user@host:1",
            &long,
        ] {
            assert_eq!(HostPort::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_socket_address_is_shown_in_one_way() {
        let shown = |text: &str| peer_addr(text.parse().unwrap()).to_string();
        assert_eq!(shown("192.0.2.1:80"), "tcp:192.0.2.1:80");
        assert_eq!(shown("[::ffff:192.0.2.1]:80"), "tcp:192.0.2.1:80");
        assert_eq!(shown("[fe80::1%3]:80"), "tcp:[fe80::1]:80");
    }

    #[test]
    fn an_address_to_dial_has_this_scheme_and_a_port() {
        assert!(HostPort::of_peer(&"tcp:127.0.0.1:1".parse().unwrap()).is_some());
        assert!(HostPort::of_peer(&"tcp:127.0.0.1:0".parse().unwrap()).is_none());
        assert!(HostPort::of_peer(&"memory:127.0.0.1:1".parse().unwrap()).is_none());
    }
}
