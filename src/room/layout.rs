//! Where an envelope's parts lie.

use rumormill_api::Header;
use rumormill_api::cipher::{COMMITMENT_BYTES, NONCE_BYTES, TAG_BYTES};

/// The sizes that envelopes come in, in bytes, ascending.
pub(crate) const SIZES: [usize; 7] = [512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768];
/// The largest of them.
pub(crate) const ENVELOPE_MAX_BYTES: usize = SIZES[SIZES.len() - 1];
/// The format's version.
pub(crate) const VERSION: u8 = 1;
/// Bytes before the ciphertext.
pub(crate) const PREFIX_BYTES: usize = WORK_AT + WORK_BYTES;
/// Bytes of an envelope that aren't ciphertext.
pub(crate) const OVERHEAD_BYTES: usize = PREFIX_BYTES + TAG_BYTES;

const NONCE_AT: usize = 6;
const COMMITMENT_AT: usize = NONCE_AT + NONCE_BYTES;
const WORK_AT: usize = COMMITMENT_AT + COMMITMENT_BYTES;
const WORK_BYTES: usize = 8;

/// The parts of an envelope.
pub(crate) struct Parts<'a> {
    pub(crate) header: Header,
    pub(crate) commitment: [u8; COMMITMENT_BYTES],
    pub(crate) ciphertext: &'a [u8],
    pub(crate) tag: [u8; TAG_BYTES],
}

/// Takes an envelope apart; `None` if it isn't one, its `work` (which nothing authenticates) included: one that isn't
/// zero would give a message as many ids as there are values.
pub(crate) fn parse(envelope: &[u8]) -> Option<Parts<'_>> {
    if !SIZES.contains(&envelope.len()) || envelope[0] != VERSION || envelope[1] != 0 {
        return None;
    }
    if envelope[WORK_AT..PREFIX_BYTES] != [0; WORK_BYTES] {
        return None;
    }
    let (ciphertext, tag) = envelope[PREFIX_BYTES..].split_last_chunk()?;
    Some(Parts {
        header: Header {
            version: envelope[0],
            flags: envelope[1],
            expiry_hour: u32::from_be_bytes(*envelope[2..].first_chunk()?),
            nonce: *envelope[NONCE_AT..].first_chunk()?,
        },
        commitment: *envelope[COMMITMENT_AT..].first_chunk()?,
        ciphertext,
        tag: *tag,
    })
}

/// Puts an envelope together.
pub(crate) fn build(
    header: &Header,
    commitment: &[u8; COMMITMENT_BYTES],
    ciphertext: &[u8],
    tag: &[u8; TAG_BYTES],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(OVERHEAD_BYTES + ciphertext.len());
    out.extend_from_slice(&header.associated_data(commitment));
    out.extend_from_slice(&[0; WORK_BYTES]);
    out.extend_from_slice(ciphertext);
    out.extend_from_slice(tag);
    out
}
