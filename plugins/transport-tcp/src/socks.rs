//! Dialling through a SOCKS5 proxy (RFC 1928): CONNECT without authentication, names resolved by the proxy.
//!
//! Written out here because it is two short exchanges, while the crates for it bring a server, several kinds of
//! authentication or resolving on this machine, which would tell the local resolver who is dialled.

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::addr::{Host, HostPort};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const TYPE_IPV4: u8 = 1;
const TYPE_NAME: u8 = 3;
const TYPE_IPV6: u8 = 4;

/// What the setting `proxy` must look like.
pub(crate) const EXPECTED: &str =
    "the proxy must be socks5://HOST:PORT, for example socks5://127.0.0.1:9050; one with a password isn't supported";

/// Parses the setting `proxy`. `None` when malformed.
pub(crate) fn parse(text: &str) -> Option<HostPort> {
    let rest = text.strip_prefix("socks5://").or_else(|| text.strip_prefix("socks5h://"))?;
    HostPort::parse(rest.strip_suffix('/').unwrap_or(rest)).filter(|proxy| proxy.port != 0)
}

/// Asks the proxy at the other end of `stream` for a connection; afterwards the stream is that connection. Reads at most
/// 264 bytes.
pub(crate) async fn connect<S>(stream: &mut S, target: &HostPort) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&[VERSION, 1, NO_AUTHENTICATION]).await?;
    match (stream.read_u8().await?, stream.read_u8().await?) {
        (VERSION, NO_AUTHENTICATION) => {}
        (VERSION, NO_METHOD) => return Err(refused("the proxy demands a password")),
        _ => return Err(refused("that isn't a SOCKS5 proxy")),
    }

    stream.write_all(&request(target)).await?;
    if stream.read_u8().await? != VERSION {
        return Err(refused("that isn't a SOCKS5 proxy"));
    }
    let reply = stream.read_u8().await?;
    if reply != 0 {
        return Err(refused(reason(reply)));
    }
    let _reserved = stream.read_u8().await?;
    // The address that the proxy dials from: of no use here, yet it must be read.
    let bound_bytes = match stream.read_u8().await? {
        TYPE_IPV4 => 4,
        TYPE_IPV6 => 16,
        TYPE_NAME => usize::from(stream.read_u8().await?),
        _ => return Err(refused("the proxy's answer is malformed")),
    };
    let mut bound = [0; 255 + 2];
    stream.read_exact(&mut bound[..bound_bytes + 2]).await?;
    Ok(())
}

fn request(target: &HostPort) -> Vec<u8> {
    let mut request = vec![VERSION, CONNECT, 0];
    match &target.host {
        Host::Ip(IpAddr::V4(ip)) => {
            request.push(TYPE_IPV4);
            request.extend_from_slice(&ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            request.push(TYPE_IPV6);
            request.extend_from_slice(&ip.octets());
        }
        Host::Name(name) => {
            request.push(TYPE_NAME);
            request.push(u8::try_from(name.len()).expect("a parsed name has at most 253 bytes"));
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend_from_slice(&target.port.to_be_bytes());
    request
}

/// The reply codes of RFC 1928, section 6.
const fn reason(reply: u8) -> &'static str {
    match reply {
        1 => "the proxy failed",
        2 => "the proxy's rules forbid this connection",
        3 => "the network is unreachable from the proxy",
        4 => "the host is unreachable from the proxy",
        5 => "the other end refused the proxy's connection",
        6 => "the proxy's connection timed out",
        7 | 8 => "the proxy doesn't offer this kind of connection",
        _ => "the proxy refused for a reason of its own",
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::other(why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_setting_is_a_url_with_host_and_port() {
        for text in ["socks5://127.0.0.1:9050", "socks5h://[::1]:1080", "socks5://proxy.example:1080/"] {
            assert!(parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "127.0.0.1:9050",
            "http://127.0.0.1:1",
            "socks5://127.0.0.1",
            "socks5://u:p@127.0.0.1:1",
            "socks5://h:0",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_request_has_the_layout_of_rfc_1928() {
        let of = |text| request(&HostPort::parse(text).unwrap());
        assert_eq!(of("1.2.3.4:258"), [5, 1, 0, 1, 1, 2, 3, 4, 1, 2]);
        assert_eq!(of("ab.c:80"), [5, 1, 0, 3, 4, b'a', b'b', b'.', b'c', 0, 80]);
        assert_eq!(of("[::1]:80"), [5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80]);
    }
}
