-- whoami: says who you are. A nick can be taken by anyone; the key can't, so compare its digits with others.
rumor.script({ name = "whoami", description = "Says who you are" })

rumor.command("whoami", {
    desc = "Say your nick and your key",
    run = function(ctx)
        local id = rumor.me.id
        ctx:print(`{rumor.me.nick}#{string.sub(id, 1, 8)}\nYour key: {id}`)
        return true
    end,
})
