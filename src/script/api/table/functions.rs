//! The functions of `rumor`.

use super::{Field, Function, Type, may, must};

const TEXT: Type = Type::String;
const HANDLER: Type = Type::Function(&[], &[]);
const TIMER: &[Type] = &[Type::Class("Timer")];

/// Longest waiting time of a timer or a sleep, in seconds: a year.
pub(in crate::script) const WAIT_MAX_S: f64 = 31_536_000.0;
/// Shortest time between two turns of a timer, in seconds.
pub(in crate::script) const EVERY_MIN_S: f64 = 0.05;

/// `rumor.script`.
const ABOUT: &[Field] = &[
    may("name", TEXT, "what it is called"),
    may("version", TEXT, "which version it is"),
    may("description", TEXT, "what it does, in a line"),
    may(
        "permissions",
        Type::List(&TEXT, 64),
        "what it asks for: `send`, `filter`, `ui`, `store`, `history`, `files`, `http:HOST`, or `relay` alone",
    ),
];

const RUN: Type = Type::Function(
    &[must("ctx", Type::Class("Context"), ""), must("args", Type::Class("Args"), "")],
    &[Type::Maybe(&Type::Boolean), Type::Maybe(&Type::String)],
);
const COMPLETE_FN: Type = Type::Function(
    &[must("ctx", Type::Class("Completion"), ""), must("prefix", TEXT, "")],
    &[Type::Maybe(&Type::List(&TEXT, usize::MAX))],
);
const WORDS: Type = Type::Either(&[TEXT, Type::List(&TEXT, 64)]);

/// `rumor.command`.
const COMMAND: &[Field] = &[
    may("params", TEXT, "its parameters, as shown: `<chat>`"),
    may("desc", TEXT, "what it does, in a line"),
    may("aliases", Type::List(&TEXT, 64), "other names"),
    may(
        "complete",
        Type::Either(&[Type::List(&WORDS, 64), COMPLETE_FN]),
        "an entry an argument (`\"%(chats)\"`, `\"%(peers)\"`, `\"%(commands)\"`, `\"%(scripts)\"`, a word, a list of \
         words), or a function that returns words",
    ),
    may("where", Type::OneOf(&["menu", "chat"]), "in the menu too, or only as `/name` inside a chat"),
    may("cooldown", Type::Between(0.0, 86_400.0), "seconds between two runs"),
    must("run", RUN, "what it does; returns `ok, text`, and `false` alone shows the usage"),
];

/// `rumor.on`.
const ON: &[Field] = &[
    may("priority", Type::Number, "the highest first; 0 unless told"),
    may("chat", TEXT, "only this chat's"),
    may("once", Type::Boolean, "ends after the first"),
    may("on_error", Type::OneOf(&["pass", "drop"]), "what a filter that fails or is late means; `pass` unless told"),
    may("synced", Type::Boolean, "`message`: history that was asked for, too"),
    may("bots", Type::Boolean, "`message`: other nodes' bots, too"),
];

/// `rumor.cron`.
const CRON: &[Field] = &[may("tz", TEXT, "a name such as `Europe/Berlin`; UTC unless told")];

/// `rumor.http`.
const HTTP: &[Field] = &[
    may("timeout", Type::Between(0.1, 60.0), "seconds for all of it; 10 unless told"),
    may("max_bytes", Type::Whole(1, 4_194_304), "longest body that is taken; 1 MiB unless told"),
    may("headers", Type::Map(&TEXT), "headers by name"),
    may("body", Type::Bytes, "what `post` sends"),
];
const RESPONSE: &[Type] = &[Type::Maybe(&Type::Class("Response")), Type::Maybe(&Type::String)];

