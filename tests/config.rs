//! Configs: the examples, the seed's JSON, and what bad ones are told.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use rumormill::config::{ChatKind, Config, ConfigError, Format, RoomSource};
use rumormill::node::Dissemination;
use rumormill::room::{Access, Invite, RoomKind, RoomSecret};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const OTHER: &str = "__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn example(name: &str) -> Config {
    let file = repository().join("config_examples").join(name);
    Config::load(&file).unwrap_or_else(|error| panic!("{error}"))
}

fn toml(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Format::Toml, Path::new("/etc/rumor/test.toml"), None)
}

fn invite() -> String {
    let invite = Invite {
        name: "lesson".to_owned(),
        kind: RoomKind::Archive,
        born_day: 0,
        access: Access::Secret(RoomSecret::new([7; 32])),
        weak: false,
        network: None,
        peers: Vec::new(),
        expires: None,
    };
    invite.encode().unwrap().to_string()
}

/// The errors of a text, one a line.
fn errors(text: &str) -> String {
    toml(text).map(|config| format!("accepted: {config:?}")).unwrap_err().to_string()
}

fn chat_names(config: &Config) -> Vec<&str> {
    config.chats.iter().map(|chat| chat.name.as_str()).collect()
}

fn peers(config: &Config) -> Vec<String> {
    config.peers.iter().map(ToString::to_string).collect()
}

fn secret(config: &Config, chat: &str) -> RoomSource {
    config.chats.iter().find(|other| other.name == chat).unwrap().source.clone()
}

#[test]
fn every_example_is_read() {
    let mut read = Vec::new();
    for entry in fs::read_dir(repository().join("config_examples")).unwrap() {
        let file = entry.unwrap().path();
        Config::load(&file).unwrap_or_else(|error| panic!("{error}"));
        read.push(file.file_name().unwrap().to_str().unwrap().to_owned());
    }
    read.sort();
    let expected = ["alice.json", "alice.toml", "bob.toml", "bot_host.toml", "charlie.toml", "emma.toml", "relay.toml"];
    assert_eq!(read, expected);
}

#[test]
fn the_four_have_the_seeds_topology() {
    let [alice, bob, charlie, emma] = ["alice.toml", "bob.toml", "charlie.toml", "emma.toml"].map(example);
    for (config, name, port) in
        [(&alice, "Alice", 4001), (&bob, "Bob", 4002), (&charlie, "Charlie", 4003), (&emma, "Emma", 4004)]
    {
        assert_eq!(config.name, name);
        assert_eq!(config.listen, [format!("tcp:127.0.0.1:{port}")]);
        assert!(config.network.lan);
    }
    assert_eq!(chat_names(&alice), ["study", "friends"]);
    assert_eq!(chat_names(&bob), ["study", "work"]);
    assert_eq!(chat_names(&charlie), ["study", "friends"]);
    assert_eq!(chat_names(&emma), ["work"]);
    assert_eq!(peers(&alice), ["tcp:127.0.0.1:4002", "tcp:127.0.0.1:4003"]);
    assert_eq!(peers(&bob), ["tcp:127.0.0.1:4001", "tcp:127.0.0.1:4004"]);
    assert_eq!(peers(&charlie), ["tcp:127.0.0.1:4001"]);
    assert!(peers(&emma).is_empty());
    assert_eq!(secret(&alice, "study"), secret(&bob, "study"));
    assert_eq!(secret(&alice, "study"), secret(&charlie, "study"));
    assert_eq!(secret(&alice, "friends"), secret(&charlie, "friends"));
    assert_eq!(secret(&bob, "work"), secret(&emma, "work"));
    assert_ne!(secret(&bob, "work"), secret(&bob, "study"));
    assert!(example("relay.toml").chats.is_empty());
}

#[test]
fn the_seeds_json_is_accepted_as_it_is() {
    let alice = Config::load(&repository().join("tests/data/seed/alice.json")).unwrap();
    assert_eq!(alice.name, "Alice");
    assert_eq!(alice.listen, ["tcp:0.0.0.0:4001"]);
    assert_eq!(peers(&alice), ["tcp:127.0.0.1:4002", "tcp:127.0.0.1:4003"]);
    assert_eq!(chat_names(&alice), ["study", "friends"]);
    assert_eq!(alice.chats[1].id.as_deref(), Some("2"));
    assert_eq!(secret(&alice, "study"), secret(&example("alice.toml"), "study"), "padded or not, the same secret");

    let emma = Config::load(&repository().join("tests/data/seed/emma.json")).unwrap();
    assert_eq!(emma.chats[0].id.as_deref(), Some("work-1"));
    assert!(emma.peers.is_empty());
}

