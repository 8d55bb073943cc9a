local function texts(result)
    local list = {}
    for _, message in result.history or {} do
        table.insert(list, message.text)
    end
    return list
end

test("finds what holds the text, whatever its case", function(t)
    t.say("bob", "Tea is ready")
    t.say("bob", "coffee too")
    t.say("me", "no tea for me")
    t.eq(texts(t.command("search TEA")), { "Tea is ready", "no tea for me" })
    t.eq(t.command("search cocoa").text, 'Nothing in the newest 3 messages of study holds "cocoa".')
end)

test("a pattern's signs are plain text", function(t)
    t.say("bob", "50% off (really)")
    t.eq(texts(t.command("search 50% off (")), { "50% off (really)" })
end)

test("needs a text and an open chat", function(t)
    t.eq(t.command("search").usage, "search <text>")
    t.eq(t.command("search tea", { chat = false }).text, "No chat is open: open one with chat <chat>")
end)
