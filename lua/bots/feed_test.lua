local URL = "https://example.org/feed.xml"
local options = {
    config = { feeds = { { chat = "study", url = URL, minutes = 10 } } },
    allow = { "send", "store", "http:example.org" },
}

local function rss(...)
    local items = {}
    for _, name in { ... } do
        table.insert(items, 1, `<item><title><![CDATA[{name}]]></title><link>https://example.org/{name}</link><guid>{name}</guid></item>`)
    end
    return "<rss><channel><title>Site</title>" .. table.concat(items) .. "</channel></rss>"
end

test("tells what is new, the oldest first", options, function(t)
    t.http(URL, rss("a"))
    t.advance(600)
    t.silent()
    t.http(URL, rss("a", "b", "c"))
    t.advance(600)
    t.expect("b\nhttps://example.org/b")
    t.expect("c\nhttps://example.org/c")
    t.advance(3600)
    t.silent()
end)

test("five at a time", options, function(t)
    t.http(URL, rss("a"))
    t.advance(600)
    t.http(URL, rss("a", "b", "c", "d", "e", "f", "g"))
    t.advance(600)
    for _, name in { "c", "d", "e", "f", "g" } do
        t.expect(`{name}\nhttps://example.org/{name}`)
    end
    t.silent()
end)

test("reads Atom, entities and hostile titles", options, function(t)
    t.http(URL, rss("a"))
    t.advance(600)
    t.http(URL, "<feed><entry><id>x</id><title>Tom &amp; &#74;erry &lt;b&gt;</title>"
        .. "<link rel='alternate' href='https://example.org/x'/></entry><entry><id>y</id><title>\27[31mred</title>"
        .. "<link href='javascript:alert(1)'/></entry></feed>")
    t.advance(600)
    t.expect("[31mred")
    t.expect("Tom & Jerry <b>\nhttps://example.org/x")
end)

test("what a site says wrong is only logged", options, function(t)
    t.http(URL, { status = 500, body = "oops" })
    t.advance(600)
    t.http(URL, { error = "no route" })
    t.advance(600)
    t.http(URL, "no feed at all")
    t.advance(600)
    t.silent()
end)

test("knows what it has told after a restart", options, function(t)
    t.http(URL, rss("a"))
    t.advance(600)
    t.restart()
    t.http(URL, rss("a", "b"))
    t.advance(600)
    t.expect("b\nhttps://example.org/b")
    t.silent()
end)

test("asks for the host that it needs", { config = options.config, allow = { "send", "store" } }, function(t)
    t.notice('feed asks for "http:example.org", which is not granted')
    t.notice('^bots/feed.lua: rumor.http.get: .*add "http:example.org" to `allow` under %[scripts.feed%]')
end)
