-- poll: asks a chat. One poll a chat at a time; everybody has one vote, and may change it.
--   !poll Where? | here | there      begins one
--   !vote 2                          votes; !poll shows how it stands, !poll end ends it
-- Needs `rooms` and `allow = ["send", "store"]` under [scripts.poll] in the config; `minutes` there is how long a poll
-- lasts (60 unless told). Only who began a poll ends it early. A poll outlasts restarts.
rumor.script({
    name = "poll",
    version = "1.0",
    description = "Asks a chat",
    permissions = { "send", "store" },
})

local CHOICES_MAX, TEXT_MAX_BYTES, VOTERS_MAX = 9, 500, 1000

local minutes = rumor.config("minutes", 60)
local store = rumor.store()
local timers = {}

local function standing(poll)
    local counts = {}
    for _, choice in poll.votes do
        counts[choice] = (counts[choice] or 0) + 1
    end
    local lines = { poll.question }
    for n, choice in poll.choices do
        table.insert(lines, `  {n}: {choice} ({counts[n] or 0})`)
    end
    return table.concat(lines, "\n")
end

local function finish(chat)
    local poll = store:get(chat)
    if timers[chat] then
        timers[chat]:cancel()
        timers[chat] = nil
    end
    store:delete(chat)
    return poll and "The poll has ended. " .. standing(poll)
end

local function arm(chat, poll)
    timers[chat] = rumor.after(math.max(0, poll.due - os.time()), function()
        local text = finish(chat)
        if text then
            rumor.chat(chat):send(text)
        end
    end)
end

local function begin(msg, text)
    if store:get(msg.chat) then
        return "There is a poll already: !poll shows it"
    end
    local parts = {}
    for part in text:gmatch("[^|]+") do
        part = part:match("^%s*(.-)%s*$")
        if part ~= "" then
            table.insert(parts, part)
        end
    end
    local question = table.remove(parts, 1)
    if #parts < 2 or #parts > CHOICES_MAX or #text > TEXT_MAX_BYTES then
        return `Write !poll QUESTION | CHOICE | CHOICE, with 2 to {CHOICES_MAX} choices`
    end
    local poll = { question = question, choices = parts, votes = {}, by = msg.from.id, due = os.time() + minutes * 60 }
    store:set(msg.chat, poll)
    arm(msg.chat, poll)
    return standing(poll) .. `\nVote with !vote NUMBER; it ends in {minutes} minutes`
end

local function vote(msg, number)
    local poll = store:get(msg.chat)
    if not poll then
        return "There is no poll: !poll QUESTION | CHOICE | CHOICE begins one"
    end
    if not poll.choices[number] then
        return `Vote for a number from 1 to {#poll.choices}`
    end
    local voters = 0
    for _ in poll.votes do
        voters += 1
    end
    if not poll.votes[msg.from.id] and voters >= VOTERS_MAX then
        return "Too many have voted"
    end
    poll.votes[msg.from.id] = number
    store:set(msg.chat, poll)
    return `{msg.from.nick}: {poll.choices[number]}`
end

local function answer(msg)
    local number = msg.text:match("^!vote%s+(%d+)%s*$")
    if number then
        return vote(msg, tonumber(number))
    end
    local what = msg.text:match("^!poll%s*(.-)%s*$")
    if not what then
        return nil
    end
    local poll = store:get(msg.chat)
    if what == "" then
        return poll and standing(poll) or "There is no poll: !poll QUESTION | CHOICE | CHOICE begins one"
    elseif what == "end" then
        if poll and poll.by ~= msg.from.id then
            return "Only who began it ends it"
        end
        return finish(msg.chat) or "There is no poll"
    end
    return begin(msg, what)
end

rumor.on("message", function(msg)
    local text = answer(msg)
    if text then
        msg:reply(text)
    end
end)

rumor.on("load", function()
    for _, chat in rumor.chats() do
        local poll = store:get(chat.name)
        if poll then
            arm(chat.name, poll)
        end
    end
end)
