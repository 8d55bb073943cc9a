//! Links inside one process: the transport `memory`, for addresses `memory:NAME`, for tests and simulations of whole nodes.
//!
//! Nodes meet at a [`Hub`]. [`register`] uses one hub for the whole process, [`register_with`] a hub of the caller's, so
//! that tests don't meet each other. There is no cryptography, no I/O and no thread of its own: everything is done by
//! tasks, without delay unless the hub is told otherwise, so it works under tokio's paused clock. Handshake hashes are
//! made from a count and the public keys; with the same order of dials they are the same in every run.
//!
//! | module | what it holds |
//! |---|---|
//! | `hub` | [`Hub`]: who listens where, and the faults that a test can cause |
//! | `link` | the task of one end of a link |
//! | `shared` | the table of links of one node, and the handle that the node holds |

mod hub;
mod link;
mod shared;

use std::sync::{Arc, LazyLock};

use rumormill_api::{
    BoxFuture, Error, ErrorKind, LinkEvent, LinkSink, Links, PeerAddr, Registry, Result, Transport, TransportConfig,
};

pub use crate::hub::Hub;
use crate::shared::{MemoryLinks, Shared};

/// The name that this backend is registered and reports errors under, and the scheme of its addresses.
pub const NAME: &str = "memory";
/// Longest name of a listener, in bytes.
pub const NAME_MAX_BYTES: usize = 64;

/// Registers this backend with the hub of the whole process.
pub fn register(registry: &mut Registry) {
    static HUB: LazyLock<Hub> = LazyLock::new(Hub::new);
    register_with(registry, HUB.clone());
}

/// Registers this backend with a hub of the caller's.
pub fn register_with(registry: &mut Registry, hub: Hub) {
    registry.add_transport(NAME, move |config| Ok(Arc::new(MemoryTransport::new(config, hub.clone())?)));
}

/// The transport; see the crate's documentation.
#[derive(Debug)]
pub struct MemoryTransport {
    config: TransportConfig,
    hub: Hub,
}

impl MemoryTransport {
    /// Checks the configuration; nothing is opened yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a malformed name, for a proxy, and for options, of which this backend has none.
    pub fn new(config: TransportConfig, hub: Hub) -> Result<Self> {
        let invalid = |text: String| Err(Error::new(ErrorKind::Invalid, NAME, text));
        if let Some(name) = config.options.keys().next() {
            return invalid(format!("there is no option {name:?}: this transport has none"));
        }
        if config.proxy.is_some() {
            return invalid("links within a process don't go through a proxy; leave the setting out".to_owned());
        }
        if let Some(name) = config.listen.iter().find(|name| !is_name(name)) {
            return invalid(format!("can't listen on {name:?}: {EXPECTED}"));
        }
        Ok(Self { config, hub })
    }
}

impl Transport for MemoryTransport {
    fn scheme(&self) -> &'static str {
        NAME
    }

    fn open<'a>(&'a self, sink: LinkSink) -> BoxFuture<'a, Result<Box<dyn Links>>> {
        Box::pin(async move {
            let shared = Arc::new(Shared::new(&self.config, self.hub.clone(), sink));
            // Dropping it on the way out of an error takes the names back.
            let links = MemoryLinks(Arc::clone(&shared));
            for name in &self.config.listen {
                self.hub.listen(name, &shared)?;
            }
            for name in &self.config.listen {
                if !shared.tell(LinkEvent::Listening(peer_addr(name))).await {
                    return Err(Error::new(ErrorKind::Closed, NAME, "the node no longer takes events"));
                }
            }
            Ok(Box::new(links) as Box<dyn Links>)
        })
    }
}

/// What a name must look like.
const EXPECTED: &str = "a name has 1 to 64 letters, digits, dots, hyphens and underscores";

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn peer_addr(name: &str) -> PeerAddr {
    PeerAddr::new(NAME, name).expect("a name is short printable ASCII")
}
