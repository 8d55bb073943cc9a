-- mention: tells you when somebody names you in a chat that isn't open, and marks the message.
-- Needs `rooms` and `allow = ["filter", "ui"]` under [scripts.mention] in the config. Settings there, all optional:
--   words = ["release"]   further words to look for
--   mark = ">>"           what is put before the text; "" marks nothing
--   notify = false        marks only
rumor.script({
    name = "mention",
    version = "1.1",
    description = "Marks messages that name you, and tells you of them",
    permissions = { "filter", "ui" },
})

local TEXT_MAX = 80

local mark = rumor.config("mark", ">>")
local notify = rumor.config("notify", true)
local words = {}
for _, word in rumor.config("words", {}) do
    table.insert(words, string.lower(word))
end

local function named(text)
    local lowered = string.lower(text)
    if string.find(lowered, string.lower(rumor.me.nick), 1, true) then
        return true
    end
    for _, word in words do
        if string.find(lowered, word, 1, true) then
            return true
        end
    end
    return false
end

rumor.on("receive", function(msg)
    if msg.mine or mark == "" or not named(msg.text) then
        return nil
    end
    msg.text = mark .. " " .. msg.text
    return msg
end)

rumor.on("message", function(msg)
    if notify and not msg.mine and named(msg.text) then
        local text = msg.text
        if utf8.len(text) and utf8.len(text) > TEXT_MAX then
            text = string.sub(text, 1, utf8.offset(text, TEXT_MAX) - 1) .. "…"
        end
        rumor.notify(`{msg.from.nick} named you in {msg.chat}: {text}`)
    end
end)
