//! What the table of the API says, for people and for editors: the reference in `lua/README.md` and the definitions in
//! `lua/types/`. `cargo xtask lua-api` writes them, a test compares them.

mod lua_ls;
mod luau;
mod markdown;

pub use lua_ls::lua_ls;
pub use luau::luau;
pub use markdown::markdown;

use super::api::table::{FUNCTIONS, Function};

/// `rumor.log.debug` -> its namespaces below `rumor`, and its own name.
fn path(name: &str) -> (Vec<&str>, &str) {
    let mut parts: Vec<_> = name.split('.').skip(1).collect();
    let own = parts.pop().unwrap_or(name);
    (parts, own)
}

/// The functions of one namespace (`""` is `rumor` itself), in the table's order.
fn functions_in(namespace: &str) -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter().filter(move |function| path(function.name).0.join(".") == namespace)
}

/// The namespaces below `rumor`, in the table's order.
fn namespaces() -> Vec<&'static str> {
    let mut found = Vec::new();
    for function in FUNCTIONS {
        if let (parts, _) = path(function.name)
            && let [namespace] = parts.as_slice()
            && !found.contains(namespace)
        {
            found.push(*namespace);
        }
    }
    found
}
