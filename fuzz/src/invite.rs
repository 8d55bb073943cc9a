//! A room on one line: somebody pastes what somebody sent.

use data_encoding::BASE64URL_NOPAD;
use rumormill::room::{INVITE_MAX_BYTES, INVITE_PREFIX, Invite};

/// An invite's text as it is, and bytes as the contents of one, with a right checksum, so that every input gets to the
/// decoder of the contents.
pub fn invite(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
    }
    let mut contents = data.to_vec();
    contents.extend_from_slice(&blake3::hash(data).as_bytes()[..4]);
    let text = format!("{INVITE_PREFIX}{}", BASE64URL_NOPAD.encode(&contents));
    check(&text);
}

fn check(text: &str) {
    match text.parse::<Invite>() {
        Ok(invite) => {
            assert!(text.trim().len() <= INVITE_MAX_BYTES);
            let again = invite.encode().expect("what was read can be written");
            assert_eq!(*again, text.trim(), "one text of an invite");
            assert!(!format!("{invite:?}").contains(&again[INVITE_PREFIX.len()..]), "an invite isn't shown");
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.chars().any(char::is_control), "an error is printable: {shown:?}");
        }
    }
}

/// Of the test vectors: the texts, and the contents alone.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = ["with_history", "from_epoch_2"].map(|name| crate::seeds::text("invite.json", name));
    let contents = texts.iter().map(|text| {
        let mut contents = BASE64URL_NOPAD.decode(&text.as_bytes()[INVITE_PREFIX.len()..]).expect("a valid vector");
        contents.truncate(contents.len() - 4);
        contents
    });
    let contents: Vec<_> = contents.collect();
    texts.into_iter().map(String::into_bytes).chain(contents).collect()
}
