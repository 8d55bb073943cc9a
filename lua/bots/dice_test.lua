test("rolls what it is told", function(t)
    for _ = 1, 20 do
        t.say("bob", "!roll 2d6+1")
        local sum, first, second = t.match("^2d6%+1: (%d+) %((%d), (%d)%)$")
        t.ok(tonumber(first) <= 6 and tonumber(second) <= 6 and tonumber(first) >= 1 and tonumber(second) >= 1)
        t.eq(tonumber(sum), first + second + 1)
        t.advance(1)
    end
end)

test("one die of six sides unless told", function(t)
    t.say("bob", "!roll")
    t.match("^d6: [1-6]$")
end)

test("takes a malus", function(t)
    t.say("bob", "!roll 1d2-3")
    t.match("^1d2%-3: %-[12] %([12]%)$")
end)

test("says how, when it can't", function(t)
    for _, bad in { "0d6", "101d6", "1d1", "1d1001", "six", "2d6+", "d", "1d6+99999999" } do
        t.say("bob", "!roll " .. bad)
        t.expect("Write !roll <count>d<sides>[+<bonus>], at most 100 dice of 1000 sides")
        t.advance(10)
    end
    t.say("bob", "!roll 100d1000")
    t.match("^100d1000: %d+ %(.+…%)$")
end)

test("as a command nobody else sees it", function(t)
    local result = t.command("roll d20")
    t.ok(string.match(result.text, "^d20: %d+$"), result.text)
    t.eq(t.command("roll x").usage, "roll [<count>d<sides>[+<bonus>]]")
    t.silent()
end)