#[test]
fn defaults_are_filled_in() {
    let config = toml("name = \"a\"\nport = 4001\n").unwrap();
    assert_eq!(config.backends.transports, ["tcp"]);
    assert_eq!(
        (config.backends.dedup.as_str(), config.backends.cipher.as_str(), config.backends.history.as_str()),
        ("bloom", "chacha", "redb")
    );
    assert_eq!((config.network.name.as_str(), config.network.lan, config.network.outgoing), ("open", false, 8));
    assert!(config.network.secret.is_none() && config.network.proxy.is_none());
    assert_eq!(config.window.quota_bytes, 1 << 30);
    assert!(config.archive.serve);
    assert_eq!((config.lua.limits.source_kib, config.lua.limits.memory_mib), (256, 16));
    let limits = config.lua.limits;
    assert_eq!((limits.filter_ms, limits.handler_ms, limits.load_ms, limits.cpu_percent), (20, 250, 1_000, 25));
    assert_eq!(config.state.file_name().unwrap(), "test");
}

#[test]
fn everything_can_be_set() {
    let invite = invite();
    let config = toml(&format!(
        r#"
        version = 1
        name = "a"
        listen = ["tcp:127.0.0.1:0", "tcp:[::1]:4001"]
        announce = ["tcp:node.example.org:4001"]
        peers = ["tcp:127.0.0.1:4002", {{ address = "::1", port = 4003 }}, "tcp:127.0.0.1:4002"]
        state = "state/a"
        [[chats]]
        name = "one"
        id = 7
        secret = "{SECRET}"
        [[chats]]
        name = "two"
        passphrase = "correct horse battery staple"
        kind = "ephemeral"
        [[chats]]
        name = "three"
        invite = " {invite} "
        [network]
        name = "lab"
        secret = "{OTHER}"
        proxy = "socks5://127.0.0.1:9050"
        outgoing = 3
        [backends]
        history = "memory"
        [options.redb]
        cache = 64
        sync = true
        [dissemination]
        mode = "adaptive"
        eager = 3
        [dedup]
        capacity = 2048
        rotate_hours = 12
        [window]
        quota = "2MiB"
        [archive]
        serve = false
        [lua]
        folder = "scripts"
        filter_ms = 5
        [scripts.echo]
        rooms = ["one", "*"]
        allow = ["send", "http:example.org"]
        prefix = "!"
        [scripts.echo.limits]
        memory_mib = 4
        send_burst = 2
        [log]
        level = "debug"
        file = "rumor.log"
        "#
    ))
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.announce[0].as_str(), "tcp:node.example.org:4001");
    assert_eq!(peers(&config), ["tcp:127.0.0.1:4002", "tcp:[::1]:4003"], "doubles count once");
    assert_eq!(config.state, PathBuf::from("/etc/rumor/state/a"));
    assert_eq!(config.chats[0].id.as_deref(), Some("7"));
    assert_eq!(config.chats[1].kind, ChatKind::Ephemeral);
    assert!(matches!(&config.chats[2].source, RoomSource::Invite(text) if text.expose() == invite));
    assert!(config.network.secret.is_some());
    assert_eq!(config.options["redb"]["cache"], "64");
    assert_eq!(config.options["redb"]["sync"], "true");
    assert_eq!(config.dissemination, Dissemination::Adaptive { eager: 3 });
    assert_eq!((config.dedup.capacity, config.dedup.rotate_after), (2048, 12 * 3_600_000));
    assert_eq!(config.window.quota_bytes, 2 << 20);
    assert_eq!(config.lua.folder.as_deref(), Some(Path::new("/etc/rumor/scripts")));
    assert_eq!(config.scripts["echo"].settings["prefix"], "!");
    let limits = config.scripts["echo"].limits.unwrap();
    assert_eq!((limits.memory_mib, limits.send_burst), (4, 2));
    assert_eq!((limits.filter_ms, limits.handler_ms), (5, 250), "what isn't said is as for all");
    assert!(!config.scripts["echo"].settings.contains_key("limits"));
    assert_eq!(config.log.file.as_deref(), Some(Path::new("/etc/rumor/rumor.log")));
}

