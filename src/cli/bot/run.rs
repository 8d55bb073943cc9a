//! `rumor bot run FILE --room …`.

use rumormill::script::{ScriptConfig, declared_permissions};
use rumormill::state::{Profile, append_private};
use rumormill::ui::{Frontend, UiOptions};

use super::super::node::{self, Launch};
use super::super::{Failure, log, now};
use super::RunArgs;

/// Runs a node with the commands that ship and this bot alone. What the bot may do is what the config grants it; if the
/// config doesn't name it, what it asks for itself: it is its author who starts it.
pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", args.file.display()));
    let file = std::path::absolute(&args.file).map_err(failed)?;
    let source = std::fs::read_to_string(&file).map_err(failed)?;
    let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    if !rumormill::script::is_script_name(&format!("{name}.lua")) || file.extension().is_none_or(|end| end != "lua") {
        let shown = args.file.display();
        return Err(Failure::new(format!("{shown} is no script: its name must be letters, digits, _ and -, and .lua")));
    }
    let config = node::load(&args.config, args.state.as_deref())?;
    let known: Vec<_> = config.chats.iter().map(|chat| chat.name.as_str()).collect();
    if let Some(room) = args.rooms.iter().find(|room| *room != "*" && !known.contains(&room.as_str())) {
        return Err(Failure::new(format!("there is no chat {room:?} in the config; its chats: {}", known.join(", "))));
    }
    let mut scripts = node::scripts(&config);
    let granted = scripts.scripts.remove(&name);
    let named = granted.is_some();
    let mut granted =
        granted.unwrap_or_else(|| ScriptConfig { allow: declared_permissions(&source), ..ScriptConfig::default() });
    granted.rooms.clone_from(&args.rooms);
    let profile = Profile::open(&config.state).map_err(Failure::new)?;
    let log_file = config.log.file.as_deref().map(append_private).transpose().map_err(Failure::new)?;
    log::start(args.log_level.unwrap_or(config.log.level), log_file)?;
    let by = if named { "the config grants it" } else { "it asks for" };
    let allowed = if granted.allow.is_empty() { "nothing".to_owned() } else { granted.allow.join(", ") };
    tracing::info!("{name} runs in {}; {by}: {allowed}", args.rooms.join(", "));
    scripts.folder = None;
    scripts.files = vec![file];
    scripts.scripts.insert(name, granted);
    let frontend = if args.json { Frontend::Json } else { Frontend::Plain };
    let options = UiOptions::detect(now);
    node::launch(Launch { config, profile, scripts, frontend, options, terminal: false, headless: true })
}
