//! The way to the web: `ureq` on the runtime's blocking threads. What it may connect to is decided for each hop of a
//! redirect, and by the address that the name resolves to: that same address is connected to, so that a name can't
//! stand for another one a moment later.

use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use rumormill_api::BoxFuture;
use tokio::sync::Semaphore;
use ureq::config::Config;
use ureq::http::{Request, Uri, header};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use super::api::{grants, host_of};
use super::convert::clean_line;
use super::outside::{Web, WebRequest, WebResponse};

/// Most requests that are under way for all scripts together.
const UNDERWAY_MAX: usize = 16;
/// Most redirects that are followed.
pub(super) const REDIRECTS_MAX: usize = 5;
/// Longest headers of an answer, in bytes.
const HEADERS_MAX_BYTES: usize = 64 << 10;
/// Longest reason that a script is told, in bytes.
const REASON_MAX_BYTES: usize = 256;
/// Headers that only the host that they were meant for gets.
const PRIVATE_HEADERS: [&str; 2] = ["authorization", "cookie"];

/// The HTTP client.
pub(super) struct Client {
    slots: Arc<Semaphore>,
}

impl Default for Client {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(UNDERWAY_MAX)) }
    }
}

impl Web for Client {
    fn fetch(&self, request: WebRequest) -> BoxFuture<'static, Result<WebResponse, String>> {
        let slots = Arc::clone(&self.slots);
        Box::pin(async move {
            let deadline = Instant::now() + request.timeout;
            let slot = tokio::time::timeout(request.timeout, slots.acquire_owned());
            let slot = slot.await.map_err(|_| late(&request))?.map_err(|error| error.to_string())?;
            let done = tokio::task::spawn_blocking(move || {
                let _slot = slot;
                fetch(request, deadline)
            });
            done.await.map_err(|_| "the HTTP client failed".to_owned())?
        })
    }
}

fn late(request: &WebRequest) -> String {
    format!("no answer within {} s", request.timeout.as_secs_f64())
}

fn fetch(mut request: WebRequest, deadline: Instant) -> Result<WebResponse, String> {
    for _ in 0..=REDIRECTS_MAX {
        match hop(&request, deadline)? {
            Hop::Answer(response) => return Ok(response),
            Hop::Redirect { status, location } => {
                let next = join(&request.url, &location)
                    .ok_or_else(|| format!("a redirect to {:?} is none", clean_line(&location, 80)))?;
                if host_of(&next) != host_of(&request.url) {
                    request.headers.retain(|name, _| !PRIVATE_HEADERS.contains(&name.as_str()));
                }
                request.url = next;
                // As browsers do; 307 and 308 repeat the request as it was.
                if matches!(status, 301..=303) {
                    request.method = "GET";
                    request.body = None;
                    request.headers.remove("content-type");
                }
            }
        }
    }
    Err(format!("more than {REDIRECTS_MAX} redirects"))
}

enum Hop {
    Answer(WebResponse),
    Redirect { status: u16, location: String },
}