#[test]
fn an_unknown_field_names_file_line_and_what_is_near() {
    let error = errors("name = \"a\"\nprot = 4001\n");
    assert!(
        error.starts_with(
            "/etc/rumor/test.toml:2:1: prot: unknown field `prot`; did you mean `port`?; valid: version, name, port"
        ),
        "{error}"
    );
    let error = errors("name = \"a\"\nport = 1\n[[chats]]\nname = \"x\"\nsecert = \"s\"\n");
    assert!(error.contains(":5:1: chats[0].secert: unknown field `secert`; did you mean `secret`?"), "{error}");
    let error = errors("name = \"a\"\nport = 1\n[backends]\nchiper = \"x\"\n");
    assert!(error.contains(":4:1: backends.chiper: ") && error.contains("`cipher`"), "{error}");
}

#[test]
fn json_errors_have_a_place_too() {
    let json = |text| Config::parse(text, Format::Json, Path::new("a.json"), None).unwrap_err().to_string();
    let error = json("{\n \"name\": \"a\",\n \"prot\": 1\n}");
    assert!(error.starts_with("a.json:3:2: prot: unknown field `prot`; did you mean `port`?"), "{error}");
    let error = json("{\"name\": \"a\",\n \"port\": \"x\"}");
    assert!(error.starts_with("a.json:2:2: port: invalid type: a string, expected u16"), "{error}");
    let error = json("{\"name\": \"a\", \"port\": 1,\n \"chats\": [{\"name\": \"x\",\n \"secret\": \"AAAA\"}]}");
    assert_eq!(error, "a.json:3:2: chats[0].secret: must be 32 bytes in url-safe base64, got 3");
    assert!(json("{\"name\": ").starts_with("a.json:1:"), "the end of the file is a place");
}

#[test]
fn syntax_and_type_errors_have_a_place() {
    assert!(errors("name = \"a\"\nport = = 1").contains("test.toml:2:"));
    let error = errors("name = \"a\"\nport = 70000");
    assert!(error.contains(":2:8: port: ") && error.contains("70000"), "{error}");
    assert!(errors("port = 1").contains("missing field `name`"));
    let error = errors("name = \"a\"\nport = 1\n[[chats]]\nname = \"x\"\nkind = \"forever\"");
    assert!(error.contains(":5:8: chats[0].kind: unknown value `forever`; valid: archive, ephemeral"), "{error}");
    let error = errors("name = \"a\"\nport = 1\npeers = [5]");
    assert!(error.contains("peers[0]") && error.contains("tcp:HOST:PORT"), "{error}");
}

#[test]
fn all_problems_come_at_once_in_the_files_order() {
    let text = format!(
        "version = 2\nname = \" a\"\nlisten = [\"127.0.0.1:4001\"]\npeers = [\"tcp:127.0.0.1:0\", \"ws:x\"]\n\
         [[chats]]\nname = \"x\"\nsecret = \"AAAA\"\n[[chats]]\nname = \"x\"\nsecret = \"{SECRET}\"\n\
         [[chats]]\nname = \"y\"\nsecret = \"{SECRET}=\"\n[[chats]]\nname = \"z\"\n\
         [network]\noutgoing = 65\nproxy = \"http://x\"\n[window]\nquota = \"big\"\n[lua]\nfilter_ms = 0\n[dedup]\ncapacity = 1\n"
    );
    let error = toml(&text).unwrap_err();
    let found: Vec<(usize, &str)> =
        error.problems.iter().map(|problem| (problem.at.map_or(0, |at| at.0), problem.field.as_str())).collect();
    let expected = [
        (1, "version"),
        (2, "name"),
        (3, "listen[0]"),
        (4, "peers[0]"),
        (4, "peers[1]"),
        (7, "chats[0].secret"),
        (9, "chats[1].name"),
        (11, "chats[2]"),
        (14, "chats[3]"),
        (17, "network.outgoing"),
        (18, "network.proxy"),
        (20, "window.quota"),
        (22, "lua.filter_ms"),
        (24, "dedup.capacity"),
    ];
    assert_eq!(found, expected, "{error}");
    let text = error.to_string();
    assert!(text.contains("did you mean \"tcp:127.0.0.1:4001\"?"), "{text}");
    assert!(text.contains("must be 32 bytes in url-safe base64, got 3"), "{text}");
    assert!(text.contains("\"y\" has the same secret as \"x\""), "{text}");
}

