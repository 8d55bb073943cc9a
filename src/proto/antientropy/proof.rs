//! Proofs of knowing a room.

use super::super::wire::{Role, TREE_SALT_BYTES};
use super::session::Proofs;

const CONTEXT: &[u8] = b"rumormill archive proof v2\0";
const IDS_CONTEXT: &[u8] = b"rumormill archive ids v2\0";

/// One end's proof: of the room's key, and bound to the link (its handshake hash), to who proves (link key and role), so
/// that it can't be reflected, and to the session, so that two sessions about one room don't look alike.
pub(super) fn proof(
    key: &[u8; 32],
    handshake_hash: &[u8; 32],
    prover: &[u8; 32],
    role: Role,
    salt: &[u8; TREE_SALT_BYTES],
) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(CONTEXT);
    hasher.update(handshake_hash);
    hasher.update(prover);
    hasher.update(&[match role {
        Role::Initiator => 0,
        Role::Responder => 1,
    }]);
    hasher.update(salt);
    hasher.finalize()
}

/// What ids are hashed with in a session about a room. The salt alone won't do: OPEN goes to whoever is linked, and who
/// knows the salt could hash the ids of all envelopes that passed and see which of them stand in this node's archive.
fn ids_key(key: &[u8; 32], handshake_hash: &[u8; 32], salt: &[u8; TREE_SALT_BYTES]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(IDS_CONTEXT);
    hasher.update(handshake_hash);
    hasher.update(salt);
    *hasher.finalize().as_bytes()
}

/// Both ends' proofs, and the key of the ids.
pub(super) fn proofs(
    key: &[u8; 32],
    handshake_hash: &[u8; 32],
    initiator: &[u8; 32],
    responder: &[u8; 32],
    salt: &[u8; TREE_SALT_BYTES],
) -> Proofs {
    Proofs {
        initiator: *proof(key, handshake_hash, initiator, Role::Initiator, salt).as_bytes(),
        responder: *proof(key, handshake_hash, responder, Role::Responder, salt).as_bytes(),
        ids: ids_key(key, handshake_hash, salt),
    }
}
