---@meta
-- Definitions of the API for lua-language-server: name this folder in `workspace.library`.
-- Made by `cargo xtask lua-api` from src/script/api/table; changes here are lost.

---A message that this node could read.
---@class rumor.Message
---@field id string 64 hexadecimal digits
---@field chat string the chat's name in this node's config
---@field from rumor.Person who said it
---@field text string what was said, without control and escape characters
---@field time number when the sender says it was: seconds since the Unix epoch
---@field mine boolean whether this node said it
---@field bot boolean whether a script said it: the sender's signed flag
---@field reply_to? string the id of the message that it answers
---@field synced boolean whether it is history that this node asked for
---@field late boolean whether it was placed before messages that were shown already
---@field missing number how many of the messages that it follows are missing here
local Message = {}

---Sends an answer to it; its id once it is on disk.
---Needs the permission `send`.
---@async
---@param text string 
---@return (string)?
---@return (string)?
function Message:reply(text) end

---A message before it is sealed, as a `send` filter gets it.
---@class rumor.Draft
---@field chat string the chat's name
---@field text string what is to be said
---@field mine boolean true
---@field bot boolean whether a script says it
---@field reply_to? string the id of the message that it answers

---An envelope, sealed, as a `relay` filter gets it: all that a relay knows of it.
---@class rumor.Passing
---@field id string 64 hexadecimal digits
---@field size number its size in bytes: one of the few that there are
---@field link rumor.Peer the peer that it came from

---Who said something. A nick can be taken by anyone, the id can't.
---@class rumor.Person
---@field id string the key: 64 hexadecimal digits
---@field nick string what they call themselves
---@field verified boolean true: the signature was checked

---Somebody who has spoken in a chat.
---@class rumor.Member
---@field id string the key: 64 hexadecimal digits
---@field nick string what they last called themselves
---@field chat string the chat's name
---@field last number when they last spoke: seconds since the Unix epoch
---@field messages number how many of their messages were looked at
---@field mine boolean whether it is this node's owner
---@field bot boolean whether a script spoke last

---A chat that the script was granted.
---@class rumor.Chat
---@field name string its name in this node's config
---@field weak? boolean whether its secret comes from a passphrase, which can be guessed
---@field ephemeral? boolean whether its history is not kept past the window
---@field missing? number how many messages are known to be missing
local Chat = {}

---Sends a message; its id once it is on disk. Others see that a script said it.
---Needs the permission `send`.
---@async
---@param text string 
---@param opts? { reply_to?: string } 
---@return (string)?
---@return (string)?
function Chat:send(text, opts) end

---Messages, oldest first.
---Needs the permission `history`.
---@async
---@param opts? { limit?: integer, before?: string } 
---@return ((rumor.Message)[])?
---@return (string)?
function Chat:history(opts) end

---Asks the peers for what is missing.
---Needs the permission `history`.
---@async
---@param opts? { limit?: integer } 
---@return (rumor.LoadReport)?
---@return (string)?
function Chat:load_history(opts) end

---Who spoke in its newest 10,000 messages, the one who spoke last first.
---Needs the permission `history`.
---@async
---@return ((rumor.Member)[])?
---@return (string)?
function Chat:members() end

---How loading a history ended.
---@class rumor.LoadReport
---@field answered number peers that answered
---@field failed number peers that refused or fell silent
---@field new number messages that are new here
---@field missing number messages that are known to be missing still
---@field more boolean whether the limit was reached: archives may have more, which another call goes on with
---@field oldest? number when the oldest message here was said: seconds since the Unix epoch

---What a `gap` handler gets.
---@class rumor.Gap
---@field chat string the chat's name
---@field missing number messages known to be missing

---A linked peer. Its link key is nobody's identity.
---@class rumor.Peer
---@field addr string where it was dialled or is seen
---@field outgoing boolean whether this node dialled
---@field fingerprint string eight hexadecimal digits of its link key

---This node's owner. While a script loads at the start there is no node yet: reading it raises an error.
---@class rumor.Me
---@field id string the key: 64 hexadecimal digits
---@field nick string the nick

---A registered handler.
---@class rumor.Handle
local Handle = {}

---Ends it.
function Handle:off() end

---A timer. It ends with its script's version.
---@class rumor.Timer
local Timer = {}

---Ends it.
function Timer:cancel() end

---What a command is run with. It ends with the command.
---@class rumor.Context
---@field chat? string the open chat's name, if the script was granted it
---@field ui rumor.Ui the terminal
local Context = {}

