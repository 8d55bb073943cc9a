//! The transport suite, over loopback.

use std::sync::Arc;

use rumormill_api::testkit::transport::Fixture;
use rumormill_transport_tcp::TcpTransport;

fn addr(text: &str) -> rumormill_api::PeerAddr {
    text.parse().expect("an address")
}

fn fixture() -> Fixture {
    Fixture {
        make: Box::new(|config| Ok(Arc::new(TcpTransport::new(config)?))),
        listen: Box::new(|| "127.0.0.1:0".to_owned()),
        // The discard service's port; binding it takes rights that nobody uses for that here.
        nowhere: addr("tcp:127.0.0.1:9"),
        malformed: [
            "tcp:127.0.0.1",
            "tcp:127.0.0.1:0",
            "tcp:::1:80",
            "tcp:[::1:80",
            "tcp:a..b:80",
            "tcp:127.0.0.1:99999",
        ]
        .map(addr)
        .to_vec(),
        malformed_listen: "127.0.0.1".to_owned(),
    }
}

rumormill_api::transport_suite!(fixture);
