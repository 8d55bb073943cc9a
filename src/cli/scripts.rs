//! `rumor scripts`: how the scripts of a running node fare. The node writes it to its folder every few seconds, so that
//! nothing has to listen for the question.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rumormill::script::{Host, ScriptState, ScriptStatus};
use rumormill::state::create_private;
use serde_json::{Value, json};

use super::{Failure, now, write};

/// The file in the profile's folder.
const FILE: &str = "scripts.json";
/// Version of its format.
const VERSION: u64 = 1;
/// How often it is written, in seconds.
const WRITE_EVERY_S: u64 = 5;
/// How old it may be while its node runs, in seconds: a busy machine writes late.
const STALE_AFTER_S: u64 = 30;

/// Where a profile's folder has it.
pub(super) fn file(state: &Path) -> PathBuf {
    state.join(FILE)
}

/// Writes it now and then, until it is aborted.
pub(super) async fn publish(host: std::sync::Arc<Host>, path: PathBuf) {
    let mut turns = tokio::time::interval(Duration::from_secs(WRITE_EVERY_S));
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let (host, path) = (std::sync::Arc::clone(&host), path.clone());
        let written = tokio::task::spawn_blocking(move || replace(&path, &document(&host.status(), now()).to_string()));
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%error, "the scripts' status can't be written");
        }
    }
}

/// A reader sees the old file or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("json.new");
    create_private(&new)?.write_all(text.as_bytes())?;
    fs::rename(&new, path)
}

fn document(scripts: &[ScriptStatus], at: u64) -> Value {
    let script = |script: &ScriptStatus| {
        let reason = match &script.state {
            ScriptState::Disabled(reason) => Some(reason),
            _ => None,
        };
        json!({
            "name": script.name, "file": script.file, "embedded": script.embedded, "state": script.state.word(),
            "reason": reason, "cpu_ms": u64::try_from(script.cpu.as_millis()).unwrap_or(u64::MAX),
            "memory_bytes": script.memory, "calls": script.calls, "kills": script.kills, "missed": script.missed,
            "commands": script.commands, "handlers": script.handlers, "timers": script.timers,
            "last_error": script.last_error,
        })
    };
    json!({ "version": VERSION, "at": at, "scripts": scripts.iter().map(script).collect::<Vec<_>>() })
}

/// Shows what a config's node last wrote.
pub(super) fn show(state: &Path, as_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let path = file(state);
    let idle = "no node runs with this config: start it with rumor --config FILE";
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(idle),
        _ => Failure::new(format!("can't read {}: {error}", path.display())),
    })?;
    let bad = || Failure::new(format!("{} isn't what a node of this version writes", path.display()));
    let document: Value = serde_json::from_str(&text).map_err(|_| bad())?;
    if document["version"] != VERSION {
        return Err(bad());
    }
    let at = document["at"].as_u64().ok_or_else(bad)?;
    if now().saturating_sub(at) > STALE_AFTER_S * 1_000 {
        return Err(Failure::new(idle));
    }
    if as_json {
        return write(out, &format!("{document}\n"));
    }
    write(out, &table(&document).ok_or_else(bad)?)
}

fn table(document: &Value) -> Option<String> {
    let scripts = document["scripts"].as_array()?;
    let width = scripts.iter().filter_map(|script| Some(script["file"].as_str()?.len())).max().unwrap_or(0);
    let mut text =
        format!("{:width$}  {:8}  {:>9}  {:>9}  {:>8}  {:>5}\n", "script", "state", "cpu s", "MiB", "calls", "kills");
    for script in scripts {
        #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
        let (cpu, memory) =
            (script["cpu_ms"].as_u64()? as f64 / 1e3, script["memory_bytes"].as_u64()? as f64 / f64::from(1 << 20));
        let _ = writeln!(
            text,
            "{:width$}  {:8}  {cpu:>9.3}  {memory:>9.1}  {:>8}  {:>5}",
            script["file"].as_str()?,
            script["state"].as_str()?,
            script["calls"].as_u64()?,
            script["kills"].as_u64()?,
        );
        for (what, field) in [("disabled", "reason"), ("last error", "last_error")] {
            if let Some(said) = script[field].as_str() {
                let _ = writeln!(text, "    {what}: {said}");
            }
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status(state: ScriptState) -> ScriptStatus {
        ScriptStatus {
            name: "karma".into(),
            file: "bots/karma.lua".into(),
            embedded: false,
            state,
            generation: 2,
            cpu: Duration::from_millis(1_500),
            memory: 3 << 20,
            calls: 7,
            in_calls: Duration::ZERO,
            kills: 3,
            missed: 0,
            handlers: 1,
            commands: 0,
            timers: 2,
            last_error: Some("bots/karma.lua:3: oops".into()),
        }
    }

    fn shown(state: &Path, as_json: bool) -> Result<String, String> {
        let mut out = Vec::new();
        show(state, as_json, &mut out).map_err(|failure| failure.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn shows_what_a_running_node_wrote() {
        let dir = tempfile::tempdir().unwrap();
        assert!(shown(dir.path(), false).unwrap_err().contains("no node runs"));
        let disabled = status(ScriptState::Disabled("3 calls in a row went past their budget".into()));
        replace(&file(dir.path()), &document(&[disabled], now()).to_string()).unwrap();
        let text = shown(dir.path(), false).unwrap();
        for wanted in [
            "bots/karma.lua  disabled",
            "1.500",
            "3.0",
            "disabled: 3 calls in a row",
            "last error: bots/karma.lua:3: oops",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let json: Value = serde_json::from_str(&shown(dir.path(), true).unwrap()).unwrap();
        assert_eq!((&json["scripts"][0]["timers"], &json["scripts"][0]["cpu_ms"]), (&json!(2), &json!(1_500)));
    }

    #[test]
    fn what_is_old_or_foreign_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let old = now() - (STALE_AFTER_S + 1) * 1_000;
        replace(&file(dir.path()), &document(&[status(ScriptState::Running)], old).to_string()).unwrap();
        assert!(shown(dir.path(), false).unwrap_err().contains("no node runs"));
        for text in ["", "[]", "{\"version\":2,\"at\":1}", "{\"version\":1}"] {
            fs::write(file(dir.path()), text).unwrap();
            assert!(shown(dir.path(), false).unwrap_err().contains("isn't what a node"), "{text}");
        }
    }
}
