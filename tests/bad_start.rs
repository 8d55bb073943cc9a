//! Starts that can't succeed: one sentence on standard error that says what to do, exit code 1, and no file changed.
#![cfg(all(
    feature = "transport-tcp",
    feature = "dedup-bloom",
    feature = "cipher-chacha",
    feature = "history-redb",
    feature = "luau"
))]
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use redb::{Database, TableDefinition};
use support::{Node, TestConfig, free_ports, secret};

/// A node that can start, has a history, and doesn't run.
struct Bench {
    folder: tempfile::TempDir,
    config: PathBuf,
    state: PathBuf,
    port: u16,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port] = free_ports::<1>();
        let config = config(folder.path(), port, "");
        let state = folder.path().join("state");
        let mut node = Node::start(&config, &state);
        node.say("to be kept");
        assert!(node.stop().success());
        Self { folder, config, state, port }
    }

    /// Starts it in vain; gives the sentence without its `rumor: `. Nothing in the profile changed.
    fn refused(&self) -> String {
        let before = files(&self.state);
        let sentence = refused(&self.config, &self.state);
        let after = files(&self.state);
        let changed: Vec<_> = after.iter().filter(|(path, bytes)| before.get(*path) != Some(*bytes)).collect();
        let names: Vec<_> = changed.into_iter().map(|(path, _)| path).collect();
        assert!(before == after, "files of the profile were changed: {names:?}, or are gone");
        sentence
    }

    /// That nothing was lost: once mended, it starts and knows what was said.
    fn mended(&self) {
        let mut node = Node::start(&self.config, &self.state);
        let history = node.show_history(10);
        assert_eq!(history.len(), 1, "{history:?}");
        assert_eq!(history[0]["text"], "to be kept");
        assert!(node.stop().success());
    }

    fn database(&self) -> PathBuf {
        self.state.join("history/history.redb")
    }
}

fn config(folder: &Path, port: u16, extra: &str) -> PathBuf {
    let chats = vec![("study", secret(1))];
    TestConfig { name: "alice", port, peers: vec![], chats, extra: extra.to_owned() }.write(folder)
}

/// Runs the program; it must end by itself, with code 1, nothing on standard output, and one line on standard error.
fn refused(config: &Path, state: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_rumor"))
        .args(["--config".as_ref(), config.as_os_str(), "--json".as_ref(), "--state".as_ref(), state.as_os_str()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let sentence = error.strip_prefix("rumor: ").and_then(|error| error.strip_suffix('\n'));
    let sentence = sentence.unwrap_or_else(|| panic!("not a sentence: {error:?}"));
    assert!(!sentence.contains('\n'), "{error}");
    sentence.to_owned()
}

/// Every file below a folder, with its bytes; but for the lock, which names the process that tried last.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Scripts load before the node starts, and opening a script's store marks it as in use.
                if !path.ends_with("state/scripts") {
                    folders.push(path);
                }
            } else if path.file_name().unwrap() != "lock" {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    assert!(found.len() > 1, "{found:?}");
    found
}

#[track_caller]
fn says(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "no {part:?} in: {sentence}");
    }
}

#[test]
fn a_port_in_use() {
    let bench = Bench::new();
    let held = TcpListener::bind(("127.0.0.1", bench.port)).unwrap();
    let port = bench.port.to_string();
    // The store is open by then, and notes that it was; the rest of the profile is as before.
    let keys = fs::read(bench.state.join("keys")).unwrap();
    let sentence = refused(&bench.config, &bench.state);
    assert_eq!(fs::read(bench.state.join("keys")).unwrap(), keys);
    says(&sentence, &[&port, "another program, perhaps another node, uses it", "choose another port"]);
    drop(held);
    bench.mended();
}

#[test]
fn a_second_node_on_one_profile() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = free_ports::<2>();
    let state = folder.path().join("state");
    let mut node = Node::start(&config(folder.path(), first, ""), &state);
    let process = format!("(process {})", node.pid());
    let sentence = refused(&config(folder.path(), second, ""), &state);
    says(&sentence, &["another node", &process, &state.display().to_string(), "stop it", "--state"]);
    node.say("the first goes on");
    assert!(node.stop().success());
}

