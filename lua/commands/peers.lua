-- peers: lists the linked peers. What stands behind an address is a fingerprint of the link's key, which is nobody's identity.
rumor.script({ name = "peers", description = "Lists the linked peers" })

local plural = require("plural")

rumor.command("peers", {
    desc = "List the linked peers",
    run = function(ctx)
        local peers = rumor.peers()
        if #peers == 0 then
            return true, "No peer is linked. See `peers` and `listen` in the config."
        end
        local lines = { plural(#peers, "linked peer") .. ":" }
        for _, peer in peers do
            table.insert(lines, `  {peer.outgoing and "to  " or "from"} {peer.addr} ({peer.fingerprint})`)
        end
        ctx:print(table.concat(lines, "\n"))
        return true
    end,
})
