-- members [<chat>]: who spoke in a chat, the one who spoke last first. A room has no list of its members: who only reads
-- isn't seen.
rumor.script({ name = "members", description = "Says who speaks in a chat", permissions = { "history" } })

local plural = require("plural")

local MOST = 200

local function ago(seconds)
    if seconds < 60 then
        return "now"
    elseif seconds < 3600 then
        return `{seconds // 60} min ago`
    elseif seconds < 86400 then
        return `{seconds // 3600} h ago`
    end
    return `{seconds // 86400} d ago`
end

rumor.command("members", {
    params = "[<chat>]",
    desc = "Say who speaks in the open chat, or in another",
    complete = { "%(chats)" },
    run = function(ctx, args)
        local name = args.rest ~= "" and args.rest or ctx.chat
        if not name then
            return false, "No chat is open: open one with chat <chat>, or name it: members <chat>"
        end
        local members, problem = rumor.chat(name):members()
        if not members then
            return false, problem
        end
        if #members == 0 then
            return true, `Nobody has spoken in {name} yet.`
        end
        local lines = { `{plural(#members, "person", "people")} spoke in {name}:` }
        for at, member in members do
            if at > MOST then
                table.insert(lines, `  and {#members - MOST} more`)
                break
            end
            local notes = (member.mine and " (you)" or "") .. (member.bot and " (a bot)" or "")
            local when = ago(math.max(0, os.time() - member.last))
            local count = plural(member.messages, "message")
            table.insert(lines, `  {member.nick}#{string.sub(member.id, 1, 8)}{notes}: {when}, {count}`)
        end
        ctx:print(table.concat(lines, "\n"))
        return true
    end,
})
