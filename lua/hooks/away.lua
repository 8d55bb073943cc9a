-- away: answers for you while you are away, to those who name you; to each once an hour.
-- Needs `rooms` and `allow = ["send", "ui"]` under [scripts.away] in the config; `text` there is another answer.
-- `away [<text>]` begins it, `back` ends it and says who asked for you; so does anything that you say yourself.
rumor.script({
    name = "away",
    version = "1.0",
    description = "Answers for you while you are away",
    permissions = { "send", "ui" },
})

local AGAIN_S, ASKED_MAX = 3600, 100

local default = rumor.config("text", "I am away, and read it later")
-- While away: the answer, whom it was given when, and who asked.
local state = nil

local function back()
    local asked = {}
    for _, one in state.asked do
        table.insert(asked, `  {one.nick} in {one.chat}: {one.text}`)
    end
    state = nil
    return #asked > 0 and "Who asked for you:\n" .. table.concat(asked, "\n") or "Nobody asked for you."
end

rumor.on("message", function(msg)
    if not state then
        return
    end
    if msg.mine then
        rumor.notify("you are back")
        state = nil
        return
    end
    if not string.find(string.lower(msg.text), string.lower(rumor.me.nick), 1, true) then
        return
    end
    if #state.asked < ASKED_MAX then
        table.insert(state.asked, { nick = msg.from.nick, chat = msg.chat, text = string.sub(msg.text, 1, 200) })
    end
    local key = msg.chat .. " " .. msg.from.id
    local told = state.told[key]
    local now = os.time()
    if not told or now - told >= AGAIN_S then
        state.told[key] = now
        msg:reply(state.text)
    end
end)

rumor.command("away", {
    params = "[<text>]",
    desc = "Answer for you, until you are back",
    run = function(ctx, args)
        state = { text = args.rest ~= "" and args.rest or default, told = {}, asked = {} }
        return true, `away: {state.text}`
    end,
})

rumor.command("back", {
    desc = "You are back: say who asked for you",
    run = function(ctx)
        if not state then
            return false, "You aren't away."
        end
        ctx:print(back())
        return true
    end,
})

rumor.on("unload", function()
    return state and { text = state.text, told = state.told, asked = state.asked }
end)
rumor.on("load", function(saved)
    state = saved
end)
