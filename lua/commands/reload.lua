-- reload [<name>]: looks at the script folder now, and loads what is new or changed; with a name that script, whether it
-- changed or not. Saved files are reloaded by themselves: this is for where they aren't (a network folder, say).
rumor.script({ name = "reload", description = "Loads scripts again", permissions = { "ui" } })

rumor.command("reload", {
    params = "[<name>]",
    desc = "Look for changed scripts now, or load one again",
    complete = { "%(scripts)" },
    run = function(_, args)
        if args.rest == "" then
            rumor.reload()
            return true, "looked at the script folder"
        end
        rumor.reload(args.rest)
        return true
    end,
})
