-- chats: lists your chats, and what is known of them.
rumor.script({ name = "chats", description = "Lists your chats" })

rumor.command("chats", {
    desc = "List your chats: what is missing, and what their secrets are worth",
    run = function(ctx)
        local lines = {}
        for _, chat in rumor.chats() do
            local notes = {}
            if chat.name == ctx.chat then
                table.insert(notes, "open")
            end
            if chat.ephemeral then
                table.insert(notes, "ephemeral")
            end
            if chat.weak then
                table.insert(notes, "its passphrase can be guessed")
            end
            if chat.missing > 0 then
                table.insert(notes, `{chat.missing} messages missing`)
            end
            local note = #notes > 0 and ": " .. table.concat(notes, ", ") or ""
            table.insert(lines, "  " .. chat.name .. note)
        end
        ctx:print(#lines > 0 and "Your chats:\n" .. table.concat(lines, "\n") or "You have no chats: add one to the config.")
        return true
    end,
})
