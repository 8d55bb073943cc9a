//! What can be said of a script's use of the API without running it.

mod calls;
mod check;
mod lexer;

use calls::Arg;
pub use check::{Problem, check_source};

/// The permissions that a script declares by `rumor.script{ permissions = {…} }`, as far as they stand there literally.
#[must_use]
pub fn declared_permissions(source: &str) -> Vec<String> {
    let uses = calls::uses(&lexer::tokens(source));
    let declares = uses.iter().find(|one| one.path == ["rumor", "script"]);
    let Some([Arg::Table(fields, _)]) = declares.and_then(|one| one.args.as_deref()) else { return Vec::new() };
    let permissions = fields.iter().find_map(|(name, value)| (name == "permissions").then_some(value));
    let Some(Arg::Table(_, list)) = permissions else { return Vec::new() };
    let texts = list.iter().filter_map(|arg| match arg {
        Arg::Text(text) => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_permissions_are_read() {
        let source = "-- x\nrumor.script({ name = `a{1}`, permissions = { \"send\", 'http:example.org' } })";
        assert_eq!(declared_permissions(source), ["send", "http:example.org"]);
        assert!(declared_permissions("print(1)").is_empty());
    }
}
