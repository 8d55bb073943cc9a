//! Why an envelope that is sealed with a room's key isn't taken.

use std::fmt;

use super::cbor::Fault;

/// Why an envelope of one of our rooms isn't taken. Only a member of the room can have made it (save for
/// [`Self::BrokenTag`]), so none of them is a reason to punish the link that it came over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reject {
    /// Not an envelope: a foreign size or version, flags or a `work` that aren't zero.
    BadEnvelope,
    /// The commitment is ours, the tag isn't right: altered on its way.
    BrokenTag,
    /// The length or the zeros after the payload are wrong, or a smaller envelope would have done.
    BadPadding,
    /// Not the one encoding of its value.
    NonCanonical,
    /// Bytes follow the payload.
    TrailingBytes,
    /// Containers too deep within each other.
    TooDeep,
    /// A field twice.
    DuplicateField,
    /// A field that this version doesn't know.
    UnknownField,
    /// A field is missing.
    MissingField,
    /// More causal parents than allowed.
    TooManyParents,
    /// Any other fault of the payload: cut short, of another type, out of a field's limits.
    BadPayload,
    /// Said into another room and re-sealed for this one.
    ForeignRoom,
    /// The signature isn't the sender's of these words in this envelope.
    BadSignature,
    /// The signed time or Lamport clock doesn't belong to the epoch whose key sealed it.
    ExpiredEpoch,
    /// The chunks aren't what the manifest says.
    BadChunks,
}

impl Reject {
    /// Every reason there is.
    pub const ALL: [Self; 15] = [
        Self::BadEnvelope,
        Self::BrokenTag,
        Self::BadPadding,
        Self::NonCanonical,
        Self::TrailingBytes,
        Self::TooDeep,
        Self::DuplicateField,
        Self::UnknownField,
        Self::MissingField,
        Self::TooManyParents,
        Self::BadPayload,
        Self::ForeignRoom,
        Self::BadSignature,
        Self::ExpiredEpoch,
        Self::BadChunks,
    ];

    /// The name that it is counted under.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadEnvelope => "bad_envelope",
            Self::BrokenTag => "broken_tag",
            Self::BadPadding => "bad_padding",
            Self::NonCanonical => "non_canonical",
            Self::TrailingBytes => "trailing_bytes",
            Self::TooDeep => "too_deep",
            Self::DuplicateField => "duplicate_field",
            Self::UnknownField => "unknown_field",
            Self::MissingField => "missing_field",
            Self::TooManyParents => "too_many_parents",
            Self::BadPayload => "bad_payload",
            Self::ForeignRoom => "foreign_room",
            Self::BadSignature => "bad_signature",
            Self::ExpiredEpoch => "expired_epoch",
            Self::BadChunks => "bad_chunks",
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for Reject {}

impl From<Fault> for Reject {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Trailing => Self::TrailingBytes,
            Fault::NonCanonical => Self::NonCanonical,
            Fault::TooDeep => Self::TooDeep,
            Fault::DuplicateField => Self::DuplicateField,
            Fault::UnknownField => Self::UnknownField,
            Fault::MissingField => Self::MissingField,
            Fault::Malformed | Fault::ForeignType | Fault::WrongType => Self::BadPayload,
        }
    }
}
