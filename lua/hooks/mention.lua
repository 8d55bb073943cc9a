-- Marks messages that name you. Needs `rooms` and `allow = ["filter"]` under [scripts.mention] in the config;
-- `words` there are further words to look for, `mark` is what is put before the text.
rumor.script({ name = "mention", version = "1.0", description = "Marks messages that name you", permissions = { "filter" } })

local mark = rumor.config("mark", ">>")

local function named(text)
    local lowered = string.lower(text)
    if string.find(lowered, string.lower(rumor.me.nick), 1, true) then
        return true
    end
    for _, word in rumor.config("words", {}) do
        if string.find(lowered, string.lower(word), 1, true) then
            return true
        end
    end
    return false
end

rumor.on("receive", function(msg)
    if not msg.mine and named(msg.text) then
        msg.text = mark .. " " .. msg.text
        return msg
    end
    return nil
end)