---Shows lines to the user, and nobody else.
---@param text string 
function Context:print(text) end

---Sends a message to the open chat.
---Needs the permission `send`.
---@async
---@param text string 
---@return (string)?
---@return (string)?
function Context:reply(text) end

---The terminal, as `ctx.ui`.
---@class rumor.Ui
local Ui = {}

---Opens a chat.
---Needs the permission `ui`.
---@param chat string 
function Ui:open(chat) end

---Ends the program.
---Needs the permission `ui`.
function Ui:quit() end

---Shows messages as the chat's history.
---Needs the permission `ui`.
---@param chat string 
---@param messages (rumor.Message)[] 
function Ui:history(chat, messages) end

---What a completion function is run with.
---@class rumor.Completion
---@field chat? string the open chat's name, if the script was granted it

---A command's arguments: `args[1]` is the first word.
---@class rumor.Args
---@field rest string everything behind the command's name

---A command that some script registered.
---@class rumor.Command
---@field name string its name
---@field params string its parameters, as shown
---@field desc string what it does
---@field script string the script that registered it
---@field where "menu"|"chat" where it can be typed
---@field aliases (string)[] its other names

---How a script fares.
---@class rumor.Script
---@field name string its name in the config
---@field file string its file below the script folder
---@field embedded boolean whether it is the one that ships
---@field state "running"|"waiting"|"failed"|"disabled"|"stopped" whether it runs; it waits when its calls have used more than their share of the processor
---@field reason? string why it was disabled
---@field cpu number seconds that its calls have run
---@field memory number bytes of its state after the last call
---@field calls number calls so far
---@field kills number calls that were killed
---@field missed number events that it was too slow to get
---@field commands number commands that it registered
---@field handlers number handlers that it registered
---@field timers number timers that it has
---@field last_error? string the last thing that went wrong

---Values that survive reloads and restarts: booleans, numbers, strings, lists, tables with string keys. What was stored before a message was sent is on disk before the message is.
---@class rumor.Store
local Store = {}

---The value, or `default`.
---Needs the permission `store`.
---@param key string 
---@param default? any 
---@return any
function Store:get(key, default) end

---Keeps a value; nil deletes it.
---Needs the permission `store`.
---@param key string 
---@param value? any 
function Store:set(key, value) end

---Whether it was there.
---Needs the permission `store`.
---@param key string 
---@return boolean
function Store:delete(key) end

---Adds `by` (1 unless told) to a number (0 unless it is there); the sum.
---Needs the permission `store`.
---@param key string 
---@param by? number 
---@return number
function Store:incr(key, by) end

---The keys that begin so, sorted; at most 10,000.
---Needs the permission `store`.
---@param prefix? string 
---@return (string)[]
function Store:keys(prefix) end

---Keeps what `fn(value)` returns (nil deletes); that. `fn` must not wait.
---Needs the permission `store`.
---@param key string 
---@param fn fun(value: any): any 
---@return any
function Store:update(key, fn) end

---What a web server answered.
---@class rumor.Response
---@field status number the HTTP status, of any kind: 404 is an answer too
---@field body string the body
---@field headers table<string, string> the headers, by lower-case name
---@field url string where it came from in the end
local Response = {}

---The body as a value, or nil and the reason.
---@return any
---@return (string)?
function Response:json() end

---@class rumor
---@field me rumor.Me
rumor = {}
rumor.http = {}
rumor.files = {}
rumor.json = {}
rumor.log = {}

---Says what the script is and asks for; only while it loads.
---@param about { name?: string, version?: string, description?: string, permissions?: (string)[] } 
function rumor.script(about) end

---Registers a command.
---@param name string may hold spaces
---@param spec { params?: string, desc?: string, aliases?: (string)[], complete?: (((string)|((string)[]))[])|(fun(ctx: rumor.Completion, prefix: string): ((string)[])?), where?: "menu"|"chat", cooldown?: number, run: fun(ctx: rumor.Context, args: rumor.Args): (boolean)?, (string)? } 
function rumor.command(name, spec) end

---Every command that any script registered.
---@return (rumor.Command)[]
function rumor.commands() end

