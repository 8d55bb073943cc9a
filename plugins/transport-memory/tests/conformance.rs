//! The transport suite, within the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rumormill_api::testkit::transport::Fixture;
use rumormill_transport_memory::{Hub, MemoryTransport};

fn addr(text: &str) -> rumormill_api::PeerAddr {
    text.parse().expect("an address")
}

fn fixture() -> Fixture {
    let hub = Hub::new();
    let names = AtomicU32::new(0);
    Fixture {
        make: Box::new(move |config| Ok(Arc::new(MemoryTransport::new(config, hub.clone())?))),
        listen: Box::new(move || format!("node-{}", names.fetch_add(1, Ordering::Relaxed))),
        nowhere: addr("memory:nobody"),
        malformed: ["memory:a/b", "memory:~1", "memory:a:b"].map(addr).to_vec(),
        malformed_listen: "not a name".to_owned(),
    }
}

rumormill_api::transport_suite!(fixture);
