-- NAME: greets who says hello to it, and counts how often it was asked to.
-- Needs `rooms` and `allow = ["send"]` under [scripts.NAME] in the config; `greeting` there is another greeting.
rumor.script({ name = "NAME", version = "0.1", description = "Says hello", permissions = { "send" } })

local greeting = rumor.config("greeting", "Hello")
local greeted = 0

rumor.on("message", function(msg)
    if msg.text == "!NAME" then
        greeted += 1
        msg:reply(`{greeting}, {msg.from.nick}!`)
    end
end)

rumor.command("NAME", {
    desc = "Say how many were greeted",
    run = function(ctx)
        return true, `greeted {greeted} so far`
    end,
})

-- Whenever this file is saved, the new version takes over from the one that runs; what it should know goes this way.
rumor.on("unload", function()
    return { greeted = greeted }
end)
rumor.on("load", function(saved)
    greeted = saved and saved.greeted or 0
end)