/// One request, without following anything.
fn hop(request: &WebRequest, deadline: Instant) -> Result<Hop, String> {
    let (host, port) =
        host_of(&request.url).ok_or_else(|| format!("{:?} is no http or https URL", clean_line(&request.url, 80)))?;
    if !request.hosts.iter().any(|granted| grants(granted, &host, port)) {
        return Err(format!("it leads to {host:?}, which is not granted: add \"http:{host}\" to `allow`"));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(late(request));
    }
    let config = Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // A proxy of the environment would resolve the name itself.
        .proxy(None)
        .timeout_global(Some(left))
        .max_response_header_size(HEADERS_MAX_BYTES)
        .max_idle_connections(0)
        .user_agent(concat!("rumormill/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::new(), Pinned { hosts: request.hosts.clone() });
    let mut builder = Request::builder().method(request.method).uri(&request.url);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let answer = match &request.body {
        Some(body) => builder.body(body.clone()).map(|request| agent.run(request)),
        None if request.method == "POST" => builder.body(Vec::new()).map(|request| agent.run(request)),
        None => builder.body(()).map(|request| agent.run(request)),
    };
    let mut answer = answer.map_err(|error| error.to_string())?.map_err(|error| reason(request, &error))?;
    let status = answer.status().as_u16();
    if let (301..=303 | 307 | 308, Some(location)) = (status, answer.headers().get(header::LOCATION)) {
        let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
        return Ok(Hop::Redirect { status, location });
    }
    let mut headers = std::collections::BTreeMap::new();
    for (name, value) in answer.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = headers.entry(name.as_str().to_owned()).or_insert_with(String::new);
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        joined.push_str(&value);
    }
    let mut body = Vec::new();
    let limit = u64::try_from(request.max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut reader = answer.body_mut().with_config().limit(limit.saturating_add(1)).reader().take(limit);
    reader.read_to_end(&mut body).map_err(|error| match Error::from(error) {
        Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => late(request),
        error => reason(request, &error),
    })?;
    if body.len() > request.max_bytes {
        return Err(format!("the body is longer than {} bytes", request.max_bytes));
    }
    Ok(Hop::Answer(WebResponse { status, headers, body, url: request.url.clone() }))
}

fn reason(request: &WebRequest, error: &Error) -> String {
    match error {
        Error::Timeout(_) => late(request),
        Error::HostNotFound => "there is no host of that name".to_owned(),
        Error::Other(error) => clean_line(&error.to_string(), REASON_MAX_BYTES),
        other => clean_line(&other.to_string(), REASON_MAX_BYTES),
    }
}

/// Where a redirect leads.
fn join(base: &str, location: &str) -> Option<String> {
    if host_of(location).is_some() {
        return Some(location.to_owned());
    }
    // Another scheme, which is not ours to follow.
    if location.split(['/', '?', '#']).next()?.contains(':') {
        return None;
    }
    let (scheme, rest) = base.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let path = &rest[authority.len()..];
    let path = path.split(['?', '#']).next()?;
    let url = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{path}{location}")
    } else {
        let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
        format!("{scheme}://{authority}{folder}{location}")
    };
    host_of(&url).map(|_| url)
}

/// Resolves names to public addresses, and to private ones that are granted by themselves.
struct Pinned {
    hosts: Vec<String>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl Resolver for Pinned {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut kept = self.empty();
        let mut refused = None;
        for address in found.iter() {
            if allowed(&self.hosts, address.ip(), address.port()) {
                kept.push(*address);
            } else {
                refused = Some(address.ip());
            }
        }
        match (kept.is_empty(), refused) {
            (false, _) => Ok(kept),
            (true, Some(address)) => Err(Error::Other(
                format!("{address} is a private address: to grant it, add \"http:{address}\" to `allow`").into(),
            )),
            (true, None) => Err(Error::HostNotFound),
        }
    }
}

/// Whether an address may be connected to.
fn allowed(hosts: &[String], address: IpAddr, port: u16) -> bool {
    is_public(address)
        || hosts.iter().any(|granted| !granted.contains('*') && grants(granted, &address.to_string(), port))
}

/// Whether an address is one of the open Internet: not this machine, not its networks, nothing special
/// (RFC 6890 and its registries), in whatever form it is embedded.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18);
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // IPv4-mapped, IPv4-compatible (with `::` and `::1`), NAT64, 6to4.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            embedded(high, low)
        }
        // Only 2000::/3 is given out; Teredo, ORCHID, benchmarks and documentation lie in it.
        [0x2001, second, ..] => second > 0x01ff && second != 0x0db8,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn private_addresses_are_known() {
        for address in [
            "127.0.0.1",
            "127.255.0.3",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "64:ff9b:1::1",
            "4000::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
            assert!(!allowed(&["*".to_owned(), "*.org".to_owned()], address.parse().unwrap(), 80), "{address}");
            assert!(allowed(&[address.parse::<IpAddr>().unwrap().to_string()], address.parse().unwrap(), 80));
        }
        for address in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2001:4860::8888", "64:ff9b::1.1.1.1"]
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn redirects_are_joined() {
        let base = "https://example.org:8443/a/b?c#d";
        for (location, wanted) in [
            ("http://other.org/x", Some("http://other.org/x")),
            ("//other.org/x", Some("https://other.org/x")),
            ("/x", Some("https://example.org:8443/x")),
            ("x", Some("https://example.org:8443/a/x")),
            ("?x", Some("https://example.org:8443/a/b?x")),
            ("javascript:alert(1)", None),
            ("file:///etc/passwd", None),
            ("//", None),
        ] {
            assert_eq!(join(base, location).as_deref(), wanted, "{location}");
        }
    }

    /// A server that answers each connection with the next of these. Its address.
    fn serve(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let mut heard = Vec::new();
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                let mut reader = BufReader::new(&stream);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                        break;
                    }
                    request.push_str(&line.to_lowercase());
                }
                heard.push(request);
                let _ = (&stream).write_all(answer.as_bytes());
            }
            heard
        });
        (address, thread)
    }

    fn request(url: &str, hosts: &[&str]) -> WebRequest {
        WebRequest {
            method: "GET",
            url: url.to_owned(),
            headers: [("authorization".to_owned(), "secret".to_owned())].into(),
            body: None,
            timeout: Duration::from_secs(20),
            max_bytes: 10,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        }
    }

    fn get(url: &str, hosts: &[&str]) -> Result<WebResponse, String> {
        let request = request(url, hosts);
        let deadline = Instant::now() + request.timeout;
        fetch(request, deadline)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len())
    }

    #[test]
    fn asks_and_answers_within_its_limits() {
        let (address, server) = serve(vec![
            answer("200 OK", "X-Test: a\r\nX-Test: b\r\n", "0123456789"),
            answer("404 Not Found", "", "gone"),
            answer("200 OK", "", "0123456789a"),
        ]);
        let url = format!("http://{address}/x");
        let response = get(&url, &["127.0.0.1"]).unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, b"0123456789".as_slice()));
        assert_eq!((response.headers["x-test"].as_str(), &response.url), ("a, b", &url));
        assert_eq!(get(&url, &[address.as_str()]).unwrap().status, 404);
        assert_eq!(get(&url, &["127.0.0.1"]).unwrap_err(), "the body is longer than 10 bytes");
        assert!(server.join().unwrap()[0].contains("authorization: secret"));
    }

    #[test]
    fn neither_a_name_nor_a_redirect_leads_to_a_private_address() {
        // A name that resolves to this machine, granted by its name alone.
        for hosts in [&["localhost"][..], &["*"], &["localhost", "*"]] {
            let error = get("http://localhost:9/", hosts).unwrap_err();
            assert!(error.contains("is a private address: to grant it, add \"http:"), "{error}");
        }
        assert!(get("http://127.0.0.1:9/", &["*"]).unwrap_err().contains("127.0.0.1 is a private address"));
        assert!(get("http://[::1]:9/", &["*"]).unwrap_err().contains("::1 is a private address"));
        // Numbers that inet_aton takes for addresses.
        assert!(get("http://2130706433:9/", &["*"]).is_err());
        assert!(get("http://0x7f.1:9/", &["*"]).is_err());

        // The first hop is granted, the second isn't: by name, by address, by scheme.
        for target in ["http://localhost:9/", "http://127.0.0.2:9/", "http://[::1]:9/", "file:///etc/passwd"] {
            let (address, server) = serve(vec![answer("302 Found", &format!("Location: {target}\r\n"), "")]);
            let error = get(&format!("http://{address}/"), &["127.0.0.1"]).unwrap_err();
            assert!(error.contains("not granted") || error.contains("is none"), "{target}: {error}");
            server.join().unwrap();
        }
        let (address, server) = serve(vec![answer("302 Found", "Location: http://localhost:9/\r\n", "")]);
        let error = get(&format!("http://{address}/"), &[address.as_str(), "*"]).unwrap_err();
        assert!(error.contains("is a private address"), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn redirects_are_followed_so_far() {
        let (second, other) = serve(vec![answer("200 OK", "", "there")]);
        let (first, server) = serve(vec![
            answer("307 Temporary Redirect", "Location: /next\r\n", ""),
            answer("301 Moved Permanently", &format!("Location: http://{second}/end\r\n"), ""),
        ]);
        let response = get(&format!("http://{first}/"), &["127.0.0.1"]).unwrap();
        assert_eq!((response.body.as_slice(), response.url), (b"there".as_slice(), format!("http://{second}/end")));
        assert!(server.join().unwrap()[1].starts_with("get /next"));
        // Another host doesn't get what was meant for the first.
        assert!(!other.join().unwrap()[0].contains("authorization"));

        let around: Vec<_> = (0..=REDIRECTS_MAX).map(|_| answer("302 Found", "Location: /\r\n", "")).collect();
        let (address, server) = serve(around);
        assert_eq!(get(&format!("http://{address}/"), &["127.0.0.1"]).unwrap_err(), "more than 5 redirects");
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_is_silent_or_slow_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let request = WebRequest { timeout: Duration::from_millis(200), ..request(&url, &["127.0.0.1"]) };
        let deadline = Instant::now() + request.timeout;
        assert_eq!(fetch(request, deadline).unwrap_err(), "no answer within 0.2 s");
    }
}
