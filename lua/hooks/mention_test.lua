test("marks what names you", function(t)
    t.eq(t.shown(t.say("bob", "hi Ada!")), ">> hi Ada!")
    t.eq(t.shown(t.say("bob", "hi all")), "hi all")
end)

test("other words by the config", { config = { words = { "Release" }, mark = "*" } }, function(t)
    t.eq(t.shown(t.say("bob", "the release is out")), "* the release is out")
end)
