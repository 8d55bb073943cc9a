//! What a host takes from outside of it beside the time: the web, and the place where scripts keep values. Tests of
//! scripts hand in their own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rumormill_api::{BoxFuture, Store, StoreFactory};

/// What a script asks of a web server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebRequest {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Where.
    pub url: String,
    /// Headers by name.
    pub headers: BTreeMap<String, String>,
    /// What is sent with it.
    pub body: Option<Vec<u8>>,
    /// For all of it, redirects too.
    pub timeout: Duration,
    /// Longest body that is taken, in bytes.
    pub max_bytes: usize,
    /// The hosts that the script was granted, as `HOST` or `HOST:PORT`; `*` is every host with a public address. Each hop
    /// of a redirect is held to them.
    pub hosts: Vec<String>,
}

/// What a web server answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WebResponse {
    /// The HTTP status, of any kind.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// Where it came from in the end.
    pub url: String,
}

/// The way to the web.
pub trait Web: Send + Sync {
    /// Asks, and follows redirects. An `Err` is a sentence for the script's author. Must not take longer than
    /// [`WebRequest::timeout`] nor more memory than [`WebRequest::max_bytes`] says.
    fn fetch(&self, request: WebRequest) -> BoxFuture<'static, Result<WebResponse, String>>;
}

/// No way to the web: every request fails, and says that this build has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWeb;

impl Web for NoWeb {
    fn fetch(&self, _: WebRequest) -> BoxFuture<'static, Result<WebResponse, String>> {
        Box::pin(async { Err("this build has no HTTP client: build with the feature `http`".to_owned()) })
    }
}

/// What a host takes from outside of it.
#[derive(Clone)]
pub struct Outside {
    /// The web.
    pub web: Arc<dyn Web>,
    /// Opens the store of the script of that name.
    pub stores: StoreFactory,
    /// Where scripts' files lie, each script's in a folder of its name. `None`: scripts can't write any.
    pub files: Option<PathBuf>,
}

impl Default for Outside {
    /// This build's HTTP client, and stores that keep nothing past the host, no files.
    fn default() -> Self {
        Self { web: default_web(), stores: Arc::new(in_memory), files: None }
    }
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outside")
    }
}

fn in_memory(_: &str) -> rumormill_api::Result<Box<dyn Store>> {
    Ok(Box::new(Forgetful))
}

/// A store that keeps nothing past the host.
struct Forgetful;

impl Store for Forgetful {
    fn load(&mut self) -> rumormill_api::Result<Vec<(String, Vec<u8>)>> {
        Ok(Vec::new())
    }

    fn write(&mut self, _: &[(String, Option<Vec<u8>>)]) -> rumormill_api::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "http")]
fn default_web() -> Arc<dyn Web> {
    Arc::new(super::web::Client::default())
}

#[cfg(not(feature = "http"))]
fn default_web() -> Arc<dyn Web> {
    Arc::new(NoWeb)
}
