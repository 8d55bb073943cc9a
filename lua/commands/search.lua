-- search <text>: shows the messages of the open chat that hold a text, whatever its case. Looks at what this node has of
-- the chat's history, the newest 20,000 messages; `load history` gets what is missing.
rumor.script({ name = "search", description = "Searches a chat's history", permissions = { "history", "ui" } })

local PAGE, PAGES_MAX, SHOWN_MAX = 500, 40, 50

rumor.command("search", {
    params = "<text>",
    desc = "Show the messages of the open chat that hold a text",
    run = function(ctx, args)
        if args.rest == "" then
            return false
        end
        if not ctx.chat then
            return false, "No chat is open: open one with chat <chat>"
        end
        local wanted = string.lower(args.rest)
        local chat, found, looked, before = rumor.chat(ctx.chat), {}, 0, nil
        for _ = 1, PAGES_MAX do
            local page, problem = chat:history({ limit = PAGE, before = before })
            if not page then
                return false, problem
            end
            for at = #page, 1, -1 do
                if #found < SHOWN_MAX and string.find(string.lower(page[at].text), wanted, 1, true) then
                    table.insert(found, page[at])
                end
            end
            looked += #page
            if #page < PAGE or #found >= SHOWN_MAX then
                break
            end
            before = page[1].id
        end
        if #found == 0 then
            return true, `Nothing in the newest {looked} messages of {ctx.chat} holds "{args.rest}".`
        end
        local oldest_first = {}
        for at = #found, 1, -1 do
            table.insert(oldest_first, found[at])
        end
        ctx.ui:history(ctx.chat, oldest_first)
        return true, #found >= SHOWN_MAX and `These are the newest {SHOWN_MAX}.` or nil
    end,
})
