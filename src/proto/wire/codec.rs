//! Reading and writing fixed layouts.

use bytes::Bytes;

use super::link::Fault;

/// Reads fields off the front of a slice. Every shortage is a [`Fault::Malformed`].
pub(super) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<Bytes, Fault> {
        if self.bytes.len() < len {
            return Err(Fault::Malformed);
        }
        Ok(self.bytes.split_to(len))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let taken = self.take(N)?;
        taken.as_ref().try_into().map_err(|_| Fault::Malformed)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_be_bytes)
    }

    /// A blob preceded by its length in one byte.
    pub(super) fn short_blob(&mut self) -> Result<Bytes, Fault> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// A blob preceded by its length in two bytes.
    pub(super) fn blob(&mut self) -> Result<Bytes, Fault> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// All that is left, as arrays of 32 bytes: at most `max` of them.
    pub(super) fn rest_of_ids(mut self, max: usize) -> Result<Vec<[u8; 32]>, Fault> {
        if !self.remaining().is_multiple_of(32) || self.remaining() / 32 > max {
            return Err(Fault::Malformed);
        }
        let mut ids = Vec::with_capacity(self.remaining() / 32);
        while self.remaining() > 0 {
            ids.push(self.array()?);
        }
        Ok(ids)
    }

    /// All that is left, as values of `N` bytes each. How many there may be, the kind's longest body has said.
    pub(super) fn rest_of<const N: usize, T>(self, value: impl Fn([u8; N]) -> T) -> Result<Vec<T>, Fault> {
        let (values, rest) = self.bytes.as_chunks::<N>();
        if rest.is_empty() { Ok(values.iter().copied().map(value).collect()) } else { Err(Fault::Malformed) }
    }

    /// All that is left.
    pub(super) fn rest(self) -> Bytes {
        self.bytes
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), Fault> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Fault::Malformed) }
    }
}

/// Appends a blob preceded by its length in one byte. Longer ones than that can tell are the caller's mistake.
pub(super) fn put_short_blob(out: &mut Vec<u8>, blob: &[u8]) {
    out.push(u8::try_from(blob.len()).expect("callers keep short blobs within 255 bytes"));
    out.extend_from_slice(blob);
}

/// Appends a blob preceded by its length in two bytes.
pub(super) fn put_blob(out: &mut Vec<u8>, blob: &[u8]) {
    let len = u16::try_from(blob.len()).expect("callers keep blobs within 65,535 bytes");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(blob);
}
