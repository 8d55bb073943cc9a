-- chat <chat>: opens a chat; alone it lists them.
rumor.script({ name = "chat", description = "Opens a chat", permissions = { "ui" } })

local function list()
    local names = {}
    for _, chat in rumor.chats() do
        local missing = chat.missing > 0 and ` ({chat.missing} messages missing)` or ""
        table.insert(names, "  " .. chat.name .. missing)
    end
    return #names > 0 and "Your chats:\n" .. table.concat(names, "\n") or "You have no chats: add one to the config."
end

rumor.command("chat", {
    params = "[<chat>]",
    desc = "Open a chat, or list your chats",
    complete = { "%(chats)" },
    run = function(ctx, args)
        if args.rest == "" then
            ctx:print(list())
            return true
        end
        for _, chat in rumor.chats() do
            if chat.name == args.rest then
                ctx.ui:open(chat.name)
                return true
            end
        end
        return false, `There is no chat "{args.rest}". {list()}`
    end,
})
