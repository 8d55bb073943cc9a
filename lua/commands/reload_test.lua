test("loads a script again", { scripts = { "../bots/echo.lua" } }, function(t)
    t.ok(t.command("reload echo").ok)
    t.notice("^reloaded echo %(%d+ ms%)$")
end)

test("looks at the folder", function(t)
    t.eq(t.command("reload").text, "0 scripts were loaded")
end)

test("names the scripts there are", function(t)
    local result = t.command("reload nothing")
    t.ok(not result.ok)
    t.ok(string.find(result.text, "whoami", 1, true), result.text)
end)
