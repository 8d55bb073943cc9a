-- logger: writes each day of a chat into a Markdown file, from the history: in the order that is the same everywhere, and with what
-- was recovered later. A file is written anew a minute after something was said, and once more after its day has ended.
-- Needs `rooms` and `allow = ["history", "files"]` under [scripts.logger] in the config. The files lie in files/logger/ in the
-- profile's folder, as "CHAT 2027-01-15.md"; days and times are UTC. Ephemeral chats are not written down.
-- The command `log [<chat>]` writes a chat's present day now.
rumor.script({
    name = "logger",
    version = "1.0",
    description = "Writes chats into Markdown files",
    permissions = { "history", "files" },
})

local DAY_S, WAIT_S, PAGE, PAGES_MAX = 86400, 60, 500, 40

local function day_of(time)
    return time // DAY_S
end

-- Everything that was said in a chat on a day, oldest first. Pages go back until they are older.
local function said_on(chat, day)
    local pages, before = {}, nil
    for _ = 1, PAGES_MAX do
        local page, problem = chat:history({ limit = PAGE, before = before })
        if not page then
            return nil, problem
        end
        table.insert(pages, 1, page)
        if #page < PAGE or day_of(page[1].time) < day then
            break
        end
        before = page[1].id
    end
    local list = {}
    for _, page in pages do
        for _, msg in page do
            if day_of(msg.time) == day then
                table.insert(list, msg)
            end
        end
    end
    return list
end

-- What Markdown would take for its own is escaped; lines of a message stay in its item.
local function escaped(text)
    return (text:gsub("[\\`*_{}%[%]<>#|~]", "\\%0"):gsub("\n", "  \n  "))
end

local function markdown(chat, day, list)
    local lines = { `# {escaped(chat)}, {os.date("!%Y-%m-%d", day * DAY_S)}`, "" }
    for _, msg in list do
        local bot = msg.bot and " (bot)" or ""
        table.insert(lines, `- {os.date("!%H:%M", msg.time)} **{escaped(msg.from.nick)}**{bot}: {escaped(msg.text)}`)
    end
    return table.concat(lines, "\n") .. "\n"
end

-- A chat's name as a part of a file's.
local function plain(name)
    return (name:gsub("[^%w_%-\128-\255 ]", "_"):match("^%s*(.-)%s*$"))
end

local function write(name, day)
    local list, problem = said_on(rumor.chat(name), day)
    if not list then
        return false, problem
    end
    return rumor.files.write(`{plain(name)} {os.date("!%Y-%m-%d", day * DAY_S)}.md`, markdown(name, day, list))
end

-- Chats in which something was said, and on which days: what is to be written.
local due = {}

local function is_logged(name)
    for _, chat in rumor.chats() do
        if chat.name == name then
            return not chat.ephemeral
        end
    end
    return false
end

local function write_due()
    local todo = due
    due = {}
    for _, one in todo do
        local ok, problem = write(one.chat, one.day)
        if not ok then
            rumor.log.warn("can't write", one.chat, problem)
        end
    end
end

rumor.on("message", function(msg)
    if is_logged(msg.chat) then
        local day = day_of(msg.time)
        due[`{msg.chat} {day}`] = { chat = msg.chat, day = day }
    end
end, { synced = true, bots = true })

rumor.every(WAIT_S, write_due)

rumor.cron("1 0 * * *", function()
    for _, chat in rumor.chats() do
        if not chat.ephemeral then
            local day = day_of(os.time()) - 1
            due[`{chat.name} {day}`] = { chat = chat.name, day = day }
        end
    end
    write_due()
end)

rumor.command("log", {
    params = "[<chat>]",
    desc = "Write a chat's present day into its Markdown file now",
    complete = { "%(chats)" },
    run = function(ctx, args)
        local name = args.rest ~= "" and args.rest or ctx.chat
        if not name then
            return false, "No chat is open: open one with chat <chat>, or name it: log <chat>"
        end
        if not is_logged(name) then
            return false, `{name} is not written down: it is ephemeral, or not granted.`
        end
        local ok, problem = write(name, day_of(os.time()))
        return ok == true, ok and "written" or problem
    end,
})
