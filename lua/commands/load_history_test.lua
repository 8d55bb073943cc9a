test("needs an open chat or a name", function(t)
    t.eq(t.command("load history", { chat = false }).text,
        "No chat is open: open one with chat <chat>, or name it: load history <chat>")
end)

test("without peers there is nobody to ask", function(t)
    t.eq(t.command("load history").text, "No peer is linked: nobody to ask.")
end)

test("asks the peers", function(t)
    t.say("bob", "hello")
    t.eq(t.command("load history study").text, "study: 0 new messages from 1 peer; complete since 2027-01-15.")
end)
