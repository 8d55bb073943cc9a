#![allow(clippy::unwrap_used)]

use super::*;

rumormill_api::history_suite!(open);
rumormill_api::history_suite_durable!(open);
