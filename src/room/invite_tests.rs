#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::testing::*;
use super::*;

fn invite() -> Invite {
    Invite {
        name: "study".to_owned(),
        kind: RoomKind::Archive,
        born_day: 20_000,
        access: Access::Secret(secret(1)),
        weak: false,
        network: None,
        peers: Vec::new(),
        expires: None,
    }
}

fn peers(count: usize) -> Vec<PeerAddr> {
    (0..count).map(|at| format!("tcp:127.0.0.1:{}", 4_001 + at).parse().unwrap()).collect()
}

fn read(invite: &Invite) -> Invite {
    Invite::decode(&invite.encode().unwrap(), NOW_MS).unwrap()
}

/// A text whose body is written by hand and whose checksum is right.
fn by_hand(write: impl Fn(&mut Writer)) -> InviteError {
    let mut out = Writer::default();
    write(&mut out);
    let mut body = out.finish();
    let sum = checksum(&body);
    body.extend_from_slice(&sum);
    format!("{INVITE_PREFIX}{}", BASE64URL_NOPAD.encode(&body)).parse::<Invite>().unwrap_err()
}

#[test]
fn comes_back_with_history() {
    let read = read(&invite());
    assert_eq!((&*read.name, read.kind, read.born_day, read.weak), ("study", RoomKind::Archive, 20_000, false));
    assert!(matches!(&read.access, Access::Secret(it) if it.as_bytes() == secret(1).as_bytes()));
    assert_eq!((read.network, read.peers, read.expires), (None, Vec::new(), None));
}

#[test]
fn comes_back_with_all_that_it_can_carry() {
    let from = room(1).from_now_on(NOW_MS).unwrap();
    let full = Invite {
        kind: RoomKind::Ephemeral,
        born_day: from.born_day,
        access: Access::From(from.clone()),
        network: Some("friends' net".to_owned()),
        peers: peers(INVITE_MAX_PEERS),
        expires: Some(u32::MAX),
        ..invite()
    };
    let read = read(&full);
    assert!(matches!(&read.access, Access::From(it) if *it == from));
    assert_eq!((read.kind, read.network, read.peers), (RoomKind::Ephemeral, full.network, full.peers));
    let weak = Invite { weak: true, ..invite() };
    assert!(super::tests::read(&weak).weak);
}

#[test]
fn white_space_around_it_does_not_matter() {
    let text = format!("  {}\r\n", *invite().encode().unwrap());
    assert!(text.parse::<Invite>().is_ok());
}

#[test]
fn limits_from_both_sides() {
    let name = |bytes: usize| Invite { name: "n".repeat(bytes), ..invite() }.encode().is_ok();
    assert!(!name(0) && name(1) && name(INVITE_NAME_MAX_BYTES) && !name(INVITE_NAME_MAX_BYTES + 1));
    let network = |bytes: usize| Invite { network: Some("n".repeat(bytes)), ..invite() }.encode().is_ok();
    assert!(!network(0) && network(1) && network(INVITE_NAME_MAX_BYTES) && !network(INVITE_NAME_MAX_BYTES + 1));
    assert!(Invite { name: "es\x1bcape".to_owned(), ..invite() }.encode().is_err());
    let with = |count: usize| Invite { peers: peers(count), ..invite() }.encode().is_ok();
    assert!(with(INVITE_MAX_PEERS) && !with(INVITE_MAX_PEERS + 1));

    let longest: PeerAddr = format!("tcp:{}", "h".repeat(251)).parse().unwrap();
    let text = Invite { peers: vec![longest; INVITE_MAX_PEERS], ..invite() }.encode().unwrap();
    assert!(text.len() <= INVITE_MAX_BYTES, "{} bytes", text.len());
    let long = |bytes: usize| format!("{INVITE_PREFIX}{}", "A".repeat(bytes - INVITE_PREFIX.len()));
    assert_eq!(long(INVITE_MAX_BYTES).parse::<Invite>().unwrap_err(), InviteError::Checksum);
    let bytes = INVITE_MAX_BYTES + 1;
    assert_eq!(long(bytes).parse::<Invite>().unwrap_err(), InviteError::TooLong { bytes });
}

#[test]
fn expires_on_the_hour() {
    let hour = u32::try_from(NOW_MS / HOUR_MS).unwrap() + 1;
    let text = Invite { expires: Some(hour), ..invite() }.encode().unwrap();
    let end = u64::from(hour) * HOUR_MS;
    assert!(Invite::decode(&text, end - 1).is_ok());
    assert_eq!(Invite::decode(&text, end).unwrap_err(), InviteError::Expired);
}

#[test]
fn slips_of_copying_are_told() {
    let text = invite().encode().unwrap();
    let error = |text: &str| text.parse::<Invite>().unwrap_err();
    assert_eq!(error("hello"), InviteError::NotAnInvite);
    assert_eq!(error(""), InviteError::NotAnInvite);
    assert_eq!(error(&text.replace("rumor1", "rumor2")), InviteError::Version);
    assert_eq!(error(&format!("{}!", *text)), InviteError::Encoding { at: text.len() + 1 });
    assert_eq!(error(INVITE_PREFIX), InviteError::Checksum);
    for cut in INVITE_PREFIX.len()..text.len() {
        assert_eq!(error(&text[..cut]), InviteError::Checksum, "cut at {cut}");
    }
}

#[test]
fn contents_are_strict() {
    let head = |out: &mut Writer, fields: usize| {
        out.map(fields).uint(0).text("n").uint(1).uint(0).uint(2).uint(0);
    };
    let contents = |fault: Fault| InviteError::from(fault);
    assert_eq!(by_hand(|out| _ = out.uint(1)), contents(Fault::WrongType));
    assert_eq!(
        by_hand(|out| {
            head(out, 5);
            out.uint(3).bytes(&[1; 32]).uint(9).uint(0);
        }),
        contents(Fault::UnknownField)
    );
    assert_eq!(
        by_hand(|out| {
            head(out, 5);
            out.uint(3).bytes(&[1; 32]).uint(3).bytes(&[1; 32]);
        }),
        contents(Fault::DuplicateField)
    );
    assert!(by_hand(|out| head(out, 3)).to_string().contains("either the room's secret"));
    let both = by_hand(|out| {
        head(out, 5);
        out.uint(3).bytes(&[1; 32]).uint(4).array(3).uint(0).bytes(&[1; 32]).bytes(&[1; 32]);
    });
    assert!(both.to_string().contains("either the room's secret"));
    let malformed = by_hand(|out| {
        head(out, 5);
        out.uint(3).bytes(&[1; 32]).uint(7).array(1).text("nowhere");
    });
    assert!(malformed.to_string().contains("address of a peer"));
    let crowded = by_hand(|out| {
        head(out, 5);
        out.uint(3).bytes(&[1; 32]).uint(7).array(9);
        for _ in 0..9 {
            out.text("tcp:a");
        }
    });
    assert!(crowded.to_string().contains("at most 8"));
}

#[test]
fn is_not_printed() {
    let invite = invite();
    let text = invite.encode().unwrap();
    assert_eq!(format!("{invite:?}"), "Invite(\"study\", …)");
    let error = text[..60].parse::<Invite>().unwrap_err();
    assert!(!format!("{error} {error:?}").contains(&text[10..20]));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(rumor1)?\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = text.parse::<Invite>();
        let _ = Invite::read(&bytes);
        let sum = checksum(&bytes);
        let text = format!("{INVITE_PREFIX}{}", BASE64URL_NOPAD.encode(&[&bytes[..], &sum].concat()));
        let _ = text.parse::<Invite>();
    }
}
