#![allow(clippy::unwrap_used)]

use ciborium::Value;
use proptest::prelude::*;

use super::*;

#[test]
fn heads_are_minimal_at_every_border() {
    for (value, encoded) in [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (0xff, "18ff"),
        (0x100, "190100"),
        (0xffff, "19ffff"),
        (0x1_0000, "1a00010000"),
        (0xffff_ffff, "1affffffff"),
        (0x1_0000_0000, "1b0000000100000000"),
        (u64::MAX, "1bffffffffffffffff"),
    ] {
        let mut out = Writer::default();
        out.uint(value);
        let bytes = out.finish();
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), encoded);
        assert_eq!(Reader::new(&bytes).unwrap().uint(), Ok(value));
    }
}

#[test]
fn each_fault_by_name() {
    for (encoded, fault) in [
        ("", Fault::Malformed),
        ("18", Fault::Malformed),
        ("1c", Fault::Malformed),
        ("41", Fault::Malformed),
        ("61ff", Fault::Malformed),
        ("8101ff", Fault::Trailing),
        ("0000", Fault::Trailing),
        ("5bffffffffffffffff", Fault::Malformed),
        ("9bffffffffffffffff", Fault::Malformed),
        ("bbffffffffffffffff00", Fault::Malformed),
        ("1817", Fault::NonCanonical),
        ("1900ff", Fault::NonCanonical),
        ("1a0000ffff", Fault::NonCanonical),
        ("1b00000000ffffffff", Fault::NonCanonical),
        ("580100", Fault::NonCanonical),
        ("5f4100ff", Fault::NonCanonical),
        ("9f00ff", Fault::NonCanonical),
        ("bf0000ff", Fault::NonCanonical),
        ("a201000000", Fault::NonCanonical),
        ("a200000000", Fault::DuplicateField),
        ("a1616100", Fault::ForeignType),
        ("20", Fault::ForeignType),
        ("c000", Fault::ForeignType),
        ("f6", Fault::ForeignType),
        ("f7", Fault::ForeignType),
        ("f818", Fault::ForeignType),
        ("f93c00", Fault::ForeignType),
        ("fb3ff0000000000000", Fault::ForeignType),
    ] {
        let bytes = data_encoding::HEXLOWER.decode(encoded.as_bytes()).unwrap();
        assert_eq!(check(&bytes), Err(fault), "{encoded}");
    }
}

#[test]
fn as_deep_as_allowed_and_no_deeper() {
    let nested = |depth| [vec![0x81; depth], vec![0]].concat();
    assert_eq!(check(&nested(DEPTH_MAX)), Ok(()));
    assert_eq!(check(&nested(DEPTH_MAX + 1)), Err(Fault::TooDeep));
    assert_eq!(check(&vec![0x81; 1_000_000]), Err(Fault::TooDeep));
    let empty = [vec![0x81; DEPTH_MAX - 1], vec![0x80]].concat();
    assert_eq!(check(&empty), Ok(()));
}

#[test]
fn fields_are_found_missed_and_unknown() {
    let mut out = Writer::default();
    out.map(2).uint(1).uint(10).uint(3).uint(30);
    let bytes = out.finish();
    let mut reader = Reader::new(&bytes).unwrap();
    let mut fields = reader.map().unwrap();
    assert_eq!(fields.need(&mut reader, 0), Err(Fault::MissingField));
    assert_eq!(fields.need(&mut reader, 1), Ok(()));
    assert_eq!(reader.uint(), Ok(10));
    assert_eq!(fields.has(&mut reader, 2), Ok(false));
    assert_eq!(fields.has(&mut reader, 4), Err(Fault::UnknownField));
    assert_eq!(fields.end(), Err(Fault::UnknownField));
}

/// Any value of the subset, with its encoding by the writer.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(any::<u16>(), inner, 0..6)
                .prop_map(|map| Value::Map(map.into_iter().map(|(key, value)| (key.into(), value)).collect())),
        ]
    })
}

fn write(out: &mut Writer, value: &Value) {
    match value {
        Value::Integer(number) => _ = out.uint(u64::try_from(*number).unwrap()),
        Value::Bool(value) => _ = out.bool(*value),
        Value::Text(text) => _ = out.text(text),
        Value::Bytes(bytes) => _ = out.bytes(bytes),
        Value::Array(items) => {
            out.array(items.len());
            items.iter().for_each(|item| write(out, item));
        }
        Value::Map(fields) => {
            out.map(fields.len());
            fields.iter().flat_map(|(key, value)| [key, value]).for_each(|value| write(out, value));
        }
        _ => unreachable!("not in the subset"),
    }
}

proptest! {
    #[test]
    fn agrees_with_a_general_encoder(value in values()) {
        let mut ours = Writer::default();
        write(&mut ours, &value);
        let ours = ours.finish();
        let mut theirs = Vec::new();
        ciborium::into_writer(&value, &mut theirs).unwrap();
        prop_assert_eq!(&ours, &theirs);
        prop_assert_eq!(check(&ours), Ok(()));
    }

    #[test]
    fn takes_one_encoding_only(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        // Whatever passes is what a general decoder reads and a general encoder writes back.
        if check(&bytes).is_ok() {
            let value: Value = ciborium::de::from_reader_with_recursion_limit(&bytes[..], DEPTH_MAX).unwrap();
            let mut again = Vec::new();
            ciborium::into_writer(&value, &mut again).unwrap();
            prop_assert_eq!(bytes, again);
        }
    }
}
