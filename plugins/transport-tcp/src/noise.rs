//! The Noise handshake and the wire format, without any I/O.
//!
//! # Wire format
//!
//! Every frame is a length (`u16`, big-endian, its own two bytes not counted) and a Noise message of
//! `Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s` (The Noise Protocol Framework, revision 34). The prologue is [`MAGIC`] and
//! [`LINK_VERSION`]; the pre-shared key is the network's. The handshake's payloads are empty, so its three messages have
//! the fixed lengths [`MESSAGE_BYTES`], and any other length is refused before a byte of it is read.
//!
//! As psk0 is mixed in before anything else, the first message already proves the network's key: a responder says
//! nothing to who lacks it.
//!
//! # Rekeying
//!
//! Each direction has its own key. It is replaced by Noise's REKEY (4.2)
//!
//! - after [`REKEY_RECORDS`] records: both ends count, nothing is sent;
//! - after a record with an empty plaintext, the *rekey record*. The sender puts one before the first data that it seals
//!   under a key older than [`REKEY_AGE_MS`]. It is authenticated like any record, so nobody else can cause it. The two
//!   ends' clocks needn't agree: the sender's alone decides, and a direction without traffic has nothing to protect.
//!
//! Rekeying starts the count and the age again; the nonce goes on (a `u64`, never used up). Data always follows a rekey
//! record, so two in a row are a fault, and no peer can make this node do nothing but rekey.

use rumormill_api::LinkSecret;
use snow::params::{DHChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver, FallbackResolver, RingResolver};
use snow::{Builder, HandshakeState};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::record::{Opener, RekeyRule, Sealer, Session};
#[cfg(doc)]
use crate::record::{REKEY_AGE_MS, REKEY_RECORDS};

/// First bytes of the prologue.
pub(crate) const MAGIC: &[u8] = b"rumormill";
/// The version of everything in this module, the prologue's last byte. Nodes of different versions don't link.
pub(crate) const LINK_VERSION: u8 = 1;
/// The Noise protocol.
pub(crate) const PATTERN: &str = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s";
/// Length of a Poly1305 tag, in bytes.
pub(crate) const TAG_BYTES: usize = 16;
/// Length of a frame's length, in bytes.
pub(crate) const LENGTH_BYTES: usize = 2;
/// Lengths of the handshake's messages, in bytes: `psk, e`; `e, ee, s, es`; `s, se`; each with an empty payload's tag.
pub(crate) const MESSAGE_BYTES: [usize; 3] = [32 + TAG_BYTES, 32 + 32 + 2 * TAG_BYTES, 32 + 2 * TAG_BYTES];
/// What a node brings to every handshake.
pub(crate) struct Keys {
    secret: LinkSecret,
    network: LinkSecret,
    public: [u8; 32],
    pub(crate) rekey: RekeyRule,
    /// Pinned test vectors alone fix the ephemeral key.
    #[cfg(test)]
    pub(crate) ephemeral: Option<[u8; 32]>,
}

impl Keys {
    pub(crate) fn new(secret: LinkSecret, network: LinkSecret) -> Self {
        let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("the build has X25519");
        dh.set(&secret.0);
        let mut public = [0; 32];
        public.copy_from_slice(dh.pubkey());
        Self {
            secret,
            network,
            public,
            rekey: RekeyRule::default(),
            #[cfg(test)]
            ephemeral: None,
        }
    }

    /// The public link key.
    pub(crate) const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// A fresh handshake.
    pub(crate) fn handshake(&self, initiator: bool) -> Result<Handshake, snow::Error> {
        let params: NoiseParams = PATTERN.parse()?;
        // ring has the cipher and the randomness, not BLAKE2s and no X25519 with a key of one's own.
        let resolver = FallbackResolver::new(Box::new(RingResolver), Box::new(DefaultResolver));
        let prologue = [MAGIC, &[LINK_VERSION]].concat();
        let builder = Builder::with_resolver(params, Box::new(resolver))
            .prologue(&prologue)?
            .psk(0, &self.network.0)?
            .local_private_key(&self.secret.0)?;
        #[cfg(test)]
        let builder = match &self.ephemeral {
            Some(key) => builder.fixed_ephemeral_key_for_testing_only(key),
            None => builder,
        };
        let state = if initiator { builder.build_initiator() } else { builder.build_responder() }?;
        Ok(Handshake { state, rekey: self.rekey })
    }
}

/// A handshake under way.
pub(crate) struct Handshake {
    state: HandshakeState,
    rekey: RekeyRule,
}

impl Handshake {
    /// Appends the next message of this end, as a frame.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) -> Result<(), snow::Error> {
        let mut message = [0; MESSAGE_BYTES[1]];
        let len = self.state.write_message(&[], &mut message)?;
        out.extend_from_slice(&(len as u16).to_be_bytes());
        out.extend_from_slice(&message[..len]);
        Ok(())
    }

    /// Takes the other end's next message (without its length).
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<(), snow::Error> {
        let mut payload = [0; MESSAGE_BYTES[1]];
        self.state.read_message(message, &mut payload).map(drop)
    }

    /// The other end's public link key, once it is known.
    pub(crate) fn peer(&self) -> Option<[u8; 32]> {
        self.state.get_remote_static().and_then(|key| key.try_into().ok())
    }

    /// The session, after the third message.
    pub(crate) fn finish(mut self) -> Result<Session, snow::Error> {
        if !self.state.is_handshake_finished() {
            return Err(snow::Error::State(snow::error::StateProblem::HandshakeNotFinished));
        }
        let mut handshake_hash = [0; 32];
        handshake_hash.copy_from_slice(self.state.get_handshake_hash());
        let peer = self.peer().ok_or(snow::Error::Input)?;
        // Noise's Split(): the first key is for what the initiator sends.
        let keys = Zeroizing::new(self.state.dangerously_get_raw_split());
        let (outgoing, incoming) = if self.state.is_initiator() { (&keys.0, &keys.1) } else { (&keys.1, &keys.0) };
        Ok(Session {
            peer,
            handshake_hash,
            sealer: Sealer::new(outgoing, self.rekey, Instant::now()),
            opener: Opener::new(incoming, self.rekey),
        })
    }

    /// The library's own state, so that tests can hold this crate's records against it.
    #[cfg(test)]
    pub(crate) fn finish_with_snow(self) -> Result<snow::TransportState, snow::Error> {
        self.state.into_transport_mode()
    }
}
