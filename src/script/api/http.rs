//! `rumor.http`: web servers that the script was granted.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, Table, Value};

use super::args::{Args, string};
use super::json::decoded;
use super::{Api, Op, Refusal, define};
use crate::script::convert::clean_line;
use crate::script::outside::{WebRequest, WebResponse};

/// Longest URL, in bytes.
pub(super) const URL_MAX_BYTES: usize = 2_048;
/// Longest body that is sent, in bytes.
pub(super) const BODY_MAX_BYTES: usize = 1 << 20;
/// Most headers of a request.
pub(super) const HEADERS_MAX: usize = 32;
/// Longest body that is taken unless a script says otherwise, in bytes.
const TAKEN_DEFAULT_BYTES: usize = 1 << 20;
/// How long a request takes at most unless a script says otherwise, in seconds.
const TIMEOUT_DEFAULT_S: f64 = 10.0;
/// Most requests of one script that are under way at once.
pub(super) const UNDERWAY_MAX: usize = 4;
/// Requests that one script may make at once, and a second in the long run.
pub(super) const REQUESTS: (f64, f64) = (20.0, 1.0);
/// Headers that are the client's own.
const OWN_HEADERS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "proxy-authorization"];

pub(super) fn install(lua: &Lua, api: &Rc<Api>, rumor: &Table) -> mlua::Result<()> {
    let http = lua.create_table()?;
    let get = define(lua, api, "rumor.http.get", |_, api, args| request(api, args, "GET"))?;
    http.raw_set("get", get)?;
    let post = define(lua, api, "rumor.http.post", |_, api, args| request(api, args, "POST"))?;
    http.raw_set("post", post)?;
    http.set_readonly(true);
    rumor.raw_set("http", http)?;

    let methods = lua.create_table()?;
    let json = define(lua, api, "res:json", |lua, _, args| match args.own()?.raw_get("body")? {
        Value::String(body) => Ok(decoded(lua, &body.as_bytes())?),
        _ => Ok((Value::Nil, Some("there is no body".to_owned()))),
    })?;
    methods.raw_set("json", json)?;
    methods.set_readonly(true);
    let meta = lua.create_table()?;
    meta.raw_set("__index", methods)?;
    meta.raw_set("__metatable", "response")?;
    meta.set_readonly(true);
    *api.response_meta.borrow_mut() = Some(meta);
    Ok(())
}

