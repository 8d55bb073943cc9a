//! The node's own small values.

use bytes::Bytes;

use super::{Factory, Store, envelope, id, state, window};
use crate::error::ErrorKind;
use crate::history::{Entry, STATE_KEY_MAX_BYTES};

/// A value is there until it is replaced or removed; removing what isn't there is fine.
pub fn state_is_put_replaced_and_removed(make: &Factory) {
    let mut store = Store::open(make);
    assert_eq!(store.put(&[state("one", Some(b"1")), state("two", Some(b"2"))]), (0, 0), "values aren't counted");
    assert_eq!(store.state("one").unwrap().as_deref(), Some(&b"1"[..]));
    store.put(&[state("one", Some(b"another"))]);
    assert_eq!(store.state("one").unwrap().as_deref(), Some(&b"another"[..]));
    store.put(&[state("one", None), state("never there", None)]);
    assert_eq!(store.state("one").unwrap(), None);
    assert_eq!(store.state("two").unwrap().as_deref(), Some(&b"2"[..]));
}

/// An empty value is a value, and so is one of 64 KiB.
pub fn state_keeps_its_bytes(make: &Factory) {
    let mut store = Store::open(make);
    for value in [Bytes::new(), envelope(1, 1), envelope(2, 64 << 10)] {
        store.put(&[Entry::State { key: "key".to_owned(), value: Some(value.clone()) }]);
        assert_eq!(store.state("key").unwrap(), Some(value));
    }
}

/// A value is committed with the envelopes of its batch, or not at all.
pub fn state_is_written_with_its_batch(make: &Factory) {
    let mut store = Store::open(make);
    assert_eq!(store.put(&[window(1, 5, 0), state("key", Some(b"first"))]), (1, 0));
    let wrong = Entry::Window { id: id(2), expiry: 5, source: 0, envelope: envelope(3, 8) };
    let refused = [state("key", Some(b"second")), state("new", Some(b"value")), wrong];
    assert_eq!(store.append(&refused).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(store.state("key").unwrap().as_deref(), Some(&b"first"[..]));
    assert_eq!(store.state("new").unwrap(), None);
}

/// Entries of a batch apply in their order.
pub fn the_last_state_of_a_batch_stays(make: &Factory) {
    let mut store = Store::open(make);
    store.put(&[state("key", Some(b"1")), state("key", None), state("key", Some(b"2")), state("gone", Some(b"3"))]);
    store.put(&[state("gone", Some(b"4")), state("gone", None)]);
    assert_eq!(store.state("key").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.state("gone").unwrap(), None);
}

/// A name of [`STATE_KEY_MAX_BYTES`] is taken, one byte more is refused with its batch. It is bytes that count.
pub fn the_name_of_a_state_has_a_limit(make: &Factory) {
    let mut store = Store::open(make);
    let longest = "k".repeat(STATE_KEY_MAX_BYTES);
    store.put(&[state(&longest, Some(b"value"))]);
    assert_eq!(store.state(&longest).unwrap().as_deref(), Some(&b"value"[..]));
    let in_chars_short_enough = "ü".repeat(STATE_KEY_MAX_BYTES / 2 + 1);
    for long in [format!("{longest}k"), in_chars_short_enough] {
        for value in [Some(&b"value"[..]), None] {
            let error = store.append(&[window(1, 5, 0), state(&long, value)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!store.holds(&id(1)).unwrap().any());
        }
        assert_eq!(store.state(&long).unwrap(), None);
    }
}
