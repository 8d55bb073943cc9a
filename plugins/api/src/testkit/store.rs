//! The conformance suite of [`Store`].

use crate::error::Result;
use crate::store::Store;

/// What every store does. `open` opens the store of a name; what was written under a name is there when it is opened
/// again, after the one before was dropped.
///
/// # Panics
///
/// When the store doesn't do it.
pub fn store_suite(open: impl Fn(&str) -> Result<Box<dyn Store>>) {
    let open = |name: &str| open(name).expect("the store opens");
    let set = |key: &str, value: &[u8]| (key.to_owned(), Some(value.to_vec()));
    let mut store = open("karma");
    assert_eq!(store.load().expect("an empty store loads"), []);
    store.write(&[]).expect("nothing is written");
    store.write(&[set("b", b"2"), set("a", b"1"), set("", b""), set("a", b"one")]).expect("a batch is written");
    let large = vec![7; 1 << 20];
    store.write(&[set("ä/large", &large), ("b".to_owned(), None), ("none".to_owned(), None)]).expect("and another");
    let expected = vec![(String::new(), Vec::new()), ("a".to_owned(), b"one".to_vec()), ("ä/large".to_owned(), large)];
    assert_eq!(store.load().expect("it loads"), expected);
    // Names don't share anything.
    assert_eq!(open("remind").load().expect("another loads"), []);
    drop(store);
    assert_eq!(open("karma").load().expect("it loads again"), expected);
}
