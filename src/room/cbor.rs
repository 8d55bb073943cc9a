//! The one deterministic CBOR that payloads, states and invites are written in.
//!
//! A subset of RFC 8949's core deterministic encoding (section 4.2.1): unsigned integers, byte strings, text strings,
//! arrays, booleans, and maps with unsigned keys in ascending order; lengths definite, heads minimal; no tags, floats or
//! null. Each value has one encoding only, and the reader takes no other, which a general decoder doesn't promise: the
//! id and the signature of a message are over bytes.
//!
//! The writer is this file's own too, and no serializer of `ciborium`: the signature covers a part of a map's bytes, which
//! go into the whole as they are, the keys are numbers, and both are at odds with serde. The tests hold it to `ciborium`:
//! the same bytes for any value of the subset, and what is written here means the same there.
//!
//! [`check`] walks over untrusted bytes first, without allocation or recursion; [`Reader`] then reads by schema.

/// How deep containers may lie within each other.
pub(crate) const DEPTH_MAX: usize = 16;

/// What is wrong with an encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Ends too early, or a string isn't UTF-8.
    Malformed,
    /// Goes on after its end.
    Trailing,
    /// Not the one encoding of its value: a head that isn't minimal, an indefinite length, keys out of order.
    NonCanonical,
    /// A kind of value that doesn't occur here: a tag, a float, a negative number, null, a key that isn't a number.
    ForeignType,
    /// Deeper than [`DEPTH_MAX`].
    TooDeep,
    /// A field twice.
    DuplicateField,
    /// A field that the schema doesn't know.
    UnknownField,
    /// A field that the schema wants isn't there.
    MissingField,
    /// Another type, or a number that is too large.
    WrongType,
}

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;
const FALSE: u64 = 20;
const TRUE: u64 = 21;

/// Writes the deterministic encoding.
#[derive(Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        match value {
            0..=23 => self.out.push(major | value as u8),
            24..=0xff => self.out.extend_from_slice(&[major | 24, value as u8]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend_from_slice(&(value as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend_from_slice(&(value as u32).to_be_bytes());
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    /// A map's head. Its fields follow, ascending.
    pub(crate) fn map(&mut self, fields: usize) -> &mut Self {
        self.head(MAP, fields as u64);
        self
    }

    pub(crate) fn array(&mut self, items: usize) -> &mut Self {
        self.head(ARRAY, items as u64);
        self
    }

    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UINT, value);
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.head(SIMPLE, if value { TRUE } else { FALSE });
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.out.extend_from_slice(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
        self
    }

    /// Bytes that are an encoding already.
    pub(crate) fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.out.extend_from_slice(encoded);
        self
    }
}

/// Reads a head: its major type and its value.
fn head(input: &[u8], at: &mut usize) -> Result<(u8, u64), Fault> {
    let first = *input.get(*at).ok_or(Fault::Malformed)?;
    *at += 1;
    let (major, info) = (first >> 5, first & 0x1f);
    let extra = match info {
        0..=23 => return Ok((major, u64::from(info))),
        24..=27 => 1 << (info - 24),
        28..=30 => return Err(Fault::Malformed),
        _ => return Err(Fault::NonCanonical),
    };
    let bytes = input.get(*at..*at + extra).ok_or(Fault::Malformed)?;
    *at += extra;
    let value = bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
    let least = [24, 0x100, 0x1_0000, 0x1_0000_0000][usize::from(info - 24)];
    if major != SIMPLE && value < least {
        return Err(Fault::NonCanonical);
    }
    // Major type 7 with extra bytes is a float or an assigned simple value.
    if major == SIMPLE { Err(Fault::ForeignType) } else { Ok((major, value)) }
}

fn string<'a>(input: &'a [u8], at: &mut usize, length: u64) -> Result<&'a [u8], Fault> {
    let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length)).ok_or(Fault::Malformed)?;
    let bytes = input.get(*at..end).ok_or(Fault::Malformed)?;
    *at = end;
    Ok(bytes)
}

#[derive(Clone, Copy, Default)]
struct Open {
    left: u64,
    map: bool,
    at_key: bool,
    last_key: Option<u64>,
}

