-- exit: ends the program; everything acknowledged is on disk by then.
rumor.script({ name = "exit", description = "Ends the program", permissions = { "ui" } })

rumor.command("exit", {
    desc = "End the program",
    aliases = { "quit" },
    run = function(ctx)
        ctx.ui:quit()
    end,
})
