test("lists every command with its parameters", function(t)
    local list = t.command("help").printed
    for _, wanted in { "chat [<chat>]", "exit", "help [<command>]", "load history [<chat>]", "show history [<count>]" } do
        t.ok(string.find(list, wanted, 1, true), wanted)
    end
end)

test("lists what a bot registers", { scripts = { "../bots/dice.lua" } }, function(t)
    t.ok(string.find(t.command("help").printed, "roll", 1, true))
end)

test("explains one", function(t)
    local text = t.command("help exit").printed
    t.ok(string.find(text, "also: quit", 1, true))
    t.ok(string.find(text, "commands/exit.lua", 1, true))
    local result = t.command("help nothing")
    t.eq(result.text, 'There is no command "nothing": type help for the list.')
end)
