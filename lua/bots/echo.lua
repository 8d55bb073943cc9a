-- !echo TEXT: says TEXT. Needs `rooms` and `allow = ["send"]` under [scripts.echo] in the config.
rumor.script({ name = "echo", version = "1.0", description = "Repeats what it is told", permissions = { "send" } })

rumor.on("message", function(msg)
    local text = msg.text:match("^!echo%s+(.+)$")
    if text then
        msg:reply(text)
    end
end)
