-- !echo TEXT: says TEXT. Needs `rooms` and `allow = ["send"]` under [scripts.echo] in the config; `prefix` there is
-- another word in place of !echo.
rumor.script({ name = "echo", version = "1.0", description = "Repeats what it is told", permissions = { "send" } })

local prefix = rumor.config("prefix", "!echo")

rumor.on("message", function(msg)
    local word, text = msg.text:match("^(%S+)%s+(.+)$")
    if word == prefix then
        msg:reply(text)
    end
end)
