#![allow(clippy::unwrap_used)]

mod crash;
mod disk;
mod faults;
mod full;
mod rebuild;
mod rot;
mod schema1;
mod script;
mod window;

use super::*;

/// How many seeds a test runs where nobody says otherwise.
const SEEDS_DEFAULT: u64 = 200;

/// The seeds of a test with chance: `SEEDS=1000` runs so many (the figure of the long run), `SEED=n` one alone.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS_DEFAULT),
    }
}

rumormill_api::history_suite!(open);
rumormill_api::history_suite_durable!(open);

#[test]
fn it_is_registered_under_its_name() {
    let mut registry = Registry::default();
    register(&mut registry);
    assert_eq!(registry.history_names(), [NAME]);
    let folder = tempfile::tempdir().unwrap();
    let config = HistoryConfig { folder: folder.path().to_owned(), ..HistoryConfig::default() };
    assert!(registry.history(NAME, config).is_ok());
}