#[test]
fn a_chat_has_exactly_one_secret() {
    let with = |line: &str| errors(&format!("name = \"a\"\nport = 1\n[[chats]]\nname = \"x\"\n{line}\n"));
    assert!(with("").contains("has no secret; give it one of secret, secret_file"));
    assert!(
        with(&format!("secret = \"{SECRET}\"\npassphrase = \"p\"")).contains("has secret and passphrase; keep one")
    );
    assert!(with("passphrase = \" \"").contains("is empty"));
    assert!(with("secret = \"+++/\"").contains("write '-' for '+'"));
    assert!(with("secret_file = \"no/such\"").contains("there is no such file: /etc/rumor/no/such"));
}

#[test]
fn secrets_come_from_files_beside_the_config() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), format!("{SECRET}\n")).unwrap();
    fs::write(dir.path().join("words"), "correct horse \r\n").unwrap();
    let file = dir.path().join("a.toml");
    fs::write(
        &file,
        "name = \"a\"\nport = 1\n[[chats]]\nname = \"x\"\nsecret_file = \"key\"\n[[chats]]\nname = \"y\"\npassphrase_file = \"words\"\n",
    )
    .unwrap();
    let config = Config::load(&file).unwrap();
    assert!(matches!(&config.chats[0].source, RoomSource::Secret(secret) if **secret.to_base64() == *SECRET));
    assert!(matches!(&config.chats[1].source, RoomSource::Passphrase(text) if text.expose() == "correct horse "));
    fs::write(dir.path().join("key"), "x".repeat(5_000)).unwrap();
    assert!(Config::load(&file).unwrap_err().to_string().contains("larger than 4096 bytes"));
}

