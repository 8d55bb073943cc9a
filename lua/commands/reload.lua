-- reload [<name>]: looks at the script folder now, and loads what is new or changed; with a name that script, whether it
-- changed or not. Saved files are reloaded by themselves: this is for where they aren't (a network folder, say).
rumor.script({ name = "reload", description = "Loads scripts again", permissions = { "ui" } })

local plural = require("plural")

rumor.command("reload", {
    params = "[<name>]",
    desc = "Look for changed scripts now, or load one again",
    complete = { "%(scripts)" },
    run = function(_, args)
        if args.rest == "" then
            local loaded, failed = rumor.reload()
            local what = plural(loaded, "script was loaded", "scripts were loaded")
            return failed == 0, failed == 0 and what or `{what}, {failed} failed to`
        end
        local _, failed = rumor.reload(args.rest)
        return failed == 0, failed > 0 and `{args.rest} failed to load` or nil
    end,
})
