-- scripts [<name>]: how the scripts fare: state, processor time, memory, calls, and what went wrong last.
rumor.script({ name = "scripts", description = "Says how the scripts fare", permissions = { "ui" } })

local plural = require("plural")

local function memory(bytes)
    return bytes < 1024 and `{bytes} B` or bytes < 1048576 and string.format("%.0f KiB", bytes / 1024)
        or string.format("%.1f MiB", bytes / 1048576)
end

local function time(seconds)
    return seconds < 10 and string.format("%.0f ms", seconds * 1000) or string.format("%.1f s", seconds)
end

local function details(script)
    local lines = {
        `{script.name} ({script.file}{script.embedded and ", built in" or ""}): {script.state}`,
        `  processor {time(script.cpu)}, memory {memory(script.memory)}, {plural(script.calls, "call")}, {script.kills} killed, {plural(script.missed, "event")} missed`,
        `  {plural(script.commands, "command")}, {plural(script.handlers, "handler")}, {plural(script.timers, "timer")}`,
    }
    if script.reason then
        table.insert(lines, "  disabled: " .. script.reason)
    end
    if script.last_error then
        table.insert(lines, "  last error: " .. script.last_error)
    end
    return table.concat(lines, "\n")
end

rumor.command("scripts", {
    params = "[<name>]",
    desc = "Say how the scripts fare, or one of them in full",
    complete = { "%(scripts)" },
    run = function(ctx, args)
        local scripts = rumor.scripts()
        if args.rest ~= "" then
            for _, script in scripts do
                if script.name == args.rest or script.file == args.rest then
                    ctx:print(details(script))
                    return true
                end
            end
            return false, `There is no script "{args.rest}": scripts lists them.`
        end
        local width = 0
        for _, script in scripts do
            width = math.max(width, #script.file)
        end
        local lines = {}
        for _, script in scripts do
            local pad = string.rep(" ", width - #script.file + 2)
            local trouble = script.last_error and "  ! " .. script.last_error or ""
            table.insert(
                lines,
                `  {script.file}{pad}{script.state}, {time(script.cpu)}, {memory(script.memory)}, {plural(script.calls, "call")}, {script.kills} killed{trouble}`
            )
        end
        ctx:print("Scripts (state, processor time, memory):\n" .. table.concat(lines, "\n"))
        return true
    end,
})
