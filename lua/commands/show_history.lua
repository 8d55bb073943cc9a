-- show history [<count>]: shows the newest messages of the open chat, in the order that is the same everywhere.
rumor.script({ name = "show_history", description = "Shows a chat's history", permissions = { "history", "ui" } })

local DEFAULT, MOST = 50, 1000

rumor.command("show history", {
    params = "[<count>]",
    desc = `Show the newest messages of the open chat ({DEFAULT} unless told)`,
    run = function(ctx, args)
        if not ctx.chat then
            return false, "No chat is open: open one with chat <chat>"
        end
        local count = DEFAULT
        if args[1] then
            local n = tonumber(args[1])
            if not n or n < 1 or n > MOST or n % 1 ~= 0 or args[2] then
                return false
            end
            count = n
        end
        local messages, problem = rumor.chat(ctx.chat):history({ limit = count })
        if not messages then
            return false, problem
        end
        ctx.ui:history(ctx.chat, messages)
        return true
    end,
})