#[cfg(unix)]
#[test]
fn permissions_that_let_others_look_in() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let database = bench.database();
    let keys = bench.state.join("keys");
    for (path, loose, tight) in [(&bench.state, 0o755, 0o700), (&keys, 0o640, 0o600), (&database, 0o644, 0o600)] {
        fs::set_permissions(path, fs::Permissions::from_mode(loose)).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        says(&bench.refused(), &[name, &format!("{loose:o}"), &format!("chmod {tight:o}")]);
        fs::set_permissions(path, fs::Permissions::from_mode(tight)).unwrap();
    }
    bench.mended();
}

#[test]
fn damaged_keys() {
    let bench = Bench::new();
    let keys = bench.state.join("keys");
    let good = fs::read(&keys).unwrap();
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    for bad in [&b""[..], b"RUMOR", &good[..good.len() - 1], &flipped, &[0; 400]] {
        fs::write(&keys, bad).unwrap();
        says(&bench.refused(), &[&keys.display().to_string(), "is damaged", "put back a copy of it, or move"]);
    }
    let mut newer = good.clone();
    newer[8] = 2;
    fs::write(&keys, newer).unwrap();
    says(&bench.refused(), &["has version 2", "use a newer rumor"]);
    fs::remove_file(&keys).unwrap();
    says(&bench.refused(), &["is missing", "put the file back"]);
    fs::write(&keys, &good).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    bench.mended();
}

#[test]
fn a_damaged_database() {
    let bench = Bench::new();
    let good = fs::read(bench.database()).unwrap();
    let mut head = good.clone();
    head[..512].fill(0x5a);
    for bad in [head, good[..good.len() / 2].to_vec(), b"not a database at all".repeat(400)] {
        fs::write(bench.database(), bad).unwrap();
        let folder = bench.state.join("history");
        says(&bench.refused(), &["history.redb", "damaged", "move it away", &folder.display().to_string()]);
    }
    fs::write(bench.database(), good).unwrap();
    bench.mended();
}

#[test]
fn a_database_of_a_newer_schema() {
    const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
    let bench = Bench::new();
    let set_schema = |version: u64| {
        let database = Database::create(bench.database()).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut meta = transaction.open_table(META).unwrap();
        let before = meta.insert("rumormill.history.schema", version).unwrap().map(|before| before.value());
        assert!(before.is_some(), "the schema stands elsewhere by now");
        drop(meta);
        transaction.commit().unwrap();
    };
    set_schema(3);
    says(&bench.refused(), &["has schema 3, this build reads 2", "was left as it is", "update this program"]);
    set_schema(2);
    bench.mended();
}

#[test]
fn a_script_folder_that_is_none() {
    let bench = Bench::new();
    let file = bench.folder.path().join("file");
    fs::write(&file, "").unwrap();
    for folder in ["nowhere", "file"] {
        config(bench.folder.path(), bench.port, &format!("[lua]\nfolder = \"{folder}\""));
        says(&bench.refused(), &["script folder", folder, "create it, or change `folder` under [lua]"]);
    }
    config(bench.folder.path(), bench.port, "");
    bench.mended();
}

#[test]
fn a_file_in_the_place_of_a_folder() {
    let bench = Bench::new();
    let file = bench.folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    for state in [file.clone(), file.join("below")] {
        says(&refused(&bench.config, &state), &["can't make the folder", "file", "choose another folder with --state"]);
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }
    let (history, aside) = (bench.state.join("history"), bench.state.join("aside"));
    fs::rename(&history, &aside).unwrap();
    fs::write(&history, "precious").unwrap();
    says(&bench.refused(), &["history", "move it away"]);
    fs::remove_file(&history).unwrap();
    fs::rename(&aside, &history).unwrap();
    bench.mended();
}

#[test]
fn an_unknown_backend() {
    let bench = Bench::new();
    for (kind, name, known) in [
        ("history", "\"sqlite\"", "redb"),
        ("dedup", "\"blom\"", "bloom"),
        ("cipher", "\"rot13\"", "chacha"),
        ("transports", "[\"tcp\", \"pigeon\"]", "tcp"),
    ] {
        config(bench.folder.path(), bench.port, &format!("[backends]\n{kind} = {name}"));
        let name = name.rsplit('"').nth(1).unwrap();
        says(&bench.refused(), &["alice.toml", kind, name, "compiled in: ", known]);
    }
    config(bench.folder.path(), bench.port, "");
    bench.mended();
}

#[test]
fn wrong_arguments_are_usage() {
    let output = Command::new(env!("CARGO_BIN_EXE_rumor")).args(["--config"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}