---Registers a filter or an observer.
---@param event string its name
---@param handler fun() 
---@param opts? { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean } 
---@return rumor.Handle
---@overload fun(event: "send", handler: fun(msg: rumor.Draft): ((boolean)|(rumor.Draft))?, (string)?, opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
---@overload fun(event: "receive", handler: fun(msg: rumor.Message): ((boolean)|(rumor.Message))?, (string)?, opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
---@overload fun(event: "relay", handler: fun(passing: rumor.Passing): (boolean)?, opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
---@overload fun(event: "message", handler: fun(msg: rumor.Message), opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
---@overload fun(event: "join", handler: fun(member: rumor.Member), opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
---@overload fun(event: "leave", handler: fun(member: rumor.Member), opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
---@overload fun(event: "peer:up", handler: fun(peer: rumor.Peer), opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
---@overload fun(event: "peer:down", handler: fun(peer: rumor.Peer), opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
---@overload fun(event: "gap", handler: fun(gap: rumor.Gap), opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
---@overload fun(event: "load", handler: fun(saved: any), opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
---@overload fun(event: "unload", handler: fun(): any, opts?: { priority?: number, chat?: string, once?: boolean, on_error?: "pass"|"drop", synced?: boolean, bots?: boolean }): rumor.Handle
function rumor.on(event, handler, opts) end

---Calls `fn` once, so many seconds from now.
---@param seconds number 
---@param fn fun() 
---@return rumor.Timer
function rumor.after(seconds, fn) end

---Calls `fn` every so many seconds. A turn that comes while the one before is under way is left out.
---@param seconds number 
---@param fn fun() 
---@return rumor.Timer
function rumor.every(seconds, fn) end

---Calls `fn` when the clock says so: `rumor.cron("0 9 * * 1-5", { tz = "Europe/Berlin" }, fn)`.
---@param pattern string minute, hour, day, month, weekday
---@param opts { tz?: string } 
---@param fn fun() 
---@return rumor.Timer
---@overload fun(pattern: string, fn: fun()): rumor.Timer
function rumor.cron(pattern, opts, fn) end

---Waits so long.
---@async
---@param seconds number 
function rumor.sleep(seconds) end

---Runs `fn(…)` as a handler of its own, after the present one waits or ends.
---@param fn fun() 
---@param ... any
function rumor.spawn(fn, ...) end

---A chat.
---@param name string 
---@return rumor.Chat
function rumor.chat(name) end

---Every chat that the script was granted.
---@return (rumor.Chat)[]
function rumor.chats() end

---The linked peers.
---@return (rumor.Peer)[]
function rumor.peers() end

---A part of the script's own store.
---Needs the permission `store`.
---@param ns? string 
---@return rumor.Store
function rumor.store(ns) end

---What stands under `[scripts.NAME]` in the config, or `default`.
---@param key string 
---@param default? any 
---@return any
function rumor.config(key, default) end

---Asks a web server. Its host needs `allow = ["http:HOST"]`.
---@async
---@param url string 
---@param opts? { timeout?: number, max_bytes?: integer, headers?: table<string, string>, body?: string } 
---@return (rumor.Response)?
---@return (string)?
function rumor.http.get(url, opts) end

---The same, with a body.
---@async
---@param url string 
---@param opts? { timeout?: number, max_bytes?: integer, headers?: table<string, string>, body?: string } 
---@return (rumor.Response)?
---@return (string)?
function rumor.http.post(url, opts) end

---Writes a file into the script's own folder, `files/NAME/` in the profile's, in place of one of that name; at most 4 MiB.
---Needs the permission `files`.
---@async
---@param name string such as `study 2027-01-15.md`
---@param text string 
---@return (boolean)?
---@return (string)?
function rumor.files.write(name, text) end

---A value as JSON.
---@param value? any 
---@return string
function rumor.json.encode(value) end

---JSON as a value; nil and the reason if it is none.
---@param text string 
---@return any
---@return (string)?
function rumor.json.decode(text) end

---Shows a line to the user, outside of any chat; at most 5 at once and 12 a minute.
---Needs the permission `ui`.
---@param text string 
---@param level? "info"|"warning"|"error" 
function rumor.notify(text, level) end

---A line in the log.
---@param ... any
function rumor.log.debug(...) end

---A line in the log; `print` does the same.
---@param ... any
function rumor.log.info(...) end

---A line in the log.
---@param ... any
function rumor.log.warn(...) end

---A line in the log.
---@param ... any
function rumor.log.error(...) end

---How every script fares, this one too.
---Needs the permission `ui`.
---@return (rumor.Script)[]
function rumor.scripts() end

---Looks at the script folder now and reloads what changed; the script of that name even if it didn't. How many were loaded, how many failed to.
---Needs the permission `ui`.
---@async
---@param name? string 
---@return number
---@return number
function rumor.reload(name) end
