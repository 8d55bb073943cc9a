//! The reference and the editors' definitions are what the table of the API says. `RUMORMILL_WRITE=1`, which
//! `cargo xtask lua-api` sets, writes them instead.
#![cfg(feature = "luau")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;

use rumormill::script::reference;

const BEGIN: &str = "<!-- Made by `cargo xtask lua-api` from src/script/api/table; changes here are lost. -->\n";
const END: &str = "<!-- End of what is made. -->\n";

fn agrees(path: &str, made: &str) {
    if std::env::var_os("RUMORMILL_WRITE").is_some() {
        fs::write(path, made).unwrap();
    }
    let there = fs::read_to_string(path).unwrap_or_default();
    let line = there.lines().zip(made.lines()).position(|(a, b)| a != b).map_or(0, |n| n + 1);
    assert!(there == made, "{path} isn't what the table says (line {line}): run cargo xtask lua-api");
}

#[test]
fn the_definitions_of_luau_lsp() {
    agrees("lua/types/rumor.d.luau", &reference::luau());
}

#[test]
fn the_definitions_of_lua_language_server() {
    agrees("lua/types/rumor.lua", &reference::lua_ls());
}

#[test]
fn the_reference() {
    let readme = fs::read_to_string("lua/README.md").unwrap();
    let (head, rest) = readme.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    agrees("lua/README.md", &format!("{head}{BEGIN}\n{}\n{END}{tail}", reference::markdown()));
}

#[test]
fn each_function_is_in_all_three() {
    for name in ["rumor.command", "chat:send", "rumor.http.get", "store:incr", "ctx.ui:open", "timer:cancel"] {
        let own = name.rsplit(['.', ':']).next().unwrap();
        assert!(reference::markdown().contains(&format!("`{name}(")), "{name}");
        assert!(reference::luau().contains(&format!("{own}: (")), "{name}");
        assert!(reference::lua_ls().contains(&format!("{own}(")), "{name}");
    }
}