/// Every function, in the order of the reference.
pub(in crate::script) const FUNCTIONS: &[Function] = &[
    Function::now(
        "rumor.script",
        &[must("about", Type::Record(ABOUT), "")],
        &[],
        "Says what the script is and asks for; only while it loads.",
    ),
    Function::now(
        "rumor.command",
        &[must("name", TEXT, "may hold spaces"), must("spec", Type::Record(COMMAND), "")],
        &[],
        "Registers a command.",
    ),
    Function::now(
        "rumor.commands",
        &[],
        &[Type::List(&Type::Class("Command"), usize::MAX)],
        "Every command that any script registered.",
    ),
    Function::now(
        "rumor.on",
        &[must("event", TEXT, "its name"), must("handler", HANDLER, ""), may("opts", Type::Record(ON), "")],
        &[Type::Class("Handle")],
        "Registers a filter or an observer.",
    ),
    Function::now(
        "rumor.after",
        &[must("seconds", Type::Between(0.0, WAIT_MAX_S), ""), must("fn", HANDLER, "")],
        TIMER,
        "Calls `fn` once, so many seconds from now.",
    ),
    Function::now(
        "rumor.every",
        &[must("seconds", Type::Between(EVERY_MIN_S, WAIT_MAX_S), ""), must("fn", HANDLER, "")],
        TIMER,
        "Calls `fn` every so many seconds. A turn that comes while the one before is under way is left out.",
    ),
    Function::now(
        "rumor.cron",
        &[
            must("pattern", TEXT, "minute, hour, day, month, weekday"),
            may("opts", Type::Record(CRON), ""),
            must("fn", HANDLER, ""),
        ],
        TIMER,
        "Calls `fn` when the clock says so: `rumor.cron(\"0 9 * * 1-5\", { tz = \"Europe/Berlin\" }, fn)`.",
    ),
    Function::waits("rumor.sleep", &[must("seconds", Type::Between(0.0, WAIT_MAX_S), "")], &[], "Waits so long."),
    Function::now(
        "rumor.spawn",
        &[must("fn", HANDLER, "")],
        &[],
        "Runs `fn(…)` as a handler of its own, after the present one waits or ends.",
    )
    .variadic(),
    Function::now("rumor.chat", &[must("name", TEXT, "")], &[Type::Class("Chat")], "A chat."),
    Function::now(
        "rumor.chats",
        &[],
        &[Type::List(&Type::Class("Chat"), usize::MAX)],
        "Every chat that the script was granted.",
    ),
    Function::now("rumor.peers", &[], &[Type::List(&Type::Class("Peer"), usize::MAX)], "The linked peers."),
    Function::now("rumor.store", &[may("ns", TEXT, "")], &[Type::Class("Store")], "A part of the script's own store.")
        .needing("store"),
    Function::now(
        "rumor.config",
        &[must("key", TEXT, ""), may("default", Type::Any, "")],
        &[Type::Any],
        "What stands under `[scripts.NAME]` in the config, or `default`.",
    ),
    Function::waits(
        "rumor.http.get",
        &[must("url", TEXT, ""), may("opts", Type::Record(HTTP), "")],
        RESPONSE,
        "Asks a web server. Its host needs `allow = [\"http:HOST\"]`.",
    ),
    Function::waits(
        "rumor.http.post",
        &[must("url", TEXT, ""), may("opts", Type::Record(HTTP), "")],
        RESPONSE,
        "The same, with a body.",
    ),
    Function::waits(
        "rumor.files.write",
        &[must("name", TEXT, "such as `study 2027-01-15.md`"), must("text", TEXT, "")],
        &[Type::Maybe(&Type::Boolean), Type::Maybe(&Type::String)],
        "Writes a file into the script's own folder, `files/NAME/` in the profile's, in place of one of that name; at most 4 MiB.",
    )
    .needing("files"),
    Function::now("rumor.json.encode", &[may("value", Type::Any, "")], &[Type::Bytes], "A value as JSON."),
    Function::now(
        "rumor.json.decode",
        &[must("text", Type::Bytes, "")],
        &[Type::Any, Type::Maybe(&Type::String)],
        "JSON as a value; nil and the reason if it is none.",
    ),
    Function::now(
        "rumor.notify",
        &[must("text", TEXT, ""), may("level", Type::OneOf(&["info", "warning", "error"]), "")],
        &[],
        "Shows a line to the user, outside of any chat; at most 5 at once and 12 a minute.",
    )
    .needing("ui"),
    Function::now("rumor.log.debug", &[], &[], "A line in the log.").variadic(),
    Function::now("rumor.log.info", &[], &[], "A line in the log; `print` does the same.").variadic(),
    Function::now("rumor.log.warn", &[], &[], "A line in the log.").variadic(),
    Function::now("rumor.log.error", &[], &[], "A line in the log.").variadic(),
    Function::now(
        "rumor.scripts",
        &[],
        &[Type::List(&Type::Class("Script"), usize::MAX)],
        "How every script fares, this one too.",
    )
    .needing("ui"),
    Function::waits(
        "rumor.reload",
        &[may("name", TEXT, "")],
        &[Type::Number, Type::Number],
        "Looks at the script folder now and reloads what changed; the script of that name even if it didn't. How many were \
         loaded, how many failed to.",
    )
    .needing("ui"),
];