/// Walks over one value and checks that it is in the deterministic subset and that nothing follows.
pub(crate) fn check(input: &[u8]) -> Result<(), Fault> {
    let mut stack = [Open::default(); DEPTH_MAX];
    let mut depth = 0;
    let mut at = 0;
    loop {
        let (major, value) = head(input, &mut at)?;
        if depth > 0 && stack[depth - 1].at_key {
            check_key(&mut stack[depth - 1], major, value)?;
            continue;
        }
        match major {
            UINT => {}
            BYTES => drop(string(input, &mut at, value)?),
            TEXT => drop(std::str::from_utf8(string(input, &mut at, value)?).map_err(|_| Fault::Malformed)?),
            ARRAY | MAP => {
                let open = stack.get_mut(depth).ok_or(Fault::TooDeep)?;
                *open = Open { left: value, map: major == MAP, at_key: major == MAP, last_key: None };
                depth += 1;
                if value > 0 {
                    continue;
                }
                depth -= 1;
            }
            SIMPLE if value == FALSE || value == TRUE => {}
            _ => return Err(Fault::ForeignType),
        }
        // A value is complete, and with it perhaps the containers around it.
        loop {
            let Some(open) = depth.checked_sub(1).map(|top| &mut stack[top]) else {
                return if at == input.len() { Ok(()) } else { Err(Fault::Trailing) };
            };
            open.left -= 1;
            open.at_key = open.map;
            if open.left > 0 {
                break;
            }
            depth -= 1;
        }
    }
}

fn check_key(map: &mut Open, major: u8, key: u64) -> Result<(), Fault> {
    if major != UINT {
        return Err(Fault::ForeignType);
    }
    match map.last_key {
        Some(last) if last == key => return Err(Fault::DuplicateField),
        Some(last) if last > key => return Err(Fault::NonCanonical),
        _ => {}
    }
    map.last_key = Some(key);
    map.at_key = false;
    Ok(())
}

/// Reads values that [`check`] has passed.
pub(crate) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Checks all of `input` and reads from its beginning.
    pub(crate) fn new(input: &'a [u8]) -> Result<Self, Fault> {
        check(input)?;
        Ok(Self { input, at: 0 })
    }

    fn expect(&mut self, major: u8) -> Result<u64, Fault> {
        let (found, value) = head(self.input, &mut self.at)?;
        if found == major { Ok(value) } else { Err(Fault::WrongType) }
    }

    /// How far it has read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Fault> {
        self.expect(UINT)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        self.uint()?.try_into().map_err(|_| Fault::WrongType)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Fault> {
        Ok(self.expect(SIMPLE)? == TRUE)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.expect(BYTES)?;
        string(self.input, &mut self.at, length)
    }

    pub(crate) fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.bytes()?.try_into().map_err(|_| Fault::WrongType)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Fault> {
        let length = self.expect(TEXT)?;
        std::str::from_utf8(string(self.input, &mut self.at, length)?).map_err(|_| Fault::Malformed)
    }

    /// An array's head: how many items follow. [`check`] has seen them all, so it is at most the input's length.
    pub(crate) fn array(&mut self) -> Result<usize, Fault> {
        self.expect(ARRAY)?.try_into().map_err(|_| Fault::WrongType)
    }

    /// A map's head.
    pub(crate) fn map(&mut self) -> Result<Fields, Fault> {
        Ok(Fields { left: self.expect(MAP)? })
    }
}

/// The fields of a map, asked for in ascending order.
pub(crate) struct Fields {
    left: u64,
}

impl Fields {
    /// Whether the field is there; its value follows then.
    pub(crate) fn has(&mut self, reader: &mut Reader<'_>, key: u64) -> Result<bool, Fault> {
        if self.left == 0 {
            return Ok(false);
        }
        let start = reader.at;
        let found = reader.uint()?;
        if found == key {
            self.left -= 1;
            return Ok(true);
        }
        reader.at = start;
        // Keys ascend, and all smaller ones that the schema knows were asked for.
        if found < key { Err(Fault::UnknownField) } else { Ok(false) }
    }

    /// The field must be there; its value follows.
    pub(crate) fn need(&mut self, reader: &mut Reader<'_>, key: u64) -> Result<(), Fault> {
        if self.has(reader, key)? { Ok(()) } else { Err(Fault::MissingField) }
    }

    /// No field may be left.
    pub(crate) fn end(self) -> Result<(), Fault> {
        if self.left == 0 { Ok(()) } else { Err(Fault::UnknownField) }
    }
}

#[cfg(test)]
#[path = "cbor_tests.rs"]
mod tests;
