test("opens a chat", { chats = { "study", "my room" } }, function(t)
    t.eq(t.command("chat study").opened, "study")
    t.eq(t.command("CHAT my room").opened, "my room")
end)

test("alone it lists the chats", { chats = { "study", "my room" } }, function(t)
    t.eq(t.command("chat").printed, "Your chats:\n  study\n  my room")
end)

test("says which chats there are when there is no such chat", function(t)
    local result = t.command("chat nowhere")
    t.ok(not result.ok)
    t.eq(result.text, 'There is no chat "nowhere". Your chats:\n  study')
end)

test("completes the chats", { chats = { "study", "my room" } }, function(t)
    t.eq(t.complete("chat m"), { "chat my room" })
end)
