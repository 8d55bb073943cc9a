-- remind: reminds people of things, also after the program was restarted.
--   !remind in 10m tea            s, m, h or d
--   !remind every 0 9 * * 1-5 stand-up    minute, hour, day, month, weekday, as cron has them
--   !remind list, !remind forget 3
-- Needs `rooms` and `allow = ["send", "store"]` under [scripts.remind] in the config; `tz` there is the time zone of "every"
-- (such as "Europe/Berlin"; UTC unless told). Everybody sees and may forget the reminders of their chat. What fell due while the program
-- didn't run is said when it does again.
rumor.script({
    name = "remind",
    version = "1.0",
    description = "Reminds people of things",
    permissions = { "send", "store" },
})

local A_CHAT_MAX, TEXT_MAX_BYTES, WAIT_MAX_S = 20, 500, 31536000
local UNITS = { s = 1, m = 60, h = 3600, d = 86400 }
local USAGE = "Write !remind in 10m TEXT, !remind every 0 9 * * 1-5 TEXT, !remind list or !remind forget NUMBER"

local tz = rumor.config("tz", "UTC")
local store = rumor.store()
local timers = {}

local function forget(id)
    if timers[id] then
        timers[id]:cancel()
        timers[id] = nil
    end
    return store:delete(id)
end

local function remind(one)
    local ok, reason = rumor.chat(one.chat):send(`{one.who}: {one.text}`, { reply_to = one.asked })
    if not ok then
        rumor.log.warn("not said:", reason)
    end
end

-- Waits for a reminder; raises an error if its pattern is none.
local function arm(id, one)
    if one.cron then
        timers[id] = rumor.cron(one.cron, { tz = tz }, function()
            remind(one)
        end)
    else
        timers[id] = rumor.after(math.max(0, one.due - os.time()), function()
            forget(id)
            remind(one)
        end)
    end
end

local function key(chat, number)
    return string.format("%s/%06d", chat, number)
end

local function add(msg, one)
    local keys = store:keys(msg.chat .. "/")
    if #keys >= A_CHAT_MAX then
        return `There are {A_CHAT_MAX} already: forget one first`
    end
    local number = store:incr("last")
    local id = key(msg.chat, number)
    one.chat, one.who, one.asked = msg.chat, msg.from.nick, msg.id
    local ok, reason = pcall(arm, id, one)
    if not ok then
        local why = tostring(reason):gsub("^rumor%.cron: ", ""):gsub(" %(%S-:%d+%)$", "")
        return why
    end
    store:set(id, one)
    return `{number}: noted`
end

local function list(chat)
    local lines = {}
    for _, id in store:keys(chat .. "/") do
        local one = store:get(id)
        local when = one.cron and "every " .. one.cron or os.date("!%Y-%m-%d %H:%M UTC", one.due)
        table.insert(lines, `{tonumber(string.sub(id, #chat + 2))}: {when}: {one.text} ({one.who})`)
    end
    return #lines > 0 and table.concat(lines, "\n") or "nothing to remind anybody of"
end

local function answer(msg, what)
    local count, unit, text = what:match("^in%s+(%d+)%s*([smhd])%s+(.+)$")
    if count then
        local wait = tonumber(count) * UNITS[unit]
        if #text > TEXT_MAX_BYTES or wait > WAIT_MAX_S then
            return "That is too long"
        end
        return add(msg, { due = os.time() + wait, text = text })
    end
    local pattern
    pattern, text = what:match("^every%s+(%S+%s+%S+%s+%S+%s+%S+%s+%S+)%s+(.+)$")
    if pattern then
        if #text > TEXT_MAX_BYTES then
            return "That is too long"
        end
        return add(msg, { cron = pattern, text = text })
    end
    local number = what:match("^forget%s+(%d+)$")
    if number and #number <= 6 then
        return forget(key(msg.chat, tonumber(number))) and "forgotten" or `there is no reminder {number} here`
    end
    return what == "list" and list(msg.chat) or USAGE
end

rumor.on("message", function(msg)
    local what = msg.text:match("^!remind%s+(.-)%s*$")
    if what then
        msg:reply(answer(msg, what))
    elseif msg.text == "!remind" then
        msg:reply(USAGE)
    end
end)

rumor.on("load", function()
    for _, chat in rumor.chats() do
        for _, id in store:keys(chat.name .. "/") do
            local ok, reason = pcall(arm, id, store:get(id))
            if not ok then
                rumor.log.warn("can't remind of", id, reason)
            end
        end
    end
end)
