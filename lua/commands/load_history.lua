-- load history [<chat>]: asks the linked peers for what is missing of a chat's history.
rumor.script({ name = "load_history", description = "Recovers a chat's history", permissions = { "history" } })

local plural = require("plural")

rumor.command("load history", {
    params = "[<chat>]",
    desc = "Ask the peers for what is missing of a chat's history",
    complete = { "%(chats)" },
    run = function(ctx, args)
        local name = args.rest ~= "" and args.rest or ctx.chat
        if not name then
            return false, "No chat is open: open one with chat <chat>, or name it: load history <chat>"
        end
        local report, problem = rumor.chat(name):load_history()
        if not report then
            return false, problem
        end
        if report.answered == 0 then
            return false, report.failed == 0 and "No peer is linked: nobody to ask."
                or `None of {plural(report.failed, "peer")} answered.`
        end
        local state = "complete"
        if report.missing > 0 then
            state = plural(report.missing, "message") .. " still missing"
        elseif report.oldest then
            state = "complete since " .. os.date("!%Y-%m-%d", report.oldest)
        end
        return true, `{name}: {plural(report.new, "new message")} from {plural(report.answered, "peer")}; {state}.`
    end,
})