#[test]
fn names_are_bounded_and_printable() {
    let named = |name: &str| toml(&format!("name = {name:?}\nport = 1\n"));
    assert!(named(&"x".repeat(64)).is_ok());
    assert!(named(&"x".repeat(65)).unwrap_err().to_string().contains("has 65 bytes; at most 64"));
    let error = errors("name = \"a\\u001b[31m\"\nport = 1\n");
    assert!(error.contains("\\u{1b}") && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn scripts_are_granted_only_what_exists() {
    let with = |lines: &str| {
        errors(&format!(
            "name = \"a\"\nport = 1\n[[chats]]\nname = \"study\"\nsecret = \"{SECRET}\"\n[scripts.echo]\n{lines}\n"
        ))
    };
    let error = with("rooms = [\"studi\"]");
    assert!(
        error.contains(":7:10: scripts.echo.rooms[0]: there is no chat \"studi\"; did you mean `study`?"),
        "{error}"
    );
    let error = with("allow = [\"sned\", \"http:\"]");
    assert!(error.contains("did you mean `send`?") && error.contains("\"http:\""), "{error}");
    // Who decides on relaying sees nothing else.
    for lines in ["allow = [\"relay\", \"send\"]", "allow = [\"relay\"]\nrooms = [\"study\"]"] {
        let error = with(lines);
        assert!(error.contains("scripts.echo.allow: has \"relay\" beside other things"), "{error}");
    }
    let text = format!("name = \"a\"\nport = 1\n[[chats]]\nname = \"study\"\nsecret = \"{SECRET}\"\n");
    assert!(toml(&format!("{text}[scripts.echo]\nallow = [\"relay\"]\n")).is_ok());
}

#[test]
fn a_node_must_be_able_to_reach_somebody() {
    assert!(errors("name = \"a\"\n").contains("this node could reach nobody"));
    assert!(toml("name = \"a\"\npeers = [\"tcp:127.0.0.1:4001\"]\n").is_ok());
    assert!(errors("name = \"a\"\nport = 1\nlisten = []\n").contains("both given"));
}

#[test]
fn backends_are_checked_against_the_compiled_in_ones() {
    let registry = rumormill::plugins::compiled_in();
    let text = "name = \"a\"\nport = 1\n[backends]\nhistory = \"rebd\"\n[options.nothing]\na = 1\n";
    let error = Config::parse(text, Format::Toml, Path::new("a.toml"), Some(&registry)).unwrap_err().to_string();
    let valid = match registry.history_names().join(", ") {
        names if names.is_empty() => "none".to_owned(),
        names => names,
    };
    assert!(
        error.contains("a.toml:4:1: backends.history: there is no history store \"rebd\" in this build"),
        "{error}"
    );
    assert!(error.contains(&format!("compiled in: {valid}")), "{error}");
    assert!(error.contains("options.nothing: there is no backend \"nothing\""), "{error}");
}

#[test]
fn no_secret_is_ever_printed() {
    let text = format!(
        "name = \"a\"\nport = 1\n[[chats]]\nname = \"x\"\nsecret = \"{SECRET}\"\n[[chats]]\nname = \"y\"\npassphrase = \"hunter2\"\n"
    );
    let config = toml(&text).unwrap();
    for shown in [format!("{config:?}"), config.summary().to_string()] {
        assert!(!shown.contains(SECRET) && !shown.contains("hunter2"), "{shown}");
    }
    assert!(config.summary().to_string().contains("y (weak: passphrase)"));
    // In the wrong place, or with an error beside it.
    for bad in [
        format!("name = \"a\"\nchats = \"{SECRET}\""),
        format!("name = \"a\"\nport = \"{SECRET}\""),
        format!("name = \"a\"\nport = 1\n[[chats]]\nname = \"x\"\nsecret = \"{SECRET}AA\""),
        format!("name = \"a\"\nport = 1\n[[chats]]\nname = \"x\"\nsecret = \"{SECRET}\" x"),
        format!("name = \"a\"\nport = 1\n[[chats]]\nname = \"x\"\nsecret = [\"{SECRET}\"]"),
    ] {
        let error = toml(&bad).unwrap_err();
        assert!(!format!("{error}{error:?}").contains(SECRET), "{error}");
    }
}

#[test]
fn unreadable_files_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let load = |name: &str| Config::load(&dir.path().join(name)).unwrap_err().to_string();
    assert!(load("none.toml").contains("there is no such file"));
    assert!(load("").contains("is not a regular file"));
    fs::write(dir.path().join("latin.toml"), b"name = \"a\"\nx = \"\xe9\"\n").unwrap();
    assert!(load("latin.toml").contains("line 2 is not UTF-8"));
    fs::write(dir.path().join("big.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(load("big.toml").contains("larger than 1048576 bytes"));
    fs::write(dir.path().join("bom.toml"), "\u{feff}name = \"a\"\nport = 1\n").unwrap();
    assert!(Config::load(&dir.path().join("bom.toml")).is_ok());
}

#[test]
fn the_schema_knows_every_field_and_refuses_others() {
    let schema = Config::schema();
    assert_eq!(schema["additionalProperties"], false);
    for field in ["name", "port", "listen", "chats", "peers", "state", "network", "backends", "lua", "scripts", "log"] {
        assert!(schema["properties"][field].is_object(), "{field}");
    }
    assert_eq!(schema["required"], serde_json::json!(["name"]));
}

#[test]
fn a_script_s_share_of_the_processor_is_a_percentage() {
    let with =
        |place: &str, percent: i64| toml(&format!("name = \"a\"\nport = 1\n[{place}]\ncpu_percent = {percent}\n"));
    let own = "scripts.karma.limits";
    for percent in [1, 100] {
        assert_eq!(i64::from(with("lua", percent).unwrap().lua.limits.cpu_percent), percent);
        let limits = with(own, percent).unwrap().scripts["karma"].limits.unwrap();
        assert_eq!(i64::from(limits.cpu_percent), percent);
    }
    for (place, percent) in [("lua", 0), ("lua", 101), (own, 0), (own, 101)] {
        let text = with(place, percent).unwrap_err().to_string();
        assert!(text.contains(&format!(":4:1: {place}.cpu_percent: is {percent}; write 1 to 100")), "{text}");
    }
}

#[test]
fn dissemination_is_flooding_or_wants_so_many_copies() {
    let with = |lines: &str| toml(&format!("name = \"a\"\nport = 1\n[dissemination]\n{lines}\n"));
    assert_eq!(with("mode = \"flood\"").unwrap().dissemination, Dissemination::Flood);
    for eager in [1, 16] {
        let config = with(&format!("mode = \"adaptive\"\neager = {eager}")).unwrap();
        assert_eq!(config.dissemination, Dissemination::Adaptive { eager });
    }
    for default in ["", "mode = \"adaptive\"", "eager = 2"] {
        assert_eq!(with(default).unwrap().dissemination, Dissemination::Adaptive { eager: 2 }, "{default}");
    }
    let error = |lines: &str| with(lines).unwrap_err().to_string();
    for eager in [0, 17] {
        let text = error(&format!("mode = \"adaptive\"\neager = {eager}"));
        assert!(text.contains(&format!(":5:1: dissemination.eager: is {eager}; write 1 to 16 (copies)")), "{text}");
    }
    assert!(error("mode = \"flood\"\neager = 2").contains("dissemination.eager: means something only with"));
    assert!(error("mode = \"tree\"").contains("unknown value `tree`; valid: flood, adaptive"));
}
