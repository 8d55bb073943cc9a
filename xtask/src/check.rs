//! `cargo xtask check`: everything that CI runs beside the tests.

use crate::run::{Cargo, Steps, finish};
use crate::{bench_peers, deny, fuzz};

/// Runs every step, also after one that failed; the failures are named at the end.
pub(crate) fn check(cargo: &Cargo) -> Result<(), String> {
    let mut steps = Steps::default();
    steps.step("format", || finish(&mut cargo.command(["fmt", "--all", "--check"])));
    steps.step("format of fuzz/", || finish(&mut fuzz::manifest(cargo.command(["fmt", "--check"]))));

    steps.step("format of benches/peers/", || bench_peers::format(cargo));

    // `--all-targets` would bring the default features back in, through the root package's dev-dependency on itself:
    // without features it is the library and the binary that count.
    steps.step("clippy, no features", || clippy(cargo, &["--workspace", "--lib", "--bins", "--no-default-features"]));
    steps.step("clippy, default features", || clippy(cargo, &["--workspace", "--all-targets"]));
    steps.step("clippy, all features", || clippy(cargo, &["--workspace", "--all-targets", "--all-features"]));
    steps.step("clippy of fuzz/", || {
        finish(fuzz::smoke_build(cargo.command(["clippy"])).args(["--all-targets", "--", "--deny", "warnings"]))
    });
    steps.step("clippy of benches/peers/", || bench_peers::clippy(cargo));
    match features() {
        Ok(features) => {
            for feature in features {
                steps.step(format!("feature {feature} alone"), || one_feature(cargo, &feature));
            }
        }
        Err(message) => steps.step("features one by one", || Err(message)),
    }

    steps.step("documentation", || {
        let mut doc = cargo.command(["doc", "--workspace", "--no-deps", "--all-features", "--keep-going"]);
        finish(doc.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links"))
    });
    steps.step("layering", || {
        finish(&mut cargo.command(["test", "--quiet", "--package", "rumormill", "--test", "layering"]))
    });
    steps.step("licences, bans, sources", || deny::deny(cargo));
    steps.summary()
}

fn clippy(cargo: &Cargo, args: &[&str]) -> Result<(), String> {
    finish(cargo.command(["clippy", "--keep-going"]).args(args).args(["--", "--deny", "warnings"]))
}

/// The library and the binary with this feature and no other, without a warning.
fn one_feature(cargo: &Cargo, feature: &str) -> Result<(), String> {
    let args = ["clippy", "--package", "rumormill", "--lib", "--bins", "--no-default-features", "--features", feature];
    finish(cargo.command(args).args(["--", "--deny", "warnings"]))
}

/// The root package's features, as its manifest lists them, without `default`.
fn features() -> Result<Vec<String>, String> {
    let manifest = std::fs::read_to_string(Cargo::root().join("Cargo.toml"))
        .map_err(|error| format!("Cargo.toml can't be read: {error}"))?;
    let features = feature_names(&manifest);
    if features.is_empty() { Err("Cargo.toml has no [features]".to_owned()) } else { Ok(features) }
}

/// The keys of the `[features]` table, which is all of TOML that is needed here: a key begins its line.
fn feature_names(manifest: &str) -> Vec<String> {
    let table = manifest.lines().skip_while(|line| line.trim() != "[features]").skip(1);
    let lines = table.take_while(|line| !line.starts_with('['));
    let keys = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_alphabetic()));
    let keys = keys.filter_map(|line| line.split_once('=').map(|(key, _)| key.trim().to_owned()));
    keys.filter(|key| key != "default").collect()
}

#[cfg(test)]
mod tests {
    use super::{Cargo, feature_names};

    #[test]
    fn features_are_read_off_the_manifest() {
        let manifest = "[package]\nname = \"x\"\n\n[features]\ndefault = [\n    \"a\",\n]\n# b = []\na = [\"dep:a\"]\nc = []\n[lib]\nd = 1\n";
        assert_eq!(feature_names(manifest), ["a", "c"]);
        assert_eq!(feature_names("[package]\n"), [""; 0]);
    }

    #[test]
    fn every_plugin_is_a_feature_of_the_real_manifest() {
        let manifest = std::fs::read_to_string(Cargo::root().join("Cargo.toml")).expect("the manifest is there");
        let features = feature_names(&manifest);
        assert!(features.iter().any(|name| name == "transport-tcp"), "{features:?}");
        assert!(!features.iter().any(|name| name == "default"), "{features:?}");
    }
}
