//! Finds `*_test.lua` and runs their cases, each in a world of its own.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value, VmState};

use super::verbs;
use super::world::{Setup, World, all_of, script_name};
use crate::node::NoticeLevel;
use crate::room::sanitize;

/// How the name of a file of tests ends.
pub const TEST_SUFFIX: &str = "_test.lua";
/// How long one case may run, in milliseconds of real time: it bounds a loop without end, not a slow machine.
pub const CASE_MAX_MS: u64 = 120_000;
/// Deepest folder that is searched for tests.
const SEARCH_DEPTH_MAX: usize = 16;
/// How often the test's own code looks at the clock: once in so many loops and calls.
const CLOCK_EVERY: u32 = 4_096;
/// Threads that run files of tests.
const THREADS_MAX: usize = 4;

/// How a case went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaseReport {
    /// What it is called.
    pub name: String,
    /// What went wrong: `lua/bots/echo_test.lua:7: expected …`. `None`: it passed.
    pub error: Option<String>,
    /// How long it took, in real time.
    pub took: Duration,
}

/// How a file went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileReport {
    /// The file.
    pub file: PathBuf,
    /// Its cases, in their order.
    pub cases: Vec<CaseReport>,
    /// Why it couldn't be loaded.
    pub error: Option<String>,
}

impl FileReport {
    /// What went wrong in it: the cases that failed, and one more if it didn't load.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.cases.iter().filter(|case| case.error.is_some()).count() + usize::from(self.error.is_some())
    }
}

/// The files of tests that are meant: a file of tests itself, a script's (`echo.lua` means `echo_test.lua` beside it), all
/// below a folder.
///
/// # Errors
///
/// What isn't there.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            search(path, 0, &mut found);
        } else if is_test(path) {
            if !path.is_file() {
                return Err(format!("there is no file {}", path.display()));
            }
            found.push(path.clone());
        } else {
            let test = path.with_file_name(format!("{}{TEST_SUFFIX}", script_name(path)));
            if !test.is_file() {
                return Err(format!("{} has no tests: there is no {}", path.display(), test.display()));
            }
            found.push(test);
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn is_test(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(TEST_SUFFIX))
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_str().is_none_or(|name| name.starts_with('.'));
        // A link to a folder may lead around in a circle.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !hidden && depth < SEARCH_DEPTH_MAX {
            search(&path, depth + 1, found);
        } else if is_test(&path) && path.is_file() {
            found.push(path);
        }
    }
}

/// Runs files of tests, several at once, and reports them in their order. `only`: the cases whose names contain it.
pub fn run_files(files: &[PathBuf], only: Option<&str>, mut report: impl FnMut(&FileReport) + Send) {
    let next = AtomicUsize::new(0);
    let done = Mutex::new((0_usize, vec![None; files.len()]));
    let report: Mutex<&mut (dyn FnMut(&FileReport) + Send)> = Mutex::new(&mut report);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(files.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = run_file(file, only);
                    let mut done = done.lock().expect("no holder panics");
                    let at = files.iter().position(|other| other == file).expect("it is one of them");
                    done.1[at] = Some(result);
                    while let Some(Some(ready)) = done.1.get(done.0) {
                        (report.lock().expect("no holder panics"))(ready);
                        done.0 += 1;
                    }
                }
            });
        }
    });
}

/// A case as its file registered it.
struct Case {
    name: String,
    options: Option<Table>,
    run: Function,
}

/// Runs the cases of one file.
#[must_use]
pub fn run_file(file: &Path, only: Option<&str>) -> FileReport {
    let mut report = FileReport { file: file.to_owned(), cases: Vec::new(), error: None };
    let deadline = Rc::new(RefCell::new(Deadline::begin()));
    let (lua, cases) = match load(file, &deadline) {
        Ok(loaded) => loaded,
        Err(error) => {
            report.error = Some(error);
            return report;
        }
    };
    if cases.is_empty() {
        report.error =
            Some(format!("{}: has no cases: write test(\"what it does\", function(t) … end)", file.display()));
    }
    for case in cases.iter().filter(|case| only.is_none_or(|only| case.name.contains(only))) {
        *deadline.borrow_mut() = Deadline::begin();
        let error = run_case(&lua, file, case).err().map(|error| sanitize(&error).into_owned());
        let took = deadline.borrow().took();
        report.cases.push(CaseReport { name: case.name.clone(), error, took });
    }
    report
}

/// When a case began.
struct Deadline(Instant);

#[expect(clippy::disallowed_methods, reason = "how long a test takes is real time")]
impl Deadline {
    fn begin() -> Self {
        Self(Instant::now())
    }

    fn took(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Runs the file itself, which registers its cases.
fn load(file: &Path, deadline: &Rc<RefCell<Deadline>>) -> Result<(Lua, Vec<Case>), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::new()).map_err(|error| error.to_string())?;
    let cases = Rc::new(RefCell::new(Vec::new()));
    let prepare = || -> mlua::Result<()> {
        let register = Rc::clone(&cases);
        let test = lua.create_function(move |_, (name, second, third): (String, Value, Value)| {
            let (options, run) = match (second, third) {
                (Value::Function(run), Value::Nil) => (None, run),
                (Value::Table(options), Value::Function(run)) => (Some(options), run),
                _ => {
                    return Err(mlua::Error::runtime(
                        "write test(name, function(t) … end) or test(name, {…}, function(t) … end)",
                    ));
                }
            };
            register.borrow_mut().push(Case { name: sanitize(&name).into_owned(), options, run });
            Ok(())
        })?;
        lua.globals().raw_set("test", test)?;
        lua.sandbox(true)?;
        let (deadline, count) = (Rc::clone(deadline), RefCell::new(0_u32));
        lua.set_interrupt(move |_| {
            let mut count = count.borrow_mut();
            *count = count.wrapping_add(1);
            if count.is_multiple_of(CLOCK_EVERY) && deadline.borrow().took() > Duration::from_millis(CASE_MAX_MS) {
                return Err(mlua::Error::runtime(format!("the test ran longer than {} s", CASE_MAX_MS / 1_000)));
            }
            Ok(VmState::Continue)
        });
        lua.load(&text).set_name(format!("@{}", file.display())).set_mode(mlua::chunk::ChunkMode::Text).exec()
    };
    prepare().map_err(|error| verbs::sentence(&error))?;
    let cases = std::mem::take(&mut *cases.borrow_mut());
    Ok((lua, cases))
}

