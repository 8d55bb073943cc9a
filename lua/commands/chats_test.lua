test("lists the chats and says which one is open", { chats = { "study", "garden" } }, function(t)
    t.eq(t.command("chats").printed, "Your chats:\n  study: open\n  garden")
    t.eq(t.command("chats", { chat = false }).printed, "Your chats:\n  study\n  garden")
end)
