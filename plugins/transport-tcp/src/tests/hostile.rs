//! Peers and strangers that misbehave.

use std::io;
use std::time::Duration;

use rumormill_api::transport::BATCH_MAX_BYTES;
use rumormill_api::{DownReason, Frame, LinkEvent, LinkSecret, Links, TransportConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::{NETWORK, config, connect, keys, next, node, up};
use crate::handshake::{self, HandshakeError};
use crate::noise::{Keys, LENGTH_BYTES, MESSAGE_BYTES};
use crate::record::{FAULT_FORGED, FAULT_SHORT, Session};
use crate::shared::DIALS_MAX;

/// Everything that comes until the other end closes, politely or not.
async fn everything(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await.expect("the end of the stream") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    all
}

fn frame_of(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

#[tokio::test]
async fn a_prober_gets_not_a_byte() {
    let (_links, addr, mut events) = node(TransportConfig { handshake_timeout: 200, ..config(2) }).await;
    let mut genuine_elsewhere = Vec::new();
    Keys::new(LinkSecret([1; 32]), LinkSecret([98; 32]))
        .handshake(true)
        .unwrap()
        .write(&mut genuine_elsewhere)
        .unwrap();
    let probes = [
        Vec::new(),
        vec![0],
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec(),
        frame_of(&[0; MESSAGE_BYTES[0]]),
        frame_of(&[7; MESSAGE_BYTES[0] - 1]),
        frame_of(&[7; MESSAGE_BYTES[0] + 1]),
        vec![0xff; 200_000],
        genuine_elsewhere,
    ];
    for probe in probes {
        let mut stream = connect(&addr).await;
        // The listener may hang up in the middle of a long probe.
        let _ = stream.write_all(&probe).await;
        assert_eq!(everything(&mut stream).await, [], "probe of {} bytes", probe.len());
    }
    assert!(events.try_recv().is_err(), "no event for strangers");
}

#[tokio::test]
async fn an_oversize_handshake_is_refused_after_its_length() {
    let garbage = vec![0xff; 1 << 20];
    let mut input = &garbage[..];
    let result = handshake::respond(&mut tokio::io::join(&mut input, tokio::io::sink()), &keys(2)).await;
    assert!(matches!(result, Err(HandshakeError::Invalid)));
    assert_eq!(garbage.len() - input.len(), LENGTH_BYTES);

    let mut right_length = frame_of(&[3; MESSAGE_BYTES[0]]);
    right_length.resize(1 << 20, 3);
    let mut input = &right_length[..];
    let result = handshake::respond(&mut tokio::io::join(&mut input, tokio::io::sink()), &keys(2)).await;
    assert!(matches!(result, Err(HandshakeError::Invalid)));
    assert_eq!(right_length.len() - input.len(), LENGTH_BYTES + MESSAGE_BYTES[0]);
}

#[tokio::test]
async fn a_listener_that_says_nothing_fails_the_dial_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (links, _, mut events) = node(TransportConfig { handshake_timeout: 100, ..config(1) }).await;
    let start = Instant::now();
    links.dial(&format!("tcp:{}", silent.local_addr().unwrap()).parse().unwrap());
    match next(&mut events).await {
        LinkEvent::DialFailed(_, why) => assert!(why.contains("100 ms"), "{why}"),
        other => panic!("expected DialFailed, got {other:?}"),
    }
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn so_many_dials_are_under_way_and_the_others_wait() {
    const TIMEOUT_MS: u64 = 500;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (links, _, mut events) = node(TransportConfig { handshake_timeout: TIMEOUT_MS, ..config(1) }).await;
    let start = Instant::now();
    for _ in 0..=DIALS_MAX {
        links.dial(&format!("tcp:{}", silent.local_addr().unwrap()).parse().unwrap());
    }
    let mut accepted = Vec::new();
    for _ in 0..DIALS_MAX {
        accepted.push(silent.accept().await.unwrap());
    }
    accepted.push(silent.accept().await.unwrap());
    assert!(start.elapsed() >= Duration::from_millis(TIMEOUT_MS), "one dial had to wait for another's end");
    for _ in 0..=DIALS_MAX {
        assert!(matches!(next(&mut events).await, LinkEvent::DialFailed(..)));
    }
}

#[tokio::test]
async fn silent_sockets_do_not_keep_an_honest_peer_out() {
    const MAX: usize = 8;
    let (links, addr, mut events) = node(TransportConfig { half_open_max: MAX, ..config(2) }).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(connect(&addr).await);
    }
    let start = Instant::now();
    let (honest, _, mut at_honest) = node(config(1)).await;
    honest.dial(&format!("tcp:{addr}").parse().unwrap());
    up(&mut at_honest).await;
    up(&mut events).await;
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    assert!(links.shared.half_open.len() <= MAX);
    // Those that were there first had to go, without a word.
    for stream in &mut silent[..300 - MAX] {
        assert_eq!(everything(stream).await, []);
    }
}

#[tokio::test]
async fn there_are_never_more_half_open_than_allowed() {
    const MAX: usize = 4;
    let (links, addr, _events) = node(TransportConfig { half_open_max: MAX, ..config(2) }).await;
    let mut silent = Vec::new();
    for count in 1..=3 * MAX {
        silent.push(connect(&addr).await);
        if count > MAX {
            assert_eq!(everything(&mut silent[count - MAX - 1]).await, [], "the oldest goes");
        }
        assert!(links.shared.half_open.len() <= MAX);
    }
    assert_eq!(links.shared.half_open.len(), MAX);
}

/// A peer with the network's key, in the test's hands.
async fn rogue(addr: &str) -> (TcpStream, Session) {
    let mut stream = connect(addr).await;
    let session = handshake::initiate(&mut stream, &keys(1)).await.unwrap();
    (stream, session)
}

fn seal(session: &mut Session, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    session.sealer.seal(&[plain], &mut out, Instant::now()).unwrap();
    out
}

#[tokio::test]
async fn a_forged_replayed_or_short_record_closes_the_link_with_a_fault() {
    let (links, addr, mut events) = node(config(2)).await;
    let forge = |session: &mut Session| {
        let mut wire = seal(session, b"data");
        *wire.last_mut().unwrap() ^= 1;
        wire
    };
    let replay = |session: &mut Session| {
        let wire = seal(session, b"good");
        [&wire[..], &wire[..]].concat()
    };
    let largest = |_: &mut Session| vec![0xff; LENGTH_BYTES + 0xffff];
    let short = |_: &mut Session| frame_of(&[1; 15]);
    type Attack<'a> = &'a dyn Fn(&mut Session) -> Vec<u8>;
    let attacks: [(Attack<'_>, &str); 4] =
        [(&forge, FAULT_FORGED), (&replay, FAULT_FORGED), (&largest, FAULT_FORGED), (&short, FAULT_SHORT)];
    for (attack, fault) in attacks {
        let (mut stream, mut session) = rogue(&addr).await;
        let link = up(&mut events).await;
        stream.write_all(&seal(&mut session, b"good")).await.unwrap();
        stream.write_all(&attack(&mut session)).await.unwrap();
        stream.write_all(&seal(&mut session, b"never seen")).await.unwrap();
        loop {
            match next(&mut events).await {
                // What came whole before the fault, in one batch or two.
                LinkEvent::Batch(from, bytes) => {
                    assert_eq!(from, link);
                    assert!(bytes.chunks(4).all(|piece| piece == b"good"), "{bytes:?}");
                }
                LinkEvent::Down(down, reason) => break assert_eq!((down, reason), (link, DownReason::Fault(fault))),
                other => panic!("expected Batch or Down, got {other:?}"),
            }
        }
        assert_eq!(everything(&mut stream).await, []);
    }
    drop(links);
}

#[tokio::test]
async fn a_peer_that_never_reads_is_left_after_the_idle_time_out() {
    let limits = TransportConfig { idle_timeout: 300, queue_max_bytes: 64 << 20, ..config(2) };
    let (links, addr, mut events) = node(limits).await;
    let (mut stream, mut session) = rogue(&addr).await;
    let link = up(&mut events).await;
    let frame = Frame::from(vec![1; BATCH_MAX_BYTES]);
    for _ in 0..800 {
        links.try_send(link, frame.clone()).unwrap();
    }
    // It stays talkative, so that only the writing can be what ends it.
    let chatter = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if stream.write_all(&seal(&mut session, b"still here")).await.is_err() {
                return;
            }
        }
    });
    loop {
        match next(&mut events).await {
            LinkEvent::Batch(..) => {}
            LinkEvent::Down(down, reason) => break assert_eq!((down, reason), (link, DownReason::Idle)),
            other => panic!("expected Batch or Down, got {other:?}"),
        }
    }
    chatter.await.unwrap();
}

#[tokio::test]
async fn a_rekeyed_link_goes_on_over_a_socket() {
    let (_links, addr, mut events) = node(config(2)).await;
    let mut stream = connect(&addr).await;
    let mut hasty = Keys::new(LinkSecret([1; 32]), LinkSecret(NETWORK));
    hasty.rekey.age = Duration::ZERO;
    let mut session = handshake::initiate(&mut stream, &hasty).await.unwrap();
    let link = up(&mut events).await;
    for count in 0..100_u8 {
        stream.write_all(&seal(&mut session, &[count])).await.unwrap();
        assert_eq!(next(&mut events).await, LinkEvent::Batch(link, vec![count].into()));
    }
}
