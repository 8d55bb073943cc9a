//! Dialling: resolve, connect (through the proxy, if there is one), shake hands.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rumormill_api::{Direction, LinkEvent, PeerAddr};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::addr::{self, HostPort, peer_addr};
use crate::record::Session;
use crate::shared::Shared;
use crate::{handshake, link, socks};

/// How long resolving and connecting may take, the proxy's work included, in milliseconds. The handshake has its own
/// limit.
pub(crate) const CONNECT_TIMEOUT_MS: u64 = 10_000;

/// Dials, then runs the link.
pub(crate) async fn run(shared: Arc<Shared>, addr: PeerAddr) {
    let dialled = tokio::select! {
        dialled = dial(&shared, &addr) => dialled,
        () = shared.closed() => Err("the transport was closed".to_owned()),
    };
    match dialled {
        Ok((stream, session)) => {
            let remote = match (&shared.proxy, stream.peer_addr()) {
                (None, Ok(remote)) => peer_addr(remote),
                // The socket's other end is the proxy.
                _ => addr.clone(),
            };
            link::run(&shared, stream, session, Direction::Outgoing(addr), remote).await;
        }
        Err(why) => {
            shared.tell(LinkEvent::DialFailed(addr, why)).await;
        }
    }
}

async fn dial(shared: &Shared, addr: &PeerAddr) -> Result<(TcpStream, Session), String> {
    let target = HostPort::of_peer(addr).ok_or_else(|| format!("{addr} can't be dialled: {}", addr::EXPECTED))?;
    let _turn = shared.dials.acquire().await.map_err(|_| "the transport was closed".to_owned())?;

    let connected = timeout(Duration::from_millis(CONNECT_TIMEOUT_MS), connect(shared, &target)).await;
    let mut stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("can't connect to {target}: {error}")),
        Err(_) => return Err(format!("can't connect to {target}: no answer within {CONNECT_TIMEOUT_MS} ms")),
    };

    let limit = shared.limits.handshake_timeout;
    match timeout(limit, handshake::initiate(&mut stream, &shared.keys)).await {
        Ok(Ok(session)) => Ok((stream, session)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the handshake wasn't complete within {} ms", limit.as_millis())),
    }
}

async fn connect(shared: &Shared, target: &HostPort) -> io::Result<TcpStream> {
    let stream = match &shared.proxy {
        None => connect_to(target).await?,
        Some(proxy) => {
            let via = |error: io::Error| io::Error::new(error.kind(), format!("through the proxy {proxy}: {error}"));
            let mut stream = connect_to(proxy).await.map_err(via)?;
            socks::connect(&mut stream, target).await.map_err(via)?;
            stream
        }
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_to(target: &HostPort) -> io::Result<TcpStream> {
    TcpStream::connect(&target.resolve().await?[..]).await
}
