-- ignore [<nick or key>], unignore <nick or key>: hides what somebody says, here and only here; it stays in the history.
-- It goes by their key, so another nick doesn't help them. Alone, `ignore` lists who is ignored. The list outlasts restarts.
rumor.script({
    name = "ignore",
    description = "Hides what somebody says",
    permissions = { "filter", "history", "store" },
})

local IGNORED_MAX, DIGITS_MIN = 1000, 8

local store = rumor.store("ignored")
-- By key: the nick that they had.
local ignored, filter = {}, nil

local function watch()
    if next(ignored) and not filter then
        filter = rumor.on("receive", function(msg)
            if ignored[msg.from.id] then
                return false, `{msg.from.nick} is ignored`
            end
            return nil
        end, { priority = 1000 })
    elseif not next(ignored) and filter then
        filter:off()
        filter = nil
    end
end

for _, id in store:keys() do
    ignored[id] = store:get(id)
end
watch()

local function short(id)
    return string.sub(id, 1, DIGITS_MIN)
end

-- "Bob", "#34914477" or "Bob#34914477": the nick and the digits of the key.
local function parse(text)
    local nick, digits = text:match("^(.-)#(%x+)$")
    if digits and #digits >= DIGITS_MIN then
        return nick ~= "" and nick or nil, digits:lower()
    end
    return text, nil
end

local function fits(id, nick, wanted, digits)
    if digits then
        return string.sub(id, 1, #digits) == digits
    end
    return nick == wanted
end

local function list()
    local lines = {}
    for id, nick in ignored do
        table.insert(lines, `  {nick}#{short(id)}`)
    end
    table.sort(lines)
    return #lines > 0 and "Ignored:\n" .. table.concat(lines, "\n") or "Nobody is ignored."
end

rumor.command("ignore", {
    params = "[<nick or #key>]",
    desc = "Hide what somebody of the open chat says, or list who is hidden",
    run = function(ctx, args)
        if args.rest == "" then
            ctx:print(list())
            return true
        end
        if not ctx.chat then
            return false, "No chat is open: open the one where they speak with chat <chat>"
        end
        local members, problem = rumor.chat(ctx.chat):members()
        if not members then
            return false, problem
        end
        local nick, digits = parse(args.rest)
        local found = {}
        for _, member in members do
            if not member.mine and fits(member.id, member.nick, nick, digits) then
                table.insert(found, member)
            end
        end
        if #found == 0 then
            return false, `Nobody called "{args.rest}" speaks in {ctx.chat}: members lists who does.`
        elseif #found > 1 then
            local names = {}
            for _, member in found do
                table.insert(names, `{member.nick}#{short(member.id)}`)
            end
            return false, `That may be {table.concat(names, " or ")}: write the one that you mean.`
        end
        local count = 0
        for _ in ignored do
            count += 1
        end
        if count >= IGNORED_MAX then
            return false, `{IGNORED_MAX} are ignored already: unignore somebody first.`
        end
        local one = found[1]
        store:set(one.id, one.nick)
        ignored[one.id] = one.nick
        watch()
        return true, `{one.nick}#{short(one.id)} is ignored here from now on.`
    end,
})

rumor.command("unignore", {
    params = "<nick or #key>",
    desc = "Show again what somebody says",
    complete = function()
        local names = {}
        for id, nick in ignored do
            table.insert(names, `{nick}#{short(id)}`)
        end
        return names
    end,
    run = function(_, args)
        if args.rest == "" then
            return false
        end
        local wanted, digits = parse(args.rest)
        local freed = {}
        for id, nick in ignored do
            if fits(id, nick, wanted, digits) then
                table.insert(freed, `{nick}#{short(id)}`)
                store:delete(id)
                ignored[id] = nil
            end
        end
        watch()
        if #freed == 0 then
            return false, `"{args.rest}" isn't ignored. {list()}`
        end
        return true, `{table.concat(freed, ", ")}: shown again.`
    end,
})
