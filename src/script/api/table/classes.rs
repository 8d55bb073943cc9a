//! The objects that functions return and handlers get.

use super::{Class, Field, Function, Type, may, must};

const TEXT: Type = Type::String;
const ID_OR_REASON: &[Type] = &[Type::Maybe(&Type::String), Type::Maybe(&Type::String)];
const WHY: Type = Type::Maybe(&Type::String);
const MESSAGES: Type = Type::List(&Type::Class("Message"), usize::MAX);

/// Options of `chat:send`.
const SEND: &[Field] = &[may("reply_to", TEXT, "the id of the message that this one answers")];
/// Options of `chat:history`.
const HISTORY: &[Field] = &[
    may("limit", Type::Whole(1, 1_000), "how many, the newest ones; 50 unless told"),
    may("before", TEXT, "only those before the message of this id"),
];
/// Options of `chat:load_history`.
const LOAD: &[Field] = &[may(
    "limit",
    Type::Whole(1, 1_000),
    "how many at most are taken out of other members' archives, the newest first; what comes with the window, which is \
     compared as a whole, doesn't count. All unless told",
)];

/// Every class, in the order of the reference.
pub(in crate::script) const CLASSES: &[Class] = &[
    Class {
        name: "Message",
        variable: "msg",
        doc: "A message that this node could read.",
        fields: &[
            must("id", TEXT, "64 hexadecimal digits"),
            must("chat", TEXT, "the chat's name in this node's config"),
            must("from", Type::Class("Person"), "who said it"),
            must("text", TEXT, "what was said, without control and escape characters"),
            must("time", Type::Number, "when the sender says it was: seconds since the Unix epoch"),
            must("mine", Type::Boolean, "whether this node said it"),
            must("bot", Type::Boolean, "whether a script said it: the sender's signed flag"),
            may("reply_to", TEXT, "the id of the message that it answers"),
            must("synced", Type::Boolean, "whether it is history that this node asked for"),
            must("late", Type::Boolean, "whether it was placed before messages that were shown already"),
            must("missing", Type::Number, "how many of the messages that it follows are missing here"),
        ],
        methods: &[Function::waits(
            "msg:reply",
            &[must("text", TEXT, "")],
            ID_OR_REASON,
            "Sends an answer to it; its id once it is on disk.",
        )
        .needing("send")],
    },
    Class {
        name: "Draft",
        variable: "draft",
        doc: "A message before it is sealed, as a `send` filter gets it.",
        fields: &[
            must("chat", TEXT, "the chat's name"),
            must("text", TEXT, "what is to be said"),
            must("mine", Type::Boolean, "true"),
            must("bot", Type::Boolean, "whether a script says it"),
            may("reply_to", TEXT, "the id of the message that it answers"),
        ],
        methods: &[],
    },
    Class {
        name: "Passing",
        variable: "passing",
        doc: "An envelope, sealed, as a `relay` filter gets it: all that a relay knows of it.",
        fields: &[
            must("id", TEXT, "64 hexadecimal digits"),
            must("size", Type::Number, "its size in bytes: one of the few that there are"),
            must("link", Type::Class("Peer"), "the peer that it came from"),
        ],
        methods: &[],
    },
    Class {
        name: "Person",
        variable: "person",
        doc: "Who said something. A nick can be taken by anyone, the id can't.",
        fields: &[
            must("id", TEXT, "the key: 64 hexadecimal digits"),
            must("nick", TEXT, "what they call themselves"),
            must("verified", Type::Boolean, "true: the signature was checked"),
        ],
        methods: &[],
    },
    Class {
        name: "Member",
        variable: "member",
        doc: "Somebody who has spoken in a chat.",
        fields: &[
            must("id", TEXT, "the key: 64 hexadecimal digits"),
            must("nick", TEXT, "what they last called themselves"),
            must("chat", TEXT, "the chat's name"),
            must("last", Type::Number, "when they last spoke: seconds since the Unix epoch"),
            must("messages", Type::Number, "how many of their messages were looked at"),
            must("mine", Type::Boolean, "whether it is this node's owner"),
            must("bot", Type::Boolean, "whether a script spoke last"),
        ],
        methods: &[],
    },
    Class {
        name: "Chat",
        variable: "chat",
        doc: "A chat that the script was granted.",
        fields: &[
            must("name", TEXT, "its name in this node's config"),
            may("weak", Type::Boolean, "whether its secret comes from a passphrase, which can be guessed"),
            may("ephemeral", Type::Boolean, "whether its history is not kept past the window"),
            may("missing", Type::Number, "how many messages are known to be missing"),
        ],
        methods: &[
            Function::waits(
                "chat:send",
                &[must("text", TEXT, ""), may("opts", Type::Record(SEND), "")],
                ID_OR_REASON,
                "Sends a message; its id once it is on disk. Others see that a script said it.",
            )
            .needing("send"),
            Function::waits(
                "chat:history",
                &[may("opts", Type::Record(HISTORY), "")],
                &[Type::Maybe(&MESSAGES), WHY],
                "Messages, oldest first.",
            )
            .needing("history"),
            Function::waits(
                "chat:load_history",
                &[may("opts", Type::Record(LOAD), "")],
                &[Type::Maybe(&Type::Class("LoadReport")), WHY],
                "Asks the peers for what is missing.",
            )
            .needing("history"),
            Function::waits(
                "chat:members",
                &[],
                &[Type::Maybe(&Type::List(&Type::Class("Member"), usize::MAX)), WHY],
                "Who spoke in its newest 10,000 messages, the one who spoke last first.",
            )
            .needing("history"),
        ],
    },
    Class {
        name: "LoadReport",
        variable: "report",
        doc: "How loading a history ended.",
        fields: &[
            must("answered", Type::Number, "peers that answered"),
            must("failed", Type::Number, "peers that refused or fell silent"),
            must("new", Type::Number, "messages that are new here"),
            must("missing", Type::Number, "messages that are known to be missing still"),
            must(
                "more",
                Type::Boolean,
                "whether the limit was reached: archives may have more, which another call goes on with",
            ),
            may("oldest", Type::Number, "when the oldest message here was said: seconds since the Unix epoch"),
        ],
        methods: &[],
    },
    Class {
        name: "Gap",
        variable: "gap",
        doc: "What a `gap` handler gets.",
        fields: &[must("chat", TEXT, "the chat's name"), must("missing", Type::Number, "messages known to be missing")],
        methods: &[],
    },
    Class {
        name: "Peer",
        variable: "peer",
        doc: "A linked peer. Its link key is nobody's identity.",
        fields: &[
            must("addr", TEXT, "where it was dialled or is seen"),
            must("outgoing", Type::Boolean, "whether this node dialled"),
            must("fingerprint", TEXT, "eight hexadecimal digits of its link key"),
        ],
        methods: &[],
    },
    Class {
        name: "Me",
        variable: "me",
        doc: "This node's owner. While a script loads at the start there is no node yet: reading it raises an error.",
        fields: &[must("id", TEXT, "the key: 64 hexadecimal digits"), must("nick", TEXT, "the nick")],
        methods: &[],
    },
    Class {
        name: "Handle",
        variable: "handle",
        doc: "A registered handler.",
        fields: &[],
        methods: &[Function::now("handle:off", &[], &[], "Ends it.")],
    },
    Class {
        name: "Timer",
        variable: "timer",
        doc: "A timer. It ends with its script's version.",
        fields: &[],
        methods: &[Function::now("timer:cancel", &[], &[], "Ends it.")],
    },
    Class {
        name: "Context",
        variable: "ctx",
        doc: "What a command is run with. It ends with the command.",
        fields: &[
            may("chat", TEXT, "the open chat's name, if the script was granted it"),
            must("ui", Type::Class("Ui"), "the terminal"),
        ],
        methods: &[
            Function::now("ctx:print", &[must("text", TEXT, "")], &[], "Shows lines to the user, and nobody else."),
            Function::waits("ctx:reply", &[must("text", TEXT, "")], ID_OR_REASON, "Sends a message to the open chat.")
                .needing("send"),
        ],
    },
    Class {
        name: "Ui",
        variable: "ctx.ui",
        doc: "The terminal, as `ctx.ui`.",
        fields: &[],
        methods: &[
            Function::now("ctx.ui:open", &[must("chat", TEXT, "")], &[], "Opens a chat.").needing("ui"),
            Function::now("ctx.ui:quit", &[], &[], "Ends the program.").needing("ui"),
            Function::now(
                "ctx.ui:history",
                &[must("chat", TEXT, ""), must("messages", MESSAGES, "")],
                &[],
                "Shows messages as the chat's history.",
            )
            .needing("ui"),
        ],
    },
    Class {
        name: "Completion",
        variable: "ctx",
        doc: "What a completion function is run with.",
        fields: &[may("chat", TEXT, "the open chat's name, if the script was granted it")],
        methods: &[],
    },
    Class {
        name: "Args",
        variable: "args",
        doc: "A command's arguments: `args[1]` is the first word.",
        fields: &[must("rest", TEXT, "everything behind the command's name")],
        methods: &[],
    },
    Class {
        name: "Command",
        variable: "command",
        doc: "A command that some script registered.",
        fields: &[
            must("name", TEXT, "its name"),
            must("params", TEXT, "its parameters, as shown"),
            must("desc", TEXT, "what it does"),
            must("script", TEXT, "the script that registered it"),
            must("where", Type::OneOf(&["menu", "chat"]), "where it can be typed"),
            must("aliases", Type::List(&TEXT, usize::MAX), "its other names"),
        ],
        methods: &[],
    },
    Class {
        name: "Script",
        variable: "script",
        doc: "How a script fares.",
        fields: &[
            must("name", TEXT, "its name in the config"),
            must("file", TEXT, "its file below the script folder"),
            must("embedded", Type::Boolean, "whether it is the one that ships"),
            must(
                "state",
                Type::OneOf(&["running", "waiting", "failed", "disabled", "stopped"]),
                "whether it runs; it waits when its calls have used more than their share of the processor",
            ),
            may("reason", TEXT, "why it was disabled"),
            must("cpu", Type::Number, "seconds that its calls have run"),
            must("memory", Type::Number, "bytes of its state after the last call"),
            must("calls", Type::Number, "calls so far"),
            must("kills", Type::Number, "calls that were killed"),
            must("missed", Type::Number, "events that it was too slow to get"),
            must("commands", Type::Number, "commands that it registered"),
            must("handlers", Type::Number, "handlers that it registered"),
            must("timers", Type::Number, "timers that it has"),
            may("last_error", TEXT, "the last thing that went wrong"),
        ],
        methods: &[],
    },
    Class {
        name: "Store",
        variable: "store",
        doc: "Values that survive reloads and restarts: booleans, numbers, strings, lists, tables with string keys. What was \
              stored before a message was sent is on disk before the message is.",
        fields: &[],
        methods: &[
            Function::now(
                "store:get",
                &[must("key", TEXT, ""), may("default", Type::Any, "")],
                &[Type::Any],
                "The value, or `default`.",
            )
            .needing("store"),
            Function::now(
                "store:set",
                &[must("key", TEXT, ""), may("value", Type::Any, "")],
                &[],
                "Keeps a value; nil deletes it.",
            )
            .needing("store"),
            Function::now("store:delete", &[must("key", TEXT, "")], &[Type::Boolean], "Whether it was there.")
                .needing("store"),
            Function::now(
                "store:incr",
                &[must("key", TEXT, ""), may("by", Type::Number, "")],
                &[Type::Number],
                "Adds `by` (1 unless told) to a number (0 unless it is there); the sum.",
            )
            .needing("store"),
            Function::now(
                "store:keys",
                &[may("prefix", TEXT, "")],
                &[Type::List(&TEXT, usize::MAX)],
                "The keys that begin so, sorted; at most 10,000.",
            )
            .needing("store"),
            Function::now(
                "store:update",
                &[must("key", TEXT, ""), must("fn", Type::Function(&[must("value", Type::Any, "")], &[Type::Any]), "")],
                &[Type::Any],
                "Keeps what `fn(value)` returns (nil deletes); that. `fn` must not wait.",
            )
            .needing("store"),
        ],
    },
    Class {
        name: "Response",
        variable: "res",
        doc: "What a web server answered.",
        fields: &[
            must("status", Type::Number, "the HTTP status, of any kind: 404 is an answer too"),
            must("body", Type::Bytes, "the body"),
            must("headers", Type::Map(&TEXT), "the headers, by lower-case name"),
            must("url", TEXT, "where it came from in the end"),
        ],
        methods: &[Function::now("res:json", &[], &[Type::Any, WHY], "The body as a value, or nil and the reason.")],
    },
];
