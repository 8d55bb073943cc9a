-- dice: rolls dice, in a chat (!roll 2d6+1) and as a command (roll 2d6+1).
-- Needs `rooms` and `allow = ["send"]` under [scripts.dice] in the config; `prefix` there is another word in place of !roll.
-- At most 100 dice of at most 1,000 sides. Chance is the machine's that runs the bot: who doesn't trust it, shouldn't.
rumor.script({ name = "dice", version = "1.0", description = "Rolls dice", permissions = { "send" } })

local DICE_MAX, SIDES_MAX, SHOWN_MAX = 100, 1000, 20
local USAGE = "<count>d<sides>[+<bonus>]"

local prefix = rumor.config("prefix", "!roll")

-- "2d6+1", "d20", "3d8-2": how many, of how many sides, and what is added; nil if it is none.
local function parse(text)
    local count, sides, bonus = text:lower():match("^(%d*)d(%d+)([+-]?%d*)$")
    if not count or bonus == "+" or bonus == "-" then
        return nil
    end
    count = count == "" and 1 or tonumber(count)
    sides = tonumber(sides)
    if count < 1 or count > DICE_MAX or sides < 2 or sides > SIDES_MAX or #bonus > 7 then
        return nil
    end
    return count, sides, tonumber(bonus) or 0
end

local function roll(text)
    local count, sides, bonus = parse(text)
    if not count then
        return nil
    end
    local sum, rolls = bonus, {}
    for n = 1, count do
        local one = math.random(sides)
        sum += one
        if n <= SHOWN_MAX then
            table.insert(rolls, tostring(one))
        elseif n == SHOWN_MAX + 1 then
            table.insert(rolls, "…")
        end
    end
    local plain = count == 1 and bonus == 0
    return plain and `{text}: {sum}` or `{text}: {sum} ({table.concat(rolls, ", ")})`
end

rumor.on("message", function(msg)
    local word, rest = msg.text:match("^(%S+)%s*(.*)$")
    if word ~= prefix then
        return
    end
    local what = rest == "" and "d6" or rest
    local said = roll(what)
    msg:reply(said or `Write {prefix} {USAGE}, at most {DICE_MAX} dice of {SIDES_MAX} sides`)
end)

rumor.command("roll", {
    params = "[<count>d<sides>[+<bonus>]]",
    desc = "Roll dice, for you alone (a six-sided one unless told)",
    run = function(ctx, args)
        local said = roll(args.rest == "" and "d6" or args.rest)
        if not said then
            return false
        end
        return true, said
    end,
})