fn run_case(lua: &Lua, file: &Path, case: &Case) -> Result<(), String> {
    let failed = |reason: String| format!("{}: {reason}", file.display());
    let setup = setup(file, case.options.as_ref()).map_err(failed)?;
    let world = Rc::new(RefCell::new(Some(World::new(setup)?)));
    let t = verbs::table(lua, &world, file).map_err(|error| verbs::sentence(&error))?;
    let result = case.run.call::<()>(t).map_err(|error| verbs::sentence(&error));
    // It ends here, and not when Lua happens to collect the last function that knows it.
    let mut world = world.take().ok_or("the world is gone")?;
    result?;
    let errors: Vec<_> = world.notices().iter().filter(|notice| notice.level == NoticeLevel::Error).collect();
    match errors.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(format!("{} (if that is meant, take it by t.notice)", first.text)),
    }
}

/// The options of a case.
const OPTIONS: [&str; 8] = ["script", "scripts", "rooms", "allow", "config", "chats", "me", "at"];

/// What the options of a case say. The script is the one beside the file of tests, unless they name another.
fn setup(file: &Path, options: Option<&Table>) -> Result<Setup, String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let own = script_name(file);
    let mut setup = Setup::default();
    let mut script = folder.join(format!("{}.lua", own.trim_end_matches("_test")));
    let mut grants = Grants::default();
    if let Some(options) = options {
        let wrong = |key: &str, what: &str| format!("the option {key:?} must be {what}");
        for pair in options.pairs::<Value, Value>() {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            let key = key.to_string().unwrap_or_default();
            match key.as_str() {
                "script" => script = folder.join(text(&value).ok_or_else(|| wrong("script", "a file's name"))?),
                "scripts" => {
                    let names = list(&value).ok_or_else(|| wrong("scripts", "a list of files"))?;
                    setup.files.extend(names.iter().map(|name| folder.join(name)));
                }
                "rooms" => grants.rooms = Some(list(&value).ok_or_else(|| wrong("rooms", "a list of chats"))?),
                "allow" => grants.allow = Some(list(&value).ok_or_else(|| wrong("allow", "a list of permissions"))?),
                "config" => match verbs::json_of(&value)? {
                    serde_json::Value::Object(map) => grants.settings = map.into_iter().collect(),
                    _ => return Err(wrong("config", "a table with string keys")),
                },
                "chats" => {
                    let chats = list(&value).filter(|chats| !chats.is_empty());
                    setup.chats = chats.ok_or_else(|| wrong("chats", "a list of names"))?;
                }
                "me" => setup.me = text(&value).ok_or_else(|| wrong("me", "a nick"))?,
                "at" => {
                    let seconds = verbs::number(&value).filter(|at| (0.0..4e9).contains(at));
                    let seconds = seconds.ok_or_else(|| wrong("at", "seconds since the Unix epoch: os.time{…}"))?;
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
                    let ms = (seconds * 1_000.0) as u64;
                    setup.start_ms = ms;
                }
                other => return Err(format!("there is no option {other:?}; valid: {}", OPTIONS.join(", "))),
            }
        }
    }
    let source = std::fs::read_to_string(&script).map_err(|error| format!("{}: {error}", script.display()))?;
    let mut config = all_of(&source);
    config.rooms = grants.rooms.unwrap_or(config.rooms);
    config.allow = grants.allow.unwrap_or(config.allow);
    config.settings = grants.settings;
    setup.scripts.insert(script_name(&script), config);
    setup.files.insert(0, script);
    Ok(setup)
}

#[derive(Default)]
struct Grants {
    rooms: Option<Vec<String>>,
    allow: Option<Vec<String>>,
    settings: std::collections::BTreeMap<String, serde_json::Value>,
}

fn text(value: &Value) -> Option<String> {
    value.as_string().and_then(|text| text.to_str().ok().map(|text| text.to_string()))
}

fn list(value: &Value) -> Option<Vec<String>> {
    let table = value.as_table()?;
    (1..=table.raw_len()).map(|at| text(&table.raw_get::<Value>(at).ok()?)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_of_tests_are_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("bots/.git")).unwrap();
        for name in ["bots/a.lua", "bots/a_test.lua", "bots/b.lua", "b_test.lua", "bots/.git/c_test.lua"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let at = |name: &str| dir.path().join(name);
        assert_eq!(find(&[at("")]).unwrap(), [at("b_test.lua"), at("bots/a_test.lua")]);
        assert_eq!(find(&[at("bots/a.lua"), at("bots/a_test.lua")]).unwrap(), [at("bots/a_test.lua")]);
        assert!(find(&[at("bots/b.lua")]).unwrap_err().contains("has no tests"));
        assert!(find(&[at("bots/x_test.lua")]).unwrap_err().contains("there is no file"));
    }
}
