//! Noise-encrypted TCP links: the transport `tcp`, for addresses `tcp:HOST:PORT`.
//!
//! | module | what it holds |
//! |---|---|
//! | `addr` | `HOST:PORT`, parsed and resolved |
//! | `noise` | the wire format and the handshake; no I/O |
//! | `record` | the records after it, sealed and opened in place; no I/O |
//! | `handshake` | the handshake over a stream |
//! | `buffer` | frames packed into records and writes, reads cut into records |
//! | `link` | the task of one established link |
//! | `listen`, `dial`, `socks` | how a stream comes to be |
//! | `shared` | the table of links, and the handle that the node holds |
//!
//! # What an observer can and can't do
//!
//! Content, sizes of single messages and keys are hidden; that two nodes are linked, when, and how many bytes go each
//! way isn't. A prober without the network's key gets no byte out of a listener. Who recorded the first message of a
//! genuine handshake can play it back and is answered with a second message that tells nothing but that the listener
//! belongs to the same network. Cutting a connection can't be told from the other end closing it: what was lost is found
//! by anti-entropy.

mod addr;
mod buffer;
mod dial;
mod handshake;
mod link;
mod listen;
mod noise;
mod record;
mod shared;
mod socks;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rumormill_api::{
    BoxFuture, Error, ErrorKind, LinkEvent, LinkSink, Links, Registry, Result, Transport, TransportConfig,
};
use tokio::runtime::Handle;

use crate::addr::{HostPort, SCHEME, peer_addr};
use crate::noise::Keys;
use crate::shared::{Limits, Shared, TcpLinks};

/// The name that this backend is registered and reports errors under.
pub const NAME: &str = "tcp";

/// Registers this backend.
pub fn register(registry: &mut Registry) {
    registry.add_transport(NAME, |config| Ok(Arc::new(TcpTransport::new(config)?)));
}

/// The transport; see the crate's documentation.
pub struct TcpTransport {
    listen: Vec<String>,
    keys: Arc<Keys>,
    limits: Limits,
    proxy: Option<HostPort>,
}

impl TcpTransport {
    /// Checks the configuration; nothing is opened yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a malformed proxy, and for options, of which this backend has none.
    pub fn new(config: TransportConfig) -> Result<Self> {
        if let Some(name) = config.options.keys().next() {
            let text = format!("there is no option {name:?}: this transport has none");
            return Err(Error::new(ErrorKind::Invalid, NAME, text));
        }
        let proxy = match &config.proxy {
            None => None,
            Some(text) => {
                Some(socks::parse(text).ok_or_else(|| Error::new(ErrorKind::Invalid, NAME, socks::EXPECTED))?)
            }
        };
        Ok(Self {
            keys: Arc::new(Keys::new(config.secret, config.network)),
            limits: Limits {
                handshake_timeout: Duration::from_millis(config.handshake_timeout),
                idle_timeout: Duration::from_millis(config.idle_timeout),
                half_open_max: config.half_open_max,
                incoming_max: config.incoming_max,
                queue_max_bytes: config.queue_max_bytes,
            },
            proxy,
            listen: config.listen,
        })
    }

    async fn open_links(&self, sink: LinkSink) -> Result<TcpLinks> {
        let mut listeners = Vec::new();
        for text in &self.listen {
            listeners.push(listen::bind(text).await?);
        }
        let shared = Arc::new(Shared::new(sink, Arc::clone(&self.keys), self.limits, self.proxy.clone()));
        // Dropping it on the way out of an error closes what was begun.
        let links = TcpLinks { shared: Arc::clone(&shared), runtime: Handle::current() };
        for listener in listeners {
            let addr = listener.local_addr().map_err(|error| {
                Error::new(ErrorKind::Io, NAME, "can't tell where this node listens").with_source(error)
            })?;
            if !shared.tell(LinkEvent::Listening(peer_addr(addr))).await {
                return Err(Error::new(ErrorKind::Closed, NAME, "the node no longer takes events"));
            }
            tokio::spawn(listen::run(Arc::clone(&shared), listener));
        }
        Ok(links)
    }
}

impl Transport for TcpTransport {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn open<'a>(&'a self, sink: LinkSink) -> BoxFuture<'a, Result<Box<dyn Links>>> {
        Box::pin(async move { Ok(Box::new(self.open_links(sink).await?) as Box<dyn Links>) })
    }
}
