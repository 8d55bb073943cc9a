-- moderation: hides messages from people on a list, with words on a list, and from those who flood a chat.
-- It decides what this node shows, and nothing else: other nodes, and the history that this one keeps, are as they were.
-- Needs `rooms` and `allow = ["filter"]` under [scripts.moderation] in the config. Settings there, all optional:
--   ignore = ["34914477", "Mallory"]   people: the first digits of their key, or a nick (which anyone can take)
--   words = ["casino"]                 words, whatever their case; a word inside another one doesn't count
--   per_minute = 20                    messages of one person that are shown in a minute; 0: any number
-- The command `moderation` says what it hid since it was loaded.
rumor.script({
    name = "moderation",
    version = "1.0",
    description = "Hides what you don't want to read",
    permissions = { "filter" },
})

local PEOPLE_MAX, DIGITS_MIN = 10000, 8

local per_minute = rumor.config("per_minute", 20)
local words, keys, nicks = {}, {}, {}
for _, word in rumor.config("words", {}) do
    words[string.lower(word)] = true
end
for _, who in rumor.config("ignore", {}) do
    if #who >= DIGITS_MIN and who:match("^%x+$") then
        table.insert(keys, who:lower())
    else
        nicks[who] = true
    end
end

local hidden = { person = 0, word = 0, rate = 0 }

local function ignored(from)
    if nicks[from.nick] then
        return true
    end
    for _, key in keys do
        if string.sub(from.id, 1, #key) == key then
            return true
        end
    end
    return false
end

local function bad_word(text)
    for word in text:lower():gmatch("[%w\128-\255]+") do
        if words[word] then
            return word
        end
    end
    return nil
end

-- How many messages of whom were shown in which minute. By the minute that the message was said in: history isn't a flood.
local seen, people = {}, 0

local function floods(msg)
    if per_minute <= 0 then
        return false
    end
    local minute = msg.time // 60
    local key = msg.chat .. "\0" .. msg.from.id
    local one = seen[key]
    if not one or one.minute ~= minute then
        if not one then
            if people >= PEOPLE_MAX then
                seen, people = {}, 0
            end
            people += 1
        end
        one = { minute = minute, count = 0 }
        seen[key] = one
    end
    one.count += 1
    return one.count > per_minute
end

rumor.on("receive", function(msg)
    if msg.mine then
        return nil
    end
    if ignored(msg.from) then
        hidden.person += 1
        return false, "the sender is ignored"
    end
    local word = next(words) and bad_word(msg.text)
    if word then
        hidden.word += 1
        return false, `it holds the word "{word}"`
    end
    if floods(msg) then
        hidden.rate += 1
        return false, `more than {per_minute} messages a minute`
    end
    return nil
end, { priority = 100 })

rumor.command("moderation", {
    desc = "Say how many messages were hidden, and why",
    run = function()
        return true, `hidden: {hidden.person} of ignored people, {hidden.word} with bad words, {hidden.rate} beyond the rate`
    end,
})

rumor.on("unload", function()
    return hidden
end)
rumor.on("load", function(saved)
    hidden = saved or hidden
end)
