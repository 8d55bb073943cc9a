-- karma: counts thanks. "bob++" and "bob--" in a message give and take; !karma lists the best, !karma bob says one.
-- Needs `rooms` and `allow = ["send", "store"]` under [scripts.karma] in the config. Nobody gives to themselves, and to the
-- same name only once in `wait` seconds (60 unless told there). Each chat has its own count.
rumor.script({
    name = "karma",
    version = "1.0",
    description = "Counts thanks",
    permissions = { "send", "store" },
})

local TOP, NAME_MAX_BYTES, A_MESSAGE_MAX, WAITS_MAX = 5, 32, 5, 10000

local wait = rumor.config("wait", 60)
local store = rumor.store()

-- Who gave to whom when; not worth keeping.
local given, count = {}, 0

local function may_give(who, key)
    local at, now = given[who .. key], os.time()
    if at and now - at < wait then
        return false
    end
    if count >= WAITS_MAX then
        given, count = {}, 0
    end
    given[who .. key] = now
    count += 1
    return true
end

local function key_of(chat, name)
    return `{chat}/{string.lower(name)}`
end

local function top(chat)
    local list = {}
    for _, key in store:keys(chat .. "/") do
        table.insert(list, { name = string.sub(key, #chat + 2), count = store:get(key, 0) })
    end
    table.sort(list, function(a, b)
        return a.count > b.count or (a.count == b.count and a.name < b.name)
    end)
    local shown = {}
    for at = 1, math.min(#list, TOP) do
        table.insert(shown, `{list[at].name} {list[at].count}`)
    end
    return #shown > 0 and table.concat(shown, ", ") or "nobody has any karma yet"
end

rumor.on("message", function(msg)
    local asked = msg.text:match("^!karma%s*(.-)%s*$")
    if asked == "" then
        msg:reply(top(msg.chat))
        return
    elseif asked then
        msg:reply(`{asked} has {store:get(key_of(msg.chat, asked), 0)}`)
        return
    end
    local said = {}
    for name, sign in msg.text:gmatch("([%w_\128-\255]+)([+-][+-])") do
        if #said >= A_MESSAGE_MAX then
            break
        end
        local by = sign == "++" and 1 or sign == "--" and -1
        local key = key_of(msg.chat, name)
        if by and #name <= NAME_MAX_BYTES and string.lower(name) ~= string.lower(msg.from.nick) and may_give(msg.from.id, key) then
            table.insert(said, `{name} has {store:incr(key, by)}`)
        end
    end
    if #said > 0 then
        msg:reply(table.concat(said, ", "))
    end
end)
