-- help [<command>]: lists every command that any script registered.
rumor.script({ name = "help", description = "Lists the commands" })

local function usage(command)
    return command.params ~= "" and command.name .. " " .. command.params or command.name
end

local function details(command)
    local lines = { usage(command), "  " .. command.desc }
    if #command.aliases > 0 then
        table.insert(lines, "  also: " .. table.concat(command.aliases, ", "))
    end
    table.insert(lines, "  from: " .. command.script)
    return table.concat(lines, "\n")
end

rumor.command("help", {
    params = "[<command>]",
    desc = "List the commands, or explain one",
    complete = { "%(commands)" },
    run = function(ctx, args)
        local commands = rumor.commands()
        if args.rest ~= "" then
            for _, command in commands do
                if command.name == string.lower(args.rest) then
                    ctx:print(details(command))
                    return true
                end
            end
            return false, `There is no command "{args.rest}": type help for the list.`
        end
        local width = 0
        for _, command in commands do
            width = math.max(width, #usage(command))
        end
        local lines = {}
        for _, command in commands do
            local shown = usage(command)
            table.insert(lines, "  " .. shown .. string.rep(" ", width - #shown + 2) .. command.desc)
        end
        ctx:print("Commands (in a chat with a / before them):\n" .. table.concat(lines, "\n"))
        return true
    end,
})
