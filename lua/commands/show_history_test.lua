local function texts(result)
    local list = {}
    for _, message in result.history do
        table.insert(list, message.text)
    end
    return list
end

test("shows the newest messages, oldest first", function(t)
    for n = 1, 5 do
        t.say("bob", `text {n}`)
    end
    t.eq(texts(t.command("show history")), { "text 1", "text 2", "text 3", "text 4", "text 5" })
    t.eq(texts(t.command("show history 2")), { "text 4", "text 5" })
end)

test("needs an open chat", function(t)
    t.eq(t.command("show history", { chat = false }).text, "No chat is open: open one with chat <chat>")
end)

test("a count that is none shows how it is called", function(t)
    for _, count in { "0", "x", "1001", "1 2", "1.5" } do
        t.eq(t.command("show history " .. count).usage, "show history [<count>]", count)
    end
end)