fn request(api: &Api, args: &Args<'_>, method: &'static str) -> Result<(), Refusal> {
    let url = args.string(0)?;
    if url.len() > URL_MAX_BYTES {
        return Err(Refusal::Say(format!("url is longer than {URL_MAX_BYTES} bytes")));
    }
    let (host, port) = host_of(&url).ok_or_else(|| {
        Refusal::Say(format!("url {:?} must be http://HOST/… or https://HOST/…", clean_line(&url, 80)))
    })?;
    let hosts = api.web_hosts();
    if !hosts.iter().any(|granted| grants(granted, &host, port)) {
        let permission = format!("http:{}", clean_line(&host, 256));
        api.need(&permission)?;
        // Granted with another port.
        return Err(Refusal::Say(format!("{permission:?} is granted for another port than {port}")));
    }
    let options = args.fields(1)?;
    let body = match options.value("body")? {
        Value::String(body) => Some(body.as_bytes().to_vec()),
        _ => None,
    };
    if body.as_ref().is_some_and(|body| body.len() > BODY_MAX_BYTES) {
        return Err(Refusal::Say(format!("body is longer than {BODY_MAX_BYTES} bytes")));
    }
    if method == "GET" && body.is_some() {
        return Err(Refusal::Say("body: only `post` sends one".to_owned()));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the table has its bounds")]
    let max_bytes = options.opt_number("max_bytes")?.map_or(TAKEN_DEFAULT_BYTES, |max| max as usize);
    let request = WebRequest {
        method,
        url,
        headers: headers(&options.value("headers")?)?,
        body,
        timeout: Duration::from_secs_f64(options.opt_number("timeout")?.unwrap_or(TIMEOUT_DEFAULT_S)),
        max_bytes,
        hosts,
    };
    if api.requests.get() >= UNDERWAY_MAX {
        return Err(Refusal::Say(format!("at most {UNDERWAY_MAX} requests may be under way")));
    }
    if !api.web.borrow_mut().take(api.shared.link.time.instant()) {
        return Err(Refusal::Say("too many requests: at most 20 at once and 60 a minute".to_owned()));
    }
    *api.pending.borrow_mut() = Some(Op::Fetch(Box::new(request)));
    Ok(())
}

fn headers(value: &Value) -> Result<BTreeMap<String, String>, Refusal> {
    let Value::Table(table) = value else { return Ok(BTreeMap::new()) };
    let mut headers = BTreeMap::new();
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        let name = string(&name, "a header's name")?.to_ascii_lowercase();
        let value = string(&value, &format!("headers[{:?}]", clean_line(&name, 40)))?;
        let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !name.is_empty()
            && value.bytes().all(|b| b == b'\t' || (b' '..0x7f).contains(&b));
        if !good || name.len() + value.len() > 4_096 {
            return Err(Refusal::Say(format!("headers: {:?} can't be sent", clean_line(&name, 40))));
        }
        if OWN_HEADERS.contains(&name.as_str()) {
            return Err(Refusal::Say(format!("headers: {name:?} is the client's own")));
        }
        if headers.len() >= HEADERS_MAX {
            return Err(Refusal::Say(format!("headers: at most {HEADERS_MAX}")));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The host, in lower case, and the port of an `http` or `https` URL.
pub(in crate::script) fn host_of(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    if url.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'\\') {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    // Credentials in a URL end up in logs.
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(default), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| (host.trim_end_matches('.').to_ascii_lowercase(), port))
}

/// Whether a granted `HOST`, `HOST:PORT`, `*.DOMAIN` or `*` covers this one.
pub(in crate::script) fn grants(granted: &str, host: &str, port: u16) -> bool {
    let granted = granted.to_ascii_lowercase();
    if granted == "*" || granted == host || granted == format!("{host}:{port}") || granted == format!("[{host}]:{port}")
    {
        return true;
    }
    granted.strip_prefix("*.").is_some_and(|domain| host.strip_suffix(domain).is_some_and(|head| head.ends_with('.')))
}

/// An answer as a script sees it.
pub(in crate::script) fn response_table(lua: &Lua, api: &Api, response: &WebResponse) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("status", response.status)?;
    table.raw_set("body", lua.create_string(&response.body)?)?;
    let headers = lua.create_table()?;
    for (name, value) in &response.headers {
        headers.raw_set(name.as_str(), value.as_str())?;
    }
    table.raw_set("headers", headers)?;
    table.raw_set("url", response.url.as_str())?;
    table.set_metatable(api.response_meta.borrow().clone())?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found() {
        let found = |url| host_of(url).map(|(host, port)| format!("{host} {port}"));
        for (url, wanted) in [
            ("http://Example.org", "example.org 80"),
            ("https://example.org/a?b#c", "example.org 443"),
            ("HTTPS://example.org.:8443/", "example.org 8443"),
            ("http://[::1]:80/x", "::1 80"),
            ("http://[::1]", "::1 80"),
            ("http://127.0.0.1?x", "127.0.0.1 80"),
        ] {
            assert_eq!(found(url).as_deref(), Some(wanted), "{url}");
        }
        for url in [
            "",
            "example.org",
            "ftp://example.org",
            "http://",
            "http:///x",
            "http://a@b/",
            "http://a:b@c/",
            "http://a b/",
            "http://a:99999/",
            "http://a:x/",
            "http://a\n/",
            "http://a\\b/",
            "file:///etc/passwd",
            "http://[::1/",
        ] {
            assert_eq!(found(url), None, "{url:?}");
        }
    }

    #[test]
    fn grants_cover_what_they_say() {
        assert!(grants("example.org", "example.org", 1));
        assert!(grants("Example.org:443", "example.org", 443));
        assert!(!grants("example.org:443", "example.org", 80));
        assert!(grants("*.example.org", "a.b.example.org", 1));
        assert!(!grants("*.example.org", "example.org", 1));
        assert!(!grants("*.example.org", "badexample.org", 1));
        assert!(!grants("example.org", "a.example.org", 1));
        assert!(grants("[::1]:80", "::1", 80) && grants("::1", "::1", 80));
        assert!(grants("*", "anything", 1));
    }
}
