#![allow(clippy::unwrap_used)]

use super::super::secret::{ARGON2_MEMORY_KIB, PASSPHRASE_MIN_CHARS, SecretError};
use super::super::testing::{NOW_MS, secret};
use super::*;

#[test]
fn keys_of_one_secret_are_unrelated() {
    let secret = secret(1);
    let start = ChainKey::start(&secret);
    let all = [
        *secret.as_bytes(),
        RoomId::of(&secret).0,
        proof_key(&secret),
        start.0,
        start.epoch_key().0,
        start.next().0,
        start.next().epoch_key().0,
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn a_chain_gives_the_same_keys_in_any_order() {
    let start = ChainKey::start(&secret(1));
    let mut straight = vec![start.clone()];
    for at in 0..1_000 {
        straight.push(straight[at].next());
    }
    let mut chain = Chain::new(0, start);
    for epoch in [1_000, 0, 255, 256, 257, 512, 513, 999, 1] {
        assert!(chain.key(epoch) == Some(straight[epoch as usize].clone()), "epoch {epoch}");
    }
}

#[test]
fn what_is_forgotten_is_gone_and_the_rest_stays() {
    let start = ChainKey::start(&secret(1));
    let mut whole = Chain::new(0, start.clone());
    let mut chain = Chain::new(0, start);
    chain.key(2_000);
    chain.forget_before(700);
    assert_eq!(chain.first_epoch(), 700);
    assert!(chain.key(699).is_none());
    for epoch in [700, 701, 1_024, 2_000] {
        assert!(chain.key(epoch) == whole.key(epoch), "epoch {epoch}");
    }
    chain.forget_before(10);
    assert_eq!(chain.first_epoch(), 700);
}

#[test]
fn live_envelopes_are_tried_with_yesterday_today_and_tomorrow() {
    let today = day_of(NOW_MS);
    let fresh = u32::try_from(NOW_MS / HOUR_MS).unwrap() + LIFETIME_HOURS;
    assert_eq!(days_of(fresh, NOW_MS), today - 1..=today + 1);
    // Its last hour: sealed a week ago at the earliest.
    assert_eq!(days_of(fresh - LIFETIME_HOURS, NOW_MS), today - 8..=today);
    // Out of an archive, a year later.
    assert_eq!(days_of(fresh, NOW_MS + 365 * DAY_MS), today - 1..=today + 7);
    assert_eq!(days_of(0, NOW_MS), 0..=0);
    assert!(days_of(u32::MAX, NOW_MS).is_empty());
}

#[test]
fn days_begin_at_midnight() {
    assert_eq!(day_of(0), 0);
    assert_eq!(day_of(DAY_MS - 1), 0);
    assert_eq!(day_of(DAY_MS), 1);
    assert_eq!(day_of(u64::MAX), u32::MAX);
}

#[test]
fn a_secret_is_read_with_and_without_padding() {
    let bare = secret(0xfb).to_base64();
    assert_eq!(bare.len(), 43);
    let read: RoomSecret = bare.parse().unwrap();
    assert_eq!(read.as_bytes(), secret(0xfb).as_bytes());
    let padded: RoomSecret = format!("{}=", *bare).parse().unwrap();
    assert_eq!(padded.as_bytes(), secret(0xfb).as_bytes());
}

#[test]
fn a_wrong_secret_is_refused_with_the_reason() {
    let error = |text: &str| text.parse::<RoomSecret>().unwrap_err();
    let good = "A".repeat(43);
    assert!(good.parse::<RoomSecret>().is_ok());
    assert_eq!(error(""), SecretError::Length { characters: 0 });
    assert_eq!(error(&good[1..]), SecretError::Length { characters: 42 });
    assert_eq!(error(&format!("{good}A")), SecretError::Length { characters: 44 });
    assert_eq!(error(&format!("{good}==")), SecretError::Length { characters: 43 });
    assert_eq!(error(&format!("AB+{}", &good[3..])), SecretError::Encoding { at: 3 });
    assert_eq!(error(&format!("{} ", &good[1..])), SecretError::Encoding { at: 43 });
    // Bits after the last byte: a second spelling of the same secret.
    assert_eq!(error(&format!("{}B", &good[1..])), SecretError::Encoding { at: 43 });
    assert!(!error("hunter2hunter2").to_string().contains("hunter2"));
}

#[test]
fn a_passphrase_depends_on_its_room_and_has_a_least_length() {
    let least = "x".repeat(PASSPHRASE_MIN_CHARS);
    let one = RoomSecret::from_passphrase(&least, "study").unwrap();
    let two = RoomSecret::from_passphrase(&least, "work").unwrap();
    assert_ne!(one.as_bytes(), two.as_bytes());
    let short = RoomSecret::from_passphrase(&least[1..], "study").unwrap_err();
    assert_eq!(short, SecretError::TooShort { characters: PASSPHRASE_MIN_CHARS - 1 });
    assert_eq!(ARGON2_MEMORY_KIB, 65_536);
}

#[test]
fn nothing_prints_a_key() {
    let start = ChainKey::start(&secret(1));
    assert_eq!(format!("{:?} {:?} {:?}", secret(1), start, start.epoch_key()), "RoomSecret(…) ChainKey(…) EpochKey(…)");
    assert_eq!(format!("{:?}", RoomId::of(&secret(1))), "RoomId(…)");
}
