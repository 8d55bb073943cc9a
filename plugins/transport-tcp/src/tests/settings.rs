//! The configuration, and what the system says to it.

use rumormill_api::{ErrorKind, Registry, TransportConfig};

use super::config;
use crate::{NAME, TcpTransport, listen};

fn refused(config: TransportConfig) -> String {
    let error = TcpTransport::new(config).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.to_string()
}

#[test]
fn it_is_registered_as_tcp() {
    let mut registry = Registry::default();
    crate::register(&mut registry);
    assert_eq!(registry.transport_names(), [NAME]);
    assert_eq!(registry.transport(NAME, config(1)).unwrap().scheme(), "tcp");
}

#[test]
fn a_malformed_proxy_and_unknown_options_are_refused() {
    let proxy = Some("http://127.0.0.1:8080".to_owned());
    assert!(refused(TransportConfig { proxy, ..config(1) }).contains("socks5://HOST:PORT"));
    let options = [("speed".to_owned(), "high".to_owned())].into();
    assert!(refused(TransportConfig { options, ..config(1) }).contains("\"speed\""));
}

#[test]
fn no_key_nor_password_is_in_an_error() {
    let proxy = Some("socks5://user:password@127.0.0.1:1".to_owned());
    assert!(!refused(TransportConfig { proxy, ..config(1) }).contains("user"));
}

#[tokio::test]
async fn what_the_system_refuses_is_told_with_the_address_and_a_way_out() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().map(|addr| (addr.to_string(), taken)).unwrap();
    for (addr, kind, hint) in [
        (taken.0.as_str(), ErrorKind::Busy, "choose another port"),
        ("192.0.2.1:0", ErrorKind::Invalid, "no such address"),
        ("127.0.0.1", ErrorKind::Invalid, "HOST:PORT"),
    ] {
        let error = listen::bind(addr).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(addr) && error.to_string().contains(hint), "{error}");
    }
    let denied = listen::bind_error("127.0.0.1:1", std::io::ErrorKind::PermissionDenied.into());
    assert_eq!(denied.kind(), ErrorKind::Denied);
    assert!(denied.to_string().contains("127.0.0.1:1") && denied.to_string().contains("1024"), "{denied}");
}
