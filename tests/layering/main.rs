//! The architecture, checked: who may import whom, who may print, what no file may hold.
//!
//! The rules read tokens, not types: they find a layer that reaches where it shouldn't, not one that means to hide it.
//! Each rule has a sample of its own that it must refuse, in `samples.rs`.

mod rules;
mod samples;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// Folders of the repository that hold Rust of ours.
const FOLDERS: &[&str] = &["src", "plugins", "tests", "benches", "xtask", "fuzz"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below `folder`, sorted, without what cargo built.
fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).expect("our names are UTF-8");
        if path.is_dir() && !matches!(name, "target" | "corpus" | "artifacts") && !name.starts_with('.') {
            rust_files(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|folder| rust_files(&root().join(folder), &mut files));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source is readable UTF-8");
        let path = path.strip_prefix(root()).expect("it was found below the root");
        Source::new(&path.to_str().expect("our names are UTF-8").replace('\\', "/"), &text)
    };
    let sources: Vec<_> = files.into_iter().map(read).collect();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the sources weren't found");
    sources
}

fn toml(path: &Path) -> toml::Table {
    let text = fs::read_to_string(path).expect("a manifest is readable");
    text.parse().expect("a manifest that cargo accepted is TOML")
}

fn plugins() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join("plugins")).expect("there are plugins");
    let folders = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.join("Cargo.toml").is_file());
    folders
        .map(|path| path.file_name().and_then(|name| name.to_str()).expect("our names are UTF-8").to_owned())
        .collect()
}

/// The root package's dependencies, as crates are named in the source.
fn dependencies() -> BTreeSet<String> {
    let manifest = toml(&root().join("Cargo.toml"));
    let tables = ["dependencies", "dev-dependencies"].iter().filter_map(|name| manifest.get(*name)?.as_table());
    tables.flat_map(toml::Table::keys).map(|name| name.replace('-', "_")).collect()
}

#[track_caller]
fn none(faults: rules::Faults) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn layers_import_downwards() {
    none(sources().iter().flat_map(rules::layers).collect());
}

#[test]
fn the_engine_has_no_world() {
    let dependencies = dependencies();
    none(sources().iter().flat_map(|source| rules::engine(source, &dependencies)).collect());
}

#[test]
fn backends_know_the_contract_and_one_file_knows_backends() {
    none(sources().iter().flat_map(rules::backends).collect());
}

#[test]
fn only_main_the_subcommands_and_the_frontends_write_to_the_terminal() {
    none(sources().iter().flat_map(rules::output).collect());
}

#[test]
fn files_are_small_and_done() {
    none(sources().iter().flat_map(rules::tidy).collect());
}

#[test]
fn times_say_their_unit() {
    none(sources().iter().flat_map(rules::units).collect());
}

#[test]
fn plugins_are_features_one_to_one() {
    let plugins_rs = fs::read_to_string(root().join("src/plugins.rs")).expect("the composition root is there");
    none(rules::features(&plugins(), &toml(&root().join("Cargo.toml")), &plugins_rs));
}

#[test]
fn manifests_keep_to_the_layers() {
    let plugins = plugins();
    let members =
        plugins.iter().map(|name| format!("plugins/{name}/Cargo.toml")).chain(["xtask/Cargo.toml".to_owned()]);
    none(members.flat_map(|path| rules::manifest(&path, &toml(&root().join(&path)))).collect());
}
