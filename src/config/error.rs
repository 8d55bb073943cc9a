//! What is wrong with a config: file, line, field, and what would be valid.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Line and column, both from 1, where they are known.
    pub at: Option<(usize, usize)>,
    /// The path of the field: `chats[0].secret`; empty for the whole file.
    pub field: String,
    /// What is wrong and what would be valid. Holds no secret and no control character.
    pub message: String,
}

/// Everything that is wrong with a config file: at least one [`Problem`], in the file's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// One problem with the file as a whole.
    pub(super) fn whole(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { file: file.into(), problems: vec![Problem { at: None, field: String::new(), message: message.into() }] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.file.display())?;
            if let Some((line, column)) = problem.at {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
            if !problem.field.is_empty() {
                write!(f, "{}: ", problem.field)?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// How far off a name may be and still be suggested, in edits.
const SUGGESTION_EDITS_MAX: usize = 2;

/// `; did you mean "port"?`, or nothing when no valid name is near.
pub(super) fn did_you_mean<'a>(got: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    valid
        .into_iter()
        .map(|name| (strsim::osa_distance(&got.to_lowercase(), name), name))
        .filter(|(edits, name)| *edits <= SUGGESTION_EDITS_MAX && *edits < name.len())
        .min()
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// Turns serde's sentence into ours: suggests a name for an unknown one, hides values that may be secret, escapes
/// control characters.
pub(super) fn explain(message: &str) -> String {
    let message = redact(message);
    let message: String =
        message.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect();
    for what in ["field", "variant"] {
        let Some(rest) = message.strip_prefix(&format!("unknown {what} `")) else { continue };
        let Some((got, valid)) = rest.split_once("`, ") else { continue };
        let names: Vec<&str> = valid.split('`').skip(1).step_by(2).collect();
        let what = if what == "field" { "field" } else { "value" };
        return format!(
            "unknown {what} `{got}`{}; valid: {}",
            did_you_mean(got, names.iter().copied()),
            names.join(", ")
        );
    }
    message
}

/// Hides the quoted text of `invalid type: string "…", expected …`: it might be a secret in the wrong place.
fn redact(message: &str) -> String {
    match (message.find("string \""), message.rfind("\", expected ")) {
        (Some(start), Some(end)) if start < end => {
            format!("{}a string{}", &message[..start], &message[end + 1..])
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_near_names_only() {
        assert_eq!(did_you_mean("prot", ["port", "peers"]), "; did you mean `port`?");
        assert_eq!(did_you_mean("Port", ["port"]), "; did you mean `port`?");
        assert_eq!(did_you_mean("xyz", ["port", "peers", "id"]), "");
    }

    #[test]
    fn explains_serde_sentences() {
        assert_eq!(
            explain("unknown field `prot`, expected one of `name`, `port`"),
            "unknown field `prot`; did you mean `port`?; valid: name, port"
        );
        assert_eq!(explain("unknown field `a`, expected `name`"), "unknown field `a`; valid: name");
        assert_eq!(
            explain("invalid type: string \"hunter2\", expected a sequence"),
            "invalid type: a string, expected a sequence"
        );
        assert_eq!(explain("missing field `name`"), "missing field `name`");
        assert_eq!(explain("bad \u{1b}[31m"), "bad \\u{1b}[31m");
    }
}
