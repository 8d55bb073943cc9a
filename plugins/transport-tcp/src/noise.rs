//! The Noise handshake and the records after it, without any I/O.
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

use std::time::Duration;

use rumormill_api::LinkSecret;
use rumormill_api::transport::{BATCH_MAX_BYTES, FRAME_MAX_BYTES};
use snow::params::{DHChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver, FallbackResolver, RingResolver};
use snow::{Builder, HandshakeState, TransportState};
use tokio::time::Instant;

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
/// How many records are sealed under one key.
pub(crate) const REKEY_RECORDS: u32 = 1 << 16;
/// How old a key may be when it seals, in milliseconds.
pub(crate) const REKEY_AGE_MS: u64 = 10 * 60 * 1000;

/// When to replace a key. A parameter for the tests' sake: both ends must have the same number of records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RekeyRule {
    pub(crate) records: u32,
    pub(crate) age: Duration,
}

impl Default for RekeyRule {
    fn default() -> Self {
        Self { records: REKEY_RECORDS, age: Duration::from_millis(REKEY_AGE_MS) }
    }
}

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
    pub(crate) fn finish(self) -> Result<Session, snow::Error> {
        let mut handshake_hash = [0; 32];
        handshake_hash.copy_from_slice(self.state.get_handshake_hash());
        let peer = self.peer().ok_or(snow::Error::Input)?;
        let now = Instant::now();
        Ok(Session {
            noise: self.state.into_transport_mode()?,
            peer,
            handshake_hash,
            rule: self.rekey,
            sent: 0,
            sent_since: now,
            received: 0,
            received_empty: false,
        })
    }
}

/// Why a record wasn't accepted; a fault of the other end.
pub(crate) type Fault = &'static str;

/// A record shorter than its own tag.
pub(crate) const FAULT_SHORT: Fault = "a record shorter than its tag";
/// A forged, altered, replayed, reordered or missing record.
pub(crate) const FAULT_FORGED: Fault = "a record that doesn't authenticate";
/// Two rekey records in a row.
pub(crate) const FAULT_REKEY: Fault = "two rekey records in a row";

/// An established link's keys, both directions.
pub(crate) struct Session {
    noise: TransportState,
    pub(crate) peer: [u8; 32],
    pub(crate) handshake_hash: [u8; 32],
    rule: RekeyRule,
    sent: u32,
    sent_since: Instant,
    received: u32,
    received_empty: bool,
}

impl Session {
    /// Room that sealing one record may need in the output, beside the record's own plaintext, in bytes: its length and
    /// tag, and those of a rekey record before it.
    pub(crate) const OVERHEAD_BYTES: usize = 2 * (LENGTH_BYTES + TAG_BYTES);

    /// Seals `plain`, 1 to [`BATCH_MAX_BYTES`] bytes, as a frame at the start of `out`, and says how long it became.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut [u8], now: Instant) -> Result<usize, snow::Error> {
        debug_assert!(!plain.is_empty() && plain.len() <= BATCH_MAX_BYTES);
        let mut used = 0;
        if now.saturating_duration_since(self.sent_since) >= self.rule.age {
            used = self.seal_rekey_record(out, now)?;
        }
        used += self.seal_record(plain, &mut out[used..])?;
        if self.sent >= self.rule.records {
            self.rekey_outgoing(now);
        }
        Ok(used)
    }

    /// Seals a rekey record, and rekeys.
    pub(crate) fn seal_rekey_record(&mut self, out: &mut [u8], now: Instant) -> Result<usize, snow::Error> {
        let used = self.seal_record(&[], out)?;
        self.rekey_outgoing(now);
        Ok(used)
    }

    fn seal_record(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        let (length, record) = out.split_at_mut(LENGTH_BYTES);
        let len = self.noise.write_message(plain, record)?;
        length.copy_from_slice(&(len as u16).to_be_bytes());
        self.sent += 1;
        Ok(LENGTH_BYTES + len)
    }

    fn rekey_outgoing(&mut self, now: Instant) {
        self.noise.rekey_outgoing();
        self.sent = 0;
        self.sent_since = now;
    }

    /// Opens a record (without its length). `None` is a rekey record.
    pub(crate) fn open(&mut self, record: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        debug_assert!(record.len() <= FRAME_MAX_BYTES);
        if record.len() < TAG_BYTES {
            return Err(FAULT_SHORT);
        }
        // As long as the record, tag included: then the cipher opens it in place instead of in a buffer of its own.
        let mut plain = vec![0; record.len()];
        let len = self.noise.read_message(record, &mut plain).map_err(|_| FAULT_FORGED)?;
        let empty = len == 0;
        if empty && self.received_empty {
            return Err(FAULT_REKEY);
        }
        self.received_empty = empty;
        self.received += 1;
        if empty || self.received >= self.rule.records {
            self.noise.rekey_incoming();
            self.received = 0;
        }
        plain.truncate(len);
        Ok((!empty).then_some(plain))
    }
}
