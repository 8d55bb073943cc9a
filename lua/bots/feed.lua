-- feed: tells chats what is new on web sites that have an RSS or Atom feed.
-- Needs `rooms` and `allow = ["send", "store", "http:HOST"]` under [scripts.feed] in the config, a HOST for each site, and there:
--   feeds = [{ chat = "study", url = "https://example.org/feed.xml", minutes = 30 }]
-- The first look at a feed only notes what is there. Five entries at a time are told, the oldest first.
local MINUTES_MIN, MINUTES_DEFAULT, TELL_MAX, KEEP_MAX, TITLE_MAX_BYTES = 5, 30, 5, 200, 300

local feeds = rumor.config("feeds", {})
local permissions = { "send", "store" }
for _, feed in feeds do
    local host = type(feed.url) == "string" and feed.url:match("^https?://([^/:?#]+)")
    if not host or type(feed.chat) ~= "string" then
        error('an entry of feeds must be { chat = "…", url = "https://…" }')
    end
    local permission = "http:" .. host:lower()
    if not table.find(permissions, permission) then
        table.insert(permissions, permission)
    end
end

rumor.script({
    name = "feed",
    version = "1.0",
    description = "Tells what is new on web sites",
    permissions = permissions,
})

local store = rumor.store()

local ENTITIES = { amp = "&", lt = "<", gt = ">", quot = '"', apos = "'", nbsp = " " }

-- The text of an element: CDATA opened, tags taken out, entities replaced.
local function plain(xml)
    local text = xml:gsub("<!%[CDATA%[(.-)%]%]>", "%1"):gsub("<[^>]*>", "")
    text = text:gsub("&#(%d+);", function(digits)
        local code = tonumber(digits)
        return code and code < 0x110000 and not (code >= 0xd800 and code < 0xe000) and utf8.char(code) or ""
    end)
    text = text:gsub("&(%a+);", ENTITIES)
    return (text:gsub("%s+", " "):match("^%s*(.-)%s*$"))
end

local function element(xml, name)
    local found = xml:match("<" .. name .. "[^>]*>(.-)</" .. name .. ">")
    return found and plain(found) or ""
end

-- The entries of an RSS or Atom document: id, title, link; the newest first, as sites have them.
local function entries(body)
    local list = {}
    for _, name in { "item", "entry" } do
        for xml in body:gmatch("<" .. name .. "[ >].-</" .. name .. ">") do
            local link = element(xml, "link")
            if link == "" then
                link = plain(xml:match("<link[^>]-href=[\"']([^\"']+)") or "")
            end
            local id = element(xml, "guid")
            if id == "" then
                id = element(xml, "id")
            end
            local title = string.sub(element(xml, "title"), 1, TITLE_MAX_BYTES)
            if id == "" then
                id = link ~= "" and link or title
            end
            if id ~= "" then
                table.insert(list, { id = string.sub(id, 1, 500), title = title, link = link })
            end
        end
    end
    return list
end

local function look(feed)
    local res, problem = rumor.http.get(feed.url, { timeout = 20 })
    if not res or res.status ~= 200 then
        rumor.log.warn("feed", feed.url, problem or res.status)
        return
    end
    local list = entries(res.body)
    local known = store:get(feed.url)
    local seen = {}
    for _, id in known or {} do
        seen[id] = true
    end
    local new, ids = {}, {}
    for at, entry in list do
        if at <= KEEP_MAX then
            table.insert(ids, entry.id)
        end
        if known and not seen[entry.id] then
            table.insert(new, 1, entry)
        end
    end
    -- What has left the feed may come back: it stays known for a while.
    for _, id in known or {} do
        if #ids < KEEP_MAX and not table.find(ids, id) then
            table.insert(ids, id)
        end
    end
    if #list > 0 then
        store:set(feed.url, ids)
    end
    for at = math.max(1, #new - TELL_MAX + 1), #new do
        local entry = new[at]
        local link = entry.link:match("^https?://%S+$") and "\n" .. entry.link or ""
        rumor.chat(feed.chat):send((entry.title ~= "" and entry.title or "(without a title)") .. link)
    end
end

rumor.on("load", function()
    for _, feed in feeds do
        rumor.spawn(look, feed)
        rumor.every(math.max(MINUTES_MIN, feed.minutes or MINUTES_DEFAULT) * 60, function()
            look(feed)
        end)
    end
end)
