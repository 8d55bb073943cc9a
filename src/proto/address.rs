//! What an address says about where it lies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rumormill_api::{LinkInfo, PeerAddr, SourceGroup};

/// The IP address and port in an address, if its notation is `scheme:IP:PORT`.
pub(super) fn socket(addr: &PeerAddr) -> Option<SocketAddr> {
    addr.rest().parse().ok()
}

/// Whether a learnt address may be dialled: with `lan`, anything that can be a single host; else global unicast only.
/// Names are refused without `lan`, since a name may resolve to a private address.
pub(super) fn dialable(addr: &PeerAddr, lan: bool) -> bool {
    match socket(addr) {
        Some(socket) if socket.port() == 0 => false,
        Some(socket) if lan => {
            !matches!(socket.ip().to_canonical(), IpAddr::V4(ip) if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast())
                && !matches!(socket.ip(), IpAddr::V6(ip) if ip.is_unspecified() || ip.is_multicast())
        }
        Some(socket) => is_global(socket.ip()),
        None => lan,
    }
}

/// Whether an address is global unicast (IANA's special-purpose registries, RFC 6890 and its successors).
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => is_global_v6(ip),
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast()
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18))
}

/// Inside 2000::/3, less the blocks for protocols, documentation, and those that embed IPv4 addresses.
fn is_global_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    a & 0xe000 == 0x2000 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && a != 0x2002 && a != 0x3ffe && a != 0x3fff
}

/// The network that an address lies in, as one party can be supposed to hold it: /16 of IPv4, /32 of IPv6. Names are
/// their own.
pub(super) fn network(addr: &PeerAddr) -> Vec<u8> {
    match socket(addr).map(|socket| socket.ip().to_canonical()) {
        Some(IpAddr::V4(ip)) => ip.octets()[..2].to_vec(),
        Some(IpAddr::V6(ip)) => ip.octets()[..4].to_vec(),
        None => addr.as_str().as_bytes().to_vec(),
    }
}

/// What one dial per interval is counted by: the host where it has an address of its own in the world, else the
/// address as it is (nodes of one machine or one private network are told apart by port).
pub(super) fn dial_key(addr: &PeerAddr) -> Vec<u8> {
    match socket(addr).map(|socket| socket.ip().to_canonical()) {
        Some(ip) if is_global(ip) => ip.to_string().into_bytes(),
        _ => addr.as_str().as_bytes().to_vec(),
    }
}

/// Whom the window's eviction counts an envelope of this link against: the remote network, or, for links that don't
/// come out of the wide world, the peer.
pub(super) fn source_group(info: &LinkInfo) -> SourceGroup {
    let hash = match socket(&info.remote).map(|socket| socket.ip().to_canonical()) {
        Some(ip) if is_global(ip) => blake3::hash(&network(&info.remote)),
        _ => blake3::hash(&info.peer),
    };
    let head: [u8; 8] = hash.as_bytes()[..8].try_into().expect("8 of 32 bytes");
    u64::from_be_bytes(head).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_global_unicast_is_dialled() {
        for (rest, global, lan) in [
            ("8.8.8.8:4000", true, true),
            ("8.8.8.8:0", false, false),
            ("127.0.0.1:4000", false, true),
            ("10.0.0.1:4000", false, true),
            ("172.16.0.1:4000", false, true),
            ("192.168.1.1:4000", false, true),
            ("169.254.1.1:4000", false, true),
            ("100.64.0.1:4000", false, true),
            ("100.128.0.1:4000", true, true),
            ("192.0.2.1:4000", false, true),
            ("198.18.0.1:4000", false, true),
            ("224.0.0.1:4000", false, false),
            ("255.255.255.255:4000", false, false),
            ("0.0.0.0:4000", false, false),
            ("0.1.2.3:4000", false, true),
            ("[2606:4700::1111]:4000", true, true),
            ("[::1]:4000", false, true),
            ("[::]:4000", false, false),
            ("[fe80::1]:4000", false, true),
            ("[fd00::1]:4000", false, true),
            ("[2001:db8::1]:4000", false, true),
            ("[2002:7f00:1::]:4000", false, true),
            ("[::ffff:10.0.0.1]:4000", false, true),
            ("[ff02::1]:4000", false, false),
            ("localhost:4000", false, true),
        ] {
            let addr = PeerAddr::new("tcp", rest).unwrap();
            assert_eq!(dialable(&addr, false), global, "{rest}");
            assert_eq!(dialable(&addr, true), lan, "{rest} on a LAN");
        }
    }

    #[test]
    fn networks_are_slash_16_and_slash_32() {
        let network = |rest: &str| network(&PeerAddr::new("tcp", rest).unwrap());
        assert_eq!(network("8.8.8.8:1"), network("8.8.1.1:2"));
        assert_ne!(network("8.8.8.8:1"), network("8.9.8.8:1"));
        assert_eq!(network("[2606:4700::1]:1"), network("[2606:4700:ffff::1]:1"));
        assert_ne!(network("[2606:4700::1]:1"), network("[2606:4701::1]:1"));
    }
}
