#![allow(clippy::unwrap_used)]

mod crash;
mod disk;
mod faults;
mod full;
mod rot;
mod script;

use super::*;

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
