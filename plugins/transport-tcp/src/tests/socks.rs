//! Dialling through a proxy, which a small one of the test's own plays.

use rumormill_api::{Direction, LinkEvent, Links, TransportConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::{config, connect, next, node, up};
use crate::dial::CONNECT_TIMEOUT_MS;

/// Accepts one connection, and hands it to `serve`.
async fn proxy<F: Future<Output = ()> + Send>(serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { serve(listener.accept().await.unwrap().0).await });
    Some(format!("socks5://{addr}"))
}

/// Reads the greeting and the request; the request must be for `name`, port 4001.
async fn serve_request(stream: &mut TcpStream, name: &str) {
    let mut greeting = [0; 3];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(greeting, [5, 1, 0]);
    stream.write_all(&[5, 0]).await.unwrap();
    let expected = [&[5, 1, 0, 3, name.len() as u8], name.as_bytes(), &4001_u16.to_be_bytes()].concat();
    let mut request = vec![0; expected.len()];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request, expected);
}

#[tokio::test]
async fn a_link_through_a_proxy_leaves_the_name_to_it() {
    let (listener, addr, mut at_listener) = node(config(2)).await;
    let proxy = proxy(|mut stream| async move {
        serve_request(&mut stream, "node.invalid").await;
        // A bound address given as a name, to be skipped.
        stream.write_all(&[5, 0, 0, 3, 4, b'h', b'o', b's', b't', 0, 1]).await.unwrap();
        let mut onward = connect(&addr).await;
        let _ = copy_bidirectional(&mut stream, &mut onward).await;
    })
    .await;
    let (dialler, _, mut at_dialler) = node(TransportConfig { proxy, ..config(1) }).await;
    let addr = "tcp:node.invalid:4001".parse().unwrap();
    dialler.dial(&addr);
    let LinkEvent::Up(to_listener, info) = next(&mut at_dialler).await else { panic!("expected Up") };
    assert_eq!((info.direction, info.remote), (Direction::Outgoing(addr.clone()), addr));
    let to_dialler = up(&mut at_listener).await;
    dialler.try_send(to_listener, b"there".to_vec().into()).unwrap();
    assert_eq!(next(&mut at_listener).await, LinkEvent::Batch(to_dialler, b"there".to_vec().into()));
    listener.try_send(to_dialler, b"back".to_vec().into()).unwrap();
    assert_eq!(next(&mut at_dialler).await, LinkEvent::Batch(to_listener, b"back".to_vec().into()));
}

async fn failure(proxy: Option<String>) -> String {
    let (links, _, mut events) = node(TransportConfig { proxy, ..config(1) }).await;
    links.dial(&"tcp:node.invalid:4001".parse().unwrap());
    match next(&mut events).await {
        LinkEvent::DialFailed(_, why) => why,
        other => panic!("expected DialFailed, got {other:?}"),
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_says_why() {
    let refusing = proxy(|mut stream| async move {
        serve_request(&mut stream, "node.invalid").await;
        stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    })
    .await;
    let why = failure(refusing).await;
    assert!(why.contains("refused the proxy's connection") && why.contains("through the proxy 127.0.0.1:"), "{why}");

    let password = proxy(|mut stream| async move { stream.write_all(&[5, 0xff]).await.unwrap() }).await;
    assert!(failure(password).await.contains("password"));
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let why = failure(Some(format!("socks5://{}", silent.local_addr().unwrap()))).await;
    assert!(why.contains(&format!("{CONNECT_TIMEOUT_MS} ms")), "{why}");
}

#[tokio::test]
async fn a_proxy_that_is_none_fails_the_dial() {
    let garbage = proxy(|mut stream| async move {
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    })
    .await;
    assert!(failure(garbage).await.contains("isn't a SOCKS5 proxy"));

    let late_garbage = proxy(|mut stream| async move {
        serve_request(&mut stream, "node.invalid").await;
        stream.write_all(&[5, 0, 0, 9, 9, 9, 9, 9, 9, 9]).await.unwrap();
    })
    .await;
    assert!(failure(late_garbage).await.contains("malformed"));

    let hangs_up = proxy(|stream| async move { drop(stream) }).await;
    assert!(failure(hangs_up).await.contains("through the proxy"));

    let nobody = Some("socks5://127.0.0.1:9".to_owned());
    assert!(failure(nobody).await.contains("through the proxy 127.0.0.1:9"));
}
