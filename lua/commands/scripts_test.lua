test("lists the scripts", { scripts = { "../bots/echo.lua" } }, function(t)
    local list = t.command("scripts").printed
    t.ok(string.match(list, "  bots/echo%.lua%s+running, %d+ ms, %d+ KiB, %d+ calls?, 0 killed\n"), list)
    t.ok(string.find(list, "commands/help.lua", 1, true), list)
end)

test("explains one", { scripts = { "../bots/echo.lua" } }, function(t)
    local text = t.command("scripts echo").printed
    t.ok(string.match(text, "^echo %(bots/echo%.lua%): running\n"), text)
    t.ok(string.find(text, "0 commands, 1 handler, 0 timers", 1, true), text)
    t.ok(string.match(t.command("scripts help").printed, "^help %(commands/help%.lua, built in%): running\n"))
    t.eq(t.command("scripts nothing").text, 'There is no script "nothing": scripts lists them.')
end)

test("says what went wrong", { scripts = { "../bots/echo.lua" } }, function(t)
    t.write("bots/broken.lua", 'rumor.command("broken", { run = function() error("on purpose") end })')
    t.command("broken")
    local text = t.command("scripts broken").printed
    t.ok(string.find(text, "last error: bots/broken.lua:1: on purpose", 1, true), text)
end)

test("completes the names", function(t)
    t.eq(t.complete("scripts who"), { "scripts whoami" })
end)
