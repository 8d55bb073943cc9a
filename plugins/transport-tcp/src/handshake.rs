//! The Noise handshake over a stream. Time-outs are the caller's.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::noise::{Handshake, Keys, LENGTH_BYTES, MESSAGE_BYTES};
use crate::record::Session;

/// Why a handshake came to nothing.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The connection broke.
    Io(io::Error),
    /// What came isn't the message that it should be.
    Invalid,
    /// The other end has this node's own key.
    Own,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if closed_by_peer(error) => {
                f.write_str("the other end closed the connection during the handshake: it belongs to another network, has no room, or isn't a node")
            }
            Self::Io(error) => write!(f, "the connection broke during the handshake: {error}"),
            Self::Invalid => f.write_str("the other end answered the handshake with something else: it isn't a node of this network and version"),
            Self::Own => f.write_str("that is this node itself"),
        }
    }
}

/// Whether the error means that the other end is gone, rather than that this machine has a problem.
pub(crate) fn closed_by_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<snow::Error> for HandshakeError {
    fn from(_: snow::Error) -> Self {
        Self::Invalid
    }
}

/// The dialler's side.
pub(crate) async fn initiate<S>(stream: &mut S, keys: &Keys) -> Result<Session, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut handshake = keys.handshake(true)?;
    write(stream, &mut handshake).await?;
    read(stream, &mut handshake, MESSAGE_BYTES[1]).await?;
    if handshake.peer().as_ref() == Some(keys.public()) {
        return Err(HandshakeError::Own);
    }
    write(stream, &mut handshake).await?;
    Ok(handshake.finish()?)
}

/// The listener's side: not a byte is written before the first message has proven the network's key.
pub(crate) async fn respond<S>(stream: &mut S, keys: &Keys) -> Result<Session, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut handshake = keys.handshake(false)?;
    read(stream, &mut handshake, MESSAGE_BYTES[0]).await?;
    write(stream, &mut handshake).await?;
    read(stream, &mut handshake, MESSAGE_BYTES[2]).await?;
    if handshake.peer().as_ref() == Some(keys.public()) {
        return Err(HandshakeError::Own);
    }
    Ok(handshake.finish()?)
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, handshake: &mut Handshake) -> Result<(), HandshakeError> {
    let mut frame = Vec::with_capacity(LENGTH_BYTES + MESSAGE_BYTES[1]);
    handshake.write(&mut frame)?;
    Ok(stream.write_all(&frame).await?)
}

async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    handshake: &mut Handshake,
    expected: usize,
) -> Result<(), HandshakeError> {
    if usize::from(stream.read_u16().await?) != expected {
        return Err(HandshakeError::Invalid);
    }
    let mut message = [0; MESSAGE_BYTES[1]];
    let message = &mut message[..expected];
    stream.read_exact(message).await?;
    Ok(handshake.read(message)?)
}
