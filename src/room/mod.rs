//! Everything above the flood: secrets, epochs, seal and open, signatures, invites.

mod id;

pub use id::PersonId;
