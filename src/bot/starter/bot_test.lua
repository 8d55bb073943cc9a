-- Run it: rumor bot test bots/NAME_test.lua
test("greets by name", function(t)
    t.say("bob", "!NAME")
    t.expect("Hello, bob!")
end)

test("says nothing to anything else", function(t)
    t.say("bob", "hello there")
    t.silent()
end)

test("greets as the config says", { config = { greeting = "Moin" } }, function(t)
    t.say("carol", "!NAME")
    t.expect("Moin, carol!")
end)

test("counts on when it is reloaded", function(t)
    t.say("bob", "!NAME")
    t.expect("Hello, bob!")
    t.reload()
    t.say("carol", "!NAME")
    t.expect("Hello, carol!")
    t.eq(t.command("NAME").text, "greeted 2 so far")
end)
